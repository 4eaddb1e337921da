"""What factors do, on a decoder that shows each factor as one pixel; orders of factors."""

import pytest
import torch
from torch import nn

from vaemi import factor_information, influence
from vaemi.models import VAE, GaussianLikelihood


class Pixels(VAE):
    """Four factors, four pixels: pixel h is weight_h z_h."""

    def __init__(self):
        super().__init__()
        self.latent_dim = 4
        self.decoder = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Unflatten(1, (1, 2, 2)))
        self.decoder[0].weight = nn.Parameter(torch.diag(torch.tensor([1.0, 0.5, 0.1, 0.0])))
        self.likelihood = GaussianLikelihood()


@pytest.fixture
def z():
    return torch.randn(200, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def images(z):
    return influence.decode(Pixels(), z, batch_size=70)


def test_a_traversal_moves_one_factor_over_its_range(z):
    pictures = influence.traverse(Pixels(), z[0], [1, 3], torch.tensor([1.0, 2.0, 1.0, 1.0]), span=3, steps=5)
    assert pictures.shape == (2, 5, 1, 2, 2)
    moved = pictures[0].flatten(1)
    torch.testing.assert_close(moved[:, 1], 0.5 * torch.linspace(-6, 6, 5))
    torch.testing.assert_close(moved[:, 0], z[0, 0].expand(5))
    # The decoder ignores the last factor.
    assert (pictures[1] == pictures[1, 0]).all()


def test_keep_sets_the_others_to_zero_and_leaves_its_input(z):
    before = z.clone()
    kept = influence.keep(z, torch.tensor([2, 0]))
    assert torch.equal(kept[:, [0, 2]], z[:, [0, 2]])
    assert (kept[:, [1, 3]] == 0).all()
    assert torch.equal(z, before)
    assert (influence.keep(z, []) == 0).all()


def test_errors_and_damage_are_the_power_of_the_pixels(z, images):
    power = images.flatten(1).square().mean(0) / 4
    order = torch.tensor([0, 1, 2, 3])
    errors = influence.keep_top_errors(Pixels(), images, z, {"a": order, "b": order.flip(0)}, [0, 1, 2, 4])
    assert errors["a"] == pytest.approx(
        [float(e) for e in (power.sum(), power[1:].sum(), power[2:].sum(), 0)], abs=1e-7
    )
    assert errors["b"] == pytest.approx([float(e) for e in (power.sum(), power.sum(), power[:2].sum(), 0)], abs=1e-7)
    each = influence.keep_top_sample_errors(Pixels(), images, z, {"a": order}, [0, 1, 4])["a"]
    assert each.shape == (3, 200)
    torch.testing.assert_close(each[1], images.flatten(1)[:, 1:].square().sum(1).double() / 4)
    damage = influence.removal_damage(Pixels(), images, z)
    torch.testing.assert_close(damage.float(), power, atol=1e-7, rtol=1e-5)


def test_sampled_posterior_has_its_moments():
    mean, log_variance = torch.full((20_000, 2), 3.0), torch.tensor([0.0, -4.0]).expand(20_000, 2)
    sample = influence.sample_posterior(mean, log_variance, seed=0)
    assert sample.mean(0).tolist() == pytest.approx([3, 3], abs=0.03)
    assert sample.std(0).tolist() == pytest.approx([1, 0.1353], rel=0.02)
    assert torch.equal(sample, influence.sample_posterior(mean, log_variance, seed=0))


def test_orders_are_permutations_and_the_first_is_the_ranking():
    mean = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 2, 0.5, 1, 0, 0.9])
    log_variance = torch.full((500, 6), -1.0)
    information = factor_information(mean, log_variance)
    orders = influence.factor_orders(information, mean, log_variance, draws=2, seed=5)
    assert list(orders) == ["information", "kl", "variance", "active_units", "mean_precision", "random 0", "random 1"]
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders.values())
    assert torch.equal(orders["information"], information.ranking)
    assert orders["kl"][0] == orders["variance"][0] == 1


def test_active_units_go_by_the_spread_of_the_means_and_precision_by_the_widths():
    signs = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    # A factor with a large mean that does not vary, one that varies most, one with the narrowest posteriors.
    mean = signs * torch.tensor([0.0, 2.0, 1.0]) + torch.tensor([9.0, 0.0, 0.0])
    log_variance = torch.tensor([-1.0, 0.0, -4.0]).expand(100, 3)
    orders = influence.factor_orders(factor_information(mean, log_variance), mean, log_variance, draws=0)
    assert orders["active_units"].tolist() == [1, 2, 0]
    assert orders["mean_precision"].tolist() == [2, 0, 1]
