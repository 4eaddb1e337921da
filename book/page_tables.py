"""The claims on the landing page, and the comparison of a run with the reference run at the end of its page."""

from __future__ import annotations

import json
import re
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

_CLASSES = {"holds in part": "part", "does not hold": "fails", "fails": "fails", "not tested": "untested"}


def mark_conclusion(notebook: Any, result: Mapping[str, Any]) -> None:
    """Insert link targets of a run's claims before the cell of its executed notebook that shows their verdicts."""
    targets = "\n".join(f"({_anchor(claim)})=" for claim in result["claims"])
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and "show_verdicts(" in cell.source:
            # A target needs text after it in the same cell.
            sentence = (
                "Each verdict follows from a rule. The rules are below the table, and under each the earlier ones that "
                "it replaced; the words of the paper are on {doc}`the page on verdicts </book/verdicts>`."
            )
            notebook.cells.insert(index, nbformat.v4.new_markdown_cell(f"{targets}\n{sentence}"))
            return


def claims_table(rows: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the claims of a build as a Markdown table, with a column for the reference run if there is one."""
    rows = _claims_in(rows)
    columns = {
        "claim": [_claim_in_a_line(claim) for claim in rows],
        "published": [_with_unit(claims.published_in_numbers(claim), claim) for claim in rows],
    }
    if reference:
        measured = {claim["id"]: _measured(claim) for claim in reference}
        columns["reference run"] = [measured.get(claim["id"], NOTHING) for claim in rows]
    columns["this build"] = [_measured(claim) for claim in rows]
    columns["verdict"] = [_verdict(claim) for claim in rows]
    return markdown_table(pd.DataFrame(columns))


def notes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the explanation of the table of claims, with the stand-in data by claim."""
    by_source: dict[str, dict[str, None]] = {}
    for claim in _claims_in(rows):
        if claim["data"]["stand_in"]:
            by_source.setdefault(claim["data"]["source"], {})[claim["id"]] = None
    note = (
        "Ranges are 95 % intervals; a number without one is exact, or both ends of its interval round to the same "
        "number. Published numbers are from the authors' notebook; a dash: there is none. C6b is about our own "
        "estimator and is not one of the paper's claims. C5 was a theorem; it is now [check T6](#claim-t6)."
    )
    if by_source:
        sources = "; ".join(f"{', '.join(ids)}: {source}" for source, ids in by_source.items())
        note += f" † On a stand-in for the data of the paper; {sources}."
    return f"{note} {{doc}}`The rules, their reasons and their history <verdicts>`.\n"


# In brackets, which may hold others.
_DETAILS = re.compile(r" \((?:[^()]|\([^()]*\))*\)")


def _claims_in(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [claim for claim in rows if claims.is_claim(claim["id"])]


def _anchor(claim: Mapping[str, Any]) -> str:
    return f"claim-{claim['id'].lower()}"


def _verdict(claim: Mapping[str, Any]) -> str:
    verdict = claim["verdict"]
    return f"[{verdict}]{{.{_CLASSES[verdict]}}}" if verdict in _CLASSES else verdict


def _claim_in_a_line(claim: Mapping[str, Any]) -> str:
    about = claims.written()[claim["id"]]
    text = f"[{claim['id']}. {about['says']}](#{_anchor(claim)}) [{about['counts']}]{{.counts}}"
    if why := _DETAILS.sub("", _explanation(claim)):
        # In this column, as the one of the verdicts is narrow.
        text += f" [{why}]{{.why}}"
    return text


def _explanation(claim: Mapping[str, Any]) -> str:
    why = _in_a_cell(claims.explanation(claim))
    return why[:1].upper() + why[1:]


def _measured(claim: Mapping[str, Any]) -> str:
    value, interval = claims.value_and_interval(claim)
    # On a line of its own, as the column is narrow.
    below = f" [{interval}]{{.counts}}" if interval else ""
    return _with_unit(value, claim) + STAND_IN * claim["data"]["stand_in"] + below


def _with_unit(number: str, claim: Mapping[str, Any]) -> str:
    in_percent = number != NOTHING and claim["unit"].startswith("%")
    return f"{number}{NO_BREAK_SPACE}%" if in_percent else number


# --- the page on verdicts ---------------------------------------------------------------------------------------------


def verdicts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a section per claim: the words of the paper, the rule, the verdict, and the history of the rule."""
    sections = []
    for claim in _claims_in(rows):
        last = claim["rules"][-1]
        value, interval = claims.value_and_interval(claim)
        within = f"; 95 % interval {interval}, over: {claim['error_bar']}" if interval else ""
        number = _with_unit(value, claim)
        history = pd.DataFrame(
            [
                {"date": _unbroken(one["date"]), "rule": one["rule"], "why": one["reason"], "this build": _under(one)}
                for one in claim["rules"]
            ]
        )
        quote = claim["quote"] if claim["quote"].startswith("(") else f'*"{claim["quote"]}"*'
        sections.append(
            render(
                "verdict.md",
                claim=claim,
                quote=quote,
                statement=_in_a_cell(claim["statement"]),
                source=_in_a_cell(claim["source"]),
                number=_in_a_cell(f"{number} {claim['unit'].removeprefix('% ')}{within}"),
                since=_unbroken(last["date"]),
                verdict=_verdict(claim),
                why=_explanation(claim),
                rule=_in_a_cell(last["rule"]),
                target=_anchor(claim),
                history=markdown_table(history.map(_in_a_cell)) if len(history) > 1 else "",
            )
        )
    return "\n".join(sections)


def checks(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the checks of theorems."""
    table = [
        {
            "check": f"[{check['id']}](#{_anchor(check)}) {check['statement']}",
            "number": f"{_with_unit(claims.in_numbers(check), check)} ({check['unit'].removeprefix('% ')})",
            "passes when": check["rules"][-1]["rule"],
            "result": _verdict(check) + f" {check['rules'][-1]['shortfall']}".rstrip(),
        }
        for check in rows
        if not claims.is_claim(check["id"])
    ]
    return markdown_table(pd.DataFrame(table).map(_in_a_cell))


def _unbroken(date: str) -> str:
    """Return a date that is not broken at its hyphens."""
    return date.replace("-", "\N{NON-BREAKING HYPHEN}")


def checks_in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many checks of theorems pass, in a sentence."""
    passed = [check["verdict"] == "passes" for check in rows if not claims.is_claim(check["id"])]
    return f"{sum(passed)} of {len(passed)} numerical checks of theorems pass."


def _under(rule: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, [rule["verdict"], _DETAILS.sub("", rule["shortfall"])]))


def _in_a_cell(text: str) -> str:
    return text.replace("|", r"\|").replace(" %", f"{NO_BREAK_SPACE}%")


# --- a run beside the reference run, at the end of its page -----------------------------------------------------------

# A mapping or a list of more numbers is a curve, which the figures show.
_MOST_ENTRIES, _MOST_SEEDS = 14, 5


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
    reference = json.loads(path.read_text(encoding="utf-8"))
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
    weights = result["manifest"].get("weights")
    same_weights = weights is not None and weights == reference["manifest"].get("weights")
    of_data = (f"{one['data']['source']} ({one['data']['n']:,} samples)" for one in (reference, result))
    rows = [
        ("time", reference_took, "the same weights, measured again" if same_weights else took),
        ("machine", *(one["manifest"]["device"] for one in (reference, result))),
        ("data", *of_data),
        # A parameter that only one of them has belongs to another version of the notebook.
        *((f"`{name}`", _parameter(there[name]), _parameter(here[name])) for name in here if name in there),
    ]
    different = [row for row in rows if row[0] == "time" or row[1] != row[2]]
    return markdown_table(pd.DataFrame(different, columns=["what differs", "reference run", "this page"]))


def _parameter(value: Any) -> str:
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"{value:,}"


def _claims_beside(found: Sequence[Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]) -> str:
    def number_and_verdict(claim: Mapping[str, Any] | None) -> str:
        return f"{claims.in_numbers(claim)}, {claim['verdict']}" if claim else NOTHING

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
