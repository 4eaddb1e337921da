"""Export every figure of the book for slides: SVG and PNG, on white, with a licence line below it.

    python book/figures_export.py --profile quick

The figures come from the SVG of executed notebooks and pages, so that every existing run can be exported. The mid-grey
text, which is legible on light and dark pages, becomes nearly black.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import build
import jinja2
import matplotlib as mpl
import nbformat
import resvg_py
import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from templates import ROOT, render

from companion import figures
from companion.errors import CompanionError

PIXELS = 1920
# Data whose licence forbids redistributing pictures made from them, by notebook.
NOT_TO_BE_PASSED_ON = {"celeba": "CelebA", "deap": "DEAP"}
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Write every figure of a profile's pages for slides.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="where figures/ goes")
    options = parser.parse_args(arguments)
    try:
        written = export(options.profile, options.results, options.build / "figures")
    except CompanionError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"figures: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"{len(written)} figures are in {options.build / 'figures'}: open index.html there.")
    return 0


def export(profile: str, results: Path, target: Path) -> list[Picture]:
    """Export the figures of a profile with a contact sheet to a folder, which appears when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source, whole = Path(scratch) / "source", Path(scratch) / "figures"
        build.stage(profile, results, source)
        config = yaml.safe_load((source / "_config.yml").read_text(encoding="utf-8"))
        pictures = list(pictures_of(source, config["sphinx"]["config"]["myst_substitutions"]))
        address = config["repository"]["url"] or "companion of doi.org/10.48550/arXiv.1809.01804"
        lines = {picture.name: licence(picture, results / profile, address) for picture in pictures}
        shutil.copytree(source / "extra" / "_static" / "mathjax", whole / "mathjax")
        for picture in pictures:
            svg = for_slides(picture, lines[picture.name])
            (whole / f"{picture.name}.svg").write_text(svg, encoding="utf-8")
            (whole / f"{picture.name}.png").write_bytes(to_png(svg))
        sheet = render(
            "figures.html", pictures=pictures, lines=lines, profile=profile, pixels=PIXELS, to_html=caption_to_html
        )
        (whole / "index.html").write_text(sheet, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
    return pictures


def pictures_of(source: Path, numbers: Mapping[str, Any]) -> Iterator[Picture]:
    """Yield the figures of all staged pages, in the order of the table of contents.

    Parameters
    ----------
    source : Path
        The folder that Jupyter Book reads.
    numbers : mapping
        What captions on pages without a notebook may name.
    """
    for page in build.pages(source):
        path = source / f"{page}.md"
        yield from _of_page(path, numbers) if path.exists() else _of_notebook(path.with_suffix(".ipynb"))


def _of_notebook(path: Path) -> Iterator[Picture]:
    for about, svg in build.figures_of(nbformat.read(path, as_version=4)):
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
    """Return the line below a picture: name, licence, address."""
    terms = "vaemi, MIT licence"
    if picture.page in NOT_TO_BE_PASSED_ON:
        data = json.loads((results / f"{picture.page}.json").read_text(encoding="utf-8"))["data"]
        if not data["stand_in"]:
            terms = f"vaemi - made from {NOT_TO_BE_PASSED_ON[picture.page]}; not to be redistributed"
    return f"{picture.name} - {terms} - {address}"


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


def to_png(svg: str) -> bytes:
    """Render an SVG as PNG, with the font that matplotlib brings."""
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return bytes(
        resvg_py.svg_to_bytes(
            # Without a dpi, this version ignores sizes in points.
            svg_string=svg,
            width=PIXELS,
            dpi=96,
            background="#ffffff",
            skip_system_fonts=True,
            font_files=[str(font)],
        )
    )


def caption_to_html(caption: str) -> str:
    """Render Markdown with roles and formulas as HTML; MathJax sets the formulas."""
    plain = _ROLE.sub(lambda role: role[1] or role[2], caption)
    markdown = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=lambda tex, _: rf"\({html.escape(tex)}\)")
    return str(markdown.renderInline(plain))


if __name__ == "__main__":
    sys.exit(main())
