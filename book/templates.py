"""Templates of the parts of pages that programs write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROOT / "book" / "_templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=jinja2.select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
# It would end a cell.
_BARE_PIPE = re.compile(r"(?<!\\)\|")


def render(template: str, **values: Any) -> str:
    """Render a file of `book/_templates`; a value that is not given is an error."""
    return _ENVIRONMENT.get_template(template).render(values)


def markdown_table(rows: pd.DataFrame) -> str:
    """Return a table of strings as Markdown, without its index."""
    escaped = rows.map(lambda cell: _BARE_PIPE.sub(r"\|", cell) if isinstance(cell, str) else cell)
    return escaped.to_markdown(index=False, disable_numparse=True) + "\n"
