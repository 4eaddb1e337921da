"""Pictures of a decoder that shows each factor as one pixel."""

import pytest
import torch
from pixels import Pixels

from vaemi import influence


def test_only_the_factors_named_vary():
    pictures = influence.sample_prior(Pixels(), 4000, factors=[1, 3]).flatten(1)
    assert (pictures[:, [0, 2]] == 0).all()
    assert pictures[:, 1].std() == pytest.approx(0.5, rel=0.05)
    every = influence.sample_prior(Pixels(), 4000).flatten(1)
    assert every.std(0).tolist() == pytest.approx([1, 0.5, 0.1, 0], rel=0.05)
    assert torch.equal(every[:, 1], pictures[:, 1])
    wide = influence.sample_prior(Pixels(), 4000, marginal_std=torch.tensor([2.0, 0.0, 1.0, 1.0])).flatten(1)
    torch.testing.assert_close(wide[:, 0], 2 * every[:, 0])
    assert (wide[:, 1] == 0).all()
    assert (influence.sample_prior(Pixels(), 3, factors=[]) == 0).all()


def test_variance_explained_is_the_pixels_share():
    some = influence.sample_prior(Pixels(), 500, factors=[1, 2])
    every = influence.sample_prior(Pixels(), 500)
    power = every.flatten(1).var(0)
    assert influence.variance_explained(some, every) == pytest.approx(float(power[1:3].sum() / power.sum()), rel=1e-5)
    assert influence.variance_explained(every, every) == 1
    bytes_and_floats = (some.clamp(0, 1) * 255).round().to(torch.uint8)
    assert influence.variance_explained(bytes_and_floats, bytes_and_floats.float() / 255) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: influence.sample_prior(Pixels(), 3, factors=[4]), "0 to 3"),
        (lambda: influence.sample_prior(Pixels(), 3, marginal_std=torch.ones(3)), r"give \(4,\)"),
        (lambda: influence.variance_explained(torch.rand(1, 4), torch.rand(5, 4)), "two or more"),
        (lambda: influence.variance_explained(torch.rand(2, 3), torch.rand(5, 4)), "of one size"),
        (lambda: influence.variance_explained(torch.rand(2, 4), torch.ones(5, 4)), "no variance"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
