"""The chapter on models of other libraries: what its smoke run finds, and what is said where a library is missing."""

import json
import os

import nbformat
import pytest
from conftest import vaemi_command


@pytest.fixture(scope="module")
def result(smoke_results):
    return json.loads((smoke_results / "smoke" / "your_vae.json").read_text())


@pytest.fixture(scope="module")
def values(result):
    return result["values"]


def test_as_many_factors_as_programs_one_less_where_they_cover_all_genes(values):
    programs = values["planted_programs"]
    assert values["cells_expected_factors"] == [programs, programs - 1]
    assert values["cells_influential_factors"] == [programs, programs - 1]
    assert values["cells_latent_dim_recommended"] == programs


def test_the_programs_are_in_the_influential_factors_and_in_no_others(values):
    found = values["cells_variance_explained"]
    differences = "differences from the mean from {} factors, {}"
    for kind in ("with other genes", "programs only"):
        assert found[differences.format("influential", kind)] > 0.6
        assert found[differences.format("other", kind)] < 0.1
    # Where programs cover all genes, what they do together is in the library size alone.
    assert found["their mean from influential factors, programs only"] < 0.1
    assert found["their mean from library size, programs only"] > 0.5
    assert found["their mean from influential factors, with other genes"] > 0.2


def test_pruning_and_shrinking_the_model_of_cells_lose_nothing(values):
    for name in ("cells_pruning", "cells_shrinking"):
        change = values[name]
        assert change["share"] + 1.96 * change["share_stderr"] < 0.02, name
        assert change["within_margin"] == 1
    assert values["cells_latents_after_shrinking"] == values["cells_latents_kept"] < values["cells_latents_given"]


@pytest.mark.parametrize("story", ["digits", "cells", "maps"])
def test_what_a_story_says_of_itself_is_right(values, story):
    assert values["agreement_nats"][story] < 1e-6
    nats = values[f"{story}_information_nats"]
    assert len(nats) == values[f"{story}_latents_given"]
    assert sum(one > 0.1 for one in nats) == values[f"{story}_latents_kept"]
    given, after = values[f"{story}_weights"]
    assert after < given
    for name in ("pruning", "shrinking"):
        change = values[f"{story}_{name}"]
        assert change["share"] == pytest.approx(change["rise"] / change["worth"])
        assert change["within_margin"] == (change["share"] + 1.96 * change["share_stderr"] < 0.02)


def test_maps_are_shrunk_by_whole_channels(values):
    assert values["maps_latents_after_shrinking"] == max(1, values["maps_latent_dim_recommended"]) * 7 * 7


def test_the_run_names_the_libraries_which_print_nothing(result, smoke_results):
    versions = result["manifest"]["versions"]
    assert "not installed" not in [versions[name] for name in ("pythae", "scvi-tools", "diffusers")]
    notebook = nbformat.read(smoke_results / "smoke" / "your_vae.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not any(output.output_type == "stream" for output in outputs)


@pytest.mark.slow
def test_a_missing_library_is_one_sentence_that_names_the_extra(tmp_path):
    # As if it were not installed, in the kernel too.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['scvi'] = None\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = vaemi_command("run", "your_vae", "--profile", "smoke", "-p", "seed=7", PYTHONPATH=path)
    assert done.returncode == 1
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith("vaemi: ")
    assert "scvi is not installed: pip install 'vaemi[libraries]'" in sentence
