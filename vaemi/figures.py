"""Every figure of the book, each a function of results that returns the figure.

One style: colours of Okabe and Ito, which colour-blind readers tell apart, and a transparent ground with mid-grey
text, which reads on a light and on a dark page. Widths suit a phone held upright as well as a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.information import FactorInformation, factor_information

if TYPE_CHECKING:
    from vaemi.training import History

BLUE, ORANGE, GREEN, PURPLE = "#2b8fd0", "#d9661f", "#109a72", "#b0699a"
GREY = "#7d8389"
_WIDTH = 5.4

_ORDER_NAMES = {"information": "information (the paper)", "kl": "KL to the prior", "variance": "marginal deviation"}
_ORDER_COLOURS = {"information": BLUE, "kl": GREEN, "variance": ORANGE}


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
        pass


def used_and_ignored_factor() -> tuple[Figure, float]:
    """Posteriors of six pictures and their average, for a used and an ignored factor; and the used one's nats."""
    generator = np.random.default_rng(4)
    narrow = 0.25
    means = generator.normal(0, np.sqrt(1 - narrow**2), 2000)
    log_variances = np.full_like(means, 2 * np.log(narrow))
    nats = float(factor_information(means[:, None], log_variances[:, None]).nats[0])
    z = np.linspace(-3.2, 3.2, 400)
    density = _normal(z, 0, 1)
    use_style()
    figure, panels = plt.subplots(1, 2, figsize=(_WIDTH, 2.8), sharex=True, sharey=True, layout="constrained")
    shown = (
        ("a used factor", BLUE, np.linspace(-1.9, 1.9, 6), narrow),
        ("an ignored factor", ORANGE, np.zeros(6), 1.0),
    )
    for axes, (title, colour, centres, width) in zip(panels, shown, strict=True):
        for centre in centres:
            axes.plot(z, _normal(z, centre, width), color=colour, lw=1.6, alpha=0.9)
        axes.plot(z, density, color=GREY, lw=3, alpha=0.8, ls=(0, (3, 2)))
        axes.set(title=title, xlabel="$z_h$", yticks=[])
    panels[0].set_ylabel("density")
    return figure, nats


def spectrum(
    information: FactorInformation, traversals: Mapping[int, Tensor], threshold: float = 0.1, span: float = 3.0
) -> Figure:
    """Figure 1 of the paper: information of every factor, sigma* below it, and pictures along some factors.

    Parameters
    ----------
    information : FactorInformation
    traversals : mapping of factor to Tensor, shape (steps, C, height, width)
        The last one is taken for the ignored one.
    threshold : float
        Nats above which a factor counts as influential.
    span : float
        Half-width of the traversals in sigma*, for the label.
    """
    figure = plt.figure(figsize=(_WIDTH, 6.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.15, 1], squeeze=False)[:, 0]
    stems, deviations = top.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    ranks = np.arange(1, len(information) + 1)
    nats = information.nats[information.ranking].numpy()
    influential = nats > threshold
    for chosen, colour, name in (
        (influential, BLUE, f"influential: more than {threshold:g} nats"),
        (~influential, ORANGE, "ignored"),
    ):
        stems.vlines(ranks[chosen], 0, nats[chosen], color=colour, lw=1.6)
        stems.plot(ranks[chosen], nats[chosen], "o", ms=3.5, color=colour, label=name)
        deviations.plot(
            ranks[chosen], information.marginal_std[information.ranking].numpy()[chosen], "o", ms=3, color=colour
        )
    errors = information.stderr[information.ranking].numpy()
    stems.errorbar(ranks, nats, yerr=1.96 * errors, fmt="none", ecolor=GREY, lw=1)
    place = {factor: rank for rank, factor in enumerate(information.ranking.tolist(), start=1)}
    drawn = [place[factor] for factor in traversals]
    stems.plot(drawn, nats[np.array(drawn) - 1], "o", ms=8, mfc="none", mec=GREY, label="drawn below")
    stems.set(ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    stems.legend(loc="upper right")
    deviations.axhline(1, color=GREY, lw=0.8, ls=":")
    deviations.set(xlabel="factor, ranked by information", ylabel=r"$\sigma^*_h$", ylim=(0, 1.5))
    rows = bottom.subplots(len(traversals), 1, squeeze=False)[:, 0]
    for axes, (factor, pictures) in zip(rows, traversals.items(), strict=True):
        show_strip(axes, pictures)
        axes.set_ylabel(
            f"$z_{{{factor}}}$\n{nats[place[factor] - 1]:.2f} nats", rotation=0, ha="right", va="center", labelpad=6
        )
    rows[-1].set_xlabel(rf"from $-{span:g}\,\sigma^*_h$ to $+{span:g}\,\sigma^*_h$")
    return figure


def emergence(history: History, information: FactorInformation, shown: int = 32) -> Figure:
    """Heat map of the information of the `shown` finally most informative factors over the optimizer's steps."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    shown = min(shown, len(information))
    rows = history.information[:, information.ranking[:shown]].T.numpy()
    edges = np.arange(shown + 1) + 0.5
    mesh = axes.pcolormesh(
        _edges(history.step.numpy()), edges, rows, cmap="viridis", vmin=0, rasterized=True, shading="flat"
    )
    axes.invert_yaxis()
    axes.set(xlabel="optimizer steps", ylabel=f"factor, by final rank (first {shown})")
    figure.colorbar(mesh, ax=axes, label=r"$I(X;Z_h)$ (nats)", pad=0.02)
    return figure


def training_terms(history: History) -> Figure:
    """KL term and learned sigma over the optimizer's steps, on held-out samples."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(_WIDTH, 2.6), layout="constrained")
    left.plot(history.step, history.kl, color=BLUE)
    left.set(xlabel="optimizer steps", ylabel="KL term (nats)", ylim=(0, None))
    right.plot(history.step, history.sigma, color=ORANGE)
    right.set(xlabel="optimizer steps", ylabel=r"learned $\sigma$ (1 = white)", ylim=(0, None))
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=3)
    return figure


def reconstruction_strip(originals: Tensor, reconstructions: Mapping[int, Tensor]) -> Figure:
    """A row of pictures for each number of factors kept, under the originals."""
    figure, rows = plt.subplots(
        len(reconstructions) + 1, 1, figsize=(_WIDTH, 0.5 * (len(reconstructions) + 1)), layout="constrained"
    )
    labels = ["original", *(f"{count} kept" for count in reconstructions)]
    for axes, label, pictures in zip(rows, labels, [originals, *reconstructions.values()], strict=True):
        show_strip(axes, pictures)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def masking_curves(errors: Mapping[str, Sequence[float]], counts: Sequence[int]) -> Figure:
    """Reconstruction error against the number of factors kept, for several orders; random orders as a band."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    place = np.arange(len(counts))
    draws = np.array([curve for name, curve in errors.items() if name.startswith("random")])
    axes.fill_between(place, draws.min(0), draws.max(0), color=GREY, alpha=0.3, lw=0)
    axes.plot(place, draws.mean(0), color=GREY, ls=":", marker="s", ms=4, label=f"random ({len(draws)} draws, range)")
    for name, marker in (("variance", "^"), ("kl", "D"), ("information", "o")):
        axes.plot(place, errors[name], color=_ORDER_COLOURS[name], marker=marker, ms=5, label=_ORDER_NAMES[name])
    axes.set_xticks(place, [str(count) for count in counts])
    axes.set(xlabel="factors kept (the others set to 0)", ylabel="mean squared error a pixel", ylim=(0, None))
    axes.legend(title="kept first by")
    return figure


def removal_scatter(information: FactorInformation, damage: Tensor, threshold: float = 0.1) -> Figure:
    """What removing a factor alone costs, against its information."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.6), layout="constrained")
    influential = (information.nats > threshold).numpy()
    for chosen, colour, name in ((influential, BLUE, "influential"), (~influential, ORANGE, "ignored")):
        axes.plot(information.nats[chosen], damage[chosen], "o", color=colour, ms=5, alpha=0.8, label=name)
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel="rise of the error a pixel\nwhen $z_h$ alone is removed")
    axes.legend()
    return figure


def accuracy_by_ratio(
    measured: Mapping[str, float], published: Mapping[str, float], counts: Sequence[int], fano_percent: Sequence[float]
) -> Figure:
    """Accuracy by ratio of factors kept, beside the published column and under Fano's bound, in per cent."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    place = np.arange(len(measured))
    axes.plot(place, fano_percent, color=GREY, ls="--", label="Fano's bound")
    axes.plot(place, list(published.values()), color=ORANGE, marker="s", ms=5, ls=":", label="published")
    axes.plot(place, list(measured.values()), color=BLUE, marker="o", ms=5, label="this run")
    axes.set_xticks(place, [f"{100 * float(r):g}\n{k}" for r, k in zip(measured, counts, strict=True)])
    axes.set(xlabel="factors kept, the most informative: per cent, number", ylabel="accuracy (%)", ylim=(0, 103))
    axes.legend(loc="lower left")
    return figure


def fano(
    counts: Sequence[int], accuracy: Mapping[str, Sequence[float]], bound: Mapping[str, Sequence[float]]
) -> Figure:
    """Accuracy from sampled factors and Fano's bound, keeping the most and the least informative ones first.

    Parameters
    ----------
    counts : sequence of int
        Numbers of factors kept.
    accuracy, bound : mapping with keys "most" and "least"
        Per cent for every count.
    """
    figure, panels = plt.subplots(1, 2, figsize=(_WIDTH, 3.4), sharey=True, layout="constrained")
    for axes, which in zip(panels, ("most", "least"), strict=True):
        axes.fill_between(counts, bound[which], 103, color=GREY, alpha=0.25, lw=0, label="forbidden by Fano")
        axes.plot(counts, bound[which], color=GREY, ls="--")
        axes.plot(counts, accuracy[which], color=BLUE, marker="o", ms=4, label="accuracy")
        axes.set_xticks(np.linspace(0, counts[-1], 5))
        axes.set(title=f"{which} informative kept", xlabel="factors kept", ylim=(0, 103))
    panels[0].set_ylabel("accuracy (%)")
    panels[0].legend(loc="lower right")
    return figure


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
    figure, axes = plt.subplots(figsize=(_WIDTH, 4.2), layout="constrained")
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
    figure, axes = plt.subplots(figsize=(_WIDTH, 4.2), layout="constrained")
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
        2, 2, figsize=(_WIDTH, 4.8), sharex=True, sharey="row", height_ratios=[1.5, 1], layout="constrained"
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
    figure, (left, right) = plt.subplots(1, 2, figsize=(_WIDTH, 3.4), layout="constrained")
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


def show_strip(axes: Axes, pictures: Tensor) -> None:
    """Pictures (N, C, height, width) with values in [0, 1], side by side."""
    strip = np.concatenate(list(pictures.permute(0, 2, 3, 1).clamp(0, 1).numpy()), axis=1)
    axes.imshow(strip.squeeze(-1) if strip.shape[-1] == 1 else strip, vmin=0, vmax=1, aspect="equal")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _normal(z: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def _edges(centres: np.ndarray) -> np.ndarray:
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([centres[:1], middles, centres[-1:]])


def _side_by_side(values: Sequence[int], width: float = 0.6) -> np.ndarray:
    """Places for integers such that equal ones lie next to each other, centred on the integer."""
    place = np.array(values, dtype=float)
    for value in set(values):
        same = place == value
        if same.sum() > 1:
            place[same] += np.linspace(-width / 2, width / 2, same.sum())
    return place
