"""The steps of the theory chapter against closed forms."""

import math

import numpy as np
import pytest
import torch

from companion.errors import CompanionError
from companion.experiments.theory import gaussian_entropy, total_correlation_bound, water_level
from vaemi.information.bounds import reverse_water_filling

EIGENVALUES = torch.tensor([3.1, 0.4, 2.0, 0.9]).double()


def test_gaussian_entropy_is_that_of_torch():
    theirs = torch.distributions.MultivariateNormal(torch.zeros(4).double(), EIGENVALUES.diag()).entropy()
    assert gaussian_entropy(EIGENVALUES) == pytest.approx(float(theirs), abs=1e-12)


def test_the_water_level_spends_the_information():
    nats = torch.linspace(0, 12, 50).double()
    levels = water_level(EIGENVALUES, nats)
    assert reverse_water_filling(EIGENVALUES, levels)[0].sum(-1).tolist() == pytest.approx(nats.tolist(), abs=1e-12)
    # The slope of the rate-distortion curve is 1 / (2 theta).
    error = reverse_water_filling(EIGENVALUES, levels)[1].sum(-1)
    assert (-nats.diff() / error.diff() > 1 / (2 * levels[:-1])).all()
    assert (-nats.diff() / error.diff() < 1 / (2 * levels[1:])).all()


def gaussian_draws(correlation, n=20_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n, len(correlation), dtype=torch.float64, generator=generator)
    return draws @ torch.linalg.cholesky(correlation).T


def test_the_bound_of_gaussian_factors_is_their_total_correlation():
    correlation = torch.tensor([[1, 0.8, 0.3], [0.8, 1, 0.0], [0.3, 0.0, 1]], dtype=torch.float64)
    z = gaussian_draws(correlation)
    assert total_correlation_bound(z) == pytest.approx(-0.5 * float(torch.logdet(correlation)), abs=0.02)
    # Increasing maps of single factors change nothing.
    bent = torch.stack([z[:, 0].exp(), z[:, 1] ** 3, 100 + 7 * z[:, 2]], 1)
    assert total_correlation_bound(bent) == pytest.approx(total_correlation_bound(z), abs=1e-12)


def test_the_bound_of_independent_factors_has_its_known_bias():
    h, m = 20, 2000
    found = [total_correlation_bound(gaussian_draws(torch.eye(h).double(), m, seed)) for seed in range(10)]
    assert np.mean(found) == pytest.approx(h * (h - 1) / (4 * m), rel=0.1)


def test_the_bound_may_exceed_log_m():
    one = gaussian_draws(torch.eye(1).double(), 500)
    copies = one + 0.01 * gaussian_draws(torch.eye(5).double(), 500, seed=1)
    truth = 0.5 * (5 * math.log(1 + 1e-4) - 5 * math.log(1e-4) - math.log(1 + 5e4))
    assert total_correlation_bound(copies) > 0.6 * truth > math.log(500)


@pytest.mark.parametrize("z", [torch.zeros(3, 3), torch.full((5, 2), math.nan)])
def test_draws_that_the_bound_cannot_use(z):
    with pytest.raises(CompanionError, match="finite numbers with M > H"):
        total_correlation_bound(z)
