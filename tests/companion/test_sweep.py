"""Sweeps: grids mean what a person means by them, nothing is run twice or lost, and the tables are right."""

import contextlib
import csv
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, project_with_a_notebook

from companion import runs, sweep
from vaemi import cli
from vaemi._files import only_one

PARAMETERS = """\
beta: float = 6.0  # weight of the KL term
seed: int = 0  # of all
label: str = "a"  # a word
flag: bool = False  # a switch
seconds: float = 0.0  # how long it takes
"""
BODY = """\
import time
from pathlib import Path
from companion.runs import Run

if beta == 2 and Path("broken").exists():
    raise ValueError("the digits are upside down")
time.sleep(seconds)
run = Run("tiny")
run.record(
    data={"source": "none", "stand_in": True, "n": 0, "checksum": "0"},
    values={"score": beta + seed**2, "beta": -beta, "spectrum": [1, 2]},
    claims=[{"id": "C1", "holds": seed > 0, "value": beta / 4}],
    seed=seed,
    device="cpu",
    training_seconds=0.0,
)
"""
COMMAND = [sys.executable, "-c", "import sys; from vaemi.cli import main; sys.exit(main())", "sweep", "tiny"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one small notebook and one profile, its folder the working folder."""
    root = project_with_a_notebook(tmp_path / "a project", PARAMETERS, BODY, "tiny:\n  label: b\n")
    monkeypatch.chdir(root)
    return root


def command(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300)


def table_in(path):
    """The rows of a CSV file without what differs between two runs of the same thing."""
    with path.open(newline="") as file:
        return [{key: text for key, text in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


# Grids


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,4,8", ["1", "2", "4", "8"]),
        ("0..4", [range(5)]),
        ("-2..-1, 7", [range(-2, 0), "7"]),
        ('"a,b",c', ["a,b", "c"]),
        ("'0..4','it''s'", ["0..4", "it's"]),
        ('"say ""no""", ""', ['say "no"', ""]),
    ],
)
def test_values_are_read_as_written(text, values):
    assert sweep.values_of(text) == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,,2", "lack one"),
        ("1,", "lack one"),
        ("", "lack one"),
        ("4..0", r"runs backwards: write 0\.\.4"),
        ("0.1..0.5", "not of whole numbers"),
        ('"a,b', "cannot be read"),
        ('"a"b', "cannot be read"),
    ],
)
def test_values_that_cannot_be_read_are_refused(text, words):
    with pytest.raises(sweep.SweepError, match=words):
        sweep.values_of(text)


def test_the_last_parameter_changes_fastest_and_nothing_comes_twice(project):
    grid = {"beta": [4, 1, 4.0, 1.0], "seed": [range(2), 1, 5]}
    planned = sweep.plan("tiny", grid, fixed={"flag": True})
    assert planned.name == "tiny-beta-seed"
    assert planned.grid == {"beta": [4.0, 1.0], "seed": [0, 1, 5]}
    assert [run.parameters for run in planned.runs] == [
        {"label": "b", "flag": True, "beta": beta, "seed": seed} for beta in (4.0, 1.0) for seed in (0, 1, 5)
    ]
    assert len({run.result for run in planned.runs}) == 6
    # The same runs as those made one by one.
    assert planned.runs[1] == runs.plan("tiny", parameters={"beta": 4, "seed": 1, "flag": True})
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-g", "betta=1"], "no parameter 'betta'"),
        (["-g", "beta=1,strong"], "'strong' is not"),
        (["-g", "seed=0,1.5"], "of type int, and 1.5 is not"),
        (["-g", "seed='1'"], "of type int, and '1' is not"),
        (["-g", "seed"], "not of the form NAME=VALUES"),
        (["-g", "seed=0", "-g", "seed=1"], "varied twice"),
        (["-g", "seed=0..4", "-p", "seed=1"], "fixed with -p and varied with -g"),
        (["-g", "label=[1"], "not readable"),
        (["-g", "seed=0..3", "--over", "beta"], "does not vary"),
        (["-g", "seed=0..3", "--name", "../mnist"], "no name for a table"),
        (["-g", "seed=0..3", "--profile", "quik"], "no profile 'quik'"),
        (["-g", "seed=0..3", "--cluster", "notebooks"], "no Snakemake profile"),
        (["-g", "seed=0..999999999"], "1,000,000,000 runs, more than 1,000: add --yes"),
        ([], "at least one parameter that varies"),
    ],
)
def test_a_users_mistake_is_one_sentence_before_anything_starts(project, arguments, words, capsys):
    assert cli.main(["sweep", "tiny", *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (project / "results").exists()


def test_more_than_a_thousand_runs_must_be_meant(project, monkeypatch):
    monkeypatch.setattr(sweep, "MANY", 3)
    assert len(sweep.plan("tiny", {"seed": [range(3)]}).runs) == 3
    with pytest.raises(sweep.SweepError, match="4 runs"):
        sweep.plan("tiny", {"seed": [range(2)], "beta": [1, 2]})
    assert len(sweep.plan("tiny", {"seed": [range(4)]}, many=True).runs) == 4


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(project, capsys):
    assert cli.main(["sweep", "tiny", "-g", 'label="a,b",3', "-g", "flag=true,false", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tiny with label=a,b, flag=True: to be made",
        "tiny with label=a,b, flag=False: to be made",
        "tiny with label=3, flag=True: to be made",
        "tiny with label=3, flag=False: to be made",
        "4 runs, 0 of them made before.",
    ]
    assert not (project / "results").exists()


def test_the_help_can_be_read(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "95 % intervals over the seeds" in words
    assert "label='\"a,b\",c'" in words


def test_without_snakemake_it_says_what_to_install(project, monkeypatch):
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    with pytest.raises(sweep.SweepError, match="install it with pip install"):
        sweep.make(sweep.plan("tiny", {"seed": [0]}))


# Tables


def leave(run, values, claims=({"id": "C1", "holds": True},), seconds=1.0):
    """What a run would have left."""
    run.result.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"duration_seconds": seconds, "training_seconds": seconds / 2}
    run.result.write_text(json.dumps({"values": values, "claims": claims, "manifest": manifest}))
    run.result.with_suffix(".ipynb").write_text("{}")


def test_the_summary_is_what_one_computes_by_hand(project):
    planned = sweep.plan("tiny", {"beta": [1, 4], "seed": [range(3)]}, fixed={"seconds": 0.5})
    # Mean 4, deviations -2, -1, 3: std sqrt(14 / 2); t(0.975, 2) is 4.302653 in any table.
    for run, nats in zip(planned.runs, [2.0, 3.0, 7.0, 1.0, 1.0, 1.0], strict=True):
        values = {"nats": nats, "spectrum": [1.0], "by_key": {"a": nats, "curve": [1.0]}}
        leave(run, values, [{"id": "C1", "holds": nats > 2, "value": nats / 2, "stderr": 0.1}])
    (last := planned.runs[-1]).result.unlink()

    sweep.write_tables(planned)
    table = sweep.rows(planned)
    assert len(table) == 5
    assert table[1] == {
        "beta": 1.0, "seed": 1, "label": "b", "seconds": 0.5, "nats": 3.0, "by_key[a]": 3.0, "C1_holds": True,
        "C1_value": 1.5, "duration_seconds": 1.0, "training_seconds": 0.5,
        "fingerprint": planned.runs[1].result.stem.split("-")[1],
    }  # fmt: skip
    assert list(table[0])[:2] == ["beta", "seed"]

    found = {(row["beta"], row["quantity"]): row for row in sweep.summary(planned)}
    half = 4.302652729911275 * math.sqrt(7) / math.sqrt(3)
    assert found[1.0, "nats"] == pytest.approx(
        {"beta": 1.0, "quantity": "nats", "n": 3, "mean": 4.0, "std": math.sqrt(7), "low": 4 - half, "high": 4 + half}
    )
    # t(0.975, 1) is 12.7062: without spread the interval is a point all the same.
    assert [found[4.0, "nats"][key] for key in ("n", "mean", "std", "low", "high")] == [2, 1.0, 0.0, 1.0, 1.0]
    assert [found[1.0, "C1_holds"][key] for key in ("n", "mean", "std", "low")] == [3, pytest.approx(2 / 3), None, None]
    # A setting is no quantity.
    assert {quantity for _, quantity in found} == {
        "nats", "by_key[a]", "C1_holds", "C1_value", "duration_seconds", "training_seconds",
    }  # fmt: skip
    assert found[1.0, "by_key[a]"]["high"] == found[1.0, "nats"]["high"]

    written = table_in(planned.summary)
    assert next(row for row in written if row["quantity"] == "nats")["high"] == repr(found[1.0, "nats"]["high"])
    assert [row["fingerprint"] for row in table_in(planned.table)] == [row["fingerprint"] for row in table]
    page = planned.page.read_text()
    assert page.startswith("| beta")
    assert "-2.572 to 10.57" in page
    assert "by_key" not in page
    assert last.result.name not in page


def test_one_run_has_no_interval_and_other_repetitions_than_seeds_can_be_named(project):
    alone = sweep.plan("tiny", {"beta": [1]})
    leave(alone.runs[0], {"nats": 2.0})
    (nats, *_) = sweep.summary(alone)
    assert nats == {"beta": 1.0, "quantity": "nats", "n": 1, "mean": 2.0, "std": None, "low": None, "high": None}

    over = sweep.plan("tiny", {"beta": [1, 3]}, over="beta")
    leave(over.runs[1], {"nats": 4.0})
    (nats, *_) = sweep.summary(over)
    assert (nats["n"], nats["mean"], "beta" in nats) == (2, 3.0, False)


def test_values_with_a_parameters_name_do_not_take_its_place(project):
    planned = sweep.plan("tiny", {"beta": [1]})
    leave(planned.runs[0], {"beta": -1.0})
    (row,) = sweep.rows(planned)
    assert (row["beta"], row["values.beta"]) == (1.0, -1.0)


# Runs


def test_a_run_that_is_kept_alone_leaves_the_latest(project, monkeypatch):
    def execute(source, kept, parameters, *_, failed, **__):
        if parameters.get("flag"):
            failed.write_text("what it looked like")
            raise runs.RunError("it failed")
        kept.with_name(kept.name + ".json").write_text(json.dumps({"claims": [parameters.get("beta")]}))
        kept.with_name(kept.name + ".ipynb").write_text("{}")

    monkeypatch.setattr(runs, "_execute", execute)
    runs.run("tiny")
    Path("results/quick/tiny.safetensors").write_text("what the latest run kept")
    latest = {path.name: path.read_text() for path in Path("results/quick").iterdir() if path.is_file()}
    aside = runs.run("tiny", parameters={"beta": 4}, latest=False)
    assert aside.result == runs.plan("tiny", parameters={"beta": 4}).result
    assert json.loads(aside.result.read_text()) == {"claims": [4.0]}
    assert aside.notebook.is_file()
    assert runs.run("tiny", parameters={"beta": 4}, latest=False).made_before
    with pytest.raises(runs.RunError, match="it failed"):
        runs.run("tiny", parameters={"flag": True}, latest=False)
    assert {path.name: path.read_text() for path in Path("results/quick").iterdir() if path.is_file()} == latest
    assert len(list(Path("results/quick/all").glob("*.failed.ipynb"))) == 1


def test_a_failing_run_stops_no_other_and_the_same_command_makes_what_is_missing(project):
    arguments = ("-g", "beta=1,2", "-g", "seed=0..1", "--jobs", "2")
    Path("broken").touch()
    Path("results/quick").mkdir(parents=True)
    latest = Path("results/quick/tiny.json")
    latest.write_text("the latest run")

    done = command(*arguments)
    assert done.returncode == 1
    for seed in (0, 1):
        assert f"The run of tiny with beta=2.0, seed={seed} failed: The notebook tiny stopped in cell" in done.stderr
    assert "ValueError: the digits are upside down" in done.stderr
    assert "vaemi: 2 of 4 runs failed" in done.stderr
    assert "4 of 4 done, 2 failed in" in done.stderr
    assert " left." in done.stderr
    table = Path("results/quick/sweeps/tiny-beta-seed.csv")
    assert [(row["beta"], row["seed"], row["score"]) for row in table_in(table)] == [
        ("1.0", "0", "1.0"), ("1.0", "1", "2.0"),
    ]  # fmt: skip
    kept = {path: path.stat().st_mtime_ns for path in Path("results/quick/all").glob("*.json")}

    Path("broken").unlink()
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 runs were made before" in done.stderr
    assert "2 of 2 done in" in done.stderr
    assert [float(row["score"]) for row in table_in(table)] == [1, 2, 2, 3]
    assert [row["values.beta"] for row in table_in(table)] == ["-1.0", "-1.0", "-2.0", "-2.0"]
    (low,) = (row["low"] for row in table_in(project / "results/quick/sweeps/tiny-beta-seed-summary.csv")
              if (row["beta"], row["quantity"]) == ("2.0", "score"))  # fmt: skip
    assert float(low) == pytest.approx(2.5 - 12.706204736432095 / 2)
    assert "score" in done.stdout
    # Nothing was run twice, and what the site shows is what it was.
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert latest.read_text() == "the latest run"
    assert [path.name for path in Path("results/quick").iterdir() if path.is_file()] == ["tiny.json"]

    # All are there: Snakemake need not be started.
    done = command(*arguments)
    assert "4 of 4 runs were made before" in done.stderr
    assert "to be made" not in done.stderr


def started(*arguments):
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(pattern, seconds=120):
    until = time.monotonic() + seconds
    while not (found := sorted(Path().glob(pattern))):
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.05)
    return found


def snakemake_of(process):
    """Process number of the Snakemake that a sweep started, which leads a group of its own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (child,) = (int(child) for child in children if b"snakemake" in Path(f"/proc/{child}/cmdline").read_bytes())
    return child


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("all_of_it", [True, False], ids=["with its runs", "the command alone"])
def test_a_kill_in_the_middle_costs_nothing(project, all_of_it):
    arguments = ("-g", "seed=0..1", "-p", "seconds=1", "--jobs", "1")
    process = started(*arguments)
    wait_for("results/quick/all/tiny-*.json")
    group = snakemake_of(process)
    os.kill(process.pid, signal.SIGKILL)
    if all_of_it:
        os.killpg(group, signal.SIGKILL)
    process.communicate()
    assert not Path("results/quick/sweeps/tiny-seed.csv").exists()

    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    # What the killed command had begun is waited for, not begun a second time.
    assert ("is still under way" in done.stderr) is not all_of_it
    assert "runs were made before" in done.stderr
    table = table_in(Path("results/quick/sweeps/tiny-seed.csv"))
    assert [(row["seed"], row["score"], row["C1_holds"]) for row in table] == [
        ("0", "6.0", "False"), ("1", "7.0", "True"),
    ]  # fmt: skip
    for suffix in ("json", "ipynb"):
        assert len(list(Path("results/quick/all").glob(f"tiny-*.{suffix}"))) == 2


def test_ctrl_c_stops_the_runs_too(project, ctrl_c_works):
    process = started("-g", "seed=0..1", "-p", "seconds=60")
    wait_for("results/quick/sweeps/.tiny-seed/*.log")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.endswith("vaemi: interrupted; earlier results are untouched, and the same command goes on.\n")
    # Nobody holds the lock any more: Snakemake has ended.
    with only_one(Path("results/quick/sweeps/.tiny.lock"), lambda: pytest.fail("somebody holds it")):
        pass


def test_a_second_sweep_of_the_notebook_says_that_it_waits(project, monkeypatch):
    planned = sweep.plan("tiny", {"seed": [0, 1]})
    begun, said = [], []

    def conduct(sweep_, todo, *_):
        begun.append([run.parameters["seed"] for run in todo])
        for run in todo:
            leave(run, {"nats": 1.0})
        return []

    monkeypatch.setattr(sweep, "_conduct", conduct)
    with contextlib.ExitStack() as stack:
        planned.folder.mkdir(parents=True)
        stack.enter_context(only_one(planned.folder / ".tiny.lock", lambda: None))
        second = threading.Thread(target=sweep.make, args=(planned,), kwargs={"say": said.append})
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert begun == []
        assert said == ["Another sweep of tiny is still under way: this one begins when it has ended."]
        # In the meantime the first one makes a run that the second wants too.
        leave(planned.runs[0], {"nats": 1.0})
    second.join(30)
    assert begun == [[1]]
    assert planned.table.is_file()


def test_a_run_that_was_killed_is_named(project, monkeypatch):
    def popen(*_, **__):
        (planned.folder / ".tiny-seed" / f"{sweep._fingerprint(planned.runs[0])}.log").touch()
        return real(["true"])

    planned = sweep.plan("tiny", {"seed": [range(3)]})
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    said = []
    failed = sweep.make(planned, say=said.append)
    assert len(failed) == 3
    assert [sentence for sentence in said if "seed=" in sentence] == failed[:1]
    assert failed[0].startswith("The run of tiny with seed=0 ended without a word")
    assert "2 runs were not begun, because Snakemake stopped" in said[-1]


def test_a_snakemake_that_does_not_start_is_told(project, tmp_path):
    (tmp_path / "config.yaml").write_text("executor: there-is-no-such-thing\njobs: 1\n")
    with pytest.raises(
        sweep.SweepError, match=r"Snakemake stopped before the first run ended: .*there-is-no-such-thing"
    ):
        sweep.make(sweep.plan("tiny", {"seed": [0]}), cluster=tmp_path, say=lambda sentence: None)


def test_a_folder_that_cannot_be_written(project):
    Path("results").write_text("a file where a folder should be")
    with pytest.raises(sweep.SweepError, match=r"cannot be written .*the same command goes on"):
        sweep.make(sweep.plan("tiny", {"seed": [0]}))


def test_a_package_changed_during_the_sweep_is_said(project, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "run", lambda *_, **__: runs.Outcome(Path("other.json"), Path("other.ipynb"), False))
    told = {"notebook": "tiny", "profile": "quick", "root": ".", "force": False}
    told["runs"] = [{"fingerprint": "0a", "result": "one.json", "parameters": {}}]
    (tmp_path / "plan.json").write_text(json.dumps(told))
    assert sweep.main([str(tmp_path / "plan.json"), "0a", str(time.time() - 5)]) == 1
    state = json.loads((tmp_path / "0a.state").read_text())
    assert "changed during the sweep" in state["error"]
    assert 5 <= state["seconds"] < 60


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_profiles_name_the_executor_and_give_each_job_its_share(name):
    settings = yaml.safe_load((ROOT / "workflow" / "profiles" / name / "config.yaml").read_text())
    assert settings["executor"] == name
    assert settings["jobs"] > 1
    assert {"mem_mb", "runtime"} <= set(settings["default-resources"])
