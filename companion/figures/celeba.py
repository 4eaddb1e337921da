"""Figures of the chapter on faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from companion.figures.shared import (
    named_and_strongest,
    strips,
)
from vaemi.auditing.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    WIDTH,
)

if TYPE_CHECKING:
    from vaemi.influence import LabelInformation


def contact_sheet(pictures: Tensor, columns: int = 8) -> Figure:
    """Pictures (N, C, height, width) with values in [0, 1], row by row."""
    return strips({" " * row: part for row, part in enumerate(pictures.split(columns))})


def label_information(
    information: LabelInformation, factors: Sequence[int], remainder: Sequence[int], factor_labels: Sequence[str]
) -> Figure:
    """Heat map of the share of each label's entropy that each factor holds, significant cells with a dot.

    Parameters
    ----------
    information : LabelInformation
    factors : sequence of int
        A row each.
    remainder : sequence of int
        Factors that share the last row, which shows the largest share among them.
    factor_labels : sequence of str
        Of the rows of `factors`.
    """
    share, significant = information.normalized, information.significant()
    rows, dots = named_and_strongest(share, significant, factors, remainder)
    labels = [*factor_labels, *([f"{len(remainder)} ignored, largest"] if len(remainder) else [])]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.9 + 0.24 * len(rows)), layout="constrained")
    mesh = axes.pcolormesh(rows.numpy(), cmap="viridis", vmin=0, edgecolors="none", rasterized=True)
    place = dots.nonzero().numpy() + 0.5
    axes.plot(place[:, 1], place[:, 0], "o", color="#d5d8db", ms=2.5, mec="#3a3f44", mew=0.4)
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels)
    axes.set_xticks(np.arange(len(information.names)) + 0.5, information.names, rotation=90)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    figure.colorbar(mesh, ax=axes, label=r"$I(Y;Z_h)\,/\,H(Y)$", pad=0.02, aspect=30)
    return figure


def attribute_accuracy(
    counts: Sequence[int], top: Sequence[float], random: np.ndarray, others: Mapping[str, float], bound: float
) -> Figure:
    """Mean balanced accuracy of attributes against the number of factors that a classifier sees, in per cent.

    Parameters
    ----------
    counts : sequence of int
    top : sequence of float
        The most informative ones.
    random : array, shape (draws, number of counts)
        Factors drawn from all.
    others : mapping of name to float
        Levels to compare with, of fixed sets of factors.
    bound : float
        What Fano's inequality allows the last of them.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    axes.fill_between(counts, random.min(0), random.max(0), color=GREY, alpha=0.3, lw=0)
    axes.plot(
        counts, random.mean(0), color=GREY, ls=":", marker="s", ms=4, label=f"random ({len(random)} draws, range)"
    )
    axes.plot(counts, top, color=BLUE, marker="o", ms=5, label="most informative")
    for (name, level), colour, line in zip(others.items(), (GREEN, ORANGE), ("--", "-."), strict=False):
        axes.axhline(level, color=colour, ls=line, label=name)
    axes.axhline(bound, color=ORANGE, lw=0.8, ls=":", label="Fano's bound for the ignored")
    axes.set(xlabel="factors that the classifier sees", ylabel="mean balanced accuracy (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def accuracy_by_attribute(names: Sequence[str], accuracy: Mapping[str, Sequence[float]]) -> Figure:
    """Balanced accuracy of every attribute from several sets of factors, in per cent; attributes by the first set."""
    order = np.argsort(next(iter(accuracy.values())))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.25 * len(names)), layout="constrained")
    place = np.arange(len(names))
    for (name, values), colour, marker in zip(accuracy.items(), (GREEN, BLUE, ORANGE), "Do^", strict=False):
        axes.plot(np.array(values)[order], place, marker, color=colour, ms=5.5, label=name, mfc="none", mew=1.4)
    axes.axvline(50, color=GREY, lw=0.8, ls=":")
    axes.set_yticks(place, np.array(names)[order].tolist())
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.set(xlabel="balanced accuracy (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.1 - 0.6 / len(names)), ncols=3, columnspacing=1)
    return figure
