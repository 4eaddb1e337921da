"""Figures of the report, and the style of all figures.

The colours are close to those of Okabe and Ito. The background is transparent and the text mid-grey, to be read on
light and on dark pages.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure, FigureBase
from PIL import Image
from torch import Tensor

from vaemi.information import FactorInformation

BLUE, ORANGE, GREEN, PURPLE = "#2b8fd0", "#d9661f", "#109a72", "#b0699a"
GREY = "#7d8389"
#: Width of a figure in inches.
WIDTH = 5.4
# JPEG quality at which no difference is visible at the size of a figure.
_QUALITY = 90

_TICKS = {
    f"{axis}tick.{name}": value
    for axis in "xy"
    for name, value in {
        "color": GREY, "labelsize": 10, "major.size": 6, "major.width": 1.25, "minor.size": 4, "minor.width": 1,
    }.items()
}  # fmt: skip
_STYLE: Any = {
    **_TICKS,
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
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, PURPLE]),
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


def use_style(image_format: str = "svg") -> None:
    """Set the style of all figures that follow; in a notebook also the format in which they are stored."""
    plt.rcParams.update(_STYLE)
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
    """Return the figure as an SVG whose pictures take few bytes; the same figure gives the same text.

    Matplotlib stores every picture as a PNG with an opacity per pixel. For photographs that takes four times the bytes
    of a JPEG that looks the same.
    """
    stored = io.StringIO()
    figure.savefig(stored, format="svg", bbox_inches="tight", metadata={"Date": None})
    return re.sub(r"data:image/png;base64,([\w+/=\s]+)", lambda found: _lighter(found[1]), stored.getvalue())


def _lighter(png: str) -> str:
    """Return a data URL for a PNG in base64: the smaller of a PNG, in one channel if it is grey, and a JPEG."""
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
    """Draw the information of every factor, and sigma* below it."""
    figure = plt.figure(figsize=(WIDTH, 3.4), layout="constrained")
    draw_spectrum_and_deviations(figure, information, threshold, [])
    return figure


def draw_spectrum_and_deviations(
    figure: FigureBase, information: FactorInformation, threshold: float, drawn: Sequence[int]
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


def information_maps(maps: Tensor, shown: int = 8) -> Figure:
    """Draw a heat map of the information at every place for each channel, the most informative channels first.

    Parameters
    ----------
    maps : Tensor, shape (channels, height, width) or (channels, length)
        In nats, as `Audit.maps`.
    shown : int
        Largest number of channels.

    Raises
    ------
    ValueError
        If `maps` has another shape.
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
