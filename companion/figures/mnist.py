"""Figures of the MNIST chapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from companion.figures.shared import (
    strips,
)
from vaemi.auditing.figures import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
)
from vaemi.information import FactorInformation

if TYPE_CHECKING:
    from vaemi.training import History


def emergence(history: History, information: FactorInformation, shown: int = 32) -> Figure:
    """Heat map of the information of the `shown` finally most informative factors over the optimizer's steps."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    shown = min(shown, len(information))
    rows = history.information[:, information.ranking[:shown]].T.numpy()
    edges = np.arange(shown + 1) + 0.5
    mesh = axes.pcolormesh(
        _edges(history.step.numpy()), edges, rows, cmap="viridis", vmin=0, rasterized=True, shading="flat"
    )
    axes.invert_yaxis()
    axes.set(xlabel="optimizer steps", ylabel=f"factor, by final rank (first {shown})")
    figure.colorbar(mesh, ax=axes, label=r"$I(X;Z_h)$ (nats)", pad=0.02)
    return figure


def training_terms(history: History) -> Figure:
    """KL term and learned sigma over the optimizer's steps, on held-out samples."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    left.plot(history.step, history.kl, color=BLUE)
    left.set(xlabel="optimizer steps", ylabel="KL term (nats)", ylim=(0, None))
    right.plot(history.step, history.sigma, color=ORANGE)
    right.set(xlabel="optimizer steps", ylabel=r"learned $\sigma$ (1 = white)", ylim=(0, None))
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=3)
    return figure


def reconstruction_strip(originals: Tensor, reconstructions: Mapping[int, Tensor]) -> Figure:
    """A row of pictures for each number of factors kept, under the originals."""
    return strips({"original": originals} | {f"{count} kept": rows for count, rows in reconstructions.items()})


def removal_scatter(information: FactorInformation, damage: Tensor, threshold: float = 0.1) -> Figure:
    """What removing a factor alone costs, against its information."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    influential = (information.nats > threshold).numpy()
    for chosen, colour, name in ((influential, BLUE, "influential"), (~influential, ORANGE, "ignored")):
        axes.plot(information.nats[chosen], damage[chosen], "o", color=colour, ms=5, alpha=0.8, label=name)
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel="rise of the error a pixel\nwhen $z_h$ alone is removed")
    axes.legend()
    return figure


def accuracy_by_ratio(
    measured: Mapping[str, float], published: Mapping[str, float], counts: Sequence[int], fano_percent: Sequence[float]
) -> Figure:
    """Accuracy by ratio of factors kept, beside the published column and under Fano's bound, in per cent."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    place = np.arange(len(measured))
    axes.plot(place, fano_percent, color=GREY, ls="--", label="Fano's bound")
    axes.plot(place, list(published.values()), color=ORANGE, marker="s", ms=5, ls=":", label="published")
    axes.plot(place, list(measured.values()), color=BLUE, marker="o", ms=5, label="this run")
    axes.set_xticks(place, [f"{100 * float(r):g}\n{k}" for r, k in zip(measured, counts, strict=True)])
    axes.set(xlabel="factors kept, the most informative: per cent, number", ylabel="accuracy (%)", ylim=(0, 103))
    axes.legend(loc="lower left")
    return figure


def fano(
    counts: Sequence[int], accuracy: Mapping[str, Sequence[float]], bound: Mapping[str, Sequence[float]]
) -> Figure:
    """Accuracy from sampled factors and Fano's bound, keeping the most and the least informative ones first.

    Parameters
    ----------
    counts : sequence of int
        Numbers of factors kept.
    accuracy, bound : mapping with keys "most" and "least"
        Per cent for every count.
    """
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, layout="constrained")
    for axes, which in zip(panels, ("most", "least"), strict=True):
        axes.fill_between(counts, bound[which], 103, color=GREY, alpha=0.25, lw=0, label="forbidden by Fano")
        axes.plot(counts, bound[which], color=GREY, ls="--")
        axes.plot(counts, accuracy[which], color=BLUE, marker="o", ms=4, label="accuracy")
        axes.set_xticks(np.linspace(0, counts[-1], 5))
        axes.set(title=f"{which} informative kept", xlabel="factors kept", ylim=(0, 103))
    panels[0].set_ylabel("accuracy (%)")
    panels[0].legend(loc="lower right")
    return figure


def _edges(centres: np.ndarray) -> np.ndarray:
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([centres[:1], middles, centres[-1:]])
