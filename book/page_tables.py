"""The claims on the landing page, and the comparison of a run with the reference run at the end of its page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from templates import markdown_table, render

from companion import claims, runs
from companion.words import duration_in_words

NO_BREAK_SPACE = "\u00a0"
STAND_IN = f"{NO_BREAK_SPACE}†"
NOTHING = "-"


# --- the claims on the landing page -----------------------------------------------------------------------------------

# What a claim says and what its number counts, short enough for a narrow column.
LINES = {
    "C1": ("A few factors hold almost all the information", "share of the factors in use"),
    "C2": (r"The spread $\sigma^*$ is about 1, used or not", "largest distance from 1"),
    "C3": ("The most informative factors redraw best", "extra error by spread or at random"),
    "C4": ("Accuracy falls with the information removed", "accuracy with a tenth of the factors"),
    "C5": ("Information bounds the error of redrawing", "error of a linear VAE above the bound"),
    "C6": ("The estimate converges to the truth", "slope of its error; theory says -0.5"),
    "C7": ("No factors beyond the data's dimension", "runs with as many factors as dimensions"),
    "C8": ("Used factors predict attributes of faces, and suffice", "gain in classification that they keep"),
    "C9": ("A factor of EEG goes with emotion", "rank correlation with how people felt"),
}


def mark_conclusion(notebook: Any, result: Mapping[str, Any]) -> None:
    """Insert link targets of a run's claims before the cell of its executed notebook that shows their verdicts."""
    targets = "\n".join(f"({_anchor(claim)})=" for claim in result["claims"])
    for index, cell in enumerate(notebook.cells):
        # The latter in notebooks of earlier versions, which are committed as they were run.
        if cell.cell_type == "code" and any(shown in cell.source for shown in ("show_verdicts(", "claims.table(")):
            # A target needs text after it in the same cell.
            sentence = "Each verdict follows from a rule that was fixed before the run; the rules are below the table."
            notebook.cells.insert(index, nbformat.v4.new_markdown_cell(f"{targets}\n{sentence}"))
            return


def claims_table(rows: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the claims of a build as a Markdown table, with a column for the reference run if there is one."""
    columns = {
        "claim": [_claim_in_a_line(claim) for claim in rows],
        "published": [_with_unit(claims.published_in_numbers(claim), claim) for claim in rows],
    }
    if reference:
        measured = {claim["id"]: _measured(claim) for claim in reference}
        columns["reference run"] = [measured.get(claim["id"], NOTHING) for claim in rows]
    columns["this build"] = [_measured(claim) for claim in rows]
    columns["verdict"] = [
        ("holds" if claim["holds"] else "[does not hold]{.fails}") + STAND_IN * claim["data"]["stand_in"]
        for claim in rows
    ]
    return markdown_table(pd.DataFrame(columns))


def rules(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rule of each claim's verdict, as a Markdown list."""
    return "".join(f"- **{claim['id']}** holds when {claim['rule']}.\n" for claim in rows)


def notes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the explanation of the signs in the table of claims, with the stand-in data by claim."""
    by_source: dict[str, dict[str, None]] = {}
    for claim in rows:
        if claim["data"]["stand_in"]:
            by_source.setdefault(claim["data"]["source"], {})[claim["id"]] = None
    note = "[The rules](#rules) behind the verdicts are below. A dash: the paper gives no number."
    if by_source:
        sources = "; ".join(f"{', '.join(ids)}: {source}" for source, ids in by_source.items())
        note += f" † On a stand-in for the data of the paper; {sources}."
    return note + "\n"


def _anchor(claim: Mapping[str, Any]) -> str:
    return f"claim-{claim['id'].lower()}"


def _claim_in_a_line(claim: Mapping[str, Any]) -> str:
    says, counts = LINES.get(claim["id"], (claim["statement"].rstrip("."), claim["unit"]))
    text = f"[{claim['id']}. {says}](#{_anchor(claim)}) [{counts}]{{.counts}}"
    if not claim["holds"]:
        # In this column, as the one of the verdicts is narrow.
        text += f" [{claims.in_words(claim)}]{{.why}}".replace(" %", f"{NO_BREAK_SPACE}%")
    return text


def _measured(claim: Mapping[str, Any]) -> str:
    return _with_unit(claims.in_numbers(claim), claim) + STAND_IN * claim["data"]["stand_in"]


def _with_unit(number: str, claim: Mapping[str, Any]) -> str:
    in_percent = number != NOTHING and claim["unit"].startswith("%")
    return f"{number}{NO_BREAK_SPACE}%" if in_percent else number


# --- a run beside the reference run, at the end of its page -----------------------------------------------------------

# A mapping of more numbers is a curve, which the figures show.
_MOST_ENTRIES = 14
# So is a longer list.
_MOST_SEEDS = 5


def compare_with_reference(
    notebook: Any, result: Mapping[str, Any], defaults: Mapping[str, Any], results: Path
) -> None:
    """Append a comparison to an executed notebook, if there is a reference run and this is another one.

    Parameters
    ----------
    notebook : NotebookNode
    result : mapping
        Result of its run.
    defaults : mapping
        The notebook's own parameters.
    results : Path
        Folder of the results of all profiles.
    """
    path = results / claims.REFERENCE / f"{result['experiment']}.json"
    if not path.exists():
        return
    reference = json.loads(path.read_text())
    # Profile reference shows some notebooks as they were run.
    if reference["manifest"]["date"] == result["manifest"]["date"]:
        return
    text = render(
        "beside_reference.md",
        differences=_differences(result, reference, defaults),
        claims=_claims_beside(result["claims"], {claim["id"]: claim for claim in reference["claims"]}),
        numbers=_numbers_beside(dict(_numbers(result["values"])), dict(_numbers(reference["values"]))),
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="side-by-side"))


def _differences(result: Mapping[str, Any], reference: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    here, there = (defaults | one["manifest"]["parameters"] for one in (result, reference))
    took, reference_took = (duration_in_words(runs.whole_seconds(one["manifest"])) for one in (result, reference))
    # A parameter that only one of them has belongs to another version of the notebook.
    changed = [
        f"`{name}` {_parameter(there[name])} there and {_parameter(here[name])} here"
        for name in here
        if name in there and here[name] != there[name]
    ]
    weights = result["manifest"].get("weights")
    same_weights = weights is not None and weights == reference["manifest"].get("weights")
    sentences = [
        f"It took {reference_took} on {reference['manifest']['device']};",
        "this page measures the same weights again." if same_weights else f"this page took {took}.",
        f"The parameters differ: {'; '.join(changed)}." if changed else "The parameters are the same.",
    ]
    if result["data"]["checksum"] != reference["data"]["checksum"]:
        data, their_data = (f"{one['data']['source']} ({one['data']['n']:,} samples)" for one in (result, reference))
        sentences.append(f"The data differ: {their_data} there, {data} here.")
    return " ".join(sentences)


def _parameter(value: Any) -> str:
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"{value:,}"


def _claims_beside(found: Sequence[Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]) -> str:
    def number_and_verdict(claim: Mapping[str, Any] | None) -> str:
        return f"{claims.in_numbers(claim)}, {'holds' if claim['holds'] else 'does not hold'}" if claim else NOTHING

    rows = [
        {
            "claim": f"{claim['id']} {claim['statement']} ({claim['unit']})".replace("|", r"\|"),
            "published": claims.published_in_numbers(claim),
            "reference run": number_and_verdict(reference.get(claim["id"])),
            "this page": number_and_verdict(claim),
        }
        for claim in found
    ]
    return markdown_table(pd.DataFrame(rows)) if rows else ""


def _numbers_beside(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    columns = {
        "number": list(here),
        "reference run": [there.get(name, NOTHING) for name in here],
        "this page": list(here.values()),
    }
    return markdown_table(pd.DataFrame(columns))


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every number, or of one for each seed, that is not part of a curve."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            entries = {f"`{name}`": value}
        else:
            entries = {f"`{name}`, {key}": one for key, one in value.items()} if len(value) <= _MOST_ENTRIES else {}
        for label, one in entries.items():
            several = one if isinstance(one, list) and len(one) <= _MOST_SEEDS else [one]
            if several and all(isinstance(number, int | float) and not isinstance(number, bool) for number in several):
                texts = [f"{number:,}" if isinstance(number, int) else f"{number:.4g}" for number in several]
                yield label, ", ".join(texts)
