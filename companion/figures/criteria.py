"""Figures of the chapter on criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, WIDTH

#: Names of the criteria where there is little room.
SHORT = {
    "information": "information",
    "gaussian_information": "Gaussian information",
    "kl": "KL to the prior",
    "active_units": "active units",
    "mean_variance": "mean variance",
    "mean_precision": "mean log precision",
    "marginal_std": r"$\sigma^*$",
    "max_mean": "largest mean",
    "upper_divergence": "rarest inputs",
    "effect": "effect",
}
# Colour, marker and dashes of each criterion; the colour shows what it looks at.
_LOOKS = {
    "information": (BLUE, "o", "-"),
    "gaussian_information": (BLUE, "s", "--"),
    "kl": (BLUE, "x", ":"),
    "upper_divergence": (BLUE, "^", "-."),
    "active_units": (ORANGE, "o", "-"),
    "max_mean": (ORANGE, "^", "--"),
    "mean_variance": (GREEN, "o", "-"),
    "mean_precision": (GREEN, "^", "--"),
    "effect": (PURPLE, "D", "-"),
    "marginal_std": (GREY, "x", "-"),
}
_MARKS = {"right": "✓", "wrong number": "≈", "wrong": "✗"}


def trial_grid(judged: pd.DataFrame, truth: Mapping[str, bool], breaks: Sequence[int] = ()) -> Figure:
    """Draw the mark of every criterion in every trial.

    Parameters
    ----------
    judged : DataFrame
        Columns ``trial``, ``criterion`` and ``mark``.
    truth : mapping of str to bool
        Right verdict of each trial, in the order of the rows.
    breaks : sequence of int
        Numbers of the rows that begin with a line above them.
    """
    marks = judged.pivot(index="trial", columns="criterion", values="mark")
    names = [name for name in SHORT if name in marks]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.5 + 0.29 * len(truth)), layout="constrained")
    for row, (trial, used) in enumerate(truth.items()):
        axes.text(0.3, row, "used" if used else "unused", ha="right", va="center_baseline", fontsize=10)
        for column, name in enumerate(names, 1):
            _draw_mark(axes, column, row, marks.loc[trial, name])
    for row in breaks:
        axes.axhline(row - 0.5, color=GREY, lw=1)
    axes.set(xlim=(-2.4, len(names) + 0.5), ylim=(len(truth) - 0.5, -0.5))
    axes.set_yticks(range(len(truth)), list(truth))
    axes.set_xticks([-0.5, *range(1, len(names) + 1)], ["right verdict", *(SHORT[name] for name in names)], rotation=90)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    handles = [Line2D([], [], ls="", marker=f"${mark}$", color=_COLOURS[name]) for name, mark in _MARKS.items()]
    labels = ["right", "right verdict, wrong number of nats", "wrong"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, handletextpad=0.2, columnspacing=1)
    return figure


_COLOURS = {"right": GREY, "wrong number": BLUE, "wrong": ORANGE}


def _draw_mark(axes: Axes, column: int, row: int, mark: object) -> None:
    """Draw one mark; wrong ones on a filled square, so that they differ in more than colour."""
    if not isinstance(mark, str):  # the criterion does not apply
        axes.text(column, row, "·", ha="center", va="center", fontsize=10)
        return
    colour = _COLOURS[mark]
    if mark != "right":
        face = colour if mark == "wrong" else "none"
        axes.add_patch(Rectangle((column - 0.42, row - 0.42), 0.84, 0.84, facecolor=face, edgecolor=colour, lw=1.2))
    ink = "white" if mark == "wrong" else colour
    axes.text(column, row, _MARKS[mark], color=ink, ha="center", va="center", fontsize=10, fontfamily="DejaVu Sans")


def small_encoders(
    posteriors: Mapping[str, Sequence[tuple[float, float]]],
    used: Mapping[str, Sequence[str]],
    unused: Mapping[str, Sequence[str]],
) -> Figure:
    """Draw the densities of small encoders, each beside the criteria that count its factor as used and as unused.

    Parameters
    ----------
    posteriors : mapping of str to sequence of (float, float)
        Mean and standard deviation of each input, by the name of the encoder.
    used, unused : mapping of str to sequence of str
        Names of criteria.
    """
    figure, panels = plt.subplots(
        len(posteriors), 2, figsize=(WIDTH, 1.65 * len(posteriors)), width_ratios=[1, 2.3], squeeze=False
    )
    figure.subplots_adjust(left=0.07, right=1, bottom=0.04, top=0.97, hspace=0.7, wspace=0.1)
    for (left, right), (name, inputs) in zip(panels, posteriors.items(), strict=True):
        _draw_posteriors(left, inputs)
        means, stds = (", ".join(f"{number:g}" for number in numbers) for numbers in zip(*inputs, strict=True))
        left.set_title(rf"{name}: $\mu$ = {means}; $\sigma$ = {stds}", loc="left")
        right.set_axis_off()
        height = 1.05
        for colour, verdict, names in ((BLUE, "used", used[name]), (ORANGE, "unused", unused[name])):
            words = _wrapped([SHORT[one] for one in names])
            right.text(0, height, f"{verdict}:", color=colour, va="top", weight="bold", fontsize=10)
            right.text(0.26, height, words, va="top", fontsize=10)
            height -= 0.19 * (words.count("\n") + 1.5)  # lines, and half a line between the lists
    return figure


def _draw_posteriors(axes: Axes, inputs: Sequence[tuple[float, float]]) -> None:
    """Draw the posterior of each input, and the prior as dots."""
    far = max(3.0, *(abs(mean) + 3 * std for mean, std in inputs))
    z = np.linspace(-far, far, 2001)
    axes.plot(z, np.exp(-0.5 * z**2), color=GREY, lw=1, ls=":")
    for mean, std in inputs:
        # Of one height, or narrow ones would hide all others.
        axes.plot(z, np.exp(-0.5 * ((z - mean) / std) ** 2), color=BLUE)
    axes.set(ylim=(0, 1.1), yticks=[], xlim=(-far, far))
    axes.spines["left"].set_visible(False)


def _wrapped(names: Sequence[str], width: int = 28) -> str:
    """Return names with commas between them, in lines of at most `width` characters."""
    lines = [""]
    for place, name in enumerate(names):
        word = name + ("," if place < len(names) - 1 else "")
        joined = f"{lines[-1]} {word}".strip()
        if len(joined.replace(SHORT["marginal_std"], "s*")) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    return "\n".join(lines)


def counts_by_weight(counts: pd.DataFrame, latent_dim: int) -> Figure:
    """Draw the number of used factors by each criterion against the weight of the KL term.

    Parameters
    ----------
    counts : DataFrame
        Columns ``criterion``, ``weight``, ``seed`` and ``used``, one row per model and criterion. The points are means
        over the seeds, the bars reach from the smallest to the largest count.
    latent_dim : int
        Number of factors that the models were given.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 5.2), layout="constrained")
    axes.axhline(latent_dim, color=GREY, lw=1, ls=":")
    for place, (name, (colour, marker, dashes)) in enumerate(_LOOKS.items()):
        over_seeds = counts[counts.criterion == name].groupby("weight").used
        mean, low, high = over_seeds.mean(), over_seeds.min(), over_seeds.max()
        # Side by side, since many lines coincide.
        x = mean.index.to_numpy() * 1.035 ** (place - len(_LOOKS) / 2)
        style: dict[str, Any] = {"color": colour, "marker": marker, "ls": dashes, "ms": 5, "mfc": "none"}
        axes.errorbar(x, mean, yerr=[mean - low, high - mean], label=SHORT[name], lw=1.4, elinewidth=1, **style)
    weights = sorted(counts.weight.unique())
    axes.set(xscale="log", xlabel="weight of the KL term", ylabel="factors counted as used", ylim=(-0.5, None))
    axes.set_xticks(weights, [f"{weight:g}" for weight in weights], rotation=45)
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1, handlelength=2.4)
    return figure


def reach_of_lines(reach: pd.DataFrame, latent_dim: int) -> Figure:
    """Draw how far the count of each criterion moves with its line.

    Parameters
    ----------
    reach : DataFrame
        Mean number of used factors, one row per criterion, one column per number that the line is multiplied by, in
        ascending order. Thin bars span all columns, thick ones those but the first and the last.
    latent_dim : int
        Number of factors that the models were given.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.3 * len(reach)), layout="constrained")
    for row, (_, counts) in enumerate(reach.iterrows()):
        axes.hlines(row, counts.min(), counts.max(), color=GREY, lw=1.5)
        inner = counts.iloc[1:-1] if len(counts) > 2 else counts
        axes.hlines(row, inner.min(), inner.max(), color=BLUE, lw=5, alpha=0.6)
        axes.plot(counts[1.0], row, "o", color=ORANGE, ms=6)
    axes.set_yticks(range(len(reach)), [SHORT[str(name)] for name in reach.index])
    axes.set(xlabel="factors counted as used,\nmean over all models", xlim=(-0.5, latent_dim + 0.5))
    axes.invert_yaxis()
    return figure
