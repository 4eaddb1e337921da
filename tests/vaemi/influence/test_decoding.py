"""What factors do, on a model whose answer is known."""

import pytest
import torch
from pixels import Pixels

from vaemi import influence


@pytest.fixture
def z():
    return torch.randn(200, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def images(z):
    return influence.decode(Pixels(), z)


def test_decode_does_not_depend_on_batches(z):
    torch.testing.assert_close(influence.decode(Pixels(), z, batch_size=7), influence.decode(Pixels(), z))


def test_a_traversal_moves_one_factor_over_its_range(z):
    std = torch.tensor([1.0, 2.0, 1.0, 1.0])
    pictures = influence.traverse(Pixels(), z[0], [1, 3], std, span=3, steps=5)
    assert pictures.shape == (2, 5, 1, 2, 2)
    moved = pictures[0].flatten(1)
    torch.testing.assert_close(moved[:, 1], 0.5 * torch.linspace(-6, 6, 5))
    torch.testing.assert_close(moved[:, 0], z[0, 0].expand(5))
    # The decoder ignores the last factor.
    assert (pictures[1] == pictures[1, 0]).all()
    with pytest.raises(ValueError, match="0 to 3"):
        influence.traverse(Pixels(), z[0], [4], std)


def test_keep_sets_the_others_to_zero_and_leaves_its_input(z):
    before = z.clone()
    kept = influence.keep(z, torch.tensor([2, 0]))
    assert torch.equal(kept[:, [0, 2]], z[:, [0, 2]])
    assert (kept[:, [1, 3]] == 0).all()
    assert torch.equal(z, before)
    assert (influence.keep(z, []) == 0).all()


def test_errors_of_an_order_are_the_variances_left_out(z, images):
    order = torch.tensor([0, 1, 2, 3])
    errors = influence.keep_top_errors(Pixels(), images, z, {"a": order, "b": order.flip(0)}, [0, 1, 2, 4])
    power = images.flatten(1).square().mean(0) / 4
    expected = [power.sum(), power[1:].sum(), power[2:].sum(), 0]
    assert errors["a"] == pytest.approx([float(e) for e in expected], abs=1e-7)
    assert errors["a"][0] == errors["b"][0]
    assert errors["a"][1] < errors["b"][1]


def test_damage_of_a_factor_is_the_power_of_its_pixel(z, images):
    damage = influence.removal_damage(Pixels(), images, z)
    torch.testing.assert_close(damage.float(), images.flatten(1).square().mean(0) / 4, atol=1e-7, rtol=1e-5)


def test_sampled_posterior_has_its_moments():
    mean, log_variance = torch.full((20_000, 2), 3.0), torch.tensor([0.0, -4.0]).expand(20_000, 2)
    sample = influence.sample_posterior(mean, log_variance, seed=0)
    assert sample.mean(0).tolist() == pytest.approx([3, 3], abs=0.03)
    assert sample.std(0).tolist() == pytest.approx([1, 0.1353], rel=0.02)
    assert torch.equal(sample, influence.sample_posterior(mean, log_variance, seed=0))
