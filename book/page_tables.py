"""The tables of the pages: claims, a run beside the reference run, seeds beside published numbers, the benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pandas as pd
from templates import markdown_table, render

from companion import claims, runs
from companion.errors import RunError
from companion.words import duration_in_words, ratio_in_words

NO_BREAK_SPACE = "\u00a0"
STAND_IN = f"{NO_BREAK_SPACE}†"
NOTHING = "-"


# --- the claims on the landing page -----------------------------------------------------------------------------------


class Line(NamedTuple):
    """What a claim says and what its number counts, short enough for a narrow column."""

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
    "C8": Line("Used factors predict attributes of faces, and suffice", "gain in classification that they keep"),
    "C9": Line("A factor of EEG goes with emotion", "rank correlation with how people felt"),
}


def _anchor(claim_id: str) -> str:
    return f"claim-{claim_id.lower()}"


def mark_conclusion(notebook: Any, result: Mapping[str, Any]) -> None:
    """Insert link targets of a run's claims before the cell of its executed notebook that shows their verdicts."""
    targets = "\n".join(f"({_anchor(claim['id'])})=" for claim in result["claims"])
    for index, cell in enumerate(notebook.cells):
        # The latter in notebooks of earlier versions, which are committed as they were run.
        if cell.cell_type == "code" and any(shown in cell.source for shown in ("show_verdicts(", "claims.table(")):
            # A target needs text after it in the same cell.
            sentence = "Each verdict follows from a rule that was fixed before the run; the rules are below the table."
            notebook.cells.insert(index, nbformat.v4.new_markdown_cell(f"{targets}\n{sentence}"))
            return


def claims_table(
    rows: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] = (), pages: Collection[str] = ()
) -> str:
    """Return the claims as a Markdown table: claim, published, reference run, this build, verdict.

    Parameters
    ----------
    rows : sequence of mapping
        The claims of this build, from `companion.claims.load`.
    reference : sequence of mapping, optional
        Those of the reference run; without any there is no column for it.
    pages : collection of str, optional
        The experiments that have a page; their claims link to it.
    """
    columns = {
        "claim": [_claim_in_a_line(claim, pages) for claim in rows],
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
    by_source: dict[str, list[str]] = {}
    for claim in rows:
        ids = by_source.setdefault(claim["data"]["source"], []) if claim["data"]["stand_in"] else []
        if claim["id"] not in ids:
            ids.append(claim["id"])
    note = "[The rules](#rules) behind the verdicts are below. A dash: the paper gives no number."
    if by_source:
        sources = "; ".join(f"{', '.join(ids)}: {source}" for source, ids in by_source.items())
        note += f" † On a stand-in for the data of the paper; {sources}."
    return note + "\n"


def _claim_in_a_line(claim: Mapping[str, Any], pages: Collection[str]) -> str:
    says, counts = LINES.get(claim["id"], Line(claim["statement"].rstrip("."), claim["unit"]))
    text = f"{claim['id']}. {says}"
    if claim["experiment"] in pages:
        text = f"[{text}](#{_anchor(claim['id'])})"
    text += f" [{counts}]{{.counts}}"
    if not claim["holds"]:
        # In this column, as the one of the verdicts is narrow.
        why = claims.in_words(claim).replace(" %", f"{NO_BREAK_SPACE}%")
        text += f" [{why}]{{.why}}"
    return text


def _measured(claim: Mapping[str, Any]) -> str:
    return _with_unit(claims.in_numbers(claim), claim) + STAND_IN * claim["data"]["stand_in"]


def _with_unit(number: str, claim: Mapping[str, Any]) -> str:
    in_percent = number != NOTHING and claim["unit"].startswith("%")
    return f"{number}{NO_BREAK_SPACE}%" if in_percent else number


# --- a run beside the reference run, at the end of its page -----------------------------------------------------------

# A mapping of more numbers is a curve, which the figures show.
_MOST_ENTRIES = 14


def compare_with_reference(
    notebook: Any, result: Mapping[str, Any], defaults: Mapping[str, Any], results: Path
) -> None:
    """Append a comparison to an executed notebook, if there is a reference run and this is another one.

    Parameters
    ----------
    notebook : NotebookNode
        Gets one more cell at its end.
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
        numbers=_numbers_beside(result["values"], reference["values"]),
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="side-by-side"))


def _differences(result: Mapping[str, Any], reference: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    here, there = (defaults | one["manifest"]["parameters"] for one in (result, reference))
    # A parameter that only one of them has belongs to another version of the notebook.
    changed = [
        f"`{name}` {_parameter(there[name])} there and {_parameter(here[name])} here"
        for name in here
        if name in there and here[name] != there[name]
    ]
    weights, their_weights = (one["manifest"].get("weights") for one in (result, reference))
    if weights is not None and weights == their_weights:
        this_page = "this page measures the same weights again"
    else:
        this_page = f"this page took {_duration(result)}"
    sentences = [
        f"It took {_duration(reference)} on {reference['manifest']['device']}; {this_page}.",
        f"The parameters differ: {'; '.join(changed)}." if changed else "The parameters are the same.",
    ]
    if result["data"]["checksum"] != reference["data"]["checksum"]:
        data, their_data = (f"{one['data']['source']} ({one['data']['n']:,} samples)" for one in (result, reference))
        sentences.append(f"The data differ: {their_data} there, {data} here.")
    return " ".join(sentences)


def _duration(result: Mapping[str, Any]) -> str:
    return duration_in_words(runs.whole_seconds(result["manifest"]))


def _parameter(value: Any) -> str:
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"{value:,}"


def _claims_beside(found: Sequence[Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]) -> str:
    def number_and_verdict(claim: Mapping[str, Any]) -> str:
        return f"{claims.in_numbers(claim)}, {'holds' if claim['holds'] else 'does not hold'}"

    if not found:
        return ""
    return markdown_table(
        pd.DataFrame(
            {
                "claim": [f"{c['id']} {c['statement']} ({c['unit']})".replace("|", r"\|") for c in found],
                "published": [claims.published_in_numbers(c) for c in found],
                "reference run": [
                    number_and_verdict(reference[c["id"]]) if c["id"] in reference else NOTHING for c in found
                ],
                "this page": [number_and_verdict(c) for c in found],
            }
        )
    )


def _numbers_beside(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    found, reference = dict(_single_numbers(here)), dict(_single_numbers(there))
    return markdown_table(
        pd.DataFrame(
            {
                "number": list(found),
                "reference run": [reference.get(name, NOTHING) for name in found],
                "this page": list(found.values()),
            }
        )
    )


def _single_numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every number that is not part of a curve."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            entries = {f"`{name}`": value}
        else:
            entries = {f"`{name}`, {key}": one for key, one in value.items()} if len(value) <= _MOST_ENTRIES else {}
        for label, one in entries.items():
            if isinstance(one, int | float) and not isinstance(one, bool):
                yield label, f"{one:,}" if isinstance(one, int) else f"{one:.4g}"


# --- the seeds of the reference run beside the published accuracies ---------------------------------------------------

# A difference of more points between the mean over the seeds and the published accuracy gets a paragraph.
POINTS = 2.0
_CONFIDENCE = 0.95
_ACCURACIES = {
    "accuracy": "accuracy_percent_by_ratio_kept",
    "gaussian": "accuracy_percent_by_gaussian_ranking",
    "longer": "accuracy_percent_of_longer_classifier",
    "lowest_classifier": "lowest_accuracy_percent_of_classifiers",
    "highest_classifier": "highest_accuracy_percent_of_classifiers",
    "lowest_exchange": "lowest_accuracy_percent_after_exchange",
    "highest_exchange": "highest_accuracy_percent_after_exchange",
}


def deviations(path: Path) -> str:
    """Compare the seeds of the reference run with the published accuracies, in Markdown.

    Parameters
    ----------
    path : Path
        Table of a sweep over seeds of the MNIST notebook, which need not exist.

    Raises
    ------
    RunError
        If the table lacks a column.
    """
    if not path.exists():
        return "There is no reference run over several seeds yet; `make reference` makes one.\n"
    table = pd.read_csv(path)
    try:
        by_ratio = {
            ratio: table[[f"{column}[{ratio}]" for column in _ACCURACIES.values()]].set_axis([*_ACCURACIES], axis=1)
            for ratio in claims.published_accuracies()
        }
    except KeyError as error:
        raise RunError(
            f"{path} was made by another version of the notebook: {error.args[0]}. Run make reference."
        ) from None
    published = claims.published_accuracies()
    shown = markdown_table(
        pd.DataFrame(
            {
                "factors kept": [ratio_in_words(ratio) for ratio in by_ratio],
                "published (%)": [f"{published[ratio]:.2f}" for ratio in by_ratio],
                "mean (%)": [f"{seeds.accuracy.mean():.2f}" for seeds in by_ratio.values()],
                "each seed (%)": [", ".join(f"{one:.2f}" for one in seeds.accuracy) for seeds in by_ratio.values()],
                "difference (points)": [
                    f"{seeds.accuracy.mean() - published[ratio]:+.2f}" for ratio, seeds in by_ratio.items()
                ],
            }
        )
    )
    far = [
        _deviation(ratio, seeds, published[ratio])
        for ratio, seeds in by_ratio.items()
        if abs(seeds.accuracy.mean() - published[ratio]) > POINTS
    ]
    if not far:
        return f"{shown}\nNo mean is more than {POINTS:g} points off.\n"
    return "\n".join(
        [shown, f"{len(far)} of the {len(by_ratio)} means are more than {POINTS:g} points off:", "", *far, ""]
    )


def _deviation(ratio: str, seeds: pd.DataFrame, published: float) -> str:
    """Describe the difference at one ratio, and how much each change of a run moves the accuracy."""
    difference, half_width = seeds.accuracy.mean() - published, _prediction_half_width(seeds.accuracy)
    by_classifier = (seeds.highest_classifier - seeds.lowest_classifier).max()
    by_ranking = (seeds.gaussian - seeds.accuracy).abs().max()
    by_training = (seeds.longer - seeds.accuracy).mean()
    return (
        f"- **{ratio_in_words(ratio)} kept**: the mean is {abs(difference):.1f} points "
        f"{'above' if difference > 0 else 'below'} the published {published:.2f} %, "
        f"{'within' if abs(difference) <= half_width else 'outside'} the {100 * _CONFIDENCE:.0f} % prediction interval "
        f"of one more seed (± {half_width:.1f} points). Other initial weights of the classifier change the accuracy of "
        f"one run by at most {by_classifier:.1f} points, ranking by the Gaussian estimate by at most {by_ranking:.1f}. "
        f"A classifier trained three times as long changes the mean by {by_training:+.1f}. Exchanging one factor at "
        f"the cut gives {seeds.lowest_exchange.min():.1f} to {seeds.highest_exchange.max():.1f} %. "
        f"{_explanation(seeds, published, abs(difference) <= half_width)}"
    )


def _prediction_half_width(accuracy: pd.Series) -> float:
    """Return half the width of Student's prediction interval for one more seed; infinite for a single seed."""
    from scipy import stats

    n = len(accuracy)
    if n < 2:
        return math.inf
    return float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * accuracy.std() * math.sqrt(1 + 1 / n))


def _explanation(seeds: pd.DataFrame, published: float, within: bool) -> str:
    """Name the smallest change of a run that reaches the published accuracy."""

    def reached(low: pd.Series, high: pd.Series) -> bool:
        return bool(((low <= published) & (published <= high)).any())

    training = seeds[["accuracy", "longer"]]
    if reached(training.min(axis=1), training.max(axis=1)) or reached(
        seeds.lowest_classifier, seeds.highest_classifier
    ):
        return "Another classifier on the same factors can explain the difference."
    if reached(seeds.lowest_exchange, seeds.highest_exchange):
        return (
            "One exchange can explain the difference: which of several nearly equal factors is kept is chance, and it "
            "decides how well the few kept factors predict the digit."
        )
    if within:
        return "No single change of one run explains the difference; another seed does."
    return "None of these changes explains the difference."


# --- the benchmark of estimators --------------------------------------------------------------------------------------


def benchmark_table(rows: pd.DataFrame) -> str:
    """Return the cost and the error of each estimator at each number of samples, in Markdown."""
    shown = rows.sort_values(["m", "cpu_seconds"])
    seconds = [f"{cpu:.3g}" if cpu < 100 else f"{cpu:,.0f}" for cpu in shown.cpu_seconds]
    table = pd.DataFrame(
        {
            "estimator": shown.estimator.to_numpy(),
            "samples": [f"{m:,}" for m in shown.m],
            "CPU seconds, one thread": [
                cpu + r"\*" * projected for cpu, projected in zip(seconds, shown.projected, strict=True)
            ],
            "peak memory (MB)": [f"{megabytes:.0f}" for megabytes in shown.peak_megabytes],
            "largest error (nats)": [f"{error:.1g}" for error in shown.largest_error],
        }
    )
    return markdown_table(table)
