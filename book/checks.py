"""Checks of the built site: what a reader would stumble over and Sphinx lets pass.

    python book/checks.py             everything that a build checks, on the site as it was last built
    python book/checks.py --words     the words that the spelling check does not know, and where they stand
    python book/checks.py --add WORD  put words on the list book/words.txt
    python book/checks.py --external  ask every address outside the site whether it is still there

A fault is one sentence: where, what, and what to do. The build reports all of them at once.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import jinja2
import nbformat
import yaml
from pybtex.database import PybtexError, parse_file
from spellchecker import SpellChecker

ROOT = Path(__file__).resolve().parent.parent
WORDS = ROOT / "book" / "words.txt"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Check the built site.")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="where the site lies, as html/ in it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--words", action="store_true", help="print the unknown words and their pages")
    what.add_argument("--add", nargs="+", metavar="WORD", help="put words on the list of known ones")
    what.add_argument("--external", action="store_true", help="check the links that leave the site")
    options = parser.parse_args(arguments)
    if options.add:
        add_words(options.add)
        return 0
    # A build that failed left its pages where they were made; they are newer than the site in place.
    unfinished = options.build / "work" / "_build" / "html"
    site = unfinished if unfinished.exists() else options.build / "html"
    if not (site / "index.html").exists():
        print(f"checks: {options.build} has no site: run make book first.", file=sys.stderr)
        return 1
    pages = read(site)
    if options.words:
        for word, places in unknown_words(pages).items():
            print(f"{word}\t{', '.join(places)}")
        return 0
    if options.external:
        dead, unsure, asked = dead_addresses(pages)
        for sentence in unsure:
            print(sentence)
        faults = dead
        done = f"{asked} addresses outside the site were asked."
    else:
        faults = problems(options.build / "source", site)
        done = f"{len(pages)} pages were checked, {len(faults)} faults found."
    for sentence in faults:
        print(sentence, file=sys.stderr)
    print(done)
    return 1 if faults else 0


def problems(source: Path, site: Path) -> list[str]:
    """All faults of a built site and of the staged sources that it was built from, a sentence each."""
    pages = read(site)
    return [
        *missing_numbers(source),
        *unreadable_numbers(pages),
        *wrong_references(source),
        *dead_links(site, pages),
        *images_without_text(pages),
        *misspellings(pages),
    ]


# --- reading -------------------------------------------------------------------------------------------------------

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# Tags in whose midst a word goes on.
_INLINE = {"a", "abbr", "b", "dfn", "em", "i", "mark", "q", "s", "small", "span", "strong", "sub", "sup", "u"}
# What is no prose: code, formulas, and names and titles that others wrote.
_NO_PROSE_TAGS = {"button", "cite", "code", "kbd", "math", "nav", "pre", "samp", "script", "style", "svg", "template"}
_NO_PROSE_CLASSES = {"bibtex-citation", "citation", "classifier", "headerlink", "math", "sig"}
# A formula or a piece of code stands in the text as a digit, so that "$d$-th" is not read as a word "th".
_STAND_IN = "0"


class Image(NamedTuple):
    """A picture: the file it shows (or its tag), what is said of it (None: nothing), and if it is the page's own."""

    name: str
    text: str | None
    in_article: bool


class Page(HTMLParser):
    """What the checks want to know of one page.

    Attributes
    ----------
    ids : set of str
        Everything that a link may point at.
    links : list of str
        Addresses of all links, pictures, scripts and styles, as written.
    images : list of Image
        Pictures, without those that are declared to be decoration.
    prose : list of str
        The text of paragraphs, headings, captions, list items and table cells, without code and formulas.
    outputs : list of str
        What cells of a notebook printed.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.images: list[Image] = []
        self.prose: list[str] = []
        self.outputs: list[str] = []
        self._open: list[_Open] = []
        self._text: list[str] = []
        self._drawing: tuple[int, str | None] | None = None  # how deep in the page an <svg> began, and its title
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """An element begins: its names, links and pictures are taken, and what it means for the text in it."""
        given = {name: value or "" for name, value in attrs}
        above = self._open[-1] if self._open else _Open("", *[False] * 6)
        classes = set(given.get("class", "").split())
        here = _Open(
            tag,
            above.article or tag == "article",
            above.skipped
            or tag in _NO_PROSE_TAGS
            or bool(classes & _NO_PROSE_CLASSES)
            or (above.fields and tag in ("em", "strong")),  # types and names of parameters
            above.output or "cell_output" in classes,
            above.printed or (above.output and tag == "pre"),
            above.hidden or given.get("aria-hidden") == "true",
            above.fields or "field-list" in classes,
        )
        self.ids.update(given[name] for name in ("id", "name") if given.get(name) and (name == "id" or tag == "a"))
        self._take_links(tag, given)
        self._take_image(given, here)
        if tag not in _INLINE:
            self._end_block()
        if here.skipped and not above.skipped and above.article:
            self._text.append(_STAND_IN if "math" in classes or tag in ("code", "kbd", "samp") else " ")
        if tag not in _VOID:
            self._open.append(here)

    def handle_endtag(self, tag: str) -> None:
        """An element ends, and so does a block of text unless it goes on around it."""
        if tag not in _INLINE:
            self._end_block()
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth].tag == tag:  # what was left open inside ends here too
                if self._drawing and self._drawing[0] == depth:
                    self.images.append(Image("an inline <svg>", self._drawing[1], self._open[depth].article))
                    self._drawing = None
                del self._open[depth:]
                return

    def handle_data(self, data: str) -> None:
        """Text: prose, or what a cell printed, or neither."""
        here = self._open[-1] if self._open else None
        if self._drawing and here and here.tag == "title":
            self._drawing = (self._drawing[0], data.strip() or self._drawing[1])
        if here is None or not here.article:
            return
        if not here.skipped:
            self._text.append(data)
        elif here.printed:
            self.outputs.append(data)

    def _end_block(self) -> None:
        # Code and formulas inside a line must not end it, or "VAE's" and "`beta`s" would fall apart.
        if self._open and self._open[-1].skipped:
            return
        text = " ".join("".join(self._text).split())
        self._text = []
        if text:
            self.prose.append(text)

    def _take_links(self, tag: str, given: Mapping[str, str]) -> None:
        wanted = ("href", "src", "poster", "xlink:href") + (("data",) if tag == "object" else ())
        self.links += [given[name].strip() for name in wanted if name in given]
        if tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.links += re.findall(r"url=(\S+)", given.get("content", ""), re.IGNORECASE)

    def _take_image(self, given: Mapping[str, str], here: _Open) -> None:
        if here.hidden or given.get("role") in ("presentation", "none"):
            return
        label = given.get("aria-label") or given.get("aria-labelledby")
        if here.tag == "img":
            self.images.append(Image(given.get("src", "<img>"), given.get("alt", label), here.article))
        elif here.tag == "svg":
            if self._drawing is None:
                self._drawing = (len(self._open), label)
        elif given.get("role") == "img":
            self.images.append(Image(f"a <{here.tag}> with the role of an image", label, here.article))


class _Open(NamedTuple):
    """An element that the parser is inside of, and what that means for the text in it."""

    tag: str
    article: bool
    skipped: bool
    output: bool
    printed: bool
    hidden: bool
    fields: bool


def read(site: Path) -> dict[str, Page]:
    """Every page of a built site, by its path in it. The theme's own snippets are no pages."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in paths}


def _source_texts(source: Path) -> Iterator[tuple[str, str]]:
    """Where, and the Markdown of every staged page and of every Markdown cell and caption of a staged notebook."""
    for path in sorted(source.rglob("*.md")):
        yield path.relative_to(source).as_posix(), path.read_text()
    for path in sorted(source.rglob("*.ipynb")):
        name = path.relative_to(source).as_posix()
        for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
            shown = cell.metadata.get("mystnb", {})
            text = cell.source if cell.cell_type == "markdown" else shown.get("figure", {}).get("caption", "")
            yield f"{name}, cell {index}", text


# --- numbers -------------------------------------------------------------------------------------------------------

_SUBSTITUTION = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)
# Code, in which nothing is substituted: fences (other directives than those of code hold prose) and inline.
_CODE = re.compile(
    r"^(`{3,}|~{3,})(?!\{(?!code)).*?^\1[`~]*\s*$|(?<!`)(`{1,2})(?!`)(?:(?!\n\n).)+?(?<!`)\2(?!`)",
    re.DOTALL | re.MULTILINE,
)
# How Python prints what is no number, where a number was expected. "None" is an English word, and a page may speak of
# NaN: in prose these count alone in a cell of a table and behind a colon or an equals sign.
_NO_NUMBER = re.compile(r"\{\{|\}\}|\{%|(?<![\w-])-?(?:nan|inf)(?![\w-])|<(?:built-in|bound|function|object)\b")
_NO_NUMBER_PRINTED = re.compile(r"(?<![\w-])-?(?:nan|NaN|inf)(?![\w-])|\bNone\b")
_NONE_IN_PROSE = re.compile(r"^(?:None|NaN)$|(?<=[:=] )(?:None|NaN)\b")


def missing_numbers(source: Path) -> list[str]:
    """Substitutions `{{ ... }}` of the staged sources that have no value, or one that is no number and no text."""
    config = yaml.load((source / "_config.yml").read_text(), Loader=_LOADER)
    numbers = config.get("sphinx", {}).get("config", {}).get("myst_substitutions", {})
    jinja = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    faults = []
    for place, text in _source_texts(source):
        for expression in _SUBSTITUTION.findall(_CODE.sub("", text)):
            try:
                shown = jinja.from_string("{{" + expression + "}}").render(numbers)
            except Exception as error:  # whatever an expression may raise, a page has no number
                faults.append(
                    f"{place}: {{{{{expression}}}}} has no value ({error}); run the notebook or mend the name."
                )
                continue
            empty = not shown.strip() and " else " not in expression  # a condition may well choose to say nothing
            if empty or shown == "None" or shown.startswith(("{", "[")) or _NO_NUMBER.search(shown):
                kept = shown if len(shown) < 60 else shown[:57] + "..."
                faults.append(f"{place}: {{{{{expression}}}}} comes out as '{kept}'; name a single number or text.")
    return faults


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the spectra of all notebooks are long


def unreadable_numbers(pages: Mapping[str, Page]) -> list[str]:
    """Where a page shows `nan` and the like, or a substitution that was not made."""
    faults = []
    for name, page in pages.items():
        said = [*page.prose, *(image.text or "" for image in page.images)]
        shown = [(_NO_NUMBER.search(text) or _NONE_IN_PROSE.search(text), text) for text in said]
        shown += [(_NO_NUMBER_PRINTED.search(text), text) for text in page.outputs]
        faults += [
            f"{name}: '{found.group()}' stands where a number should be, in '{_around(text, found)}'; "
            "a substitution has no value there, or a cell shows what it could not compute."
            for found, text in shown
            if found
        ]
    return faults


def _around(text: str, found: re.Match[str]) -> str:
    return " ".join(text[max(0, found.start() - 40) : found.end() + 40].split())


# --- references ----------------------------------------------------------------------------------------------------

_CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


def wrong_references(source: Path) -> list[str]:
    """Entries of the bibliography that no page cites, and citations without an entry."""
    bibliography = source / "book" / "references.bib"
    try:
        entries = set(parse_file(bibliography).entries)
    except PybtexError as error:
        return [f"book/references.bib: cannot be read ({error}); mend the entry."]
    cited = defaultdict(list)
    for place, text in _source_texts(source):
        for keys in _CITED.findall(text):
            for key in keys.split(","):
                cited[key.strip()].append(place)
    return [
        *(f"book/references.bib: no page cites {key}; cite it or take it out." for key in sorted(entries - set(cited))),
        *(
            f"{cited[key][0]}: cites {key}, which book/references.bib does not have; add it or mend the key."
            for key in sorted(set(cited) - entries)
        ),
    ]


# --- links and pictures --------------------------------------------------------------------------------------------


def dead_links(site: Path, pages: Mapping[str, Page]) -> list[str]:
    """Links, pictures, scripts and styles whose file or anchor is not in the site."""
    faults = []
    for name, page in pages.items():
        for link in sorted(set(page.links)):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (site / name).parent / unquote(address.path) if address.path else site / name
            target = target.resolve()
            if address.path.startswith("/") or not target.is_relative_to(site.resolve()):
                faults.append(f"{name}: the link '{link}' leaves the site's folder; write it relative to the page.")
            elif not target.is_file():
                faults.append(f"{name}: the link '{link}' leads nowhere; there is no such file in the site.")
            elif address.fragment:
                there = pages.get(target.relative_to(site.resolve()).as_posix())
                if there is not None and unquote(address.fragment) not in there.ids:
                    faults.append(f"{name}: the link '{link}' has no such anchor on its page; mend the part after #.")
    return faults


def images_without_text(pages: Mapping[str, Page]) -> list[str]:
    """Pictures of which nothing is said to those who cannot see them, or only the name of a file."""
    return [
        f"{name}: the image {image.name} has no alt text; say what it shows."
        for name, page in pages.items()
        for image in page.images
        if not (image.text or "").strip() or image.text in (image.name, Path(image.name).name, Path(image.name).stem)
    ]


# --- spelling ------------------------------------------------------------------------------------------------------

# Lists and indexes made of names; sources of the package.
_NOT_PROSE = re.compile(r"^(_modules/|genindex|py-modindex|search\.html)")
_COLOUR = "arm|behavi|clam|col|endeav|fav|flav|harb|hon|hum|lab|neighb|rum|sav|splend|tum|vap|vig"
_ENDINGS = "(?:s|ed|ing|al|able|ably|er|ers|ings|ist|ful|fully|hood|hoods|less|ly|ite|ites)?"
_BRITISH = (
    (re.compile(rf"((?:dis|mis|un)?(?:{_COLOUR}))our({_ENDINGS})"), r"\1or\2"),
    (re.compile(r"(cent|fib|lit|(?:kilo|centi|milli|micro|nano)?met|theat|spect)re(s)?"), r"\1er\2"),
    (re.compile(r"centr(ed|ing)"), r"center\1"),
    (re.compile(r"(anal|paral|catal)ys(e|ed|es|er|ers|ing)"), r"\1yz\2"),
)
_AMERICAN = (
    (re.compile(rf"((?:dis|mis|un)?(?:{_COLOUR}))or({_ENDINGS})"), r"\1our\2"),
    (re.compile(r"(cent|fib|theat)er(s)?"), r"\1re\2"),
    (re.compile(r"center(ed|ing)"), r"centr\1"),
    (re.compile(r"(anal|paral|catal)yz(e|ed|es|er|ers|ing)"), r"\1ys\2"),
    (re.compile(r"((?:un)?(?:cancel|channel|label|level|model|signal|travel))(ed|ing|er|ers)"), r"\1l\2"),
    (re.compile(r"gray(s|ish|scale)?"), r"grey\1"),
    (re.compile(r"artifact(s)?"), r"artefact\1"),
)


def misspellings(pages: Mapping[str, Page]) -> list[str]:
    """Words that are neither in the English dictionary nor on the list of the book."""
    faults = []
    for word, places in unknown_words(pages).items():
        like = _british_form(word) or _dictionary().correction(word.lower())
        hint = f" ({like}?)" if like and like != word.lower() else ""
        faults.append(
            f"{', '.join(places)}: '{word}'{hint} is not a known word; mend it, or if it is right put it on the list "
            f"with: python book/checks.py --add {word}"
        )
    return faults


def unknown_words(pages: Mapping[str, Page], known: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Every unknown word of the prose and the alt texts, with the pages that it stands on."""
    known = set(WORDS.read_text().split() if known is None else known)
    places: dict[str, list[str]] = {}
    for name, page in pages.items():
        if _NOT_PROSE.match(name):
            continue
        words = {word for text in page.prose for word in words_of(text)}
        words |= {word for image in page.images if image.in_article for word in words_of(image.text or "")}
        for word in words:
            places.setdefault(word, []).append(name)
    return {word: places[word] for word in sorted(places, key=str.casefold) if not _is_known(word, known)}


def words_of(text: str) -> list[str]:
    """The words of a text: parts of hyphenated ones each, possessives without their s, nothing that holds a digit."""
    chunks = re.findall(r"\w+(?:'\w+)*", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    words = (chunk.removesuffix("'s") for chunk in chunks if not re.search(r"[\d_]", chunk))
    return [word for word in words if len(word) > 1]


def _is_known(word: str, known: set[str]) -> bool:
    if {word, word.lower(), word.removesuffix("s"), word.lower().removesuffix("s")} & known:
        return True
    if re.fullmatch(r"[A-Z]+s?", word) or re.search(r"[a-z][A-Z]", word):  # VAEs; a name like CelebA or that of a class
        return True
    if _british_form(word):
        return False
    return word.lower() in _dictionary() or _american_form(word.lower()) in _dictionary()


def _british_form(word: str) -> str | None:
    """How a word in American spelling is written here; None for all others."""
    return _rewritten(word.lower(), _AMERICAN)


def _american_form(word: str) -> str:
    """The spelling under which the dictionary has a British word."""
    return _rewritten(word, _BRITISH) or word


def _rewritten(word: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    return next((found.expand(form) for rule, form in rules if (found := rule.fullmatch(word))), None)


@cache
def _dictionary() -> SpellChecker:
    # Distance 1: a slip of one letter is what a hint can repair, and two letters would take seconds a word.
    return SpellChecker(language="en", distance=1)


def add_words(words: Iterable[str]) -> None:
    """Put words on the list, which stays sorted."""
    known = {*WORDS.read_text().split(), *words} if WORDS.exists() else set(words)
    WORDS.write_text("".join(f"{word}\n" for word in sorted(known, key=_by_letter)))


def _by_letter(word: str) -> tuple[str, str]:
    return word.casefold(), word


# --- links that leave the site -------------------------------------------------------------------------------------

_TIMEOUT_SECONDS = 20
_PAUSE_SECONDS = 0.5  # between two questions to one machine
# A site that turns programs away or asks for patience is there.
_TURNED_AWAY = {401, 403, 405, 406, 418, 429, 451, 999}


def dead_addresses(pages: Mapping[str, Page]) -> tuple[list[str], list[str], int]:
    """Ask every http address that a page links to.

    Returns
    -------
    dead, unsure : list of str
        A sentence for each address that does not answer, and for each that answers no programs.
    asked : int
        How many addresses there were.
    """
    where: dict[str, list[str]] = {}
    for name, page in pages.items():
        for link in sorted(set(page.links)):
            if urlsplit(link).scheme in ("http", "https"):
                where.setdefault(link.partition("#")[0], []).append(name)
    by_machine: dict[str, list[str]] = {}
    for address in sorted(where):
        by_machine.setdefault(urlsplit(address).netloc, []).append(address)
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = dict(pair for pairs in pool.map(_ask_in_turn, by_machine.values()) for pair in pairs)
    if answers and all(isinstance(answer, str) for answer in answers.values()):
        first = next(iter(answers.values()))
        return [f"None of {len(where)} addresses answers ({first}): is this machine on the network?"], [], len(where)
    dead, unsure = [], []
    for address in sorted(where):
        answer, on = answers[address], f"(on {', '.join(sorted(set(where[address])))})"
        if isinstance(answer, int) and answer in _TURNED_AWAY:
            unsure.append(f"{address} answers {answer} to programs; look yourself {on}.")
        elif answer is not None:
            dead.append(f"{address} is dead: {answer} {on}; mend the link or take it out.")
    return dead, unsure, len(where)


def _ask_in_turn(addresses: Sequence[str]) -> list[tuple[str, int | str | None]]:
    answers = []
    for index, address in enumerate(addresses):
        if index:
            time.sleep(_PAUSE_SECONDS)
        answers.append((address, _ask(address)))
    return answers


def _ask(address: str) -> int | str | None:
    """None if the address answers, else the status or the reason."""
    answer: int | str | None = None
    for method in ("HEAD", "GET"):  # some machines know no HEAD
        quoted = quote(address, safe="%/:?=&+,;@!$'()*~#[]")
        request = urllib.request.Request(quoted, method=method, headers={"User-Agent": "vaemi's check of links"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            answer = error.code
            error.close()
        except (OSError, ValueError) as error:
            answer = str(getattr(error, "reason", error)) or type(error).__name__
    return answer


if __name__ == "__main__":
    sys.exit(main())
