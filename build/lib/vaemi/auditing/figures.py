"""Figures of the report, and the style of all figures.

The colours are those of Okabe and Ito; the ground is transparent and the text mid-grey, which reads on a light and on a
dark page.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure, FigureBase
from PIL import Image
from torch import Tensor

from vaemi.information import FactorInformation

if TYPE_CHECKING:
    pass

BLUE, ORANGE, GREEN, PURPLE = "#2b8fd0", "#d9661f", "#109a72", "#b0699a"
GREY = "#7d8389"


WIDTH = 5.4


# Of a JPEG in which no eye finds a difference at the size that a figure is shown in.
_QUALITY = 90


def use_style(image_format: str = "svg") -> None:
    """Set the book's style for all figures from here on; in a notebook also the format they are stored in."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.bbox": "tight",
            "figure.dpi": 110,
            "text.color": GREY,
            "axes.labelcolor": GREY,
            "axes.edgecolor": GREY,
            "axes.titlecolor": GREY,
            "xtick.color": GREY,
            "ytick.color": GREY,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, PURPLE]),
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "image.cmap": "gray",
            # The same figure gives the same file.
            "svg.hashsalt": "vaemi",
        },
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats(image_format, metadata={"Date": None} if image_format == "svg" else {})
    except ImportError:
        return
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and image_format == "svg":
        shell.display_formatter.formatters["image/svg+xml"].for_type(Figure, as_svg)


def as_svg(figure: Figure) -> str:
    """The figure as text of an SVG whose pictures take few bytes; the same figure gives the same text.

    Matplotlib stores every picture as a PNG with an opacity for each pixel, which of photographs is four times what a
    JPEG takes that looks the same.
    """
    stored = io.StringIO()
    figure.savefig(stored, format="svg", bbox_inches="tight", metadata={"Date": None})
    return re.sub(r"data:image/png;base64,([\w+/=\s]+)", lambda found: _lighter(found[1]), stored.getvalue())


def _lighter(png: str) -> str:
    """Address that holds a picture, given as base64 of a PNG, in few bytes: grey as one channel, or all as a JPEG."""
    stored = Image.open(io.BytesIO(base64.b64decode(png)))
    if stored.mode == "RGBA" and min(stored.getchannel("A").tobytes()) < 255:
        return f"data:image/png;base64,{png}"
    picture = stored.convert("RGB")
    red, green, blue = picture.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        picture = red
    encoded = []
    for kind, settings in (("png", {}), ("jpeg", {"quality": _QUALITY, "subsampling": 0})):
        content = io.BytesIO()
        picture.save(content, kind, optimize=True, **settings)
        encoded.append(f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}")
    return min(encoded, key=len)


def spectrum_and_deviations(information: FactorInformation, threshold: float = 0.1) -> Figure:
    """The upper part of `spectrum`: information of every factor, and sigma* below it."""
    figure = plt.figure(figsize=(WIDTH, 3.4), layout="constrained")
    draw_spectrum_and_deviations(figure, information, threshold, [])
    return figure


def draw_spectrum_and_deviations(
    figure: FigureBase, information: FactorInformation, threshold: float, drawn: Sequence[int]
) -> None:
    """Draw the information of every factor over its marginal standard deviation."""
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
    # 1.5 holds what a prior has pulled to 1; of other models more is to be seen.
    deviations.set(
        xlabel="factor, ranked by information", ylabel=r"$\sigma^*_h$", ylim=(0, max(1.5, 1.05 * marginal_std.max()))
    )


def information_maps(maps: Tensor, shown: int = 8) -> Figure:
    """Information of spatial latents at every place, a heat map for each channel, the most informative ones first.

    Parameters
    ----------
    maps : Tensor, shape (channels, height, width) or (channels, length)
        In nats, as `Audit.maps`.
    shown : int
        Number of channels at most.

    Raises
    ------
    ValueError
        If the latents have no places, or more than two dimensions of them.
    """
    if maps.ndim not in (2, 3):
        raise ValueError(f"maps has shape {tuple(maps.shape)}: give (channels, height, width) or (channels, length).")
    channels = maps.flatten(1).sum(1).argsort(descending=True, stable=True)[:shown].tolist()
    columns = min(4, len(channels))
    rows = -(-len(channels) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(WIDTH, 0.6 + 1.4 * rows), squeeze=False, layout="constrained")
    for axes, channel in itertools.zip_longest(panels.flat, channels):
        axes.set_axis_off()
        if channel is not None:
            values = maps[channel].numpy() if maps.ndim == 3 else maps[channel, None].numpy()
            aspect: Literal["equal", "auto"] = "equal" if maps.ndim == 3 else "auto"
            drawn = axes.imshow(values, cmap="viridis", vmin=0, vmax=max(float(maps.max()), 1e-3), aspect=aspect)
            axes.set_title(f"channel {channel}")
    figure.colorbar(drawn, ax=panels, label=r"$I(X;Z_h)$ (nats)")
    return figure
