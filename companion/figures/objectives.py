"""Figures of the chapter on objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    WIDTH,
)
from vaemi.information import FactorInformation

if TYPE_CHECKING:
    pass


def spectra_side_by_side(
    spectra: Mapping[str, Tensor], threshold: float = 0.1, columns: int = 3, shown_beyond: int = 2
) -> Figure:
    """A panel for each way of training, with a line a seed; the first one's lie behind the others, in grey.

    Parameters
    ----------
    spectra : mapping of name to Tensor, shape (seeds, H)
        Information of every factor in nats.
    threshold : float
        Nats above which a factor counts as influential.
    columns : int
        Panels in a row.
    shown_beyond : int
        Ranks shown beyond the last influential factor of any.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not spectra:
        raise ValueError("There are no spectra: give one or more.")
    ranked = {name: nats.sort(dim=1, descending=True).values.numpy() for name, nats in spectra.items()}
    most = max(int((nats > threshold).sum(1).max()) for nats in ranked.values())
    rows = -(-len(ranked) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(WIDTH, 0.6 + 1.7 * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    first = next(iter(ranked))
    for axes, (name, nats) in zip(panels.flat, ranked.items(), strict=False):
        ranks = np.arange(1, min(nats.shape[1], most + shown_beyond) + 1)
        if name != first:
            axes.plot(ranks, ranked[first][:, : len(ranks)].T, color=GREY, lw=1, ls="--")
        axes.plot(ranks, nats[:, : len(ranks)].T, color=BLUE, marker="o", ms=2.5, lw=1)
        axes.axhline(threshold, color=GREY, lw=0.8, ls=":")
        counts = sorted({int(count) for count in (nats > threshold).sum(1)})
        span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        axes.set_title(f"{name}: {span}", fontsize="small")
        axes.locator_params(axis="x", integer=True, nbins=5)
    for axes in list(panels.flat)[len(ranked) :]:
        axes.remove()
    panels[0, 0].set_ylim(0, None)
    figure.supxlabel("factor, ranked by information", color=GREY, fontsize="medium")
    figure.supylabel(r"$I(X;Z_h)$ (nats)", color=GREY, fontsize="medium")
    return figure


def deviation_against_information(
    information: Mapping[str, FactorInformation], levels: Mapping[str, float] | None = None
) -> Figure:
    """Marginal deviation of every factor against its information, for models trained in different ways.

    Parameters
    ----------
    information : mapping of name to FactorInformation
        At most four.
    levels : mapping of name to float, optional
        Deviations to mark by a line, each with its meaning.

    Raises
    ------
    ValueError
        If there is none, or there are more than four.
    """
    looks = list(zip((BLUE, ORANGE, GREEN, PURPLE), "osD^", strict=True))
    if not 1 <= len(information) <= len(looks):
        raise ValueError(f"There are {len(information)} models: give 1 to {len(looks)}.")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    for (name, of), (colour, marker) in zip(information.items(), looks, strict=False):
        axes.plot(of.nats.numpy(), of.marginal_std.numpy(), marker, color=colour, ms=5, alpha=0.85, label=name)
    for (name, level), line in zip((levels or {}).items(), (":", "--", "-."), strict=False):
        axes.axhline(level, color=GREY, lw=1, ls=line, label=name)
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel=r"$\sigma^*_h$", ylim=(0, None))
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    axes.legend(fontsize="small")
    return figure
