"""The figures of the staged pages as pictures on white, with a licence line below them: for slides and for export.

They come from the SVG of executed notebooks and pages, so that every existing run can be shown. The mid-grey text,
which is legible on light and dark pages, becomes nearly black.
"""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
import nbformat
import resvg_py
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from companion import figures

PIXELS = 1920
# Data whose licence forbids redistributing pictures made from them, by notebook.
NOT_TO_BE_PASSED_ON = {"celeba": "CelebA", "deap": "DEAP"}
_PAPER = "companion of doi.org/10.48550/arXiv.1809.01804"
_DARK = "#25292d"
_MARGIN, _FONT_SIZE = 10.0, 7.0
# Mean width of a letter of the licence line, in its font size, in DejaVu Sans, the widest of the fonts.
_LETTER = 0.54
_FIGURE = re.compile(r"^```\{figure\} (\S+\.svg)\n(.*?)^```$", re.M | re.S)
_OPTION = re.compile(r"^:(\w+): *(.*)$", re.M)
_ROLE = re.compile(r"\{[\w:-]+\}`(?:([^`<]*?)\s*<[^`>]*>|([^`]*))`")


class Picture(NamedTuple):
    """A figure of a page: file name without suffix, page, SVG, and caption and alt text in Markdown."""

    name: str
    page: str
    svg: str
    caption: str
    alt: str


def pictures_of(source: Path, pages: Sequence[str], numbers: Mapping[str, Any]) -> Iterator[Picture]:
    """Yield the figures of staged pages.

    Parameters
    ----------
    source : Path
        The folder that Jupyter Book reads.
    pages : sequence of str
        Pages in it, in order, without suffixes.
    numbers : mapping
        What captions on pages without a notebook may name.
    """
    for page in pages:
        path = source / f"{page}.md"
        yield from _of_page(path, numbers) if path.exists() else _of_notebook(path.with_suffix(".ipynb"))


def figures_of(notebook: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the metadata and the SVG of each figure of an executed notebook."""
    for cell in notebook.cells:
        about = cell.metadata.get("mystnb", {})
        if "figure" in about:
            for output in cell.get("outputs", []):
                if svg := output.get("data", {}).get("image/svg+xml"):
                    yield about, svg


def _of_notebook(path: Path) -> Iterator[Picture]:
    for about, svg in figures_of(nbformat.read(path, as_version=4)):
        name = _file_name(path.stem, about["figure"]["name"])
        yield Picture(name, path.stem, svg, about["figure"]["caption"], about["image"]["alt"])


def _of_page(path: Path, numbers: Mapping[str, Any]) -> Iterator[Picture]:
    for file, body in _FIGURE.findall(path.read_text(encoding="utf-8")):
        options = dict(_OPTION.findall(body))
        caption = jinja2.Template(_OPTION.sub("", body).strip()).render(numbers)
        svg = (path.parent / file).read_text(encoding="utf-8")
        yield Picture(_file_name(path.stem, options["name"]), path.stem, svg, caption, options["alt"])


def _file_name(page: str, figure: str) -> str:
    """Return page and figure without repeating the page: mnist-spectrum for fig-mnist-spectrum."""
    name = figure.removeprefix("fig-")
    return name if name.startswith(page) else f"{page}-{name}"


def licence(picture: Picture, results: Path, address: str) -> str:
    """Return the line below a picture: name, licence, and the public address of the book or else of the paper."""
    terms = "vaemi, MIT licence"
    if picture.page in NOT_TO_BE_PASSED_ON:
        data = json.loads((results / f"{picture.page}.json").read_text(encoding="utf-8"))["data"]
        if not data["stand_in"]:
            terms = f"vaemi - made from {NOT_TO_BE_PASSED_ON[picture.page]}; not to be redistributed"
    return f"{picture.name} - {terms} - {address or _PAPER}"


def for_slides(picture: Picture, line: str) -> str:
    """Return a picture as matplotlib writes it on white, with dark text, a margin, and the line below it."""
    before, opening, drawing = re.split(r"(<svg\b[^>]*>)", picture.svg, maxsplit=1)
    (size,) = re.findall(r'viewBox="([^"]+)"', opening)
    left, top, width, height = map(float, size.split())
    lines = textwrap.wrap(line, max(20, int(width / (_LETTER * _FONT_SIZE))))
    left, top, bottom = left - _MARGIN, top - _MARGIN, top + height + _MARGIN
    width, height = width + 2 * _MARGIN, height + 2 * _MARGIN + (len(lines) + 0.5) * 1.3 * _FONT_SIZE
    box = f"{left:g} {top:g} {width:g} {height:g}"
    opening = re.sub(r'\s(?:width|height|viewBox)="[^"]*"', "", opening)
    opening = f'{opening[:-1]} width="{width:g}pt" height="{height:g}pt" viewBox="{box}" role="img">'
    rows = "".join(
        f'<text x="{left + _MARGIN:g}" y="{bottom + (row + 0.5) * 1.3 * _FONT_SIZE:g}" font-size="{_FONT_SIZE:g}" '
        f'font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="{_DARK}">{html.escape(text)}</text>'
        for row, text in enumerate(lines)
    )
    about = f"<title>{html.escape(line)}</title><desc>{html.escape(picture.alt)}</desc>"
    ground = f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    drawing = drawing.rstrip().removesuffix("</svg>").replace(figures.GREY, _DARK)
    return f"{before}{opening}{about}{ground}{drawing}{rows}</svg>\n"


def to_png(svg: str, width: int = PIXELS) -> bytes:
    """Render an SVG as PNG of a width in pixels, with the font that matplotlib brings."""
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return bytes(
        resvg_py.svg_to_bytes(
            # Without a dpi, this version ignores sizes in points.
            svg_string=svg,
            width=width,
            dpi=96,
            background="#ffffff",
            skip_system_fonts=True,
            font_files=[str(font)],
        )
    )


def without_roles(text: str) -> str:
    """Return Markdown with the words of its roles in place of the roles."""
    return _ROLE.sub(lambda role: role[1] or role[2], text)


def caption_to_html(caption: str) -> str:
    """Render a line of Markdown with roles and formulas as HTML; MathJax sets the formulas."""
    markdown = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=lambda tex, _: rf"\({html.escape(tex)}\)")
    return str(markdown.renderInline(without_roles(caption)))
