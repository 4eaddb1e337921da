"""Figures of the chapter on sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import BLUE, GREY, ORANGE, WIDTH


def factors_against_dimension(
    dimension: Sequence[int], factors: Sequence[int], components: Sequence[int], latent_dim: int
) -> Figure:
    """Draw the number of influential factors and of principal components of each run against the true dimension.

    Dimensions ascend and have as many runs each; `latent_dim` is the number of factors that each model was given.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    largest = max(dimension)
    axes.plot([0, largest + 1], [0, largest + 1], color=GREY, lw=1, ls="--", zorder=0, label="as many as dimensions")
    axes.axhline(latent_dim, color=GREY, lw=1, ls=":", label="given to the model")
    # Runs of the same dimension stand side by side.
    seeds = len(dimension) // len(set(dimension))
    place = np.array(dimension) + 0.6 * (np.arange(len(dimension)) % seeds - (seeds - 1) / 2) / max(seeds - 1, 1)
    axes.plot(place, components, "^", color=ORANGE, ms=3.5, alpha=0.8, label="principal components above the noise")
    axes.plot(place, factors, "o", color=BLUE, ms=4.5, mfc="none", mew=1.2, label="influential factors")
    axes.set(xlabel="intrinsic dimension $d$ of the data", ylabel="number", xlim=(0, largest + 1), ylim=(0, None))
    axes.set_xticks(sorted(set(dimension)))
    figure.legend(loc="outside lower center")
    return figure


def spectra_by_dimension(dimension: Sequence[int], spectra: Tensor) -> Figure:
    """Draw sorted spectra (runs, H) as a heat map, one column per run, with a step below the true dimension.

    Dimensions ascend.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    shown = min(max(dimension) + 4, spectra.shape[1])
    edges = np.arange(len(dimension) + 1)
    mesh = axes.pcolormesh(
        edges, np.arange(shown + 1) + 0.5, spectra[:, :shown].T.numpy(), cmap="viridis", vmin=0, rasterized=True
    )
    axes.stairs(np.array(dimension) + 0.5, edges, baseline=None, color=ORANGE, lw=2, label="intrinsic dimension $d$")
    axes.invert_yaxis()
    centres = pd.Series(edges[:-1] + 0.5).groupby(list(dimension)).mean()
    axes.set_xticks(centres, [str(value) for value in centres.index])
    axes.set(xlabel="intrinsic dimension $d$ of the data (one column per run)", ylabel="factor, by rank")
    axes.locator_params(axis="y", integer=True)
    # On the dark cells of the map, in both themes of the page.
    axes.legend(loc="lower left", labelcolor="#d5d8db")
    figure.colorbar(mesh, ax=axes, label=r"$I(X;Z_h)$ (nats)", pad=0.02)
    return figure


def codes_by_angle(codes: Mapping[str, Tensor], angles: Mapping[str, Tensor]) -> Figure:
    """Draw a scatter plot per name: codes of two factors, shape (n, 2), coloured by angles in radians, shape (n,)."""
    figure, panels = plt.subplots(1, len(codes), figsize=(WIDTH, 2.7), squeeze=False, layout="constrained")
    around = sns.husl_palette(256, s=0.9, l=0.6, as_cmap=True)  # of one lightness, and without ends
    for axes, (name, points) in zip(panels[0], codes.items(), strict=True):
        drawn = axes.scatter(
            *points.T.numpy(), c=angles[name].numpy(), cmap=around, vmin=-np.pi, vmax=np.pi, s=4, lw=0, rasterized=True
        )
        axes.set(title=name, xlabel="first factor", aspect="equal")
        axes.set_box_aspect(1)
    panels[0, 0].set_ylabel("second factor")
    bar = figure.colorbar(drawn, ax=panels[0].tolist(), label="angle", location="bottom", shrink=0.6, aspect=30)
    bar.set_ticks([-np.pi, 0, np.pi], labels=[r"$-\pi$", "0", r"$\pi$"])
    return figure


def information_path(
    betas: Sequence[float], nats: Tensor, linear_betas: Sequence[float], linear_nats: Tensor, threshold: float = 0.1
) -> Figure:
    """Draw the nats by rank, shape (betas, factors), and the number above the threshold against beta.

    A trained VAE is on the left, the closed form of a linear one on the right.
    """
    figure, panels = plt.subplots(
        2, 2, figsize=(WIDTH, 4.8), sharex=True, sharey="row", height_ratios=[1.5, 1], layout="constrained"
    )
    for (top, bottom), name, colour, line, marker, x, rows in (
        (panels[:, 0], "VAE, trained", BLUE, "-", ".", betas, nats),
        (panels[:, 1], "linear, closed form", ORANGE, "--", "", linear_betas, linear_nats),
    ):
        top.plot(x, rows, color=colour, ls=line, lw=1, alpha=0.8, marker=marker, ms=4)
        bottom.plot(x, (rows > threshold).sum(1), color=colour, ls=line, marker=marker)
        top.set(title=name, xscale="log")
        bottom.set(xlabel=r"$\beta$")
        bottom.set_xticks(betas, [f"{beta:g}" for beta in betas])
        bottom.minorticks_off()
    # After both columns are drawn, as the limit at the top would no longer follow the second one.
    panels[0, 0].set(ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    panels[1, 0].set(ylabel=f"factors above\n{threshold:g} nats", ylim=(0, None))
    return figure


def too_few_factors(
    latent_dims: Sequence[int],
    factors: Sequence[int],
    errors: Sequence[float],
    sigmas: Sequence[float],
    dimension: int,
    noise: float,
) -> Figure:
    """Draw influential factors, root mean square error and learned sigma against the number of factors given.

    Lines mark the intrinsic dimension of the data and the standard deviation of their noise.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4), layout="constrained")
    largest = max(latent_dims)
    left.plot([0, largest], [0, largest], color=GREY, lw=1, ls="--", label="all that were given")
    left.plot(latent_dims, factors, "o", color=BLUE, ms=5, label="influential")
    left.set(ylabel="influential factors", ylim=(0, largest + 0.5))
    right.axhline(noise, color=GREY, lw=1, ls="--", label="noise in the data")
    right.plot(latent_dims, errors, "o", color=BLUE, ms=5, label="root mean square error")
    right.plot(latent_dims, sigmas, "^", color=ORANGE, ms=5, mfc="none", label=r"learned $\sigma$")
    right.set(ylabel="deviation (units of $x$)", ylim=(0, None))
    for axes in (left, right):
        axes.axvline(dimension, color=GREY, lw=1, ls=":")
        axes.set(xlabel="factors given", xlim=(0, largest + 0.5))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure
