"""Verdicts: each claim holds on values made to satisfy it and fails on values made to break it."""

import json
import math

import pytest

from companion import claims
from companion.data.sources import Provenance

RATIOS = list(claims.published_accuracies())
ACCURACY = dict(zip(RATIOS, [98.0, 97.8, 93.0, 85.0, 78.0, 75.0, 52.0, 36.0, 26.0, 10.0], strict=True))
ORDERS = ("random", "variance", "active_units", "mean_precision", "kl")
EXCESS, INTERVALS = dict.fromkeys(ORDERS, 9.0), {order: [8.0, 10.0] for order in ORDERS}
FACES = {
    "information": [0.05, 0.03, 0.02, 0.01],
    # A single draw may be lucky at one count.
    "random 0": [0.05, 0.029, 0.04, 0.01],
    "random 1": [0.05, 0.05, 0.04, 0.01],
}
# Values on which all claims hold, by the name of the judge.
GOOD = {
    "mnist": {
        "information_nats": [2.0] * 15 + [0.001] * 113,
        "information_stderr_nats": [0.01] * 128,
        "influential_factors": 15,
        "influential_factors_by_threshold": {"0.05": 16, "0.1": 15, "0.5": 13},
        "influential_share_of_total": 0.996,
        "sigma_star": [1.0, 1.1, 0.97],
        "sigma_star_auc": 0.55,
        "sigma_star_auc_interval": [0.5, 0.6],
        "sigma_star_rank_correlation": -0.1,
        "excess_error_percent": EXCESS,
        "excess_error_percent_interval": INTERVALS,
        "influential_only_excess_error_percent": 1.0,
        "accuracy_percent_by_ratio_kept": ACCURACY,
        "mean_accuracy_percent_of_classifiers": ACCURACY,
        "accuracy_percent_interval_at_tenth": [92.5, 93.5],
        "sampled_accuracy_percent_most_informative_kept": [10.0, 50.0, 90.0],
        "sampled_accuracy_percent_least_informative_kept": [10.0, 20.0, 90.0],
        "fano_bound_percent_most_informative_kept": [30.0, 90.0, 100.0],
        "fano_bound_percent_least_informative_kept": [30.0, 40.0, 100.0],
        "test_digits": 10_000,
    },
    "theory": {
        "identity_1_error_nats": 1e-8,
        "identity_2_error_nats": 1e-15,
        "identity_5_error_nats": 1e-7,
        "water_filling_error_nats": 0.003,
        "fano_least_margin_percent": 18.0,
        "least_excess_over_bound": 0.0,
        "bound_equality_error": 1e-12,
        "linear_vae_excess_over_bound": [0.001, 0.2],
        "linear_vae_excess_over_bound_all_active": 0.001,
    },
    "estimators": {
        "paper_mean_error_nats": {"Gaussian": 0.001, "uniform": 0.002},
        "paper_mean_error_stderr_nats": {"Gaussian": 0.001, "uniform": 0.001},
        "marginal_is_gaussian": {"Gaussian": True, "uniform": False},
        "slope": {"uniform": -0.5, "two groups": -0.52},
        "draws": 200,
        "samples": [100, 1000, 10_000],
        "true_information_nats": [0.5, 3.0],
        "covered_percent": {"1000": [95.0, 20.0]},
        "coverage_draws": 2000,
    },
    "sparsity": {
        "true_dimension": [4] * 10 + [6] * 10,
        "influential_factors": [4] * 9 + [5] + [6] * 9 + [7],
        "unequal_true_dimension": [2, 8],
        "unequal_influential_factors": [2, 8],
        "closed_true_dimension": {"circle": 1, "sphere": 2},
        "closed_influential_factors": {"circle": [1, 1], "sphere": [2, 2]},
    },
    "faces": {
        "influential_factors": 12,
        "influential_factors_without_a_label": 0,
        "ignored_factors_with_a_label": 0,
        "interpretable_factors": 7,
        "interpretable_ignored_factors": 0,
        "variance_explained": {"influential": 0.99},
        "lift_kept_percent": {"influential": 93.0, "top third": 91.0},
        "lift_kept_percent_interval": {"influential": [91.0, 95.0]},
        "reconstruction_error": FACES,
    },
    "eeg": {
        "corrected_p_value": {"valence": 0.0005, "arousal": 0.2},
        "rating_correlation": {"valence": 0.31, "arousal": -0.42},
        "rating_correlation_interval": {"valence": [0.2, 0.4], "arousal": [-0.5, -0.3]},
        "ignored_factors_with_a_rating": 0,
        "area_across_subjects_low": {"influential, valence": 0.55, "influential, arousal": 0.48},
        "map_correlation": {"valence": -0.86, "arousal": 0.91},
    },
}
DATA = Provenance("the paper's data", stand_in=False, n=1, checksum="a")


def judged(name, data=DATA, **changes):
    values = GOOD[name] | changes
    return getattr(claims, f"judge_{name}")(values, *([data] if name in ("mnist", "faces", "eeg") else []))


@pytest.mark.parametrize(
    ("name", "ids", "value", "interval"),
    [
        ("mnist", ["C1", "C2", "C3", "C4", "T7"], 100 * 15 / 128, [100 * 15 / 128] * 2),
        ("theory", ["T1", "T2", "T3", "T4", "T5", "T6"], 1e-8, None),
        # One standard error of a logarithm is 1 / sqrt(400); the samples are log 10 apart.
        ("estimators", ["C6a", "C6b"], 0.002, [0.002 - 0.00196, 0.002 + 0.00196]),
        # 22 of 24 runs and 4 of 4; Wilson's interval of 26 of 28.
        ("sparsity", ["C7"], 100 * 24 / 26, [75.86, 97.86]),
        ("faces", ["C8"], 93, [91, 95]),
        ("eeg", ["C9"], 0.42, [0.3, 0.5]),
    ],
)
def test_all_hold_on_values_made_to_satisfy_them(name, ids, value, interval):
    found = judged(name)
    assert [claim["id"] for claim in found] == ids
    for claim in found:
        assert claim["verdict"] == ("holds" if claims.is_claim(claim["id"]) else "passes")
        assert {rule["verdict"] for rule in claim["rules"]} == {claim["verdict"]}
        assert claims.in_words(claim) == claim["verdict"]
    assert found[0]["value"] == pytest.approx(value)
    assert found[0]["interval"] == (interval and pytest.approx(interval, abs=0.01))


def test_the_slope_has_the_standard_error_of_a_regression():
    low, high = judged("estimators")[1]["interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * (1 / 20) / (2**0.5 * math.log(10)))


@pytest.mark.parametrize(
    ("claim", "name", "changes", "words"),
    [
        ("C1", "mnist", {"influential_factors": 60, "influential_factors_by_threshold": {"0.1": 60}}, "60 of 128"),
        ("C1", "mnist", {"influential_share_of_total": 0.6}, "only 60.00 % of the information, less than 95 %"),
        ("C1", "mnist", {"influential_factors_by_threshold": {"0.05": 18}}, "depends on the threshold (18 above 0.05"),
        ("C2", "mnist", {"sigma_star": [1.0, 0.3]}, "between 0.300 and 1.000"),
        ("C2", "mnist", {"sigma_star_auc": 0.87}, "area under the ROC curve 0.87"),
        ("C2", "mnist", {"sigma_star_rank_correlation": 0.97}, "rank correlation 0.97"),
        ("C3", "mnist", {"influential_only_excess_error_percent": 6.0}, "6.0 % more error than all factors"),
        (
            "C3",
            "mnist",
            {"excess_error_percent_interval": INTERVALS | {"kl": [-1.0, 1.0]}},
            "by KL to the prior: 9 % more error, 95 % interval -1 to 1 %",
        ),
        ("C3", "mnist", {"excess_error_percent_interval": INTERVALS | {"active_units": [-2.0, -1.0]}}, "Var(μ)"),
        ("C4", "mnist", {"mean_accuracy_percent_of_classifiers": ACCURACY | {"0.02": 70.0}}, "rises by 18.0 points"),
        ("C4", "mnist", {"mean_accuracy_percent_of_classifiers": ACCURACY | {"0.1": 83.2}}, "only 83.2 of 98.0 %"),
        ("C4", "mnist", {"sampled_accuracy_percent_most_informative_kept": [10.0, 19.0, 90.0]}, "at 1 of 1 counts"),
        (
            "C6a",
            "estimators",
            {"paper_mean_error_nats": {"Gaussian": 0.0, "uniform": -3.3}},
            "not Gaussian, it does not approach the true information (uniform: 3.30 nats off)",
        ),
        ("C6b", "estimators", {"slope": {"two groups": -0.3}}, "the error falls with a slope of -0.300"),
        ("C6b", "estimators", {"true_information_nats": [0.5, 1.0]}, "in 20.0 to 95.0 % of the draws"),
        # Two failures in all are few, but at one dimension they are a fifth.
        ("C7", "sparsity", {"influential_factors": [4] * 8 + [5] * 2 + [6] * 10}, "(it is in 8 of 10 at d = 4)"),
        (
            "C7",
            "sparsity",
            {"unequal_influential_factors": [2, 7]},
            "unequal directions the number of used factors is not always the dimension",
        ),
        (
            "C7",
            "sparsity",
            {"closed_influential_factors": {"circle": [2, 2], "sphere": [2, 2]}},
            "(2 on a circle of dimension 1)",
        ),
        (
            "C8",
            "faces",
            {"interpretable_factors": 1},
            "fewer than two used factors carry a tenth of the entropy of an attribute (1)",
        ),
        (
            "C8",
            "faces",
            {"interpretable_ignored_factors": 1},
            "ignored factors carry a tenth of the entropy of an attribute (1)",
        ),
        ("C8", "faces", {"variance_explained": {"influential": 0.9}}, "keep only 90.0 % of their variance"),
        (
            "C8",
            "faces",
            {"lift_kept_percent": {"influential": 89.0, "top third": 91.0}},
            "keep only 89.0 % of the gain",
        ),
        ("C9", "eeg", {"corrected_p_value": {"valence": 0.02, "arousal": 0.2}}, "(corrected p = 0.02)"),
        ("C9", "eeg", {"ignored_factors_with_a_rating": 1}, "some ignored factors correlate with a rating (1)"),
        (
            "C9",
            "eeg",
            {"area_across_subjects_low": {"influential, valence": 0.49, "influential, arousal": 0.5}},
            "people not seen are predicted no better than by chance",
        ),
    ],
)
def test_each_part_of_a_rule_can_fail_and_is_named(claim, name, changes, words):
    failed = {found["id"]: found for found in judged(name, **changes) if found["verdict"] not in ("holds", "passes")}
    assert list(failed) == [claim]
    shortfall = claims.explanation(failed[claim])
    assert "; " not in shortfall
    assert words in shortfall
    assert failed[claim]["verdict"] == "holds in part"
    assert claims.in_words(failed[claim]) == f"holds in part: {shortfall}"


@pytest.mark.parametrize(
    ("check", "name", "changes", "words"),
    [
        ("T1", "theory", {"identity_1_error_nats": 1e-5}, "differ by 10⁻⁵ nats, more than 10⁻⁶"),
        ("T2", "theory", {"identity_2_error_nats": 1e-8}, "more than 10⁻⁹"),
        ("T3", "theory", {"water_filling_error_nats": 0.06}, "differ by 0.06 nats, more than 0.05"),
        ("T4", "theory", {"fano_least_margin_percent": -0.5}, "exceeds the bound by 0.5 points"),
        ("T5", "theory", {"identity_5_error_nats": 1e-5}, "more than 10⁻⁶"),
        ("T6", "theory", {"least_excess_over_bound": -1e-4}, "an error is below the bound by 0.0001 of it"),
        (
            "T6",
            "theory",
            {"linear_vae_excess_over_bound": [0.001, -1e-4]},
            "an error is below the bound by 0.0001 of it",
        ),
        ("T6", "theory", {"bound_equality_error": 1e-6}, "the best code misses the bound by 10⁻⁶ of it"),
        ("T6", "theory", {"linear_vae_excess_over_bound_all_active": 0.02}, "is 2 % above the bound"),
        ("T7", "mnist", {"fano_bound_percent_least_informative_kept": [30, 10, 100]}, "exceeds the bound by 10.0"),
    ],
)
def test_a_check_fails_as_a_whole(check, name, changes, words):
    failed = {found["id"]: found for found in judged(name, **changes) if found["verdict"] == "fails"}
    assert list(failed) == [check]
    assert words in claims.explanation(failed[check])


def test_nothing_is_claimed_of_a_model_that_uses_no_factor():
    sparsity, deviation, *_ = judged("mnist", influential_factors=0, influential_factors_by_threshold={"0.1": 0})
    assert "no factor carries more than 0.1 nats" in claims.explanation(sparsity)
    assert "no factor is used" in claims.explanation(deviation)
    (faces,) = judged("faces", influential_factors=0)
    assert [rule["verdict"] for rule in faces["rules"]] == ["does not hold"] * 3


def test_a_claim_without_a_part_that_is_met_does_not_hold():
    (claim,) = judged("sparsity", influential_factors=[9] * 20, unequal_influential_factors=[9, 9],
                      closed_influential_factors={"circle": [2, 3], "sphere": [3, 3]})  # fmt: skip
    assert claim["verdict"] == "does not hold"
    assert "(2 to 3 on a circle of dimension 1; 3 on a sphere of dimension 2)" in claims.explanation(claim)


@pytest.mark.parametrize(
    ("name", "changes", "verdicts"),
    [
        ("mnist", {"sigma_star_auc": 0.9}, {"C2": ["holds", "holds in part"]}),
        ("mnist", {"excess_error_percent": EXCESS | {"kl": -2.0}}, {"C3": ["does not hold", "holds"]}),
        ("mnist", {"excess_error_percent": EXCESS | {"variance": -0.1}}, {"C3": ["does not hold", "holds"]}),
        ("mnist", {"accuracy_percent_by_ratio_kept": ACCURACY | {"0.1": 83.2}}, {"C4": ["does not hold", "holds"]}),
        # The rule of the first hour, which was loosened when this was seen.
        (
            "faces",
            {"lift_kept_percent": {"influential": 93.0, "top third": 49.0}},
            {"C8": ["does not hold", "holds", "holds"]},
        ),
        ("faces", {"influential_factors_without_a_label": 7}, {"C8": ["does not hold", "does not hold", "holds"]}),
        ("faces", {"ignored_factors_with_a_label": 1}, {"C8": ["does not hold", "does not hold", "holds"]}),
        (
            "faces",
            {"reconstruction_error": FACES | {"random 0": [0.05, 0.029, -0.01, 0.01]}},
            {"C8": ["does not hold", "does not hold", "holds"]},
        ),
        ("eeg", {"map_correlation": {"valence": 0.86, "arousal": -0.79}}, {"C9": ["does not hold", "holds"]}),
        ("eeg", {"map_correlation": {}}, {"C9": ["holds", "holds"]}),
    ],
)
def test_earlier_rules_keep_their_verdict(name, changes, verdicts):
    found = {claim["id"]: [rule["verdict"] for rule in claim["rules"]] for claim in judged(name, **changes)}
    assert {id: found[id] for id in verdicts} == verdicts


def test_rules_are_in_the_order_of_their_dates_and_say_why():
    for about in claims.written().values():
        dates = [rule["date"] for rule in about["rules"]]
        assert dates == sorted(dates)
        assert all(rule["rule"] and rule["reason"] for rule in about["rules"])


def test_a_claim_is_not_tested_on_data_that_stand_in_for_those_of_the_paper():
    faces = Provenance("drawn faces", stand_in=True, n=1, checksum="a")
    (claim,) = judged("faces", faces)
    assert claim["verdict"] == "not tested"
    assert claims.in_words(claim) == "not tested: the paper's data were not at hand; on a stand-in it holds"
    (claim,) = judged("faces", faces, interpretable_factors=1)
    assert "on a stand-in it holds in part: fewer than two used factors" in claims.explanation(claim)
    # A theorem does not depend on the data.
    assert judged("mnist", faces)[-1]["verdict"] == "passes"


def test_the_summary_counts_the_claims_of_the_paper():
    rows = [
        *judged("mnist", sigma_star_auc=0.9),
        *judged("estimators"),
        *judged("faces", Provenance("x", True, 1, "a")),
    ]
    assert claims.summary(rows) == (
        "Of the paper's 6 claims, 4 hold, 1 holds in part, none fails entirely, and 1 was not tested, because the "
        "paper's data were not at hand."
    )
    assert claims.summary([row | {"verdict": "does not hold"} for row in rows[:1]]) == (
        "Of the paper's 1 claims, 0 hold, 0 hold in part, and 1 does not hold."
    )


def test_parts_that_differ_in_details_are_one_sentence():
    worse = {"kl": [-1.0, 1.0], "variance": [-2.0, -1.0]}
    claim = judged("mnist", influential_only_excess_error_percent=6.0, excess_error_percent_interval=INTERVALS | worse)[
        2
    ]
    alone, orders = claims.explanation(claim).split("; ", 1)
    assert alone == "the used factors alone redraw with 6.0 % more error than all factors, more than 5 %"
    assert orders.count("some other orders redraw as well or better (") == 1
    assert "(by σ*: " in orders
    assert "; by KL to the prior: " in orders
    assert claim["verdict"] == "holds in part"


def test_a_tiny_percentage_is_not_given_in_powers_of_ten():
    claim = judged("mnist", excess_error_percent=EXCESS | {"kl": 4.7e-5},
                   excess_error_percent_interval=INTERVALS | {"kl": [-2e-6, 9e-5]})[2]  # fmt: skip
    assert claims.in_numbers(claim) == "below 0.01"


def test_published_numbers_stand_beside_ours():
    sparsity, *_, classification, _ = judged("mnist")
    assert sparsity["value"] == sparsity["published"]
    assert classification["published"] == 93.13


def write_result(folder, judgements, name="mnist"):
    folder.mkdir(parents=True, exist_ok=True)
    result = {"experiment": name, "data": {"source": "test", "stand_in": True}, "claims": judgements}
    (folder / f"{name}.json").write_text(json.dumps(result))


def test_claims_are_read_back_and_stand_beside_those_of_the_reference_run(tmp_path):
    write_result(tmp_path / "quick", judged("mnist"))
    write_result(tmp_path / "quick", [], "objectives")
    rows = claims.load("quick", tmp_path)
    assert [(row["id"], row["experiment"]) for row in rows] == [(id, "mnist") for id in ("C1", "C2", "C3", "C4", "T7")]
    assert claims.load_reference("quick", tmp_path) == []
    table = claims.table(rows)
    assert list(table.columns) == ["claim", "published", "this run", "verdict"]
    assert list(table["verdict"]) == ["holds"] * 4 + ["passes"]
    assert table["this run"][3] == "93.0 (92.5 to 93.5)"
    # A bar would end a cell of the Markdown table.
    assert not any("|" in cell for column in table for cell in table[column])

    write_result(tmp_path / "paper", judged("mnist", influential_factors=16)[:1])
    table = claims.table(rows, claims.load_reference("quick", tmp_path))
    assert list(table["reference run"]) == ["12.5", "-", "-", "-", "-"]
    assert table["this run"][0] == "11.7"
    # The reference run is not compared with itself.
    assert claims.load_reference("paper", tmp_path) == []


def test_missing_and_damaged_results_are_named(tmp_path):
    with pytest.raises(claims.RunError, match="vaemi run mnist --profile quick"):
        claims.load("quick", tmp_path)
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "mnist.json").write_text("{")
    with pytest.raises(claims.RunError, match=r"mnist\.json is not a result"):
        claims.load("quick", tmp_path)


def test_tables_of_accuracy_have_the_published_column():
    table = claims.accuracy_table(claims.published_accuracies(), range(10))
    assert table["difference"].abs().max() == 0
    assert len(table) == 10
    changed = {"exchanged": {"0.5": [97.0, 98.5, 96.25], "0.1": [93.0], "0.0": []}}
    table = claims.accuracy_ranges_table({"0.5": 98.0, "0.1": 93.5, "0.0": 10.0}, changed)
    assert table["exchanged"].tolist() == ["96.25 to 98.50", "93.00", "-"]
    assert table["published (%)"].tolist() == ["97.83", "93.13", "10.09"]
