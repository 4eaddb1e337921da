"""Figures of the chapter on MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from companion.figures.shared import show_strip
from vaemi.auditing.figures import BLUE, GREY, ORANGE, WIDTH
from vaemi.information import FactorInformation

if TYPE_CHECKING:
    from vaemi.training import History


def spectrum_by_index(
    information: FactorInformation, traversals: Mapping[int, Tensor], threshold: float = 0.1
) -> Figure:
    """Draw information and sigma*^2 of every factor, in the encoder's order, and pictures along some factors below.

    This is the layout of the paper's Figure 1.

    Parameters
    ----------
    information : FactorInformation
    traversals : mapping of factor to Tensor, shape (steps, 1, height, width)
        Pictures along each factor, which is marked in the upper panel by a letter.
    threshold : float
        Nats above which a factor counts as influential.
    """
    rows = len(traversals)
    figure = plt.figure(figsize=(WIDTH, 4.2 + 0.52 * rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[4.2, 0.52 * rows], squeeze=False)[:, 0]
    stems, variances = top.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    index, nats, variance = np.arange(len(information)), information.nats.numpy(), information.marginal_std.numpy() ** 2
    colours = np.where(nats > threshold, BLUE, ORANGE)
    stems.vlines(index, 0, nats, color=colours, lw=1.6)
    stems.scatter(index, nats, s=12, color=colours)
    variances.scatter(index, variance, s=9, color=colours)
    variances.axhline(1, color=GREY, lw=0.8, ls=":")
    stems.set(ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, 1.2 * max(nats.max(), threshold)))
    variances.set(
        xlabel="factor, by its index $h$", ylabel=r"$\sigma_h^{*2}$", ylim=(0, max(1.5, 1.05 * variance.max()))
    )
    strips = bottom.subplots(rows, 1, squeeze=False)[:, 0]
    for letter, axes, (factor, pictures) in zip(ascii_uppercase, strips, traversals.items(), strict=False):
        place = (factor, nats[factor])
        stems.annotate(letter, place, (0, 4), textcoords="offset points", ha="center", va="bottom", weight="bold")
        show_strip(axes, pictures, f"{letter}: $z_{{{factor}}}$")
    return figure


def emergence(history: History, information: FactorInformation) -> Figure:
    """Draw the information of the finally most informative factors over the optimizer steps, as a heat map."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    shown = min(32, len(information))
    step = history.step.numpy()
    edges = np.concatenate([step[:1], (step[1:] + step[:-1]) / 2, step[-1:]])
    rows = history.information[:, information.ranking[:shown]].T.numpy()
    mesh = axes.pcolormesh(edges, np.arange(shown + 1) + 0.5, rows, cmap="viridis", vmin=0, rasterized=True)
    axes.invert_yaxis()
    axes.set(xlabel="optimizer steps", ylabel=f"factor, by final rank (first {shown})")
    figure.colorbar(mesh, ax=axes, label=r"$I(X;Z_h)$ (nats)", pad=0.02)
    return figure


def training_terms(history: History) -> Figure:
    """Draw the KL term and the learned sigma on held-out samples over the optimizer steps."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    for axes, values, colour, label in (
        (panels[0], history.kl, BLUE, "KL term (nats)"),
        (panels[1], history.sigma, ORANGE, r"learned $\sigma$ (1 = white)"),
    ):
        axes.plot(history.step, values, color=colour)
        axes.set(xlabel="optimizer steps", ylabel=label, ylim=(0, None))
        axes.locator_params(axis="x", nbins=3)
    return figure


def removal_scatter(information: FactorInformation, damage: Tensor, threshold: float = 0.1) -> Figure:
    """Draw the damage of removing each factor alone against its information."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    kind = np.where(information.nats.numpy() > threshold, "influential", "ignored")
    colours = {"influential": BLUE, "ignored": ORANGE}
    sns.scatterplot(x=information.nats, y=damage, hue=kind, palette=colours, ax=axes, s=30, lw=0, alpha=0.8)
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel="rise of the error per pixel\nwhen $z_h$ alone is removed")
    return figure


def accuracy_by_ratio(
    measured: Mapping[str, float], published: Mapping[str, float], counts: Sequence[int], fano_percent: Sequence[float]
) -> Figure:
    """Draw accuracy by ratio of factors kept, with the published column and Fano's bound, in per cent."""
    ticks = [f"{100 * float(ratio):g}\n{count}" for ratio, count in zip(measured, counts, strict=True)]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    axes.plot(ticks, fano_percent, color=GREY, ls="--", label="Fano's bound")
    axes.plot(ticks, list(published.values()), color=ORANGE, marker="s", ms=5, ls=":", label="published")
    axes.plot(ticks, list(measured.values()), color=BLUE, marker="o", ms=5, label="this run")
    axes.set(xlabel="factors kept, the most informative\n(per cent, number)", ylabel="accuracy (%)", ylim=(0, 103))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def fano(
    counts: Sequence[int], accuracy: Mapping[str, Sequence[float]], bound: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw the accuracy under Fano's bound, in per cent, with the "most" and with the "least" informative kept."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, layout="constrained")
    for axes, which in zip(panels, accuracy, strict=True):
        axes.fill_between(counts, bound[which], 103, color=GREY, alpha=0.25, lw=0, label="forbidden by Fano")
        axes.plot(counts, bound[which], color=GREY, ls="--")
        axes.plot(counts, accuracy[which], color=BLUE, marker="o", ms=4, label="accuracy")
        axes.set_xticks(np.linspace(0, counts[-1], 5))
        axes.set(title=f"{which} informative kept", xlabel="factors kept", ylim=(0, 103))
    panels[0].set_ylabel("accuracy (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
