"""The exercises: run the code of their solutions, keep the numbers, and leave the solutions out of the student edition.

    python book/exercises.py

runs every solution and writes book/exercises/answers.json, the numbers that the solutions' text shows, and
companion/answers.json, with which `companion.selfcheck` compares a student's number.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from companion import selfcheck

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "book" / "exercises"
NUMBERS = FOLDER / "answers.json"
CHECKS = FOLDER / "checks.yaml"
SEALED = ROOT / "companion" / "answers.json"
PAGES = ("idea", "theory", "mnist", "faces", "eeg", "estimator", "sparsity", "objectives", "own")
# Pages of the book that end in a link to exercises; those that are not there get none.
CHAPTERS = {
    "book/idea.md": "idea",
    "book/theory.md": "theory",
    "notebooks/theory.ipynb": "theory",
    "notebooks/estimators.ipynb": "estimator",
    "book/estimator.md": "estimator",
    "notebooks/sparsity.ipynb": "sparsity",
    "notebooks/objectives.ipynb": "objectives",
    "notebooks/mnist.ipynb": "mnist",
    "notebooks/celeba.ipynb": "faces",
    "notebooks/deap.ipynb": "eeg",
    "book/own_vae.md": "own",
    "notebooks/your_vae.ipynb": "own",
    "book/scale.md": "own",
}
EDITIONS = {
    False: "A click opens a solution. Try first; a solution that one has only read looks easier than it was.",
    True: "This edition comes without the solutions.",
}

_DIRECTIVE = re.compile(r"^::::\{(exercise|solution)\} *(.*)\n((?:(?!^::::).*\n)*)^::::$\n?", re.MULTILINE)
_OPTION = re.compile(r"^:(\w+): *(.*)$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GRADE = re.compile(r"^\*(Easy|Medium|Hard) · (pencil|code|run) · (\d+) min(, [^*]+)?\*$", re.MULTILINE)
# In any form that Sphinx would take; what is left of it after stripping must not reach a student.
_SOLUTION_LEFT = re.compile(r"\{solution(-start|-end)?\}|\bsol-\w+-\d")


class ExerciseError(Exception):
    """An exercise that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a page.

    Attributes
    ----------
    name : str
        Page and number, such as ``idea-1``; labels are ``ex-idea-1`` and ``sol-idea-1``.
    title, level, kind : str
        Level is Easy, Medium or Hard, kind pencil, code or run.
    minutes : int
        What solving it takes.
    text, solution : str
        Markdown.
    """

    name: str
    title: str
    level: str
    kind: str
    minutes: int
    text: str
    solution: str

    @property
    def code(self) -> str:
        """What a student is given to begin with and what the solution adds, as one program."""
        return "\n".join(_PYTHON.findall(self.text) + _PYTHON.findall(self.solution))

    @property
    def shown(self) -> list[str]:
        """Names of the numbers that the text of the solution shows."""
        key = self.name.replace("-", "_")
        return sorted(set(re.findall(rf"exercises\.{key}\.(\w+)", self.solution)))


def read(page: str) -> list[Exercise]:
    """The exercises of a page, in order.

    Raises
    ------
    ExerciseError
        If an exercise has no grade, is not numbered in order, or is not followed by its solution.
    """
    found = [(kind, title, body) for kind, title, body in _DIRECTIVE.findall((FOLDER / f"{page}.md").read_text())]
    exercises = []
    for number, (one, two) in enumerate(zip(found[::2], found[1::2], strict=False), start=1):
        name = f"{page}-{number}"
        labels = [dict(_OPTION.findall(body)).get("label") for _, _, body in (one, two)]
        if (one[0], two[0], two[1]) != ("exercise", "solution", f"ex-{name}") or labels != [
            f"ex-{name}",
            f"sol-{name}",
        ]:
            raise ExerciseError(
                f"{page}.md: number {number} must be an exercise ex-{name}, then its solution sol-{name}."
            )
        grade = _GRADE.search(one[2])
        if grade is None:
            raise ExerciseError(f"{page}.md: ex-{name} has no grade such as *Easy · pencil · 10 min*.")
        level, kind, minutes, _ = grade.groups()
        exercises.append(Exercise(name, one[1], level, kind, int(minutes), one[2], two[2]))
    if 2 * len(exercises) != len(found):
        raise ExerciseError(f"{page}.md: its last exercise has no solution.")
    return exercises


def solve(exercise: Exercise) -> dict[str, Any]:
    """All variables of the solution's code after it has run."""
    names: dict[str, Any] = {"__name__": f"solution of {exercise.name}"}
    exec(compile(exercise.code, f"<solution of {exercise.name}>", "exec"), names)
    return names


def numbers(exercise: Exercise, names: Mapping[str, Any]) -> dict[str, Any]:
    """What the text of a solution shows, to six digits: enough to read, and the same on every machine."""
    missing = [name for name in exercise.shown if not isinstance(names.get(name), int | float | str)]
    if missing:
        raise ExerciseError(f"{exercise.name}: its text shows {missing[0]}, which its code does not compute.")
    found = {name: names[name] for name in exercise.shown}
    return {name: float(f"{n:.6g}") if isinstance(n, float) else n for name, n in found.items()}


def checks() -> dict[str, dict[str, Any]]:
    """What checks.yaml says of every exercise that asks for a number."""
    return yaml.safe_load(CHECKS.read_text())


def evaluated(expression: str, names: Mapping[str, Any]) -> float:
    """An expression of checks.yaml, with the variables of a solution and the functions of `math`."""
    return float(eval(str(expression), {**vars(math), **names}))


def mistakes(about: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that the common mistakes of an exercise lead to."""
    found = {}
    for mistake in about["mistakes"]:
        if isinstance(mistake, str):
            found[mistake] = selfcheck.MISTAKES[mistake][0](float(names["answer"]))
        else:
            ((sentence, expression),) = mistake.items()
            found[sentence] = evaluated(expression, names)
    return found


def sealed(exercise: Exercise, names: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the exercise's entry in companion/answers.json, or None if it asks for no number."""
    about = checks().get(exercise.name)
    if about is None:
        return None
    try:
        return selfcheck.entry_of(float(names["answer"]), about["tolerance"], about["unit"], mistakes(about, names))
    except ValueError as error:
        raise ExerciseError(f"{exercise.name}: {error}") from None


def without_solutions(markdown: str) -> str:
    """A page without its solutions.

    Raises
    ------
    ExerciseError
        If something of a solution would be left, one in another form or a reference to one.
    """
    stripped = _DIRECTIVE.sub(lambda match: "" if match[1] == "solution" else match[0], markdown)
    if left := _SOLUTION_LEFT.search(stripped):
        raise ExerciseError(
            f"{left[0]} would stay in the student edition: write solutions as ::::{{solution}} ... ::::."
        )
    return stripped


def stage(source: Path, student: bool) -> dict[str, Any]:
    """Finish what build.py has staged: checks under the exercises, links from the chapters, solutions in or out.

    Parameters
    ----------
    source : Path
        The folder that Jupyter Book reads.
    student : bool
        Leave the solutions out, here, before anything is made of the pages: then they can be neither in a page nor in
        its source, nor in the search index.

    Returns
    -------
    dict
        What the pages may name: `edition`, `minutes` of a page, and the numbers of every solution.
    """
    about = checks()
    for extra in ("answers.json", "checks.yaml", "ruff.toml"):
        (source / "book" / "exercises" / extra).unlink(missing_ok=True)
    for page in PAGES:
        path = source / "book" / "exercises" / f"{page}.md"
        path.write_text(_DIRECTIVE.sub(lambda match: _named_and_checked(match, about), path.read_text()))
    for chapter, page in CHAPTERS.items():
        _link(source / chapter, f"To practise: {{doc}}`exercises on this chapter </book/exercises/{page}>`.")
    if student:
        for path in source.rglob("*.md"):
            try:
                path.write_text(without_solutions(path.read_text()))
            except ExerciseError as error:
                raise ExerciseError(f"{path.relative_to(source)}: {error}") from None
    minutes = {page: _in_words(sum(exercise.minutes for exercise in read(page))) for page in PAGES}
    shown = {} if student else json.loads(NUMBERS.read_text())
    return {"edition": EDITIONS[student], "minutes": minutes} | shown


def _named_and_checked(directive: re.Match[str], about: Mapping[str, Any]) -> str:
    """An exercise with its name beside its grade; if it asks for a number, it ends with how to check that."""
    kind, title, body = directive.groups()
    if kind != "exercise":
        return directive[0]
    name = dict(_OPTION.findall(body)).get("label", "").removeprefix("ex-")
    lines = [_GRADE.sub(lambda grade: f"{grade[0]} · `{name}`", body.rstrip("\n"))]
    if name in about:
        check = about[name]
        lines += [
            "",
            "```python",
            "from companion.selfcheck import check",
            "",
            f"# {check['unit']}; right to {check['tolerance']:g}",
            f'check("{name}", your_number)',
            "```",
        ]
    return "\n".join([f"::::{{exercise}} {title}", *lines, "::::", ""])


def _link(chapter: Path, line: str) -> None:
    """Put a line at the end of a staged chapter. The executed notebook is staged, so that no run gets stale by it."""
    if not chapter.exists():
        return
    if chapter.suffix == ".ipynb":
        notebook = nbformat.read(chapter, as_version=4)
        notebook.cells.append(nbformat.v4.new_markdown_cell(line, id="exercises"))
        nbformat.write(notebook, chapter)
    else:
        chapter.write_text(chapter.read_text().rstrip("\n") + f"\n\n{line}\n")


def _in_words(minutes: int) -> str:
    """A time to plan with, to the quarter of an hour."""
    quarters = round(minutes / 15)
    hours, rest = divmod(quarters, 4)
    if hours == 0:
        return f"{15 * rest} minutes"
    part = {0: "", 1: " and a quarter", 2: " and a half", 3: " and three quarters"}[rest]
    return f"{('one', 'two', 'three', 'four', 'five')[hours - 1]}{part} hour{'s' if quarters > 4 else ''}"


def main() -> int:
    """Run all solutions and write both files; returns the exit status."""
    shown, kept = {}, {}
    try:
        for page in PAGES:
            for exercise in read(page):
                names = solve(exercise)
                shown[exercise.name.replace("-", "_")] = numbers(exercise, names)
                entry = sealed(exercise, names)
                if entry is not None:
                    kept[exercise.name] = entry
    except ExerciseError as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 1
    for path, content in ((NUMBERS, shown), (SEALED, kept)):
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(content, indent=1) + "\n")
        shutil.move(scratch, path)
    print(f"{len(shown)} solutions run, {len(kept)} answers written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
