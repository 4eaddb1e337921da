"""Attributes predicted from factors of which it is known what they hold."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from vaemi import influence
from vaemi.influence.classification import attribute_hits, balanced_accuracy


def attributes(n, seed):
    """Five factors; attribute 0 is the sign of factor 1, attribute 1 (rare) the size of factor 2, attribute 2 noise."""
    z = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    coin = torch.rand(n, generator=torch.Generator().manual_seed(seed + 1)) < 0.5
    return 10 * z, torch.stack([z[:, 1] > 0, z[:, 2].abs() > 1.5, coin], dim=1)


def test_attributes_are_predicted_from_the_factors_that_hold_them():
    subsets = {"all": range(5), "one": [1], "other": torch.tensor([2]), "none": []}
    found = influence.attribute_accuracies(*attributes(3000, 0), *attributes(3000, 7), subsets)
    assert list(found) == ["all", "one", "other", "none"]
    assert found["none"].tolist() == [0.5] * 3
    # The second attribute is rare, and predicted by a square only.
    assert (found["all"][:2] > 0.96).all()
    assert found["one"][0] > 0.97
    assert found["other"][1] > 0.97
    for name, attribute in (("one", 1), ("other", 0), ("all", 2)):
        assert found[name][attribute] == pytest.approx(0.5, abs=0.04)
    z, labels = attributes(50, 0)
    with pytest.raises(ValueError, match="2 classes"):
        influence.attribute_accuracies(z, labels & False, z, labels, {"all": range(5)})


def test_hits_are_correct_predictions():
    z, labels = attributes(300, 7)
    hits = attribute_hits(*attributes(3000, 0), z, labels, {"one": [1], "none": []})
    assert hits["none"].tolist() == [[0.5] * 3] * 300
    # The sign of factor 1, except where it is nearly 0.
    assert (hits["one"][z[:, 1].abs() > 1, 0] == 1).all()
    flipped = labels ^ torch.tensor([True, False, False])
    assert (attribute_hits(*attributes(3000, 0), z, flipped, {"one": [1]})["one"][z[:, 1].abs() > 1, 0] == 0).all()


def test_balanced_accuracy_with_weights_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(60, 2, generator=generator) < torch.tensor([0.5, 0.15])
    predicted = labels ^ (torch.rand(60, 2, generator=generator) < 0.3)
    hits = (predicted == labels).double()
    weights = torch.randint(0, 3, (4, 60), generator=generator).double()
    found = balanced_accuracy(hits, labels, weights)
    for a in range(2):
        pair = labels[:, a].numpy(), predicted[:, a].numpy()
        assert float(balanced_accuracy(hits, labels)[a]) == pytest.approx(balanced_accuracy_score(*pair))
        expected = [balanced_accuracy_score(*pair, sample_weight=row.numpy()) for row in weights]
        assert found[:, a].tolist() == pytest.approx(expected)
    # A resample may lack a class.
    assert balanced_accuracy(torch.tensor([[1.0], [0.0]]).double(), [[1], [1]]).tolist() == [0.5]
