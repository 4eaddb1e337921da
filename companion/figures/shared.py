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
    """Draw the reconstruction error against the number of factors kept, for several orders of the factors.

    The upper panel has the error of the order by information and of random orders, the latter as a band. The lower one
    has the additional error of the other orders, in per cent of that by information and linear within 1 %.
    """
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(WIDTH, 5.2), sharex=True, layout="constrained")
    place, best = np.arange(len(counts)), np.array(errors["information"])
    draws = np.array([curve for name, curve in errors.items() if name.startswith("random")])
    top.fill_between(place, draws.min(0), draws.max(0), color=GREY, alpha=0.3, lw=0)
    top.plot(place, draws.mean(0), color=GREY, ls=":", marker="s", ms=4, label=f"random ({len(draws)} draws, range)")
    top.plot(place, best, color=BLUE, marker="o", ms=4, label="information (the paper)")
    top.set(ylabel="mean squared error\nper pixel", ylim=(0, None))

    bottom.axhline(0, color=BLUE, lw=1.2)
    # Markers of one count stand side by side, as orders that agree would hide each other.
    for shift, (name, label, colour, marker) in zip(
        (-0.3, -0.1, 0.1, 0.3),
        (
            ("variance", r"$\sigma^*$", ORANGE, "^"),
            ("active_units", r"$\mathrm{Var}(\mu)$, active units", PURPLE, "v"),
            ("kl", "KL to the prior", GREEN, "D"),
            ("mean_precision", r"$-\mathrm{E}\,\log\,\sigma^2$", GREY, "s"),
        ),
        strict=True,
    ):
        more = 100 * (np.array(errors[name]) / best - 1)
        bottom.vlines(place + shift, 0, more, color=colour, lw=1.2)
        bottom.plot(place + shift, more, color=colour, marker=marker, ms=4, ls="", label=label)
    bottom.set_yscale("symlog", linthresh=1)
    low, high = bottom.get_ylim()
    bottom.set_ylim(min(low, -1.5), max(high, 1.5))
    bottom.yaxis.set_major_formatter("{x:g}")
    bottom.set_xticks(place, [str(count) for count in counts])
    bottom.set(xlabel="factors kept (the others set to 0)", ylabel="more error than\nby information (%)")
    figure.legend(title="kept first by", loc="outside lower center", ncols=2)
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
