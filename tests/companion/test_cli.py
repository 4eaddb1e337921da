"""The companion's commands: a result is named, and a mistake is one sentence and a non-zero exit status."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT, vaemi_command

from companion import runs
from vaemi import cli


def test_claims_prints_the_table(smoke_results):
    done = vaemi_command("claims", "--profile", "smoke")
    assert done.returncode == 0
    for word in ("claim", "published", "this run", "verdict", "C1", "C2", "C3", "C4", "Data: 5,000 real MNIST digits"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mnits"], "no notebook 'mnits'"),
        (["run", "mnist", "--profile", "fast"], "no profile 'fast'"),
        (["run", "mnist", "-p", "betta=4"], "no parameter 'betta'"),
        (["run", "mnist", "-p", "beta=strong"], "'strong' is not"),
        (["claims", "--profile", "nothing"], "holds no results"),
        (["data", "get", "mnist", "--source", "folder"], "lacks train-images-idx3-ubyte"),
    ],
)
def test_a_users_mistake_is_one_sentence(arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
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
        (["run", "mnist", "-p", "beta=[1"], "is not YAML"),
        (["run", "mnist", "--forse"], "--force"),
        (["data", "get", "imagenet"], "is not one of 'mnist'"),
        (["sweep", "mnist", "--jobs", "0"], "--jobs"),
    ],
)
def test_a_malformed_command_is_refused_with_its_usage(arguments, words, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "Usage: vaemi" in error
    assert words in error


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("1e-3", 1e-3), ("0.5", 0.5), ("true", True), ("auto", "auto"), ("32-true", "32-true"), ("a=b", "a=b")],
)
def test_parameters_are_yaml(text, value, monkeypatch, capsys):
    given = []
    outcome = SimpleNamespace(result="result.json")
    monkeypatch.setattr(runs, "run", lambda *arguments: given.append(arguments) or outcome)
    assert cli.main(["run", "mnist", "-p", f"x={text}", "--profile", "smoke", "--force"]) == 0
    assert given == [("mnist", "smoke", {"x": value}, True)]
    assert type(given[0][2]["x"]) is type(value)
    assert "is done: result.json" in capsys.readouterr().out


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
    assert cli.main(["data", "status", "deap"]) == 0
    assert "deap: 1 recording(s)" in capsys.readouterr().out
    assert cli.main(["data", "check", "deap"]) == 1
    assert "s03.dat" in capsys.readouterr().err
    raw = own_data_root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"nonsense")
    assert cli.main(["data", "check", "mnist"]) == 1
    assert "t10k-labels-idx1-ubyte has 8 bytes" in capsys.readouterr().err


def test_data_get_takes_the_embedded_digits(capsys, own_data_root):
    assert cli.main(["data", "get", "mnist", "--source", "embedded"]) == 0
    assert "5,000 digits embedded" in capsys.readouterr().out


def test_ctrl_c_is_one_sentence_and_leaves_the_results(smoke_results, ctrl_c_works):
    before = (smoke_results / "smoke" / "mnist.json").read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from vaemi.cli import main; sys.exit(main())", "run", "mnist",
         "--profile", "smoke", "-p", "steps=100000"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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
