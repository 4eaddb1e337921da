"""Checks of the built site: faults that a reader would see and Sphinx does not report.

    python book/checks.py             run the checks of a build on the site that was built last
    python book/checks.py --external  request every address outside the site (Sphinx's linkcheck)

A fault is one sentence: where, what, and what to do. The build reports all of them at once.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, SoupStrainer
from bs4.element import Tag
from spellchecker import SpellChecker
from templates import ROOT

WORDS = ROOT / "book" / "words.txt"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Check the built site.")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="folder of the build, with html/ in it")
    parser.add_argument("--external", action="store_true", help="check the links that leave the site")
    options = parser.parse_args(arguments)
    # A failed build leaves its pages there; they are newer than the site in place.
    unfinished = options.build / "work" / "_build" / "html"
    site = unfinished if unfinished.exists() else options.build / "html"
    if not (site / "index.html").exists():
        print(f"checks: {options.build} has no site: run make book first.", file=sys.stderr)
        return 1
    faults = dead_addresses(options.build) if options.external else problems(site)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(faults)} faults found.")
    return 1 if faults else 0


def problems(site: Path) -> list[str]:
    """Return all faults of a built site, a sentence each."""
    pages = read(site)
    return [*unreadable_numbers(pages), *dead_links(site, pages), *images_without_text(pages), *misspellings(pages)]


# --- reading ----------------------------------------------------------------------------------------------------------

# A word can continue across these tags.
_INLINE = "a, abbr, b, em, i, mark, s, small, span, strong, sub, sup, u"
# Code, formulas, and names and titles written by others; a digit in its place keeps "$d$-th" from leaving "th".
_NO_PROSE = (
    "button, cite, code, kbd, nav, pre, script, style, svg, .math, .bibtex-citation, .citation, .classifier, "
    ".headerlink, .sig, .field-list em, .field-list strong"
)


@dataclass(frozen=True)
class Page:
    """What the checks need of one page.

    Attributes
    ----------
    ids : set of str
        Possible targets of links.
    links : set of str
        Addresses of all links, pictures, scripts and styles, as written.
    images : dict of str to str
        Alt text of each picture, by its file; pictures that are marked as decoration are left out.
    prose : list of str
        Text of paragraphs, headings, captions, list items and table cells, without code and formulas.
    outputs : list of str
        Printed output of notebook cells.
    """

    ids: set[str]
    links: set[str]
    images: dict[str, str]
    prose: list[str]
    outputs: list[str]


_TAG = re.compile(r"<[a-z][^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'\s(id|href|src)="([^"]*)"')
# Lists and indexes made of names; sources of the package.
_NAMES_ONLY = re.compile(r"^(_modules/|genindex|py-modindex|search\.html)")


def read(site: Path) -> dict[str, Page]:
    """Parse every page of a built site, by its path in it, without the theme's own snippets."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)
    names = [path.relative_to(site).as_posix() for path in paths]
    return {
        name: parse(path.read_text(encoding="utf-8"), not _NAMES_ONLY.match(name))
        for name, path in zip(names, paths, strict=True)
    }


def parse(text: str, has_prose: bool = True) -> Page:
    """Parse one page. Its addresses are found without Beautiful Soup, which would take most of the time."""
    found: dict[str, set[str]] = {"id": set(), "href": set(), "src": set()}
    for tag in _TAG.findall(text):
        for attribute, value in _ATTRIBUTE.findall(tag):
            found[attribute].add(html.unescape(value).strip())
    only = SoupStrainer("article")
    article = BeautifulSoup(text if has_prose else "", "html.parser", parse_only=only)
    pictures = [tag for tag in article("img") if tag.get("role") != "presentation" and not _is_hidden(tag)]
    return Page(
        ids=found["id"],
        links=found["href"] | found["src"],
        images={str(tag["src"]): str(tag.get("alt", "")).strip() for tag in pictures},
        outputs=[pre.get_text() for pre in article.select(".cell_output pre")],
        prose=_prose(article),  # last, as it takes the article apart
    )


def _is_hidden(tag: Tag) -> bool:
    return any(one.get("aria-hidden") == "true" for one in (tag, *tag.parents))


def _prose(article: BeautifulSoup) -> list[str]:
    """Return the text of each block of an article."""
    for tag in article.select(_NO_PROSE):
        tag.replace_with("0")
    for tag in article.select(_INLINE):
        tag.unwrap()
    article.smooth()
    return [" ".join(text.split()) for text in article.stripped_strings]


# --- numbers ----------------------------------------------------------------------------------------------------------

# How Python prints a missing number. "None" is an English word, and a page may write about NaN: in prose these count
# only alone in a cell of a table, and after a colon or an equals sign.
_NO_NUMBER = re.compile(
    r"\{\{|\}\}|\{%|\{'|(?<![\w-])-?(?:nan|inf)(?![\w-])|<(?:built-in|bound|function)\b|^(?:None|NaN)$|(?<=[:=] )None\b"
)
_NO_NUMBER_PRINTED = re.compile(r"(?<![\w-])-?(?:nan|NaN|inf)(?![\w-])|\bNone\b")


def unreadable_numbers(pages: Mapping[str, Page]) -> list[str]:
    """Find `nan` and the like, and substitutions that were not made."""
    faults = []
    for name, page in pages.items():
        found = [(_NO_NUMBER.search(text), text) for text in (*page.prose, *page.images.values())]
        found += [(_NO_NUMBER_PRINTED.search(text), text) for text in page.outputs]
        for match, text in found:
            if match:
                around = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
                faults.append(
                    f"{name}: '{match.group()}' instead of a number in '{around}': a substitution has no value, or a "
                    "cell prints a result that it could not compute."
                )
    return faults


# --- links and pictures -----------------------------------------------------------------------------------------------


def dead_links(site: Path, pages: Mapping[str, Page]) -> list[str]:
    """Find links, pictures, scripts and styles whose file or anchor is not in the site."""
    faults = []
    for name, page in pages.items():
        for link in sorted(page.links):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = ((site / name).parent / unquote(address.path) if address.path else site / name).resolve()
            if address.path.startswith("/") or not target.is_relative_to(site.resolve()):
                faults.append(f"{name}: the link '{link}' leaves the site's folder: make it relative to the page.")
            elif not target.is_file():
                faults.append(f"{name}: the link '{link}' is dead: there is no such file in the site.")
            elif address.fragment:
                there = pages.get(target.relative_to(site.resolve()).as_posix())
                if there is not None and unquote(address.fragment) not in there.ids:
                    faults.append(f"{name}: the link '{link}' is dead: its page has no such anchor.")
    return faults


def images_without_text(pages: Mapping[str, Page]) -> list[str]:
    """Find pictures without a text alternative, or with nothing but a file name, which is what docutils writes."""
    return [
        f"{name}: the image {file} has no alt text: describe it."
        for name, page in pages.items()
        for file, text in page.images.items()
        if text in ("", file, Path(file).name, Path(file).stem)
    ]


def dead_addresses(build: Path) -> list[str]:
    """Request the addresses outside the site with Sphinx's linkcheck; return a sentence for each that fails."""
    work = build / "linkcheck"
    jupyter_book(build / "source", work, "--builder", "linkcheck")
    report = work / "_build" / "html" / "output.json"
    if not report.exists():
        return [f"{report} was not written: run make book first."]
    answers = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return [
        f"{one['filename']}: {one['uri']} does not answer ({one['info']}): open it in a browser, as some sites refuse "
        "programs, and fix or remove the link."
        for one in answers
        if one["uri"].startswith("http") and one["status"] in ("broken", "timeout")
    ]


def jupyter_book(source: Path, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Jupyter Book on a staged source, with this interpreter."""
    program = "from jupyter_book.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "build", str(source), "--path-output", str(work), *options],
        capture_output=True,
        text=True,
        check=False,
    )


# --- spelling ---------------------------------------------------------------------------------------------------------


def misspellings(pages: Mapping[str, Page]) -> list[str]:
    """Find words of the prose and the alt texts that are neither in the English dictionary nor in `book/words.txt`."""
    dictionary = SpellChecker(language="en", distance=1)  # a distance of two letters takes seconds per word
    listed = set(WORDS.read_text(encoding="utf-8").split())
    places: dict[str, list[str]] = {}
    for name, page in pages.items():
        for word in _words(" ".join([*page.prose, *page.images.values()])):
            places.setdefault(word, []).append(name)
    unknown = [word for word in sorted(places) if not is_known(word, listed, dictionary)]
    return [
        f"{', '.join(places[word])}: '{word}' is not a known word: correct it"
        f"{f' ({meant}?)' if (meant := dictionary.correction(word.lower())) else ''}, or add it to book/words.txt."
        for word in unknown
    ]


def is_known(word: str, listed: set[str], dictionary: SpellChecker) -> bool:
    """Return whether a word is listed, an abbreviation or a name such as CelebA, or in the dictionary."""
    singular = word.removesuffix("s")
    if {word, word.lower(), singular, singular.lower()} & listed or re.search(r"^[A-Z]+s?$|[a-z][A-Z]", word):
        return True
    return word.lower() in dictionary


def _words(text: str) -> set[str]:
    """Return the words of a text, without possessive endings and what contains a digit, also a raised one."""
    chunks = re.findall(r"\w+(?:'\w+)*", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    words = {word for chunk in chunks if len(word := chunk.removesuffix("'s")) > 1}
    return {word for word in words if not any(character.isdigit() or character == "_" for character in word)}


if __name__ == "__main__":
    sys.exit(main())
