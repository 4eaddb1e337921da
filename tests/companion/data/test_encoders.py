"""Simulated encoders: their draws have the stated density and information."""

import math

import numpy as np
import pytest

from companion.data import encoders
from vaemi import factor_information

ENCODERS = [
    encoders.gaussian(0.2),
    encoders.bimodal(0.1, share=0.3),
    encoders.skewed(0.1),
    encoders.uniform(0.05),
    encoders.two_widths(0.05, share=0.2),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_draws_have_the_stated_density(encoder):
    mean, log_variance = encoder.draw(200_000, 1)
    z = mean + np.exp(log_variance / 2) * np.random.default_rng(1).standard_normal(mean.shape)
    grid = np.linspace(-8, 12, 200_001)
    cumulative = np.cumsum(encoder.density(grid)) * (grid[1] - grid[0])
    assert cumulative[-1] == pytest.approx(1, abs=1e-3)
    empirical = np.searchsorted(np.sort(z[:, 0]), grid) / len(z)
    # The largest distance is below 1.63 / sqrt(M) in 99 of 100 draws (Kolmogorov).
    assert np.abs(empirical - cumulative).max() < 1.63 / math.sqrt(len(z))


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_many_draws_have_the_stated_information(encoder):
    found = factor_information(*encoder.draw(200_000, 1))
    assert float(found.nats[0]) == pytest.approx(encoder.information, abs=4 * float(found.stderr[0]) + 1e-4)


def test_closed_forms():
    assert encoders.gaussian(0.3).information == pytest.approx(-math.log(0.3), abs=1e-9)
    assert encoders.bimodal(0.1, distance=10.0).information == pytest.approx(math.log(2), abs=1e-9)
    uneven = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert encoders.bimodal(0.1, share=0.3, distance=10.0).information == pytest.approx(uneven, abs=1e-9)


def test_distance_from_gaussian_is_what_the_papers_estimate_exceeds_the_information_by():
    assert abs(encoders.gaussian(0.3).distance_from_gaussian) < 1e-12
    # Far groups: the variance is s^2 + p (1 - p) d^2, and the information the entropy of the two shares.
    entropy = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    estimate = 0.5 * math.log(1 + 0.21 * (10 / 0.1) ** 2)
    groups = encoders.bimodal(0.1, share=0.3, distance=10.0)
    assert groups.distance_from_gaussian == pytest.approx(estimate - entropy, abs=1e-9)
    for encoder in ENCODERS:
        estimate = factor_information(*encoder.draw(200_000, 1), method="gaussian").nats.item()
        limit = encoder.information + encoder.distance_from_gaussian
        assert estimate == pytest.approx(limit, abs=0.02)


def test_columns_are_independent_and_seeds_repeat():
    first, again, other = (encoders.gaussian(0.3).draw(1000, 2, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.1
