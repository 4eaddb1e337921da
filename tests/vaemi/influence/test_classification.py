"""What classifiers tell from factors of which it is known what they hold."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from vaemi import influence


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
