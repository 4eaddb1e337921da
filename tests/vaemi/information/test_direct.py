"""Few samples, whose components are evaluated as they are. `test_mixture` runs in both ways as well."""

import math

import numpy as np
import pytest
import torch
from panel_quadrature import divergences

from vaemi import InformationSketch, factor_information
from vaemi.information import direct, standard_error

pytest.importorskip("numba")  # without it the lattice is used for all

FIELDS = ("nats", "stderr", "marginal_std", "leave_one_out")
# Ten times below what is promised: nothing is lost to spreading.
TOLERANCE = {"default": 1e-7, "high": 1e-12}


def assert_same(found, expected, tolerance=1e-12):
    for name in FIELDS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=tolerance, rtol=0)


def samples(count, n_factors, seed=0):
    """Return factors whose sigmas are alike, differ, or are far below the distances between samples, in turn."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(count, n_factors, generator=generator).double()
    narrowest = torch.tensor([0.3, 1e-3, 1e-7]).repeat(n_factors // 3 + 1)[:n_factors].double()
    return mean, 2 * narrowest.log() * torch.rand(count, n_factors, generator=generator).double()


HARD = {
    "one width": (lambda g: g.normal(size=200), lambda g: np.full(200, 0.2)),
    "mixed widths": (lambda g: g.normal(size=200), lambda g: np.exp(g.uniform(-6, 0, 200))),
    "narrow beside broad": (lambda g: g.normal(size=200), lambda g: g.choice([1e-3, 1.0, 30.0], 200)),
    "one far away": (lambda g: np.append(g.normal(size=199), 1e3), lambda g: np.exp(g.uniform(-2, 0, 200))),
    "two places": (lambda g: np.repeat([-3.4, 3.4], 100), lambda g: np.ones(200)),
    "one place": (lambda g: np.full(200, 5.0), lambda g: np.full(200, 0.1)),
}


@pytest.fixture
def directly(monkeypatch):
    """Evaluate samples as they are, also where the lattice is faster."""
    monkeypatch.setattr(direct, "POINTS_PER_SAMPLE", -math.inf)


@pytest.mark.usefixtures("directly")
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("case", HARD)
def test_exact_in_hard_cases_on_any_scale(case, precision):
    generator = np.random.default_rng(0)
    mean, std = (make(generator) for make in HARD[case])
    log_variance = 2 * np.log(std)
    kl = divergences(torch.as_tensor(mean), torch.as_tensor(log_variance))
    scales = np.array([1e-30, 1.0, 1.37e5])
    found = factor_information(mean[:, None] * scales, log_variance[:, None] + 2 * np.log(scales), precision=precision)
    tolerance = TOLERANCE[precision]
    torch.testing.assert_close(found.nats, kl.mean().expand(3), atol=tolerance, rtol=0)
    torch.testing.assert_close(200 * found.stderr**2, kl.var().expand(3), atol=10 * tolerance, rtol=0)


@pytest.mark.usefixtures("directly")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", ["one width", "mixed widths", "one far away", "two places", "one place"])
def test_leave_one_out_is_the_exact_one(case, weighted):
    generator = np.random.default_rng(0)
    mean, std = (make(generator)[:, None] for make in HARD[case])
    weight = generator.uniform(0, 2, 200) if weighted else None
    found, dense = (factor_information(mean, 2 * np.log(std), method, weight=weight) for method in ("mixture", "dense"))
    torch.testing.assert_close(found.nats, dense.nats, atol=1e-7, rtol=0)
    # Sigmas that differ by more than an octave are integrated on points that do not resolve the narrower ones.
    relative = 1e-3 if case == "mixed widths" else 1e-6
    torch.testing.assert_close(
        found.leave_one_out - found.nats, dense.leave_one_out - dense.nats, atol=0, rtol=relative
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_neither_the_order_of_samples_nor_the_other_factors_matter(weighted):
    mean, log_variance = samples(300, 7)
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(300, generator=generator).double() if weighted else torch.ones(300).double()
    expected = factor_information(mean, log_variance, weight=weight)
    order = torch.randperm(300, generator=generator)
    assert_same(factor_information(mean[order], log_variance[order], weight=weight[order]), expected)
    for factor in range(7):
        alone = factor_information(mean[:, [factor]], log_variance[:, [factor]], weight=weight)
        for name in FIELDS:
            torch.testing.assert_close(getattr(alone, name)[0], getattr(expected, name)[factor], atol=1e-12, rtol=0)


def test_factors_of_too_many_points_or_too_few_to_pay_are_spread(monkeypatch):
    mean, log_variance = samples(100, 4)
    log_variance[:, 3] = 0.5 + 0.01 * mean[:, 0]
    mean[:, 3] *= 0.1
    found = factor_information(mean, log_variance)
    monkeypatch.setattr(direct, "FEW_SAMPLES", 0)
    spread = factor_information(mean, log_variance)
    is_spread = [abs(float(found.leave_one_out[h] / spread.leave_one_out[h] - 1)) < 1e-9 for h in range(4)]
    assert is_spread == [False, False, True, True]
    torch.testing.assert_close(found.nats, spread.nats, atol=2e-7, rtol=0)


def test_sketches_of_few_samples_equal_one_call():
    # 70 factors of 1,000 samples in float64 are above the size at which more samples would be spread.
    mean, log_variance = samples(1000, 70)
    log_variance = log_variance.clamp_min(-10)
    expected = factor_information(mean, log_variance)
    shards = [InformationSketch(70) for _ in range(3)]
    for index, part in enumerate(zip(mean.split(100), log_variance.split(100), strict=True)):
        shards[index % 3].update(*part)
    merged = InformationSketch(70)
    for shard in shards[::-1]:
        merged.merge(shard)
    assert len(merged.waiting.mean) == 1000
    assert merged.nbytes > 2**20
    assert_same(merged.compute(), expected)
    # The next samples make them many, and all are spread where that saves memory.
    merged.update(mean[:, :1].expand(-1, 70), torch.zeros(1000, 70))
    merged.update(mean[:1], torch.zeros(1, 70))
    more = torch.cat([mean, mean[:, :1].expand(-1, 70), mean[:1]]), torch.cat([log_variance, torch.zeros(1001, 70)])
    assert_same(merged.compute(), factor_information(*more))


def test_divergences_of_samples_and_of_others():
    mean, log_variance = samples(300, 4)
    sketch = InformationSketch(4)
    sketch.update(mean, log_variance)
    found, kl = sketch.compute_with_divergences(mean, log_variance)
    assert_same(found, sketch.compute(), tolerance=0)
    torch.testing.assert_close(kl, sketch.divergences(mean, log_variance), atol=0, rtol=0)
    torch.testing.assert_close(kl.mean(0), found.nats, atol=1e-9, rtol=0)
    torch.testing.assert_close(standard_error(kl), found.stderr, atol=1e-6, rtol=0)
    for factor in range(3):
        expected = divergences(mean[:, factor], log_variance[:, factor])
        torch.testing.assert_close(kl[:, factor], expected, atol=1e-5, rtol=0)
    # Where the aggregated posterior is N(0, 1); in the second factor too far away, and too narrow, to share points.
    one = InformationSketch(2)
    one.update(torch.zeros(2, 2), torch.zeros(2, 2))
    other = one.divergences([[0.5, 1e6]], [[-2.0, -30.0]])[0]
    assert float(other[0]) == pytest.approx(0.5 * (0.25 + math.exp(-2) - 1 + 2), abs=1e-6)
    assert 600 < float(other[1]) < math.inf
