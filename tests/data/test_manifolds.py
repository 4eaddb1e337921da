"""The synthetic manifolds: their dimension by their Jacobian and by local counting, their noise, their seeds."""

import pytest
import torch
from torch.func import jacrev, vmap

from vaemi.data.manifolds import _tanh_network, tanh_manifold


@pytest.mark.parametrize("dim", [1, 6, 16])
def test_every_direction_matters_everywhere(dim):
    inner, shift, outer = _tanh_network(dim, 64, torch.Generator().manual_seed(3))
    u = torch.randn(200, dim, generator=torch.Generator().manual_seed(0))
    jacobian = vmap(jacrev(lambda point: outer @ torch.tanh(inner @ point + shift)))(u)
    assert (torch.linalg.matrix_rank(jacobian) == dim).all()
    # J^T J averaged over the samples: how far x moves with each direction of u.
    strength = torch.linalg.eigvalsh((jacobian.mT @ jacobian).mean(0)).sqrt()
    assert strength.max() / strength.min() < 1.5


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_distances_between_neighbours_tell_the_dimension(dim):
    # Levina and Bickel (2004): the number of neighbours within a radius grows as its d-th power.
    x = tanh_manifold(4000, dim, noise=0, seed=1)
    distances = torch.cdist(x[:500].double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(21, largest=False).values[:, 1:]
    log_ratios = (nearest[:, -1:] / nearest[:, :-1]).log()
    assert 19 / float(log_ratios.sum(1).mean()) == pytest.approx(dim, rel=0.15)


@pytest.mark.parametrize(("dim", "size"), [(1, 0.5), (16, 0.6)])
def test_the_samples_are_as_large_as_stated(dim, size):
    assert float(tanh_manifold(4000, dim, noise=0).var(0).mean().sqrt()) == pytest.approx(size, abs=0.05)


def test_more_linear_directions_than_dimensions():
    x = tanh_manifold(5000, 2, noise=0, seed=0)
    assert (torch.linalg.eigvalsh(torch.cov(x.T)) > 0.01).sum() > 4


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_noise_is_as_stated_and_leaves_the_manifold_alone(noise):
    difference = tanh_manifold(4000, 3, noise=noise, seed=5) - tanh_manifold(4000, 3, noise=0, seed=5)
    covariance = torch.cov(difference.T)
    torch.testing.assert_close(covariance, noise**2 * torch.eye(64), rtol=0, atol=0.1 * noise**2)


def test_the_seed_decides():
    first = tanh_manifold(50, 3, ambient_dim=10, seed=2)
    assert first.shape == (50, 10)
    assert first.dtype == torch.float32
    assert torch.equal(first, tanh_manifold(50, 3, ambient_dim=10, seed=2))
    assert not torch.equal(first, tanh_manifold(50, 3, ambient_dim=10, seed=3))
    before = torch.random.get_rng_state()
    tanh_manifold(50, 3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0, "dim": 2}, "n is 0"),
        ({"n": 5, "dim": 0}, "dim is 0"),
        ({"n": 5, "dim": 9, "ambient_dim": 8}, "dim is 9"),
        ({"n": 5, "dim": 2, "noise": -0.1}, "noise is -0.1"),
    ],
)
def test_impossible_manifolds(arguments, words):
    with pytest.raises(ValueError, match=words):
        tanh_manifold(**arguments)
