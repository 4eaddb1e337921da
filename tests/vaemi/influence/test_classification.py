"""What classifiers tell from factors of which it is known what they hold."""

import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from vaemi import factor_information, influence
from vaemi.information import fano_accuracy_bound_exact


def test_a_classifier_falls_to_chance_without_its_factor():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(300)
    z = torch.randn(600, 3, generator=generator) * 0.3
    z[:, 1] += 2.0 * labels - 1
    classifier = influence.train_classifier(z, labels, epochs=15, hidden_dim=16)
    order = torch.tensor([1, 0, 2])
    with_it, without = influence.accuracies(classifier, z, labels, order, [1, 0])
    assert with_it > 0.95
    assert without == pytest.approx(0.5, abs=0.01)
    (least,) = influence.accuracies(classifier, z, labels, order.flip(0), [2])
    assert least < 0.7


def attributes(n, seed):
    """Five factors; attribute 0 is the sign of factor 1, attribute 1 (rare) the size of factor 2, attribute 2 noise."""
    z = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    coin = torch.rand(n, generator=torch.Generator().manual_seed(seed + 1)) < 0.5
    return 10 * z, torch.stack([z[:, 1] > 0, z[:, 2].abs() > 1.5, coin], dim=1)


def test_attributes_are_told_from_the_factors_that_hold_them():
    found = influence.attribute_accuracies(
        *attributes(3000, 0),
        *attributes(3000, 7),
        {"all": range(5), "one": [1], "other": torch.tensor([2]), "none": []},
    )
    assert list(found) == ["all", "one", "other", "none"]
    assert found["none"].tolist() == [0.5] * 3
    assert (found["all"][:2] > 0.96).all()
    assert found["one"][0] > 0.97
    # Only its square tells the second attribute.
    assert found["other"][1] > 0.97
    for name, attribute in (("one", 1), ("other", 0), ("all", 2)):
        assert found[name][attribute] == pytest.approx(0.5, abs=0.04)
    again = influence.attribute_accuracies(*attributes(3000, 0), *attributes(3000, 7), {"all": range(5)})
    assert torch.equal(again["all"], found["all"])


def test_accuracies_of_attributes_are_balanced_and_probabilities_say_which():
    z, labels = attributes(2000, 0)
    classifier = influence.train_attributes(z, labels)
    other, truth = attributes(2000, 7)
    probabilities = classifier.probabilities(other)
    assert probabilities.shape == (2000, 3)
    found = classifier.balanced_accuracies(other, truth.long())
    for a in range(3):
        assert float(found[a]) == pytest.approx(balanced_accuracy_score(truth[:, a], probabilities[:, a] > 0.5))
    # A rare attribute is predicted where it is likelier than usual, not only where it is likelier than not.
    assert (probabilities[truth[:, 1], 1] > 0.5).double().mean() > 0.95


def test_the_lift_that_is_kept_is_led_by_what_can_be_told():
    full = torch.tensor([0.9, 0.7, 0.501])
    assert influence.lift_kept(full, full) == 1
    assert influence.lift_kept(torch.full((3,), 0.5), full) == 0
    assert influence.lift_kept(torch.tensor([0.7, 0.6, 0.52]), full) == pytest.approx(0.32 / 0.601)
    with pytest.raises(ValueError, match="no better than chance"):
        influence.lift_kept(full, torch.tensor([0.5, 0.5, 0.49]))
    with pytest.raises(ValueError, match="give the same"):
        influence.lift_kept(full, full[:2])


def test_balanced_weights_make_classes_weigh_the_same():
    labels = torch.tensor([3, 3, 3, 3, 3, 0, 0, 7])
    weights = influence.balanced_weights(labels)
    assert weights.mean() == pytest.approx(1)
    assert [float(weights[labels == y].sum()) for y in (0, 3, 7)] == pytest.approx([8 / 3] * 3)
    assert influence.balanced_weights(labels == 7).sum() == pytest.approx(8)


def test_fano_holds_of_balanced_accuracy_under_balanced_weights():
    # One factor, two classes, one of them rare; the best threshold on z tells as much as can be told.
    labels = torch.arange(4000) % 10 == 0
    mean = 1.5 * labels.double()[:, None]
    z = influence.sample_posterior(mean, torch.zeros_like(mean))
    weight = influence.balanced_weights(labels)
    nats = float(factor_information(mean, torch.zeros_like(mean), weight=weight).nats)
    reached = float(influence.train_attributes(z, labels[:, None]).balanced_accuracies(z, labels[:, None]))
    bound = float(fano_accuracy_bound_exact(nats, math.log(2), 2))
    assert 0.7 < reached < bound < 0.9


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda z, y: (z, y[:, :1] & False, z, y[:, :1]), ValueError, r"train_labels holds \[0\] in column 0"),
        (lambda z, y: (z, y, z[:1], y[:1]), ValueError, "test_labels holds"),
        (lambda z, y: (z, y.long() * 2, z, y), ValueError, r"holds \[0, 2\]"),
        (lambda z, y: (z, y[:9], z, y), ValueError, r"give \(50, A\)"),
        (lambda z, y: (z, y.double(), z, y), TypeError, "float64"),
        (lambda z, y: (z[:, :2], y, z, y), ValueError, "factors are 0 to 1"),
    ],
)
def test_what_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        influence.attribute_accuracies(*change(*attributes(50, 0)), {"some": [0, 4]})


def test_accuracy_changes_are_those_of_the_parts():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    z = torch.randn(400, 5, generator=generator)
    z[:, 3] += 3 * (labels % 2)
    z[:, 1] += 3 * (labels // 2)
    order, other = torch.tensor([3, 1, 0, 2, 4]), torch.tensor([1, 3, 0, 2, 4])
    ratios = ["1.0", "0.2", "0.0"]
    found = influence.accuracy_changes((z, labels), (z, labels), order, other, ratios, epochs=5, classifiers=3, seed=1)
    classifier = influence.train_classifier(z, labels, 5, seed=1)
    counts = [5, 1, 0]
    expected = influence.accuracies(classifier, z, labels, order, counts)
    assert found.percent == pytest.approx(dict(zip(ratios, (100 * value for value in expected), strict=True)))
    swapped = influence.accuracies(classifier, z, labels, other, counts)
    assert [value for (value,) in found.changed["other order"].values()] == pytest.approx([100 * v for v in swapped])
    assert {ratio: len(values) for ratio, values in found.changed["one factor exchanged"].items()} == {
        "1.0": 0, "0.2": 3, "0.0": 0,
    }  # fmt: skip
    assert {len(values) for values in found.changed["other classifiers"].values()} == {2}
    longer = influence.train_classifier(z, labels, 15, seed=1)
    assert found.changed["trained three times as long"]["1.0"] == pytest.approx(
        [100 * influence.accuracies(longer, z, labels, order, [5])[0]]
    )
    low, high = found.lowest("one factor exchanged"), found.highest("one factor exchanged")
    assert low["0.2"] < found.percent["0.2"] <= high["0.2"]
    assert low["1.0"] == high["1.0"] == found.percent["1.0"]
    assert found.width("one factor exchanged") == pytest.approx(high["0.2"] - low["0.2"])
    with pytest.raises(ValueError, match="train at least one"):
        influence.accuracy_changes((z, labels), (z, labels), order, other, ratios, classifiers=0)
