"""The command: quick help, one sentence for every mistake, and `vaemi audit` from files to a table and a report."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, vaemi_command
from safetensors.torch import save_file

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


def test_without_typer_the_extra_is_named():
    printed = python(
        "import sys, contextlib; sys.modules['typer'] = None; from vaemi.cli import main\n"
        "with contextlib.redirect_stderr(sys.stdout): assert main(['--help']) == 1"
    )
    assert printed == "vaemi: typer is not installed: pip install 'vaemi[audit]'.\n"


@pytest.mark.parametrize("command", ["run", "sweep", "data", "claims"])
def test_without_a_clone_the_companions_commands_say_what_is_missing(command):
    printed = python(
        "import sys, contextlib, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'companion' else find(name, *rest)\n"
        "from vaemi.cli import main\n"
        f"with contextlib.redirect_stderr(sys.stdout): assert main([{command!r}, 'mnist', '-p', 'beta=4']) == 1"
    )
    assert printed == f"vaemi: vaemi {command} needs a clone of the project: clone it, and run pip install -e '.[companion]' in it.\n"  # noqa: E501 - fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ""),
        (["audti"], "Did you mean 'audit'?"),
        (["audit"], "Missing argument"),
        (["audit", "x.npy", "--htlm", "r.html"], "No such option: --htlm"),
        (["audit", "x.npy", "--scale", "sigma"], "is not one of 'log_variance'"),
    ],
)
def test_a_malformed_command_is_refused_with_its_usage(arguments, words, capsys):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Usage: vaemi" in printed.err + printed.out


def test_ctrl_c_is_one_sentence(users_folder, capsys):
    (users_folder / "stop.py").write_text("def encode(x):\n    raise KeyboardInterrupt\n")
    assert cli.main(["audit", "stop.py:encode", "x.npy"]) == 130
    assert capsys.readouterr().err.endswith("vaemi: interrupted; earlier results are unchanged.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["my_vae.py:encode", "x.npy"],
        ["my_vae.py:encode", "x.npz"],
        ["my_vae.py:encode", "x.pt"],
        ["my_vae.py:encode", "x.safetensors"],
        ["my_vae.py:encode", "inputs"],
        ["my_vae:encode", "x.npy"],
        ["my_vae.py:model", "x.npy", "--batch-size", "7", "--device", "cpu"],
        ["my_vae.py:spread", "x.npy", "--scale", "std"],
        ["posteriors"],
        ["posteriors/*.safetensors", "--state", "state.safetensors"],
        ["posteriors/0.safetensors", "posteriors/1.safetensors", "posteriors/2.safetensors"],
    ],
)
def test_a_table_of_the_factors_is_printed(users_folder, arguments, capsys):
    assert cli.main(["audit", *arguments]) == 0
    printed = capsys.readouterr()
    x = torch.from_numpy(np.load("x.npy"))[:, :3]
    log_variance = torch.tensor([0.19, 0.64, 1.0]).log().expand(600, 3)
    expected = vaemi.factor_information(x * torch.tensor([0.9, 0.6, 0.0]), log_variance)
    rows = [line.split() for line in printed.out.splitlines()[1:4]]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert [float(row[1]) for row in rows] == pytest.approx(expected.nats.tolist(), abs=1e-4)
    assert "2 of 3 factors carry more than 0.1 nats, from 600 inputs" in printed.out
    assert "Remark" not in printed.out
    assert ("running my_vae.py, which may do anything" in printed.err) == (arguments[0].startswith("my_vae.py"))


def test_the_command_from_outside(users_folder):
    arguments = ("my_vae.py:encode", "x.npy", "--threshold", "0.4", "--html", "r.html")
    done = vaemi_command("audit", *arguments, cwd=users_folder)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 factors carry more than 0.4 nats" in done.stdout
    assert "Report: r.html" in done.stdout
    assert "my_vae.py:encode" in (users_folder / "r.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_dask_scheduler_is_named_by_its_address(users_folder, capsys):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, dashboard_address=None) as cluster:
        assert cli.main(["audit", str(users_folder / "posteriors"), "--dask", cluster.scheduler_address]) == 0
    assert "from 600 inputs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my_vae.py:encode"], "There are no inputs for my_vae.py:encode"),
        (["my_vae.py", "x.npy"], "'my_vae.py' is not an encoder: write FILE.py:NAME"),
        (["other.py:encode", "x.npy"], "There is no file other.py"),
        (["no_such_module:encode", "x.npy"], "no_such_module cannot be run: ModuleNotFoundError"),
        (["my_vae.py:encoder", "x.npy"], "my_vae.py has no encoder: it has encode, spread, maps, Model"),
        (["broken.py:encode", "x.npy"], "broken.py cannot be run: ZeroDivisionError"),
        (["my_vae.py:number", "x.npy"], "encode is a int"),
        (["my_vae.py:encode", "y.npy"], "There is no y.npy"),
        (["my_vae.py:encode", "my_vae.py"], "my_vae.py cannot be read as inputs: use .npy"),
        (["my_vae.py:encode", "empty"], "empty holds or matches no .npy"),
        (["my_vae.py:encode", "damaged.safetensors"], "damaged.safetensors cannot be read"),
        (["my_vae.py:encode", "damaged.npz"], "damaged.npz cannot be read"),
        (["my_vae.py:encode", "two.npz"], "two.npz holds a, b: name the inputs x or data"),
        (["my_vae.py:encode", "single.npy"], "single.npy holds an array without inputs"),
        (["my_vae.py:encode", "x.npy", "--threshold", "-1"], "threshold is -1"),
        (["my_vae.py:encode", "x.npy", "--device", "nowhere"], "The audit of my_vae.py:encode failed"),
        (["my_vae.py:encode", "x.npy", "--html", "no/such/report.html"], "report.html"),
        (["my_vae.py:encode", "x.npy", "--state", "s.safetensors"], "--state and --dask are for posteriors in files"),
        (["posteriors/*.npy"], "posteriors/*.npy holds or matches no .npy, .safetensors file"),
        (["posteriors", "--scale", "std"], "names its second array log_variance, and scale says std"),
        (["x.safetensors"], "x.safetensors holds anything: posteriors are arrays named mean and log_variance"),
        (["two.npz"], "two.npz cannot be read as posteriors: use .npy or .safetensors files"),
    ],
)
def test_a_users_mistake_is_one_sentence(users_folder, arguments, words, capsys):
    (users_folder / "broken.py").write_text("1 / 0\n")
    (users_folder / "empty").mkdir()
    np.save("single.npy", np.float64(3))
    (users_folder / "damaged.safetensors").write_bytes(b"nonsense")
    (users_folder / "damaged.npz").write_bytes(b"PK\x03\x04 nonsense")
    np.savez("two.npz", a=np.zeros((4, 5)), b=np.zeros((4, 5)))
    assert cli.main(["audit", *arguments]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vaemi: ")]
    assert words in error[-1]
    assert not (users_folder / "report.html").exists()


class Trap:
    """A pickle that makes a folder where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt"])
def test_a_file_of_inputs_runs_nothing(users_folder, kind, capsys):
    objects = np.array([Trap()], dtype=object)
    if kind == "npy":
        np.save("trap.npy", objects, allow_pickle=True)
    elif kind == "npz":
        np.savez("trap.npz", x=objects)
    else:
        torch.save({"x": Trap()}, "trap.pt")
    assert cli.main(["audit", "my_vae.py:encode", f"trap.{kind}"]) == 1
    assert f"trap.{kind} cannot be read as arrays of numbers" in capsys.readouterr().err
    assert not (users_folder / "ran").exists()


def test_a_file_of_posteriors_runs_nothing(users_folder, capsys):
    np.save("mean.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.save("log_variance.npy", np.zeros((1, 1)))
    assert cli.main(["audit", "mean.npy"]) == 1
    assert "mean.npy cannot be read as arrays of numbers" in capsys.readouterr().err
    assert not (users_folder / "ran").exists()


def test_the_audit_stays_a_function_after_its_modules_are_imported():
    python("import vaemi.auditing, vaemi.cli, vaemi; assert callable(vaemi.audit) and 'audit' in vaemi.__all__")


def test_a_state_that_another_program_wrote_is_refused(users_folder, capsys):
    save_file({"x": torch.zeros(1)}, "other.safetensors")
    assert cli.main(["audit", "posteriors", "--state", "other.safetensors"]) == 1
    assert "other.safetensors is not the state of an audit of files" in capsys.readouterr().err
