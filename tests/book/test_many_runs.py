"""The page on many runs: what it says is what the tables of its sweeps hold."""

import re
import shlex

import numpy as np
import pandas as pd
import prose_pages
import pytest
from conftest import ROOT
from matplotlib import pyplot as plt

from companion import claims, figures, runs, sweep
from companion.sweep import REFERENCE_SWEEPS


def row(beta, seed, factors, nats, sigma, accuracy):
    """A run with all that the page asks for."""
    by_ratio = {f"accuracy_percent_by_ratio_kept[{ratio}]": 10.0 for ratio in claims.published_accuracies()}
    return {
        "beta": beta, "seed": seed, "influential_factors": factors, "factors_above_half_a_nat": factors - 1,
        "total_information_nats": nats, "learned_sigma": sigma, **by_ratio,
        "accuracy_percent_by_ratio_kept[0.1]": accuracy, "accuracy_percent_by_ratio_kept[1.0]": 98 + seed / 4,
        "duration_seconds": 30.0, "training_seconds": 100.0 if seed else 20.0,
    }  # fmt: skip


SEEDS = [row(6, 0, 18, 36.0, 0.09, 92.0), row(6, 1, 16, 33.0, 0.1, 90.0), row(6, 2, 17, 36.0, 0.11, 95.5)]
PATH = [row(2, 0, 33, 70.0, 0.07, 95.0), SEEDS[0], row(18, 0, 9, 13.0, 0.14, 80.0)]


def write(results, seeds, path):
    (results / "sweeps").mkdir(parents=True)
    for name, rows in (("mnist-seeds", seeds), ("mnist-beta", path)):
        pd.DataFrame(rows).to_csv(results / "sweeps" / f"{name}.csv", index=False)


def cells(generated):
    lines = (generated / "many-runs-seeds.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_the_numbers_are_those_of_the_tables(tmp_path):
    write(tmp_path / "paper", SEEDS, PATH)
    numbers = prose_pages.many_runs(tmp_path / "paper", tmp_path)
    assert (numbers["runs"], numbers["seeds"], numbers["beta"]) == (5, 3, 6.0)
    # Two of the five took their training, of 100 s, from an earlier run: 3 * 30 + 2 * 130.
    assert numbers["in_sum"] == "6 min"
    assert numbers["accuracy"] == {"all_kept": 0.5, "widest": 5.5}
    assert numbers["widest_percent_kept"] == 10
    # Of the published ones only 93.13 lies between 90 and 95.5, and 98.06 between 98 and 98.5; the others are not 10.
    assert (numbers["ratios"], numbers["published_within"]) == (10, 2)
    assert numbers["first"] | {"beta": 2.0, "influential_factors": 33.0} == numbers["first"]
    assert numbers["last"] | {"beta": 18.0, "total_information_nats": 13.0} == numbers["last"]
    assert numbers["other_than_the_seed"] == "This profile trains for 50,000 steps, as the authors' notebook does."
    rows = cells(tmp_path)
    assert rows[0] == ["number", "published", "mean", "lowest to highest"]
    assert ["accuracy with 10 % of the factors (%)", "93.13", "92.50", "90.00 to 95.50"] in rows
    assert ["factors above half a nat", "15", "16.0", "15 to 17"] in rows
    assert ["information of all factors (nats)", "-", "35.00", "33.00 to 36.00"] in rows
    assert len(rows) == 2 + 10 + 3


def test_a_profiles_own_sweeps_are_shown_beside_the_reference_run(tmp_path):
    write(tmp_path / "paper", SEEDS, PATH)
    (tmp_path / "quick" / "sweeps").mkdir(parents=True)
    (tmp_path / "quick" / "sweeps" / "mnist-seeds.csv").touch()  # one of two is not enough
    assert prose_pages.tables_of(tmp_path / "quick") == prose_pages.tables_of(tmp_path / "paper")
    write(tmp_path / "smoke", SEEDS[:2], PATH)
    numbers = prose_pages.many_runs(tmp_path / "smoke", tmp_path)
    assert numbers["profile"] == "smoke"
    assert "trains for 30 steps, the authors' notebook for 50,000" in numbers["other_than_the_seed"]
    rows = cells(tmp_path)
    assert rows[0][2] == "reference run"
    of_tenth = ["92.50 (90.00 to 95.50)", "91.00", "90.00 to 92.00"]
    assert ["accuracy with 10 % of the factors (%)", "93.13", *of_tenth] in rows


def test_the_interval_is_students_and_absent_where_there_are_two():
    table = pd.DataFrame({"beta": [2, 2, 6, 6, 6], "nats": [5.0, 7.0, 2.0, 3.0, 7.0]})
    (axes,) = figures.beta_path(table, {"nats": "information (nats)"}).axes
    (interval,) = axes.collections
    ends = [segment[:, 1] for segment in interval.get_segments()]
    np.testing.assert_allclose(ends[0], [6, 6])
    # Mean 4, std sqrt(7), t(0.975, 2) of any table.
    half = 4.302652729911275 * np.sqrt(7 / 3)
    np.testing.assert_allclose(ends[1], [4 - half, 4 + half])


def test_the_run_behind_the_page_is_one_of_both_sweeps(monkeypatch):
    monkeypatch.chdir(ROOT)
    defaults = runs.defaults_of(ROOT / "notebooks" / "mnist.ipynb")
    for arguments in REFERENCE_SWEEPS.values():
        notebook, *words = shlex.split(arguments)
        planned = sweep.plan(notebook, sweep.parse_grid([word for word in words if word != "-g"]), "paper")
        assert {"beta": defaults["beta"], "seed": defaults["seed"]} in planned.points


def test_the_page_of_the_smoke_run(site):
    words = re.sub(r"<[^>]+>", "", (site / "book" / "many_runs.html").read_text())
    accuracies = pd.read_csv(ROOT / "results" / "paper" / "sweeps" / "mnist-seeds.csv")[
        "accuracy_percent_by_ratio_kept[1.0]"
    ]
    assert f"{accuracies.min():.2f} to {accuracies.max():.2f}" in words
    assert "vaemi sweep mnist -g beta=6 -g seed=0..2 --name mnist-seeds --profile smoke" in words
