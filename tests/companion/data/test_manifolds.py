"""Synthetic data have the documented distribution."""

import pytest
import torch
from torch.func import jacrev, vmap

from companion.data.manifolds import _tanh_network, linear_gaussian, tanh_manifold

EIGENVALUES = [4.0, 1.0, 0.25]


def test_linear_gaussian_has_the_covariance_it_says():
    n = 200_000
    data = linear_gaussian(n, EIGENVALUES, seed=1)
    assert data.samples.shape == (n, 3)
    assert data.samples.dtype == torch.float32
    assert torch.allclose(data.basis.T @ data.basis, torch.eye(3, dtype=torch.float64), atol=1e-12)
    # Along the principal directions: independent, of the variances given; standard errors are about sqrt(2 / n).
    along = data.samples.double() @ data.basis / data.eigenvalues.sqrt()
    assert torch.allclose(torch.cov(along.T), torch.eye(3, dtype=torch.float64), atol=5 * (2 / n) ** 0.5)
    assert along.mean(0).abs().max() < 5 / n**0.5
    # Gaussian: the fourth moment is three times the squared variance, with standard error sqrt(96 / n).
    assert (along.pow(4).mean(0) - 3).abs().max() < 5 * (96 / n) ** 0.5


def test_sample_eigenvalues_are_those_of_the_samples():
    data = linear_gaussian(50, EIGENVALUES)
    centred = data.samples.double() - data.samples.double().mean(0)
    expected = torch.linalg.svdvals(centred).square() / 50
    assert data.sample_eigenvalues().tolist() == pytest.approx(expected.tolist())


def test_the_seed_decides_everything():
    first, again, other = (linear_gaussian(20, EIGENVALUES, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.samples, again.samples)
    assert first.provenance == again.provenance
    assert not torch.allclose(first.basis, other.basis)
    assert first.provenance.checksum != other.provenance.checksum


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


def test_noise_is_as_stated_and_leaves_the_manifold_alone():
    noise = 0.3
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


def test_a_manifold_has_no_more_dimensions_than_its_space():
    with pytest.raises(ValueError, match="dim is 9"):
        tanh_manifold(5, 9, ambient_dim=8)


def test_a_variance_is_not_negative():
    with pytest.raises(ValueError, match="not negative"):
        linear_gaussian(10, [1, -1])
