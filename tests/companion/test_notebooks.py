"""The notebooks as committed, and what a smoke run of each leaves."""

import json

import nbformat
import pytest
from conftest import ROOT

from companion import runs

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# They ask what the paper does not.
WITHOUT_CLAIMS = {"objectives", "your_vae"}
PROFILES = sorted((ROOT / "notebooks" / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_alt_text_caption_and_name(path):
    figures = [cell for cell in nbformat.read(path, as_version=4).cells if "figures." in cell.source]
    for cell in figures:
        if "figures.use_style" not in cell.source:
            described = cell.metadata["mystnb"]
            assert described["image"]["alt"]
            assert described["figure"]["caption"]
            assert described["figure"]["name"].startswith("fig-")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_has_a_type_and_a_meaning(path):
    parameters = runs.parameters_of(path)
    assert parameters
    for name, described in parameters.items():
        assert described["inferred_type_name"] in runs.PARAMETER_TYPES, name
        assert described["help"], name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_cells_are_short(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lengths = sorted(len(cell.source.splitlines()) for cell in cells)
    assert lengths[len(lengths) // 2] <= 10
    assert not any(line.startswith(("def ", "class ")) for cell in cells for line in cell.source.splitlines())


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_profile_names_notebooks_and_their_parameters(path):
    for notebook, parameters in runs.read_profile(ROOT, path.stem).parameters.items():
        runs.checked_parameters(ROOT / "notebooks" / f"{notebook}.ipynb", parameters)


def test_the_profiles_of_the_design():
    assert [path.stem for path in PROFILES] == ["paper", "quick", "reference", "smoke"]


def test_what_a_mnist_run_leaves(smoke_results):
    result = json.loads((smoke_results / "smoke" / "mnist.json").read_text())
    assert set(result) == {"experiment", "profile", "data", "values", "claims", "manifest"}
    assert set(result["data"]) == {"source", "stand_in", "n", "checksum"}
    assert result["data"]["stand_in"]
    values = result["values"]
    assert len(values["information_nats"]) == len(values["sigma_star"]) == len(values["removal_damage"]) == 128
    assert values["total_information_nats"] == pytest.approx(sum(values["information_nats"]))
    assert values["factors_kept"] == [0, 1, 2, 3, 4, 6, 8, 12, 24, 128]
    published = json.loads((ROOT / "companion" / "published.json").read_text())["mnist"]
    assert list(values["accuracy_percent_by_ratio_kept"]) == list(published["accuracy_percent_by_ratio_kept"])
    assert [claim["id"] for claim in result["claims"]] == ["C1", "C2", "C3", "C4"]


def test_an_untrained_model_is_not_said_to_be_sparse(smoke_results):
    # 30 steps teach nothing: no factor is influential, and the claim must say so.
    claims = json.loads((smoke_results / "smoke" / "mnist.json").read_text())["claims"]
    assert not claims[0]["holds"]


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_every_run_leaves_its_result(smoke_results, name):
    result = json.loads((smoke_results / "smoke" / f"{name}.json").read_text())
    assert set(result) == {"experiment", "profile", "data", "values", "claims", "manifest"}
    assert result["experiment"] == name
    assert bool(result["claims"]) == (name not in WITHOUT_CLAIMS)
    assert result["manifest"]["duration_seconds"] > 0


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_the_executed_notebook_shows_every_figure_as_vector_graphic(smoke_results, name):
    notebook = nbformat.read(smoke_results / "smoke" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if "mystnb" in cell.metadata:
            assert any("image/svg+xml" in output.get("data", {}) for output in cell.outputs), cell.source
        if cell.cell_type == "code":
            assert not any(output.get("name") == "stderr" for output in cell.outputs)
