"""The exercises: their code finds what they say, the self-check knows the answers, students get no solution."""

import json
import math
import re
import shutil
import subprocess
import tomllib
import zipfile
from functools import cache

import build
import exercises as book
import handout
import nbformat
import numpy as np
import pytest
import torch
import yaml
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from packaging.requirements import Requirement

from companion import selfcheck
from companion.errors import CompanionError

EXERCISES = {exercise.name: exercise for page in book.PAGES for exercise in book.read(page)}
CHECKS = book.checks()
ANSWERS = json.loads((ROOT / "companion" / "answers.json").read_text(encoding="utf-8"))
# Solutions that train models for more than five seconds.
LONG = {"theory-4", "mnist-4", "sparsity-4", "own-4"}


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in names]


@cache
def solved(name):
    """The variables of a solution's code; each runs once."""
    with torch.random.fork_rng():
        return book.solve(EXERCISES[name])


def test_there_are_exercises_of_every_kind_on_every_page():
    assert {exercise.level for exercise in EXERCISES.values()} == {"Easy", "Medium", "Hard"}
    assert {exercise.kind for exercise in EXERCISES.values()} == {"pencil", "code", "run"}
    assert all(len(book.read(page)) >= 3 for page in book.PAGES)
    assert selfcheck.exercises() == [name for name in EXERCISES if name in CHECKS]
    on_pages = [page.removeprefix("book/exercises/") for page in build.pages(ROOT) if "exercises/" in page]
    assert on_pages == list(book.PAGES)
    assert [chapter for chapter in book.CHAPTERS if not (ROOT / chapter).exists()] == []


@pytest.mark.parametrize("name", marked(EXERCISES))
def test_the_code_of_a_solution_computes_what_its_text_shows(name):
    shown = json.loads(book.NUMBERS.read_text())[name.replace("-", "_")]
    found = book.numbers(EXERCISES[name], solved(name))
    assert found.keys() == shown.keys()
    for key, number in found.items():
        if key == "answer" and name in CHECKS:
            assert number == pytest.approx(shown[key], abs=CHECKS[name]["tolerance"])
        else:  # Trainings differ a little from machine to machine.
            assert number == (pytest.approx(shown[key], rel=0.1, abs=0.05) if isinstance(number, float) else shown[key])


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        pytest.param(name, variable, marks=pytest.mark.slow if name in LONG else ())
        for name, about in CHECKS.items()
        for variable in about.get("truths", ())
    ],
)
def test_the_code_of_a_solution_finds_the_closed_form(name, variable):
    truth = book.evaluated(CHECKS[name]["truths"][variable], {})
    allowed = CHECKS[name]["tolerance"] if variable == "answer" else 0.02 * abs(truth)
    assert solved(name)[variable] == pytest.approx(truth, abs=allowed)


@pytest.mark.slow
def test_the_orders_of_factors_differ_as_the_exercise_says():
    names = solved("mnist-4")
    assert names["most"] > 30 > 5 > names["least"]


@pytest.mark.parametrize("name", marked(CHECKS))
def test_the_self_check_knows_the_answer_and_the_common_mistakes(name):
    answer, about, entry = float(solved(name)["answer"]), CHECKS[name], ANSWERS[name]
    assert (entry["asked"], entry["tolerance"]) == (book.asked(about), about["tolerance"])
    # The answer kept may be of another machine, a little beside this one.
    off = about["tolerance"] * (0.4 if EXERCISES[name].kind == "code" else 0.9)
    for number in (answer, answer + off, answer - off):
        assert selfcheck.check(name, number), "run book/exercises.py"
    for number in (answer + 2.5 * about["tolerance"], answer - 2.5 * about["tolerance"]):
        assert not selfcheck.check(name, number)
    for mistake, number in book.mistakes(about, solved(name)).items():
        verdict = selfcheck.check(f"ex-{name}", number)
        sentence = selfcheck.MISTAKES[mistake][1] if mistake in selfcheck.MISTAKES else mistake
        assert not verdict
        assert str(verdict) == f"Not yet. {sentence}\nAsked for: {book.asked(about)}."


def test_a_count_has_to_be_exact():
    assert selfcheck.check("estimator-1", 2981)
    for number in (2980, 2982, 2980.9578):
        assert not selfcheck.check("estimator-1", number)
    for name, about in CHECKS.items():
        if about.get("whole"):
            assert float(solved(name)["answer"]).is_integer(), name


def test_what_is_asked_for_and_every_hint_is_a_sentence():
    for name, entry in ANSWERS.items():
        assert re.search(r"[^.?] \((a whole number|within [\d.e-]+)\)$", entry["asked"]), name
        for reply in entry["replies"]:
            assert re.fullmatch(r"[A-Z].*[.?]", reply), (name, reply)
            assert not re.search(r"[.?][.?]", reply), (name, reply)


def test_no_answer_is_in_the_file_of_the_self_check():
    text = (ROOT / "companion" / "answers.json").read_text(encoding="utf-8")
    assert set(json.loads(text)["idea-1"]) == {"asked", "tolerance", "replies", "cells"}
    for name in CHECKS:
        answer = float(solved(name)["answer"]) if name not in LONG else None
        if answer is not None and not answer.is_integer():
            assert f"{answer:.3f}".rstrip("0") not in json.dumps(ANSWERS[name]), name


@pytest.fixture
def two():
    """An exercise whose answer is 2.0 to 0.01."""
    return selfcheck.entry_of("two", 2.0, 0.01, "apples", {"sign": -2.0, "That is five.": 5.0})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.9901, "Right."),
        (2.0099, "Right."),
        (2.0201, selfcheck.CLOSE),
        (1.951, selfcheck.CLOSE),
        (2.5, "Not yet."),
        (0.0, "Not yet."),
        (-2.0, "Not yet. The absolute value is right, but the sign is wrong."),
        (5.005, "Not yet. That is five."),
    ],
)
def test_what_is_said_of_a_number(two, value, says):
    assert selfcheck.reply_to("two", two, value) == says


def test_a_verdict_is_true_or_says_what_is_asked_for():
    right, wrong, blank = (selfcheck.check("idea-1", value) for value in (0.6931, 3, ...))
    assert (bool(right), repr(right)) == (True, "Right.")
    asked = "\nAsked for: the information of the factor for s = 1/2, in nats (within 0.002)."
    assert (bool(wrong), repr(wrong)) == (False, f"Not yet.{asked}")
    assert (bool(blank), repr(blank)) == (False, f"No answer yet.{asked}")


def test_the_digest_is_fnv_1a():
    # The test vectors of its authors, for which the text is put together again.
    assert selfcheck._digest("a", "b", 1) == _fnv(b"a b 1")
    assert (_fnv(b""), _fnv(b"a"), _fnv(b"foobar")) == ("811c9dc5", "e40c292c", "bf9cf968")


def _fnv(text):
    value = 0x811C9DC5
    for byte in text:
        value = ((value ^ byte) * 0x01000193) % 2**32
    return f"{value:08x}"


def test_mistakes_that_would_pass_are_refused():
    with pytest.raises(ValueError, match=r"2\.02 gets two replies: 'Not yet\. Off by little\.' and 'Right\.'"):
        selfcheck.entry_of("two", 2.0, 0.01, "apples", {"Off by little.": 2.02})
    with pytest.raises(ValueError, match=r"and 'Not yet\. The absolute value is right"):
        selfcheck.entry_of("two", 2.0, 0.01, "apples", {"sign": -2.0, "Other.": -2.01})


@pytest.mark.parametrize("value", [np.float32(math.log(2)), np.array([math.log(2)]), torch.tensor([math.log(2)])])
def test_numbers_come_in_many_types(value):
    assert selfcheck.check("idea-1", value)


@pytest.mark.parametrize(
    ("exercise", "value", "kind", "says"),
    [
        ("mnist-5", 1.0, ValueError, "No exercise 'mnist-5' asks for a number"),
        ("idea-1", "log 2", ValueError, "log 2"),
        ("idea-1", 1j, TypeError, "complex"),
        ("idea-1", torch.zeros(3), RuntimeError, "3 elements"),
        ("idea-1", math.nan, ValueError, "got no finite number"),
    ],
)
def test_what_cannot_be_checked_is_said_in_a_sentence(exercise, value, kind, says):
    with pytest.raises(kind, match=says) as error:
        selfcheck.check(exercise, value)
    assert "\n" not in str(error.value)


@pytest.fixture
def staged(tmp_path):
    """What build.py has staged by the time the exercises are."""
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        "```{solution} ex-idea-1\nIt is 5.\n```\n",
        ":::{solution-start} ex-idea-1\n:::\nIt is 5.\n:::{solution-end}\n:::\n",
        "As {ref}`sol-idea-1` says, it is 5.\n",
    ],
)
def test_a_solution_that_would_slip_through_fails_the_student_edition(staged, page):
    (staged / "book" / "notation.md").write_text(page)
    with pytest.raises(CompanionError, match=r"notation\.md.*would stay in the student edition"):
        book.stage(staged, student=True)


@pytest.mark.parametrize(
    ("damage", "number"),
    [
        (("*Easy · pencil · 10 min*", "*Easy*"), 1),
        ((":label: ex-idea-2\n", ":label: ex-idea-9\n"), 2),
        (("::::{solution} ex-idea-5", "::::{note} ex-idea-5"), 5),
    ],
)
def test_a_page_out_of_order_is_refused(monkeypatch, tmp_path, damage, number):
    (tmp_path / "idea.md").write_text((book.FOLDER / "idea.md").read_text().replace(*damage))
    monkeypatch.setattr(book, "FOLDER", tmp_path)
    with pytest.raises(CompanionError, match=f"number {number} must be an exercise labelled ex-idea-{number}, with a"):
        book.read("idea")


@pytest.mark.parametrize("given", [[], ["STUDENT=1"], ["STUDENT=0"]])
def test_the_switch_of_make(given):
    done = subprocess.run(["make", "--dry-run", "book", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("--student" in done.stdout) == (given == ["STUDENT=1"])


# --- notebooks to hand out --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    """Every page of exercises as a notebook, by its page."""
    folder = tmp_path_factory.mktemp("notebooks")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    minutes = dict.fromkeys(book.PAGES, "1 hour")
    numbers = {"exercises": {"minutes": minutes, "edition": "x"}, "mnist": {"parameters": {"beta": 6}}}
    handout.write_notebooks(folder, numbers, config)
    return {page: nbformat.read(folder / f"exercises-{page}.ipynb", as_version=4) for page in book.PAGES}


@pytest.mark.parametrize("page", book.PAGES)
def test_a_notebook_has_the_exercises_and_no_solution(notebooks, page):
    nbformat.validate(notebooks[page])
    text = [cell.source for cell in notebooks[page].cells if cell.cell_type == "markdown"]
    code = [cell.source for cell in notebooks[page].cells if cell.cell_type == "code"]
    given_anywhere = "".join(exercise.text for exercise in book.read(page))
    for exercise in book.read(page):
        assert sum(f"`{exercise.name}` · *{exercise.level}" in words for words in text) == 1
        given = [part.strip() for part in book._PYTHON.findall(exercise.text)]
        assert [part for part in given if part not in code] == []
        assert sum(f"check('{exercise.name}', answer)" in cell for cell in code) == (exercise.name in CHECKS)
        lines = {line for line in exercise.solution.splitlines() if len(line) > 30 and line not in given_anywhere}
        assert [line for line in lines if line in "\n".join(text + code)] == []
    assert not re.search(r"\{\w+\}`|\{\{|:::|\\KL|\\E\b", "\n".join(text))


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow) for page in book.PAGES])
def test_a_notebook_runs_before_anything_is_solved(notebooks, page):
    names = {}
    for cell in notebooks[page].cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    with torch.random.fork_rng():
        for exercise in book.read(page):
            if exercise.name in CHECKS and exercise.name not in LONG:
                solution = "\n".join(book._PYTHON.findall(exercise.text) + book._PYTHON.findall(exercise.solution))
                exec(solution, names)
                assert eval(f"check('{exercise.name}', answer)", names)


def test_the_student_edition_is_a_folder_of_its_own_and_a_zip(notebooks, tmp_path):
    downloads, site = tmp_path / "downloads", tmp_path / "made"
    for folder in (downloads, site, tmp_path / "student"):
        folder.mkdir()
    (downloads / "mnist.ipynb").write_text("{}")
    nbformat.write(notebooks["idea"], downloads / "exercises-idea.ipynb")
    (site / "index.html").write_text("the site")
    (tmp_path / "student" / "of-yesterday").write_text("")
    handout.write_student_edition(site, downloads, tmp_path / "student")
    names = zipfile.ZipFile(tmp_path / "student.zip").namelist()
    assert {"student/html/index.html", "student/exercises/idea.ipynb", "student/README.md"} < set(names)
    assert {"student/companion/selfcheck.py", "student/vaemi/__init__.py", "student/pyproject.toml"} < set(names)
    assert not [name for name in names if "book/" in name or "mnist.ipynb" in name or "yesterday" in name]
    # What its README installs is there.
    extras = tomllib.loads((tmp_path / "student" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "[student]" in (tmp_path / "student" / "README.md").read_text()
    heavy = {"diffusers", "scvi-tools", "pythae", "jupyter-book", "torchvision", "mne"}
    assert not heavy & {Requirement(text).name for text in extras["student"]}


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """All forms on one page, from a file, without network."""
    folder = tmp_path_factory.mktemp("forms")
    for page in book.PAGES:
        (folder / "book" / "exercises").mkdir(parents=True, exist_ok=True)
        shutil.copy(book.FOLDER / f"{page}.md", folder / "book" / "exercises")
    book.stage(folder, student=True)
    text = "".join((folder / "book" / "exercises" / f"{page}.md").read_text() for page in book.PAGES)
    forms = "".join(re.findall(r"<form.*?</form>", text, re.DOTALL))
    scripts = book._SCRIPTS.split("html\n")[1].removesuffix("```\n").replace("../../", "extra/")
    path = folder / "page.html"
    body = f"<main><h1>x</h1>{forms}</main>{scripts}"
    path.write_text(f"<!doctype html><html lang=en><meta charset=utf-8><title>x</title>{body}</html>")
    page = browser.new_context(offline=True).new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(path.as_uri())
    yield page
    assert page.complaints == []


def answered(page, name, typed):
    """The reply on the page."""
    form = page.locator(f"form[data-exercise={name}]")
    form.locator("input").fill(str(typed))
    form.locator("button").click()
    page.evaluate("new Promise(done => setTimeout(done, 20))")
    return form.locator("output").inner_text()


def test_the_page_replies_as_python_does(opened):
    assert opened.locator("form").count() == len(CHECKS)
    for name, about in CHECKS.items():
        if name not in LONG:
            answer = float(solved(name)["answer"])
            mistakes = list(book.mistakes(about, solved(name)).values())
            for number in (answer, answer + 3 * about["tolerance"], -answer - 1e5, *mistakes):
                expected = str(selfcheck.check(name, number)).partition("\n")[0]
                assert answered(opened, name, number) == expected, (name, number)
            assert answered(opened, name, answer) == "Right."


@pytest.mark.parametrize(
    ("typed", "reply"),
    [
        ("0.693", "Right."),
        (" +.693 ", "Right."),
        ("6.93e-1", "Right."),
        ("\u22120.693", "Not yet. The absolute value is right, but the sign is wrong."),
        ("0,693", "Enter one number with a decimal point, such as 0.35, without a unit."),
        ("", "Enter one number with a decimal point, such as 0.35, without a unit."),
        ("0.693 nats", "Enter one number with a decimal point, such as 0.35, without a unit."),
        ("1/2", "Enter one number with a decimal point, such as 0.35, without a unit."),
    ],
)
def test_what_can_be_typed(opened, typed, reply):
    assert answered(opened, "idea-1", typed) == reply


def test_a_form_works_by_keyboard_and_has_names(opened):
    form = opened.locator("form[data-exercise=idea-1]")
    form.locator("input").focus()
    opened.keyboard.press("Control+A")
    opened.keyboard.type("1.0")
    opened.keyboard.press("Enter")
    opened.evaluate("new Promise(done => setTimeout(done, 20))")
    assert "in bits" in form.locator("output").inner_text()
    tree = form.aria_snapshot()
    assert 'textbox "Your answer: the information of the factor for s = 1/2, in nats (within 0.002)"' in tree
    assert 'button "Check"' in tree
    assert "status: Not yet. That is the number in bits" in tree
    assert Axe().run(opened).response["violations"] == []
