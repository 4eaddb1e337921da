"""Verdicts: each claim holds on values made to satisfy it and fails on values made to break it."""

import json

import pytest

from companion import claims

RATIOS = list(claims.published_accuracies())
ACCURACY = dict(zip(RATIOS, [98.0, 97.8, 93.0, 85.0, 78.0, 75.0, 52.0, 36.0, 26.0, 10.0], strict=True))
ORDERS = {
    "information": [0.09, 0.03, 0.01],
    "kl": [0.09, 0.03, 0.01],
    "variance": [0.09, 0.08, 0.01],
    "random 0": [0.09, 0.07, 0.01],
}
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
        "influential_factors": 15,
        "influential_share_of_total": 0.996,
        "sigma_star": [1.0, 1.1, 0.97],
        "reconstruction_error": ORDERS,
        "accuracy_percent_by_ratio_kept": ACCURACY,
        "sampled_accuracy_percent_most_informative_kept": [10.0, 90.0],
        "sampled_accuracy_percent_least_informative_kept": [10.0, 20.0],
        "fano_bound_percent_most_informative_kept": [30.0, 100.0],
        "fano_bound_percent_least_informative_kept": [30.0, 40.0],
        "test_digits": 10_000,
    },
    "theory": {
        "least_excess_over_bound": 0.0,
        "bound_equality_error": 1e-12,
        "linear_vae_excess_over_bound": [0.001, 0.2],
        "linear_vae_excess_over_bound_all_active": 0.001,
    },
    "estimators": {
        "slope": {"uniform": -0.5, "two groups": -0.52},
        "true_information_nats": [0.5, 3.0],
        "covered_percent": {"1000": [95.0, 20.0]},
        "coverage_draws": 2000,
    },
    "sparsity": {"true_dimension": [4] * 10 + [6] * 10, "influential_factors": [4] * 9 + [5] + [6] * 9 + [7]},
    "faces": {
        "influential_factors": 12,
        "influential_factors_without_a_label": 0,
        "ignored_factors_with_a_label": 0,
        "lift_kept_percent": {"influential": 93.0},
        "reconstruction_error": FACES,
    },
    "eeg": {
        "corrected_p_value": {"valence": 0.0005, "arousal": 0.2},
        "rating_correlation": {"valence": 0.31, "arousal": -0.42},
        "ignored_factors_with_a_rating": 0,
        "area_across_subjects_low": {"influential, valence": 0.55, "influential, arousal": 0.48},
        "map_correlation": {"valence": -0.86, "arousal": 0.91},
    },
}


def judged(name, **changes):
    return getattr(claims, f"judge_{name}")(GOOD[name] | changes)


@pytest.mark.parametrize(
    ("name", "ids", "value"),
    [
        ("mnist", ["C1", "C2", "C3", "C4"], 100 * 15 / 128),
        ("theory", ["C5"], 0.1),
        ("estimators", ["C6"], -0.52),
        ("sparsity", ["C7"], 90),
        ("faces", ["C8"], 93),
        ("eeg", ["C9"], 0.42),
    ],
)
def test_all_hold_on_values_made_to_satisfy_them(name, ids, value):
    found = judged(name)
    assert [claim["id"] for claim in found] == ids
    assert all(claim["holds"] and claim["shortfall"] == "" for claim in found)
    assert found[0]["value"] == pytest.approx(value)


@pytest.mark.parametrize(
    ("claim", "name", "changes", "words"),
    [
        ("C1", "mnist", {"influential_factors": 60}, "60 of 128 factors are influential, more than 20 %"),
        ("C1", "mnist", {"influential_factors": 0}, "no factor holds more than 0.1 nats"),
        ("C1", "mnist", {"influential_share_of_total": 0.6}, "hold 60.00 % of the information, less than 95 %"),
        ("C2", "mnist", {"sigma_star": [1.0, 0.3]}, "sigma* reaches from 0.300 to 1.000"),
        ("C3", "mnist", {"reconstruction_error": ORDERS | {"variance": ORDERS["kl"]}}, "order by variance has no more"),
        ("C3", "mnist", {"reconstruction_error": ORDERS | {"kl": [0.09, 0.02, 0.01]}}, "KL divergence has less error"),
        ("C4", "mnist", {"accuracy_percent_by_ratio_kept": ACCURACY | {"0.02": 70.0}}, "accuracy rises by 18.0 points"),
        ("C4", "mnist", {"accuracy_percent_by_ratio_kept": ACCURACY | {"0.1": 83.2}}, "keep 83.2 of 98.0 % accuracy"),
        ("C4", "mnist", {"sampled_accuracy_percent_least_informative_kept": [10.0, 50.0]}, "exceeds the bound by 10.0"),
        ("C5", "theory", {"least_excess_over_bound": -1e-4}, "an error lies 1.0e-04 of the bound under it"),
        ("C5", "theory", {"linear_vae_excess_over_bound": [0.001, -1e-4]}, "an error lies 1.0e-04 of the bound"),
        ("C5", "theory", {"bound_equality_error": 1e-6}, "the best code misses the bound by 1.0e-06 of it"),
        ("C5", "theory", {"linear_vae_excess_over_bound_all_active": 0.02}, "lies 2 % above the bound"),
        ("C6", "estimators", {"slope": {"two groups": -0.3}}, "the error falls with a slope of -0.300"),
        ("C6", "estimators", {"true_information_nats": [0.5, 1.0]}, "hold the truth in 20.0 to 95.0 % of the draws"),
        # Two failures in all are few, but at one dimension they are a fifth.
        ("C7", "sparsity", {"influential_factors": [4] * 8 + [5] * 2 + [6] * 10}, "only in 8 of 10 at d = 4"),
        ("C8", "faces", {"influential_factors": 0}, "no factor is influential"),
        ("C8", "faces", {"influential_factors_without_a_label": 1}, "tell nothing of any attribute: 1"),
        ("C8", "faces", {"ignored_factors_with_a_label": 1}, "ignored factors that tell something of one: 1"),
        ("C8", "faces", {"lift_kept_percent": {"influential": 89.0}}, "keep 89.0 % of the gain in classification"),
        (
            "C8",
            "faces",
            {"reconstruction_error": FACES | {"random 0": [0.05, 0.029, -0.01, 0.01]}},
            "random factors redraw the faces as well",
        ),
        ("C9", "eeg", {"corrected_p_value": {"valence": 0.02, "arousal": 0.2}}, "(corrected p = 0.02)"),
        ("C9", "eeg", {"ignored_factors_with_a_rating": 1}, "ignored factors that go with a rating: 1"),
        (
            "C9",
            "eeg",
            {"area_across_subjects_low": {"influential, valence": 0.49, "influential, arousal": 0.5}},
            "people not seen are not told better than by chance",
        ),
        ("C9", "eeg", {"map_correlation": {"valence": 0.86, "arousal": -0.79}}, "planted one by only 0.79"),
    ],
)
def test_each_part_of_a_rule_can_fail_and_is_named(claim, name, changes, words):
    failed = {found["id"]: found for found in judged(name, **changes) if not found["holds"]}
    assert list(failed) == [claim]
    assert words in failed[claim]["shortfall"]
    assert ";" not in failed[claim]["shortfall"]
    assert claims.in_words(failed[claim]) == f"does not hold here: {failed[claim]['shortfall']}"


def test_eeg_needs_no_map_where_nothing_was_planted():
    assert judged("eeg", map_correlation={})[0]["holds"]


def test_published_numbers_stand_beside_ours():
    sparsity, *_, classification = judged("mnist")
    assert sparsity["value"] == sparsity["published"]
    assert classification["published"] == 93.13
    assert classification["stderr"] == pytest.approx(100 * (0.93 * 0.07 / 10_000) ** 0.5)


def write_result(folder, judgements, name="mnist"):
    folder.mkdir(parents=True, exist_ok=True)
    result = {"experiment": name, "data": {"source": "test", "stand_in": True}, "claims": judgements}
    (folder / f"{name}.json").write_text(json.dumps(result))


def test_claims_are_read_back_and_stand_beside_those_of_the_reference_run(tmp_path):
    write_result(tmp_path / "quick", judged("mnist"))
    write_result(tmp_path / "quick", [], "objectives")
    rows = claims.load("quick", tmp_path)
    assert [(row["id"], row["experiment"]) for row in rows] == [(f"C{i}", "mnist") for i in range(1, 5)]
    assert claims.load_reference("quick", tmp_path) == []
    table = claims.table(rows)
    assert list(table.columns) == ["claim", "published", "this run", "verdict"]
    assert set(table["verdict"]) == {"holds"}
    # A bar would end a cell of the Markdown table.
    assert not any("|" in cell for column in table for cell in table[column])

    write_result(tmp_path / "paper", judged("mnist", influential_factors=16)[:1])
    table = claims.table(rows, claims.load_reference("quick", tmp_path))
    assert list(table["reference run"]) == ["12.5", "-", "-", "-"]
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
