"""Verdicts: each claim holds on values made to satisfy it and fails on values made to break it."""

import copy
import json

import pytest

from companion import claims

RATIOS = list(claims.published_accuracies())


def good_values():
    nats = [2.0] * 15 + [0.001] * 113
    falling = [98.0, 97.8, 93.0, 85.0, 78.0, 75.0, 52.0, 36.0, 26.0, 10.0]
    return {
        "information_nats": nats,
        "influential_factors": 15,
        "influential_share_of_total": 30 / sum(nats),
        "sigma_star": [1.0, 1.1, 0.97],
        "reconstruction_error": {
            "information": [0.09, 0.03, 0.01],
            "kl": [0.09, 0.03, 0.01],
            "variance": [0.09, 0.08, 0.01],
            "random 0": [0.09, 0.07, 0.01],
        },
        "accuracy_percent_by_ratio_kept": dict(zip(RATIOS, falling, strict=True)),
        "sampled_accuracy_percent_most_informative_kept": [10.0, 90.0],
        "sampled_accuracy_percent_least_informative_kept": [10.0, 20.0],
        "fano_bound_percent_most_informative_kept": [30.0, 100.0],
        "fano_bound_percent_least_informative_kept": [30.0, 40.0],
        "test_digits": 10_000,
    }


def verdicts(values):
    return {claim.id: claim.holds for claim in claims.judge_mnist(values)}


def test_all_hold_on_values_like_the_published():
    assert verdicts(good_values()) == {"C1": True, "C2": True, "C3": True, "C4": True}


def broken(**changes):
    values = copy.deepcopy(good_values())
    values.update(changes)
    return values


REFUTED = {
    "C1 too many factors": ("C1", broken(influential_factors=60)),
    "C1 no factor at all": ("C1", broken(influential_factors=0)),
    "C1 information is spread": ("C1", broken(influential_share_of_total=0.6)),
    "C2 variance tells": ("C2", broken(sigma_star=[1.0, 0.3])),
    "C3 variance order is as good": (
        "C3",
        broken(reconstruction_error={name: [0.09, 0.03, 0.01] for name in ("information", "kl", "variance")}),
    ),
    "C3 kl order is better": (
        "C3",
        broken(reconstruction_error=good_values()["reconstruction_error"] | {"kl": [0.09, 0.02, 0.01]}),
    ),
    "C4 accuracy rises": (
        "C4",
        broken(accuracy_percent_by_ratio_kept=good_values()["accuracy_percent_by_ratio_kept"] | {"0.02": 70.0}),
    ),
    "C4 above the bound": ("C4", broken(sampled_accuracy_percent_least_informative_kept=[10.0, 50.0])),
    "C4 the top does not suffice": (
        "C4",
        broken(accuracy_percent_by_ratio_kept=good_values()["accuracy_percent_by_ratio_kept"] | {"0.1": 80.0}),
    ),
}


@pytest.mark.parametrize("case", REFUTED)
def test_each_claim_can_fail(case):
    claim, values = REFUTED[case]
    found = verdicts(values)
    assert not found.pop(claim)
    assert all(found.values())
    judged = {one.id: one for one in claims.judge_mnist(values)}
    assert [id for id, one in judged.items() if one.shortfall] == [claim]


def test_published_numbers_stand_beside_ours():
    by_id = {claim.id: claim for claim in claims.judge_mnist(good_values())}
    assert by_id["C1"].value == by_id["C1"].published == pytest.approx(100 * 15 / 128)
    assert by_id["C4"].published == 93.13
    assert by_id["C4"].stderr == pytest.approx(100 * (0.93 * 0.07 / 10_000) ** 0.5)


def test_what_is_not_met_is_said_with_this_runs_numbers():
    values = broken(influential_factors=60, influential_share_of_total=0.9395)
    sparsity = claims.judge_mnist(values)[0]
    assert sparsity.shortfall == (
        "60 of 128 factors are influential, more than 20 %; "
        "the influential factors hold 93.95 % of the information, less than 95 %"
    )
    (nothing, *_) = claims.judge_mnist(broken(influential_factors=0))
    assert nothing.shortfall == "no factor holds more than 0.1 nats"
    assert claims.in_words(sparsity.to_dict()) == f"does not hold here: {sparsity.shortfall}"


def write_result(folder, name="mnist", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "experiment": name,
        "data": {"source": "test", "stand_in": True},
        "claims": [claim.to_dict() for claim in claims.judge_mnist(good_values())],
    }
    (folder / f"{name}.json").write_text(json.dumps(result | changes))


def test_claims_are_read_back_and_tabled(tmp_path):
    write_result(tmp_path / "quick")
    rows = claims.load("quick", tmp_path)
    assert [row["id"] for row in rows] == ["C1", "C2", "C3", "C4"]
    table = claims.table(rows)
    assert list(table.columns) == ["claim", "published", "this run", "verdict"]
    assert set(table["verdict"]) == {"holds"}
    # A bar would end a cell of the Markdown table.
    assert not any("|" in cell for column in table for cell in table[column])


def test_the_reference_run_stands_beside_ours_if_there_is_one(tmp_path):
    write_result(tmp_path / "quick")
    assert claims.load_reference("quick", tmp_path) == []
    reference = [claim.to_dict() for claim in claims.judge_mnist(broken(influential_factors=16))]
    write_result(tmp_path / "paper", claims=reference[:1])
    table = claims.table(claims.load("quick", tmp_path), claims.load_reference("quick", tmp_path))
    assert list(table.columns) == ["claim", "published", "reference run", "this run", "verdict"]
    assert list(table["reference run"]) == ["12.5", "-", "-", "-"]
    assert table["this run"][0] == "11.7"
    # The reference run is not compared with itself.
    assert claims.load_reference("paper", tmp_path) == []


def test_a_run_may_claim_nothing(tmp_path):
    write_result(tmp_path / "paper", name="objectives", claims=[])
    assert claims.load_reference("quick", tmp_path) == []
    with pytest.raises(claims.RunError, match="holds no results with claims"):
        claims.load("paper", tmp_path)
    write_result(tmp_path / "paper")
    assert {row["experiment"] for row in claims.load("paper", tmp_path)} == {"mnist"}


def test_missing_and_damaged_results_are_named(tmp_path):
    with pytest.raises(claims.RunError, match="vaemi run mnist --profile quick"):
        claims.load("quick", tmp_path)
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "mnist.json").write_text("{")
    with pytest.raises(claims.RunError, match=r"mnist\.json is no result"):
        claims.load("quick", tmp_path)


def test_accuracy_table_has_the_published_column():
    table = claims.accuracy_table(claims.published_accuracies(), range(10))
    assert table["difference"].abs().max() == 0
    assert len(table) == 10


def test_accuracy_ranges_say_lowest_and_highest():
    changed = {"exchanged": {"0.5": [97.0, 98.5, 96.25], "0.1": [93.0], "0.0": []}}
    table = claims.accuracy_ranges_table({"0.5": 98.0, "0.1": 93.5, "0.0": 10.0}, changed)
    assert table["exchanged"].tolist() == ["96.25 to 98.50", "93.00", "-"]
    assert table["published (%)"].tolist() == ["97.83", "93.13", "10.09"]


def theory_values(**changes):
    return {
        "least_excess_over_bound": 0.0,
        "bound_equality_error": 1e-12,
        "linear_vae_excess_over_bound": [0.001, 0.2],
        "linear_vae_excess_over_bound_all_active": 0.001,
    } | changes


def test_the_reconstruction_bound_holds_on_values_made_to_satisfy_it():
    (claim,) = claims.judge_theory(theory_values())
    assert (claim.id, claim.holds) == ("C5", True)
    assert claim.value == pytest.approx(0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"least_excess_over_bound": -1e-4},
        {"linear_vae_excess_over_bound": [0.001, -1e-4]},
        {"bound_equality_error": 1e-6},
        {"linear_vae_excess_over_bound_all_active": 0.02},
    ],
)
def test_the_reconstruction_bound_can_fail(changes):
    (claim,) = claims.judge_theory(theory_values(**changes))
    assert not claim.holds


def sparsity_values(counts_by_dimension):
    runs = [(dimension, count) for dimension, counts in counts_by_dimension.items() for count in counts]
    dimensions, counts = zip(*runs, strict=True)
    return {"true_dimension": list(dimensions), "influential_factors": list(counts)}


@pytest.mark.parametrize(
    ("counts_by_dimension", "holds", "percent"),
    [
        ({1: [1], 4: [4], 16: [16]}, True, 100),
        ({1: [1], 4: [5], 16: [16]}, False, 200 / 3),
        ({4: [4] * 9 + [5], 6: [7] + [6] * 9}, True, 90),
        # Two failures in all are few, but at one dimension they are a fifth.
        ({4: [4] * 8 + [5, 5], 6: [6] * 10, 8: [8] * 10}, False, 100 * 28 / 30),
        ({4: [3] * 10}, False, 0),
    ],
)
def test_number_of_factors_against_dimension(counts_by_dimension, holds, percent):
    (claim,) = claims.judge_sparsity(sparsity_values(counts_by_dimension))
    assert claim.id == "C7"
    assert claim.holds is holds
    assert claim.value == pytest.approx(percent)
    runs = sum(map(len, counts_by_dimension.values()))
    assert claim.stderr == pytest.approx((percent * (100 - percent) / runs) ** 0.5)


@pytest.mark.parametrize(("dimensions", "counts"), [([], []), ([1, 2], [1])])
def test_no_runs_and_missing_counts_are_refused(dimensions, counts):
    with pytest.raises(ValueError, match="one of each a run"):
        claims.judge_sparsity({"true_dimension": dimensions, "influential_factors": counts})


def faces_values(**changes):
    return {
        "influential_factors": 12,
        "influential_factors_without_a_label": 0,
        "ignored_factors_with_a_label": 0,
        "lift_kept_percent": {"influential": 93.0},
        "reconstruction_error": {
            "information": [0.05, 0.03, 0.02, 0.01],
            "kl": [0.05, 0.03, 0.02, 0.01],
            "variance": [0.05, 0.05, 0.04, 0.01],
            # A single draw may be lucky at one count.
            "random 0": [0.05, 0.029, 0.04, 0.01],
            "random 1": [0.05, 0.05, 0.04, 0.01],
        },
    } | changes


def test_faces_hold_on_values_made_to_satisfy_the_claim():
    (claim,) = claims.judge_faces(faces_values())
    assert (claim.id, claim.holds, claim.value) == ("C8", True, 93.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"influential_factors": 0},
        {"influential_factors_without_a_label": 1},
        {"ignored_factors_with_a_label": 1},
        {"lift_kept_percent": {"influential": 89.0}},
        {
            "reconstruction_error": {
                "information": [0.05, 0.03, 0.02, 0.01],
                "random 0": [0.05, 0.04, 0.019, 0.01],
            }
        },
    ],
)
def test_the_claim_on_faces_can_fail(changes):
    (claim,) = claims.judge_faces(faces_values(**changes))
    assert not claim.holds


def eeg_values(**changes):
    values = {
        "corrected_p_value": {"valence": 0.0005, "arousal": 0.2},
        "rating_correlation": {"valence": 0.31, "arousal": -0.42},
        "ignored_factors_with_a_rating": 0,
        "area_across_subjects_low": {"influential, valence": 0.55, "influential, arousal": 0.48},
        "map_correlation": {"valence": -0.86, "arousal": 0.91},
    }
    return values | changes


@pytest.mark.parametrize("changes", [{}, {"map_correlation": {}}])
def test_eeg_holds_on_values_made_to_satisfy_the_claim(changes):
    (claim,) = claims.judge_eeg(eeg_values(**changes))
    assert (claim.id, claim.holds, claim.value) == ("C9", True, 0.42)


@pytest.mark.parametrize(
    "changes",
    [
        {"corrected_p_value": {"valence": 0.02, "arousal": 0.2}},
        {"ignored_factors_with_a_rating": 1},
        {"area_across_subjects_low": {"influential, valence": 0.49, "influential, arousal": 0.5}},
        {"map_correlation": {"valence": 0.86, "arousal": 0.79}},
    ],
)
def test_the_claim_on_eeg_can_fail(changes):
    (claim,) = claims.judge_eeg(eeg_values(**changes))
    assert not claim.holds


@pytest.mark.parametrize(
    ("judge", "values", "words"),
    [
        (
            claims.judge_theory,
            theory_values(least_excess_over_bound=-1e-4),
            "an error lies 1.0e-04 of the bound under it",
        ),
        (
            claims.judge_theory,
            theory_values(linear_vae_excess_over_bound_all_active=0.02),
            "the trained linear VAE lies 2 % above the bound",
        ),
        (
            claims.judge_sparsity,
            sparsity_values({4: [4] * 8 + [5, 5], 6: [6], 16: [15]}),
            "as many factors as dimensions only in 8 of 10 at d = 4, 0 of 1 at d = 16",
        ),
        (
            claims.judge_faces,
            faces_values(influential_factors_without_a_label=2, lift_kept_percent={"influential": 89.0}),
            "influential factors that tell nothing of any attribute: 2; "
            "the influential factors keep 89.0 % of the gain in classification, less than 90 %",
        ),
        (
            claims.judge_eeg,
            eeg_values(map_correlation={"valence": 0.86, "arousal": -0.79}),
            "a map correlates with the planted one by only 0.79",
        ),
    ],
)
def test_the_words_for_what_is_not_met(judge, values, words):
    (claim,) = judge(values)
    assert claim.shortfall == words


def test_an_estimator_that_does_not_converge_is_said_to():
    values = {
        "slope": {"uniform": -0.5, "two groups": -0.3},
        "true_information_nats": [0.5, 3.0],
        "covered_percent": {"1000": [95.0, 20.0]},
        "coverage_draws": 2000,
    }
    (claim,) = claims.judge_estimators(values)
    assert claim.shortfall == "the error falls with a slope of -0.300"
    (claim,) = claims.judge_estimators(values | {"slope": {"uniform": -0.5}, "true_information_nats": [0.5, 1.0]})
    assert claim.shortfall == "the 95 % intervals hold the truth in 20.0 to 95.0 % of the draws"
