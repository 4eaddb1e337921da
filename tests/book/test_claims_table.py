"""The claims on the landing page: what stands in which column, and what is said of a claim that fails."""

import importlib.util

import nbformat
from conftest import ROOT

specification = importlib.util.spec_from_file_location("claims_table", ROOT / "book" / "claims_table.py")
claims_table = importlib.util.module_from_spec(specification)
specification.loader.exec_module(claims_table)


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


def cells(markdown):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.strip().splitlines()]


def test_a_reference_run_has_a_column_only_if_there_is_one():
    header, _, row = cells(claims_table.table([claim()]))
    assert header == ["claim", "published", "this build", "verdict"]
    assert row[1:] == ["11.7\u00a0%", "12.5\u00a0%", "holds"]
    header, _, row, other = cells(claims_table.table([claim(), claim("C2")], [claim(value=12.0, published=3)]))
    assert header == ["claim", "published", "reference run", "this build", "verdict"]
    assert row[1:] == ["11.7\u00a0%", "12.0\u00a0%", "12.5\u00a0%", "holds"]
    # One that the reference run has no verdict on.
    assert other[2] == "-"


def test_a_claim_that_fails_says_so_in_plain_words():
    (*_, row) = cells(claims_table.table([claim(holds=False, shortfall="60 of 128 factors are influential")]))
    assert "does not hold here: 60 of 128 factors are influential" in row[0]
    assert "does not hold" in row[-1]
    # What an earlier version left.
    (*_, row) = cells(claims_table.table([claim(holds=False, shortfall=None)]))
    assert "does not hold here: its rule is not met" in row[0]


def test_a_claim_without_a_page_has_no_link():
    linked, plain = (cells(claims_table.table([claim()], pages=pages))[-1][0] for pages in (["mnist"], ["theory"]))
    assert "(#claim-c1)" in linked
    assert "#claim-c1" not in plain


def test_a_claim_nobody_shortened_is_shown_whole():
    (*_, row) = cells(claims_table.table([claim("C10", unit="cats", published=None)]))
    assert row[0] == "C10. Few factors hold much [cats]{.counts}"
    assert row[1:3] == ["-", "12.5"]


def test_stand_ins_are_marked_and_named():
    stand_in = claim("C8", data={"source": "drawn faces", "stand_in": True})
    rows = [claim(), stand_in]
    table = cells(claims_table.table(rows))
    assert "†" not in table[2][2]
    assert table[3][2] == "12.5\u00a0%\u00a0†"
    assert table[3][3] == "holds\u00a0†"
    # Once, though the reference run used it too.
    assert claims_table.notes([*rows, stand_in]).endswith("of the paper; C8: drawn faces.\n")
    assert "†" not in claims_table.notes([claim()])


def test_every_claim_has_its_rule():
    assert (
        claims_table.rules([claim(), claim("C2")])
        == "- **C1** holds when they are few.\n- **C2** holds when they are few.\n"
    )


def test_the_target_stands_before_the_cell_that_judged():
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("claims.THRESHOLD"),
            nbformat.v4.new_code_cell("display(claims.table(verdicts))"),
        ]
    )
    claims_table.mark_conclusion(notebook, {"claims": [{"id": "C1"}, {"id": "C2"}]})
    assert [cell.cell_type for cell in notebook.cells] == ["code", "markdown", "code"]
    assert notebook.cells[1].source.startswith("(claim-c1)=\n(claim-c2)=\n")
