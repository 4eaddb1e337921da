"""Figures of the EEG chapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from companion.figures.shared import (
    named_and_strongest,
)
from vaemi.auditing.figures import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
)

if TYPE_CHECKING:
    from companion.experiments import MeanArea, RatingAssociation
    from vaemi.influence import LabelInformation


def recording(signals: np.ndarray, names: Sequence[str], sampling_rate: float, start: float = 0.0) -> Figure:
    """Signals of electrodes below each other, with a bar for the scale.

    Parameters
    ----------
    signals : array, shape (channels, samples)
        In microvolts.
    names : sequence of str
    sampling_rate : float
        In Hz.
    start : float
        Time of the first sample in s.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * len(names)), layout="constrained")
    time = start + np.arange(signals.shape[1]) / sampling_rate
    step = 6 * float(signals.std())
    for row, signal in enumerate(signals):
        axes.plot(time, signal - row * step, color=BLUE, lw=0.8)
    axes.set_yticks(-step * np.arange(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlabel="time (s)", xlim=(time[0], time[-1]))
    bar = 10 ** np.floor(np.log10(step)) * (5 if step >= 10 ** np.floor(np.log10(step)) * 5 else 1)
    # Beside the signals, in the units that they are drawn in.
    edge = axes.get_yaxis_transform()
    low = -step * (len(names) - 1)
    axes.plot([1.02, 1.02], [low, low + bar], transform=edge, color=GREY, lw=2, clip_on=False)
    axes.text(1.035, low + bar / 2, f"{bar:g} µV", transform=edge, va="center", color=GREY)
    return figure


def rating_counts(ratings: np.ndarray, names: Sequence[str], threshold: float = 5.0) -> Figure:
    """Histograms of ratings (T, R) from 1 to 9, those above the threshold in another colour."""
    figure, panels = plt.subplots(1, len(names), figsize=(WIDTH, 2.2), sharey=True, layout="constrained")
    edges = np.linspace(1, 9, 17)
    for axes, column, name in zip(panels, ratings.T, names, strict=True):
        for chosen, colour in ((column > threshold, BLUE), (column <= threshold, ORANGE)):
            axes.hist(column[chosen], edges, color=colour, lw=0)
        axes.set(title=name, xlabel="rating", xticks=[1, 5, 9])
    panels[0].set_ylabel("trials")
    return figure


def scalp_maps(
    rows: Mapping[str, np.ndarray], columns: Sequence[str], positions: np.ndarray, label: str, shared: bool = True
) -> Figure:
    """Heads from above, the nose up: a row of maps for each name, blue below and red above zero.

    Parameters
    ----------
    rows : mapping of name to array, shape (number of columns, E)
        Values at the electrodes.
    columns : sequence of str
    positions : array, shape (E, 2)
        Of the electrodes on a disc of radius 1, x to the right ear, y to the nose.
    label : str
        What the values are, with the unit.
    shared : bool
        One scale for all rows; else each has its own, whose end is written beside it.
    """
    # Here because importing it takes a second.
    from mne.viz import plot_topomap

    side = min(1.15, 0.72 * WIDTH / len(columns))
    figure, panels = plt.subplots(
        len(rows),
        len(columns),
        figsize=(WIDTH, side * len(rows) + (1.1 if shared else 0.5)),
        squeeze=False,
        layout="constrained",
    )
    limits = {name: float(np.abs(maps).max()) or 1.0 for name, maps in rows.items()}
    if shared:
        limits = dict.fromkeys(rows, max(limits.values()))
    for heads, (name, maps) in zip(panels, rows.items(), strict=True):
        limit = limits[name]
        for axes, values in zip(heads, maps, strict=True):
            image, _ = plot_topomap(
                values, positions, axes=axes, cmap="RdBu_r", vlim=(-limit, limit), contours=0, sensors="k.",
                sphere=(0, 0, 0, 1), show=False,
            )  # fmt: skip
            for line in axes.lines:
                line.set(color=GREY if line.get_linestyle() == "-" else "#3a3f44", markersize=2)
        # MNE hides the axes with all that belongs to them.
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
    """Two heat maps, a row a factor and a column a rating: rank correlation and information; dots are significant.

    Parameters
    ----------
    association : RatingAssociation
    information : LabelInformation
        Between the factors and the same ratings, high or low.
    factors : sequence of int
        A row each.
    remainder : sequence of int
        Factors that share the last row, which shows the strongest among them.
    factor_labels : sequence of str
        Of the rows of `factors`.
    """
    tables = (
        (association.correlation, association.significant(), "RdBu_r", "rank correlation"),
        (1000 * information.nats, information.significant(), "viridis", "information (millinats)"),
    )
    labels = [*factor_labels, *([f"{len(remainder)} ignored, strongest"] if len(remainder) else [])]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.3 + 0.24 * len(labels)), sharey=True, layout="constrained")
    for axes, (table, significant, colours, name) in zip(panels, tables, strict=True):
        rows, dots = named_and_strongest(table, significant, factors, remainder)
        limit = float(rows.abs().max()) or 1.0
        mesh = axes.pcolormesh(
            rows.numpy(), cmap=colours, vmin=-limit if colours == "RdBu_r" else 0, vmax=limit, rasterized=True
        )
        place = dots.nonzero().numpy() + 0.5
        axes.plot(place[:, 1], place[:, 0], "o", color="#d5d8db", ms=4, mec="#3a3f44", mew=0.6)
        axes.set_xticks(np.arange(len(information.names)) + 0.5, information.names, rotation=45, ha="right")
        axes.tick_params(length=0)
        figure.colorbar(mesh, ax=axes, label=name, location="top", pad=0.02, aspect=18)
    panels[0].set_yticks(np.arange(len(labels)) + 0.5, labels)
    panels[0].invert_yaxis()
    return figure


def trajectories(courses: Mapping[str, tuple[Tensor, Tensor]], smooth: int = 5) -> Figure:
    """Course of a factor through the trials of high and of low rating: mean and standard error over trials.

    Parameters
    ----------
    courses : mapping of title to two Tensors, shapes (T, windows) and (T,)
        The factor in every window of every trial, and whether the trial was rated high. A panel each.
    smooth : int
        Windows that a running mean takes.
    """
    figure, panels = plt.subplots(
        1, len(courses), figsize=(WIDTH, 3.0), sharey=True, squeeze=False, layout="constrained"
    )
    kernel = np.ones(smooth) / smooth
    for axes, (title, (course, high)) in zip(panels[0], courses.items(), strict=True):
        smoothed = np.stack([np.convolve(trial, kernel, mode="valid") for trial in course.double().numpy()])
        window = np.arange(smoothed.shape[1]) + (smooth + 1) / 2
        chosen = high.numpy()
        for which, colour, line, name in ((chosen, BLUE, "-", "rated high"), (~chosen, ORANGE, "--", "rated low")):
            mean = smoothed[which].mean(0)
            error = smoothed[which].std(0) / np.sqrt(which.sum())
            axes.fill_between(window, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
            axes.plot(window, mean, color=colour, ls=line, label=name)
        axes.axhline(0, color=GREY, lw=0.8, ls=":")
        axes.set(title=title, xlabel="window of the trial")
    panels[0, 0].set_ylabel("factor, mean over trials")
    panels[0, 0].legend()
    return figure


def areas(tables: Mapping[str, Mapping[str, Mapping[str, MeanArea]]]) -> Figure:
    """Mean areas under the ROC curve with their intervals: a panel for each table, a row a set of features.

    Parameters
    ----------
    tables : mapping of title to mapping of set to mapping of rating to MeanArea
    """
    sets = list(next(iter(tables.values())))
    figure, panels = plt.subplots(
        1, len(tables), figsize=(WIDTH, 1.4 + 0.34 * len(sets)), sharey=True, sharex=True, layout="constrained"
    )
    place = np.arange(len(sets))
    for axes, (title, table) in zip(np.atleast_1d(panels), tables.items(), strict=True):
        ratings = list(next(iter(table.values())))
        for rating, colour, marker, shift in zip(ratings, (BLUE, ORANGE), "oD", (-0.14, 0.14), strict=False):
            found = [table[name][rating] for name in sets]
            middle = np.array([area.mean for area in found])
            reach = np.array([[area.mean - area.low, area.high - area.mean] for area in found]).T
            axes.errorbar(middle, place + shift, xerr=reach, fmt=marker, color=colour, ms=5, lw=1.4, label=rating)
        axes.axvline(0.5, color=GREY, lw=0.8, ls=":")
        axes.set(title=title, xlabel="area under the ROC curve")
        axes.grid(axis="y", color=GREY, alpha=0.2)
    first = np.atleast_1d(panels)[0]
    first.set_yticks(place, sets)
    first.invert_yaxis()
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
