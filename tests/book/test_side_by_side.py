"""The end of a page: its numbers beside those of the reference run."""

import copy
import importlib.util
import json

import nbformat
import pytest
from conftest import ROOT

specification = importlib.util.spec_from_file_location("side_by_side", ROOT / "book" / "side_by_side.py")
side_by_side = importlib.util.module_from_spec(specification)
specification.loader.exec_module(side_by_side)

CLAIM = {
    "id": "C1", "statement": "Few factors.", "rule": "r", "holds": True, "value": 11.7, "stderr": 0.1, "unit": "%",
    "published": 11.7,
}  # fmt: skip
REFERENCE = {
    "experiment": "mnist",
    "profile": "paper",
    "data": {"source": "MNIST", "stand_in": False, "n": 70_000, "checksum": "a"},
    "values": {"total": 35.25, "by_ratio": {"0.1": 93.1}, "curve": {str(i): i for i in range(100)}, "names": ["x"]},
    "claims": [CLAIM],
    "manifest": {
        "parameters": {"steps": 50_000}, "seed": 0, "device": "a machine", "date": "2026-01-01T00:00:00+00:00",
        "duration_seconds": 3600.0, "training_seconds": 3000.0,
    },
}  # fmt: skip
DEFAULTS = {"steps": 3000, "beta": 6.0, "data_source": "auto"}


@pytest.fixture
def here():
    result = copy.deepcopy(REFERENCE)
    result["values"] |= {"total": 36.5, "new": 1}
    result["claims"][0] |= {"value": 14.1, "holds": False}
    result["manifest"] |= {"parameters": {}, "date": "2026-02-02T00:00:00+00:00", "duration_seconds": 60.0}
    result["manifest"]["training_seconds"] = 50.0
    return result


def placed(tmp_path, result, reference=REFERENCE):
    if reference:
        (tmp_path / "paper").mkdir()
        (tmp_path / "paper" / "mnist.json").write_text(json.dumps(reference))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")])
    side_by_side.place(notebook, result, DEFAULTS, tmp_path)
    nbformat.validate(notebook)
    return "\n".join(cell.source for cell in notebook.cells[1:])


def test_claims_and_single_numbers_stand_side_by_side(tmp_path, here):
    text = placed(tmp_path, here)
    assert "| C1 Few factors. (%) | 11.7 | 11.7\u00a0±\u00a00.1, holds | 14.1\u00a0±\u00a00.1, does not hold |" in text
    assert "| `total` | 35.25 | 36.5 |" in text
    assert "| `by_ratio`, 0.1 | 93.1 | 93.1 |" in text
    assert "| `new` | - | 1 |" in text
    assert "curve" not in text


def test_weights_of_the_reference_run_are_not_said_to_be_trained_here(tmp_path, here):
    reference = copy.deepcopy(REFERENCE)
    for one in (reference, here):
        one["manifest"]["weights"] = "mnist-ab.safetensors"
    assert "It took 60 min on a machine; this page measures its weights anew." in placed(tmp_path, here, reference)


def test_it_says_what_differed(tmp_path, here):
    text = placed(tmp_path, here)
    assert "It took 60 min on a machine, this page's 60 s." in text
    assert "`steps` 50,000 there and 3,000 here" in text
    assert "beta" not in text
    assert "data" not in text
    here["data"] |= {"checksum": "b", "source": "5,000 digits", "n": 5000}
    (tmp_path / "other").mkdir()
    assert "MNIST there (70,000 samples), 5,000 digits here (5,000)" in placed(tmp_path / "other", here)


def test_it_is_not_beside_itself_nor_without_a_reference(tmp_path, here):
    assert placed(tmp_path, here, reference=None) == ""
    assert placed(tmp_path, copy.deepcopy(REFERENCE)) == ""
