"""Behind `make reference`: say how long it will take here, then run every notebook at profile paper.

    python workflow/reference.py CORES [--anew]

Only what is missing is made: weights that are there are taken, and a training goes on from its last checkpoint. With
--anew the run that is there is first moved to results/paper-before.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from companion import runs
from companion import weights as trained_weights
from companion.claims import REFERENCE
from companion.sweep import REFERENCE_SWEEPS
from companion.words import duration_in_words
from vaemi import models
from vaemi.training import train

ROOT = Path(__file__).resolve().parent.parent
# Timed for the forecast, after as many that are not. From a quarter of them it was off by half at times.
STEPS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status, or becomes Snakemake."""
    parser = argparse.ArgumentParser(description="Run every notebook at profile paper.")
    parser.add_argument("cores", help="processor cores to use, or all")
    parser.add_argument("--anew", action="store_true", help="move the run that is there to results/paper-before first")
    parser.add_argument("--forecast", action="store_true", help="say how long it will take, and end")
    options = parser.parse_args(arguments)
    folder = ROOT / "results" / REFERENCE
    cores = int(options.cores) if options.cores.isdigit() else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // 2))  # what the Snakefile gives a training on pictures
    print("\n".join(forecast(folder)), flush=True)
    if options.forecast:
        return 0
    before = folder.with_name(f"{REFERENCE}-before")
    if options.anew and folder.exists():
        if before.exists():
            print(f"reference: {before} is there already: move it away first.", file=sys.stderr)
            return 1
        folder.rename(before)
    make = [str(ROOT / "book" / "make.py"), "--profile", REFERENCE, "--cores", options.cores, "measured"]
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, *make])


def forecast(folder: Path) -> list[str]:
    """Sentences that say how long each part of the reference run took where it was made, and would take here."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    files = {
        result["experiment"]: folder / "weights" / result["manifest"]["weights"]
        for result in results
        if "weights" in result["manifest"]
    }
    # By the networks whose weights are kept; other trainings are taken to be as much slower as the middle one of these.
    slower = {name: _times_slower(path) for name, path in files.items() if path.exists()}
    if not slower:
        return ["There is no earlier reference run to go by: every training says how long it has left."]
    usual = statistics.median(slower.values())
    there = {result["experiment"]: runs.whole_seconds(result["manifest"]) for result in results}
    here = {name: seconds * slower.get(name, usual) for name, seconds in there.items()}
    for name, seconds in _seconds_of_sweeps(folder).items():
        # The run that the notebook's page shows is one of them.
        there[f"sweeps of {name}"] = max(seconds - there.get(name, 0.0), 0.0)
        here[f"sweeps of {name}"] = there[f"sweeps of {name}"] * slower.get(name, usual)
    lines = [
        f"A training step takes {usual:.1f} times as long here as where the reference run was made. Forecast of all of "
        "it, trained anew (ANEW=1; else weights that are there are taken):"
    ]
    lines += [
        f"  {name:<16} {duration_in_words(here[name]):>9}   ({duration_in_words(there[name])} there)" for name in there
    ]
    return [*lines, f"  {'in all':<16} {duration_in_words(sum(here.values())):>9}   if one runs at a time"]


def _seconds_of_sweeps(folder: Path) -> dict[str, float]:
    """Return the seconds of all runs of each notebook's sweeps, each run counted once."""
    seconds: dict[str, dict[tuple[float, int], float]] = {}
    for name, told in REFERENCE_SWEEPS.items():
        path = folder / "sweeps" / f"{name}.csv"
        if path.exists():
            rows = pd.read_csv(path).to_dict("records")
            found = seconds.setdefault(shlex.split(told)[0], {})
            found.update({(row["beta"], row["seed"]): runs.whole_seconds(row) for row in rows})
    return {name: sum(found.values()) for name, found in seconds.items()}


def _times_slower(path: Path) -> float:
    """Seconds of an optimizer step here, over those of the training that a file tells of."""
    about = trained_weights.load(path).about
    settings = about["settings"]
    samples = torch.rand(settings["batch_size"], *about["samples"]["shape"][1:])
    seconds = []
    for steps in (STEPS, 2 * STEPS):
        with tempfile.TemporaryDirectory() as scratch:
            made = train(
                models.build(about["hyperparameters"]), samples, samples, steps=steps, records=1, progress=False,
                batch_size=settings["batch_size"], checkpoints=scratch, precision=about["precision"],
            )  # fmt: skip
        seconds.append(made.seconds)
    here = max(seconds[1] - seconds[0], 1e-6) / STEPS
    return here / (about["seconds"] / settings["steps"])


if __name__ == "__main__":
    sys.exit(main())
