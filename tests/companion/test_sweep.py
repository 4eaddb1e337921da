"""Sweeps: grids, their tables, and what Snakemake makes of them."""

import json
import math
import os

import pandas as pd
import pytest
import yaml
from conftest import ROOT, project_with_a_notebook

from companion import runs, sweep

PARAMETERS = """\
beta: float = 6.0  # weight of the KL term
seed: int = 0  # of all
label: str = "a"  # a word
flag: bool = False  # a switch
"""
BODY = """\
from pathlib import Path
from companion.data.sources import Provenance
from companion.runs import Run

if beta == 2 and Path("broken").exists():
    raise ValueError("the digits are upside down")
values = {"score": beta + seed**2, "label": 1.0 if label == "c" else 0.0}
Run("tiny").finish(data=Provenance("none", True, 0, "0"), values=values, seed=seed)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one small notebook and one profile, and the working folder in it."""
    root = project_with_a_notebook(tmp_path / "a project", PARAMETERS, BODY, "tiny:\n  label: b\n")
    monkeypatch.chdir(root)
    return root


def test_values_are_listed_or_a_range_and_no_run_comes_twice(project):
    grid = sweep.parse_grid(["beta=4, 1e-3,4.0", "seed=0..2", "seed=1", "label=a b,0..c", "flag=true"])
    planned = sweep.plan("tiny", grid)
    assert planned.grid == {"beta": [4.0, 1e-3], "seed": [0, 1, 2], "label": ["a b", "0..c"], "flag": [True]}
    assert len(planned.points) == 12
    assert planned.points[1] == {"beta": 4.0, "seed": 0, "label": "0..c", "flag": True}
    planned = sweep.plan("tiny", {"beta": [4], "seed": [0, 1]}, fixed={"flag": True})
    folder = project / "results" / "quick" / "sweeps" / "tiny-beta-seed"
    assert planned.result(planned.points[1]) == folder / "beta~4.0" / "seed~1.json"
    assert planned.settings == {"label": "b", "flag": True}
    assert planned.missing == planned.points
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        (["betta=1"], {}, "no parameter 'betta'"),
        (["beta=1,strong"], {}, "'strong' is not"),
        (["seed"], {}, "not of the form NAME=VALUES"),
        (["seed=4..0"], {}, "4..0 of seed is empty"),
        (["label=a/b"], {}, "cannot be a file name"),
        (["seed=0..4"], {"fixed": {"seed": 1}}, "fixed with -p and varied with -g"),
        (["seed=0..3"], {"over": "beta"}, "does not vary"),
        (["seed=0..3"], {"profile": "quik"}, "no profile 'quik'"),
        ([], {}, "parameters that vary"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_starts(project, grid, options, words):
    with pytest.raises(runs.RunError) as failure:
        sweep.plan("tiny", sweep.parse_grid(grid), **options)
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not (project / "results").exists()


def leave(planned, point, values, claims=()):
    """Write the result that a run would leave."""
    path = planned.result(point)
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"parameters": {"label": "b", **point}, "duration_seconds": 1.0, "training_seconds": 0.5}
    path.write_text(json.dumps({"values": values, "claims": claims, "manifest": manifest}))


def test_the_summary_is_what_one_computes_by_hand(project):
    planned = sweep.plan("tiny", {"beta": [1, 4], "seed": [0, 1, 2]})
    # Mean 4, deviations -2, -1, 3: std sqrt(14 / 2); t(0.975, 2) = 4.302653 in any table. One run is missing.
    for point, nats in zip(planned.points, [2.0, 3.0, 7.0, 1.0, 1.0], strict=False):
        values = {"nats": nats, "beta": -1.0, "spectrum": [1.0], "by_key": {"a": nats, "curve": [1.0]}}
        rules = [{"verdict": "does not hold"}, {"verdict": "holds" if nats > 2 else "holds in part"}]
        leave(planned, point, values, [{"id": "C1", "rules": rules, "value": nats / 2}])
    sweep.write_tables(planned)

    table = pd.read_csv(planned.file(".csv"))
    assert table.iloc[1].to_dict() == {
        "beta": 1.0, "seed": 1, "label": "b", "nats": 3.0, "values.beta": -1.0, "by_key[a]": 3.0, "C1_holds": True,
        "C1_value": 1.5, "duration_seconds": 1.0, "training_seconds": 0.5,
    }  # fmt: skip
    assert len(table) == 5

    short = pd.read_csv(planned.file("-summary.csv"))
    assert list(short) == ["beta", "quantity", "n", "mean", "std", "low", "high"]
    found = short.set_index(["beta", "quantity"])
    half = 4.302652729911275 * math.sqrt(7) / math.sqrt(3)
    assert found.loc[1.0, "nats"].tolist() == pytest.approx([3, 4.0, math.sqrt(7), 4 - half, 4 + half])
    assert found.loc[4.0, "nats"].tolist() == [2, 1.0, 0.0, 1.0, 1.0]
    holds = found.loc[1.0, "C1_holds"]
    assert holds["mean"] == pytest.approx(2 / 3)
    assert holds[["std", "low", "high"]].isna().all()
    assert "seed" not in short.quantity.tolist()

    page = planned.file("-summary.md").read_text()
    assert page.startswith("| beta")
    assert "-2.572 to 10.57" in page
    assert "by_key" not in page


def test_one_run_has_no_interval_and_repetitions_other_than_seeds_can_be_named(project):
    alone = sweep.plan("tiny", {"beta": [1]})
    leave(alone, alone.points[0], {"nats": 2.0})
    first = sweep.summary(alone).iloc[0]
    assert (first["n"], first["mean"]) == (1, 2.0)
    assert first[["std", "low", "high"]].isna().all()
    over = sweep.plan("tiny", {"beta": [1, 3]}, over="beta")
    for point in over.points:
        leave(over, point, {"nats": 2 * point["beta"]})
    assert sweep.summary(over).iloc[0][["quantity", "n", "mean"]].tolist() == ["nats", 2, 4.0]


def test_a_run_on_a_stand_in_does_not_count_once_the_users_data_are_there(project, own_data_root):
    notebook = project / "notebooks" / "tiny.ipynb"
    notebook.write_text(notebook.read_text().replace("# of all", '# of all\\ndata_source: str = \\"auto\\"'))
    notebook.rename(notebook.with_name("celeba.ipynb"))
    both = [
        sweep.plan("celeba", {"seed": [0, 1]}, fixed={"data_source": source}, name=source)
        for source in ("auto", "drawn")
    ]
    for planned in both:
        assert planned.missing == planned.points
        leave(planned, planned.points[0], {})
        kept = planned.folder / "settings.json"
        kept.write_text(planned.common)
        os.utime(kept, (1, 1))
        assert planned.missing == planned.points[1:]
    (own_data_root / "celeba").mkdir()
    (own_data_root / "celeba" / "list_attr_celeba.txt").write_text("1\nMale\n000001.jpg 1\n")
    auto, drawn = both
    assert auto.missing == auto.points
    assert drawn.missing == drawn.points[1:]
    # A result from before the settings were written is of others.
    auto.folder.joinpath("settings.json").write_text(auto.common)
    os.utime(auto.result(auto.points[0]), (1, 1))
    assert auto.missing == auto.points


@pytest.mark.slow
def test_a_failed_run_stops_no_other_and_the_same_command_makes_what_is_missing(project):
    (project / "broken").touch()
    planned = sweep.plan("tiny", {"beta": [1, 2], "flag": [True]}, fixed={"label": "b"})
    assert not sweep.make(planned, jobs=2)
    assert planned.missing == [{"beta": 2.0, "flag": True}]
    assert pd.read_csv(planned.file(".csv"))["score"].tolist() == [1.0]
    first = planned.result(planned.points[0])
    made = first.stat().st_mtime_ns

    (project / "broken").unlink()
    assert sweep.make(planned, jobs=2)
    assert pd.read_csv(planned.file(".csv"))["score"].tolist() == [1.0, 2.0]
    assert first.stat().st_mtime_ns == made
    # Other fixed parameters make all runs anew.
    assert sweep.make(sweep.plan("tiny", {"beta": [1, 2], "flag": [True]}, fixed={"label": "c"}), jobs=2)
    assert pd.read_csv(planned.file(".csv"))["values.label"].tolist() == [1.0, 1.0]
    assert not (project / "results" / "quick" / "tiny.json").exists()


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_the_profiles_for_clusters_are_settings_of_snakemake(name):
    settings = yaml.safe_load((ROOT / "workflow" / "profiles" / name / "config.yaml").read_text())
    assert settings["executor"] == name
    assert settings["keep-going"]
