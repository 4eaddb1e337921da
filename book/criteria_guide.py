"""The page that says which criterion to use: its figure, the same in words, and the criteria on six real models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from templates import markdown_table

from companion import figures
from companion.experiments.shared import SIMPLEST_FIRST, line_in_words, simplest_agreeing
from vaemi.criteria import CRITERIA


class Step(NamedTuple):
    """A question about somebody's model, and what to do if the answer is yes.

    Attributes
    ----------
    asks : str
        What the question is about, in a word.
    question : str
        Empty for what to do if all answers are no.
    criterion : str
        Name in `CRITERIA`; empty if the answer is about the error of the estimate.
    goes_on : bool
        Whether the questions below are to be answered as well.
    """

    asks: str
    question: str
    criterion: str
    goes_on: bool = False


#: In the order of the page.
STEPS = (
    Step("sample", "Dependent inputs (windows, frames), or few?", "", goes_on=True),
    Step("rare", "Are rare inputs important?", "upper_divergence", goes_on=True),
    Step("decoder", "Prune, compress or generate, with the decoder?", "effect"),
    Step("prior", "KL weight far below 1, or a prior other than N(0, 1)?", "information"),
    Step("published", "Compare with published counts?", "active_units"),
    Step("otherwise", "", "kl"),
)
_SAMPLE = (
    "clusters=, leave_one_out",
    "an error bar for the count",
    "The error of independent inputs is too small. Where leave_one_out is far above the estimate, take more inputs.",
)
# What the models are called, the notebook that measures each, and its key there if there are several.
MODELS = {
    "MNIST": ("mnist", None),
    "faces": ("celeba", None),
    "EEG": ("deap", None),
    "pythae": ("your_vae", "digits"),
    "scvi-tools": ("your_vae", "cells"),
    "diffusers": ("your_vae", "maps"),
}
_CITED = {
    "active_units": "{cite:t}`burda2016importance`",
    "mean_variance": "{cite:t}`bonheme2023more`",
    "max_mean": "`vanished` in DRVI {cite:p}`moinfar2024unsupervised`",
}


def write(values: Mapping[str, Mapping[str, Any]], generated: Path) -> None:
    """Write what `book/criteria_guide.md` includes, given the values of the runs by notebook."""
    figures.decision_list(choices()).savefig(generated / "fig-criteria-guide.svg", metadata={"Date": None})
    parts = {"criteria-steps": steps_in_words(), "criteria-models": on_models(values), "criteria-all": all_criteria()}
    for name, text in parts.items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")


# --- the questions ----------------------------------------------------------------------------------------------------


def choices() -> list[figures.Choice]:
    """Return the questions with what the figure shows beside each."""
    return [figures.Choice(step.question, *_answer(step), step.goes_on) for step in STEPS]


def steps_in_words() -> str:
    """Return the questions and answers of the figure as a numbered list."""
    rows = []
    for step in STEPS:
        answer, line, caution = _answer(step)
        then = " Then go on with the next question." if step.goes_on else ""
        rows.append(f"1. {step.question or 'Otherwise:'} **{answer}**, {line}. {caution}{then}")
    return "\n".join(rows) + "\n"


def _answer(step: Step) -> tuple[str, str, str]:
    """Return heading, threshold and weakness."""
    if not step.criterion:
        return _SAMPLE
    criterion = CRITERIA[step.criterion]
    heading = criterion.title + (", beside the information" if step.goes_on else "")
    return heading, f"used {line_in_words(step.criterion, criterion.threshold)}", criterion.fails_when


def all_criteria() -> str:
    """Return a definition list of all criteria: threshold, its source, when to use it and how it fails."""
    rows = []
    for name, criterion in CRITERIA.items():
        source = _CITED.get(name, criterion.source)
        line = line_in_words(name, criterion.threshold)
        rows.append(
            f"{criterion.title} (`{name}`)\n: A factor is used {line} ({source}). {criterion.use_when} "
            f"*How it fails.* {criterion.fails_when}\n"
        )
    return "\n".join(rows)


# --- six models -------------------------------------------------------------------------------------------------------


def on_models(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the factors that each criterion counts as used, by model, and what follows from it."""
    found = {model: _of_model(values, *place) for model, place in MODELS.items()}
    rows = [{"criterion": "*factors in all*"} | {model: _count(one, "n_factors") for model, one in found.items()}]
    for name, criterion in CRITERIA.items():
        cells = {model: _used(one, name) for model, one in found.items()}
        rows.append({"criterion": criterion.title} | cells)
    sentences = [_missing(found), _simplest(found), _channels(found)]
    return "\n".join([markdown_table(pd.DataFrame(rows)), *filter(None, sentences)]) + "\n"


_NOTHING = "-"


def _of_model(values: Mapping[str, Mapping[str, Any]], notebook: str, key: str | None) -> Mapping[str, Any] | None:
    """Return the comparison of a model, or None if its run does not have it."""
    found = values.get(notebook, {}).get("criteria", {})
    return (found.get(key) if key else found) or None


def _count(found: Mapping[str, Any] | None, name: str) -> str:
    return f"{found[name]:,}" if found else _NOTHING


def _used(found: Mapping[str, Any] | None, name: str) -> str:
    if not found or name not in found["used"]:
        return _NOTHING
    otherwise = len(found["otherwise"].get(name, []))
    return f"{found['used'][name]:,}" + (f" ({otherwise:,})" if otherwise else "")


def _missing(found: Mapping[str, Mapping[str, Any] | None]) -> str:
    names = [model for model, one in found.items() if one is None]
    return f"The runs of this build do not have the comparison yet for: {', '.join(names)}.\n" if names else ""


def _simplest(found: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return which models each simplest criterion suffices for."""
    suffices: dict[str | None, list[str]] = {}
    for model, one in found.items():
        if one is not None:
            suffices.setdefault(simplest_agreeing(one["otherwise"]), []).append(model)
    rows = [f"- {CRITERIA[name].title}: {'; '.join(suffices[name])}." for name in SIMPLEST_FIRST if name in suffices]
    if None in suffices:
        rows.append(f"- None but the information itself: {'; '.join(suffices[None])}.")
    return (
        "\n".join(["The simplest criterion that agrees with the information on every factor:\n", *rows, ""])
        if rows
        else ""
    )


def _channels(found: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return the effects of the channels of spatial latents, which have no row in the table."""
    sentences = []
    for model, one in found.items():
        if one and (channels := one.get("channels")):
            sentences.append(
                f"A factor of {model} is a channel at a place, and the effect is that of a channel. Of {channels['n']} "
                f"channels {channels['effect']} change the output, and {channels['information']} carry information "
                "somewhere.\n"
            )
    return "\n".join(sentences)
