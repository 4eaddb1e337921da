"""The tables of the pages: which number is in which column, and the text beside it."""

import copy
import json
import math

import nbformat
import page_tables
import pandas as pd
import prose_pages
import pytest

from companion import claims

NBSP = page_tables.NO_BREAK_SPACE


def cells(markdown):
    lines = [line for line in markdown.strip().splitlines() if line.startswith("|")]
    return [[cell.strip(" ") for cell in line.strip("|").split("|")] for line in lines]


def claim(id="C1", verdict="holds", shortfall="", **changes):
    old = {"date": "2026-11-23", "rule": "few", "reason": "first rule", "verdict": "holds", "shortfall": ""}
    rules = [
        old,
        {"date": "2026-11-29", "rule": "fewer", "reason": "better", "verdict": verdict, "shortfall": shortfall},
    ]
    return {
        "id": id,
        "statement": "Few factors hold much.",
        "quote": "sparsity",
        "source": "abstract",
        "verdict": verdict,
        "value": 12.5,
        "interval": None,
        "error_bar": "exact",
        "unit": "% of the factors",
        "published": 11.7,
        "rules": rules,
        "experiment": "mnist",
        "data": {"source": "all digits", "stand_in": False},
    } | changes


def test_the_table_has_a_reference_run_only_if_there_is_one():
    header, _, row = cells(page_tables.claims_table([claim(), claim("T1")]))
    assert header == ["claim", "published", "this build", "verdict"]
    assert row[0].startswith("[C1. A few factors carry almost all the information](#claim-c1) [share")
    assert row[1:] == [f"11.7{NBSP}%", f"12.5{NBSP}%", "holds"]
    with_reference = page_tables.claims_table([claim(), claim("C2")], [claim(value=12.0, published=3)])
    header, _, row, other = cells(with_reference)
    assert header == ["claim", "published", "reference run", "this build", "verdict"]
    assert row[1:] == [f"11.7{NBSP}%", f"12.0{NBSP}%", f"12.5{NBSP}%", "holds"]
    assert other[2] == "-"


def test_a_claim_that_fails_says_why():
    why = "other orders redraw better (by Var(μ): 1 %; by KL: 2 %); 60 of 128 are used"
    row = cells(page_tables.claims_table([claim(verdict="holds in part", shortfall=why)]))[-1]
    # The details are on the page on verdicts.
    assert "[Other orders redraw better; 60 of 128 are used]{.why}" in row[0]
    assert "by Var(μ): 1" in page_tables.verdicts([claim(verdict="holds in part", shortfall=why)])
    assert row[-1] == "[holds in part]{.part}"


def test_stand_ins_are_marked_and_named_once():
    stand_in = claim("C8", data={"source": "drawn faces", "stand_in": True})
    table = cells(page_tables.claims_table([claim(), stand_in]))
    assert table[2][2] == f"12.5{NBSP}%"
    assert table[3][2] == f"12.5{NBSP}%{NBSP}†"
    assert "of the paper; C8: drawn faces. {doc}" in page_tables.notes([claim(), stand_in, stand_in])
    assert "†" not in page_tables.notes([claim(), claim("T7", data={"source": "drawn faces", "stand_in": True})])


def test_the_page_on_verdicts_has_every_rule_and_the_verdict_under_it():
    found = claim("C2", "holds in part", "small σ* rank them (97 % of them)", interval=[1.0, 2.0], error_bar="seeds")
    text = page_tables.verdicts([found, claim("T1")])
    assert "### C2." in text
    assert "T1" not in text
    assert f"12.5{NBSP}% of the factors; 95{NBSP}% interval 1 to 2, over: seeds" in text
    history = cells(text)
    dates = [row[0].replace("\N{NON-BREAKING HYPHEN}", "-") for row in history[2:]]
    assert dates == ["2026-11-23", "2026-11-29"]
    assert history[2][-1] == "holds"
    assert history[3][-1] == "holds in part: small σ* rank them"
    assert f"**[holds in part]{{.part}}**. Small σ* rank them (97{NBSP}% of them). " in text


def test_checks_have_a_table_of_their_own():
    rows = [claim(), claim("T1", "passes"), claim("T2", "fails", "they differ by 1")]
    _, _, passes, fails = cells(page_tables.checks(rows))
    assert passes[-1] == "passes"
    assert fails[-1] == "[fails]{.fails} they differ by 1"
    assert page_tables.checks_in_words(rows) == "1 of 2 numerical checks of theorems pass."


def test_the_link_target_is_before_the_cell_of_the_verdicts():
    code = [nbformat.v4.new_code_cell(source) for source in ("claims.THRESHOLD", "show_verdicts(verdicts)")]
    notebook = nbformat.v4.new_notebook(cells=code)
    page_tables.mark_conclusion(notebook, {"claims": [{"id": "C1"}, {"id": "C2"}]})
    assert [cell.cell_type for cell in notebook.cells] == ["code", "markdown", "code"]
    assert notebook.cells[1].source.startswith("(claim-c1)=\n(claim-c2)=\n")


# --- beside the reference run -----------------------------------------------------------------------------------------

REFERENCE = {
    "experiment": "mnist",
    "profile": "paper",
    "data": {"source": "MNIST", "stand_in": False, "n": 70_000, "checksum": "a"},
    "values": {"total": 35.25, "by_ratio": {"0.1": 93.1}, "curve": {str(i): i for i in range(100)}, "names": ["x"],
               "factors": {"VAE": [12, 13, 11]}, "long": [1] * 9, "none": []},
    "claims": [claim(unit="%", value=11.7, interval=[11.6, 11.8])],
    "manifest": {
        "parameters": {"steps": 50_000}, "seed": 0, "device": "a machine", "date": "2026-01-01T00:00:00+00:00",
        "duration_seconds": 3600.0, "training_seconds": 3000.0,
    },
}  # fmt: skip
DEFAULTS = {"steps": 3000, "beta": 6.0}


@pytest.fixture
def here():
    result = copy.deepcopy(REFERENCE)
    result["values"] |= {"total": 36.5, "factors": {"VAE": [18]}, "new": 1}
    result["claims"][0] |= {"value": 14.1, "verdict": "does not hold"}
    result["manifest"] |= {"parameters": {}, "date": "2026-02-02", "duration_seconds": 60.0, "training_seconds": 50.0}
    return result


def comparison(tmp_path, result, reference=REFERENCE):
    if reference:
        (tmp_path / "paper").mkdir(exist_ok=True)
        (tmp_path / "paper" / "mnist.json").write_text(json.dumps(reference))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")])
    page_tables.compare_with_reference(notebook, result, DEFAULTS, tmp_path)
    nbformat.validate(notebook)
    return "\n".join(cell.source for cell in notebook.cells[1:])


def test_claims_and_numbers_are_side_by_side(tmp_path, here):
    rows = cells(comparison(tmp_path, here))
    numbers = ["11.7 (11.6 to 11.8), holds", "14.1 (11.6 to 11.8), does not hold"]
    assert ["C1 Few factors hold much. (%)", "11.7", *numbers] in rows
    assert rows[-4:] == [
        ["`total`", "35.25", "36.5"],
        ["`by_ratio`, 0.1", "93.1", "93.1"],
        ["`factors`, VAE", "12, 13, 11", "18"],
        ["`new`", "-", "1"],
    ]


def test_it_lists_what_differs(tmp_path, here):
    rows = cells(comparison(tmp_path, here))
    assert rows[0] == ["what differs", "reference run", "this page"]
    assert ["time", "60 min", "60 s"] in rows
    assert ["`steps`", "50,000", "3,000"] in rows
    assert not {"`beta`", "machine", "data"} & {row[0] for row in rows}
    here["data"] |= {"checksum": "b", "source": "5,000 digits", "n": 5000}
    assert ["data", "MNIST (70,000 samples)", "5,000 digits (5,000 samples)"] in cells(comparison(tmp_path, here))
    reference = copy.deepcopy(REFERENCE)
    reference["manifest"]["weights"] = here["manifest"]["weights"] = "mnist-ab.safetensors"
    assert ["time", "60 min", "the same weights, measured again"] in cells(comparison(tmp_path, here, reference))


def test_a_run_is_not_compared_with_itself_nor_without_a_reference(tmp_path, here):
    assert comparison(tmp_path, here, reference=None) == ""
    assert comparison(tmp_path, copy.deepcopy(REFERENCE)) == ""


# --- the seeds beside the published accuracies ------------------------------------------------------------------------


def seed(deviation, classifier=0.2, exchanged=1.0, longer=-0.3, only=None):
    """A row of the table of a sweep, with every accuracy so many points off the published one."""
    columns = {}
    for ratio, published in claims.published_accuracies().items():
        found = published + (deviation if only in (None, ratio) else 0.5)
        columns |= {
            f"accuracy_percent_by_ratio_kept[{ratio}]": found,
            f"accuracy_percent_by_gaussian_ranking[{ratio}]": found - 0.1,
            f"accuracy_percent_of_longer_classifier[{ratio}]": found + longer,
            f"lowest_accuracy_percent_of_classifiers[{ratio}]": found - classifier,
            f"highest_accuracy_percent_of_classifiers[{ratio}]": found,
            f"lowest_accuracy_percent_after_exchange[{ratio}]": found - exchanged,
            f"highest_accuracy_percent_after_exchange[{ratio}]": found + exchanged,
        }
    return columns


@pytest.fixture
def deviations(tmp_path):
    """A function that returns the cells of the tables of some seeds, and their text."""

    def of(*rows):
        pd.DataFrame(rows).to_csv(tmp_path / "seeds.csv")
        text = prose_pages.deviations(tmp_path / "seeds.csv")
        return cells(text), text

    return of


def test_a_difference_comes_with_its_interval_and_what_other_changes_give(deviations):
    rows, text = deviations(*(seed(deviation, only="0.05", classifier=c) for deviation, c in ((2, 0.2), (4, 0.7))))
    assert ["5 %", "78.41", "81.41", "80.41, 82.41", "+3.00"] in rows
    assert "1 of the 10 means are more than 2 points off" in text
    # Student's t at 97.5 % with one degree of freedom is 12.706; the standard deviation of 2 and 4 is the root of 2.
    half = 12.706205 * math.sqrt(2) * math.sqrt(3 / 2)
    interval = f"{81.41 - half:.1f} to {81.41 + half:.1f}"
    assert rows[-1][1:5] == ["80.2 to 82.4", "80.1 to 82.4", "80.3 to 82.4", "79.4 to 83.4"]
    assert rows[-1][5:] == [interval, "one more seed"]


@pytest.mark.parametrize(
    ("seeds", "reached"),
    [
        ([seed(2.5, classifier=3.0), seed(2.6)], "another classifier"),
        ([seed(2.5), seed(2.6, longer=-2.7)], "a longer training of it"),
        ([seed(2.5, exchanged=3.0), seed(2.6)], "one factor exchanged"),
        ([seed(1.5), seed(3.5)], "one more seed"),
        ([seed(2.5), seed(2.6)], "none"),
        ([seed(2.5)], "one more seed"),
    ],
)
def test_the_changes_that_reach_the_published_accuracy_are_named(deviations, seeds, reached):
    rows, _ = deviations(*seeds)
    assert {row[-1] for row in rows[-10:]} == {reached}


def test_small_differences_need_no_explanation(deviations):
    assert "No mean is more than 2 points off." in deviations(seed(0.5), seed(1.0))[1]


def test_the_published_run_is_placed_among_runs_of_both_starts(tmp_path):
    published = claims.published_accuracies()
    runs = pd.DataFrame({"start": ["torch", "torch", "keras"], "factors_above_half_a_nat": [15, 17, 16]})
    runs["objective_on_validation"] = [-540.0, -539.0, -544.5]  # the notebook's is above all of them
    for ratio, accuracy in published.items():
        runs[f"accuracy_percent_by_ratio_kept[{ratio}]"] = [accuracy - 1, accuracy + 1, accuracy + 2]
    runs.to_csv(tmp_path / "start.csv", index=False)
    text, numbers = prose_pages.published_among_runs(tmp_path / "start.csv")
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["number"] == ["published", "keras start", "torch start", "runs below"]
    assert rows["accuracy with 10 % of the factors (%)"] == ["93.13", "95.13", "92.13 to 94.13", "1 of 3"]
    assert rows["factors above half a nat"] == ["15", "16", "15 to 17", "0 of 3"]
    assert rows["objective on all validation digits"] == ["-531.5", "-544.5", "-540.0 to -539.0", "3 of 3"]
    # A published number that equals the lowest run's is not outside.
    assert numbers == {
        "runs": 3,
        "starts": "2 with the torch start, 1 with the keras start",
        "numbers": 12,
        "outside": 1,
        "inside": {"keras": 0, "torch": 11},
        "outside_by_chance": 6,
    }


# --- the number of factors by source ----------------------------------------------------------------------------------


def test_factors_are_counted_by_source(tmp_path):
    run = {"factors_above_half_a_nat": 16, "total_information_nats": 34.06}
    pd.DataFrame([{"seed": 7, **run, "information_of_influential_factors_nats[max]": 3.2}]).to_csv(tmp_path / "t.csv")
    build = run | {"factors_above_half_a_nat": 18, "information_of_influential_factors_nats": {"min": 0.2, "max": 2.5}}
    header, _, *rows = cells(prose_pages.factor_counts(build, tmp_path / "t.csv"))
    assert header[1] == "factors above half a nat"
    assert rows[0] == ["Figure 1 of the paper, read off by eye", "13", "about 3.05", "about 25"]
    assert rows[1] == ["the authors' notebook", "15", "3.33", "-"]
    assert rows[-2] == ["the reference run, seed 7", "16", "3.2", "34.1"]
    assert rows[-1] == ["the MNIST page of this build", "18", "2.5", "34.1"]
