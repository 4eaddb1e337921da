"""Attributes predicted from factors of which it is known what they hold."""

import pytest
import torch

from vaemi import influence


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
