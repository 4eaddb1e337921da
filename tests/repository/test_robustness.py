"""The comparison of negative values, repetitions and bias: data of known information, and counts that can be wrong."""

import json

import estimators as bench
import numpy as np
import pytest
import robustness
from robustness import Contestant

from vaemi.information import gaussian_joint_information


def test_the_data_have_the_information_they_claim():
    for nats in robustness.LEVELS[:2]:
        sample = robustness.gaussian_factor(4000, nats, seed=1)
        assert robustness.ours(sample, 0) == pytest.approx(nats, abs=0.05)
    for dimension, nats in robustness.DIMENSIONS:
        sample = robustness.linear_encoder(20_000, dimension, nats, seed=1)
        assert gaussian_joint_information(sample.mean, sample.log_variance) == pytest.approx(nats, abs=0.06)
    ignored = robustness.ignored(1000, 5)
    assert len(ignored) == 5
    assert max(robustness.ours(sample, 0) for sample in ignored) < 0.01


def test_draws_belong_to_their_posteriors():
    sample = robustness.gaussian_factor(5000, 3.0, seed=2)
    mu, z = sample.pair()
    assert mu.shape == z.shape == (5000,)
    assert (z - mu).std() == pytest.approx(np.exp(-3), rel=0.05)
    assert robustness.linear_encoder(9, 4, 3.0, 0).pair()[1].shape == (9, 4)


def test_ours_brackets_the_truth_in_one_factor_and_in_many():
    cases = [(5.0, robustness.gaussian_factor(500, 5.0, 0), robustness.ours)]
    cases += [(3.0, robustness.linear_encoder(500, d, 3.0, 0), robustness.ours_of_all) for d in (2, 10)]
    for truth, sample, estimate in cases:
        low, high = estimate(sample, 0), robustness.leave_one_out(sample)
        assert low < high
        assert low - 0.2 < truth < high + 0.2


def test_negative_values_and_exact_zeros_are_counted():
    values = iter([-0.5, 0.0, 0.25, -0.125])
    counted = robustness.of_ignored(Contestant(lambda sample, seed: next(values), ignored=4), 50)
    assert counted == {"factors": 4, "negative": 2, "exactly_zero": 1, "lowest": -0.5, "highest": 0.25}


def test_seeds_repeat_the_estimate_and_not_the_data():
    seen = []

    def one(sample, seed):
        seen.append(sample.z)
        return (3.0, 2.5, 3.25)[seed]

    found = robustness.of_seeds(Contestant(one), 20)
    assert found == {"truth": robustness.SEED_LEVEL, "nats": [3.0, 2.5, 3.25], "spread": 0.75}
    assert all((z == seen[0]).all() for z in seen)


def test_bias_is_averaged_over_different_data():
    means = []
    contestant = Contestant(
        lambda sample, seed: means.append(float(sample.mean.sum())) or len(means),
        upper=lambda sample: 7.0,
        data_sets=3,
    )
    rows = robustness.of_levels(contestant, 20)
    assert [row["truth"] for row in rows] == list(robustness.LEVELS)
    assert rows[0] == {"truth": 1.0, "estimate": 2.0, "upper": 7.0}
    assert len(set(means)) == len(means)
    assert robustness.of_dimensions(contestant, 20) == []
    in_many = Contestant(contestant.one, contestant.one, most_nats=3.0, data_sets=1)
    assert [row["dimension"] for row in robustness.of_dimensions(in_many, 20)] == [2, 10, 30]


def test_a_quick_run_measures_what_can_run(tmp_path, capsys, monkeypatch):
    optional = {"infomeasure", "gmm_mi", "torch_mist"}
    monkeypatch.setattr(bench, "missing", lambda estimator: "left out" if estimator.needs in optional else None)
    path = tmp_path / "robustness.json"
    robustness.main(["--quick", "--json", str(path)])
    result = json.loads(path.read_text())
    assert [row["estimator"] for row in result["rows"]] == list(robustness.CONTESTANTS)
    of = {row["estimator"]: row for row in result["rows"]}
    assert of["GMM-MI"]["failed"] == "left out"
    assert of["GMM-MI"]["levels"] is None
    ours = of[bench.OURS]
    assert ours["ignored"]["negative"] == 0
    assert ours["seeds"]["spread"] == 0
    assert all(at["estimate"] <= at["upper"] for at in ours["levels"] + ours["dimensions"])
    assert of["fixed bins, 100 on [-4, 4]"]["dimensions"] == []
    printed = capsys.readouterr().out
    assert sum(line.startswith("| ") for line in printed.splitlines()) == 1 + len(robustness.CONTESTANTS)
    monkeypatch.setattr(robustness, "measure", lambda name, m: {"estimator": name, "failed": "measured again"})
    robustness.main(["--quick", "--json", str(path), "--keep"])
    again = json.loads(path.read_text())["rows"]
    assert [row for row in again if row["failed"] is None] == [row for row in result["rows"] if row["failed"] is None]
    assert [row["estimator"] for row in again if row["failed"] == "measured again"] == [
        name for name in robustness.CONTESTANTS if bench.ESTIMATORS[name].needs in optional
    ]


def test_every_contestant_is_an_estimator_of_the_other_benchmark():
    assert list(robustness.CONTESTANTS) == list(bench.ESTIMATORS)
