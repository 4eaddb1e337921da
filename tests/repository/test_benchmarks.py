"""The comparison of estimators: a fair reference, all rows, ratios from the rows."""

import contextlib
import io
import json
import math

import estimators as bench
import numpy as np
import pytest
import torch
from scipy.stats import norm

import vaemi


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Standard output and JSON of a quick run."""
    path = tmp_path_factory.mktemp("benchmark") / "estimators.json"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        bench.main(["--quick", "--json", str(path)])
    return printed.getvalue(), json.loads(path.read_text())


def test_reference_of_a_gaussian_channel():
    # mu at the quantiles of N(0, 1 - s^2): q(z) tends to N(0, 1), I to -log s.
    sigma = 0.3
    mean = math.sqrt(1 - sigma**2) * norm.ppf((np.arange(4000) + 0.5) / 4000)
    log_variance = torch.full((4000, 1), 2 * math.log(sigma), dtype=torch.float64)
    nats = bench.reference(torch.from_numpy(mean)[:, None], log_variance)
    assert nats[0] == pytest.approx(-math.log(sigma), abs=2e-4)  # of the missing tails


def test_reference_of_cases_known_exactly():
    apart = torch.tensor([[-40.0, 2.0], [40.0, 2.0]])
    assert bench.reference(apart, torch.zeros(2, 2)) == pytest.approx([math.log(2), 0], abs=1e-12)


def test_reference_has_converged():
    mean, log_variance = bench.simulate(200)
    mean, log_variance = mean[:, ::5], log_variance[:, ::5]
    coarse, fine = (bench.reference(mean, log_variance, steps) for steps in (8, 16))
    np.testing.assert_allclose(coarse, fine, atol=1e-12)


def test_simulated_encoder():
    mean, log_variance = bench.simulate(3000)
    assert mean.shape == log_variance.shape == (3000, bench.H)
    assert mean.dtype == torch.float32
    used, sigma = len(bench.USED), (0.5 * log_variance).exp()
    assert used == 24
    assert sigma[:, :used].min() >= 0.03 * (1 - 1e-5)
    assert sigma[:, :used].max() <= 0.5 * (1 + 1e-5)
    assert mean[:, :used].std(0).numpy() == pytest.approx(np.ones(used), abs=0.1)
    nats = vaemi.factor_information(mean[:, used:], log_variance[:, used:], method="gaussian").nats
    assert nats.max() < 0.01
    # Where sigma follows mu, neighbours in mu have nearly the same sigma; scattered ones have not.
    order = mean[:, :used].argsort(0)
    steps = log_variance[:, :used].gather(0, order).diff(dim=0).abs().median(0).values
    follows = torch.tensor([follows for *_, follows in bench.USED])
    assert steps[follows].max() < 0.1 < 0.2 < steps[~follows].min()
    tenfold, _ = bench.simulate(3000, 10.0)
    torch.testing.assert_close(tenfold, 10 * mean)


def test_peers_estimate_what_they_should():
    mean, log_variance = bench.simulate(1000)
    some = bench.subset(8, bench.FOLLOWING)
    mean, log_variance = mean[:, some], log_variance[:, some]
    truth = bench.reference(mean, log_variance)
    assert truth[:6].min() > 0.5
    assert bench.ours(mean, log_variance, 1000) == pytest.approx(truth, abs=1e-6)
    assert bench.fixed_bins(mean, log_variance, 1000) == pytest.approx(truth, abs=0.05)
    # Draws scatter by about 1 / sqrt(2 M) nats and more.
    assert bench.log_sum_exp(mean, log_variance, 1000) == pytest.approx(truth, abs=0.1)
    assert bench.scikit_learn_ksg(mean, log_variance, 1000) == pytest.approx(truth, abs=0.15)


def test_log_sum_exp_of_all_samples_is_that_of_torch():
    mean, log_variance = (values[:, [0, 30]] for values in bench.simulate(100))
    noise = torch.randn(100, 2, generator=torch.Generator().manual_seed(1))
    sigma = (0.5 * log_variance).exp()
    z = mean + sigma * noise
    densities = torch.distributions.Normal(mean, sigma).log_prob(z[:, None])
    own = torch.distributions.Normal(mean, sigma).log_prob(z)
    expected = (own - densities.logsumexp(1) + math.log(100)).mean(0)
    assert bench.log_sum_exp(mean, log_variance, 100) == pytest.approx(expected.numpy(), abs=1e-5)


def test_fixed_bins_break_where_z_is_rescaled():
    mean, log_variance = (values[:, :24] for values in bench.simulate(300, 10.0))
    error = np.abs(bench.fixed_bins(mean, log_variance, 300) - bench.reference(mean, log_variance))
    assert error.max() > 0.5


def test_quick_run_measures_what_can_run(quick):
    text, result = quick
    expected = {(name, 120, 1.0) for name in bench.ESTIMATORS} | {(bench.OURS, 120, 10.0)}
    assert {(row["estimator"], row["m"], row["scale"]) for row in result["rows"]} == expected
    assert sum(line.startswith("| ") for line in text.splitlines()) == 1 + len(expected)
    for row in result["rows"]:
        if bench.missing(bench.ESTIMATORS[row["estimator"]]):
            assert "is not installed" in row["failed"] or "needs" in row["failed"]
            assert row["cpu_seconds_one_thread"] is None
            continue
        assert row["failed"] is None
        assert row["cpu_seconds_one_thread"] > 0
        assert 0 <= row["largest_error"] < (1e-6 if row["estimator"] == bench.OURS else 1)


def test_parts_are_projected_in_proportion():
    name, m = "Monte-Carlo log-sum-exp", 50_000
    estimator = bench.ESTIMATORS[name]
    factors = bench.measured_factors(estimator, m)
    assert (len(factors), estimator.rows(m)) == (4, 5000)
    one = [{"nats": [1.0] * 4, "cpu": cpu, "wall": 9.0, "first_call": 0.1, "peak_megabytes": 7.0} for cpu in (1, 2, 30)]
    row = bench.make_row((name, m, 1.0), {1: one, 2: one[:1]}, dict.fromkeys(factors, 1.25))
    assert row["projected"]
    assert row["cpu_seconds_one_thread"] == 2 * 32 * 10  # the median, for 128 of 4 factors and 50,000 of 5,000 samples
    assert row["wall_seconds_all_threads"] == 9 * 32 * 10
    assert row["peak_megabytes"] == 7
    assert (row["largest_error"], row["mean_error_of_used"], row["factors_judged"]) == (0.25, 0.25, 4)
    assert "projected from 4 factors and 5,000 samples; error on 4 factors" in bench.remarks(row)


def test_a_measurement_in_a_process_of_its_own():
    # Memory is counted above what was there before, and one more block is what this peer needs.
    task = bench.Task("fixed bins, 100 on [-4, 4]", 2000, 1.0, bench.EVERY, 2000, 1)
    result = bench.measure_apart(task, 120)
    assert len(result["nats"]) == bench.H
    assert 0 < result["cpu"] < 60
    assert result["peak_megabytes"] is None or 10 < result["peak_megabytes"] < 150


def test_slow_peers_are_measured_on_one_thread_and_one_used_factor(monkeypatch):
    slow = bench.Estimator(bench.ours, bench.FOLLOWING, factors=lambda m: 5, slow=True)
    monkeypatch.setitem(bench.ESTIMATORS, "slow", slow)
    factors = bench.measured_factors(slow, 1000)
    assert [h < len(bench.USED) for h in factors] == [True] + 4 * [False]
    assert bench.takes_part("slow", 10_000, 1.0)
    assert not bench.takes_part("slow", 10_000, 10.0)
    assert not bench.takes_part("slow", 50_000, 1.0)
    assert bench.takes_part(bench.OURS, 50_000, 1.0)
    tasks = []
    measured = bench.measure_all([("slow", 1000, 1.0)], lambda task: tasks.append(task) or result_of(task), 1, 2)
    assert [(task.threads, task.factors) for task in tasks] == [(1, factors)]
    row = bench.make_row(("slow", 1000, 1.0), measured["slow", 1000, 1.0], dict.fromkeys(factors, 1.5))
    assert row["cpu_seconds_one_thread"] == 2 * 128 / 5
    assert row["wall_seconds_all_threads"] is row["cpu_seconds_all_threads"] is None
    assert row["largest_error"] == 0.5


def result_of(task):
    return {"nats": [1.0] * len(task.factors), "cpu": 2.0, "wall": 3.0, "first_call": 0.1, "peak_megabytes": 7.0}


def test_estimators_of_pairs_see_the_first_rows_and_their_draws():
    mean, log_variance = (values[:, :2] for values in bench.simulate(30))
    seen = []
    nats = bench.of_pairs(lambda mu, z: seen.append((mu, z)) or len(seen))(mean, log_variance, 20)
    assert nats.tolist() == [1, 2]
    for h, (mu, z) in enumerate(seen):
        np.testing.assert_allclose(mu, mean[:20, h])
        sigma = (0.5 * log_variance[:20, h]).exp()
        assert 0 < np.abs((z - mu) / sigma.numpy()).max() < 5


def test_a_peer_that_is_missing_says_why(monkeypatch):
    absent = bench.Estimator(bench.ours, bench.EVERY, needs="no_such_module")
    assert bench.missing(absent) == "no_such_module is not installed"
    assert bench.missing(bench.ESTIMATORS[bench.OURS]) is None
    monkeypatch.setitem(bench.ESTIMATORS, "absent", absent)
    results = bench.measure_all([("absent", 10, 1.0)], None, 2, 1)["absent", 10, 1.0]
    assert results == {1: [{"failed": "no_such_module is not installed"}]}


def test_failures_become_rows(monkeypatch):
    task = bench.Task(bench.OURS, 10, 1.0, bench.EVERY, 10, 1)
    assert bench.measure_apart(task, 0.01) == {"failed": "stopped after 0.01 s"}
    monkeypatch.setattr(bench.sys, "executable", "false")
    failed = bench.measure_apart(task, 60)
    assert failed == {"failed": "killed"}
    row = bench.make_row((bench.OURS, 10, 1.0), {1: [failed]}, {})
    assert row["cpu_seconds_one_thread"] is None
    assert "| killed" in bench.markdown([row])
