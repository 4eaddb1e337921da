"""`make book` killed outright, in a run, in a sweep and while the site is built: the same command finishes."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

NOT_COPIED = shutil.ignore_patterns(
    ".venv", ".git", "_build", ".snakemake", "results", "__pycache__", ".*_cache", "shared"
)
# As the Makefile says it, after the installation.
COMMAND = [
    *(sys.executable, "book/make.py", "--rerun-incomplete", "--cores", "2", "--quiet", "rules", "host", "progress"),
    *("--config", "profile=smoke", "student=0"),
]


def aged(folder, seconds):
    """Make a folder's files so old, that it is they that are older."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


@pytest.fixture
def almost_a_book(smoke_results, tmp_path):
    """A copy of the project with the smoke results, but without one run and without one of a sweep."""
    root = tmp_path / "project"
    shutil.copytree(ROOT, root, ignore=NOT_COPIED)
    results, marks = root / "results" / "smoke", root / "_build" / "marks"
    aged(root, 1000)
    (marks / "data").mkdir(parents=True)
    for name in ("mnist", "celeba", "deap"):
        (marks / "data" / name).touch()
    aged(marks, 900)
    shutil.copytree(smoke_results / "smoke", results, ignore=shutil.ignore_patterns("checkpoints", ".*"))
    aged(results, 800)
    aged(results / "sweeps", 700)
    (marks / "smoke" / "sweeps").mkdir(parents=True)
    (marks / "smoke" / "sweeps" / "mnist-seeds").touch()
    with (results / "sweeps" / "mnist-beta.csv").open() as table:
        (fingerprint,) = (row["fingerprint"] for row in csv.DictReader(table) if row["beta"] == "2.0")
    gone = ("theory.*", "all/theory-*", f"all/mnist-{fingerprint}.*", "sweeps/mnist-beta*")
    for path in [path for pattern in gone for path in results.glob(pattern)]:
        path.unlink()
    return root


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_killed_make_book_finishes_the_next_time(almost_a_book, smoke_results, site):
    seed = int(os.environ.get("VAEMI_KILL_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    rng = random.Random(seed)
    results, build = almost_a_book / "results" / "smoke", almost_a_book / "_build"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start():
        return subprocess.Popen(
            COMMAND, cwd=almost_a_book, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def kill_after(begun, seconds):
        """Kill all that belongs to the terminal, some time after there is what is waited for."""
        process = start()
        until = time.monotonic() + 240
        while not begun():
            assert process.poll() is None, process.stdout.read()[-3000:]
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(rng.uniform(0, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    kill_after(lambda: list(results.glob("all/.theory-*")), 1.0)
    assert not (results / "theory.json").exists()
    kill_after(lambda: list(results.glob("sweeps/.mnist-beta/*.log")), 2.0)
    assert not (results / "sweeps" / "mnist-beta.csv").exists()
    kill_after(lambda: (build / "source").exists(), 6.0)
    assert not (build / "html").exists()

    process = start()
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, f"seed {seed}: {said[-3000:]}"
    theory = json.loads((results / "theory.json").read_text())
    assert theory["values"] == json.loads((smoke_results / "smoke" / "theory.json").read_text())["values"]
    numbers = [
        (where / "sweeps" / "mnist-beta-summary.csv").read_text() for where in (results, smoke_results / "smoke")
    ]
    before, after = ([line for line in text.splitlines() if "_seconds" not in line] for text in numbers)
    assert before == after
    assert files_below(build / "html") == files_below(site)
    # Nothing half made is left beside what is whole, apart from locks, which hold nobody up.
    assert [path.name for path in results.rglob(".*") if path.is_file() and path.suffix != ".lock"] == []
    assert sorted(path.name for path in build.iterdir()) == [".make.lock", "html", "marks", "source", "work"]
