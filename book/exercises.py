"""The exercises: run the code of their solutions, keep the numbers, remove the solutions from the student edition.

    python book/exercises.py

runs every solution and writes book/exercises/answers.json, the numbers that the solutions' text shows, and
companion/answers.json, with which `companion.selfcheck` compares a student's number.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from companion import selfcheck
from companion.errors import CompanionError
from vaemi._files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "book" / "exercises"
NUMBERS = FOLDER / "answers.json"
CHECKS = FOLDER / "checks.yaml"
SEALED = ROOT / "companion" / "answers.json"
PAGES = ("idea", "theory", "mnist", "faces", "eeg", "estimator", "sparsity", "objectives", "own")
# Pages of the book that end in a link to exercises.
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
    False: "Click a solution to open it. Try first: a solution looks easier once you have read it.",
    True: "This edition comes without the solutions.",
}

_DIRECTIVE = re.compile(r"^::::\{(exercise|solution)\} *(.*)\n((?:(?!^::::).*\n)*)^::::$\n?", re.MULTILINE)
_OPTION = re.compile(r"^:(\w+): *(.*)$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GRADE = re.compile(r"^\*(Easy|Medium|Hard) · (pencil|code|run) · (\d+) min(, [^*]+)?\*$", re.MULTILINE)
# Any other form of a solution that Sphinx accepts; it must not reach a student.
_SOLUTION_LEFT = re.compile(r"\{solution(-start|-end)?\}|\bsol-\w+-\d")


@dataclass(frozen=True)
class Exercise:
    """An exercise and its solution.

    Attributes
    ----------
    name : str
        Page and number, such as ``idea-1``; the labels are ``ex-idea-1`` and ``sol-idea-1``.
    title : str
    level : str
        Easy, Medium or Hard.
    kind : str
        pencil, code or run.
    minutes : int
        Time to solve it.
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
        """The code of the text and of the solution, as one program."""
        return "\n".join(_PYTHON.findall(self.text) + _PYTHON.findall(self.solution))

    @property
    def shown(self) -> list[str]:
        """The names of the numbers that the text of the solution shows."""
        key = self.name.replace("-", "_")
        return sorted(set(re.findall(rf"exercises\.{key}\.(\w+)", self.solution)))


def read(page: str) -> list[Exercise]:
    """Return the exercises of a page, in order.

    Raises
    ------
    CompanionError
        If an exercise has no grade, is not numbered in order, or is not followed by its solution.
    """
    directives = _DIRECTIVE.findall((FOLDER / f"{page}.md").read_text())
    exercises = []
    for number in range(1, (len(directives) + 1) // 2 + 1):
        name = f"{page}-{number}"
        pair = directives[2 * number - 2 : 2 * number]
        found = [(kind, dict(_OPTION.findall(body)).get("label")) for kind, _, body in pair]
        if found != [("exercise", f"ex-{name}"), ("solution", f"sol-{name}")] or pair[1][1] != f"ex-{name}":
            raise CompanionError(
                f"{page}.md: number {number} must be an exercise ex-{name}, followed by its solution sol-{name}."
            )
        (_, title, text), (_, _, solution) = pair
        grade = _GRADE.search(text)
        if grade is None:
            raise CompanionError(f"{page}.md: ex-{name} has no grade such as *Easy · pencil · 10 min*.")
        exercises.append(Exercise(name, title, grade[1], grade[2], int(grade[3]), text, solution))
    return exercises


def solve(exercise: Exercise) -> dict[str, Any]:
    """Run the code of a solution and return its variables."""
    names: dict[str, Any] = {"__name__": f"solution of {exercise.name}"}
    exec(compile(exercise.code, f"<solution of {exercise.name}>", "exec"), names)
    return names


def numbers(exercise: Exercise, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that the text of a solution shows, to six digits."""
    missing = [name for name in exercise.shown if not isinstance(names.get(name), int | float | str)]
    if missing:
        raise CompanionError(f"{exercise.name}: its text shows {missing[0]}, which its code does not compute.")
    found = {name: names[name] for name in exercise.shown}
    return {name: float(f"{n:.6g}") if isinstance(n, float) else n for name, n in found.items()}


def checks() -> dict[str, dict[str, Any]]:
    """Return the entry in checks.yaml of every exercise that asks for a number."""
    return yaml.safe_load(CHECKS.read_text())


def evaluated(expression: str, names: Mapping[str, Any]) -> float:
    """Evaluate an expression of checks.yaml with the variables of a solution and the functions of `math`."""
    return float(eval(str(expression), {**vars(math), **names}))


def mistakes(about: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that the common mistakes of an exercise lead to."""
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
        raise CompanionError(f"{exercise.name}: {error}") from None


def stage(source: Path, student: bool) -> dict[str, Any]:
    """Finish the staged exercises: self-checks below them, links from the chapters, solutions in or out.

    Parameters
    ----------
    source : Path
        The folder that Jupyter Book reads.
    student : bool
        Remove the solutions from the sources, so that neither pages nor their sources nor the search index hold them.

    Returns
    -------
    dict
        What the pages may name: `edition`, `minutes` of a page, and the numbers of every solution.

    Raises
    ------
    CompanionError
        If the student edition would hold part of a solution: one in another form, or a reference to one.
    """
    about = checks()
    for extra in ("answers.json", "checks.yaml", "ruff.toml"):
        (source / "book" / "exercises" / extra).unlink(missing_ok=True)
    for page in PAGES:
        path = source / "book" / "exercises" / f"{page}.md"
        path.write_text(_DIRECTIVE.sub(lambda found: _with_check(found, about), path.read_text()))
    for chapter, page in CHAPTERS.items():
        _append(source / chapter, f"To practise: {{doc}}`exercises on this chapter </book/exercises/{page}>`.")
    if student:
        for path in source.rglob("*.md"):
            text = _DIRECTIVE.sub(lambda found: "" if found[1] == "solution" else found[0], path.read_text())
            if left := _SOLUTION_LEFT.search(text):
                raise CompanionError(
                    f"{path.relative_to(source)}: {left[0]} would stay in the student edition: write solutions as "
                    "::::{solution} ... ::::."
                )
            path.write_text(text)
    minutes = {page: _in_words(sum(exercise.minutes for exercise in read(page))) for page in PAGES}
    shown = {} if student else json.loads(NUMBERS.read_text())
    return {"edition": EDITIONS[student], "minutes": minutes} | shown


def _with_check(directive: re.Match[str], about: Mapping[str, Any]) -> str:
    """Return an exercise with its name beside its grade and, if it asks for a number, the code that checks one."""
    kind, title, body = directive.groups()
    if kind != "exercise":
        return directive[0]
    name = dict(_OPTION.findall(body)).get("label", "").removeprefix("ex-")
    lines = [_GRADE.sub(lambda grade: f"{grade[0]} · `{name}`", body.rstrip("\n"))]
    if name in about:
        lines += [
            "",
            "```python",
            "from companion.selfcheck import check",
            "",
            f"# {about[name]['unit']}; correct to {about[name]['tolerance']:g}",
            f'check("{name}", your_number)',
            "```",
        ]
    return "\n".join([f"::::{{exercise}} {title}", *lines, "::::", ""])


def _append(chapter: Path, line: str) -> None:
    """Append a line to a staged chapter, if it is there."""
    if not chapter.exists():
        return
    if chapter.suffix == ".ipynb":
        notebook = nbformat.read(chapter, as_version=4)
        notebook.cells.append(nbformat.v4.new_markdown_cell(line, id="exercises"))
        nbformat.write(notebook, chapter)
    else:
        chapter.write_text(chapter.read_text().rstrip("\n") + f"\n\n{line}\n")


def _in_words(minutes: int) -> str:
    """Return a time to the quarter of an hour."""
    quarters = round(minutes / 15)
    return f"{15 * quarters} minutes" if quarters <= 4 else f"{quarters / 4:g} hours"


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
    except CompanionError as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 1
    for path, content in ((NUMBERS, shown), (SEALED, kept)):
        with atomic_write(path) as scratch:
            scratch.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{len(shown)} solutions run, {len(kept)} answers written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
