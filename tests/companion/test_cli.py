"""The companion's commands: a result is named, and a mistake is one sentence and a non-zero exit status."""

import signal
import subprocess

import pytest
from conftest import ROOT, VAEMI

from companion import runs, sweep
from vaemi import cli


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mnits"], "no notebook 'mnits'"),
        (["run", "mnist", "-p", "betta=4"], "no parameter 'betta'"),
        (["run", "mnist", "-p", "beta=strong"], "'strong' is not"),
        (["sweep", "mnist"], "add -g seed=0..4"),
        (["claims", "--profile", "nothing"], "holds no results"),
        (["data", "get", "mnist", "--source", "folder"], "lacks train-images-idx3-ubyte"),
    ],
)
def test_a_users_mistake_is_one_sentence(arguments, words, capsys):
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("vaemi: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument"),
        (["run", "mnist", "-p", "beta"], "'beta' is not of the form NAME=VALUE"),
        (["run", "mnist", "--forse"], "--force"),
        (["data", "get", "imagenet"], "is not one of 'mnist'"),
    ],
)
def test_a_malformed_command_is_refused_with_its_usage(arguments, words, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "Usage: vaemi" in error
    assert words in error


def test_run_names_the_result(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(runs, "run", lambda *arguments: given.append(arguments) or "result.json")
    assert cli.main(["run", "mnist", "-p", "beta=4", "-p", "x=a=b", "--profile", "smoke", "--force"]) == 0
    assert given == [("mnist", "smoke", {"beta": "4", "x": "a=b"}, True)]
    assert "is done: result.json" in capsys.readouterr().out


def test_sweep_lists_its_runs_and_asks_about_many(monkeypatch, capsys):
    monkeypatch.setattr(sweep, "make", lambda *_: pytest.fail("started"))
    assert cli.main(["sweep", "mnist", "-g", "beta=1,2", "-g", "seed=0..1", "--name", "trial", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "beta = 2.0, seed = 1: to be made" in out
    assert "4 runs, 4 to be made." in out
    assert cli.main(["sweep", "mnist", "-g", "seed=0..1000"]) == 1
    assert "1,001 runs" in capsys.readouterr().out


def test_data_status_and_check(capsys, own_data_root):
    assert cli.main(["data", "status"]) == 0
    out = capsys.readouterr().out
    assert str(own_data_root) in out
    assert "mnist: lacks train-images-idx3-ubyte" in out
    assert "celeba: CelebA cannot be fetched" in out
    assert "deap: DEAP" in out
    recordings = own_data_root / "deap" / "data_preprocessed_python"
    recordings.mkdir(parents=True)
    (recordings / "s03.dat").write_bytes(b"nonsense")
    assert cli.main(["data", "check", "deap"]) == 1
    assert "s03.dat" in capsys.readouterr().err


def test_check_is_not_content_with_a_stand_in_beside_a_users_files(capsys, own_data_root):
    assert cli.main(["data", "check"]) == 0
    for name, file in (("mnist", "train.csv"), ("celeba", "Img/faces.7z"), ("deap", "raw/s01.bdf")):
        path = own_data_root / name / file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        capsys.readouterr()
        assert cli.main(["data", "status", name]) == 0
        assert f"{name} contains {file} but not" in capsys.readouterr().out
        assert cli.main(["data", "check", name]) == 1
        assert f"{name} contains {file} but not" in capsys.readouterr().err
    (own_data_root / "celeba" / "img_align_celeba.zip").write_bytes(b"PK")
    for action in ("status", "check"):
        assert cli.main(["data", action]) == 1
        assert "img_align_celeba.zip is not a complete zip" in capsys.readouterr().err


def test_data_get_takes_the_embedded_digits(capsys):
    assert cli.main(["data", "get", "mnist", "--source", "embedded"]) == 0
    assert "5,000 digits embedded" in capsys.readouterr().out


def test_claims_prints_the_table(smoke_results, capsys):
    assert cli.main(["claims", "--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    for word in ("claim", "published", "this run", "verdict", "C1", "C2", "C3", "C4", "Data: 5,000 real MNIST digits"):
        assert word in out


def test_ctrl_c_is_one_sentence_and_leaves_the_results(smoke_results, ctrl_c_works):
    before = (smoke_results / "smoke" / "mnist.json").read_bytes()
    process = subprocess.Popen(
        [*VAEMI, "run", "mnist", "--profile", "smoke", "-p", "steps=100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # Interrupt it once the training has begun.
    while "/100000 [" not in process.stderr.readline():
        assert process.poll() is None, "ended before it could be interrupted"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.rstrip().endswith("vaemi: interrupted; earlier results are unchanged.")
    assert "Traceback" not in error
    assert (smoke_results / "smoke" / "mnist.json").read_bytes() == before
    assert not list((smoke_results / "smoke").glob(".mnist.*/"))
