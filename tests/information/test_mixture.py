"""The exact estimator against closed forms and an independent dense quadrature."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaemi.information import gaussian_information, mixture_information


def information(mean, log_variance):
    nats, _ = mixture_information(torch.as_tensor(mean).double(), torch.as_tensor(log_variance).double())
    return nats.numpy()


def dense_reference(mean, std, points=400_001):
    """I of one factor by the trapezoidal rule on a fixed grid, which converges exponentially for smooth densities."""
    z = np.linspace((mean - 12 * std).min(), (mean + 12 * std).max(), points)
    q = np.zeros_like(z)
    for mu, sigma in zip(mean, std, strict=True):
        q += np.exp(-0.5 * ((z - mu) / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma * len(mean))
    entropy = -np.trapezoid(q * np.log(np.maximum(q, 1e-300)), z)
    return entropy - np.mean(0.5 * np.log(2 * math.pi * math.e * std**2))


CASES = {
    "gaussian marginal": lambda g: (g.normal(0, 1, 300), np.full(300, 0.3)),
    "bimodal": lambda g: (g.choice([-2.0, 2.0], 300) + g.normal(0, 0.05, 300), np.full(300, 0.1)),
    "x-dependent sigma": lambda g: (g.normal(0, 1, 300), np.exp(g.uniform(-3, 0.5, 300))),
    "skewed": lambda g: (g.exponential(1, 300), np.full(300, 0.2)),
    "heavy tails": lambda g: (g.standard_t(2, 300), np.exp(g.normal(-1, 0.5, 300))),
    "nearly ignored": lambda g: (g.normal(0, 0.05, 300), np.full(300, 1.0)),
    "far from zero": lambda g: (1e3 + g.normal(0, 1, 300), np.full(300, 0.3)),
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_dense_quadrature(case):
    mean, std = CASES[case](np.random.default_rng(0))
    assert information(mean[:, None], 2 * np.log(std)[:, None])[0] == pytest.approx(
        dense_reference(mean, std), abs=1e-9
    )


def test_identical_posteriors_hold_nothing():
    assert information(np.full((50, 2), 3.0), np.full((50, 2), -4.0)) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_posteriors_that_do_not_overlap_tell_every_sample_apart(count):
    mean = np.arange(count)[:, None] * 100.0
    assert information(mean, np.zeros((count, 1)))[0] == pytest.approx(math.log(count), abs=1e-12)


def test_two_groups_far_apart_hold_log_two():
    mean = np.repeat([-50.0, 50.0], 20)[:, None]
    assert information(mean, np.zeros((40, 1)))[0] == pytest.approx(math.log(2), abs=1e-12)


def test_unequal_groups_hold_the_entropy_of_their_sizes():
    mean = np.array([0.0] * 9 + [1e4])[:, None]
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert information(mean, np.zeros((10, 1)))[0] == pytest.approx(expected, abs=1e-12)


def test_two_widths_at_one_place():
    # Half the pictures say N(0, 1), half N(0, s^2): known from a dense integral of the two-component mixture only.
    std = np.array([1.0, 0.05])
    assert information(np.zeros((2, 1)), 2 * np.log(std)[:, None])[0] == pytest.approx(
        dense_reference(np.zeros(2), std), abs=1e-9
    )


def test_gaussian_channel_in_the_limit():
    # mu = quantiles of N(0, 1 - s^2): the aggregated posterior tends to N(0, 1), I to -log s.
    count, sigma = 20_000, 0.2
    levels = torch.special.ndtri((torch.arange(count).double() + 0.5) / count)
    mean = levels * math.sqrt(1 - sigma**2)
    log_variance = torch.full((count,), 2 * math.log(sigma))
    assert information(mean[:, None], log_variance[:, None])[0] == pytest.approx(-math.log(sigma), abs=2e-4)


def test_a_collapsed_sigma_gives_the_entropy_of_the_sample():
    mean = np.random.default_rng(0).normal(size=(30, 1))
    assert information(mean, np.full((30, 1), -150.0))[0] == pytest.approx(math.log(30), abs=1e-9)


posteriors = st.integers(2, 30).flatmap(
    lambda m: st.tuples(
        hnp.arrays(float, (m, 2), elements=st.floats(-5, 5, width=32)),
        hnp.arrays(float, (m, 2), elements=st.floats(-6, 2, width=32)),
    )
)


@given(posteriors)
@settings(max_examples=40, deadline=None)
def test_bounds_hold_for_any_posterior(posterior):
    mean, log_variance = posterior
    exact = information(mean, log_variance)
    paper, _ = gaussian_information(torch.as_tensor(mean), torch.as_tensor(log_variance))
    assert np.all(exact >= 0)
    assert np.all(exact <= math.log(len(mean)) + 1e-9)
    assert np.all(exact <= paper.numpy() + 1e-9)


@given(posteriors, st.floats(-8, 8), st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_rescaling_and_shifting_z_change_nothing(posterior, log_scale, shift):
    mean, log_variance = posterior
    moved = information(mean * math.exp(log_scale) + shift, log_variance + 2 * log_scale)
    # Adding the shift rounds the means to the resolution of float64 around it.
    tolerance = 1e-9 + 1e-12 * abs(shift) * math.exp(-log_scale - log_variance.min() / 2)
    assert moved == pytest.approx(information(mean, log_variance), abs=tolerance)


@given(posteriors)
@settings(max_examples=20, deadline=None)
def test_order_and_repetition_of_samples_change_nothing(posterior):
    mean, log_variance = posterior
    expected = information(mean, log_variance)
    assert information(mean[::-1].copy(), log_variance[::-1].copy()) == pytest.approx(expected, abs=1e-9)
    assert information(np.tile(mean, (3, 1)), np.tile(log_variance, (3, 1))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("estimator", [mixture_information, gaussian_information])
def test_standard_error_is_the_spread_over_draws(estimator):
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(200):
        mean = torch.as_tensor(generator.normal(0, 1, (400, 1)))
        log_variance = torch.as_tensor(generator.uniform(-3, -1, (400, 1)))
        draws.append([float(part[0]) for part in estimator(mean, log_variance)])
    values, errors = np.array(draws).T
    # The spread of 200 draws is itself known to 5 %.
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)
