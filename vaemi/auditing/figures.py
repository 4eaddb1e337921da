"""Figures of the report, and the style of all figures.

The colours are close to those of Okabe and Ito. The background is transparent. The grey of the text has a contrast of
4.5 on white; the book brightens figures a little on its dark pages, for the same contrast.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from cycler import cycler
from matplotlib.figure import Figure, FigureBase
from torch import Tensor

from vaemi.information import FactorInformation

BLUE, ORANGE, GREEN, PURPLE = "#2b8fd0", "#d9661f", "#109a72", "#b0699a"
GREY = "#70767c"
#: Width of a figure in inches: on a phone (342 pixels) a point of text is then about a pixel.
WIDTH = 4.6

_TICKS = {"color": GREY, "labelsize": 10, "major.size": 6, "major.width": 1.25, "minor.size": 4, "minor.width": 1}
#: Parameters of matplotlib.
STYLE: Any = {
    **{f"{axis}tick.{name}": value for axis in "xy" for name, value in _TICKS.items()},
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.bbox": "tight",
    "figure.dpi": 110,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1.25,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PURPLE]),
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "legend.title_fontsize": 12,
    "legend.frameon": False,
    "grid.color": ".8",
    "grid.linewidth": 1,
    "image.cmap": "gray",
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "svg.hashsalt": "vaemi",  # the same figure gives the same file
}


def draw_spectrum_and_deviations(
    figure: FigureBase, information: FactorInformation, threshold: float, drawn: Sequence[int] = ()
) -> None:
    """Draw the information of every factor above its sigma*; the factors in `drawn` are circled."""
    stems, deviations = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    ranks = np.arange(1, len(information) + 1)
    nats, marginal_std, errors = (
        of_factors[information.ranking].numpy()
        for of_factors in (information.nats, information.marginal_std, information.stderr)
    )
    influential = nats > threshold
    for chosen, colour, name in (
        (influential, BLUE, f"influential: more than {threshold:g} nats"),
        (~influential, ORANGE, "ignored"),
    ):
        stems.vlines(ranks[chosen], 0, nats[chosen], color=colour, lw=1.6)
        stems.plot(ranks[chosen], nats[chosen], "o", ms=3.5, color=colour, label=name)
        deviations.plot(ranks[chosen], marginal_std[chosen], "o", ms=3, color=colour)
    stems.errorbar(ranks, nats, yerr=1.96 * errors, fmt="none", ecolor=GREY, lw=1)
    if drawn:
        place = torch.isin(information.ranking, torch.tensor(drawn)).numpy()
        stems.plot(ranks[place], nats[place], "o", ms=8, mfc="none", mec=GREY, label="drawn below")
    stems.set(ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    stems.legend(loc="upper right")
    deviations.axhline(1, color=GREY, lw=0.8, ls=":")
    # A prior pulls sigma* to 1; models that it does not pull need more room.
    deviations.set(
        xlabel="factor, ranked by information", ylabel=r"$\sigma^*_h$", ylim=(0, max(1.5, 1.05 * marginal_std.max()))
    )


def draw_information_maps(figure: Figure, maps: Tensor, shown: int = 8) -> None:
    """Draw a heat map of the information at every place for each channel, the most informative channels first.

    `maps`, in nats as `Audit.maps`, has the shape (channels, height, width) or (channels, length).
    """
    channels = maps.flatten(1).sum(1).argsort(descending=True, stable=True)[:shown].tolist()
    values, aspect = (maps.numpy(), "equal") if maps.ndim == 3 else (maps[:, None].numpy(), "auto")
    most = max(float(maps.max()), 1e-3)
    columns = min(4, len(channels))
    rows = -(-len(channels) // columns)
    figure.set_size_inches(WIDTH, 0.6 + 1.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, channel in itertools.zip_longest(panels.flat, channels):
        axes.set_axis_off()
        if channel is not None:
            drawn = axes.imshow(values[channel], cmap="viridis", vmin=0, vmax=most, aspect=aspect)
            axes.set_title(f"channel {channel}")
    figure.colorbar(drawn, ax=panels, label=r"$I(X;Z_h)$ (nats)")
