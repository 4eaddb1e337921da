"""The end of every page that is a notebook: its numbers beside those of the reference run, and what differed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

from companion import claims, runs
from companion.words import duration_in_words

# A mapping of more numbers than this is a curve, which the figures show.
_MOST_ENTRIES = 14
_NOTHING = "-"


def place(notebook: Any, result: Mapping[str, Any], defaults: Mapping[str, Any], results: Path) -> None:
    """Add the comparison to an executed notebook, if there is a reference run and this is another one.

    Parameters
    ----------
    notebook : NotebookNode
        Gets one more cell at its end.
    result : mapping
        What its run left.
    defaults : mapping
        The notebook's own parameters.
    results : Path
        The results of all profiles.
    """
    path = results / claims.REFERENCE / f"{result['experiment']}.json"
    if not path.exists():
        return
    reference = json.loads(path.read_text())
    # Also not beside itself: profile reference shows some notebooks as they were run.
    if reference["manifest"]["date"] != result["manifest"]["date"]:
        text = _text(result, reference, defaults)
        notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="side-by-side"))


def _text(result: Mapping[str, Any], reference: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "## Beside the reference run",
            "",
            "The *reference run* was made once, at the published setting, and is kept with the code.",
            _what_differed(result, reference, defaults),
            "What a difference means, and what it does not: {doc}`/book/reference`.",
            "",
            *_claims_table(result, reference),
            "",
            "::::{dropdown} Every single number, side by side",
            "",
            *_numbers_table(result["values"], reference["values"]),
            "",
            "Under these names they stand in the runs' `.json` files.",
            "::::",
        ]
    )


def _what_differed(result: Mapping[str, Any], reference: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    here, there = (defaults | one["manifest"]["parameters"] for one in (result, reference))
    # A parameter that only one of them has is of another version of the notebook.
    changed = [
        f"`{name}` {_value(there[name])} there and {_value(here[name])} here"
        for name in here
        if name in there and here[name] != there[name]
    ]
    weights, theirs = (one["manifest"].get("weights") for one in (result, reference))
    measured_anew = weights is not None and weights == theirs
    here_too = "; this page measures its weights anew" if measured_anew else f", this page's {_duration(result)}"
    sentences = [f"It took {_duration(reference)} on {reference['manifest']['device']}{here_too}."]
    if changed:
        sentences.append(f"Their parameters differ: {'; '.join(changed)}.")
    if here.get("seed") == there.get("seed") and not changed:
        sentences.append("Their parameters are the same.")
    if result["data"]["checksum"] != reference["data"]["checksum"]:
        sentences.append(
            f"So do their data: {reference['data']['source']} there ({reference['data']['n']:,} samples), "
            f"{result['data']['source']} here ({result['data']['n']:,})."
        )
    return " ".join(sentences)


def _duration(result: Mapping[str, Any]) -> str:
    return duration_in_words(runs.whole_seconds(result["manifest"]))


def _value(value: Any) -> str:
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"{value:,}"


def _claims_table(result: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    by_id = {claim["id"]: claim for claim in reference["claims"]}
    if not result["claims"]:
        return []
    lines = ["| claim | published | reference run | this page |", "|---|---|---|---|"]
    for claim in result["claims"]:
        other = by_id.get(claim["id"])
        cells = [
            f"{claim['id']} {claim['statement']} ({claim['unit']})".replace("|", r"\|"),
            claims.published_in_numbers(claim),
            f"{claims.in_numbers(other)}, {_verdict(other)}" if other else _NOTHING,
            f"{claims.in_numbers(claim)}, {_verdict(claim)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _verdict(claim: Mapping[str, Any]) -> str:
    return "holds" if claim["holds"] else "does not hold"


def _numbers_table(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    found, kept = dict(_single_numbers(here)), dict(_single_numbers(there))
    lines = ["| number | reference run | this page |", "|---|---|---|"]
    for name, value in found.items():
        lines.append(f"| {name} | {_number(kept[name]) if name in kept else _NOTHING} | {_number(value)} |")
    return lines


def _single_numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            if len(value) <= _MOST_ENTRIES:
                yield from ((f"`{name}`, {key}", one) for key, one in value.items() if _is_number(one))
        elif _is_number(value):
            yield f"`{name}`", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
