"""Synthetic data have the law that they say."""

import pytest
import torch

from vaemi.data.manifolds import linear_gaussian

EIGENVALUES = [4.0, 1.0, 0.25]


def test_linear_gaussian_has_the_covariance_it_says():
    n = 200_000
    data = linear_gaussian(n, EIGENVALUES, seed=1)
    assert data.samples.shape == (n, 3)
    assert data.samples.dtype == torch.float32
    assert torch.allclose(data.basis.T @ data.basis, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.linalg.eigvalsh(data.covariance).tolist() == pytest.approx(EIGENVALUES[::-1])
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


def test_directions_without_variance_are_allowed():
    data = linear_gaussian(20, [1.0, 0.0])
    assert data.sample_eigenvalues()[1] < 1e-12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((1, [1.0]), "n is 1"), ((9, []), "shape"), ((9, [1.0, -1.0]), ">= 0"), ((9, [float("nan")]), "finite")],
)
def test_impossible_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        linear_gaussian(*arguments)
