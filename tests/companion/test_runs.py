"""Running notebooks: parameters are checked, runs are recognized, and nothing that was there is lost."""

import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from conftest import project_with_a_notebook
from safetensors import safe_open
from safetensors.torch import load_file

from companion import runs

PARAMETERS = """\
beta: float = 6.0  # weight of the KL term
steps: int = 10  # optimizer steps
label: str = "a"  # a word
flag: bool = False  # a switch
fail: bool = False
"""
BODY = """\
import sys
from companion.runs import Run

print("half way", file=sys.stderr)
if fail:
    raise ValueError("the digits are upside down")
run = Run("tiny")
run.record(
    data={"source": "none", "stand_in": True, "n": 0, "checksum": "0"},
    values={"beta": beta, "steps": steps},
    claims=[{"id": "C1", "holds": True}],
    seed=0,
    device="cpu",
    training_seconds=0.0,
)
print("beta is", beta)
"""


@pytest.fixture
def project(tmp_path):
    """A project with one small notebook and one profile."""
    return project_with_a_notebook(tmp_path / "project", PARAMETERS, BODY, "tiny:\n  steps: 20\n")


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_and_all_that_follows_it(project):
    first = runs.run("tiny", root=project)
    result = json.loads(first.result.read_text())
    assert not first.made_before
    assert first.result == project / "results" / "quick" / "tiny.json"
    assert (result["experiment"], result["profile"], result["values"]) == ("tiny", "quick", {"beta": 6.0, "steps": 20})
    manifest = result["manifest"]
    assert manifest["parameters"] == {"steps": 20}
    assert {"seed", "versions", "git_commit", "device", "date", "duration_seconds"} <= set(manifest)

    notebook = nbformat.read(first.notebook, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    assert "remove-cell" in tags[0]
    assert "hide-input" in tags[1]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output["text"] for output in outputs] == ["beta is 6.0\n"]
    assert "papermill" not in notebook.metadata

    before = snapshot(project / "results")
    assert runs.run("tiny", root=project).made_before
    assert snapshot(project / "results") == before

    # Another parameter is another run; the first is kept, and recognized when asked for again.
    other = runs.run("tiny", parameters={"beta": 4}, root=project)
    assert not other.made_before
    assert json.loads(other.result.read_text())["values"]["beta"] == 4
    back = runs.run("tiny", root=project)
    assert back.made_before
    assert json.loads(back.result.read_text())["values"]["beta"] == 6
    assert snapshot(project / "results") == {**snapshot(project / "results"), **before}

    # An error in the notebook leaves every result as it was, and a notebook to look at.
    before = snapshot(project / "results")
    with pytest.raises(runs.RunError, match=r"tiny stopped in cell .*ValueError: the digits are upside down"):
        runs.run("tiny", parameters={"fail": True}, root=project)
    after = snapshot(project / "results")
    assert after.pop("quick/tiny.failed.ipynb")
    assert after == before

    forced = runs.run("tiny", force=True, root=project)
    assert not forced.made_before


def test_a_parameter_that_is_given_its_default_makes_no_other_run(project):
    default = runs.parameters_of(project / "notebooks" / "tiny.ipynb")["beta"]["default"]
    plain = runs.plan("tiny", root=project)
    given = runs.plan("tiny", parameters={"beta": float(default)}, root=project)
    assert given.result == plain.result
    assert given.parameters == plain.parameters | {"beta": float(default)}
    assert runs.plan("tiny", parameters={"beta": float(default) + 1}, root=project).result != plain.result


def test_a_change_of_the_notebook_is_another_run(project):
    source = project / "notebooks" / "tiny.ipynb"
    before = runs._digest(source, {"beta": 1.0})
    assert runs._digest(source, {"beta": 1.0}) == before
    assert runs._digest(source, {"beta": 2.0}) != before
    source.write_text(source.read_text().replace("half way", "midway"))
    assert runs._digest(source, {"beta": 1.0}) != before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"notebook": "tinny"}, r"no notebook 'tinny' .* choose tiny \(did you mean tiny\?\)"),
        ({"profile": "quik"}, r"no profile 'quik' .* \(did you mean quick\?\)"),
        ({"parameters": {"betta": 4}}, r"no parameter 'betta': choose .* \(did you mean beta\?\)"),
        ({"parameters": {"steps": 2.5}}, r"steps of the notebook tiny is of type int, and 2\.5 is not"),
        ({"parameters": {"steps": "many"}}, "'many' is not"),
        ({"parameters": {"steps": True}}, "True is not"),
        ({"parameters": {"beta": "high"}}, "type float"),
        ({"parameters": {"flag": 1}}, "type bool"),
        ({"parameters": {"label": True}}, "type str"),
        ({"parameters": {"label": ["a"]}}, "type str"),
    ],
)
def test_wrong_names_and_types_are_refused_before_anything_starts(project, arguments, words, monkeypatch):
    monkeypatch.setattr(runs, "_execute", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(runs.RunError, match=words):
        runs.run(**{"notebook": "tiny", "root": project, **arguments})
    assert not (project / "results").exists()


def test_a_whole_number_does_for_a_float(project):
    source = project / "notebooks" / "tiny.ipynb"
    assert runs._checked_parameters(source, {"beta": 4}) == {"beta": 4.0}


def test_a_text_may_look_like_a_number(project):
    # What the command line reads from `-p label=3`.
    source = project / "notebooks" / "tiny.ipynb"
    assert runs._checked_parameters(source, {"label": 3}) == {"label": "3"}


def test_a_broken_profile_is_named(project):
    (project / "notebooks" / "profiles" / "quick.yaml").write_text("tiny: [1, 2\n")
    with pytest.raises(runs.RunError, match=r"quick\.yaml is no mapping"):
        runs.run("tiny", root=project)


def test_a_run_may_have_nothing_to_say_of_the_paper(tmp_path):
    body = BODY.replace('claims=[{"id": "C1", "holds": True}]', 'claims=[], libraries=["pytest", "no-such"]')
    project = project_with_a_notebook(tmp_path / "project", PARAMETERS, body, "tiny: {}\n")
    first = runs.run("tiny", root=project)
    versions = json.loads(first.result.read_text())["manifest"]["versions"]
    assert (versions["pytest"], versions["no-such"]) == (pytest.__version__, "not installed")
    assert "torch" in versions
    assert runs.run("tiny", root=project).made_before
    # What is no list of claims is no result.
    kept = runs.plan("tiny", root=project).result
    kept.write_text('{"claims": null}')
    assert not runs.is_whole(kept)


def test_a_missing_module_of_an_extra_is_named():
    runs.need_extra("test", ["pytest"])
    with pytest.raises(runs.RunError, match=r"^no_such, nor_this cannot be imported: install the extra x, pip install"):
        runs.need_extra("x", ["no_such", "pytest", "nor_this"])


def fake_execute(source, kept, *_, **__):
    runs._json(kept).write_text('{"claims": [1]}')
    runs._ipynb(kept).write_text("{}")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk of .* is full"), (errno.EROFS, "cannot be written"), (errno.EIO, "untouched")],
)
def test_a_disk_that_fails_is_said_in_one_sentence(project, monkeypatch, number, words):
    monkeypatch.setattr(runs, "_execute", fake_execute)
    runs.run("tiny", root=project)
    before = snapshot(project / "results")

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(runs, "_execute", fail)
    with pytest.raises(runs.RunError, match=words):
        runs.run("tiny", parameters={"beta": 1}, root=project)
    assert snapshot(project / "results") == before


DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
DIES_WRITING = """from vaemi import _files, runs
with _files.written_whole(runs.Run("tiny")._result) as scratch:
    scratch.write_text("half")
    """


@pytest.mark.parametrize("source_of_cell", [DIES, DIES_WRITING + DIES], ids=["computing", "writing"])
def test_a_kernel_that_dies_is_one_sentence(project, source_of_cell):
    source = project / "notebooks" / "tiny.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[1].source = source_of_cell
    nbformat.write(notebook, source)
    with pytest.raises(runs.RunError, match="tiny stopped because its Python process died") as stop:
        runs.run("tiny", root=project)
    assert "\n" not in str(stop.value)
    assert snapshot(project / "results") == {}


def test_the_same_run_twice_at_once_is_made_once(project, monkeypatch, capsys):
    made, begun, go_on = [], threading.Event(), threading.Event()

    def slow(source, kept, *arguments, **settings):
        made.append(1)
        begun.set()
        assert go_on.wait(30)
        fake_execute(source, kept, *arguments, **settings)

    monkeypatch.setattr(runs, "_execute", slow)
    say = runs._say_waiting
    monkeypatch.setattr(runs, "_say_waiting", lambda *given: say(*given) or go_on.set())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(runs.run, "tiny", root=project)
        assert begun.wait(30)
        second = pool.submit(runs.run, "tiny", root=project)
        assert not first.result().made_before
        assert second.result().made_before
    assert made == [1]
    assert "another process makes this run of tiny" in capsys.readouterr().err
    assert not list((project / "results").rglob(".*"))


def test_what_a_killed_run_left_is_removed(project):
    folder = project / "results" / "quick" / "all"
    folder.mkdir(parents=True)
    digest = runs._digest(project / "notebooks" / "tiny.ipynb", {"steps": 20})
    left = folder / f".tiny-{digest}.4000000"
    left.mkdir()
    for suffix in ("ipynb", "json", "safetensors"):
        (left / f"tiny-{digest}.{suffix}").write_text("half")
    runs.run("tiny", root=project)
    assert sorted(path.name for path in folder.iterdir()) == [f"tiny-{digest}.ipynb", f"tiny-{digest}.json"]


def test_no_mixture_of_two_runs_is_ever_the_latest(project, monkeypatch):
    monkeypatch.setattr(runs, "_execute", fake_execute)
    result = runs.run("tiny", root=project).result
    replace, seen = Path.replace, []

    def watched(self, target):
        seen.append((target.name, result.exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    runs.run("tiny", parameters={"beta": 1}, root=project)
    assert seen == [("tiny.ipynb", False), ("tiny.json", False)]

    # A full disk is found before anything of the run before is touched.
    before = snapshot(project / "results")
    write = Path.write_bytes

    def full(self, content):
        if self.name.startswith(".tiny.ipynb"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(runs.RunError, match="is full"):
        runs.run("tiny", root=project)
    assert snapshot(project / "results") == before


KEEP = """
if flag:
    import torch

    run.keep_tensors({"doubled": 2 * torch.arange(3.0)[::2], "beta": torch.tensor(beta)}, about={"words": ["of", 1]})
"""


def test_tensors_go_with_the_run_that_kept_them(project):
    source = project / "notebooks" / "tiny.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[1].source += KEEP
    nbformat.write(notebook, source)
    latest = project / "results" / "quick" / "tiny.safetensors"

    runs.run("tiny", parameters={"flag": True}, root=project)
    assert load_file(latest)["doubled"].tolist() == [0, 4]
    with safe_open(latest, framework="pt") as file:
        assert json.loads(file.metadata()["about"]) == {"words": ["of", 1]}
    assert len(list((latest.parent / "all").glob("*.safetensors"))) == 1

    # Not beside the result of a run that kept none, and back with the run that did.
    runs.run("tiny", root=project)
    assert not latest.exists()
    assert runs.run("tiny", parameters={"flag": True}, root=project).made_before
    assert load_file(latest)["beta"] == 6

    runs.run("tiny", parameters={"flag": True, "beta": 4}, root=project)
    assert load_file(latest)["beta"] == 4
    assert not [path for path in (latest.parent / "all").iterdir() if path.name.startswith(".")]


def test_an_unwritable_folder(project):
    (project / "results").write_text("a file where a folder should be")
    with pytest.raises(runs.RunError, match=r"results.* cannot be written"):
        runs.run("tiny", root=project)


def test_half_a_file_is_never_seen(tmp_path, monkeypatch):
    path = tmp_path / "file"
    runs.write_atomically(path, "before")

    def half(self, text):
        with self.open("w") as file:
            file.write(text[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        runs.write_atomically(path, "after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_result_does_not_count_as_made(project, monkeypatch):
    monkeypatch.setattr(runs, "_execute", fake_execute)
    outcome = runs.run("tiny", root=project)
    (kept,) = (outcome.result.parent / "all").glob("*.json")
    kept.write_text('{"claims": [1')
    assert not runs.run("tiny", root=project).made_before


def test_an_experiment_may_claim_nothing(tmp_path):
    body = BODY.replace('claims=[{"id": "C1", "holds": True}]', "claims=[]")
    assert body != BODY
    project = project_with_a_notebook(tmp_path / "project", PARAMETERS, body, "tiny: {}\n")
    outcome = runs.run("tiny", root=project)
    assert json.loads(outcome.result.read_text())["claims"] == []
    assert runs.run("tiny", root=project).made_before


def test_outside_a_clone(tmp_path):
    with pytest.raises(runs.RunError, match="not in a clone"):
        runs.project_root(tmp_path)


def test_errors_in_outputs_are_found():
    cell = nbformat.v4.new_code_cell("1/0")
    cell.outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="by zero", traceback=[])]
    with pytest.raises(runs.RunError, match="shows ZeroDivisionError in cell 0: by zero"):
        runs._refuse_errors(nbformat.v4.new_notebook(cells=[cell]), "tiny")


def test_a_notebook_opened_by_hand_has_a_folder_of_its_own(project):
    code = "from companion.runs import Run; run = Run('tiny'); print(run.profile, run.checkpoints, run.fresh)"
    environment = {name: value for name, value in os.environ.items() if name != "VAEMI_RUN"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project / "notebooks", env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["interactive", str(project / "results" / "interactive" / "checkpoints"), "False"]


def test_provenance_is_a_quotation_that_names_the_stand_in():
    result = {
        "profile": "quick",
        "data": {"source": "ten digits", "stand_in": True, "n": 10, "checksum": "abcdef0123456789"},
        "manifest": {
            "parameters": {"beta": 4},
            "seed": 3,
            "versions": {"torch": "2"},
            "git_commit": "abc",
            "device": "a laptop",
            "date": "2026-01-02T03:04:05+00:00",
            "duration_seconds": 12.3,
            "training_seconds": 4.5,
        },
    }
    words = runs.provenance_in_words(result)
    assert all(line.startswith(">") for line in words.splitlines())
    for part in ("stand-in", "ten digits", "quick", "beta = 4", "seed 3", "a laptop", "2026-01-02", "commit abc"):
        assert part in words
