"""Mends, in the finished site, what the tools behind it write and a reader or a screen reader stumbles over."""

from __future__ import annotations

import re
from pathlib import Path

_MENDED = [
    # A list whose members are not allowed in a list; without the roles the paragraphs are simply read one by one.
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    (re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"'), r"\1"),
    # The corner of a table is no heading of anything.
    (re.compile(r'<th(?: class="[^"]*")?>\s*(?:<p>\s*</p>)?\s*</th>'), "<td></td>"),
    # The logo and the search field would stand outside every landmark.
    (
        re.compile(r'<div class="bd-sidebar-primary bd-sidebar"'),
        '<div class="bd-sidebar-primary bd-sidebar" role="complementary" aria-label="Contents and search"',
    ),
    # A formula is a box to the browser, which may begin a line with the full stop behind it.
    (
        re.compile(
            r'(?<!<span class="glued">)(<span class="math notranslate nohighlight">[^<]*</span>(?:[.,;:?!)\]]+|-\w+))'
        ),
        r'<span class="glued">\1</span>',
    ),
]

# In the list of pages, the arrow that shows the pages below one says nothing of what it opens.
_ARROW = re.compile(
    r'(<a class="[^"]*" href="[^"]*">((?:(?!</a>).)*)</a><details[^>]*>)'
    r'<summary>(<span class="toctree-toggle") role="presentation"'
)


def mend(site: Path) -> None:
    """Mend every page of a site.

    Parameters
    ----------
    site : Path
        Folder of the finished pages.
    """
    for page in site.rglob("*.html"):
        text = page.read_text()
        mended = _ARROW.sub(_named_arrow, text)
        for fault, better in _MENDED:
            mended = fault.sub(better, mended)
        if mended != text:
            page.write_text(mended)


def _named_arrow(found: re.Match[str]) -> str:
    before, title, arrow = found.groups()
    name = re.sub(r"<[^>]*>", "", title)
    return f'{before}<summary aria-label="{name}, its pages">{arrow} aria-hidden="true"'
