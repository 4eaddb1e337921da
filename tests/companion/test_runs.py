"""Running notebooks: names and types are checked, and a run that fails leaves earlier results."""

import errno
import json
import os
import sys

import nbformat
import pytest
from conftest import project_with_a_notebook, vaemi_command
from safetensors import safe_open
from safetensors.torch import load_file

from companion import runs

PARAMETERS = """\
beta: float = 6.0  # weight of the KL term
steps: int = 10  # optimizer steps
label: str = "a"  # a word
flag: bool = False  # keep tensors
fail: str = ""  # how to fail
"""
BODY = """\
import os, sys
import torch
from companion.data import data_root
from companion.runs import Run

print("half way", file=sys.stderr)
run = Run("tiny")
if flag:
    run.keep_tensors({"beta": torch.tensor(beta), "doubled": 2 * torch.arange(3.0)[::2]}, about={"words": ["of", 1]})
run.record(
    data={"source": str(data_root()), "stand_in": True, "n": 0, "checksum": "0"},
    values={"beta": beta, "steps": steps, "fresh": run.fresh, "python": sys.executable},
    claims=[],
    seed=0,
    device="cpu",
    training_seconds=0.0,
    libraries=["pytest", "no-such"],
)
if fail == "error":
    raise ValueError("the digits are upside down")
if fail == "death":
    os._exit(1)
print("beta is", beta, "\\N{MINUS SIGN}")
"""


@pytest.fixture
def project(tmp_path):
    """A project with one small notebook and one profile."""
    return project_with_a_notebook(tmp_path / "project", PARAMETERS, BODY, "tiny:\n  steps: 20\n")


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_what_a_run_leaves(project):
    outcome = runs.run("tiny", root=project)
    result = json.loads(outcome.result.read_text())
    assert outcome.result == project / "results" / "quick" / "tiny.json"
    assert (result["experiment"], result["profile"]) == ("tiny", "quick")
    assert result["values"] == {"beta": 6.0, "steps": 20, "fresh": False, "python": sys.executable}
    manifest = result["manifest"]
    assert manifest["parameters"] == {"steps": 20}
    assert {"seed", "git_commit", "device", "date", "duration_seconds"} <= set(manifest)
    assert manifest["versions"]["pytest"] == pytest.__version__
    assert manifest["versions"]["no-such"] == "not installed"

    notebook = nbformat.read(outcome.notebook, as_version=4)
    assert "remove-cell" in notebook.cells[0].metadata.tags
    assert "hide-input" in notebook.cells[1].metadata.tags
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output["text"] for output in outputs] == ["beta is 6.0 \N{MINUS SIGN}\n"]
    assert "papermill" not in notebook.metadata


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        ("error", r"tiny stopped in cell .*ValueError: the digits are upside down"),
        ("death", "tiny stopped because its Python process died"),
    ],
)
def test_a_failed_run_leaves_earlier_results(project, fail, words):
    runs.run("tiny", parameters={"flag": True}, root=project)
    before = snapshot(project / "results")
    with pytest.raises(runs.RunError, match=words) as failure:
        runs.run("tiny", parameters={"fail": fail, "beta": 1}, root=project)
    assert "\n" not in str(failure.value)
    after = snapshot(project / "results")
    assert bool(after.pop("quick/tiny.failed.ipynb", None)) == (fail == "error")
    assert after == before


def test_tensors_belong_to_the_run_that_kept_them(project):
    tensors = project / "results" / "quick" / "tiny.safetensors"
    runs.run("tiny", parameters={"flag": True, "beta": 4}, force=True, root=project)
    assert json.loads(tensors.with_suffix(".json").read_text())["values"]["fresh"]
    assert load_file(tensors)["doubled"].tolist() == [0, 4]
    with safe_open(tensors, framework="pt") as file:
        assert json.loads(file.metadata()["about"]) == {"words": ["of", 1]}
    runs.run("tiny", root=project)
    assert not tensors.exists()


def test_a_result_can_go_elsewhere(project):
    elsewhere = project / "results" / "quick" / "sweeps" / "a" / "beta~0.5.json"
    outcome = runs.run("tiny", parameters={"beta": 0.5}, root=project, result=elsewhere)
    assert outcome.result == elsewhere
    assert outcome.notebook.name == "beta~0.5.ipynb"
    assert not (project / "results" / "quick" / "tiny.json").exists()


def test_the_kernel_is_this_python_and_sees_the_same_data(project, tmp_path, monkeypatch):
    kernel = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["/no/such/python"], "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEMI_DATA", "my data")
    result = json.loads(runs.run("tiny", root=project).result.read_text())
    assert result["values"]["python"] == sys.executable
    assert result["data"]["source"] == str(tmp_path / "my data")
    assert os.environ["VAEMI_DATA"] == "my data"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"notebook": "tinny"}, r"no notebook 'tinny' .* choose tiny \(did you mean tiny\?\)"),
        ({"profile": "quik"}, r"no profile 'quik' .* \(did you mean quick\?\)"),
        ({"parameters": {"betta": 4}}, r"no parameter 'betta': choose .* \(did you mean beta\?\)"),
        ({"parameters": {"steps": 2.5}}, r"steps of the notebook tiny is of type int, and 2\.5 is not"),
        ({"parameters": {"steps": True}}, "True is not"),
        ({"parameters": {"beta": "high"}}, "type float"),
        ({"parameters": {"flag": 1}}, "type bool"),
        ({"parameters": {"label": ["a"]}}, "type str"),
    ],
)
def test_wrong_names_and_types_are_refused_before_anything_starts(project, arguments, words):
    with pytest.raises(runs.RunError, match=words):
        runs.run(**{"notebook": "tiny", "root": project, **arguments})
    assert not (project / "results").exists()


def test_parameters_take_the_declared_type(project):
    source = project / "notebooks" / "tiny.ipynb"
    # -p label=3 is a number on the command line.
    assert runs.checked_parameters(source, {"beta": 4, "label": 3}) == {"beta": 4.0, "label": "3"}
    assert runs.defaults_of(source)["beta"] == 6.0


@pytest.mark.parametrize(
    "text",
    ["tiny: [1, 2\n", "weights: use\n", "weights: sometimes\n", "extends: quick\n", "extends: nothing\n"],
)
def test_an_invalid_profile_is_one_sentence(project, text):
    (project / "notebooks" / "profiles" / "quick.yaml").write_text(text)
    with pytest.raises(runs.RunError) as caught:
        runs.run("tiny", root=project)
    assert "\n" not in str(caught.value)


def test_an_unwritable_folder_is_one_sentence(project):
    (project / "results").write_text("a file where a folder should be")
    with pytest.raises(runs.RunError, match=r"results.* cannot be written"):
        runs.run("tiny", root=project)


def test_a_full_disk_is_one_sentence(project, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(runs.RunError, match=r"The disk of .* is full"):
        runs.run("tiny", root=project)


def test_errors_in_outputs_are_found():
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    cells = [nbformat.v4.new_code_cell("x"), nbformat.v4.new_code_cell("y", outputs=[error])]
    assert [index for index, _ in runs.errors_in(nbformat.v4.new_notebook(cells=cells))] == [1]


def test_a_notebook_opened_by_hand_has_a_folder_of_its_own(project, monkeypatch):
    monkeypatch.chdir(project)
    run = runs.Run("tiny")
    assert run.checkpoints == project / "results" / "interactive" / "checkpoints"


def test_outside_a_clone(tmp_path):
    done = vaemi_command("run", "tiny", cwd=tmp_path)
    assert done.returncode == 1
    assert "not in a clone" in done.stderr
    assert done.stderr.count("\n") == 1
