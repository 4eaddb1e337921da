"""Figures that several chapters share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    WIDTH,
    draw_information_maps,
    draw_spectrum_and_deviations,
)
from vaemi.information import FactorInformation, PairwiseInformation


def spectrum_and_deviations(information: FactorInformation, threshold: float = 0.1) -> Figure:
    """Draw the information of every factor, and sigma* below it."""
    figure = plt.figure(figsize=(WIDTH, 3.4), layout="constrained")
    draw_spectrum_and_deviations(figure, information, threshold)
    return figure


def information_maps(maps: Tensor, shown: int = 8) -> Figure:
    """Draw a heat map per channel of `Audit.maps`, the most informative channels first, `shown` at most."""
    figure = plt.figure(layout="constrained")
    draw_information_maps(figure, maps, shown)
    return figure


def spectrum(information: FactorInformation, traversals: Mapping[int, Tensor], threshold: float = 0.1) -> Figure:
    """Draw the sorted spectrum: information of every factor, sigma* below it, and pictures along some factors.

    Parameters
    ----------
    information : FactorInformation
    traversals : mapping of factor to Tensor, shape (steps, C, height, width)
        Pictures from -3 to +3 sigma*.
    threshold : float
        Nats above which a factor counts as influential.
    """
    figure = plt.figure(figsize=(WIDTH, 6.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.15, 1], squeeze=False)[:, 0]
    draw_spectrum_and_deviations(top, information, threshold, list(traversals))
    rows = bottom.subplots(len(traversals), 1, squeeze=False)[:, 0]
    for axes, (factor, pictures) in zip(rows, traversals.items(), strict=True):
        show_strip(axes, pictures, f"$z_{{{factor}}}$\n{information.nats[factor]:.2f} nats")
    rows[-1].set_xlabel(r"from $-3\,\sigma^*_h$ to $+3\,\sigma^*_h$")
    return figure


def spectra(informations: Mapping[str, FactorInformation], threshold: float = 0.1, shown_beyond: int = 4) -> Figure:
    """Draw up to five sorted spectra in one panel, with 95 % intervals; the legend counts the factors.

    `shown_beyond` is the number of ranks shown beyond the last factor above the threshold of any spectrum.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    counts = {name: len(information.influential(threshold)) for name, information in informations.items()}
    looks = zip((BLUE, ORANGE, GREEN, PURPLE, GREY), "osD^v", strict=True)
    for (name, information), (colour, marker) in zip(informations.items(), looks, strict=False):
        shown = information.ranking[: max(counts.values()) + shown_beyond]
        ranks = np.arange(1, len(shown) + 1)
        nats, half = information.nats[shown].numpy(), 1.96 * information.stderr[shown].numpy()
        axes.errorbar(ranks, nats, half, color=colour, marker=marker, ms=4, lw=1.2, label=f"{name}: {counts[name]}")
    axes.axhline(threshold, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel="factor, ranked by information", ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    axes.legend(title=f"factors above {threshold:g} nats")
    return figure


def strips(rows: Mapping[str, Tensor], xlabel: str = "") -> Figure:
    """Draw a row of pictures (N, C, height, width) with values in [0, 1] for each label."""
    across = max(len(pictures) for pictures in rows.values())
    # The pictures take the width that labels leave.
    side = WIDTH / across if not any(label.strip() for label in rows) else min(0.5, 0.8 * WIDTH / across)
    height = side * len(rows) + (0.3 if xlabel else 0)
    figure, panels = plt.subplots(len(rows), 1, figsize=(WIDTH, height), squeeze=False)
    figure.set_layout_engine("constrained", h_pad=0.01, hspace=0)
    for axes, (label, pictures) in zip(panels[:, 0], rows.items(), strict=True):
        show_strip(axes, pictures, label)
    panels[-1, 0].set_xlabel(xlabel)
    return figure


def masking_curves(errors: Mapping[str, Sequence[float]], counts: Sequence[int]) -> Figure:
    """Draw the reconstruction error against the number of factors kept, for several orders; random ones as a band."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    ticks = [str(count) for count in counts]
    draws = np.array([curve for name, curve in errors.items() if name.startswith("random")])
    axes.fill_between(ticks, draws.min(0), draws.max(0), color=GREY, alpha=0.3, lw=0)
    axes.plot(ticks, draws.mean(0), color=GREY, ls=":", marker="s", ms=4, label=f"random ({len(draws)} draws, range)")
    # Several orders coincide with that by information nearly everywhere: the further below, the wider.
    for name, label, colour, marker, width in (
        ("variance", r"$\sigma^*$", ORANGE, "^", 1.5),
        ("kl", "KL to the prior", GREEN, "D", 7.0),
        ("mean_precision", r"$-\mathrm{E}\,\log\,\sigma^2$", GREY, "s", 4.5),
        ("active_units", r"$\mathrm{Var}(\mu)$, active units", PURPLE, "v", 2.5),
        ("information", "information (the paper)", BLUE, "o", 1.2),
    ):
        axes.plot(ticks, errors[name], color=colour, marker=marker, ms=3 + width, lw=width, label=label)
    axes.set(xlabel="factors kept (the others set to 0)", ylabel="mean squared error per pixel", ylim=(0, None))
    axes.legend(title="kept first by", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def redundancy(information: PairwiseInformation, most_numbers: int = 12) -> Figure:
    """Draw the information that two factors share as a heat map, with I(X; Z_h) in nats on the diagonal.

    Up to `most_numbers` factors every cell shows its nats, and 0 for a negative estimate. The diagonal is not coloured:
    its values are much larger than those of the pairs.
    """
    count = len(information)
    numbered = count <= most_numbers
    size = WIDTH * min(1.0, 0.35 + 0.06 * count)
    figure, axes = plt.subplots(figsize=(size, 0.82 * size), layout="constrained")
    diagonal = np.eye(count, dtype=bool)
    nats = information.nats.numpy().clip(min=0)
    names = [f"$z_{{{factor}}}$" for factor in information.factors.tolist()]
    sns.heatmap(
        nats,
        mask=diagonal,
        ax=axes,
        cmap="viridis",
        vmin=0,
        vmax=max(float(nats[~diagonal].max()), 1e-3),
        annot=nats if numbered else False,
        fmt=".2f",
        annot_kws={"size": 8},
        square=True,
        cbar_kws={"label": r"$I(Z_i;Z_j)$ (nats)", "pad": 0.02},
        rasterized=True,
        xticklabels=names,
        yticklabels=names,
    )
    if numbered:
        for place, value in enumerate(nats.diagonal()):
            axes.text(place + 0.5, place + 0.5, f"{value:.2f}", ha="center", va="center", size=8, color=GREY)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=0 if numbered else 90)
    axes.tick_params(axis="y", rotation=0)
    return figure


def named_and_strongest(
    table: Tensor, significant: Tensor, factors: Sequence[int], remainder: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the rows of some factors, and a last row with the largest absolute value of the others in each column.

    Parameters
    ----------
    table, significant : Tensor, shape (H, columns)
    factors, remainder : sequence of int

    Returns
    -------
    rows, dots : Tensor, shape (number of factors, one more if there is a remainder; columns)
    """
    named, rest = (torch.as_tensor(chosen, dtype=torch.long) for chosen in (factors, remainder))
    rows, dots = table[named], significant[named]
    if len(rest):
        strongest = table[rest].abs().argmax(0, keepdim=True)
        rows = torch.cat([rows, table[rest].gather(0, strongest)])
        dots = torch.cat([dots, significant[rest].any(0, keepdim=True)])
    return rows, dots


def mark_significant(axes: Axes, dots: Tensor, size: float = 2.5, edge: float = 0.4) -> None:
    """Draw a dot on every cell of a heat map where `dots` (rows, columns) is true."""
    place = dots.nonzero().numpy() + 0.5
    axes.plot(place[:, 1], place[:, 0], "o", color="#d5d8db", ms=size, mec="#3a3f44", mew=edge)
    axes.tick_params(length=0)


def show_strip(axes: Axes, pictures: Tensor, label: str = "") -> None:
    """Draw pictures (N, C, height, width) with values in [0, 1] side by side."""
    strip = np.concatenate(list(pictures.permute(0, 2, 3, 1).clamp(0, 1).numpy()), axis=1)
    axes.imshow(strip.squeeze(-1) if strip.shape[-1] == 1 else strip, vmin=0, vmax=1, aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    axes.spines[:].set_visible(False)
