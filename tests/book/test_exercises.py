"""The exercises: their code finds what they say, the self-check knows the answers, students get no solution."""

import json
import math
import shutil
import subprocess
from functools import cache

import build
import exercises as book
import numpy as np
import pytest
import torch
from conftest import ROOT

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
    assert (entry["unit"], entry["tolerance"]) == (about["unit"], about["tolerance"])
    # The answer kept may be of another machine, a little beside this one.
    off = about["tolerance"] * (0.4 if EXERCISES[name].kind == "code" else 0.9)
    for number in (answer, answer + off, answer - off):
        assert selfcheck.check(name, number), "run book/exercises.py"
    mistakes = book.mistakes(about, solved(name))
    assert [one["name"] for one in entry["mistakes"]] == list(mistakes)
    for mistake, number in mistakes.items():
        verdict = selfcheck.check(f"ex-{name}", number)
        sentence = selfcheck.MISTAKES[mistake][1] if mistake in selfcheck.MISTAKES else mistake
        assert not verdict
        assert str(verdict) == f"Not yet: {sentence}. Asked for: {CHECKS[name]['unit']}."


@pytest.fixture
def two():
    """An exercise whose answer is 2.0 to 0.01."""
    return selfcheck.entry_of(2.0, 0.01, "apples", {"sign": -2.0})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.9901, "Right."),
        (2.0099, "Right."),
        (1.92, "Not yet, but close: off by more than 0.01 and at most 0.1."),
        (2.5, "Not yet: the sign is right, and the number is off by more than 0.1. Asked for: apples."),
        (-2.5, "Not yet: off by more than 0.1, and the sign is not right either."),
        (0.0, "Not yet: off by more than 0.1, and the sign is not right either."),
        (-2.0, "Not yet: the size is right and the sign is not."),
    ],
)
def test_what_is_said_of_a_number(two, value, says):
    verdict = selfcheck.judge(two, value)
    assert bool(verdict) == (says == "Right.")
    assert repr(verdict).startswith(says)


def test_mistakes_that_would_pass_are_refused():
    with pytest.raises(ValueError, match="'off by little' gives 2"):
        selfcheck.entry_of(2.0, 0.01, "apples", {"off by little": 2.02})
    with pytest.raises(ValueError, match="takes for 'sign'"):
        selfcheck.entry_of(2.0, 0.01, "apples", {"sign": -2.0, "other": -2.01})


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


@pytest.mark.parametrize(("given", "config"), [([], "student=0"), (["STUDENT=1"], "student=1")])
def test_the_switch_of_make(given, config):
    done = subprocess.run(["make", "--dry-run", "book", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    assert config in done.stdout
