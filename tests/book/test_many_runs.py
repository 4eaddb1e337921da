"""The page on many runs: what it says is what the tables of its sweeps hold."""

import importlib
import re
import shlex

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib import pyplot as plt

from companion import claims, figures, runs, sweep
from companion.errors import RunError
from companion.sweep import REFERENCE_SWEEPS


@pytest.fixture
def many_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    return importlib.import_module("many_runs")


def row(beta, seed, factors, nats, sigma, accuracy):
    """A run with all that the page asks for."""
    by_ratio = {f"accuracy_percent_by_ratio_kept[{ratio}]": 10.0 for ratio in claims.published_accuracies()}
    return {
        "beta": beta, "seed": seed, "influential_factors": factors, "factors_above_half_a_nat": factors - 1,
        "total_information_nats": nats, "learned_sigma": sigma, **by_ratio,
        "accuracy_percent_by_ratio_kept[0.1]": accuracy, "accuracy_percent_by_ratio_kept[1.0]": 98 + seed / 4,
        "duration_seconds": 30.0, "training_seconds": 100.0 if seed else 20.0,
    }  # fmt: skip


@pytest.fixture
def staged(many_runs, tmp_path):
    """The page's numbers and parts from two tables that have a run in common."""
    (tmp_path / "quick" / "sweeps").mkdir(parents=True)
    seeds = [row(6, 0, 18, 36.0, 0.09, 92.0), row(6, 1, 16, 33.0, 0.1, 90.0), row(6, 2, 17, 36.0, 0.11, 95.5)]
    pd.DataFrame(seeds).to_csv(tmp_path / "quick" / "sweeps" / "mnist-seeds.csv", index=False)
    path = [row(2, 0, 33, 70.0, 0.07, 95.0), seeds[0], row(18, 0, 9, 13.0, 0.14, 80.0)]
    pd.DataFrame(path).to_csv(tmp_path / "quick" / "sweeps" / "mnist-beta.csv", index=False)
    yield many_runs.stage("quick", tmp_path / "quick", tmp_path), tmp_path
    plt.close("all")


def test_the_numbers_are_those_of_the_tables(staged):
    numbers, _ = staged
    assert (numbers["runs"], numbers["seeds"], numbers["beta"]) == (5, 3, 6.0)
    # Two of the five took their training, of 100 s, from an earlier run: 3 * 30 + 2 * 130.
    assert numbers["in_sum"] == "6 min"
    assert numbers["accuracy"] == {"all_kept": 0.5, "widest": 5.5}
    assert numbers["widest_percent_kept"] == 10
    # Of the published ones only 93.13 lies between 90 and 95.5, and 98.06 between 98 and 98.5; the others are not 10.
    assert (numbers["ratios"], numbers["published_within"]) == (10, 2)
    assert numbers["factors"] == {"low": 16, "high": 18}
    assert numbers["first"] | {"beta": 2.0, "influential_factors": 33.0} == numbers["first"]
    assert numbers["last"] | {"beta": 18.0, "total_information_nats": 13.0} == numbers["last"]


def test_the_table_has_the_published_column_the_mean_and_the_range(staged):
    _, generated = staged
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (generated / "many-runs-seeds.md").read_text().splitlines()
    ]
    assert rows[0] == ["number", "published", "mean", "lowest to highest"]
    assert ["accuracy with 10 % of the factors (%)", "93.13", "92.50", "90.00 to 95.50"] in rows
    assert ["factors above half a nat", "15", "16.0", "15 to 17"] in rows
    assert ["information of all factors (nats)", "-", "35.00", "33.00 to 36.00"] in rows
    assert len(rows) == 2 + 10 + 3


def test_the_table_has_the_reference_run_where_it_is_another(many_runs, tmp_path):
    for profile, accuracy in (("quick", 90.0), ("paper", 93.0)):
        (tmp_path / profile / "sweeps").mkdir(parents=True)
        for name in ("mnist-seeds", "mnist-beta"):
            runs_of = [row(6, seed, 18, 36.0, 0.09, accuracy + seed) for seed in (0, 1)]
            pd.DataFrame(runs_of).to_csv(tmp_path / profile / "sweeps" / f"{name}.csv", index=False)
    numbers = many_runs.stage("quick", tmp_path / "quick", tmp_path)
    assert numbers["profile"] == "quick"
    assert "trains for 3,000 steps, the paper for 50,000" in numbers["other_than_the_seed"]
    text = (tmp_path / "many-runs-seeds.md").read_text()
    assert text.splitlines()[0].split("|")[3].strip() == "reference run"
    assert "93.50 (93.00 to 94.00)" in text
    assert "90.50" in text
    numbers = many_runs.stage("paper", tmp_path / "paper", tmp_path)
    assert numbers["other_than_the_seed"] == "This profile trains for 50,000 steps, as the paper does."
    assert "reference run" not in (tmp_path / "many-runs-seeds.md").read_text()
    plt.close("all")


def test_a_missing_table_names_the_command_that_makes_it(many_runs, tmp_path):
    command = re.escape("`vaemi sweep mnist -g beta=6 -g seed=0..2 --name mnist-seeds --profile paper`")
    with pytest.raises(RunError, match=command):
        many_runs.stage("quick", tmp_path / "quick", tmp_path)


def test_the_reference_runs_tables_are_shown_until_there_are_both_of_a_profile(many_runs, tmp_path):
    own, reference = tmp_path / "quick", tmp_path / "paper"
    assert {path.parents[1] for path in many_runs.tables_of(own)} == {reference}
    (own / "sweeps").mkdir(parents=True)
    for name, shown in (("mnist-seeds", reference), ("mnist-beta", own)):
        (own / "sweeps" / f"{name}.csv").touch()
        assert {path.parents[1] for path in many_runs.tables_of(own)} == {shown}


def test_the_interval_is_students_and_absent_where_there_are_two():
    table = pd.DataFrame({"beta": [2, 2, 6, 6, 6], "nats": [5.0, 7.0, 2.0, 3.0, 7.0]})
    figure = figures.beta_path(table, {"nats": "information (nats)"})
    (axes,) = figure.axes
    (interval,) = axes.collections
    ends = [segment[:, 1] for segment in interval.get_segments()]
    np.testing.assert_allclose(ends[0], [6, 6])
    # Mean 4, std sqrt(7), t(0.975, 2) of any table.
    half = 4.302652729911275 * np.sqrt(7 / 3)
    np.testing.assert_allclose(ends[1], [4 - half, 4 + half])
    line, dots = axes.lines
    np.testing.assert_allclose(line.get_ydata(), [6, 4])
    assert len(dots.get_xdata()) == 5
    plt.close(figure)


def test_the_run_behind_the_page_is_one_of_both_sweeps(monkeypatch):
    monkeypatch.chdir(ROOT)
    defaults = runs.defaults_of(ROOT / "notebooks" / "mnist.ipynb")
    for arguments in REFERENCE_SWEEPS.values():
        notebook, *words = shlex.split(arguments)
        planned = sweep.plan(notebook, sweep.parse_grid([word for word in words if word != "-g"]), "paper")
        assert {"beta": defaults["beta"], "seed": defaults["seed"]} in planned.points


def test_the_page_of_the_smoke_run(site):
    page = (site / "book" / "many_runs.html").read_text()
    assert "fig-many-runs-beta" in page
    accuracies = pd.read_csv(ROOT / "results" / "paper" / "sweeps" / "mnist-seeds.csv")[
        "accuracy_percent_by_ratio_kept[1.0]"
    ]
    assert f"{accuracies.min():.2f} to {accuracies.max():.2f}" in page
    words = re.sub(r"<[^>]+>", "", page)
    assert "vaemi sweep mnist -g beta=6 -g seed=0..2 --name mnist-seeds --profile smoke" in words
