"""What factors do, on models whose answer is known: a decoder that shows each factor as one pixel."""

import pytest
import torch
from torch import nn

from vaemi import influence
from vaemi.information.factors import factor_information
from vaemi.models import VAE, GaussianLikelihood


class Pixels(VAE):
    """Four factors, four pixels: pixel h is weight_h z_h."""

    def __init__(self, weights=(1.0, 0.5, 0.1, 0.0)):
        super().__init__()
        self.latent_dim = 4
        self.decoder = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Unflatten(1, (1, 2, 2)))
        self.decoder[0].weight = nn.Parameter(torch.diag(torch.tensor(weights)))
        self.likelihood = GaussianLikelihood()


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


def test_orders_are_permutations_and_the_first_is_the_ranking():
    mean = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 2, 0.5, 1, 0, 0.9])
    log_variance = torch.full((500, 6), -1.0)
    information = factor_information(mean, log_variance)
    orders = influence.factor_orders(information, mean, log_variance, draws=3, seed=5)
    assert list(orders) == ["information", "kl", "variance", "random 0", "random 1", "random 2"]
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders.values())
    assert torch.equal(orders["information"], information.ranking)
    assert orders["variance"][0] == 1
    again = influence.factor_orders(information, mean, log_variance, draws=3, seed=5)
    assert all(torch.equal(orders[name], again[name]) for name in orders)


def test_sampled_posterior_has_its_moments():
    mean, log_variance = torch.full((20_000, 2), 3.0), torch.tensor([0.0, -4.0]).expand(20_000, 2)
    sample = influence.sample_posterior(mean, log_variance, seed=0)
    assert sample.mean(0).tolist() == pytest.approx([3, 3], abs=0.03)
    assert sample.std(0).tolist() == pytest.approx([1, 0.1353], rel=0.02)
    assert torch.equal(sample, influence.sample_posterior(mean, log_variance, seed=0))


def test_ratios_are_counted_as_the_authors_count_them():
    # int((1 - ratio) * 128) factors are removed.
    published = {1.0: 128, 0.5: 64, 0.1: 13, 0.07: 9, 0.05: 7, 0.04: 6, 0.03: 4, 0.02: 3, 0.01: 2, 0.0: 0}
    assert {ratio: influence.kept_at_ratio(ratio, 128) for ratio in published} == published


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


def test_a_swap_at_the_cut_exchanges_the_last_kept_and_the_first_dropped():
    order = torch.tensor([3, 1, 0, 2])
    assert influence.swap_at_the_cut(order, 2).tolist() == [3, 0, 1, 2]
    assert influence.swap_at_the_cut(order, 0).tolist() == influence.swap_at_the_cut(order, 4).tolist() == [3, 1, 0, 2]
    assert order.tolist() == [3, 1, 0, 2]


def test_rank_correlation_ignores_scale():
    a = torch.tensor([0.0, 1.0, 5.0, 2.0])
    assert influence.rank_correlation(a, a.exp()) == pytest.approx(1)
    assert influence.rank_correlation(a, -a) == pytest.approx(-1)
