"""`make reference`: the forecast, and what becomes of a run that is there."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
import reference
from conftest import ROOT

from companion.weights import train_or_load


def test_without_an_earlier_run_there_is_nothing_to_go_by(tmp_path):
    (sentence,) = reference.forecast(tmp_path)
    assert "There is no earlier reference run" in sentence


def result(name, seconds, **manifest):
    about = {"duration_seconds": seconds, "training_seconds": seconds / 2} | manifest
    return json.dumps({"experiment": name, "manifest": about})


def test_a_forecast_scales_what_was_measured_there(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    for name, seconds in (("celeba", 1200.0), ("mnist", 6000.0)):
        (tmp_path / f"{name}.json").write_text(result(name, seconds, weights=f"{name}-ab.safetensors"))
        (tmp_path / "weights" / f"{name}-ab.safetensors").touch()
    (tmp_path / "theory.json").write_text(result("theory", 600.0))
    (tmp_path / "sweeps").mkdir()
    for name, seeds in (("mnist-seeds", [0, 1, 2]), ("mnist-beta", [0])):
        runs_of = [{"beta": 6.0, "seed": seed, "duration_seconds": 6000, "training_seconds": 60} for seed in seeds]
        pd.DataFrame(runs_of).to_csv(tmp_path / "sweeps" / f"{name}.csv")
    monkeypatch.setattr(reference, "_times_slower", lambda path: {"celeba": 1.0, "mnist": 3.0}[path.stem[:-3]])
    head, *lines, in_all = reference.forecast(tmp_path)
    assert "2.0 times as long here" in head
    assert [re.sub(r"\s+", " ", line).strip() for line in lines] == [
        "celeba 20 min (20 min there)",
        "mnist 5.0 h (100 min there)",
        # With no weights of its own it is as much slower as the others are.
        "theory 20 min (10 min there)",
        # Two more than the one of the page.
        "sweeps of mnist 10.0 h (3.3 h there)",
    ]
    assert in_all.split()[:4] == ["in", "all", "15.7", "h"]


def test_a_step_here_is_timed_with_the_model_of_the_file(tmp_path, tiny_model, tiny_images):
    made = train_or_load(
        tiny_model, tiny_images, tiny_images[:50],
        checkpoints=tmp_path, weights=tmp_path, steps=20, batch_size=20, records=1, progress=False,
    )  # fmt: skip
    assert reference._times_slower(made.weights) > 0


def test_a_run_that_was_set_aside_is_not_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    for name in ("paper", "paper-before"):
        (tmp_path / "results" / name).mkdir(parents=True)
    assert reference.main(["1", "--anew"]) == 1
    assert "is there already: move it away first" in capsys.readouterr().err
    assert (tmp_path / "results" / "paper").exists()


def planned(tmp_path, profile, target="measured", *options):
    """What Snakemake would do in a project without results but those that a test has put there."""
    for name in (
        "Snakefile",
        "notebooks",
        "vaemi",
        "companion",
        "book",
        "benchmarks",
        "_config.yml",
        "_toc.yml",
        "CHANGELOG.md",
    ):
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--nolock", "--dry-run", "--printshellcmds", "--cores", "2"),
            *("--config", f"profile={profile}", *options, "--", target),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("profile", ["paper", "reference"])
def test_the_reference_profile_trains_nothing(tmp_path, profile):
    for name in (
        *("weights/mnist-0.safetensors", "sweeps/mnist-seeds.csv", "sweeps/mnist-beta.csv"),
        *(f"{name}.json" for name in ("theory", "criteria", "estimators", "sparsity", "objectives", "your_vae")),
    ):
        path = tmp_path / "results" / "paper" / name
        if profile == "reference":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    done = planned(tmp_path, profile)
    assert done.returncode == 0, done.stderr
    assert f"vaemi run mnist --profile {profile}" in done.stdout
    assert ("vaemi sweep mnist" in done.stdout) == (profile == "paper")


@pytest.mark.slow
def test_make_book_notices_the_users_data(tmp_path, monkeypatch):
    """The faces are made again when pictures have come since the last build."""
    monkeypatch.setenv("VAEMI_DATA", str(tmp_path / "data"))
    mark = tmp_path / "project" / "results" / "quick" / ".data" / "celeba-auto"
    mark.parent.mkdir(parents=True)
    mark.write_text("\n")
    mark.parent.with_name("celeba.json").write_text("{}")
    arguments = tmp_path / "project", "quick", "results/quick/celeba.json", "--rerun-triggers", "mtime"
    before = planned(*arguments)
    assert "Nothing to be done" in before.stdout + before.stderr
    (tmp_path / "data" / "celeba").mkdir(parents=True)
    (tmp_path / "data" / "celeba" / "000001.jpg").write_bytes(b"")
    assert "vaemi run celeba --profile quick" in planned(*arguments).stdout


def test_a_site_from_weights_that_are_not_there_is_refused(tmp_path):
    done = planned(tmp_path, "reference")
    assert done.returncode != 0
    assert "takes weights from results/paper/weights, where there are none: make them" in done.stderr + done.stdout
