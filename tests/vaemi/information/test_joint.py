"""Joint information, total correlation and minibatch densities against closed forms and full enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from vaemi import factor_information
from vaemi.information import joint as module
from vaemi.information.joint import (
    joint_information,
    minibatch_log_density,
    separation,
    total_correlation,
    total_correlation_bound,
)

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
        result = separation(mean, log_variance, seed=seed)
        assert result.known
        results.append((result.joint, result.total_correlation))
        joint, tc = results[-1]
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


def test_values_of_every_draw_against_torch_distributions():
    mean, log_variance = random_posterior(30, 3)
    sample = module._sample(mean, log_variance, 2, None, 7, by_factor=True)
    noise = torch.randn(60, 3, dtype=torch.float64, generator=module._generator(7)).view(30, 2, 3)
    z = mean[:, None] + (0.5 * log_variance[:, None]).exp() * noise
    densities = Normal(mean, (0.5 * log_variance).exp()).log_prob(z[:, :, None])  # (point, draw, component, factor)
    own = torch.arange(30)
    others = ~torch.eye(30, dtype=torch.bool)
    expected = densities[own, :, own].sum(-1) - (densities.sum(-1).logsumexp(2) - math.log(30))
    torch.testing.assert_close(sample.joint, expected, atol=1e-11, rtol=0)
    for point in range(30):
        rest = densities[point][:, others[point]]
        expected = densities[point, :, point] - (rest.logsumexp(1) - math.log(29))
        torch.testing.assert_close(sample.factors_others[point], expected, atol=1e-11, rtol=0)
        expected = densities[point, :, point].sum(-1) - (rest.sum(-1).logsumexp(1) - math.log(29))
        torch.testing.assert_close(sample.joint_others[point], expected, atol=1e-11, rtol=0)
    expected = densities[own, :, own] - (densities.logsumexp(2) - math.log(30))
    torch.testing.assert_close(sample.factors, expected, atol=1e-11, rtol=0)


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


@pytest.mark.parametrize("block", [1, 997, 2**21])
def test_the_size_of_the_blocks_changes_nothing(monkeypatch, block):
    mean, log_variance = random_posterior(100, 3)
    expected = separation(mean, log_variance, draws=2)
    monkeypatch.setattr(module, "_BLOCK", block)
    again = separation(mean, log_variance, draws=2)
    assert again.joint.plug_in == pytest.approx(expected.joint.plug_in, abs=1e-12)
    assert again.total_correlation.lower == pytest.approx(expected.total_correlation.lower, abs=1e-12)


def test_at_the_ceiling_nothing_is_claimed():
    mean, log_variance, information, _ = linear_gaussian(MIXING, 0.01, 200, 0)
    assert information > 2 * math.log(200)
    result = separation(mean, log_variance, factor_information(mean, log_variance).nats)
    assert result.joint.plug_in <= result.joint.ceiling + 1e-12
    assert result.joint.ceiling == math.log(200)
    assert result.joint.leave_one_out > information
    assert result.total_correlation.lower < 0
    assert not result.known
    assert "unknown" in repr(result)
    assert "log M = 5.30" in repr(result)


def test_posteriors_that_do_not_overlap_reach_the_ceiling_exactly():
    mean = torch.arange(50).double()[:, None] * 1000
    estimate = joint_information(mean, torch.zeros(50, 1))
    assert estimate.plug_in == pytest.approx(math.log(50), abs=1e-12)
    assert estimate.plug_in_stderr == pytest.approx(0, abs=1e-12)


def test_collapsed_sigma_gives_the_entropy_of_the_distinct_means():
    mean = torch.tensor([[1e6, 3.0]] * 10 + [[1e6, 4.0]] * 10)
    estimate = joint_information(mean, torch.full((20, 2), -120.0))
    assert estimate.plug_in == pytest.approx(math.log(2), abs=1e-12)


def test_identical_posteriors_hold_nothing():
    result = separation(torch.full((40, 3), 2.0), torch.full((40, 3), -5.0))
    assert result.joint.plug_in == pytest.approx(0, abs=1e-12)
    assert result.joint.leave_one_out == pytest.approx(0, abs=1e-12)
    assert result.total_correlation.plug_in == pytest.approx(0, abs=1e-12)
    assert result.known


def test_independent_factors_have_no_total_correlation():
    mean, log_variance, information, correlation = linear_gaussian(torch.eye(3).double(), 0.8, 2000, 3)
    assert correlation == pytest.approx(0, abs=1e-12)
    result = separation(mean, log_variance, draws=2)
    tc = result.total_correlation
    assert abs(tc.plug_in) < 3 * tc.plug_in_stderr + 0.01
    assert tc.lower - 3 * tc.lower_stderr < 0 < tc.upper + 3 * tc.upper_stderr
    assert result.sum_of_factors == pytest.approx(information, abs=0.06)


def test_a_constant_factor_adds_no_total_correlation_and_a_repeated_one_does():
    mean, log_variance = random_posterior(300, 1)
    constant = torch.full_like(mean, 5)
    beside = separation(torch.cat([mean, constant], 1), torch.cat([log_variance, constant], 1))
    assert beside.factors[1] == pytest.approx(0, abs=1e-12)
    assert beside.total_correlation.plug_in == pytest.approx(0, abs=1e-12)
    twice = separation(mean.repeat(1, 2), log_variance.repeat(1, 2))
    assert twice.total_correlation.plug_in > 0.1


def test_the_identity_holds_against_the_exact_estimator():
    mean, log_variance, _, _ = linear_gaussian(MIXING, 0.7, 800, 1)
    result = separation(mean, log_variance, factor_information(mean, log_variance).nats, draws=16)
    assert 0 < result.residual_stderr < 0.02
    assert abs(result.residual) < 4 * result.residual_stderr
    tc, joint = result.total_correlation, result.joint
    assert result.residual == pytest.approx(joint.plug_in + tc.plug_in - result.sum_of_factors, abs=1e-12)
    assert "known" in repr(result)
    assert separation(mean, log_variance).residual is None


def test_the_bracket_of_the_total_correlation_follows_from_the_identity():
    result = separation(*random_posterior(60, 3), draws=2)
    tc, joint = result.total_correlation, result.joint
    assert tc.lower == pytest.approx(result.sum_of_factors - joint.leave_one_out, abs=1e-12)
    assert tc.plug_in == pytest.approx(result.sum_of_factors - joint.plug_in, abs=1e-12)


def test_the_error_of_the_residual_is_its_spread_over_draws():
    # Few samples, unlike each other: what differs between them must not count.
    mean, log_variance = random_posterior(8, 2)
    nats = factor_information(mean, log_variance).nats
    results = [separation(mean, log_variance, nats, draws=20, seed=seed) for seed in range(200)]
    spread = np.std([r.residual for r in results])
    assert np.sqrt(np.mean([r.residual_stderr**2 for r in results])) == pytest.approx(spread, rel=0.15)


def test_wrong_factors_are_found_out():
    mean, log_variance, _, _ = linear_gaussian(MIXING, 0.7, 800, 1)
    wrong = factor_information(mean, log_variance, method="gaussian").nats * 1.1
    result = separation(mean, log_variance, wrong, draws=4)
    assert abs(result.residual) > 4 * result.residual_stderr


def test_standard_errors_are_the_spread_over_samples():
    estimates = []
    for seed in range(150):
        mean, log_variance, _, _ = linear_gaussian(MIXING, 0.7, 120, seed)
        estimates.append(separation(mean, log_variance, seed=seed))
    for values, errors in (
        ([e.joint.plug_in for e in estimates], [e.joint.plug_in_stderr for e in estimates]),
        ([e.joint.leave_one_out for e in estimates], [e.joint.leave_one_out_stderr for e in estimates]),
        ([e.total_correlation.lower for e in estimates], [e.total_correlation.lower_stderr for e in estimates]),
        ([e.total_correlation.upper for e in estimates], [e.total_correlation.upper_stderr for e in estimates]),
    ):
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
    truth = linear_gaussian(MIXING, 0.7, 2, 0)[2:]
    error = np.std([e.joint.plug_in for e in estimates]) / math.sqrt(150)
    # In expectation the brackets hold, and at M = 120 they are far wider than the error of this average.
    assert np.mean([e.joint.plug_in for e in estimates]) + 3 * error < truth[0]
    assert truth[0] < np.mean([e.joint.leave_one_out for e in estimates]) + 3 * error
    assert np.mean([e.total_correlation.lower for e in estimates]) < truth[1]
    assert truth[1] < np.mean([e.total_correlation.upper for e in estimates])


def test_some_points_and_more_draws_estimate_the_same():
    mean, log_variance = random_posterior(1000, 3)
    every = joint_information(mean, log_variance, draws=5)
    some = joint_information(mean, log_variance, points=200, seed=1)
    assert some.plug_in == pytest.approx(every.plug_in, abs=4 * some.plug_in_stderr)
    assert some.ceiling == every.ceiling == math.log(1000)
    assert some.plug_in_stderr > 1.5 * every.plug_in_stderr


def test_the_seed_decides():
    mean, log_variance = random_posterior(50, 2)
    assert joint_information(mean, log_variance, seed=1) == joint_information(mean, log_variance, seed=1)
    assert joint_information(mean, log_variance, seed=1) != joint_information(mean, log_variance, seed=2)


def test_noise_is_not_that_of_data_drawn_with_the_same_seed():
    assert not torch.equal(
        torch.randn(5, generator=module._generator(0)), torch.randn(5, generator=torch.Generator().manual_seed(0))
    )


def test_reprs_say_what_is_known():
    mean, log_variance = random_posterior(50, 2)
    assert "leave-one-out" in repr(joint_information(mean, log_variance))
    assert "log M = 3.91" in repr(joint_information(mean, log_variance))
    assert "nats" in repr(total_correlation(mean, log_variance))


@pytest.mark.parametrize("estimate", [joint_information, total_correlation, separation])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": torch.full((5, 2), math.nan)}, "mean holds nan"),
        ({"log_variance": torch.zeros(5, 3)}, r"\(5, 3\)"),
        ({"mean": torch.zeros(1, 2), "log_variance": torch.zeros(1, 2)}, r"1 sample\(s\)"),
        ({"draws": 0}, "draws is 0"),
        ({"points": 1}, "points is 1"),
        ({"points": 6}, "at most the 5 samples"),
    ],
)
def test_unusable_input(estimate, change, words):
    with pytest.raises(ValueError, match=words):
        estimate(**{"mean": torch.zeros(5, 2), "log_variance": torch.zeros(5, 2), **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": 0}, "tolerance is 0"),
        ({"tolerance": math.nan}, "tolerance is nan"),
        ({"information": torch.zeros(3)}, r"information has shape \(3,\)"),
        ({"information": [0.0, math.nan]}, "finite"),
    ],
)
def test_unusable_arguments_of_separation(change, words):
    with pytest.raises(ValueError, match=words):
        separation(torch.zeros(5, 2), torch.zeros(5, 2), **change)


# --- minibatches ---------------------------------------------------------------------------------------------------


def first_column_log_density(z, mean, log_variance, n_samples):
    """The stratified estimate with the weights 1 / N in the first column, as some public code has it."""
    batch = len(z)
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others, dtype=torch.float64)
    weights.view(-1)[:: others + 1] = 1 / n_samples
    weights.view(-1)[1 :: others + 1] = (n_samples - others) / (n_samples * others)
    weights[others - 1, 0] = (n_samples - others) / (n_samples * others)
    densities = Normal(mean, (0.5 * log_variance).exp()).log_prob(z[:, None])
    return (densities.sum(2) + weights.log()).logsumexp(1), (densities + weights.log()[:, :, None]).logsumexp(1)


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


SIZES = [(5, 2), (5, 3), (5, 5), (6, 3), (6, 4)]


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


@pytest.mark.parametrize(("n", "batch"), [(5, 3), (6, 4)])
def test_weights_in_the_first_column_are_biased(n, batch):
    joint, factors, each_joint, each_factors = averages_over_minibatches(
        lambda *posterior: first_column_log_density(*posterior, n), n, batch, 0
    )
    assert abs(joint / each_joint.mean() - 1) > 0.05
    assert ((factors / each_factors.mean(0) - 1).abs() > 0.01).all()


def test_stratified_weights_sum_to_one():
    for n, batch in [(5, 2), (6, 4), (50_000, 100)]:
        weights = module._minibatch_log_weights(batch, n, "stratified").exp()
        torch.testing.assert_close(weights.sum(1), torch.ones(batch).double())
        torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / n).double())


@pytest.mark.parametrize("method", ["weighted", "stratified"])
def test_gradients_flow_and_are_right(method):
    inputs = [t.requires_grad_() for t in (random_posterior(4, 2)[0], *random_posterior(4, 2, seed=5))]

    def total_correlation_of_batch(z, mean, log_variance):
        joint, factors = minibatch_log_density(z, mean, log_variance, 100, method)
        return (joint - factors.sum(1)).mean()

    assert torch.autograd.gradcheck(total_correlation_of_batch, inputs)


def test_minibatches_keep_their_type():
    mean, log_variance = (t.float() for t in random_posterior(4, 2))
    joint, factors = minibatch_log_density(mean, mean, log_variance, 10)
    assert joint.dtype == factors.dtype == torch.float32
    assert (joint.shape, factors.shape) == ((4,), (4, 2))


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


def test_minibatch_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        minibatch_log_density(torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(4, 2), 10)


# --- The bound without a ceiling


def gaussian_draws(correlation, n=20_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, len(correlation), dtype=torch.float64, generator=generator)
        @ torch.linalg.cholesky(correlation).T
    )


def test_the_bound_of_gaussian_factors_is_their_total_correlation():
    correlation = torch.tensor([[1, 0.8, 0.3], [0.8, 1, 0.0], [0.3, 0.0, 1]], dtype=torch.float64)
    truth = -0.5 * float(torch.logdet(correlation))
    z = gaussian_draws(correlation)
    assert total_correlation_bound(z) == pytest.approx(truth, abs=0.02)
    # Increasing maps of single factors change nothing.
    bent = torch.stack([z[:, 0].exp(), z[:, 1] ** 3, 100 + 7 * z[:, 2]], 1)
    assert total_correlation_bound(bent) == pytest.approx(total_correlation_bound(z), abs=1e-12)


def test_the_bound_of_independent_factors_is_what_chance_shows():
    h, m = 20, 2000
    found = [total_correlation_bound(gaussian_draws(torch.eye(h).double(), m, seed)) for seed in range(10)]
    assert np.mean(found) == pytest.approx(h * (h - 1) / (4 * m), rel=0.1)


def test_the_bound_does_not_see_what_is_not_monotone():
    z = gaussian_draws(torch.eye(2).double(), 4000)
    code = torch.stack([z[:, 0], z[:, 0].square()], 1)
    assert total_correlation(code, torch.full_like(code, math.log(0.01)), points=300).lower > 0.5
    assert total_correlation_bound(code) < 0.01


def test_the_bound_has_no_ceiling():
    # Five copies of one factor: far more than log M, which is 6.2.
    one = gaussian_draws(torch.eye(1).double(), 500)
    copies = one + 0.01 * gaussian_draws(torch.eye(5).double(), 500, seed=1)
    truth = 0.5 * (5 * math.log(1 + 1e-4) - 5 * math.log(1e-4) - math.log(1 + 5e4))
    assert total_correlation_bound(copies) > 0.6 * truth > math.log(500)
    assert total_correlation_bound(one.expand(-1, 2)) > 10


@pytest.mark.parametrize("z", [torch.zeros(3, 3), torch.zeros(4), torch.full((5, 2), math.nan)])
def test_draws_that_the_bound_cannot_use(z):
    with pytest.raises(ValueError, match="more of them than factors"):
        total_correlation_bound(z)
