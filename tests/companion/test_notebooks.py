"""The notebooks as committed, and what a smoke run of each leaves."""

import json
import re

import nbformat
import pytest
from conftest import ROOT

from companion import claims, runs

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# They ask what the paper does not.
WITHOUT_CLAIMS = {"criteria", "objectives", "your_vae"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_as_committed(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for cell in cells:
        assert cell.outputs == []
        assert cell.execution_count is None
        assert not any(line.startswith(("def ", "class ")) for line in cell.source.splitlines())
        if "figures." in cell.source and "figures.use_style" not in cell.source:
            described = cell.metadata["mystnb"]
            assert described["image"]["alt"]
            assert described["figure"]["caption"]
            assert described["figure"]["name"].startswith("fig-")
    lengths = sorted(len(cell.source.splitlines()) for cell in cells)
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[-1] <= 25
    assert not any(re.search(r'Markdown\(\s*f?"""', cell.source) for cell in cells), "prose belongs in Markdown cells"

    parameters = runs.parameters_of(path)
    assert parameters
    for name, described in parameters.items():
        assert described["inferred_type_name"] in runs.PARAMETER_TYPES, name
        assert described["help"], name


@pytest.mark.parametrize("profile", ["paper", "quick", "reference", "smoke"])
def test_a_profile_names_notebooks_and_their_parameters(profile):
    for notebook, parameters in runs.read_profile(ROOT, profile).parameters.items():
        source = ROOT / "notebooks" / f"{notebook}.ipynb"
        assert runs.checked_parameters(source, parameters) == parameters


def test_what_a_mnist_run_leaves(smoke_results):
    result = json.loads((smoke_results / "smoke" / "mnist.json").read_text())
    assert set(result["data"]) == {"source", "stand_in", "n", "checksum"}
    assert result["data"]["stand_in"]
    values = result["values"]
    assert len(values["information_nats"]) == len(values["sigma_star"]) == len(values["removal_damage"]) == 128
    assert values["total_information_nats"] == pytest.approx(sum(values["information_nats"]))
    assert list(values["accuracy_percent_by_ratio_kept"]) == list(claims.published_accuracies())
    assert [claim["id"] for claim in result["claims"]] == ["C1", "C2", "C3", "C4", "T7"]
    # 30 steps teach nothing: no factor is influential, and the claim must say so.
    assert result["claims"][0]["verdict"] == "not tested"
    assert "no factor carries more than 0.1 nats" in result["claims"][0]["rules"][-1]["shortfall"]


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_every_run_leaves_its_result_and_shows_every_figure_as_vector_graphic(smoke_results, name):
    result = json.loads((smoke_results / "smoke" / f"{name}.json").read_text())
    assert list(result) == ["experiment", "profile", "data", "values", "claims", "manifest"]
    assert result["experiment"] == name
    assert bool(result["claims"]) == (name not in WITHOUT_CLAIMS)
    for cell in nbformat.read(smoke_results / "smoke" / f"{name}.ipynb", as_version=4).cells:
        if "mystnb" in cell.metadata:
            assert any("image/svg+xml" in output.get("data", {}) for output in cell.outputs), cell.source
        if cell.cell_type == "code":
            assert not any(output.get("name") == "stderr" for output in cell.outputs)


# The chapter on sparsity refuses fewer factors than dimensions. That on other libraries refuses a model whose factors
# save nothing, as one channel does at this profile.
FEW_FACTORS = [
    *((name, 1, ("latent_dim",)) for name in ("mnist", "celeba", "deap", "objectives", "criteria")),
    ("celeba", 2, ("latent_dim",)),
    ("your_vae", 2, ("digits_latent_dim", "cells_latent_dim", "channels")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "latent_dim", "parameters"), FEW_FACTORS)
def test_a_notebook_runs_with_few_factors(name, latent_dim, parameters, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = dict.fromkeys(parameters, latent_dim)
    result = runs.run(name, "smoke", given, result=tmp_path / f"{name}.json")
    assert json.loads(result.read_text())["manifest"]["parameters"].items() >= given.items()
