"""Run Snakemake for `make book` under an exclusive lock that is released when the process dies.

    python book/make.py --profile quick --cores all [--student] [TARGET]

Prints the plan, a line per step, and at the end where the site is, which data were used, the verdicts and the time.
What a step prints itself is in `_build/log`. Snakemake's own lock outlives a killed process, and the next build then
refuses to start.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import progress
from snakemake.cli import main as snakemake  # type: ignore[import-untyped]
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from companion import claims
from companion.data import DATA_SETS
from companion.words import duration_in_words
from vaemi._files import exclusive_lock

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Run the experiments of a profile and build the site.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--student", action="store_true", help="leave out the solutions of the exercises")
    parser.add_argument("target", nargs="?", help="what to make instead of the site: a file or a rule of the Snakefile")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    build = ROOT / "_build"
    try:
        build.mkdir(exist_ok=True)
        with exclusive_lock(build / ".make.lock", f"book: another make book is running in {ROOT}; waiting."):
            status = run_snakemake(options.profile, options.cores, options.student, options.target)
    except OSError as error:
        print(f"book: {error.filename or build}: {error.strerror or error}.", file=sys.stderr)
        return 1
    if status == 0 and options.target is None:
        took = f"Time      {duration_in_words(time.monotonic() - begun)}"
        print("\n".join(["", *summary(options.profile, ROOT, options.student), took]))
    return status


def run_snakemake(profile: str, cores: str, student: bool, target: str | None) -> int:
    """Make a target; return Snakemake's exit status."""
    LoggerPluginRegistry().register_plugin("book", progress)
    command = ["--nolock", "--rerun-incomplete", "--logger", "book", "--cores", cores]
    command += ["--config", f"profile={profile}", f"student={int(student)}", "--", target or "site"]
    try:
        snakemake(command)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def summary(profile: str, root: Path, student: bool = False) -> list[str]:
    """Return where the site is, which data its runs used, and their verdicts, as lines.

    Parameters
    ----------
    profile : str
    root : Path
        The clone, with `results` in it.
    student : bool
        For the student edition, which lies in a folder of its own.
    """
    results = root / "results"
    if student:
        lines = [f"Site      {root / '_build' / 'student' / 'html' / 'index.html'}"]
        lines.append(f"Hand out  {root / '_build' / 'student.zip'}")
    else:
        lines = [f"Site      {root / '_build' / 'html' / 'index.html'} (or make serve)"]
    data = [json.loads((results / profile / f"{name}.json").read_text(encoding="utf-8"))["data"] for name in DATA_SETS]
    lines += [f"Data      {one['source'].rstrip('.')}" for one in data]
    if any(one["stand_in"] for one in data):
        lines.append("          (vaemi data status says how to use the paper's own data)")
    by_verdict: dict[str, list[str]] = {}
    for row in claims.load(profile, results):
        by_verdict.setdefault(row["verdict"], []).append(row["id"])
    lines += [f"Verdicts  {verdict}: {', '.join(ids)}" for verdict, ids in by_verdict.items()]
    return [*lines, f"Numbers   vaemi claims --profile {profile}"]


if __name__ == "__main__":
    sys.exit(main())
