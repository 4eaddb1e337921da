"""Figures of the chapter on sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
)

if TYPE_CHECKING:
    pass


def factors_against_dimension(
    dimension: Sequence[int], factors: Sequence[int], components: Sequence[int], latent_dim: int
) -> Figure:
    """Number of influential factors against the true dimension, every run a circle, beside principal components.

    Parameters
    ----------
    dimension, factors, components : sequence of int, one a run
        True dimension, influential factors, and principal components above the noise.
    latent_dim : int
        Factors that each model was given.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    largest = max(dimension)
    axes.plot([0, largest + 1], [0, largest + 1], color=GREY, lw=1, ls="--", zorder=0, label="as many as dimensions")
    axes.axhline(latent_dim, color=GREY, lw=1, ls=":", label="given to the model")
    place = _side_by_side(dimension)
    axes.plot(place, components, "^", color=ORANGE, ms=3.5, alpha=0.8, label="principal components above the noise")
    axes.plot(place, factors, "o", color=BLUE, ms=4.5, mfc="none", mew=1.2, label="influential factors")
    axes.set(xlabel="intrinsic dimension $d$ of the data", ylabel="number", xlim=(0, largest + 1), ylim=(0, None))
    axes.set_xticks(sorted(set(dimension)))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1.2)
    return figure


def spectra_by_dimension(dimension: Sequence[int], spectra: Tensor, shown_beyond: int = 4) -> Figure:
    """Heat map of sorted spectra, a column a run and a row a rank, with a step between the d-th and the next factor.

    Parameters
    ----------
    dimension : sequence of int, length R
        True dimension of every run.
    spectra : Tensor, shape (R, H)
        Information of every run's factors in nats, the largest first.
    shown_beyond : int
        Ranks shown beyond the largest dimension.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    order = sorted(range(len(dimension)), key=lambda run: dimension[run])
    sorted_dimension = np.array(dimension)[order]
    shown = min(max(dimension) + shown_beyond, spectra.shape[1])
    edges = np.arange(len(order) + 1)
    mesh = axes.pcolormesh(
        edges, np.arange(shown + 1) + 0.5, spectra[order, :shown].T.numpy(), cmap="viridis", vmin=0, rasterized=True
    )
    axes.stairs(sorted_dimension + 0.5, edges, baseline=None, color=ORANGE, lw=2, label="intrinsic dimension $d$")
    axes.invert_yaxis()
    values = np.unique(sorted_dimension)
    centres = [edges[:-1][sorted_dimension == value].mean() + 0.5 for value in values]
    axes.set_xticks(centres, [str(value) for value in values])
    axes.set(xlabel="intrinsic dimension $d$ of the data (a column a run)", ylabel="factor, by rank")
    axes.locator_params(axis="y", integer=True)
    # On the dark cells of the map, whatever the page.
    axes.legend(loc="lower left", labelcolor="#d5d8db")
    figure.colorbar(mesh, ax=axes, label=r"$I(X;Z_h)$ (nats)", pad=0.02)
    return figure


def information_path(
    betas: Sequence[float],
    nats: Tensor,
    linear_betas: Sequence[float],
    linear_nats: Tensor,
    threshold: float = 0.1,
) -> Figure:
    """Information of every factor against beta, and how many count: a VAE beside the linear one in closed form.

    Parameters
    ----------
    betas, linear_betas : sequence of float
        Where the VAE was trained, and where the closed form is drawn.
    nats, linear_nats : Tensor, shape (number of betas, number of factors)
        Information by rank at each beta.
    threshold : float
        Nats above which a factor counts as influential.
    """
    figure, panels = plt.subplots(
        2, 2, figsize=(WIDTH, 4.8), sharex=True, sharey="row", height_ratios=[1.5, 1], layout="constrained"
    )
    models = (
        ("VAE, trained", BLUE, "-", betas, nats),
        ("linear, closed form", ORANGE, "--", linear_betas, linear_nats),
    )
    for column, (name, colour, line, x, rows) in zip(panels.T, models, strict=True):
        column[0].plot(x, rows, color=colour, ls=line, lw=1, alpha=0.8, marker="." if line == "-" else None, ms=4)
        column[1].plot(x, (rows > threshold).sum(1), color=colour, ls=line, marker="." if line == "-" else None)
        column[0].set(title=name, xscale="log")
        column[1].set(xlabel=r"$\beta$")
    for axes in panels.flat:
        axes.set_ylim(0, None)
    panels[1, 0].set_xticks(betas, [f"{beta:g}" for beta in betas])
    panels[1, 0].minorticks_off()
    panels[1, 1].minorticks_off()
    panels[0, 0].set_ylabel(r"$I(X;Z_h)$ (nats)")
    panels[1, 0].set_ylabel(f"factors above\n{threshold:g} nats")
    return figure


def too_few_factors(
    latent_dims: Sequence[int],
    factors: Sequence[int],
    errors: Sequence[float],
    sigmas: Sequence[float],
    dimension: int,
    noise: float,
) -> Figure:
    """Influential factors, reconstruction error and learned sigma against the number of factors given.

    Parameters
    ----------
    latent_dims, factors : sequence of int, one a run
        Factors given and factors used.
    errors, sigmas : sequence of float, one a run
        Root mean square error of the reconstruction a coordinate, and the learned standard deviation, in units of x.
    dimension : int
        Intrinsic dimension of the data.
    noise : float
        Standard deviation of the noise in the data.
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


def _side_by_side(values: Sequence[int], width: float = 0.6) -> np.ndarray:
    """Places for integers such that equal ones lie next to each other, centred on the integer."""
    place = np.array(values, dtype=float)
    for value in set(values):
        same = place == value
        if same.sum() > 1:
            place[same] += np.linspace(-width / 2, width / 2, same.sum())
    return place
