"""Figures of the chapter on faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from companion.figures.shared import mark_significant, named_and_strongest, strips
from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, WIDTH

if TYPE_CHECKING:
    from vaemi.influence import LabelInformation


def contact_sheet(pictures: Tensor, columns: int = 8) -> Figure:
    """Draw pictures (N, C, height, width) with values in [0, 1] in rows."""
    return strips({" " * row: part for row, part in enumerate(pictures.split(columns))})


def label_information(
    information: LabelInformation, factors: Sequence[int], remainder: Sequence[int], factor_labels: Sequence[str]
) -> Figure:
    """Draw the share of each label's entropy that each factor carries as a heat map; dots mark significant cells.

    The factors of `remainder` share the last row, which shows the largest share among them.
    """
    rows, dots = named_and_strongest(information.normalized, information.significant(), factors, remainder)
    labels = [*factor_labels, f"{len(remainder)} ignored, largest"][: len(rows)]
    frame = pd.DataFrame(rows.numpy(), index=labels, columns=information.names)
    figure, axes = plt.subplots(figsize=(WIDTH, 1.9 + 0.24 * len(rows)), layout="constrained")
    bar = {"label": r"$I(Y;Z_h)\,/\,H(Y)$", "pad": 0.02, "aspect": 30}
    sns.heatmap(
        frame, ax=axes, cmap="viridis", vmin=0, cbar_kws=bar, rasterized=True, xticklabels=True, yticklabels=True
    )
    mark_significant(axes, dots)
    axes.tick_params(axis="x", rotation=90)
    return figure


def attribute_accuracy(
    counts: Sequence[int], top: Sequence[float], random: np.ndarray, others: Mapping[str, float], bound: float
) -> Figure:
    """Draw the mean balanced accuracy of attributes against the number of factors a classifier sees, in per cent.

    `top` is that from the most informative factors, `random` (draws, counts) that from factors drawn from all, `others`
    that from two fixed sets, and `bound` is Fano's bound for the second of them. A panel at the right shows the bound
    on a larger scale.
    """
    figure, (axes, closer) = plt.subplots(1, 2, figsize=(WIDTH, 3.8), width_ratios=(2, 1), layout="constrained")
    axes.fill_between(counts, random.min(0), random.max(0), color=GREY, alpha=0.3, lw=0)
    label = f"random ({len(random)} draws, range)"
    axes.plot(counts, random.mean(0), color=GREY, ls=":", marker="s", ms=4, label=label)
    axes.plot(counts, top, color=BLUE, marker="o", ms=5, label="most informative")
    for (name, level), colour, line in zip(others.items(), (GREEN, ORANGE), ("--", "-."), strict=True):
        axes.axhline(level, color=colour, ls=line, label=name)
    axes.set(xlabel="factors that the classifier sees", ylabel="mean balanced accuracy (%)")
    *_, (name, level) = others.items()
    ends = (min(50.0, level), max(bound, level))
    margin = 0.4 * (ends[1] - ends[0]) + 0.1
    closer.axhline(50, color=GREY, lw=0.8, ls=":")
    closer.axhline(level, color=ORANGE, ls="-.")
    limits = closer.set_ylim(ends[0] - margin, ends[1] + margin)
    closer.axhspan(bound, limits[1], fc="none", ec=GREY, hatch="////", label="excluded by Fano")
    closer.set(title=name, xticks=[])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def accuracy_by_attribute(names: Sequence[str], accuracy: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the balanced accuracy of every attribute from three sets of factors, in per cent."""
    frame = pd.DataFrame(accuracy, index=names).sort_values(next(iter(accuracy)))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.25 * len(names)), layout="constrained")
    for name, colour, marker in zip(frame, (GREEN, BLUE, ORANGE), "Do^", strict=True):
        axes.plot(frame[name], frame.index, marker, color=colour, ms=5.5, label=name, mfc="none", mew=1.4)
    axes.axvline(50, color=GREY, lw=0.8, ls=":")
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.set(xlabel="balanced accuracy (%)")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1)
    return figure
