"""Corrections of the finished pages, their descriptions for search engines, and the previews of what links lead to."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath

from bs4 import BeautifulSoup
from bs4.element import Tag

# Font preloads, which fail when a page is opened from a file (the fonts load without); a service that runs code
# elsewhere; a script of 1.5 MB that draws the icons a second time.
_UNUSED = re.compile(
    r"""<link\ rel="preload"\ as="font"[^>]*> | <link\ rel="preload"\ as="script"[^>]*fontawesome[^>]*>
      | <script[^>]*fontawesome[^>]*></script> | <script>const\ THEBE_JS_URL.*?</script>
      | <script[^>]*sphinx-thebe\.js[^>]*></script> | <link[^>]*sphinx-thebe\.css[^>]*>""",
    re.VERBOSE | re.DOTALL,
)
# Outside the page of results it would highlight the search words on every further page.
_SEARCH_HIGHLIGHT = re.compile(r"<script[^>]*sphinx_highlight\.js[^>]*></script>")
_ACCESSIBILITY = [
    # A list whose children may not be in a list; without the roles the paragraphs are read one by one.
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    (re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"'), r"\1"),
    # The empty corner of a table is not a heading.
    (re.compile(r'<th(?: class="[^"]*")?>\s*(?:<p>\s*</p>)?\s*</th>'), "<td></td>"),
    # Otherwise the logo and the search field are outside every landmark.
    (
        re.compile(r'<div class="bd-sidebar-primary bd-sidebar"'),
        '<div class="bd-sidebar-primary bd-sidebar" role="complementary" aria-label="Contents and search"',
    ),
    # A formula is a box, and a line can break between it and the full stop that follows.
    (
        re.compile(
            r'(?<!<span class="glued">)(<span class="math notranslate nohighlight">[^<]*</span>(?:[.,;:?!)\]]+|-\w+))'
        ),
        r'<span class="glued">\1</span>',
    ),
]
# In `_static`: what a messenger shows beside a link to any page.
PREVIEW_PICTURE = "landing.png"
# The arrow in the list of pages that opens the pages below one.
_ARROW = re.compile(
    r'(<a class="[^"]*" href="[^"]*">((?:(?!</a>).)*)</a><details[^>]*>)'
    r'<summary>(<span class="toctree-toggle") role="presentation"'
)


# The lines that open a page, or else its first paragraph.
_OPENING = re.compile(r"<article.*?<p>(?:.*?(?=<em>You will learn</em>))?(.*?)(?:<em>Time:|</p>)", re.DOTALL)
_TITLE = re.compile(r"<title>(.*?)(?: &#8212; (.*?))?</title>", re.DOTALL)
_LONGEST_DESCRIPTION = 200
# Links to glossary terms, equations and citations, and the files with the previews of what they lead to.
_PREVIEWED = re.compile(r'href="([^"#]*)#((?:term-|equation-|id\d)[^"]*)"')
_PREVIEWS = Path("_static", "previews-of-targets.js")
_TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
# Mean length of the texts of a row from which a table of three columns or more is too dense for a phone.
_LONG_ROW = 95


def finish(site: Path) -> None:
    """Correct every page of a site, given by the folder of its pages, describe it, and write the previews."""
    targets: dict[str, set[str]] = {}
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        finished = _ARROW.sub(_name_arrow, _UNUSED.sub("", text))
        if page.name != "search.html":
            finished = _SEARCH_HIGHLIGHT.sub("", finished)
        for fault, correction in _ACCESSIBILITY:
            finished = fault.sub(correction, finished)
        name = page.relative_to(site).as_posix()
        finished = _TABLE.sub(_as_cards, _described(finished, name))
        if finished != text:
            page.write_text(finished, encoding="utf-8")
        for file, anchor in _PREVIEWED.findall(text):
            there = normpath(PurePosixPath(name).parent / file) if file else name
            targets.setdefault(there, set()).add(html.unescape(anchor))
    previews = {
        f"{there}#{anchor}": preview
        for there, anchors in sorted(targets.items())
        if (site / there).is_file()
        for anchor, preview in _previews((site / there).read_text(encoding="utf-8"), anchors)
    }
    (site / _PREVIEWS).parent.mkdir(exist_ok=True)
    (site / _PREVIEWS).write_text(f"window.previews = {json.dumps(previews)};\n", encoding="utf-8")


def _described(text: str, name: str) -> str:
    """Return a page with the tags that search engines and messengers show: a description, and a title of its own."""
    title, opening = _TITLE.search(text), _OPENING.search(text)
    if not title or not opening or "og:title" in text:
        return text
    words = " ".join(html.unescape(re.sub(r"<[^>]*>|\\[()]", "", opening[1])).split())
    if len(words) > _LONGEST_DESCRIPTION:
        words = words[:_LONGEST_DESCRIPTION].rpartition(" ")[0] + " ..."
    address = re.search(r'<link rel="canonical" href="([^"]*)"', text)
    about = {"og:type": "article", "og:title": title[1], "og:description": html.escape(words)}
    about |= {"og:site_name": title[2]} if title[2] else {}
    if address:
        about |= {"og:url": address[1], "og:image": f"{address[1].removesuffix(name)}_static/{PREVIEW_PICTURE}"}
    tags = "".join(f'<meta property="{name}" content="{value}">\n' for name, value in about.items())
    return text.replace("<title>", f'<meta name="description" content="{html.escape(words)}">\n{tags}<title>', 1)


def _as_cards(found: re.Match[str]) -> str:
    """Return a table; one with long texts with the class and the labels by which book.css makes cards of its rows."""
    table = BeautifulSoup(found[0], "html.parser")
    heads = [head.get_text(" ", strip=True) for head in table.select("thead tr > *")]
    rows = [row.find_all(["td", "th"]) for row in table.select("tbody tr")]
    length = sum(len(cell.get_text(strip=True)) for row in rows for cell in row)
    if len(heads) < 3 or length < _LONG_ROW * len(rows):
        return found[0]
    table.table["class"] = [*table.table.get("class", []), "cards"]
    for row in rows:
        for cell, head in zip(row, heads, strict=False):
            cell["data-label"] = head
    return str(table)


def _previews(page: str, anchors: set[str]) -> list[tuple[str, str]]:
    """Return the HTML of each term, equation and citation of a page that one of the anchors names, after its anchor."""
    found = []
    for target in BeautifulSoup(page, "html.parser").find_all(id=sorted(anchors)):
        if target.name == "dt":
            shown = target.find_next_sibling("dd")
        elif "math" in target.get("class", ()):
            shown = target
        elif "citation" in target.get("class", ()):
            shown = target.find("p")
        else:
            shown = None
        if isinstance(shown, Tag):
            for link in shown.find_all("a"):  # relative to the page that they are on
                link.decompose() if "headerlink" in link.get("class", ()) else link.unwrap()
            for part in shown.find_all(id=True):
                del part["id"]
            found.append((str(target["id"]), shown.decode_contents().strip()))
    return found


def _name_arrow(found: re.Match[str]) -> str:
    before, title, arrow = found.groups()
    name = re.sub(r"<[^>]*>", "", title)
    return f'{before}<summary aria-label="{name}, its pages">{arrow} aria-hidden="true"'
