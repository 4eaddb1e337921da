"""Corrections of the finished pages: what Sphinx and the theme write and a reader or a screen reader stumbles over."""

from __future__ import annotations

import re
from pathlib import Path

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
# The arrow in the list of pages that opens the pages below one.
_ARROW = re.compile(
    r'(<a class="[^"]*" href="[^"]*">((?:(?!</a>).)*)</a><details[^>]*>)'
    r'<summary>(<span class="toctree-toggle") role="presentation"'
)


def finish(site: Path) -> None:
    """Correct every page of a site, given by the folder of its pages."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        finished = _ARROW.sub(_name_arrow, _UNUSED.sub("", text))
        if page.name != "search.html":
            finished = _SEARCH_HIGHLIGHT.sub("", finished)
        for fault, correction in _ACCESSIBILITY:
            finished = fault.sub(correction, finished)
        if finished != text:
            page.write_text(finished, encoding="utf-8")


def _name_arrow(found: re.Match[str]) -> str:
    before, title, arrow = found.groups()
    name = re.sub(r"<[^>]*>", "", title)
    return f'{before}<summary aria-label="{name}, its pages">{arrow} aria-hidden="true"'
