"""The page on the estimator: tables come from the committed benchmarks, which show what the text says of them."""

import json
import math

import prose_pages
import pytest
from conftest import ROOT


def committed(name):
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def robustness():
    rows = committed("robustness")["rows"]
    assert [row["estimator"] for row in rows if row["failed"]] == []
    return {row["estimator"]: row for row in rows}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Numbers of the page and the folder of its tables."""
    folder = tmp_path_factory.mktemp("generated")
    return prose_pages.estimators(folder), folder


def table(path):
    """Rows of a Markdown table by their first cell, each by the head of its column."""
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in path.read_text().strip().splitlines()
    )
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_the_tables_show_the_committed_numbers(page, robustness):
    numbers, folder = page
    values, levels, dimensions = (
        table(folder / f"robustness-{part}.md") for part in ("values", "levels", "dimensions")
    )
    assert len(values) == len(levels) == len(robustness) == numbers["robustness"]["estimators"]
    ksg = robustness["KSG, infomeasure"]
    assert values["KSG, infomeasure"]["negative values"] == f"{ksg['ignored']['negative']} of 104"
    assert values["KSG, infomeasure"]["lowest value (nats)"] == f"{ksg['ignored']['lowest']:.2f}"
    assert values["vaemi"]["spread over seeds (nats)"] == "0"
    (at,) = (at for at in ksg["dimensions"] if (at["dimension"], at["truth"]) == (10, 3))
    assert dimensions["KSG, infomeasure"]["3 nats in 10 factors"] == f"{at['estimate']:.2f}"
    assert dimensions["MINE, torch-mist"]["15 nats in 30 factors"] == "-"
    assert "fixed bins" not in dimensions
    assert levels["GMM-MI"]["1 nat"] == f"{robustness['GMM-MI']['levels'][0]['estimate']:.2f}"
    top = robustness["vaemi"]["levels"][-1]
    assert levels["vaemi"]["8 nats"] == f"{top['estimate']:.2f} to {top['upper']:.2f}"


def test_times_are_ratios_to_those_of_vaemi_on_the_same_data(page):
    _, folder = page
    rows = committed("estimators")["rows"]
    seconds = {(row["estimator"], row["m"]): row["cpu_seconds_one_thread"] for row in rows if row["scale"] == 1}
    lines = (folder / "benchmark-estimators.md").read_text().splitlines()
    for name in ("GMM-MI", "MINE, torch-mist"):
        (line,) = (line for line in lines if name in line and "10,000" in line)
        times = float(line.split("|")[4].replace(",", ""))
        assert times == pytest.approx(seconds[name, 10_000] / seconds["vaemi", 10_000], rel=0.05)
    ours = [line for line in lines if "vaemi" in line]
    assert len({line.split("|")[2] for line in ours}) == len(ours)  # once for each number of samples


def test_the_benchmark_shows_what_the_text_says(robustness):
    ceiling = math.log(committed("robustness")["samples"])
    ours, papers, sklearn = (robustness[name] for name in ("vaemi", "the paper's Gaussian", "KSG, scikit-learn"))
    assert ours["ignored"]["negative"] == ours["seeds"]["spread"] == 0
    assert sklearn["ignored"]["negative"] == 0 < sklearn["ignored"]["exactly_zero"]
    for at in ours["levels"] + ours["dimensions"]:
        assert at["estimate"] < ceiling
        assert at["estimate"] - 0.05 < at["truth"] < at["upper"] + 0.05
        if at["truth"] > ceiling:
            assert at["upper"] - at["estimate"] > 1
    # Every estimator saturates but those that find the Gaussian.
    for name, row in robustness.items():
        (top,) = (at["estimate"] for at in row["levels"] if at["truth"] == 8)
        assert (top < 7) == (name not in ("the paper's Gaussian", "GMM-MI")), name
    spread = {name: row["seeds"]["spread"] for name, row in robustness.items()}
    assert max(spread, key=spread.get) == "MINE, torch-mist"
    (mine,) = (at["estimate"] for at in robustness["MINE, torch-mist"]["dimensions"] if at["dimension"] == 30)
    assert mine > 3.3
    of_dimension = {
        at["dimension"]: at["estimate"] for at in robustness["KSG, infomeasure"]["dimensions"] if at["truth"] == 3
    }
    assert of_dimension[2] > 2.5 > 0.3 > of_dimension[30]
    for at in papers["levels"] + papers["dimensions"]:
        assert at["estimate"] == pytest.approx(at["truth"], abs=0.2)
    assert papers["dimensions"][-1]["estimate"] < 15
