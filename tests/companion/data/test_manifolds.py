"""Synthetic data have the documented distribution."""

import math

import pytest
import torch
from torch.func import jacrev, vmap

from companion.data.manifolds import (
    _tanh_network,
    closed_manifold,
    direction_strengths,
    linear_gaussian,
    tanh_manifold,
)

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


def test_equal_strengths_leave_the_samples_of_earlier_runs_as_they_were():
    # Trainings are found again by their samples.
    generator = torch.Generator().manual_seed(4)
    inner = torch.linalg.qr(torch.randn(20, 3, generator=generator))[0] * math.sqrt(20 / 3)
    shift = 0.5 * torch.randn(20, generator=generator)
    outer = torch.linalg.qr(torch.randn(20, 20, generator=generator))[0]
    u = torch.randn(50, 3, generator=generator)
    expected = torch.tanh(u @ inner.T + shift) @ outer.T + 0.1 * torch.randn(50, 20, generator=generator)
    assert torch.equal(tanh_manifold(50, 3, 20, seed=4), expected)
    assert torch.equal(tanh_manifold(50, 3, 20, seed=4, strength_ratio=1.0), expected)


@pytest.mark.parametrize("dim", [1, 2, 5, 16])
def test_lengths_fall_by_the_same_factor_and_keep_their_total(dim):
    inner, _, _ = _tanh_network(dim, 64, torch.Generator().manual_seed(1), strength_ratio=3.0)
    lengths = inner.norm(dim=0)
    assert float(lengths.square().sum()) == pytest.approx(64, rel=1e-5)
    torch.testing.assert_close(inner.T @ inner, lengths.square().diag(), atol=1e-4, rtol=0)
    if dim > 1:
        expected = 3 ** (-1 / (dim - 1))
        torch.testing.assert_close(lengths[1:] / lengths[:-1], torch.full((dim - 1,), expected), rtol=1e-5, atol=0)


def test_strengths_are_how_far_the_samples_move():
    settings = {"dim": 3, "ambient_dim": 20, "seed": 2, "strength_ratio": 4.0}
    inner, shift, outer = _tanh_network(3, 20, torch.Generator().manual_seed(2), 4.0)
    u = torch.randn(5000, 3, generator=torch.Generator().manual_seed(7))
    jacobian = vmap(jacrev(lambda point: outer @ torch.tanh(inner @ point + shift)))(u)
    expected = torch.linalg.eigvalsh((jacobian.mT @ jacobian).mean(0)).sqrt().flip(0)
    torch.testing.assert_close(direction_strengths(**settings), expected, rtol=0.05, atol=0)


def test_the_weakest_direction_gains_nothing_from_a_larger_ratio():
    equal, unequal = (direction_strengths(16, strength_ratio=ratio) for ratio in (1.0, 3.0))
    assert equal[-1] > unequal[-1] > 0.1
    assert unequal[0] > equal[0]


def test_the_strongest_direction_is_not_weaker_than_the_weakest():
    with pytest.raises(ValueError, match=r"strength_ratio is 0\.5"):
        tanh_manifold(5, 2, strength_ratio=0.5)


CLOSED = {"circle": (1, 2), "sphere": (2, 3), "torus": (2, 4)}


@pytest.mark.parametrize("name", CLOSED)
def test_points_of_a_closed_manifold_are_standardized_and_of_equal_norm(name):
    n = 20_000
    made = closed_manifold(name, n, seed=1)
    dim, coordinates = CLOSED[name]
    assert made.dim == dim
    assert made.points.shape == (n, coordinates)
    assert made.samples.shape == (n, 64)
    assert made.samples.dtype == torch.float32
    torch.testing.assert_close(made.points.square().sum(1), torch.full((n,), float(coordinates)), rtol=1e-5, atol=0)
    assert made.points.mean(0).abs().max() < 5 / n**0.5
    torch.testing.assert_close(torch.cov(made.points.T), torch.eye(coordinates), rtol=0, atol=5 * (2 / n) ** 0.5)


@pytest.mark.parametrize(("name", "planes"), [("circle", [(0, 1)]), ("torus", [(0, 1), (2, 3)])])
def test_angles_are_uniform_and_independent(name, planes):
    n = 20_000
    points = closed_manifold(name, n, seed=3).points
    phases = [torch.complex(points[:, a], points[:, b]) / math.sqrt(2) for a, b in planes]
    for phase in phases:
        torch.testing.assert_close(phase.abs(), torch.ones(n), rtol=1e-5, atol=0)
        # Of a uniform angle every Fourier coefficient but the first is 0, with standard error 1 / sqrt(n).
        assert max(float((phase**order).mean().abs()) for order in range(1, 6)) < 5 / n**0.5
    if len(phases) == 2:
        assert max(float((phases[0] * other).mean().abs()) for other in (phases[1], phases[1].conj())) < 5 / n**0.5


def test_every_coordinate_of_a_uniform_sphere_is_uniform():
    # Archimedes' hat-box theorem: a uniform variable on [-1, 1] has the moments 1 / (k + 1) of even order k.
    n = 20_000
    heights = closed_manifold("sphere", n, seed=3).points / math.sqrt(3)
    for order in (2, 4, 6):
        torch.testing.assert_close(heights.pow(order).mean(0), torch.full((3,), 1 / (order + 1)), rtol=0, atol=0.015)


def test_angles_are_those_in_the_first_plane():
    made = closed_manifold("torus", 50, seed=2)
    expected = torch.stack([made.angles().cos(), made.angles().sin()], 1) * math.sqrt(2)
    torch.testing.assert_close(made.points[:, :2], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_manifold_has_its_dimension_locally(name):
    # The principal components of a small neighbourhood: `dim` of them explain nearly all, one fewer do not.
    dim, _ = CLOSED[name]
    x = closed_manifold(name, 40_000, noise=0, seed=1).samples.double()
    for centre in x[:10]:
        nearest = (x - centre).square().sum(1).topk(40, largest=False).indices
        variances = torch.linalg.eigvalsh(torch.cov(x[nearest].T)).flip(0)
        assert variances[:dim].sum() > 0.97 * variances.sum()
        assert variances[: dim - 1].sum() < 0.9 * variances.sum()


def test_the_map_of_a_closed_manifold_is_that_of_a_sheet():
    made = closed_manifold("sphere", 30, ambient_dim=12, noise=0, seed=5)
    inner, shift, outer = _tanh_network(3, 12, torch.Generator().manual_seed(5))
    torch.testing.assert_close(made.samples, torch.tanh(made.points @ inner.T + shift) @ outer.T)


def test_the_seed_decides_about_a_closed_manifold_and_the_noise_about_nothing_else():
    first, again, other, exact = (
        closed_manifold("torus", 2000, noise=noise, seed=seed) for seed, noise in ((2, 0.3), (2, 0.3), (3, 0.3), (2, 0))
    )
    assert torch.equal(first.samples, again.samples)
    assert torch.equal(first.points, exact.points)
    assert not torch.equal(first.points, other.points)
    difference = torch.cov((first.samples - exact.samples).T)
    torch.testing.assert_close(difference, 0.09 * torch.eye(64), rtol=0, atol=0.015)


def test_a_closed_manifold_of_another_name_or_in_too_small_a_space():
    with pytest.raises(ValueError, match="no manifold 'klein': choose circle, sphere, torus"):
        closed_manifold("klein", 10)
    with pytest.raises(ValueError, match="dim is 4"):
        closed_manifold("torus", 10, ambient_dim=3)


def test_a_variance_is_not_negative():
    with pytest.raises(ValueError, match="variances of 0 or more"):
        linear_gaussian(10, [1, -1])
