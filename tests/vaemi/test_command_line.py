"""The command `vaemi`: help without heavy imports, and one sentence for what is missing or mistyped."""

import io
import subprocess
import sys

import numpy
import pytest
from conftest import ROOT

import vaemi
from vaemi import cli


def python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["audit", "--help"], ["run", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments):
    printed = python(
        f"import sys; from vaemi.cli import main; assert main({arguments}) == 0\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'tqdm', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert (vaemi.__version__ if arguments == ["--version"] else "Usage: vaemi") in printed


def test_a_terminal_that_is_not_utf8_shows_what_it_can(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["--version"]) == 0
    print("\u03c3* is 1 \u00b1 0.1", flush=True)
    assert terminal.buffer.getvalue().endswith("?* is 1 \u00b1 0.1\n".encode("cp1252"))


def test_a_closed_pipe_ends_the_command_quietly(tmp_path):
    numpy.savez(tmp_path / "p.npz", mean=numpy.ones((9, 1)), log_variance=numpy.zeros((9, 1)))
    command = [sys.executable, "-c", "from vaemi.cli import main; raise SystemExit(main())", "audit", "p.npz"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert "vaemi:" not in said
    assert "BrokenPipe" not in said


def test_without_typer_the_extra_is_named():
    code = "import sys; sys.modules['typer'] = None; from vaemi.cli import main"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "vaemi: typer is not installed: pip install 'vaemi[audit]'.\n")


def test_without_a_clone_the_companions_commands_say_what_is_missing():
    printed = python(
        "import sys, contextlib, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'companion' else find(name, *rest)\n"
        "from vaemi.cli import main\n"
        "with contextlib.redirect_stderr(sys.stdout): assert main(['run', 'mnist', '-p', 'beta=4']) == 1"
    )
    assert printed.startswith("vaemi: vaemi run needs a clone of the project: clone it, and run pip install")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ""),
        (["audti"], "Did you mean 'audit'?"),
        (["audit"], "Missing argument"),
        (["audit", "x.npy", "--htlm", "r.html"], "No such option: --htlm"),
        (["audit", "x.npy", "--scale", "sigma"], "is not one of 'log_variance'"),
        (["audit", "x.npy", "--batch-size", "0"], "Invalid value for '--batch-size'"),
    ],
)
def test_a_malformed_command_is_refused_with_its_usage(arguments, words, capsys):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Usage: vaemi" in printed.err + printed.out


def test_the_audit_stays_a_function_after_its_modules_are_imported():
    python("import vaemi.auditing, vaemi.cli, vaemi; assert callable(vaemi.audit) and 'audit' in vaemi.__all__")
