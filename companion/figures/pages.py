"""Figures of the pages without a notebook."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path
from scipy import stats
from torch import Tensor

from companion.figures.shared import show_strip
from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, WIDTH

# Width in inches of the narrow column, in which text keeps its size.
_NARROW = 3.4


def landing(
    nats: Sequence[float], sigma_star: Sequence[float], traversals: Mapping[int, Tensor], threshold: float = 0.1
) -> Figure:
    """Draw the answer of the book for a narrow column: information, sigma*, and pictures along some factors.

    Parameters
    ----------
    nats, sigma_star : sequence of float, length H
        Information and marginal standard deviation of every factor.
    traversals : mapping of factor to Tensor, shape (steps, C, height, width)
        Pictures from -3 to +3 sigma*.
    threshold : float
        Nats above which a factor counts as used.
    """
    information, widths = np.sort(nats)[::-1], np.asarray(sigma_star)[np.argsort(nats)[::-1]]
    ranks = np.arange(1, len(information) + 1)
    used = information > threshold
    rows = len(traversals)
    heights = [2.6, 0.3 + 0.42 * rows] if rows else [2.6]  # of the curves, and of the pictures with the line below them
    figure = plt.figure(figsize=(_NARROW, sum(heights)), layout="constrained")
    top, *bottom = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    stems, deviations = top.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    for chosen, colour in ((used, BLUE), (~used, ORANGE)):
        stems.vlines(ranks[chosen], 0, information[chosen], color=colour, lw=1.6)
        stems.plot(ranks[chosen], information[chosen], "o", ms=2.5, color=colour)
        deviations.plot(ranks[chosen], widths[chosen], "o", ms=2.5, color=colour)
    beside = used.sum() + 0.03 * len(ranks)
    highest = max(information.max(), threshold)
    stems.text(beside, 0.72 * highest, f"{used.sum()} used factors", color=BLUE, weight="bold")
    stems.text(beside, 0.1 * highest, f"{(~used).sum()} ignored factors", color=ORANGE, weight="bold")
    stems.set(title="information $I(X;Z_h)$ in nats", ylim=(0, 1.05 * highest))
    deviations.axhline(1, color=GREY, lw=0.8, ls=":")
    deviations.set(
        title=r"marginal standard deviation $\sigma^*_h$",
        xlabel="factor, the most informative first",
        ylim=(0, max(1.5, 1.05 * widths.max())),
    )
    for axes in (stems, deviations):
        axes.title.set(ha="left", x=0)
    for part in bottom:
        strips = part.subplots(rows, 1, squeeze=False)[:, 0]
        for axes, (factor, pictures) in zip(strips, traversals.items(), strict=True):
            show_strip(axes, pictures, f"{nats[factor]:.1f} nats")
            axes.yaxis.label.set(color=BLUE if nats[factor] > threshold else ORANGE, weight="bold")
        strips[-1].set_xlabel("one factor changes, the others stay")
    return figure


def used_and_ignored_factor(sigma: float = 0.25) -> Figure:
    """Draw posteriors of six pictures and their average, for a used factor of width sigma and an ignored one."""
    z = np.linspace(-3.2, 3.2, 400)
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.8), sharex=True, sharey=True, layout="constrained")
    for axes, title, colour, centres, width in (
        (panels[0], "a used factor", BLUE, np.linspace(-1.9, 1.9, 6), sigma),
        (panels[1], "an ignored factor", ORANGE, np.zeros(6), 1.0),
    ):
        axes.plot(z, stats.norm.pdf(z[:, None], centres, width), color=colour, lw=1.6, alpha=0.9)
        axes.plot(z, stats.norm.pdf(z), color=GREY, lw=3, alpha=0.8, ls=(0, (3, 2)))
        axes.set(title=title, xlabel="$z_h$", yticks=[])
    panels[0].set_ylabel("density")
    return figure


def rotated_code(codes: pd.DataFrame) -> Figure:
    """Draw what `companion.experiments.pages.rotated_codes` returns: a panel per code, estimates as dots."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, layout="constrained")
    for axes, (title, rows) in zip(panels, codes.groupby("code", sort=False), strict=True):
        axes.axhline(rows.joint.iloc[0], color=ORANGE, label=r"$I(X;Z)$")
        axes.plot(rows.degrees, rows.factor_1 + rows.factor_2, color=BLUE, label=r"$\sum_h I(X;Z_h)$")
        axes.plot(rows.degrees, rows.factor_1, color=GREEN, ls="--", label=r"$I(X;Z_1)$")
        axes.plot(rows.degrees, rows.factor_2, color=GREEN, ls=":", label=r"$I(X;Z_2)$")
        axes.plot(rows.degrees, rows.estimated, "o", color=BLUE, ms=4.5)
        axes.set(title=title, xlabel="turned by (degrees)", xticks=[0, 45, 90])
    panels[0].set(ylabel="nats", ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def cost_and_error(rows: pd.DataFrame) -> Figure:
    """Draw estimators by CPU time and error, both logarithmic; columns estimator, cpu_seconds, largest_error (nats)."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    ours = rows.estimator == "vaemi"
    for place in rows[ours].itertuples():
        axes.plot(place.cpu_seconds, place.largest_error, "o", ms=9, color=BLUE)
        axes.annotate(
            place.estimator, (place.cpu_seconds, place.largest_error), (9, 0), textcoords="offset points",
            va="center", color=BLUE, weight="bold",
        )  # fmt: skip
    # Stairs up to the right: no line to a name crosses another name.
    others = rows[~ours].sort_values("cpu_seconds", ascending=False)
    for step, place in enumerate(others.itertuples()):
        axes.plot(place.cpu_seconds, place.largest_error, "o", ms=6, color=ORANGE)
        axes.annotate(
            f" {place.estimator}", (place.cpu_seconds, place.largest_error), (place.cpu_seconds, 0.66 - 0.075 * step),
            textcoords=axes.get_xaxis_transform(), va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.8, "relpos": (0, 0.5), "shrinkA": 0},
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="CPU seconds on one thread", ylabel="largest error (nats)")
    axes.margins(0.1, 0.1)
    axes.set_xlim(right=300 * rows.cpu_seconds.max())  # room for the last names
    return figure


def time_and_memory(rows: pd.DataFrame, megabytes_of_a_sample: float) -> Figure:
    """Draw seconds and memory against the number of samples, for streamed files and for all samples in memory.

    Columns are samples, in_memory, wall_seconds and peak_megabytes.
    """
    figure, (time, memory) = plt.subplots(2, 1, figsize=(WIDTH, 5.2), sharex=True, layout="constrained")
    for in_memory, name, look in (
        (False, "files, part by part", {"color": BLUE, "marker": "o", "ms": 5}),
        (True, "all in memory", {"color": ORANGE, "marker": "s", "ms": 5}),
    ):
        shown = rows[rows.in_memory == in_memory].sort_values("samples")
        time.plot(shown.samples, shown.wall_seconds, **look)
        memory.plot(shown.samples, shown.peak_megabytes, label=name, **look)
    samples = np.array([rows.samples.min(), rows.samples.max()])
    memory.plot(samples, samples * megabytes_of_a_sample, color=GREY, ls=":", label="size of the samples")
    time.set(xscale="log", yscale="log", ylabel="time (s)")
    memory.set(xscale="log", yscale="log", xlabel="samples $M$", ylabel="peak memory (MB)", ylim=(20, None))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def beta_path(runs: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """Draw columns of a table of runs against its column `beta`: every run, the mean, and its 95 % interval.

    The interval is Student's over the runs of one beta, and drawn for three runs or more. `panels` maps the columns to
    the labels of their axes.
    """
    size = (WIDTH, 1.7 * len(panels) + 0.6)
    figure, rows = plt.subplots(len(panels), 1, figsize=size, sharex=True, layout="constrained", squeeze=False)
    betas = sorted(runs.beta.unique())
    for axes, (column, label), colour in zip(rows[:, 0], panels.items(), itertools.cycle([BLUE, ORANGE, GREEN])):
        values = runs.groupby("beta")[column]
        mean, n = values.mean(), values.count()
        half = np.where(n > 2, stats.t.ppf(0.975, n - 1) * values.std() / np.sqrt(n), 0.0)
        axes.errorbar(betas, mean, yerr=half, fmt="none", ecolor=colour, elinewidth=9, alpha=0.35)
        axes.plot(betas, mean, color=colour, lw=1.2, alpha=0.6)
        axes.plot(runs.beta, runs[column], "o", color=colour, ms=4.5)
        axes.set(ylabel=label, xscale="log", ylim=(0, None))
        axes.margins(y=0.15)
    axes.set_xlabel(r"$\beta$")
    axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
    axes.minorticks_off()
    return figure


class Choice(NamedTuple):
    """A question of a decision list and what to do if the answer is yes.

    Attributes
    ----------
    question : str
        Empty for the last choice, which holds if all answers are no.
    answer, line, caution : str
        Heading, threshold and weakness of what to do.
    goes_on : bool
        Whether the questions below are to be answered as well.
    """

    question: str
    answer: str
    line: str
    caution: str
    goes_on: bool = False


# Sizes of a decision list in points; it is as wide as a phone, so that its text is not scaled down there.
_LIST_WIDTH, _QUESTION_WIDTH, _ANSWER_LEFT = 290.0, 96.0, 122.0
_TEXT_SIZE, _LINE_HEIGHT, _PADDING, _ROW_GAP = 10.0, 13.0, 6.0, 17.0


def decision_list(choices: Sequence[Choice]) -> Figure:
    """Draw questions from top to bottom, each with what to do beside it; dashed where one goes on afterwards."""
    blocks = [_blocks_of(choice) for choice in choices]
    heights = [max(map(_box_height, pair)) for pair in blocks]
    tops = -np.concatenate([[0.0], np.cumsum(np.array(heights) + _ROW_GAP)])
    figure = plt.figure(figsize=(_LIST_WIDTH / 72, (-tops[-1] - _ROW_GAP + 2) / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _LIST_WIDTH), ylim=(tops[-1] + _ROW_GAP - 1, 1))
    axes.set_axis_off()
    arrow = {"arrowstyle": "-|>", "color": GREY, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    centre, before = _QUESTION_WIDTH / 2, None
    for choice, (question, answer), top, height in zip(choices, blocks, tops, heights, strict=False):
        middle = top - height / 2
        half = _box_height(question) / 2
        if before is not None:
            bottom, word = before
            axes.annotate("", (centre, middle + half), (centre, bottom), arrowprops=arrow)
            axes.text(centre + 5, (middle + half + bottom) / 2, word, va="center", fontsize=9)
        _draw_box(axes, 0, middle + half, _QUESTION_WIDTH, GREY, question)
        colour = GREEN if choice.goes_on else BLUE
        _draw_box(axes, _ANSWER_LEFT, top, _LIST_WIDTH - _ANSWER_LEFT, colour, answer, choice.goes_on)
        axes.annotate("", (_ANSWER_LEFT, middle), (_QUESTION_WIDTH, middle), arrowprops=arrow)
        if choice.question:
            axes.text((_QUESTION_WIDTH + _ANSWER_LEFT) / 2, middle + 3, "yes", ha="center", va="bottom", fontsize=9)
        before = middle - half, "then" if choice.goes_on else "no"
    return figure


_Line = tuple[str, str, str]  # text, colour, weight


def _blocks_of(choice: Choice) -> tuple[list[_Line], list[_Line]]:
    """Return the lines in the two boxes of a choice."""
    colour = GREEN if choice.goes_on else BLUE
    width = _LIST_WIDTH - _ANSWER_LEFT - 2 * _PADDING
    asked = _wrapped(choice.question or "Otherwise", _QUESTION_WIDTH - 2 * _PADDING, "bold")
    question = [(text, GREY, "bold") for text in asked]
    answer = [(text, colour, "bold") for text in _wrapped(choice.answer, width, "bold")]
    answer += [(text, colour, "normal") for text in _wrapped(choice.line, width)]
    return question, answer + [(text, GREY, "normal") for text in _wrapped(choice.caution, width)]


def _wrapped(text: str, width: float, weight: str = "normal") -> list[str]:
    """Return the lines of a text that is at most so many points wide."""
    font = FontProperties(size=_TEXT_SIZE, weight=weight)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _draw_box(
    axes: Axes, left: float, top: float, width: float, colour: str, lines: Sequence[_Line], dashed: bool = False
) -> None:
    """Draw a box around lines of text."""
    height = _box_height(lines)
    corner = (left + 1, top - height)
    rounded = "round,pad=0,rounding_size=4"
    line = "--" if dashed else "-"
    axes.add_patch(FancyBboxPatch(corner, width - 2, height, rounded, fc="none", ec=colour, lw=1.4, ls=line))
    for row, (text, text_colour, weight) in enumerate(lines):
        place = left + _PADDING, top - _PADDING - row * _LINE_HEIGHT
        axes.text(*place, text, color=text_colour, weight=weight, va="top", fontsize=_TEXT_SIZE)


def _box_height(lines: Sequence[_Line]) -> float:
    return _LINE_HEIGHT * len(lines) + 2 * _PADDING
