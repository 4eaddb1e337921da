"""Print the built site as one PDF, with the styles for paper of its pages: `make pdf`.

    python book/pdf.py [--build _build]

All pages are put into one HTML file, in which links between pages become links within it, and Chromium prints that with
an outline. Sphinx's own builder of a single page fails on this theme, and LaTeX would need an installation of its own.
"""

from __future__ import annotations

import argparse
import html
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build
from bs4 import BeautifulSoup
from bs4.element import Tag
from templates import ROOT

from companion.errors import CompanionError
from vaemi._files import atomic_write

# A book of four hundred pages, on a slow machine.
_MINUTES = 10
_TO_CLICK = ".headerlink, .explorer, script, noscript, .prev-next-footer, .toctree-wrapper"
_STYLE = """
article.bd-article { break-before: page; }
article.bd-article:first-child { break-before: auto; }
/* On paper the theme hides the title of a page and prints its own, above a list of contents. */
.bd-main .bd-content article.bd-article h1:first-of-type { display: block !important; }
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Print the built site as one PDF.")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="folder of the build, with html/ in it")
    options = parser.parse_args(arguments)
    try:
        print(f"The book is {write(options.build)}.")
    except CompanionError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    return 0


def write(folder: Path) -> Path:
    """Print the site in `folder/html` to `folder/book.pdf` and return that path.

    Raises
    ------
    CompanionError
        If there is no site, or Chromium is not installed.
    """
    site = folder / "html"
    if not (site / "index.html").exists():
        raise CompanionError(f"{site} has no site: run make book first.")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise CompanionError(
            "Chromium is not on the path: install it (apt-get install chromium), then run make pdf again."
        )
    from playwright.sync_api import sync_playwright

    whole, book = folder / "book.html", folder / "book.pdf"
    whole.write_text(in_one(site, build.pages(ROOT)), encoding="utf-8")
    with sync_playwright() as playwright, atomic_write(book) as scratch:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(_MINUTES * 60_000)
        page.goto(whole.resolve().as_uri())
        page.evaluate("MathJax.startup.promise.then(() => true)")
        page.pdf(path=scratch, format="A4", prefer_css_page_size=True, outline=True, tagged=True)
        browser.close()
    whole.unlink()
    return book


def in_one(site: Path, pages: Sequence[str]) -> str:
    """Return the articles of some pages of a site, given without suffixes, as one HTML page."""
    site = site.resolve()
    parts = [_article(site, page, set(pages)) for page in pages]
    first = BeautifulSoup((site / f"{pages[0]}.html").read_text(encoding="utf-8"), "html.parser")
    head = [*first.select('head link[rel="stylesheet"], head style'), *_scripts(first)]
    for tag in head:
        _resolve(tag, site, pages[0], set())
    title = first.title.get_text() if first.title else ""
    return (
        '<!DOCTYPE html>\n<html lang="en" data-theme="light" data-content_root="./"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>{''.join(map(str, head))}<style>{_STYLE}</style></head>"
        '<body><div class="bd-main"><div class="bd-content"><div class="bd-article-container">'
        f"{''.join(parts)}</div></div></div></body></html>"
    )


def _scripts(page: BeautifulSoup) -> list[Tag]:
    """Return the scripts that typeset formulas and open boxes before printing."""
    options = BeautifulSoup("<script>window.DOCUMENTATION_OPTIONS = {};</script>", "html.parser").find_all("script")
    needed = [
        script
        for script in page.find_all("script")
        if "window.MathJax" in script.get_text() or any(n in script.get("src", "") for n in ("mathjax", "reading.js"))
    ]
    return [*options, *needed]


def _article(site: Path, page: str, pages: set[str]) -> str:
    soup = BeautifulSoup((site / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    article = soup.select_one("article.bd-article")
    if article is None:
        raise CompanionError(f"{site / page}.html has no article: run make book again.")
    for tag in article.select(_TO_CLICK):
        tag.decompose()
    for tag in article.find_all(True):
        if "id" in tag.attrs:
            tag["id"] = _anchor(page, tag["id"])
        _resolve(tag, site, page, pages)
    article["id"] = _anchor(page)
    return str(article)


def _resolve(tag: Tag, site: Path, page: str, pages: set[str]) -> None:
    """Make the addresses in a tag lead to the same place from the page that holds all pages."""
    for name in {"href", "src"} & tag.attrs.keys():
        address = urlsplit(str(tag[name]))
        if address.scheme or address.netloc:
            continue
        there = ((site / page).parent / unquote(address.path)).resolve() if address.path else site / f"{page}.html"
        to = there.relative_to(site).with_suffix("").as_posix() if there.is_relative_to(site) else ""
        if there.suffix == ".html" and to in pages:
            tag[name] = f"#{_anchor(to, unquote(address.fragment))}"
        elif tag.name == "a" or not there.exists():
            del tag[name]  # what a reader of the file does not have: sources of the package, notebooks to download
        else:
            tag[name] = there.as_uri()


def _anchor(page: str, anchor: str = "") -> str:
    return "--".join(filter(None, [page.replace("/", "-"), anchor]))


if __name__ == "__main__":
    sys.exit(main())
