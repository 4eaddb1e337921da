"""Figures of the chapter on models of other libraries."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import WIDTH


def information_by_place(by_place: Tensor, pictures: Tensor) -> Figure:
    """Draw `Audit.by_place`, the information of spatial latents, beside the deviation of every pixel of pictures."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    varies = pictures.std(0).mean(0)
    for axes, values, title, label in (
        (panels[0], by_place, "information", r"$\sum_h I(X;Z_h)$ (nats)"),
        (panels[1], varies, "variation", "deviation (1 = white)"),
    ):
        drawn = axes.imshow(values.numpy(), cmap="viridis", vmin=0, vmax=max(float(values.max()), 1e-3))
        axes.set(xticks=[], yticks=[], title=title)
        figure.colorbar(drawn, ax=axes, label=label, location="bottom", shrink=0.8)
    return figure
