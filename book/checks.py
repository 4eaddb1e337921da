"""Checks of the built site: faults that a reader would see and Sphinx does not report.

    python book/checks.py             every check of a build, on the site as it was last built
    python book/checks.py --words     print the words that the spelling check does not know, with their pages
    python book/checks.py --add WORD  add words to the list book/words.txt
    python book/checks.py --external  request every address outside the site (Sphinx's linkcheck)

A fault is one sentence: where, what, and what to do. The build reports all of them at once.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import jinja2
import nbformat
import yaml
from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, Tag
from pybtex.database import parse_file
from spellchecker import SpellChecker

ROOT = Path(__file__).resolve().parent.parent
WORDS = ROOT / "book" / "words.txt"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Check the built site.")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="folder of the build, with html/ in it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--words", action="store_true", help="print the unknown words and their pages")
    what.add_argument("--add", nargs="+", metavar="WORD", help="add words to the list of known ones")
    what.add_argument("--external", action="store_true", help="check the links that leave the site")
    options = parser.parse_args(arguments)
    if options.add:
        words = {*WORDS.read_text().split(), *options.add}
        WORDS.write_text("".join(f"{word}\n" for word in sorted(words, key=by_letter)))
        return 0
    # A failed build leaves its pages there; they are newer than the site in place.
    unfinished = options.build / "work" / "_build" / "html"
    site = unfinished if unfinished.exists() else options.build / "html"
    if not (site / "index.html").exists():
        print(f"checks: {options.build} has no site: run make book first.", file=sys.stderr)
        return 1
    if options.words:
        for word, places in unknown_words(read(site)).items():
            print(f"{word}\t{', '.join(places)}")
        return 0
    faults = dead_addresses(options.build) if options.external else problems(options.build / "source", site)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(faults)} faults found.")
    return 1 if faults else 0


def problems(source: Path, site: Path) -> list[str]:
    """Return all faults of a built site and of the staged sources that it was built from, a sentence each."""
    pages = read(site)
    return [
        *missing_numbers(source),
        *unreadable_numbers(pages),
        *uncited_references(source),
        *dead_links(site, pages),
        *images_without_text(pages),
        *misspellings(pages),
    ]


# --- reading ----------------------------------------------------------------------------------------------------------

# A word can continue across these tags.
_INLINE = {"a", "abbr", "b", "dfn", "em", "i", "mark", "q", "s", "small", "span", "strong", "sub", "sup", "u"}
# Code, formulas, and names and titles written by others.
_NO_PROSE_TAGS = {
    *("button", "cite", "code", "kbd", "math", "nav", "pre", "samp", "script", "style", "svg", "template"),
}
_NO_PROSE_CLASSES = {"bibtex-citation", "citation", "classifier", "headerlink", "math", "sig"}
_BLOCK_END = "\0"


class Image(NamedTuple):
    """A picture: its file or tag, its text alternative if there is one, and whether it is part of the article."""

    name: str
    text: str | None
    in_article: bool


@dataclass(frozen=True)
class Page:
    """What the checks need of one page.

    Attributes
    ----------
    ids : set of str
        Possible targets of links.
    links : list of str
        Addresses of all links, pictures, scripts and styles, as written.
    images : list of Image
        Pictures that are not marked as decoration.
    prose : list of str
        Text of paragraphs, headings, captions, list items and table cells, without code and formulas.
    outputs : list of str
        Printed output of notebook cells.
    """

    ids: set[str]
    links: list[str]
    images: list[Image]
    prose: list[str]
    outputs: list[str]


def parse(html: str) -> Page:
    """Parse one page."""
    soup = BeautifulSoup(html, "html.parser")
    article = soup.article or BeautifulSoup("", "html.parser")
    blocks = _prose(article).split(_BLOCK_END)
    return Page(
        ids={str(tag["id"]) for tag in soup.select("[id]")} | {str(tag["name"]) for tag in soup.select("a[name]")},
        links=list(_links(soup)),
        images=list(_images(soup)),
        prose=[text for block in blocks if (text := " ".join(block.split()))],
        outputs=[pre.get_text() for pre in article.select(".cell_output pre")],
    )


def read(site: Path) -> dict[str, Page]:
    """Parse every page of a built site, by its path in it, without the theme's own snippets."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)
    return {path.relative_to(site).as_posix(): parse(path.read_text()) for path in paths}


def _links(soup: BeautifulSoup) -> Iterator[str]:
    for tag in soup.find_all(True):
        for attribute in ("href", "src", "poster", "xlink:href", *(["data"] if tag.name == "object" else [])):
            if tag.has_attr(attribute):
                yield str(tag[attribute]).strip()
    for tag in soup.find_all("meta", attrs={"http-equiv": re.compile("^refresh$", re.IGNORECASE)}):
        yield from re.findall(r"url=(\S+)", str(tag.get("content", "")), re.IGNORECASE)


def _images(soup: BeautifulSoup) -> Iterator[Image]:
    for tag in soup.select("img, svg, [role=img]"):
        decoration = tag.get("role") in ("presentation", "none") or tag.find_parent("svg")
        if decoration or any(one.get("aria-hidden") == "true" for one in (tag, *tag.parents)):
            continue
        name, label = f"a <{tag.name}>", tag.get("aria-label") or tag.get("aria-labelledby")
        if tag.name == "img":
            name, label = str(tag.get("src", name)), tag.get("alt", label)
        elif tag.name == "svg" and tag.title:
            label = label or tag.title.get_text()
        yield Image(name, None if label is None else str(label), tag.find_parent("article") is not None)


def _prose(node: PageElement, in_fields: bool = False) -> str:
    """Return the text of a page's part; blocks end in a mark, inline code and formulas are replaced by a digit."""
    if not isinstance(node, Tag):
        return str(node) if type(node) is NavigableString else ""
    classes = set(node.get("class") or [])
    if node.name in _NO_PROSE_TAGS or classes & _NO_PROSE_CLASSES or (in_fields and node.name in ("em", "strong")):
        # A digit, so that "$d$-th" does not leave a word "th".
        return "0" if "math" in classes or node.name in ("code", "kbd", "samp") else " "
    in_fields = in_fields or "field-list" in classes  # of an API page: names and types of parameters
    text = "".join(_prose(child, in_fields) for child in node.children)
    return text if node.name in _INLINE else f"{_BLOCK_END}{text}{_BLOCK_END}"


def _source_texts(source: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the Markdown of every staged page, Markdown cell and caption of a cell."""
    for path in sorted(source.rglob("*.md")):
        yield path.relative_to(source).as_posix(), path.read_text()
    for path in sorted(source.rglob("*.ipynb")):
        for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
            caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
            text = cell.source if cell.cell_type == "markdown" else caption
            yield f"{path.relative_to(source).as_posix()}, cell {index}", text


# --- numbers ----------------------------------------------------------------------------------------------------------

_SUBSTITUTION = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)
# Fences of code (other directives hold prose) and inline code, in which nothing is substituted.
_CODE = re.compile(
    r"^(`{3,}|~{3,})(?!\{(?!code)).*?^\1[`~]*\s*$|(?<!`)(`{1,2})(?!`)(?:(?!\n\n).)+?(?<!`)\2(?!`)",
    re.DOTALL | re.MULTILINE,
)
# How Python prints a missing number. "None" is an English word, and a page may write about NaN: in prose these count
# only alone in a cell of a table, and after a colon or an equals sign.
_NO_NUMBER = re.compile(r"\{\{|\}\}|\{%|(?<![\w-])-?(?:nan|inf)(?![\w-])|<(?:built-in|bound|function|object)\b")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the pure Python loader takes seconds
_NO_NUMBER_PRINTED = re.compile(r"(?<![\w-])-?(?:nan|NaN|inf)(?![\w-])|\bNone\b")
_NONE_IN_PROSE = re.compile(r"^(?:None|NaN)$|(?<=[:=] )(?:None|NaN)\b")


def missing_numbers(source: Path) -> list[str]:
    """Find substitutions `{{ ... }}` of the staged sources without a value, or with one that is not a number or text.

    Sphinx reports names that do not exist; it accepts None, NaN, empty texts and whole mappings.
    """
    config = yaml.load((source / "_config.yml").read_text(), Loader=_LOADER)
    numbers = config.get("sphinx", {}).get("config", {}).get("myst_substitutions", {})
    jinja = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    faults = []
    for place, text in _source_texts(source):
        for expression in _SUBSTITUTION.findall(_CODE.sub("", text)):
            try:
                shown = jinja.from_string("{{" + expression + "}}").render(numbers)
            except Exception as error:  # an expression can raise anything
                faults.append(
                    f"{place}: {{{{{expression}}}}} has no value ({error}): run the notebook or fix the name."
                )
                continue
            empty = not shown.strip() and " else " not in expression  # a condition may choose an empty text
            if empty or shown == "None" or shown.startswith(("{", "[")) or _NO_NUMBER.search(shown):
                faults.append(f"{place}: {{{{{expression}}}}} gives '{shown[:60]}': name a single number or text.")
    return faults


def unreadable_numbers(pages: Mapping[str, Page]) -> list[str]:
    """Find `nan` and the like, and substitutions that were not made."""
    faults = []
    for name, page in pages.items():
        said = [*page.prose, *(image.text or "" for image in page.images)]
        found = [(_NO_NUMBER.search(text) or _NONE_IN_PROSE.search(text), text) for text in said]
        found += [(_NO_NUMBER_PRINTED.search(text), text) for text in page.outputs]
        for match, text in found:
            if match:
                around = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
                faults.append(
                    f"{name}: '{match.group()}' instead of a number in '{around}': a substitution has no value, or a "
                    "cell prints a result that it could not compute."
                )
    return faults


# --- references, links and pictures -----------------------------------------------------------------------------------


def uncited_references(source: Path) -> list[str]:
    """Find entries of the bibliography that no page cites. Sphinx reports citations without an entry."""
    cited = {
        key.strip()
        for _, text in _source_texts(source)
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in keys.split(",")
    }
    entries = parse_file(source / "book" / "references.bib").entries
    return [f"book/references.bib: no page cites {key}: cite or delete it." for key in sorted(set(entries) - cited)]


def dead_links(site: Path, pages: Mapping[str, Page]) -> list[str]:
    """Find links, pictures, scripts and styles whose file or anchor is not in the site."""
    faults = []
    for name, page in pages.items():
        for link in sorted(set(page.links)):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (site / name).parent / unquote(address.path) if address.path else site / name
            target = target.resolve()
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
    """Find pictures without a text alternative, or with nothing but a file name."""
    return [
        f"{name}: the image {image.name} has no alt text: describe it."
        for name, page in pages.items()
        for image in page.images
        if not (image.text or "").strip() or image.text in (image.name, Path(image.name).name, Path(image.name).stem)
    ]


# Answers of sites that refuse programs or ask for patience.
_REFUSED = re.compile(r"\b(401|403|405|406|418|429|451|999)\b")


def dead_addresses(build: Path) -> list[str]:
    """Request the addresses outside the site with Sphinx's linkcheck; return a sentence for each dead one.

    Addresses that refuse programs are printed and not returned.
    """
    work = build / "linkcheck"
    jupyter_book(build / "source", work, "--builder", "linkcheck")
    report = work / "_build" / "html" / "output.json"
    if not report.exists():
        return [f"{report} was not written: run make book first."]
    answers = [json.loads(line) for line in report.read_text().splitlines()]
    answers = [answer for answer in answers if answer["uri"].startswith("http")]
    broken = [answer for answer in answers if answer["status"] in ("broken", "timeout")]
    refused = [answer for answer in broken if _REFUSED.search(answer["info"])]
    for answer in refused:
        print(f"{answer['filename']}: {answer['uri']} may refuse programs ({answer['info']}): open it in a browser.")
    dead = [answer for answer in broken if answer not in refused]
    if len(dead) == len(answers) > 1:
        return [f"None of {len(answers)} addresses answers ({dead[0]['info']}): is this machine online?"]
    return [f"{one['filename']}: {one['uri']} does not answer ({one['info']}): fix or remove the link." for one in dead]


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

# Lists and indexes made of names; sources of the package.
_NOT_PROSE = re.compile(r"^(_modules/|genindex|py-modindex|search\.html)")
_COLOUR = "arm|behavi|clam|col|endeav|fav|flav|harb|hon|hum|lab|neighb|rum|sav|splend|tum|vap|vig"
_ENDINGS = "(?:s|ed|ing|al|able|ably|er|ers|ings|ist|ful|fully|hood|hoods|less|ly|ite|ites)?"
# The dictionary is American, the book British.
_TO_AMERICAN = (
    (re.compile(rf"((?:dis|mis|un)?(?:{_COLOUR}))our({_ENDINGS})"), r"\1or\2"),
    (re.compile(r"(cent|fib|lit|(?:kilo|centi|milli|micro|nano)?met|theat|spect)re(s)?"), r"\1er\2"),
    (re.compile(r"centr(ed|ing)"), r"center\1"),
    (re.compile(r"(anal|paral|catal)ys(e|ed|es|er|ers|ing)"), r"\1yz\2"),
)
_TO_BRITISH = (
    (re.compile(rf"((?:dis|mis|un)?(?:{_COLOUR}))or({_ENDINGS})"), r"\1our\2"),
    (re.compile(r"(cent|fib|theat)er(s)?"), r"\1re\2"),
    (re.compile(r"center(ed|ing)"), r"centr\1"),
    (re.compile(r"(anal|paral|catal)yz(e|ed|es|er|ers|ing)"), r"\1ys\2"),
    (re.compile(r"((?:un)?(?:cancel|channel|label|level|model|signal|travel))(ed|ing|er|ers)"), r"\1l\2"),
    (re.compile(r"gray(s|ish|scale)?"), r"grey\1"),
    (re.compile(r"artifact(s)?"), r"artefact\1"),
)


def misspellings(pages: Mapping[str, Page]) -> list[str]:
    """Find words that are neither in the English dictionary nor on the list of the book."""
    faults = []
    for word, places in unknown_words(pages).items():
        suggestion = _respelled(word, _TO_BRITISH) or _dictionary().correction(word.lower())
        hint = f" ({suggestion}?)" if suggestion and suggestion != word.lower() else ""
        faults.append(
            f"{', '.join(places)}: '{word}'{hint} is not a known word: correct it, or add it to the list with "
            f"python book/checks.py --add {word}"
        )
    return faults


def unknown_words(pages: Mapping[str, Page], known: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Return every unknown word of the prose and the alt texts, with its pages."""
    known = set(WORDS.read_text().split() if known is None else known)
    places: dict[str, list[str]] = {}
    for name, page in pages.items():
        if _NOT_PROSE.match(name):
            continue
        texts = [*page.prose, *(image.text or "" for image in page.images if image.in_article)]
        for word in {word for text in texts for word in _words(text)}:
            places.setdefault(word, []).append(name)
    return {word: places[word] for word in sorted(places, key=str.casefold) if not is_known(word, known)}


def _words(text: str) -> list[str]:
    """Split a text into words, without possessive endings and what contains a digit."""
    chunks = re.findall(r"\w+(?:'\w+)*", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    words = (chunk.removesuffix("'s") for chunk in chunks if not re.search(r"[\d_]", chunk))
    return [word for word in words if len(word) > 1]


def is_known(word: str, known: set[str]) -> bool:
    """Return whether a word is on a list, an abbreviation, or in the dictionary in British spelling."""
    if {word, word.lower(), word.removesuffix("s"), word.lower().removesuffix("s")} & known:
        return True
    if re.fullmatch(r"[A-Z]+s?", word) or re.search(r"[a-z][A-Z]", word):  # VAEs, CelebA
        return True
    if _respelled(word, _TO_BRITISH):
        return False
    return any(spelling in _dictionary() for spelling in (word.lower(), _respelled(word, _TO_AMERICAN)) if spelling)


def _respelled(word: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    word = word.lower()
    return next((found.expand(form) for rule, form in rules if (found := rule.fullmatch(word))), None)


@cache
def _dictionary() -> SpellChecker:
    # A distance of two letters would take seconds a word.
    return SpellChecker(language="en", distance=1)


def by_letter(word: str) -> tuple[str, str]:
    """Return the key by which the list of words is sorted."""
    return word.casefold(), word


if __name__ == "__main__":
    sys.exit(main())
