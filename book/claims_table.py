"""The claims as the landing page shows them: a short line each, with a link to the cell that judged it.

The numbers and the verdicts are those of `companion.claims`; only the words for the small space are here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import nbformat

from companion import claims

# A space at which no line ends.
_JOINED = "\u00a0"
_STAND_IN = f"{_JOINED}†"
_NOTHING = "-"


class Line(NamedTuple):
    """What a claim says, and what its number counts, in as few words as a narrow table has room for."""

    says: str
    counts: str


LINES = {
    "C1": Line("A few factors hold almost all the information", "share of the factors in use"),
    "C2": Line(r"The spread $\sigma^*$ is about 1, used or not", "largest distance from 1"),
    "C3": Line("The most informative factors redraw best", "extra error by spread or at random"),
    "C4": Line("Accuracy falls with the information removed", "accuracy with a tenth of the factors"),
    "C5": Line("Information bounds the error of redrawing", "error of a linear VAE above the bound"),
    "C6": Line("The estimate converges to the truth", "slope of its error; theory says -0.5"),
    "C7": Line("No factors beyond the data's dimension", "runs with as many factors as dimensions"),
    "C8": Line("Used factors tell of faces, and suffice", "gain in classification that they keep"),
    "C9": Line("A factor of EEG goes with emotion", "rank correlation with how people felt"),
}


def anchor(claim_id: str) -> str:
    """The target that stands before the cell in which a claim was judged."""
    return f"claim-{claim_id.lower()}"


def mark_conclusion(notebook: Any, result: Mapping[str, Any]) -> None:
    """Put the targets of a run's claims before the cell of its executed notebook that shows their verdicts."""
    targets = "\n".join(f"({anchor(claim['id'])})=" for claim in result["claims"])
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and "claims.table(" in cell.source:
            # A sentence, since a target belongs to what follows it in the same cell.
            sentence = "Each verdict follows from a rule that was fixed before the run; the rules are below the table."
            notebook.cells.insert(index, nbformat.v4.new_markdown_cell(f"{targets}\n{sentence}"))
            return


def table(
    rows: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] = (), pages: Collection[str] = ()
) -> str:
    """The claims as Markdown: claim - published - reference run - this build - verdict.

    Parameters
    ----------
    rows : sequence of mapping
        The claims of this build, from `companion.claims.load`.
    reference : sequence of mapping, optional
        Those of the reference run; without any there is no column for it.
    pages : collection of str, optional
        The experiments that have a page; their claims link to it.
    """
    columns = ["claim", "published", *(["reference run"] if reference else []), "this build", "verdict"]
    by_id = {claim["id"]: claim for claim in reference}
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for claim in rows:
        says, counts = LINES.get(claim["id"], Line(claim["statement"].rstrip("."), claim["unit"]))
        name = f"{claim['id']}. {says}"
        if claim["experiment"] in pages:
            name = f"[{name}](#{anchor(claim['id'])})"
        name += f" [{counts}]{{.counts}}"
        if not claim["holds"]:
            # Here, where there is room: the column of verdicts is narrow.
            why = claims.in_words(claim).replace(" %", f"{_JOINED}%")
            name += f" [{why}]{{.why}}"
        cells = [name, _unit(claims.published_in_numbers(claim), claim)]
        if reference:
            cells.append(_measured(by_id[claim["id"]]) if claim["id"] in by_id else _NOTHING)
        cells += [_measured(claim), ("holds" if claim["holds"] else "[does not hold]{.fails}") + _stand_in(claim)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rules(rows: Sequence[Mapping[str, Any]]) -> str:
    """When each claim counts as holding, as a Markdown list."""
    return "".join(f"- **{claim['id']}** holds when {claim['rule']}.\n" for claim in rows)


def notes(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the signs in the table mean: where the paper gives no number, and what the stand-ins are."""
    by_source: dict[str, dict[str, None]] = {}
    for claim in rows:
        if claim["data"]["stand_in"]:
            by_source.setdefault(claim["data"]["source"], {})[claim["id"]] = None
    note = "[The rules](#rules) behind the verdicts are below. A dash: the paper gives no number."
    if by_source:
        parts = [f"{', '.join(ids)}: {source}" for source, ids in by_source.items()]
        note += f" † On a stand-in for the data of the paper; {'; '.join(parts)}."
    return note + "\n"


def _measured(claim: Mapping[str, Any]) -> str:
    return _unit(claims.in_numbers(claim), claim) + _stand_in(claim)


def _stand_in(claim: Mapping[str, Any]) -> str:
    return _STAND_IN * claim["data"]["stand_in"]


def _unit(number: str, claim: Mapping[str, Any]) -> str:
    if number == _NOTHING:
        return number
    return f"{number}{_JOINED}%" if claim["unit"].startswith("%") else number
