"""The exact estimator against closed forms and an independent dense quadrature."""

import math
import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_quadrature import divergences

from vaemi.information import direct, factor_information, gaussian_information, spreading

TOLERANCE = {"default": 1e-6, "high": 1e-9}


@pytest.fixture(scope="module", params=["FEW_SAMPLES", "POINTS_PER_SAMPLE"], autouse=True)
def way(request):
    """The way of integration, which otherwise follows from the samples: all are spread, or none while they are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, request.param, -math.inf)
        yield


def information(mean, log_variance, precision="high"):
    return factor_information(mean, log_variance, precision=precision).nats.numpy()


def dense_reference(mean, std):
    """I of one factor by the plain quadrature."""
    return float(factor_information(mean[:, None], 2 * np.log(std)[:, None], "dense").nats)


CASES = {
    "gaussian marginal": lambda g: (g.normal(0, 1, 300), np.full(300, 0.3)),
    "bimodal": lambda g: (g.choice([-2.0, 2.0], 300) + g.normal(0, 0.05, 300), np.full(300, 0.1)),
    "x-dependent sigma": lambda g: (g.normal(0, 1, 300), np.exp(g.uniform(-3, 0.5, 300))),
    "skewed": lambda g: (g.exponential(1, 300), np.full(300, 0.2)),
    "heavy tails": lambda g: (g.standard_t(2, 300), np.exp(g.normal(-1, 0.5, 300))),
    "nearly ignored": lambda g: (g.normal(0, 0.05, 300), np.full(300, 1.0)),
    "far from zero": lambda g: (1e3 + g.normal(0, 1, 300), np.full(300, 0.3)),
}


# sigma relative to the width of a standard normal marginal, from far too narrow to hopelessly broad, and mixed.
SPREADS = {
    "1e-6": lambda g: np.full(150, 1e-6),
    "1e-3": lambda g: np.full(150, 1e-3),
    "1e-6 to 1": lambda g: 10 ** g.uniform(-6, 0, 150),
    "1e-6 to 1e3": lambda g: 10 ** g.uniform(-6, 3, 150),
    "1e-3 or 1": lambda g: g.choice([1e-3, 1.0], 150),
    "1e3": lambda g: np.full(150, 1e3),
}


@pytest.mark.parametrize("spread", SPREADS)
def test_any_sigma_on_any_scale(spread):
    generator = np.random.default_rng(0)
    mean, log_variance = generator.normal(size=150), 2 * np.log(SPREADS[spread](generator))
    kl = divergences(torch.as_tensor(mean), torch.as_tensor(log_variance)).numpy()
    # The truth does not depend on the scale, which puts the components at other places of the lattice.
    scales = np.array([1e-4, 1.0, 1e4])
    posterior = mean[:, None] * scales, log_variance[:, None] + 2 * np.log(scales)
    for precision, tolerance in TOLERANCE.items():
        found = factor_information(*posterior, precision=precision)
        assert found.nats.numpy() == pytest.approx(kl.mean(), abs=tolerance)
        assert 150 * found.stderr.numpy() ** 2 == pytest.approx(kl.var(ddof=1), abs=tolerance)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0, 6.0, 40.0])
def test_two_components_of_every_width_and_position(distance, precision):
    # Two equal components d standard deviations apart: I depends on d alone, whatever the place on the lattice.
    std, place = np.meshgrid(2 ** np.linspace(0, 1, 29), np.linspace(0, 0.25, 11))
    std, place = std.ravel(), place.ravel()
    mean = np.stack([place - distance * std / 2, place + distance * std / 2])
    expected = dense_reference(np.array([-distance / 2, distance / 2]), np.ones(2))
    found = information(mean, np.tile(2 * np.log(std), (2, 1)), precision)
    assert np.abs(found - expected).max() < TOLERANCE[precision]


def test_weights_count_samples():
    generator = np.random.default_rng(0)
    mean, log_variance = generator.normal(size=(200, 2)), generator.uniform(-4, 0, (200, 2))
    times = generator.integers(0, 4, 200)
    weighted = factor_information(mean, log_variance, weight=times)
    repeated = factor_information(mean.repeat(times, 0), log_variance.repeat(times, 0))
    torch.testing.assert_close(weighted.nats, repeated.nats, atol=1e-12, rtol=0)
    torch.testing.assert_close(weighted.marginal_std, repeated.marginal_std, atol=1e-12, rtol=0)
    one = factor_information(mean, log_variance)
    same = factor_information(mean, log_variance, weight=np.full(200, 7.0))
    for name in ("nats", "stderr", "leave_one_out", "marginal_std"):
        torch.testing.assert_close(getattr(same, name), getattr(one, name), atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", ["mixture", "gaussian"])
def test_clusters_of_one_sample_change_nothing(method):
    generator = np.random.default_rng(0)
    mean, log_variance = generator.normal(size=(200, 2)), generator.uniform(-4, 0, (200, 2))
    for weight in (None, generator.uniform(0.5, 2, 200)):
        expected = factor_information(mean, log_variance, method, weight=weight)
        alone = factor_information(mean, log_variance, method, weight=weight, clusters=generator.permutation(200))
        # With weights the two corrections for the mean's degree of freedom differ a little.
        torch.testing.assert_close(alone.stderr, expected.stderr, atol=0 if weight is None else 1e-4, rtol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_and_torch_agree(monkeypatch, weighted):
    generator = np.random.default_rng(0)
    mean, log_variance = generator.normal(size=(3000, 3)), generator.uniform(-20, 0, (3000, 3))
    mean[0, 0], log_variance[:, 1] = 1e9, -150  # beyond the lattice, where sigma is raised
    asked = {"weight": generator.uniform(0, 1, 3000) if weighted else None, "clusters": np.arange(3000) // 3}
    pytest.importorskip("numba")
    compiled = factor_information(mean, log_variance, **asked)
    monkeypatch.setattr(spreading, "compiled_for", lambda tensor: None)
    plain = factor_information(mean, log_variance, **asked)
    for name in ("nats", "stderr", "leave_one_out", "marginal_std"):
        torch.testing.assert_close(getattr(compiled, name), getattr(plain, name), atol=1e-9, rtol=1e-9)


@pytest.mark.slow
def test_compiled_code_that_cannot_be_kept_is_compiled_all_the_same():
    pytest.importorskip("numba")
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
        "from vaemi.information import factor_information, spreading\n"
        "import torch; assert spreading.compiled_for(torch.zeros(1))\n"
        "print(factor_information([[-50.0], [50.0]], [[0.0], [0.0]]).total)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_dense_quadrature(case, weighted):
    generator = np.random.default_rng(0)
    mean, std = CASES[case](generator)
    posterior = mean[:, None], 2 * np.log(std)[:, None]
    asked = {"weight": generator.uniform(0.5, 2, len(mean))} if weighted else {}
    dense = factor_information(*posterior, "dense", **asked)
    for precision, tolerance in TOLERANCE.items():
        fast = factor_information(*posterior, precision=precision, **asked)
        torch.testing.assert_close(fast.nats, dense.nats, atol=tolerance, rtol=0)
        torch.testing.assert_close(fast.marginal_std, dense.marginal_std, atol=1e-9, rtol=1e-9)
        # The variance of the divergences is as exact as their mean.
        torch.testing.assert_close(300 * fast.stderr**2, 300 * dense.stderr**2, atol=tolerance, rtol=0)
        if weighted:  # the leave-one-out value then removes a mean share, see FactorInformation
            continue
        # Too small for lone samples, too large where narrower octaves are left out; see FactorInformation.
        gain, exact = fast.leave_one_out - fast.nats, dense.leave_one_out - dense.nats
        assert 0.75 * exact - 1e-4 < gain < 1.5 * exact + 1e-4
        if case in ("gaussian marginal", "bimodal"):
            torch.testing.assert_close(gain, exact, atol=1e-4, rtol=0.03)


def test_leave_one_out_bounds_the_information_of_the_population_in_expectation():
    # Exponential means, where the approximate leave-one-out value is farthest below the exact one.
    levels = -torch.log1p(-(torch.arange(200_000).double() + 0.5) / 200_000)[:, None]
    truth = float(factor_information(levels, torch.full_like(levels, 2 * math.log(0.2))).nats)
    mean = np.random.default_rng(0).exponential(1, (300, 400))
    found = factor_information(mean, np.full_like(mean, 2 * math.log(0.2)))
    error = float(found.leave_one_out.std()) / 400**0.5
    assert float(found.nats.mean()) + 3 * error < truth < float(found.leave_one_out.mean()) - 3 * error


def test_leave_one_out_stops_growing_where_all_samples_are_alone():
    # A known limitation of the fast estimate: below sigma = 1e-6 it is no upper bound.
    mean = np.random.default_rng(0).normal(size=(100, 1))
    found = factor_information(mean, np.full((100, 1), 2 * math.log(1e-8)))
    assert 10 < float(found.leave_one_out - found.nats) < 13


def test_leave_one_out_is_finite_where_scales_differ_beyond_single_precision():
    mean = torch.tensor([[0.0], [1e60], [-2e60], [3e60]], dtype=torch.float64)
    found = factor_information(mean, torch.zeros(4, 1))
    torch.testing.assert_close(found.nats, torch.full((1,), math.log(4)).double(), atol=2e-7, rtol=0)
    assert 10 < float(found.leave_one_out - found.nats) < 100


@pytest.mark.parametrize("method", ["mixture", "gaussian", "dense"])
@pytest.mark.parametrize("weight", [[1.0, 0.0, 0.0], [1e30, 1.0, 1.0]])
def test_a_sample_with_all_the_weight_carries_nothing(method, weight):
    mean = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64)
    found = factor_information(mean, torch.zeros(3, 1), method, weight=torch.tensor(weight).double())
    assert float(found.nats[0]) == pytest.approx(0, abs=1e-6)
    assert float(found.stderr[0]) == pytest.approx(0, abs=1e-3)
    assert found.leave_one_out is None or 0 <= float(found.leave_one_out[0]) < math.inf


@pytest.mark.parametrize("method", ["mixture", "dense"])
def test_the_same_code_far_from_zero_carries_nothing(method):
    # The square of the mean is beyond the digits of float64, so a variance from second moments would be lost.
    found = factor_information(torch.full((5, 1), 2.0**40, dtype=torch.float64), torch.zeros(5, 1), method)
    assert float(found.nats[0]) == pytest.approx(0, abs=1e-6)
    # The leave-one-out value counts a heavy-tailed density as a tenth of a sample.
    assert 0 <= float(found.leave_one_out[0]) < 0.1


@pytest.mark.parametrize("precision", ["default", "high"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_means_just_inside_a_power_of_two_beside_the_narrowest_sigma(precision, sign):
    # The first two are one group, at the very end of the lattice: H(1/2, 1/4, 1/4).
    edge = sign * (2.0 - 2**-50)
    mean = torch.tensor([[edge], [edge], [edge / 2**20], [-0.75 * edge]], dtype=torch.float64)
    expected = math.log(4) - 0.5 * math.log(2)
    for log_variance in (-46.0, -47.5, -60.0, -200.0):
        found = factor_information(mean, torch.full((4, 1), log_variance), precision=precision)
        assert float(found.nats[0]) == pytest.approx(expected, abs=2e-7)
        torch.testing.assert_close(found.marginal_std[0], mean.square().mean().sqrt(), atol=1e-9, rtol=0)


def test_leave_one_out_is_far_above_where_posteriors_do_not_overlap():
    mean = np.random.default_rng(0).normal(size=(500, 1))
    found = factor_information(mean, np.full((500, 1), 2 * math.log(1e-5)))
    assert float(found.nats[0]) == pytest.approx(math.log(500), abs=0.05)
    assert float(found.leave_one_out[0]) > math.log(1e5) - 1  # the population's information
    assert found.leave_one_out.isfinite().all()


def test_plug_in_and_leave_one_out_bracket_the_information_of_the_population():
    # mu ~ N(0, 1 - s^2) makes q(z) = N(0, 1) and I = -log s.
    sigma, samples = 0.05, 100
    mean = math.sqrt(1 - sigma**2) * torch.randn(samples, 400, generator=torch.Generator().manual_seed(0)).double()
    found = factor_information(mean, torch.full_like(mean, 2 * math.log(sigma)))
    noise = 3 * float(found.nats.std()) / 20
    assert float(found.nats.mean()) < -math.log(sigma) - noise
    assert float(found.leave_one_out.mean()) > -math.log(sigma) + noise


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
    paper, *_ = gaussian_information(torch.as_tensor(mean), torch.as_tensor(log_variance))
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


@pytest.mark.parametrize("method", ["mixture", "gaussian"])
def test_standard_error_is_the_spread_over_draws(method):
    generator = np.random.default_rng(0)
    # 300 draws of 400 samples as 300 factors.
    found = factor_information(generator.normal(0, 1, (400, 300)), generator.uniform(-3, -1, (400, 300)), method)
    # The spread of 300 draws is itself known to 4 %.
    assert float(found.stderr.mean()) == pytest.approx(float(found.nats.std()), rel=0.15)


@pytest.mark.parametrize("truth", [0.1, 0.5, 1.0, 1.5])
def test_intervals_cover_the_truth(truth):
    # 93 to 97 of a hundred intervals of 95 %; 4,000 draws, as factors, tell 95.0 from 96.4.
    sigma, samples, draws = math.exp(-truth), 1000, 4000
    generator = torch.Generator().manual_seed(0)
    mean = math.sqrt(1 - sigma**2) * torch.randn(samples, draws, generator=generator).double()
    low, high = factor_information(mean, torch.full_like(mean, 2 * math.log(sigma))).interval()
    covered = float(((low <= truth) & (truth <= high)).double().mean())
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("mean", [[0.0, 1.0], [1e60, 1e60], [-1e60, 1e60]])
def test_the_dense_quadrature_refuses_an_endless_grid(mean):
    with pytest.raises(ValueError, match="use 'mixture'"):
        factor_information(torch.tensor(mean, dtype=torch.float64)[:, None], [[-40.0], [-40.0]], "dense")
