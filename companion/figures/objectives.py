"""Figures of the chapter on objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import BLUE, GREY, ORANGE, WIDTH
from vaemi.information import FactorInformation


def spectra_side_by_side(spectra: Mapping[str, Tensor], threshold: float = 0.1, shown_beyond: int = 2) -> Figure:
    """Draw a panel per objective with a line per seed, in nats (seeds, H); dashes repeat the first objective.

    The title of a panel counts the factors above the threshold; `shown_beyond` is the number of ranks shown beyond the
    last of them.
    """
    counts = {name: (nats > threshold).sum(1) for name, nats in spectra.items()}
    shown = max(int(count.max()) for count in counts.values()) + shown_beyond
    ranked = {name: nats.sort(dim=1, descending=True).values[:, :shown].T for name, nats in spectra.items()}
    first, *_ = ranked.values()
    ranks = range(1, len(first) + 1)
    rows = math.ceil(len(spectra) / 2)
    figure, panels = plt.subplots(
        rows, 2, figsize=(WIDTH, 0.6 + 1.7 * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes in panels.flat[len(spectra) :]:
        axes.remove()
    for axes in panels.flat[len(spectra) - 2 : len(spectra)]:
        axes.tick_params(labelbottom=True)
    for axes, (name, nats) in zip(panels.flat, ranked.items(), strict=False):
        axes.plot(ranks, nats, color=BLUE, marker="o", ms=3.5, lw=1)
        if nats is not first:
            axes.plot(ranks, first, color=GREY, lw=1, ls="--", zorder=1)
        axes.axhline(threshold, color=GREY, lw=0.8, ls=":")
        least_and_most = sorted({int(counts[name].min()), int(counts[name].max())})
        axes.set_title(f"{name}: {' to '.join(map(str, least_and_most))}")
        axes.locator_params(axis="x", integer=True, nbins=5)
    panels.flat[0].set_ylim(bottom=0)  # of all
    figure.supxlabel("factor, ranked by information", color=GREY, fontsize="medium")
    figure.supylabel(r"$I(X;Z_h)$ (nats)", color=GREY, fontsize="medium")
    return figure


def deviation_against_information(information: Mapping[str, FactorInformation], levels: Mapping[str, float]) -> Figure:
    """Draw marginal standard deviation against information of every factor for two models, and two levels as lines."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    for (name, of), colour, marker in zip(information.items(), (BLUE, ORANGE), "os", strict=True):
        axes.plot(of.nats, of.marginal_std, marker, color=colour, ms=5, alpha=0.85, label=name)
    for (name, level), line in zip(levels.items(), (":", "--"), strict=True):
        axes.axhline(level, color=GREY, lw=1, ls=line, label=name)
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel=r"$\sigma^*_h$", ylim=(0, None))
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
