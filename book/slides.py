"""The slides of the sessions in `book/teach.md`: a page per session, made from Markdown and the figures of the book.

Slides in `book/slides/*.md` are separated by lines of three hyphens. `![](NAME)` on a line of its own is a figure, by
the name that `make figures` gives it.
"""

from __future__ import annotations

import html
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pictures import Picture, for_slides, without_roles
from templates import ROOT, render

from companion.errors import CompanionError

FOLDER = ROOT / "book" / "slides"
ASSETS = ROOT / "book" / "_slides"
_FIGURE = re.compile(r"^!\[\]\(([\w-]+)\)$", re.MULTILINE)


def place(pictures: Mapping[str, Picture], lines: Mapping[str, str], numbers: Mapping[str, Any], target: Path) -> None:
    """Write a page per session, and the figures that they show, to a folder.

    Parameters
    ----------
    pictures : mapping
        All figures of the book, by name.
    lines : mapping
        The line below each figure, with its licence.
    numbers : mapping
        What slides may name.
    target : Path
        Folder in the site, below its root.

    Raises
    ------
    CompanionError
        If a slide names a figure that the book does not have.
    """
    shutil.copytree(ASSETS, target)
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for name in _FIGURE.findall(text):
            if name not in pictures:
                raise CompanionError(f"{path.name} shows the figure {name!r}, which the book does not have.")
            svg = for_slides(pictures[name], lines[name])
            (target / f"{name}.svg").write_text(svg, encoding="utf-8")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
        # The most that an estimate from 10,000 inputs can be, in nats.
        written = environment.from_string(text).render({"ceiling": math.log(10_000), **numbers})
        slides = [to_html(slide, pictures) for slide in re.split(r"^---$", written, flags=re.MULTILINE)]
        page = render("slides.html", title=re.search(r"^# (.*)$", text, re.MULTILINE)[1], slides=slides)  # type: ignore[index]
        (target / f"{path.stem}.html").write_text(page, encoding="utf-8")


def to_html(slide: str, pictures: Mapping[str, Picture]) -> str:
    """Render the Markdown of a slide; MathJax sets the formulas."""
    plain = _FIGURE.sub(lambda found: _figure(pictures[found[1]]), without_roles(slide))
    markdown = MarkdownIt("commonmark").use(
        dollarmath_plugin,
        renderer=lambda tex, options: (
            rf"\[{html.escape(tex)}\]" if options["display_mode"] else rf"\({html.escape(tex)}\)"
        ),
    )
    return str(markdown.render(plain))


def _figure(picture: Picture) -> str:
    alt = html.escape(without_roles(picture.alt).replace("$", ""))
    return f'<img src="{picture.name}.svg" alt="{alt}">'
