"""The steps of the chapter on criteria on known cases."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import linear_model

import vaemi
from companion.data import trials
from companion.experiments import criteria as steps
from vaemi.criteria import CRITERIA

CHOSEN = {trial.name: trial for trial in trials.all_trials()}


@pytest.fixture(scope="module")
def judged():
    return steps.judge_trials(list(CHOSEN.values()), 20_000)


@pytest.fixture(scope="module")
def smallest():
    return steps.smallest_disagreements(most_inputs=2)


def marks(judged, trial):
    return judged[judged.trial == trial].set_index("criterion").mark.to_dict()


@pytest.mark.parametrize(
    ("trial", "wrong", "wrong_number"),
    [
        ("plain used", {"marginal_std"}, set()),
        ("plain unused", set(), set()),
        ("constant mean", {"gaussian_information", "kl", "marginal_std", "max_mean"}, set()),
        ("constant narrow width", {"kl", "mean_variance", "mean_precision", "marginal_std"}, set()),
        ("tiny means, less noise", {"active_units", "max_mean"}, {"kl"}),
        ("means below the noise", {"active_units", "max_mean"}, set()),
        ("used, times 30", {"mean_precision"}, {"kl"}),
        ("used, divided by 30", {"active_units"}, {"kl"}),
        ("two far groups", {"marginal_std", "upper_divergence"}, {"gaussian_information", "kl"}),
        ("heavy tails", {"marginal_std"}, {"gaussian_information", "kl"}),
        ("width only", {"active_units", "max_mean", "upper_divergence"}, {"gaussian_information", "kl"}),
        (
            "rare detector",
            {"information", "gaussian_information", "mean_variance", "mean_precision", "marginal_std"},
            set(),
        ),
        ("ignored by the decoder", set(CRITERIA) - {"effect", "marginal_std"}, set()),
        ("noise, amplified", set(CRITERIA) - {"effect"}, set()),
        ("copy of another factor", set(CRITERIA) - {"effect"}, set()),
    ],
)
def test_each_trial_breaks_the_criteria_that_it_is_built_for(judged, trial, wrong, wrong_number):
    found = marks(judged, trial)
    assert {name for name, mark in found.items() if mark == "wrong"} == wrong
    assert {name for name, mark in found.items() if mark == "wrong number"} == wrong_number


def test_the_effect_is_measured_where_there_is_a_decoder_only(judged):
    with_effect = set(judged[judged.criterion == "effect"].trial)
    assert with_effect == {name for name, trial in CHOSEN.items() if trial.decode}


def test_scores_count_the_marks(judged):
    some = judged[judged.trial.isin(["plain used", "two far groups", "rare detector"])]
    score = steps.scoreboard(some)
    assert list(score.columns) == ["right", "wrong number", "wrong"]
    assert score.loc["information"].tolist() == [2, 0, 1]
    assert score.loc["gaussian_information"].tolist() == [1, 1, 1]
    truth = {name: trial.used for name, trial in CHOSEN.items()}
    assert steps.wrong_together(some, truth, ["information"]) == 1
    assert steps.wrong_together(some, truth, ["upper_divergence"]) == 1
    assert steps.wrong_together(some, truth, ["information", "upper_divergence"]) == 0
    shown = steps.marked_values(some)
    assert list(shown.index) == ["plain used", "two far groups", "rare detector"]
    assert shown.loc["two far groups", "gaussian_information"] == "4.61 ≈"
    assert shown.loc["rare detector", "information"].endswith("✗")
    assert shown.loc["two far groups", "effect"] == ""


def test_clusters_repair_the_standard_error_and_many_recordings_the_estimate():
    few, many = steps.coverage_by_recording((20, 100), windows=20, draws=40).to_dict("records")
    for row in (few, many):
        assert row["naive_stderr_nats"] < 0.5 * row["deviation_nats"]
        assert row["clustered_stderr_nats"] == pytest.approx(row["deviation_nats"], rel=0.4)
        assert row["naive_covered_percent"] < 50 < row["clustered_covered_percent"]
    known = trials.few_recordings().information
    assert known - few["mean_nats"] > 2 * (known - many["mean_nats"]) > 0


def test_examples_have_the_stated_verdicts(smallest):
    assert len(smallest) == 9 * 8
    for (one, other), example in smallest.items():
        if example is None:
            continue
        assert one in example.used
        assert other in example.unused
        mean, std = np.array(example.posteriors * 2).T[:, :, None]  # twice: one input is too few
        found = vaemi.compare_criteria(mean, 2 * np.log(std))
        assert [name for name in found.values if found.used(name)[0]] == example.used


def test_the_smallest_examples_are_those_one_finds_by_hand(smallest):
    # N(1, 1) for all inputs: no information, 1/2 nat of KL. N(0, 1) alone is called unused by all.
    assert smallest["kl", "information"].posteriors == [(1, 1)]
    # Narrow, but for all inputs. A decimal is needed; 0.5 has the same number of them as 0.1 and a larger sum.
    assert smallest["mean_precision", "information"].posteriors == [(0, 0.1)]
    assert smallest["mean_variance", "mean_precision"].posteriors == [(0, 2)]


def test_directions_that_theory_excludes_are_not_found(smallest):
    for pair in (
        ("information", "kl"),
        ("gaussian_information", "kl"),
        ("active_units", "max_mean"),
        ("upper_divergence", "information"),
    ):
        assert smallest[pair] is None


def test_a_pair_has_the_smaller_example_of_its_two_directions(smallest):
    pairs = steps.of_pairs(smallest)
    assert len(pairs) == 36
    assert pairs["information", "kl"] == smallest["kl", "information"]
    # One input with (2, 1) against two inputs.
    assert pairs["information", "gaussian_information"] == smallest["gaussian_information", "information"]


def criteria_of_three():
    """Factors of 1.6, 0.15 and 0 nats."""
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)).double()
    signal = torch.tensor([24.0, math.exp(0.3) - 1, 0.0]).sqrt()
    return vaemi.compare_criteria(x * signal, torch.zeros(4000, 3))


def test_lines_are_moved_and_verdicts_counted():
    found = criteria_of_three()
    counts = steps.count_used(found, (0.5, 1.0, 2.0)).set_index(["criterion", "moved_by"])
    assert counts.used["information"].tolist() == [2, 2, 1]
    assert counts.agrees_percent["information"].round(1).tolist() == [100, 100, 66.7]
    # sigma* is 5, 1.16 and 1; its lines are 1.125, 1.25 and 1.5.
    assert counts.used["marginal_std"].tolist() == [2, 1, 1]
    reach = steps.reach(counts.reset_index())
    assert reach.loc["information"].tolist() == [2, 2, 1]
    assert list(reach.index) == [name for name in CRITERIA if name != "effect"]


def test_totals_are_sums_over_factors():
    found = criteria_of_three()
    totals = steps.total_nats(found)
    assert list(totals) == ["information", "gaussian_information", "kl"]
    # The KL term of N(0, 25) and of N(0, e^0.3): the variances of the aggregated posteriors are not 1.
    assert totals["kl"] == pytest.approx(0.5 * (24 + math.exp(0.3) - 1), rel=0.05)
    assert totals["information"] == pytest.approx(math.log(5) + 0.15, rel=0.05)


def test_the_line_of_the_effect_is_moved_too():
    found = criteria_of_three().with_effect(torch.tensor([0.9, 0.015, 0.0]))
    counts = steps.count_used(found, (1.0, 2.0)).set_index(["criterion", "moved_by"])
    assert counts.used["effect"].tolist() == [2, 1]


def test_a_model_is_measured_with_its_decoder():
    # z0 is read by the decoder, z1 is not; both copy a coordinate.
    model = linear_model(torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 0.0]]), variance=0.1)
    found = steps.criteria_of_model(model, torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))
    assert found.used("information").tolist() == [True, True]
    assert found.used("effect").tolist() == [True, False]


def counts_of(agrees):
    rows = [
        {"weight": w, "criterion": name, "moved_by": by, "used": 5 + 3 * (share < 95), "agrees_percent": share}
        for w, shares in agrees.items()
        for name, share in shares.items()
        for by in (1.0, 2.0)
    ]
    frame = pd.DataFrame(rows)
    frame.loc[frame.moved_by == 2, "agrees_percent"] = 0  # must not be read
    return frame


def test_the_simplest_criterion_that_agrees():
    everybody = {"information": 100, "kl": 100, "max_mean": 100, "active_units": 97}
    counts = counts_of({0.1: everybody, 1.0: everybody, 4.0: everybody | {"kl": 40, "active_units": 94}})
    shares = steps.agreement(counts)
    assert shares.loc[4.0, "kl"] == 40
    assert list(shares.columns) == ["information", "kl", "active_units", "max_mean"]
    assert steps.simplest_that_agrees(shares, 95).to_dict() == {0.1: "kl", 1.0: "kl", 4.0: "max_mean"}
    table = steps.agreement_by_weight(counts, 95, dict(zip(CRITERIA, CRITERIA, strict=True)))
    assert table.to_numpy().tolist() == [
        ["0.1 to 1", "kl", "none", "5.0", "-"],
        ["4", "max_mean", "kl, active_units", "5.0", "8.0"],
    ]


def test_the_table_of_pairs_names_each_different_example_by_one_letter():
    wide, off = steps.Example([(0.0, 5.0)], [], []), steps.Example([(2.0, 1.0)], [], [])
    found = {("information", "kl"): off, ("information", "mean_variance"): wide, ("kl", "max_mean"): off}
    gallery = steps.lettered(found.values())
    assert gallery == {"A": off, "B": wide}
    table = steps.table_of_pairs(found, gallery)
    assert table.loc["information", ["kl", "mean_variance", "max_mean"]].tolist() == ["A", "B", ""]
    assert table.loc["kl", "max_mean"] == "A"
    assert "effect" not in {*table.index, *table.columns}
    assert (table != "").sum(axis=None) == 3


def test_the_simplest_criterion_is_listed_with_its_weights():
    simplest = pd.Series({0.01: "kl", 1.0: "max_mean", 8.0: "kl"})
    words = steps.simplest_in_words(simplest, {"kl": "KL", "max_mean": "largest mean"})
    assert words == "KL at weight 0.01, 8; largest mean at weight 1"


def test_a_trial_is_kept_with_its_truth_and_the_marks_of_all_criteria(judged):
    values = steps.trial_values(list(CHOSEN.values()), judged)
    assert list(values) == list(CHOSEN)
    rare = values["rare detector"]
    assert rare["right_verdict_used"]
    assert rare["information_nats"] == CHOSEN["rare detector"].information
    assert {name: kept["mark"] for name, kept in rare["criteria"].items()} == marks(judged, "rare detector")
