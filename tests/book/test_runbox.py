"""The box that says how to run a page."""

import json
import re

import nbformat
import pytest
import runbox
from conftest import ROOT

from companion import runs
from companion.errors import CompanionError

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
NOWHERE = {"url": "", "branch": "main"}
PUBLIC = {"url": "https://github.com/somebody/influential", "branch": "main"}


def result(profile="quick", device="AMD EPYC, 1 thread", seconds=90.5, training=63.8, **parameters):
    manifest = {"device": device, "duration_seconds": seconds, "training_seconds": training, "parameters": parameters}
    return {"profile": profile, "manifest": manifest}


def box(tmp_path, repository=NOWHERE, name="mnist", **about):
    """The text of the cell that is put below the opening of a notebook."""
    source = ROOT / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(source, as_version=4)
    before = len(notebook.cells)
    runbox.place(notebook, result(**about), source, tmp_path / "downloads", tmp_path, repository)
    nbformat.validate(notebook)
    assert len(notebook.cells) == before + 1
    assert notebook.cells[0].source.startswith("# ")
    assert (tmp_path / "downloads" / source.name).read_bytes() == source.read_bytes()
    return notebook.cells[1].source


def table(text):
    """The rows of the table of parameters, its header first."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_page_shows_commands_that_work_and_all_its_parameters(name, tmp_path):
    text = box(tmp_path, name=name)
    described = runs.parameters_of(ROOT / "notebooks" / f"{name}.ipynb")
    assert f"$ .venv/bin/vaemi run {name}\n" in text
    ((parameter, value),) = re.findall(rf"^\$ \.venv/bin/vaemi run {name} -p (\w+)=(\S+)$", text, re.MULTILINE)
    default = json.loads(described[parameter]["default"])
    assert type(json.loads(value)) in (type(default), int)
    assert json.loads(value) != default
    header, *rows = table(text)
    assert header == ["parameter", "default", "meaning"]
    assert [row[:2] for row in rows] == [[f"`{one}`", f"`{about['default']}`"] for one, about in described.items()]
    assert all(row[2] for row in rows)
    assert ("does not use a GPU" in text) == (name == "your_vae")


def test_what_the_run_changed_is_in_the_table(tmp_path):
    header, *rows = table(box(tmp_path, beta=4.0, schedule="constant", latent_dim=128))
    assert header == ["parameter", "default", "this page", "meaning"]
    shown = {row[0]: row[1:3] for row in rows}
    assert shown["`beta`"] == ["`6.0`", "`4.0`"]
    assert shown["`schedule`"] == ['`"one-cycle"`', '`"constant"`']
    assert shown["`latent_dim`"] == ["`128`", "the same"]


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_links_to_services_open_the_notebook_of_a_public_repository(tmp_path, end):
    assert "http" not in box(tmp_path)
    text = box(tmp_path, {"url": PUBLIC["url"] + end, "branch": "next/one"})
    assert "https://mybinder.org/v2/gh/somebody/influential/next%2Fone?labpath=notebooks%2Fmnist.ipynb" in text
    assert "https://colab.research.google.com/github/somebody/influential/blob/next/one/notebooks/mnist.ipynb" in text
    assert f"--branch next/one {PUBLIC['url']}{end} vaemi" in text


def test_an_address_that_is_not_on_github_is_refused():
    with pytest.raises(CompanionError, match=r"^repository\.url in _config\.yml is .*: write https://github\.com/"):
        runbox.services({"url": "https://example.org/a/b", "branch": "main"}, "mnist")


@pytest.mark.parametrize(
    ("about", "part"),
    [
        ({}, "90 s at profile `quick`, without a GPU (AMD EPYC, 1 thread). Expect about as long on a laptop"),
        ({"seconds": 12.0, "training": 64.0}, "took 76 s"),  # training that an earlier run did counts
        ({"device": "Some GPU 9000", "seconds": 600}, "took 10 min at profile `quick`, on a GPU (Some GPU 9000). The"),
    ],
)
def test_the_time_of_a_run(about, part):
    text = runbox.time_in_words([result(**about)], uses_gpu=True)
    assert part in text
    assert "not been measured" in text


def test_the_published_setting_has_its_time(tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "mnist.json").write_text(json.dumps(result("paper", "Some GPU 9000", 1200)))
    text = box(tmp_path)
    assert "the published setting took 20 min at profile `paper`, on a GPU (Some GPU 9000)." in text
    assert "has not been measured" not in text
