"""Every figure of the book for slides, on a white ground, with a licence line below it: SVG, and PNG 1920 pixels wide.

    python book/figures_export.py --profile quick

Executed notebooks hold their figures as SVG, and so do the pages' own. Slides are made from that, not by a second
drawing: no run takes longer or leaves larger files, and every run that was ever made can be exported. The mid-grey
text, which must read on a dark page too, turns nearly black; resvg, a small package without further needs, makes PNGs
for programs that take no SVG.
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

from companion import figures, runs

PIXELS = 1920
# Data whose licence lets nobody pass on pictures made from them, by the notebook that shows them.
NOT_TO_BE_PASSED_ON = {"celeba": "CelebA", "deap": "DEAP"}
_DARK = "#25292d"
_MARGIN, _FONT_SIZE = 10.0, 7.0
# Of a letter of the licence line, in its font size: what DejaVu Sans, the widest of the fonts named, needs on average.
_LETTER = 0.54
_FIGURE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{figure\}[ \t]+(?P<path>\S+)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.M | re.S
)
_ROLE = re.compile(r"\{[\w:-]+\}`(?:([^`<]*?)\s*<[^`>]*>|([^`]*))`")


class Picture(NamedTuple):
    """A figure of a page: its file's name without ending, the SVG, and what is said about it, in Markdown."""

    name: str
    page: str
    svg: str
    caption: str
    alt: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write every figure of a profile's pages for slides.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--results", type=Path, default=build.ROOT / "results")
    parser.add_argument("--build", type=Path, default=build.ROOT / "_build", help="where they go, as figures/ in it")
    options = parser.parse_args(arguments)
    try:
        written = export(options.profile, options.results, options.build / "figures")
    except (build.BuildError, runs.RunError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"figures: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    print(f"{len(written)} figures are in {options.build / 'figures'}: open index.html there.")
    return 0


def export(profile: str, results: Path, target: Path) -> list[Picture]:
    """Write the figures of a profile and a contact sheet into a folder, which takes its place when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(dir=target.parent) as made:
        source, whole = Path(scratch) / "source", Path(made) / "figures"
        build.stage(profile, results, source)
        pictures = list(pictures_of(source))
        lines = licences(pictures, results / profile, yaml.safe_load((source / "_config.yml").read_text()))
        whole.mkdir()
        for picture in pictures:
            write(picture, lines[picture.name], whole)
        shutil.copytree(source / "extra" / "_static" / "mathjax", whole / "mathjax")
        (whole / "index.html").write_text(contact_sheet(pictures, lines, profile))
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
    return pictures


def pictures_of(source: Path) -> Iterator[Picture]:
    """The figures of all staged pages, in the order of the table of contents; a picture on two pages comes once.

    Raises
    ------
    BuildError
        If two figures would get the same file name.
    """
    numbers = yaml.safe_load((source / "_config.yml").read_text())["sphinx"]["config"].get("myst_substitutions", {})
    seen: set[str] = set()
    for page in build.pages(source):
        found = (
            _of_notebook(source / f"{page}.ipynb")
            if (source / f"{page}.ipynb").exists()
            else _of_page(source / f"{page}.md", numbers)
        )
        for picture in found:
            if picture.name in seen:
                raise build.BuildError(f"Two figures would be called {picture.name}: rename one (page {page}).")
            seen.add(picture.name)
            yield picture


def _of_notebook(path: Path) -> Iterator[Picture]:
    for about, svg in build.figures_of(nbformat.read(path, as_version=4)):
        caption, alt = about["figure"].get("caption", ""), about.get("image", {}).get("alt", "")
        yield Picture(_file_name(path.stem, about["figure"]["name"]), path.stem, svg, caption, alt)


def _of_page(path: Path, numbers: Mapping[str, Any]) -> Iterator[Picture]:
    shared = {f"{name}.svg" for names in build.SHARED_FIGURES.values() for name in names}
    for found in _FIGURE.finditer(path.read_text()):
        picture = (path.parent / found["path"]).resolve()
        if picture.suffix != ".svg" or picture.name in shared:
            continue
        options = dict(re.findall(r"^:([\w-]+):[ \t]*(.*)$", found["body"], re.M))
        caption = re.sub(r"^:[\w-]+:.*$", "", found["body"], flags=re.M).strip()
        caption, alt = (jinja2.Template(text).render(numbers) for text in (caption, options.get("alt", "")))
        name = _file_name(path.stem, options.get("name", picture.stem))
        yield Picture(name, path.stem, picture.read_text(), caption, alt)


def _file_name(page: str, figure: str) -> str:
    """Page and figure, without saying a word twice: mnist-spectrum for fig-mnist-spectrum."""
    name = figure.removeprefix("fig-")
    return name if name.startswith(page) else f"{page}-{name}"


def licences(pictures: Sequence[Picture], results: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The line below each picture, by its name: what it is, whose, and what one may do with it."""
    (arxiv,) = (
        entry["value"].removeprefix("arXiv:")
        for entry in yaml.safe_load((build.ROOT / "CITATION.cff").read_text())["preferred-citation"]["identifiers"]
        if entry["value"].startswith("arXiv:")
    )
    address = (config.get("repository") or {}).get("url") or f"companion of doi.org/10.48550/arXiv.{arxiv}"
    lines = {}
    for picture in pictures:
        terms = "vaemi, MIT licence"
        if picture.page in NOT_TO_BE_PASSED_ON:
            data = json.loads((results / f"{picture.page}.json").read_text())["data"]
            if not data["stand_in"]:
                terms = f"vaemi - made from {NOT_TO_BE_PASSED_ON[picture.page]}; not to be redistributed"
        lines[picture.name] = f"{picture.name} - {terms} - {address}"
    return lines


def write(picture: Picture, line: str, folder: Path) -> None:
    """Write a picture as SVG and as PNG."""
    svg = for_slides(picture, line)
    (folder / f"{picture.name}.svg").write_text(svg)
    (folder / f"{picture.name}.png").write_bytes(to_png(svg))


def for_slides(picture: Picture, line: str) -> str:
    """The picture's SVG on white, with dark text, a margin, a title, and the line below it.

    Raises
    ------
    BuildError
        If the picture has no size.
    """
    root = re.search(r"<svg\b[^>]*>", picture.svg, re.S)
    size = root and re.search(r'viewBox="([\d.eE+\s-]+)"', root[0])
    if not root or not size:
        raise build.BuildError(f"The figure {picture.name} is no SVG with a viewBox.")
    left, top, width, height = map(float, size[1].split())
    lines = textwrap.wrap(line, max(20, int(width / (_LETTER * _FONT_SIZE))))
    left, top, bottom = left - _MARGIN, top - _MARGIN, top + height + _MARGIN
    width, height = width + 2 * _MARGIN, height + 2 * _MARGIN + (len(lines) + 0.5) * 1.3 * _FONT_SIZE
    box = f"{left:g} {top:g} {width:g} {height:g}"
    opening = re.sub(r'\s(?:width|height|viewBox|role)="[^"]*"', "", root[0])
    opening = f'{opening[:-1]} width="{width:g}pt" height="{height:g}pt" viewBox="{box}" role="img">'
    rows = "".join(
        f'<text x="{left + _MARGIN:g}" y="{bottom + (row + 0.5) * 1.3 * _FONT_SIZE:g}" font-size="{_FONT_SIZE:g}" '
        f'font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="{_DARK}">{html.escape(text)}</text>'
        for row, text in enumerate(lines)
    )
    about = f"<title>{html.escape(line)}</title><desc>{html.escape(picture.alt)}</desc>"
    ground = f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    drawing = picture.svg[root.end() :].rstrip().removesuffix("</svg>")
    drawing = re.sub(figures.GREY, _DARK, drawing, flags=re.IGNORECASE)
    return f"{picture.svg[: root.start()]}{opening}{about}{ground}{drawing}{rows}</svg>\n"


def to_png(svg: str, width: int = PIXELS) -> bytes:
    """The SVG as PNG of a width in pixels; its text in the font that comes with matplotlib, the same everywhere."""
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return bytes(
        resvg_py.svg_to_bytes(
            # Without a dpi this version takes a size in points for none.
            svg_string=svg,
            width=width,
            dpi=96,
            background="#ffffff",
            skip_system_fonts=True,
            font_files=[str(font)],
        )
    )


def contact_sheet(pictures: Sequence[Picture], lines: Mapping[str, str], profile: str) -> str:
    """A page that shows all pictures with captions and links to their files."""
    rows = "\n".join(
        f'<figure><a href="{picture.name}.svg"><img src="{picture.name}.png" alt="{html.escape(picture.alt)}" '
        f'loading="lazy"></a><figcaption><h2>{picture.name}</h2><p>{caption_to_html(picture.caption)}</p>'
        f'<p class="files"><a href="{picture.name}.svg">SVG</a> <a href="{picture.name}.png">PNG, {PIXELS} pixels '
        f"wide</a></p><p><small>{html.escape(lines[picture.name])}</small></p></figcaption></figure>"
        for picture in pictures
    )
    return (
        _SHEET.replace("@profile@", html.escape(profile))
        .replace("@number@", str(len(pictures)))
        .replace("@rows@", rows)
    )


def caption_to_html(caption: str) -> str:
    """Markdown with roles and mathematics as HTML; the formulas are left to MathJax."""
    plain = _ROLE.sub(lambda role: role[1] or role[2], caption)
    markdown = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=lambda tex, _: rf"\({html.escape(tex)}\)")
    return str(markdown.renderInline(plain))


_SHEET = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Figures for slides</title>
<style>
  :root { color-scheme: light dark; --ink: #22262a; --ground: #f6f7f8; --link: #0b5c94; }
  @media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --ground: #16191c; --link: #7cc0ee; } }
  body { font: 1rem/1.55 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto;
         max-width: 84rem; padding: 1.5rem; }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 2.5rem 2rem; }
  figure { margin: 0; min-width: 0; }
  img { width: 100%; height: auto; background: #fff; border: 1px solid #8886; box-sizing: border-box; }
  main { margin-top: 2rem; }
  h2 { font-size: 1.05rem; margin: .6rem 0 .3rem; overflow-wrap: anywhere; }
  p { margin: .3rem 0; overflow-wrap: anywhere; }
  a { color: var(--link); }
  .files a { margin-right: 1rem; }
  mjx-container { overflow-x: auto; max-width: 100%; }
</style>
<script src="mathjax/tex-chtml.js" defer></script>
</head>
<body>
<h1>Figures for slides</h1>
<p>The @number@ figures of the book as the profile <strong>@profile@</strong> made them. SVG stays sharp at any size;
PNG is for programs that take no SVG. Leave the line below a figure where it is: it says where the figure comes from
and what you may do with it.</p>
<main>
@rows@
</main>
</body>
</html>
"""


if __name__ == "__main__":
    sys.exit(main())
