"""Committed weights: small, found again by settings and data, and those that were measured."""

import json

import pytest
import torch
from conftest import ROOT, project_with_a_notebook, same_weights, tiny

import vaemi
from companion import runs
from companion import weights as trained_weights
from companion.errors import RunError
from companion.experiments.shared import spectrum_values
from companion.reference import load_reference
from companion.weights import train_or_load
from vaemi import objectives
from vaemi.models import build, posterior


def fit(images, folder, **changes):
    settings = {"steps": 20, "batch_size": 20, "records": 2, "precision": "32-true", "progress": False}
    return train_or_load(
        tiny(), images, images[:50], checkpoints=folder / "checkpoints", **({"weights": folder} | settings | changes)
    )


def file_in(folder):
    (file,) = folder.glob("*.safetensors")
    return file


def test_a_second_call_loads_what_the_first_has_saved(tmp_path, tiny_images):
    made = fit(tiny_images, tmp_path)
    again = fit(tiny_images, tmp_path, trained_only=True)
    assert same_weights(made.model, again.model)
    assert made.weights == again.weights == file_in(tmp_path)
    assert (again.steps, again.seconds, again.device) == (20, made.seconds, made.device)
    torch.testing.assert_close(vars(made.history), vars(again.history), rtol=0, atol=0)


def test_matrices_are_rounded_to_half_precision_and_nothing_else(tmp_path, tiny_images):
    exact = fit(tiny_images, tmp_path, weights=None).model.state_dict()
    kept = fit(tiny_images, tmp_path).model.state_dict()
    for name, value in exact.items():
        assert torch.equal(kept[name], value.half().float() if value.ndim > 1 else value), name
    assert any(not torch.equal(kept[name], value) for name, value in exact.items())
    numbers = sum(value.numel() for value in kept.values())
    assert file_in(tmp_path).stat().st_size < 3 * numbers + 8000


@pytest.mark.parametrize(
    "change", [{"beta": 2.0}, {"seed": 1}, {"steps": 30}, {"label": "other"}, {"objective": "avae"}]
)
def test_other_settings_are_another_training(tmp_path, tiny_images, change):
    fit(tiny_images, tmp_path)
    with pytest.raises(RunError, match="holds no weights of this training"):
        fit(tiny_images, tmp_path, trained_only=True, **change)


def test_neither_precision_nor_the_last_bit_of_the_data_is_a_setting(tmp_path, tiny_images):
    fit(tiny_images, tmp_path)
    nearly = tiny_images.clone()
    nearly[0, 0, 0, 0] ^= 1
    assert fit(nearly, tmp_path, trained_only=True, precision="bf16-mixed").precision == "32-true"
    for other in (tiny_images[:250], 255 - tiny_images // 2):
        with pytest.raises(RunError, match="on these samples"):
            fit(other, tmp_path, trained_only=True)


@pytest.mark.parametrize("file", sorted((ROOT / "results" / "paper" / "weights").glob("*.safetensors")), ids=str)
def test_committed_weights_are_found_by_their_settings(file, tmp_path):
    about = trained_weights.load(file).about
    settings = {name: value for name, value in about["settings"].items() if name not in about["hyperparameters"]}
    assert settings.pop("recipe") == 1
    if objective := settings.get("objective"):
        settings["objective"] = objectives.OBJECTIVES[objective.pop("name")](**objective)
    # Samples with the same shape, mean and standard deviation as far as the file tells them.
    kind, mean, std = (about["samples"][name] for name in ("shape", "mean", "std"))
    half = torch.tensor([mean - std, mean + std])
    samples = half[torch.arange(1000) % 2].reshape(-1, *[1] * (len(kind) - 1)).expand(1000, *kind[1:])
    samples = torch.cat([samples, samples[:1].expand(kind[0] - 1000, *kind[1:])])
    found = train_or_load(
        build(about["hyperparameters"]), samples, samples[:1],
        checkpoints=tmp_path, weights=file.parent, trained_only=True, **settings,
    )  # fmt: skip
    assert found.weights == file


def test_fresh_trains_again(tmp_path, tiny_images):
    fit(tiny_images, tmp_path)
    before = file_in(tmp_path).stat().st_mtime_ns
    fit(tiny_images, tmp_path, fresh=True)
    assert file_in(tmp_path).stat().st_mtime_ns > before


@pytest.mark.parametrize("damage", ["cut", "foreign", "other model"])
def test_a_damaged_file_is_named_in_one_sentence(tmp_path, tiny_images, damage):
    import safetensors.torch

    fit(tiny_images, tmp_path)
    file = file_in(tmp_path)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:200])
    elif damage == "foreign":
        safetensors.torch.save_file({"a": torch.zeros(1)}, file)
    else:
        held = trained_weights.load(file)
        trained_weights.save(file, torch.nn.Linear(2, 2), held.history, held.about)
    with pytest.raises(RunError, match=str(file)) as caught:
        fit(tiny_images, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_into_half_precision_is_refused(tmp_path):
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.fill_(1e6)
    with pytest.raises(ValueError, match="half precision"):
        trained_weights.save(tmp_path / "w.safetensors", model, {}, {})
    assert not list(tmp_path.iterdir())


SMALL = """
from companion.data.sources import Provenance
from companion.runs import Run
Run("tiny").finish(data=Provenance("none", True, 0, "0"), values={"beta": beta}, seed=0)
"""


def test_a_profile_extends_another_and_uses_its_weights(tmp_path):
    project = project_with_a_notebook(tmp_path, "beta: float = 6.0", SMALL, "weights: keep\ntiny:\n  beta: 2.0\n")
    (project / "notebooks" / "profiles" / "reference.yaml").write_text("extends: quick\nweights: use\n")
    weights = str(project / "results" / "quick" / "weights")
    for name, trained_only in (("quick", False), ("reference", True)):
        profile = runs.read_profile(project, name)
        assert profile.parameters == {"tiny": {"beta": 2.0}}
        assert profile.weights == {"weights": weights, "trained_only": trained_only}


def test_the_reference_profile_is_that_of_the_paper():
    paper, reference = (runs.read_profile(ROOT, name) for name in ("paper", "reference"))
    # What is done less often, and nothing that a training goes by.
    fewer = {"mnist": "classifiers", "celeba": "permutations", "deap": "null_seeds"}
    for notebook, given in paper.parameters.items():
        changed = {
            name for name in reference.parameters[notebook] if reference.parameters[notebook][name] != given.get(name)
        }
        assert changed <= {fewer.get(notebook)}, notebook
    assert reference.weights == {"weights": str(ROOT / "results" / "paper" / "weights"), "trained_only": True}


def test_a_notebook_is_shown_as_it_was_run(tmp_path, monkeypatch):
    project = project_with_a_notebook(tmp_path, "beta: float = 6.0", SMALL, "")
    monkeypatch.chdir(project)
    (project / "notebooks" / "profiles" / "reference.yaml").write_text("extends: quick\nas_run: tiny\n")
    with pytest.raises(runs.RunError, match=r"must exist.* use vaemi run tiny --profile quick"):
        runs.run("tiny", "reference")
    made = runs.run("tiny")
    shown = runs.run("tiny", "reference", force=True)
    assert shown == project / "results" / "reference" / "tiny.json"
    for suffix in (".json", ".ipynb"):
        assert shown.with_suffix(suffix).read_bytes() == made.with_suffix(suffix).read_bytes()
    with pytest.raises(runs.RunError, match="takes no parameters"):
        runs.run("tiny", "reference", {"beta": 1.0})


def test_a_model_of_the_reference_run_is_ready_to_use(tmp_path, tiny_images):
    folder = tmp_path / "results" / "paper"
    fit(tiny_images, folder / "weights")
    # Loaded, not trained: convolutions of a trained model's memory layout round differently on some machines.
    made = fit(tiny_images, folder / "weights", trained_only=True)
    mean, log_variance = posterior(made.model, tiny_images)
    information = vaemi.factor_information(mean, log_variance)
    result = {"values": spectrum_values(information), "manifest": {"weights": made.weights.name}}
    (folder / "mnist.json").write_text(json.dumps(result))
    reference = load_reference("mnist", tmp_path)
    again = vaemi.factor_information(*posterior(reference.model, tiny_images))
    assert torch.equal(again.nats, reference.information.nats)
    assert reference.information.interval()[0].equal(information.interval()[0])
    assert not reference.model.training
    with pytest.raises(RunError, match="choose one of mnist"):
        load_reference("minst", tmp_path)
    made.weights.unlink()
    with pytest.raises(RunError, match="cannot be read"):
        load_reference("mnist", tmp_path)
    (folder / "mnist.json").write_text("{}")
    with pytest.raises(RunError, match="no model of this experiment was stored"):
        load_reference("mnist", tmp_path)
