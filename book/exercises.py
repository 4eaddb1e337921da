"""The exercises: run the code of their solutions, keep the numbers, remove the solutions from the student edition.

    python book/exercises.py

runs every solution and writes book/exercises/answers.json, the numbers that the solutions' text shows, and
companion/answers.json, with which `companion.selfcheck` and the pages compare a student's number.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from templates import ROOT, render

from companion import selfcheck
from companion.errors import CompanionError

FOLDER = ROOT / "book" / "exercises"
NUMBERS = FOLDER / "answers.json"
CHECKS = FOLDER / "checks.yaml"
SEALED = ROOT / "companion" / "answers.json"
ASSETS = ROOT / "book" / "_check"
PAGES = ("idea", "theory", "mnist", "faces", "eeg", "estimator", "sparsity", "objectives", "own", "verdicts")
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
    "book/verdicts.md": "verdicts",
    "book/criteria_guide.md": "verdicts",
    "notebooks/criteria.ipynb": "verdicts",
}
# Where the downloads of a page's exercises lie, seen from the page.
DOWNLOADS = "../../downloads"
_HOW_TO_CHECK = (
    "If an exercise asks for a number, enter yours below it, or pass it with the name of the exercise to "
    "`companion.selfcheck.check`. Neither shows the answer, but both recognize common mistakes by their numbers and "
    "name them."
)
EDITIONS = {
    False: f"{_HOW_TO_CHECK} Click a solution to open it. Try first: a solution looks easier once you have read it.",
    True: f"{_HOW_TO_CHECK} This edition comes without the solutions.",
}

_EDITION = "{{ exercises.edition }}"
_SCRIPTS = """```{raw} html
<link rel="stylesheet" href="../../_static/check/check.css">
<script defer src="../../_static/check/answers.js"></script>
<script defer src="../../_static/check/check.js"></script>
```
"""
_DIRECTIVE = re.compile(r"^::::\{(exercise|solution)\} *(.*)\n((?:(?!^::::).*\n)*)^::::$\n?", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GRADE = re.compile(r"^\*(Easy|Medium|Hard) · (pencil|code|run) · (\d+) min(, [^*]+)?\*$", re.MULTILINE)
# Any other form of a solution that Sphinx accepts; it must not reach a student.
_SOLUTION_LEFT = re.compile(r"\{solution(-start|-end)?\}|\bsol-\w+-\d")


@dataclass(frozen=True)
class Exercise:
    """An exercise and its solution, in Markdown; the name is page and number, such as idea-1."""

    name: str
    level: str  # Easy, Medium or Hard
    kind: str  # pencil, code or run
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
    directives = _DIRECTIVE.findall((FOLDER / f"{page}.md").read_text(encoding="utf-8"))
    exercises = []
    for number, (kind, _, text) in enumerate(directives[::2], 1):
        name = f"{page}-{number}"
        solution = directives[2 * number - 1 : 2 * number] or [("", "", "")]
        grade = _GRADE.search(text)
        in_order = (kind, f":label: ex-{name}\n" in text) == ("exercise", True)
        if not in_order or solution[0][:2] != ("solution", f"ex-{name}") or grade is None:
            raise CompanionError(
                f"{page}.md: number {number} must be an exercise labelled ex-{name}, with a grade such as "
                "*Easy · pencil · 10 min*, and its solution must follow."
            )
        exercises.append(Exercise(name, grade[1], grade[2], int(grade[3]), text, solution[0][2]))
    return exercises


def without_solutions(page: str) -> str:
    """Return the source of a page without its solutions."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return _DIRECTIVE.sub(lambda found: "" if found[1] == "solution" else found[0], text)


def split(text: str) -> Iterator[str | tuple[str, str, str]]:
    """Yield the parts of a page without solutions: text, or an exercise as its name, title and text."""
    end = 0
    for found in _DIRECTIVE.finditer(text):
        yield text[end : found.start()]
        end = found.end()
        label, body = found[3].split("\n", 1)
        yield label.removeprefix(":label: ex-"), found[2], body
    yield text[end:]


def solve(exercise: Exercise) -> dict[str, Any]:
    """Run the code of a solution and return its variables."""
    names: dict[str, Any] = {"__name__": f"solution of {exercise.name}"}
    exec(compile(exercise.code, f"<solution of {exercise.name}>", "exec"), names)
    return names


def numbers(exercise: Exercise, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that the text of a solution shows, to six digits."""
    found = {name: names[name] for name in exercise.shown}
    return {name: float(f"{n:.6g}") if isinstance(n, float) else n for name, n in found.items()}


def checks() -> dict[str, dict[str, Any]]:
    """Return the entry in checks.yaml of every exercise that asks for a number."""
    return yaml.safe_load(CHECKS.read_text(encoding="utf-8"))


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


def stage(source: Path, student: bool) -> dict[str, Any]:
    """Finish the staged exercises: self-checks below them, notebooks, links from the chapters, solutions in or out.

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
        text = _DIRECTIVE.sub(lambda found: _with_check(found, about), path.read_text(encoding="utf-8"))
        notebook = f"{{download}}`as a notebook <{DOWNLOADS}/exercises-{page}.ipynb>`"
        text = text.replace(_EDITION, f"{_EDITION} The exercises of this page are also there {notebook}.")
        path.write_text(f"{text.rstrip()}\n\n{_SCRIPTS}", encoding="utf-8")
    target = source / "extra" / "_static" / "check"
    shutil.copytree(ASSETS, target, dirs_exist_ok=True)
    sealed = SEALED.read_text(encoding="utf-8").rstrip()
    (target / "answers.js").write_text(f"window.vaemiAnswers = {sealed};\n", encoding="utf-8")
    for chapter, page in CHAPTERS.items():
        if (source / chapter).exists():
            _append(source / chapter, f"To practise: {{doc}}`exercises on this chapter </book/exercises/{page}>`.")
    if student:
        for path in source.rglob("*.md"):
            text = _DIRECTIVE.sub(
                lambda found: "" if found[1] == "solution" else found[0], path.read_text(encoding="utf-8")
            )
            if left := _SOLUTION_LEFT.search(text):
                raise CompanionError(f"{path.name}: {left[0]} would stay in the student edition: use ::::{{solution}}.")
            path.write_text(text, encoding="utf-8")
    # To the quarter of an hour.
    quarters = {page: round(sum(exercise.minutes for exercise in read(page)) / 15) for page in PAGES}
    minutes = {page: f"{15 * n} minutes" if n <= 4 else f"{n / 4:g} hours" for page, n in quarters.items()}
    shown = {} if student else json.loads(NUMBERS.read_text(encoding="utf-8"))
    return {"edition": EDITIONS[student], "minutes": minutes} | shown


def asked(about: Mapping[str, Any]) -> str:
    """Return which number an exercise asks for, and how exactly, from its entry in checks.yaml."""
    exactness = "a whole number" if about.get("whole") else f"within {about['tolerance']:g}"
    return f"{about['asked']} ({exactness})"


def _with_check(directive: re.Match[str], about: Mapping[str, Any]) -> str:
    """Return an exercise with its name beside its grade and, if it asks for a number, a form that checks one."""
    kind, title, body = directive.groups()
    if kind != "exercise":
        return directive[0]
    name = re.search(r"^:label: ex-(.*)$", body, re.MULTILINE)[1]  # type: ignore[index]
    body = _GRADE.sub(lambda grade: f"{grade[0]} · `{name}`", body.rstrip("\n"))
    if name in about:
        form = render("answer_check.html", name=name, asked=asked(about[name]))
        body += f"\n\n```{{raw}} html\n{form}```"
    return f"::::{{exercise}} {title}\n{body}\n::::\n"


def _append(chapter: Path, line: str) -> None:
    """Append a line to a staged chapter."""
    if chapter.suffix == ".ipynb":
        notebook = nbformat.read(chapter, as_version=4)
        notebook.cells.append(nbformat.v4.new_markdown_cell(line, id="exercises"))
        nbformat.write(notebook, chapter)
    else:
        chapter.write_text(chapter.read_text(encoding="utf-8").rstrip("\n") + f"\n\n{line}\n", encoding="utf-8")


def main() -> None:
    """Run all solutions and write both files."""
    about = checks()
    shown, kept = {}, {}
    for exercise in (exercise for page in PAGES for exercise in read(page)):
        names = solve(exercise)
        shown[exercise.name.replace("-", "_")] = numbers(exercise, names)
        if check := about.get(exercise.name):
            kept[exercise.name] = selfcheck.entry_of(
                exercise.name, float(names["answer"]), check["tolerance"], asked(check), mistakes(check, names)
            )
    for path, content in ((NUMBERS, shown), (SEALED, kept)):
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(shown)} solutions run, {len(kept)} answers written.")


if __name__ == "__main__":
    main()
