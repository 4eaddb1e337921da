"""Running notebooks: what a run leaves, what a failed one leaves alone, and which mistakes are one sentence."""

import json
import math
import os
import sys

import nbformat
import pytest
from conftest import ROOT, project_with_a_notebook
from safetensors import safe_open

from companion import runs
from companion.data.sources import Provenance

PARAMETERS = """\
beta: float = 6.0  # weight of the KL term
steps: int = 10  # optimizer steps
label: str = "a"  # a word
flag: bool = False  # keep tensors
seed: int = 0  # of nothing
fail: str = ""  # how to fail
"""
BODY = """\
import os, sys
import torch
from companion.data.sources import Provenance, data_root
from companion.runs import Run

print("half way", file=sys.stderr)
run = Run("tiny")
run.fill(half=torch.tensor(beta / 2), kind="twice")
if flag:
    run.keep_tensors({"doubled": 2 * torch.arange(3.0)[::2]}, about={"words": ["of", 1]})
run.finish(
    data=Provenance(str(data_root()), True, 0, "0"),
    values={"beta": beta, "steps": steps, "fresh": run.fresh, "python": sys.executable},
    seed=0,
    libraries=["pytest", "no-such"],
)
if fail == "error":
    raise ValueError("the digits are upside down")
if fail == "death":
    os._exit(1)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one small notebook and one profile; the working folder is one of its folders."""
    text = 'Half of {{ beta }} is {{ "%.2f"|format(half) }}, {{ kind }} after {{ steps }} steps.'
    root = project_with_a_notebook(tmp_path / "project", PARAMETERS, BODY, "tiny:\n  steps: 20\n", text)
    monkeypatch.chdir(root / "notebooks")
    return root


def test_what_a_run_leaves(project, monkeypatch):
    monkeypatch.setenv("VAEMI_DATA", "my data")
    path = runs.run("tiny", parameters={"flag": True, "beta": 4}, force=True)
    assert path == project / "results" / "quick" / "tiny.json"
    result = json.loads(path.read_text())
    assert list(result) == ["experiment", "profile", "data", "values", "claims", "manifest"]
    assert (result["experiment"], result["profile"], result["claims"]) == ("tiny", "quick", [])
    assert result["values"] == {"beta": 4.0, "steps": 20, "fresh": True, "python": sys.executable}
    assert result["data"]["source"] == str(project / "notebooks" / "my data")
    manifest = result["manifest"]
    assert manifest["parameters"] == {"steps": 20, "flag": True, "beta": 4.0}
    assert {"seed", "git_commit", "device", "date", "duration_seconds"} <= set(manifest)
    assert (manifest["versions"]["pytest"], manifest["versions"]["no-such"]) == (pytest.__version__, "not installed")

    tensors = path.with_suffix(".safetensors")
    with safe_open(tensors, framework="pt") as file:
        assert file.get_tensor("doubled").tolist() == [0, 4]
        assert json.loads(file.metadata()["about"]) == {"words": ["of", 1]}

    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert [cell.metadata.tags[-1] for cell in notebook.cells[:2]] == ["remove-cell", "hide-input"]
    (output,) = (output for cell in notebook.cells for output in cell.get("outputs", []))
    assert "This is a stand-in for the paper's data" in output["data"]["text/markdown"]
    assert "papermill" not in notebook.metadata
    assert notebook.cells[-1].source == "Half of 4.0 is 2.00, twice after 20 steps."

    # Tensors belong to the run that kept them.
    runs.run("tiny")
    assert not tensors.exists()


@pytest.mark.parametrize("interpreter", ["/usr/bin/env", "/no/such/python"])
def test_another_kernel_called_python3_is_not_used(interpreter, project, tmp_path, monkeypatch):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [interpreter, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert json.loads(runs.run("tiny").read_text())["values"]["python"] == sys.executable
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_a_kernel_that_does_not_start_is_one_sentence(project, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(
        runs.RunError, match=r"Python process of the notebook tiny did not start \(.*\): check that"
    ) as told:
        runs.run("tiny")
    assert "\n" not in str(told.value)


def test_a_failed_run_leaves_earlier_results(project):
    folder = project / "results" / "quick"
    folder.mkdir(parents=True)
    earlier = {f"tiny{suffix}": suffix for suffix in (".ipynb", ".json", ".safetensors")}
    for name, content in earlier.items():
        (folder / name).write_text(content)
    with pytest.raises(runs.RunError, match="stopped because its Python process died"):
        runs.run("tiny", parameters={"fail": "death", "flag": True})
    with pytest.raises(runs.RunError, match=r"stopped in cell .*ValueError: the digits are upside down") as failure:
        runs.run("tiny", parameters={"fail": "error", "flag": True})
    assert "\n" not in str(failure.value)
    assert (folder / "tiny.failed.ipynb").exists()
    assert {path.name: path.read_text() for path in folder.glob("tiny*") if "failed" not in path.name} == earlier
    assert not [path for path in folder.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"notebook": "tinny"}, r"no notebook 'tinny' .* choose tiny \(did you mean tiny\?\)"),
        ({"profile": "quik"}, r"no profile 'quik' .* \(did you mean quick\?\)"),
        ({"parameters": {"betta": 4}}, r"no parameter 'betta': choose .* \(did you mean beta\?\)"),
        ({"parameters": {"steps": 2.5}}, r"steps of the notebook tiny is of type int, and 2\.5 is not"),
        ({"parameters": {"steps": True}}, "True is not"),
        ({"parameters": {"beta": "high"}}, "type float"),
        ({"parameters": {"flag": "1"}}, "type bool"),
    ],
)
def test_wrong_names_and_types_are_refused_before_anything_starts(project, arguments, words):
    with pytest.raises(runs.RunError, match=words):
        runs.run(**{"notebook": "tiny", **arguments})
    assert not (project / "results").exists()


def test_data_sets_of_a_notebook():
    notebooks = ROOT / "notebooks"
    assert runs.data_sources(notebooks / "celeba.ipynb", {}) == {"celeba": "auto"}
    assert runs.data_sources(notebooks / "celeba.ipynb", {"data_source": "drawn"}) == {}
    assert runs.data_sources(notebooks / "your_vae.ipynb", {}) == {}
    assert runs.data_sources(notebooks / "your_vae.ipynb", {"digits_source": "auto"}) == {"mnist": "auto"}
    assert runs.data_sources(notebooks / "theory.ipynb", {}) == {}


def test_a_mark_is_newer_than_a_result_of_other_data(project, own_data_root):
    notebook = project / "notebooks" / "tiny.ipynb"
    notebook.write_text(notebook.read_text().replace("# optimizer steps", '#\\ndata_source: str = \\"auto\\"'))
    notebook.rename(notebook.with_name("celeba.ipynb"))
    folder = project / "results" / "quick"
    mark = folder / ".data" / "celeba-auto"
    assert runs.data_marks(project, "celeba", "quick") == [str(mark)]
    assert not mark.exists()  # nothing was run
    folder.mkdir(parents=True)
    result = folder / "celeba.json"
    result.write_text('{"data": {"stand_in": true}}')
    runs.data_marks(project, "celeba", "quick")
    assert not mark.exists()  # on a stand-in, as it would be now
    (own_data_root / "celeba").mkdir()
    (own_data_root / "celeba" / "000001.jpg").write_bytes(b"")
    runs.data_marks(project, "celeba", "quick")
    assert mark.stat().st_mtime_ns >= result.stat().st_mtime_ns
    os.utime(mark, (1, 1))
    runs.data_marks(project, "celeba", "quick")
    assert mark.stat().st_mtime == 1
    (own_data_root / "celeba" / "000002.jpg").write_bytes(b"")
    runs.data_marks(project, "celeba", "quick")
    assert mark.stat().st_mtime > 1
    os.utime(mark, (1, 1))
    (own_data_root / "celeba" / "more.zip").write_bytes(b"half")
    for path in (own_data_root / "celeba").glob("*.jpg"):
        path.unlink()
    runs.data_marks(project, "celeba", "quick")
    assert "more.zip is not a complete zip" in mark.read_text()


def test_parameters_take_the_declared_type(project):
    given = {"beta": "1e-3", "steps": "4", "label": 3, "flag": "true", "fail": "0..4,a=b"}
    converted = {"beta": 1e-3, "steps": 4, "label": "3", "flag": True, "fail": "0..4,a=b"}
    assert runs.checked_parameters(project / "notebooks" / "tiny.ipynb", given) == converted


def test_a_text_without_its_value_stops_the_run(project):
    notebook = project / "notebooks" / "tiny.ipynb"
    notebook.write_text(notebook.read_text().replace("{{ kind }}", "{{ unkind }}"))
    with pytest.raises(runs.RunError, match=r"tiny cannot fill its text 'Half of .*': 'unkind' is undefined"):
        runs.run("tiny")
    assert not (project / "results" / "quick" / "tiny.json").exists()


def test_a_value_that_is_not_finite_is_named(project):
    data = Provenance(source="made here", stand_in=False, n=1, checksum="a")
    values = {"right": 1.0, "spread": {"of one": [math.nan]}}
    with pytest.raises(runs.RunError, match="spread would not be finite"):
        runs.Run("tiny").finish(data=data, values=values, seed=0)
    assert not (project / "results").exists()


def test_by_hand_the_values_are_printed(project, capsys):
    runs.Run("tiny").fill(half=2.0)
    assert capsys.readouterr().out == "half: 2.0\n"


@pytest.mark.parametrize("seed", ["-1", "18446744073709551615"])
def test_a_seed_that_some_generator_refuses_is_named_before_the_run(project, seed):
    with pytest.raises(runs.RunError, match=f"The seed is {seed}: give a whole number from 0 to"):
        runs.checked_parameters(project / "notebooks" / "tiny.ipynb", {"seed": seed})


@pytest.mark.parametrize("text", ["tiny: [1, 2\n", "tiny: 3\n", "extends: nothing\n"])
def test_an_invalid_profile_is_one_sentence(project, text):
    (project / "notebooks" / "profiles" / "quick.yaml").write_text(text)
    with pytest.raises(runs.RunError) as caught:
        runs.run("tiny")
    assert "\n" not in str(caught.value)


def test_an_unwritable_folder_is_one_sentence(project):
    (project / "results").write_text("a file where a folder should be")
    with pytest.raises(runs.RunError, match=r"results.* cannot be written"):
        runs.run("tiny")


def test_a_notebook_opened_by_hand_has_a_folder_of_its_own(project):
    runs.Run("tiny").finish(data=Provenance("none", False, 0, "0"), values={}, seed=0)
    result = json.loads((project / "results" / "interactive" / "tiny.json").read_text())
    assert (result["profile"], result["manifest"]["training_seconds"]) == ("interactive", 0)


def test_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(runs.RunError, match="not in a clone"):
        runs.run("tiny")
