"""What a teacher hands out: the exercises of every page as a notebook, and the folder of the student edition."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import exercises
import jinja2
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pictures import without_roles
from templates import ROOT, render

# What the notebooks need beside themselves; pip reads README.md, which is another one here.
_CODE = ("vaemi", "companion", "pyproject.toml", "requirements.lock", "LICENSE")
_CHECK = "from companion.selfcheck import check"
_BLANK = "# Your solution\nanswer = ...\n\n# {asked}\ncheck({name!r}, answer)"
_CODE_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REFERENCE = re.compile(r"\{ref\}`ex-([\w-]+)`")


def write_notebooks(downloads: Path, numbers: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write the exercises of every page as a notebook, without solutions, into a folder.

    Parameters
    ----------
    downloads : Path
    numbers : mapping
        What the exercises may name.
    config : mapping
        The configuration of the book, which has the macros of its formulas.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    macros = config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    for page in exercises.PAGES:
        nbformat.write(notebook(page, numbers, macros), downloads / f"exercises-{page}.ipynb")


def notebook(page: str, numbers: Mapping[str, Any], macros: Mapping[str, str]) -> NotebookNode:
    """Return the exercises of a page as a notebook: text, given code, and a blank whose last line checks the answer."""
    about = exercises.checks()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    minutes = {"minutes": numbers["exercises"]["minutes"], "edition": ""}
    given_out = exercises.without_solutions(page)
    text = environment.from_string(given_out).render(numbers | {"exercises": minutes})
    text = without_roles(_REFERENCE.sub(r"exercise `\1`", text))
    for macro, meaning in macros.items():
        text = re.sub(rf"\\{macro}(?![a-zA-Z])", lambda _, meaning=meaning: meaning, text)
    cells: list[NotebookNode] = []
    for part in exercises.split(text):
        if isinstance(part, str):
            cells.append(new_markdown_cell(part.strip()))
            continue
        name, heading, body = part
        grade, given = f"### {heading}\n\n`{name}` · ", _CODE_BLOCK.split(body.strip())
        for index, piece in enumerate(given):
            if piece.strip():
                words = grade + piece.strip() if index == 0 else piece.strip()
                cells.append(new_code_cell(piece.strip()) if index % 2 else new_markdown_cell(words))
        if name in about:
            cells.append(new_code_cell(_BLANK.format(name=name, asked=exercises.asked(about[name]))))
        else:
            cells.append(new_markdown_cell("*Your answer:*"))
    cells.insert(1, new_code_cell(_CHECK))
    for index, cell in enumerate(cells):
        cell.id = f"{page}-{index}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=[cell for cell in cells if cell.source], metadata={"kernelspec": kernel})


def write_student_edition(site: Path, downloads: Path, target: Path) -> None:
    """Put a site, the notebooks and the code that they need into a folder, and the folder into a zip file beside it.

    Parameters
    ----------
    site : Path
        The student edition of the site, which is moved.
    downloads : Path
        Folder of the notebooks.
    target : Path
        The folder, which is replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    (target / "exercises").mkdir(parents=True)
    site.rename(target / "html")
    for path in sorted(downloads.glob("exercises-*.ipynb")):
        shutil.copy(path, target / "exercises" / path.name.removeprefix("exercises-"))
    for name in _CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    (target / "README.md").write_text(render("student_readme.md"), encoding="utf-8")
    shutil.make_archive(str(target), "zip", target.parent, target.name)
