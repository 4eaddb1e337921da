"""The tables of the pages: which number is in which column, and the text beside it."""

import copy
import json
import math
import sys

import nbformat
import pandas as pd
import pytest
from conftest import ROOT

from companion import claims
from companion.errors import RunError

sys.path.append(str(ROOT / "book"))
import page_tables

NBSP = page_tables.NO_BREAK_SPACE


def cells(markdown):
    lines = [line for line in markdown.strip().splitlines() if line.startswith("|")]
    return [[cell.strip(" ") for cell in line.strip("|").split("|")] for line in lines]


def claim(id="C1", **changes):
    return {
        "id": id,
        "statement": "Few factors hold much.",
        "rule": "they are few",
        "holds": True,
        "value": 12.5,
        "stderr": None,
        "unit": "% of the factors",
        "published": 11.7,
        "shortfall": "",
        "experiment": "mnist",
        "data": {"source": "all digits", "stand_in": False},
    } | changes


def test_a_reference_run_has_a_column_only_if_there_is_one():
    header, _, row = cells(page_tables.claims_table([claim()]))
    assert header == ["claim", "published", "this build", "verdict"]
    assert row[1:] == [f"11.7{NBSP}%", f"12.5{NBSP}%", "holds"]
    header, _, row, other = cells(page_tables.claims_table([claim(), claim("C2")], [claim(value=12.0, published=3)]))
    assert header == ["claim", "published", "reference run", "this build", "verdict"]
    assert row[1:] == [f"11.7{NBSP}%", f"12.0{NBSP}%", f"12.5{NBSP}%", "holds"]
    assert other[2] == "-"


def test_a_claim_that_fails_says_why():
    row = cells(page_tables.claims_table([claim(holds=False, shortfall="60 of 128 factors are influential")]))[-1]
    assert "60 of 128 factors are influential" in row[0]
    assert "does not hold" in row[-1]


def test_a_claim_links_to_its_page_if_there_is_one():
    linked, plain = (cells(page_tables.claims_table([claim()], pages=pages))[-1][0] for pages in (["mnist"], []))
    assert "(#claim-c1)" in linked
    assert "#claim-c1" not in plain


def test_a_claim_without_a_short_line_is_shown_whole():
    row = cells(page_tables.claims_table([claim("C99", unit="cats", published=None)]))[-1]
    assert row[0] == "C99. Few factors hold much [cats]{.counts}"
    assert row[1:3] == ["-", "12.5"]


def test_stand_ins_are_marked_and_named_once():
    stand_in = claim("C8", data={"source": "drawn faces", "stand_in": True})
    table = cells(page_tables.claims_table([claim(), stand_in]))
    assert table[2][2:] == [f"12.5{NBSP}%", "holds"]
    assert table[3][2:] == [f"12.5{NBSP}%{NBSP}†", f"holds{NBSP}†"]
    assert page_tables.notes([claim(), stand_in, stand_in]).endswith("of the paper; C8: drawn faces.\n")
    assert "†" not in page_tables.notes([claim()])


def test_every_claim_has_its_rule():
    assert page_tables.rules([claim(), claim("C2")]) == (
        "- **C1** holds when they are few.\n- **C2** holds when they are few.\n"
    )


def test_the_link_target_is_before_the_cell_of_the_verdicts():
    code = [nbformat.v4.new_code_cell(source) for source in ("claims.THRESHOLD", "display(claims.table(verdicts))")]
    notebook = nbformat.v4.new_notebook(cells=code)
    page_tables.mark_conclusion(notebook, {"claims": [{"id": "C1"}, {"id": "C2"}]})
    assert [cell.cell_type for cell in notebook.cells] == ["code", "markdown", "code"]
    assert notebook.cells[1].source.startswith("(claim-c1)=\n(claim-c2)=\n")


# --- beside the reference run -----------------------------------------------------------------------------------------

REFERENCE = {
    "experiment": "mnist",
    "profile": "paper",
    "data": {"source": "MNIST", "stand_in": False, "n": 70_000, "checksum": "a"},
    "values": {"total": 35.25, "by_ratio": {"0.1": 93.1}, "curve": {str(i): i for i in range(100)}, "names": ["x"]},
    "claims": [claim(unit="%", value=11.7, stderr=0.1)],
    "manifest": {
        "parameters": {"steps": 50_000}, "seed": 0, "device": "a machine", "date": "2026-01-01T00:00:00+00:00",
        "duration_seconds": 3600.0, "training_seconds": 3000.0,
    },
}  # fmt: skip
DEFAULTS = {"steps": 3000, "beta": 6.0}


@pytest.fixture
def here():
    result = copy.deepcopy(REFERENCE)
    result["values"] |= {"total": 36.5, "new": 1}
    result["claims"][0] |= {"value": 14.1, "holds": False}
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


def test_claims_and_single_numbers_are_side_by_side(tmp_path, here):
    rows = cells(comparison(tmp_path, here))
    numbers = [f"11.7{NBSP}±{NBSP}0.1, holds", f"14.1{NBSP}±{NBSP}0.1, does not hold"]
    assert ["C1 Few factors hold much. (%)", "11.7", *numbers] in rows
    assert rows[-3:] == [["`total`", "35.25", "36.5"], ["`by_ratio`, 0.1", "93.1", "93.1"], ["`new`", "-", "1"]]


def test_it_says_what_differs(tmp_path, here):
    text = comparison(tmp_path, here)
    assert "It took 60 min on a machine; this page took 60 s. The parameters differ" in text
    assert "`steps` 50,000 there and 3,000 here." in text
    assert "beta" not in text
    assert "data differ" not in text
    here["data"] |= {"checksum": "b", "source": "5,000 digits", "n": 5000}
    assert "MNIST (70,000 samples) there, 5,000 digits (5,000 samples) here" in comparison(tmp_path, here)
    reference = copy.deepcopy(REFERENCE)
    reference["manifest"]["weights"] = here["manifest"]["weights"] = "mnist-ab.safetensors"
    assert "this page measures the same weights again" in comparison(tmp_path, here, reference)


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
    def of(*rows):
        pd.DataFrame(rows).to_csv(tmp_path / "seeds.csv")
        return page_tables.deviations(tmp_path / "seeds.csv")

    return of


def test_a_difference_comes_with_its_interval_and_its_causes(deviations):
    text = deviations(*(seed(deviation, only="0.05", classifier=c) for deviation, c in ((2, 0.2), (3, 0.2), (4, 0.7))))
    assert text.count("kept**") == 1
    assert "- **5 % kept**: the mean is 3.0 points above the published 78.41 %, within" in text
    # Student's t at 97.5 % with two degrees of freedom is 4.3027; the standard deviation of 2, 3, 4 is 1.
    assert f"± {4.302653 * math.sqrt(4 / 3):.1f} points" in text
    assert "by at most 0.7 points, ranking by the Gaussian estimate by at most 0.1." in text
    assert "changes the mean by -0.3. Exchanging one factor at the cut gives 79.4 to 83.4 %." in text
    assert "80.41, 81.41, 82.41" in text


@pytest.mark.parametrize(
    ("seeds", "explanation"),
    [
        ([seed(2.5, classifier=3.0), seed(2.6)], "Another classifier"),
        ([seed(2.5), seed(2.6, longer=-2.7)], "Another classifier"),
        ([seed(2.5, exchanged=3.0), seed(2.6)], "One exchange can"),
        ([seed(1.5), seed(3.5)], "another seed does"),
        ([seed(2.5), seed(2.6)], "None of these changes"),
        ([seed(2.5)], "another seed does"),
    ],
)
def test_the_smallest_sufficient_change_is_named(deviations, seeds, explanation):
    text = deviations(*seeds)
    assert text.count(explanation) == text.count("kept**") == len(claims.published_accuracies())


def test_small_differences_get_no_paragraph(deviations):
    assert "No mean is more than 2 points off." in deviations(seed(0.5), seed(1.0))


def test_a_missing_or_old_table_is_one_sentence(deviations, tmp_path):
    assert "make reference" in page_tables.deviations(tmp_path / "none.csv")
    old = {name: value for name, value in seed(0.5).items() if "longer" not in name}
    with pytest.raises(RunError, match=r"another version of the notebook: .*longer.*Run make reference"):
        deviations(old)
