"""The box that says how to run a page: what it says, and that it comes from files."""

import importlib.util
import json
import re

import nbformat
import pytest
from conftest import ROOT
from pygments.lexers import get_lexer_by_name
from pygments.token import Token

from companion import runs

specification = importlib.util.spec_from_file_location("runbox", ROOT / "book" / "runbox.py")
runbox = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runbox)

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOWHERE = {"url": "", "branch": "main"}
PUBLIC = {"url": "https://github.com/somebody/influential", "branch": "main"}


def result(profile="quick", device="AMD EPYC, 1 thread", seconds=90.5, training=63.8, **parameters):
    manifest = {
        "parameters": parameters, "device": device, "duration_seconds": seconds, "training_seconds": training
    }  # fmt: skip
    return {"profile": profile, "manifest": manifest}


def box(tmp_path, repository, name="mnist", **about):
    """The text of the cell, the page's cells, and the folder of downloads."""
    source = ROOT / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(source, as_version=4)
    before = len(notebook.cells)
    runbox.place(notebook, result(**about), source, tmp_path / "downloads", tmp_path, repository)
    assert len(notebook.cells) == before + 1
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[1].cell_type == "markdown"
    return notebook.cells[1].source


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_commands_of_every_page_are_accepted(source, tmp_path):
    text = box(tmp_path, NOWHERE, source.stem)
    assert f"$ .venv/bin/vaemi run {source.stem}\n" in text
    (changed,) = re.findall(rf"^\$ \.venv/bin/vaemi run {source.stem} -p (\w+)=(\S+)$", text, re.MULTILINE)
    name, value = changed
    chosen = runs.checked_parameters(source, {name: json.loads(value)})
    default = runs.parameters_of(source)[name]["default"]
    assert str(chosen[name]) != default


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_in_the_table_with_its_default_and_meaning(source, tmp_path):
    text = box(tmp_path, NOWHERE, source.stem)
    described = runs.parameters_of(source)
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    assert len(rows) == len(described)
    for row, (name, about) in zip(rows, described.items(), strict=True):
        assert row == f"| `{name}` | `{about['default']}` | {about['help']} |"


def test_what_the_run_changed_is_in_the_table(tmp_path):
    text = box(tmp_path, NOWHERE, beta=4.0, schedule="constant", latent_dim=128)
    assert "| parameter | default | this page | meaning |" in text
    assert "| `beta` | `6.0` | `4.0` | weight" in text
    assert '| `schedule` | `"one-cycle"` | `"constant"` |' in text
    assert "| `latent_dim` | `128` | the same |" in text


def test_the_downloaded_notebook_is_the_committed_one(tmp_path):
    text = box(tmp_path, NOWHERE)
    assert "{download}`mnist.ipynb <../downloads/mnist.ipynb>`" in text
    assert (tmp_path / "downloads" / "mnist.ipynb").read_bytes() == (ROOT / "notebooks" / "mnist.ipynb").read_bytes()


def test_code_in_the_box_can_be_coloured(tmp_path):
    # A line that a lexer does not understand is a warning, and with it a site that is not built.
    text = box(tmp_path, PUBLIC)
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in fences] == ["console", "ipython3"]
    for language, code in fences:
        wrong = [value for token, value in get_lexer_by_name(language).get_tokens(code) if token is Token.Error]
        assert wrong == [], language


def test_without_a_public_address_there_are_no_links_to_services(tmp_path):
    text = box(tmp_path, NOWHERE)
    assert "http" not in text
    assert "Binder" not in text


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_with_one_they_open_the_notebook_of_the_repository(tmp_path, end):
    text = box(tmp_path, {**PUBLIC, "url": PUBLIC["url"] + end})
    assert "https://mybinder.org/v2/gh/somebody/influential/main?labpath=notebooks%2Fmnist.ipynb" in text
    assert "https://colab.research.google.com/github/somebody/influential/blob/main/notebooks/mnist.ipynb" in text
    assert "%cd vaemi" in text


def test_a_branch_with_a_slash(tmp_path):
    links = runbox.services({**PUBLIC, "branch": "next/one"}, "mnist")
    assert "/influential/next%2Fone?" in links["Binder"]
    assert "/blob/next/one/notebooks/" in links["Colab"]


@pytest.mark.parametrize("url", ["https://example.org/a/b", "github.com/a/b", "https://github.com/a"])
def test_an_address_that_no_service_can_open_is_refused_in_one_sentence(url):
    with pytest.raises(runbox.RunBoxError, match=r"^repository\.url in _config\.yml is .*: write https://github\.com/"):
        runbox.services({"url": url, "branch": "main"}, "mnist")


def test_the_time_of_a_run_without_a_gpu():
    said = runbox.time_in_words(result())
    assert said.startswith("The run behind this page took 90 s at profile `quick`, without a GPU (AMD EPYC, 1 thread).")
    assert "With a GPU, which is used where there is one, the time has not been measured." in said


def test_training_that_an_earlier_run_had_done_counts():
    assert "took 76 s" in runbox.time_in_words(result(seconds=12.0, training=64.0))
    assert "took 64 s" in runbox.time_in_words(result(seconds=64.0, training=12.0))


def test_the_time_of_a_run_on_a_gpu_says_that_a_laptop_has_not_been_measured():
    said = runbox.time_in_words(result(device="Some GPU 9000", seconds=600))
    assert "10 min at profile `quick`, on a GPU (Some GPU 9000)" in said
    assert "laptop without a GPU has not been measured" in said
    assert "With a GPU" not in said


def test_a_notebook_that_makes_no_use_of_a_gpu_says_so(tmp_path):
    said = runbox.time_in_words(result(), uses_gpu=False)
    assert said.endswith("Expect about as long on a laptop. It makes no use of a GPU.")
    texts = {name: box(tmp_path, NOWHERE, name) for name in ("your_vae", "mnist")}
    assert [name for name, text in texts.items() if "makes no use of a GPU" in text] == ["your_vae"]


def test_the_published_setting_is_said_where_it_was_run(tmp_path):
    (tmp_path / "paper").mkdir()
    published = result("paper", "Some GPU 9000", 1200)
    (tmp_path / "paper" / "mnist.json").write_text(json.dumps(published))
    text = box(tmp_path, NOWHERE)
    assert "the published setting took 20 min at profile `paper`, on a GPU (Some GPU 9000)." in text
    assert "has not been measured" not in text
