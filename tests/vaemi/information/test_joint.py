"""Joint information, total correlation and minibatch densities against closed forms and full enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from vaemi import factor_information
from vaemi.information import joint as module
from vaemi.information.joint import joint_information, minibatch_log_density, total_correlation

MIXING = torch.tensor([[1.0, 0.5, 0.0], [0.3, -1.0, 0.2], [0.8, 0.0, 1.1]]).double()


def linear_gaussian(mixing, sigma, count, seed):
    """Posteriors of x ~ N(0, I), mu = A x, constant sigma, with their I(X; Z) and total correlation."""
    x = torch.randn(count, mixing.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    mean = x @ mixing.T
    covariance = mixing @ mixing.T + sigma**2 * torch.eye(len(mixing)).double()
    log_determinant = torch.logdet(covariance)
    information = 0.5 * (log_determinant - len(mixing) * math.log(sigma**2))
    correlation = 0.5 * (covariance.diagonal().log().sum() - log_determinant)
    return mean, torch.full_like(mean, 2 * math.log(sigma)), float(information), float(correlation)


def random_posterior(count, factors, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, factors, dtype=torch.float64, generator=generator),
        torch.rand(count, factors, dtype=torch.float64, generator=generator) * 3 - 3,
    )


def test_brackets_hold_the_truth():
    results = []
    for seed in range(5):
        mean, log_variance, information, correlation = linear_gaussian(MIXING, 0.7, 1500, seed)
        joint = joint_information(mean, log_variance, seed=seed)
        tc = total_correlation(mean, log_variance, seed=seed)
        results.append((joint, tc))
        assert joint.plug_in - 3 * joint.plug_in_stderr < information
        assert information < joint.leave_one_out + 3 * joint.leave_one_out_stderr
        assert tc.lower - 3 * tc.lower_stderr < correlation < tc.upper + 3 * tc.upper_stderr
        assert joint.plug_in < joint.leave_one_out < joint.plug_in + 0.04
        assert tc.lower < tc.plug_in < tc.upper < tc.lower + 0.06
    # On average over samples the standard error is smaller and the same must hold.
    mean_plug_in, mean_left_out = (np.mean([getattr(j, n) for j, _ in results]) for n in ("plug_in", "leave_one_out"))
    error = results[0][0].plug_in_stderr / math.sqrt(5)
    assert mean_plug_in - 3 * error < information < mean_left_out + 3 * error
    assert np.mean([tc.plug_in for _, tc in results]) == pytest.approx(correlation, abs=0.03)


def test_small_mixture_against_quadrature_in_two_dimensions():
    mean, log_variance = random_posterior(6, 2)
    axes = [torch.linspace(float(m.min()) - 9, float(m.max()) + 9, 801, dtype=torch.float64) for m in mean.T]
    grid = torch.cartesian_prod(*axes)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    density = torch.zeros(len(grid)).double()
    for mu, log_var in zip(mean, log_variance, strict=True):
        density += MultivariateNormal(mu, log_var.exp().diag()).log_prob(grid).exp() / len(mean)
    assert float(density.sum() * cell) == pytest.approx(1, abs=1e-9)
    entropy = -float(torch.xlogy(density, density).sum() * cell)
    expected = entropy - float(0.5 * (log_variance + math.log(2 * math.pi * math.e)).sum(1).mean())

    draws = 40_000
    estimate = joint_information(mean, log_variance, draws=draws)
    # Log densities scatter by about a nat, and 6 * 40,000 of them are averaged.
    assert estimate.plug_in == pytest.approx(expected, abs=4 / math.sqrt(6 * draws))
    factors = float(factor_information(mean, log_variance).nats.sum())
    correlation = total_correlation(mean, log_variance, draws=draws)
    assert correlation.plug_in == pytest.approx(factors - expected, abs=4 / math.sqrt(6 * draws))


def test_matrix_products_and_differences_agree(monkeypatch):
    mean, log_variance = random_posterior(200, 5)
    products = joint_information(mean + 50, log_variance)
    monkeypatch.setattr(module, "_EXPANSION_ERROR", 0)
    differences = joint_information(mean + 50, log_variance)
    assert products.plug_in == pytest.approx(differences.plug_in, abs=1e-9)
    assert products.leave_one_out == pytest.approx(differences.leave_one_out, abs=1e-9)


def test_narrow_posteriors_are_not_lost_to_cancellation():
    # Pairs at distance 2 sigma, far from all others: I of a pair of Gaussians that far apart, by quadrature, plus log.
    sigma, pairs = 1e-9, 100
    centres = torch.arange(pairs).double().repeat_interleave(2)
    mean = (centres + sigma * torch.tensor([-1.0, 1.0]).double().repeat(pairs))[:, None]
    log_variance = torch.full_like(mean, 2 * math.log(sigma))
    pair = float(factor_information([[-1.0], [1.0]], [[0.0], [0.0]]).nats)
    estimate = joint_information(mean, log_variance, draws=100)
    assert estimate.plug_in == pytest.approx(math.log(pairs) + pair, abs=0.02)


def test_at_the_ceiling_the_bracket_is_wide():
    mean, log_variance, information, _ = linear_gaussian(MIXING, 0.01, 200, 0)
    assert information > 2 * math.log(200)
    joint = joint_information(mean, log_variance)
    assert joint.plug_in <= joint.ceiling + 1e-12
    assert joint.ceiling == math.log(200)
    assert joint.leave_one_out > information
    assert "log M = 5.30" in repr(joint)
    assert total_correlation(mean, log_variance).lower < 0


def test_collapsed_sigma_gives_the_entropy_of_the_distinct_means():
    mean = torch.tensor([[1e6, 3.0]] * 10 + [[1e6, 4.0]] * 10)
    estimate = joint_information(mean, torch.full((20, 2), -120.0))
    assert estimate.plug_in == pytest.approx(math.log(2), abs=1e-12)


def test_identical_posteriors_carry_nothing():
    posterior = torch.full((40, 3), 2.0), torch.full((40, 3), -5.0)
    joint = joint_information(*posterior)
    assert joint.plug_in == pytest.approx(0, abs=1e-12)
    assert joint.width == pytest.approx(0, abs=1e-12)
    assert total_correlation(*posterior).plug_in == pytest.approx(0, abs=1e-12)


def test_a_constant_factor_adds_no_total_correlation_and_a_repeated_one_does():
    mean, log_variance = random_posterior(300, 1)
    constant = torch.full_like(mean, 5)
    beside = total_correlation(torch.cat([mean, constant], 1), torch.cat([log_variance, constant], 1))
    assert beside.plug_in == pytest.approx(0, abs=1e-12)
    assert total_correlation(mean.repeat(1, 2), log_variance.repeat(1, 2)).plug_in > 0.1


def test_standard_errors_are_the_spread_over_samples():
    joints, correlations = [], []
    for seed in range(150):
        posterior = linear_gaussian(MIXING, 0.7, 120, seed)[:2]
        joints.append(joint_information(*posterior, seed=seed))
        correlations.append(total_correlation(*posterior, seed=seed))
    average = {}
    for results, name in (
        (joints, "plug_in"),
        (joints, "leave_one_out"),
        (correlations, "lower"),
        (correlations, "upper"),
    ):
        values = [getattr(result, name) for result in results]
        errors = [getattr(result, f"{name}_stderr") for result in results]
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
        average[name] = np.mean(values)
    information, correlation = linear_gaussian(MIXING, 0.7, 2, 0)[2:]
    error = np.std([joint.plug_in for joint in joints]) / math.sqrt(150)
    # In expectation the brackets hold, and at M = 120 they are far wider than the error of this average.
    assert average["plug_in"] + 3 * error < information < average["leave_one_out"] + 3 * error
    assert average["lower"] < correlation < average["upper"]


def test_some_points_and_more_draws_estimate_the_same():
    mean, log_variance = random_posterior(1000, 3)
    every = joint_information(mean, log_variance, draws=5)
    some = joint_information(mean, log_variance, points=200, seed=1)
    assert some.plug_in == pytest.approx(every.plug_in, abs=4 * some.plug_in_stderr)
    assert some.ceiling == every.ceiling == math.log(1000)
    assert some.plug_in_stderr > 1.5 * every.plug_in_stderr


@pytest.mark.parametrize("estimate", [joint_information, total_correlation])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": torch.full((5, 2), math.nan)}, "mean holds nan"),
        ({"log_variance": torch.zeros(5, 3)}, r"\(5, 3\)"),
        ({"mean": torch.zeros(1, 2), "log_variance": torch.zeros(1, 2)}, r"1 sample\b"),
        ({"draws": 0}, "draws is 0"),
        ({"points": 1}, "points is 1"),
        ({"points": 6}, "at most the 5 samples"),
    ],
)
def test_unusable_input(estimate, change, words):
    with pytest.raises(ValueError, match=words):
        estimate(**{"mean": torch.zeros(5, 2), "log_variance": torch.zeros(5, 2), **change})


# --- minibatches ---------------------------------------------------------------------------------------------------


def averages_over_minibatches(estimate, n, batch, sample):
    """Mean densities (joint, and of each factor) at the z of one sample over all ordered minibatches that hold it."""
    mean, log_variance = random_posterior(n, 3)
    z = mean + (0.5 * log_variance).exp() * random_posterior(n, 3, seed=1)[0]
    joint, factors = [], []
    for chosen in itertools.permutations(range(n), batch):
        if sample in chosen:
            rows = list(chosen)
            log_joint, log_factors = estimate(z[rows], mean[rows], log_variance[rows])
            joint.append(log_joint[chosen.index(sample)].exp())
            factors.append(log_factors[chosen.index(sample)].exp())
    each = Normal(mean, (0.5 * log_variance).exp()).log_prob(z[sample])  # (component, factor)
    return torch.stack(joint).mean(), torch.stack(factors).mean(0), each.sum(1).exp(), each.exp()


SIZES = [(5, 2), (5, 5), (6, 4)]


@pytest.mark.parametrize(("n", "batch"), SIZES)
def test_stratified_density_is_unbiased(n, batch):
    for sample in (0, n - 1):
        joint, factors, each_joint, each_factors = averages_over_minibatches(
            lambda *posterior: minibatch_log_density(*posterior, n, method="stratified"), n, batch, sample
        )
        torch.testing.assert_close(joint, each_joint.mean(), atol=0, rtol=1e-12)
        torch.testing.assert_close(factors, each_factors.mean(0), atol=0, rtol=1e-12)


@pytest.mark.parametrize(("n", "batch"), SIZES)
def test_weighted_density_has_its_known_bias(n, batch):
    for sample in (0, n - 1):
        joint, factors, each_joint, each_factors = averages_over_minibatches(
            lambda *posterior: minibatch_log_density(*posterior, n, method="weighted"), n, batch, sample
        )
        for average, each in ((joint, each_joint), (factors, each_factors)):
            own, others = each[sample], each.sum(0) - each[sample]
            expected = (own + (batch - 1) / (n - 1) * others) / (n * batch)
            torch.testing.assert_close(average, expected, atol=0, rtol=1e-12)


@pytest.mark.parametrize("method", ["weighted", "stratified"])
def test_gradients_flow_and_are_right(method):
    inputs = [t.requires_grad_() for t in (random_posterior(4, 2)[0], *random_posterior(4, 2, seed=5))]

    def total_correlation_of_batch(z, mean, log_variance):
        joint, factors = minibatch_log_density(z, mean, log_variance, 100, method)
        return (joint - factors.sum(1)).mean()

    assert torch.autograd.gradcheck(total_correlation_of_batch, inputs)


@pytest.mark.parametrize(
    ("shape", "n_samples", "method", "words"),
    [
        ((4, 2), 3, "weighted", "holds 4 of n_samples = 3"),
        ((1, 2), 3, "stratified", "needs 2"),
        ((0, 2), 3, "weighted", "needs 1"),
        ((4, 2), 9, "mss", "'weighted' or 'stratified'"),
        ((4,), 9, "weighted", r"\(B, H\)"),
    ],
)
def test_unusable_minibatches(shape, n_samples, method, words):
    with pytest.raises(ValueError, match=words):
        minibatch_log_density(*[torch.zeros(shape)] * 3, n_samples, method)
