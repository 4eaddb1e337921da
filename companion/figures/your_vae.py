"""Figures of the chapter on models of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import (
    WIDTH,
)

if TYPE_CHECKING:
    pass


def information_by_place(by_place: Tensor, pictures: Tensor) -> Figure:
    """Information of spatial latents summed over the channels, beside how much each pixel varies between pictures.

    Parameters
    ----------
    by_place : Tensor, shape (height, width)
        In nats, as `Audit.by_place`.
    pictures : Tensor, shape (N, C, height, width)
        With values in [0, 1]; other heights and widths than those of the latents.

    Raises
    ------
    ValueError
        If one has not these dimensions.
    """
    if by_place.ndim != 2 or pictures.ndim != 4:
        raise ValueError(
            f"by_place has shape {tuple(by_place.shape)} and pictures {tuple(pictures.shape)}: give (height, width) "
            "and (N, C, height, width)."
        )
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    varies = pictures.std(0).mean(0)
    for axes, values, title, label in (
        (panels[0], by_place, "what the latents know", r"$\sum_h I(X;Z_h)$ (nats)"),
        (panels[1], varies, "what varies", "deviation (1 = white)"),
    ):
        drawn = axes.imshow(values.numpy(), cmap="viridis", vmin=0, vmax=max(float(values.max()), 1e-3))
        axes.set(xticks=[], yticks=[], title=title)
        figure.colorbar(drawn, ax=axes, label=label, location="bottom", shrink=0.8)
    return figure
