"""Figures of the EEG chapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from companion.figures.shared import mark_significant, named_and_strongest
from vaemi.auditing.figures import BLUE, GREY, ORANGE, WIDTH

if TYPE_CHECKING:
    from companion.experiments.eeg import RatingAssociation
    from vaemi.influence import LabelInformation


def recording(signals: np.ndarray, names: Sequence[str], sampling_rate: float, start: float) -> Figure:
    """Draw the signals of electrodes (channels, samples) in uV one below the other, with a scale bar.

    `sampling_rate` is in Hz, `start` is the time of the first sample in s.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * len(names)), layout="constrained")
    time = start + np.arange(signals.shape[1]) / sampling_rate
    step = 6 * float(signals.std())
    offsets = -step * np.arange(len(names))
    axes.plot(time, signals.T + offsets, color=BLUE, lw=0.8)
    axes.set_yticks(offsets, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlabel="time (s)", xlim=(time[0], time[-1]))
    bar = float(f"{step:.0e}")  # one digit
    beside = axes.get_yaxis_transform()  # x relative to the axes, y in uV
    axes.plot([1.02, 1.02], offsets[-1] + np.array([0, bar]), transform=beside, color=GREY, lw=2, clip_on=False)
    axes.text(1.035, offsets[-1] + bar / 2, f"{bar:g} µV", transform=beside, va="center", color=GREY)
    return figure


def rating_counts(ratings: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw histograms of ratings (T, R) from 1 to 9, those above 5 in another colour."""
    figure, panels = plt.subplots(1, len(names), figsize=(WIDTH, 2.2), sharey=True, layout="constrained")
    for axes, column, name in zip(panels, ratings.T, names, strict=True):
        side = {"hue": column > 5, "palette": {True: BLUE, False: ORANGE}, "legend": False}
        sns.histplot(x=column, bins=np.linspace(1, 9, 17), ax=axes, alpha=1, lw=0, **side)
        axes.set(title=name, xlabel="rating", xticks=[1, 5, 9])
    panels[0].set_ylabel("trials")
    return figure


def scalp_maps(
    rows: Mapping[str, np.ndarray], columns: Sequence[str], positions: np.ndarray, label: str, shared: bool = True
) -> Figure:
    """Draw heads from above, the nose up: a row of maps for each name, blue below and red above zero.

    Parameters
    ----------
    rows : mapping of name to array, shape (number of columns, E)
        Values at the electrodes.
    columns : sequence of str
    positions : array, shape (E, 2)
        Electrodes on a disc of radius 1, x to the right ear, y to the nose.
    label : str
        Name and unit of the values.
    shared : bool
        Whether all rows share one scale; if not, the end of each row's scale is written beside it.
    """
    from mne.viz import plot_topomap  # takes a second

    side = min(1.15, 0.72 * WIDTH / len(columns))
    size = (WIDTH, side * len(rows) + (1.1 if shared else 0.5))
    figure, panels = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False, layout="constrained")
    limits = {name: float(np.abs(maps).max()) or 1.0 for name, maps in rows.items()}
    if shared:
        limits = dict.fromkeys(rows, max(limits.values()))
    look = {"cmap": "RdBu_r", "contours": 0, "sensors": "k.", "sphere": (0, 0, 0, 1), "show": False}
    for heads, (name, maps) in zip(panels, rows.items(), strict=True):
        limit = limits[name]
        for axes, values in zip(heads, maps, strict=True):
            image, _ = plot_topomap(values, positions, axes=axes, vlim=(-limit, limit), **look)
            for line in axes.lines:
                line.set(color=GREY if line.get_linestyle() == "-" else "#3a3f44", markersize=2)
        # MNE hides the axes, including their labels.
        text = name if shared else f"{name}\n±{limit:.2g}"
        heads[0].text(-0.12, 0.5, text, transform=heads[0].transAxes, ha="right", va="center", color=GREY)
    for axes, title in zip(panels[0], columns, strict=True):
        axes.set_title(title)
    if shared:
        figure.colorbar(image, ax=panels, location="bottom", label=label, shrink=0.6, aspect=30, pad=0.03)
    return figure


def factors_and_ratings(
    association: RatingAssociation,
    information: LabelInformation,
    factors: Sequence[int],
    remainder: Sequence[int],
    factor_labels: Sequence[str],
) -> Figure:
    """Draw rank correlation and information as heat maps of factors by ratings; dots mark significant cells.

    Each of `factors` has a row, named in `factor_labels`; the last row shows the strongest of the factors in
    `remainder`.
    """
    labels = [*factor_labels, *([f"{len(remainder)} ignored, strongest"] if len(remainder) else [])]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.3 + 0.24 * len(labels)), sharey=True, layout="constrained")
    tables = (
        (association.correlation, association.significant(), "RdBu_r", "rank\ncorrelation"),
        (1000 * information.nats, information.significant(), "viridis", "information\n(millinats)"),
    )
    for axes, (table, significant, colours, name) in zip(panels, tables, strict=True):
        rows, dots = named_and_strongest(table, significant, factors, remainder)
        limit = float(rows.abs().max()) or 1.0
        scale = {"cmap": colours, "vmin": -limit if colours == "RdBu_r" else 0, "vmax": limit}
        bar = {"label": name, "location": "top", "pad": 0.02, "aspect": 18}
        frame = pd.DataFrame(rows.numpy(), index=labels, columns=list(information.names))
        sns.heatmap(frame, ax=axes, rasterized=True, cbar_kws=bar, **scale)
        mark_significant(axes, dots, size=4, edge=0.6)
        axes.set_xticks(axes.get_xticks(), axes.get_xticklabels(), rotation=45, ha="right")
    return figure


def trajectories(courses: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw a factor through the trials of high and of low rating: mean and standard error over trials.

    Parameters
    ----------
    courses : mapping of title to two Tensors, shapes (T, windows) and (T,)
        The factor in every window of every trial, and whether the trial was rated high. A panel each, with a running
        mean of five windows.
    """
    size = (WIDTH, 3.0)
    figure, panels = plt.subplots(1, len(courses), figsize=size, sharey=True, squeeze=False, layout="constrained")
    sides = ["rated high", "rated low"]
    look = {"hue": "rated", "style": "rated", "palette": [BLUE, ORANGE], "hue_order": sides, "style_order": sides}
    for axes, (title, (course, high)) in zip(panels[0], courses.items(), strict=True):
        by_window = pd.DataFrame(course.double().numpy().T, index=1 + np.arange(course.shape[1]))
        smoothed = by_window.rolling(5, center=True).mean().dropna()
        tidy = smoothed.melt(var_name="trial", value_name="factor", ignore_index=False).reset_index(names="window")
        tidy["rated"] = np.where(high.numpy(), *sides)[tidy["trial"].astype(int)]
        sns.lineplot(tidy, x="window", y="factor", errorbar="se", ax=axes, **look)
        handles = axes.get_legend_handles_labels()
        axes.get_legend().remove()
        axes.axhline(0, color=GREY, lw=0.8, ls=":")
        axes.set(title=title, xlabel="window of the trial", ylabel="factor, mean over trials")
    figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


def areas(means: pd.DataFrame) -> Figure:
    """Draw mean areas under the ROC curve with their intervals: a panel for each test, a row for each feature set.

    Parameters
    ----------
    means : DataFrame
        See `companion.experiments.eeg.mean_areas`; the index has the levels test, features and rating, of which there
        are two.
    """
    sets = means.index.unique("features")
    place = np.arange(len(sets))
    size = (WIDTH, 1.4 + 0.34 * len(sets))
    figure, panels = plt.subplots(1, 2, figsize=size, sharey=True, sharex=True, layout="constrained")
    for axes, (test, panel) in zip(panels, means.groupby("test", sort=False), strict=True):
        ratings = panel.groupby("rating", sort=False)
        for (rating, part), colour, marker, shift in zip(ratings, (BLUE, ORANGE), "oD", (-0.14, 0.14), strict=True):
            reach = [part["mean"] - part.low, part.high - part["mean"]]
            look = {"fmt": marker, "color": colour, "ms": 5, "lw": 1.4, "label": rating}
            axes.errorbar(part["mean"], place + shift, xerr=reach, **look)
        axes.axvline(0.5, color=GREY, lw=0.8, ls=":")
        axes.set(title=test, xlabel="area under\nthe ROC curve")
        axes.grid(axis="y", color=GREY, alpha=0.2)
    panels[0].set_yticks(place, sets)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
