"""How to cite the paper and the software, from `book/references.bib` and `CITATION.cff`."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from pybtex.database import parse_file
from templates import ROOT, render

_PAPER = "liu2020discovering"


def box(repository: Mapping[str, str]) -> str:
    """Return the Markdown that links the paper and shows both entries as BibTeX.

    Parameters
    ----------
    repository : mapping
        `url` of the public repository, which may be empty.
    """
    entry = parse_file(ROOT / "book" / "references.bib").entries[_PAPER]
    return render(
        "cite.md",
        doi=entry.fields["doi"],
        arxiv=entry.fields["url"],
        paper=entry.to_string("bibtex").strip(),
        software=software(repository["url"]),
    )


def software(url: str) -> str:
    """Return the entry of the software in BibTeX."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    fields = {
        "title": f"{{{about['title']}}}",
        # Braces keep "The vaemi authors" one name.
        "author": " and ".join(f"{{{author['name']}}}" for author in about["authors"]),
        "year": about["date-released"].year,
        "version": about["version"],
        "note": f"Software, {about['license']} licence",
        **({"url": url} if url else {}),
    }
    lines = ",\n".join(f"    {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{vaemi,\n{lines}\n}}"
