"""Every figure of the book, each a function of results that returns the figure.

One style: colours of Okabe and Ito, which colour-blind readers tell apart, and a transparent ground with mid-grey
text, which reads on a light and on a dark page. Widths suit a phone held upright as well as a page.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from PIL import Image
from scipy import stats
from torch import Tensor

from vaemi.information import FactorInformation, factor_information

if TYPE_CHECKING:
    import pandas as pd

    from companion.data.encoders import SimulatedEncoder
    from vaemi.influence import LabelInformation, MeanArea, RatingAssociation
    from vaemi.training import History

BLUE, ORANGE, GREEN, PURPLE = "#2b8fd0", "#d9661f", "#109a72", "#b0699a"
GREY = "#7d8389"
_WIDTH = 5.4
# Of a JPEG in which no eye finds a difference at the size that a figure is shown in.
_QUALITY = 90

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


def rotated_information(mean_variance: Sequence[float], noise_variance: Sequence[float], angle: float) -> np.ndarray:
    """I(X; Z_h) in nats, shape (2,), of two Gaussian factors after their plane was turned by an angle.

    The posterior means are independent and Gaussian with the first variances, the noise around them with the second.
    Turned, both stay Gaussian, and I(X; Z_h) = 1/2 log(1 + variance of the mean / variance of the noise).

    Parameters
    ----------
    mean_variance, noise_variance : sequence of float, length 2
        Before the turn.
    angle : float
        In radians.
    """
    shares = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) ** 2
    return 0.5 * np.log1p(shares @ np.asarray(mean_variance) / (shares @ np.asarray(noise_variance)))


def rotated_code() -> tuple[Figure, dict[str, float]]:
    """What two factors hold, and their sum, as their plane is turned while their joint information stays; and numbers.

    Left the noise is alike in both, so that the turned encoder is still a diagonal one; right it is not, as in a used
    and an ignored factor. Dots are estimates from samples.
    """
    samples, angles, checked = 20_000, np.linspace(0, np.pi / 2, 91), np.linspace(0, np.pi / 2, 7)
    shown = {"alike": ((0.95, 0.15), (0.05, 0.05)), "unlike": ((0.99, 0.0), (0.01, 1.0))}
    titles = {"alike": "equal noise", "unlike": "one used, one ignored"}
    standard = np.random.default_rng(0).standard_normal((samples, 2))
    numbers: dict[str, float] = {}
    use_style()
    figure, panels = plt.subplots(1, 2, figsize=(_WIDTH, 3.4), sharey=True, layout="constrained")
    for axes, (name, (of_means, of_noise)) in zip(panels, shown.items(), strict=True):
        nats = np.array([rotated_information(of_means, of_noise, angle) for angle in angles])
        joint = float(nats[0].sum())
        axes.axhline(joint, color=ORANGE, label=r"$I(X;Z)$")
        axes.plot(np.degrees(angles), nats.sum(1), color=BLUE, label=r"$\sum_h I(X;Z_h)$")
        for number, (of_factor, style) in enumerate(zip(nats.T, ("--", ":"), strict=True), start=1):
            axes.plot(np.degrees(angles), of_factor, color=GREEN, ls=style, label=rf"$I(X;Z_{number})$")
        for angle in checked:
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            means = standard * np.sqrt(of_means) @ turn.T
            log_variance = np.tile(np.log(turn**2 @ np.asarray(of_noise)), (samples, 1))
            axes.plot(np.degrees(angle), factor_information(means, log_variance).total, "o", color=BLUE, ms=4.5)
        axes.set(title=titles[name], xlabel="turned by (degrees)", xticks=[0, 45, 90])
        middle = nats[len(nats) // 2]
        numbers |= {f"{name}_joint": joint, f"{name}_turned_sum": float(middle.sum())}
        numbers |= {f"{name}_factor": float(nats[0].max()), f"{name}_turned_factor": float(middle[0])}
    panels[0].set(ylabel="nats", ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, columnspacing=1.2)
    return figure, numbers


def rare_flag(share: float) -> float:
    """Nats of a factor that only says whether an input belongs to a group that makes up so much of the data.

    The entropy of the group, by `factor_information` on an encoder that puts the group far from all others.
    """
    samples = 20_000
    means = np.zeros((samples, 1))
    means[: round(share * samples)] = 20.0
    return float(factor_information(means, np.zeros_like(means)).nats[0])


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
    _spectrum_and_deviations(top, information, threshold, list(traversals))
    rows = bottom.subplots(len(traversals), 1, squeeze=False)[:, 0]
    for axes, (factor, pictures) in zip(rows, traversals.items(), strict=True):
        show_strip(axes, pictures)
        axes.set_ylabel(
            f"$z_{{{factor}}}$\n{information.nats[factor]:.2f} nats", rotation=0, ha="right", va="center", labelpad=6
        )
    rows[-1].set_xlabel(rf"from $-{span:g}\,\sigma^*_h$ to $+{span:g}\,\sigma^*_h$")
    return figure


def spectra(informations: Mapping[str, FactorInformation], threshold: float = 0.1, shown_beyond: int = 4) -> Figure:
    """Several spectra over each other, each sorted by itself, with 95 % intervals; the legend counts the factors.

    Parameters
    ----------
    informations : mapping of name to FactorInformation
        At most five, as many as the style tells apart.
    threshold : float
        Nats above which a factor counts as influential.
    shown_beyond : int
        Ranks shown beyond the last influential factor of any.

    Raises
    ------
    ValueError
        If there is none, or there are more than five.
    """
    looks = list(zip((BLUE, ORANGE, GREEN, PURPLE, GREY), "osD^v", strict=True))
    if not 1 <= len(informations) <= len(looks):
        raise ValueError(f"There are {len(informations)} spectra: give 1 to {len(looks)}.")
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.6), layout="constrained")
    counts = {name: len(information.influential(threshold)) for name, information in informations.items()}
    for (name, information), (colour, marker) in zip(informations.items(), looks, strict=False):
        shown = information.ranking[: max(counts.values()) + shown_beyond]
        axes.errorbar(
            np.arange(1, len(shown) + 1),
            information.nats[shown].numpy(),
            yerr=1.96 * information.stderr[shown].numpy(),
            color=colour,
            marker=marker,
            ms=4,
            lw=1.2,
            label=f"{name}: {counts[name]}",
        )
    axes.axhline(threshold, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel="factor, ranked by information", ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    axes.legend(title=f"factors above {threshold:g} nats")
    return figure


def spectra_side_by_side(
    spectra: Mapping[str, Tensor], threshold: float = 0.1, columns: int = 3, shown_beyond: int = 2
) -> Figure:
    """A panel for each way of training, with a line a seed; the first one's lie behind the others, in grey.

    Parameters
    ----------
    spectra : mapping of name to Tensor, shape (seeds, H)
        Information of every factor in nats.
    threshold : float
        Nats above which a factor counts as influential.
    columns : int
        Panels in a row.
    shown_beyond : int
        Ranks shown beyond the last influential factor of any.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not spectra:
        raise ValueError("There are no spectra: give one or more.")
    ranked = {name: nats.sort(dim=1, descending=True).values.numpy() for name, nats in spectra.items()}
    most = max(int((nats > threshold).sum(1).max()) for nats in ranked.values())
    rows = -(-len(ranked) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(_WIDTH, 0.6 + 1.7 * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    first = next(iter(ranked))
    for axes, (name, nats) in zip(panels.flat, ranked.items(), strict=False):
        ranks = np.arange(1, min(nats.shape[1], most + shown_beyond) + 1)
        if name != first:
            axes.plot(ranks, ranked[first][:, : len(ranks)].T, color=GREY, lw=1, ls="--")
        axes.plot(ranks, nats[:, : len(ranks)].T, color=BLUE, marker="o", ms=2.5, lw=1)
        axes.axhline(threshold, color=GREY, lw=0.8, ls=":")
        counts = sorted({int(count) for count in (nats > threshold).sum(1)})
        span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        axes.set_title(f"{name}: {span}", fontsize="small")
        axes.locator_params(axis="x", integer=True, nbins=5)
    for axes in list(panels.flat)[len(ranked) :]:
        axes.remove()
    panels[0, 0].set_ylim(0, None)
    figure.supxlabel("factor, ranked by information", color=GREY, fontsize="medium")
    figure.supylabel(r"$I(X;Z_h)$ (nats)", color=GREY, fontsize="medium")
    return figure


def deviation_against_information(
    information: Mapping[str, FactorInformation], levels: Mapping[str, float] | None = None
) -> Figure:
    """Marginal deviation of every factor against its information, for models trained in different ways.

    Parameters
    ----------
    information : mapping of name to FactorInformation
        At most four.
    levels : mapping of name to float, optional
        Deviations to mark by a line, each with its meaning.

    Raises
    ------
    ValueError
        If there is none, or there are more than four.
    """
    looks = list(zip((BLUE, ORANGE, GREEN, PURPLE), "osD^", strict=True))
    if not 1 <= len(information) <= len(looks):
        raise ValueError(f"There are {len(information)} models: give 1 to {len(looks)}.")
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.2), layout="constrained")
    for (name, of), (colour, marker) in zip(information.items(), looks, strict=False):
        axes.plot(of.nats.numpy(), of.marginal_std.numpy(), marker, color=colour, ms=5, alpha=0.85, label=name)
    for (name, level), line in zip((levels or {}).items(), (":", "--", "-."), strict=False):
        axes.axhline(level, color=GREY, lw=1, ls=line, label=name)
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel=r"$\sigma^*_h$", ylim=(0, None))
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    axes.legend(fontsize="small")
    return figure


def spectrum_and_deviations(information: FactorInformation, threshold: float = 0.1) -> Figure:
    """The upper part of `spectrum`: information of every factor, and sigma* below it."""
    figure = plt.figure(figsize=(_WIDTH, 3.4), layout="constrained")
    _spectrum_and_deviations(figure, information, threshold, [])
    return figure


def _spectrum_and_deviations(
    figure: FigureBase, information: FactorInformation, threshold: float, drawn: Sequence[int]
) -> None:
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
    figure, panels = plt.subplots(
        rows, columns, figsize=(_WIDTH, 0.6 + 1.4 * rows), squeeze=False, layout="constrained"
    )
    for axes, channel in itertools.zip_longest(panels.flat, channels):
        axes.set_axis_off()
        if channel is not None:
            values = maps[channel].numpy() if maps.ndim == 3 else maps[channel, None].numpy()
            aspect: Literal["equal", "auto"] = "equal" if maps.ndim == 3 else "auto"
            drawn = axes.imshow(values, cmap="viridis", vmin=0, vmax=max(float(maps.max()), 1e-3), aspect=aspect)
            axes.set_title(f"channel {channel}")
    figure.colorbar(drawn, ax=panels, label=r"$I(X;Z_h)$ (nats)")
    return figure


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
    figure, panels = plt.subplots(1, 2, figsize=(_WIDTH, 2.6), layout="constrained")
    varies = pictures.std(0).mean(0)
    for axes, values, title, label in (
        (panels[0], by_place, "what the latents know", r"$\sum_h I(X;Z_h)$ (nats)"),
        (panels[1], varies, "what varies", "deviation (1 = white)"),
    ):
        drawn = axes.imshow(values.numpy(), cmap="viridis", vmin=0, vmax=max(float(values.max()), 1e-3))
        axes.set(xticks=[], yticks=[], title=title)
        figure.colorbar(drawn, ax=axes, label=label, location="bottom", shrink=0.8)
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
    return strips({"original": originals} | {f"{count} kept": rows for count, rows in reconstructions.items()})


def strips(rows: Mapping[str, Tensor], xlabel: str = "") -> Figure:
    """A row of pictures (N, C, height, width) with values in [0, 1] for each label."""
    across = max(len(pictures) for pictures in rows.values())
    # The pictures share what labels leave of the width.
    side = _WIDTH / across if not any(label.strip() for label in rows) else min(0.5, 0.8 * _WIDTH / across)
    height = side * len(rows) + (0.3 if xlabel else 0)
    figure, panels = plt.subplots(len(rows), 1, figsize=(_WIDTH, height), squeeze=False)
    figure.set_layout_engine("constrained", h_pad=0.01, hspace=0)
    for axes, (label, pictures) in zip(panels[:, 0], rows.items(), strict=True):
        show_strip(axes, pictures)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    panels[-1, 0].set_xlabel(xlabel)
    return figure


def contact_sheet(pictures: Tensor, columns: int = 8) -> Figure:
    """Pictures (N, C, height, width) with values in [0, 1], row by row."""
    return strips({" " * row: part for row, part in enumerate(pictures.split(columns))})


def masking_curves(errors: Mapping[str, Sequence[float]], counts: Sequence[int]) -> Figure:
    """Reconstruction error against the number of factors kept, for several orders; random orders as a band."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    place = np.arange(len(counts))
    draws = np.array([curve for name, curve in errors.items() if name.startswith("random")])
    axes.fill_between(place, draws.min(0), draws.max(0), color=GREY, alpha=0.3, lw=0)
    axes.plot(place, draws.mean(0), color=GREY, ls=":", marker="s", ms=4, label=f"random ({len(draws)} draws, range)")
    # The order by KL divergence lies on that by information nearly everywhere: wider and below, so that both are seen.
    for name, marker, width in (("variance", "^", 1.5), ("kl", "D", 4.0), ("information", "o", 1.5)):
        colour, label = _ORDER_COLOURS[name], _ORDER_NAMES[name]
        axes.plot(place, errors[name], color=colour, marker=marker, ms=3 + width, lw=width, label=label)
    axes.set_xticks(place, [str(count) for count in counts])
    axes.set(xlabel="factors kept (the others set to 0)", ylabel="mean squared error a pixel", ylim=(0, None))
    axes.legend(title="kept first by", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
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


def marginals_and_fits(
    encoders: Sequence[SimulatedEncoder], exact: Sequence[float], gaussian: Sequence[float]
) -> Figure:
    """Aggregated posteriors, the zero-mean Gaussians that the paper takes them for, and both estimates in nats."""
    figure, panels = plt.subplots(2, 2, figsize=(_WIDTH, 4.4), sharex=True, layout="constrained")
    z = np.linspace(-3.5, 3.5, 700)
    for axes, encoder, nats, bound in zip(panels.flat, encoders, exact, gaussian, strict=True):
        axes.plot(z, encoder.density(z), color=BLUE, lw=1.6, label="true $q(z)$")
        axes.plot(z, _normal(z, 0, 1), color=ORANGE, lw=1.6, ls="--", label="the paper's Gaussian")
        axes.set(title=f"{encoder.name}: {nats:.2f} nats,\nby the paper {bound:.2f}", yticks=[])
    for axes in panels[1]:
        axes.set_xlabel("$z$")
    for axes in panels[:, 0]:
        axes.set_ylabel("density")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def error_against_samples(
    samples: Sequence[int], errors: Mapping[str, Sequence[float]], paper: Sequence[float]
) -> Figure:
    """Root mean square error of the exact estimate against the number of samples, and of the paper's on one encoder.

    Parameters
    ----------
    samples : sequence of int
        Numbers of samples M.
    errors : mapping of encoder to sequence of float
        In nats, for every M.
    paper : sequence of float
        In nats, for every M, on an encoder whose marginal is not Gaussian.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    for (name, curve), colour, marker in zip(errors.items(), (BLUE, GREEN, PURPLE, GREY), "osD^", strict=False):
        axes.plot(samples, curve, color=colour, marker=marker, ms=5, label=name)
    axes.plot(samples, paper, color=ORANGE, marker="v", ms=5, ls="--", label="paper's, two groups")
    highest = 2 * max(curve[0] for curve in errors.values())
    axes.plot(samples, highest * np.sqrt(samples[0] / np.array(samples)), color=GREY, ls=":", label="slope $-1/2$")
    axes.set(xscale="log", yscale="log", xlabel="samples $M$", ylabel="root mean square error (nats)")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    return figure


def coverage(
    information: Sequence[float], covered_percent: Mapping[int, Sequence[float]], ceilings: bool = True
) -> Figure:
    """Share of 95 % intervals that hold the truth, against the true information, for several numbers of samples."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.4), layout="constrained")
    axes.axhspan(93, 97, color=GREY, alpha=0.25, lw=0)
    axes.axhline(95, color=GREY, ls=":", lw=1)
    for (samples, curve), colour, marker in zip(covered_percent.items(), (ORANGE, BLUE, GREEN), "soD", strict=False):
        axes.plot(information, curve, color=colour, marker=marker, ms=5, label=f"$M$ = {samples:,}")
    axes.set(xlabel="true information (nats)", ylabel="intervals that hold it (%)", ylim=(88, 100.5))
    axes.legend(loc="lower left")
    return figure


def bracket(
    information: Sequence[float], plug_in: Sequence[float], leave_one_out: Sequence[float], samples: int
) -> Figure:
    """Mean plug-in and leave-one-out estimates against the true information, and the ceiling log M."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.6), layout="constrained")
    axes.fill_between(information, plug_in, leave_one_out, color=BLUE, alpha=0.15, lw=0, label="what is left open")
    axes.plot(information, leave_one_out, color=GREEN, marker="^", ms=5, label="leave-one-out")
    axes.plot(information, information, color=GREY, ls=":", label="truth")
    axes.plot(information, plug_in, color=BLUE, marker="o", ms=5, label="estimate")
    axes.axhline(np.log(samples), color=ORANGE, ls="--", label=rf"$\log M$ = {np.log(samples):.1f}")
    axes.set(xlabel="true information (nats)", ylabel="nats", ylim=(0, None))
    axes.legend(loc="upper left")
    return figure


def cost_and_error(rows: pd.DataFrame) -> Figure:
    """Estimators by CPU time and error, both logarithmic.

    Parameters
    ----------
    rows : DataFrame
        With columns estimator, cpu_seconds and largest_error (nats).
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    # From fast to slow the names stand above and below in turn, so that neighbours do not meet.
    for place, row in enumerate(rows.sort_values("cpu_seconds").itertuples()):
        ours = row.estimator == "vaemi"
        axes.plot(row.cpu_seconds, row.largest_error, "o", ms=9 if ours else 6, color=BLUE if ours else ORANGE)
        axes.annotate(
            row.estimator, (row.cpu_seconds, row.largest_error), textcoords="offset points",
            xytext=(0, -18 if place % 2 else 9), ha="center",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="CPU seconds on one thread", ylabel="largest error (nats)")
    axes.margins(0.28, 0.15)
    return figure


def time_and_memory(rows: pd.DataFrame, megabytes_of_a_sample: float) -> Figure:
    """Seconds and memory against the number of samples, of files that are streamed and of all samples in memory.

    Parameters
    ----------
    rows : DataFrame
        With columns samples, processes, in_memory, wall_seconds and peak_megabytes.
    megabytes_of_a_sample : float
        What the numbers of a sample take.
    """
    figure, axes = plt.subplots(1, 2, figsize=(_WIDTH + 1.2, 3.2), layout="constrained")
    alone = rows[rows.processes == 1].sort_values("samples")
    for in_memory, colour, marker, label in (
        (False, BLUE, "o", "files, part by part"),
        (True, ORANGE, "s", "all in memory"),
    ):
        some = alone[alone.in_memory == in_memory]
        for panel, column in zip(axes, ("wall_seconds", "peak_megabytes"), strict=True):
            panel.plot(
                some.samples, some[column], color=colour, marker=marker, ms=6, label=label if panel is axes[0] else None
            )
    samples = np.array([alone.samples.min(), alone.samples.max()])
    axes[1].plot(samples, samples * megabytes_of_a_sample, color=GREY, ls=":", label="size of the samples")
    axes[0].set(xscale="log", yscale="log", xlabel="samples $M$", ylabel="time (s)")
    axes[1].set(xscale="log", yscale="log", xlabel="samples $M$", ylabel="peak memory (MB)", ylim=(20, None))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    return figure


def kl_split(information: Tensor, to_prior: Tensor, kl: Tensor) -> Figure:
    """The two parts of every factor's KL term as a stack, and the term itself on top.

    Parameters
    ----------
    information, to_prior, kl : Tensor, shape (H,)
        I(X;Z_h), KL(q(z_h) || p(z_h)) and E_x KL(q(z_h|x) || p(z_h)) in nats.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.0), layout="constrained")
    place = np.arange(1, len(kl) + 1)
    axes.bar(place, information, color=BLUE, width=0.6, lw=0, label=r"$I(X;Z_h)$")
    axes.bar(place, to_prior, bottom=information, color=ORANGE, width=0.6, lw=0, label=r"KL$(q(z_h)\,\|\,p(z_h))$")
    axes.plot(place, kl, "D", color=GREY, ms=6, label=r"E$_x$KL$(q(z_h|x)\,\|\,p(z_h))$")
    axes.set_xticks(place)
    axes.set(xlabel="factor", ylabel="nats")
    axes.legend(loc="upper left")
    return figure


def separation(
    correlation: Sequence[float], of_factors: Sequence[float], joint: Sequence[float], sampled: Mapping[float, float]
) -> Figure:
    """Sum of the factors' information and their joint information against their correlation.

    Parameters
    ----------
    correlation : sequence of float
    of_factors, joint : sequence of float
        sum_h I(X;Z_h) and I(X;Z) in nats for every correlation.
    sampled : mapping of correlation to float
        The sum as estimated from samples.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.2), layout="constrained")
    axes.fill_between(correlation, joint, of_factors, color=GREY, alpha=0.25, lw=0, label="total correlation")
    axes.plot(correlation, of_factors, color=BLUE, label=r"$\sum_h I(X;Z_h)$")
    axes.plot(list(sampled), list(sampled.values()), "o", color=BLUE, ms=5, label="the same, estimated")
    axes.plot(correlation, joint, color=ORANGE, label=r"$I(X;Z)$")
    axes.set(xlabel="correlation of the two factors' means", ylabel="nats", ylim=(0, None))
    axes.legend(loc="lower center")
    return figure


def water_filling_path(betas: Sequence[float], information: Tensor, curve_betas: Tensor, curve: Tensor) -> Figure:
    """Information of every factor of trained linear VAEs over the closed form.

    Parameters
    ----------
    betas : sequence of float, length B
    information : Tensor, shape (B, H)
        Nats of the trained factors, by rank.
    curve_betas, curve : Tensor, shapes (C,) and (C, H)
        Reverse water-filling, in the same order.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 4.0), layout="constrained")
    colours = itertools.cycle([BLUE, ORANGE, GREEN, PURPLE])
    for path, points, colour in zip(curve.T, information.T, colours, strict=False):
        axes.plot(curve_betas, path, color=colour, lw=1.4)
        axes.plot(betas, points, "o", color=colour, ms=4.5)
    axes.plot([], [], color=GREY, lw=1.4, label="reverse water-filling")
    axes.plot([], [], "o", color=GREY, ms=4.5, label="trained linear VAE")
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.set_xticks([], minor=True)
    axes.set(xlabel=r"$\beta$", ylabel=r"$I(X;Z_h)$ (nats)", ylim=(-0.05, None))
    axes.legend(loc="upper right")
    return figure


def fano_at_its_best(
    accuracy: Sequence[float],
    on_labels: Sequence[float],
    on_inputs: Sequence[float],
    bound: tuple[Tensor, Tensor],
    best: tuple[Tensor, Tensor],
) -> Figure:
    """Accuracy of an optimal classifier against information, under Fano's bound, in per cent.

    Parameters
    ----------
    accuracy, on_labels, on_inputs : sequence of float
        Accuracy at each noise level, and the nats I(Y;Z) and I(X;Z) there.
    bound, best : pair of Tensor
        Nats and accuracy of Fano's bound and of the most accurate channel.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    axes.fill_between(*bound, 103, color=GREY, alpha=0.25, lw=0, label="forbidden by Fano")
    axes.plot(*bound, color=GREY, ls="--")
    axes.plot(*best, color=GREEN, ls=":", label="most accurate channel")
    axes.plot(on_labels, accuracy, color=BLUE, marker="o", ms=4, label=r"optimal, against $I(Y;Z)$")
    axes.plot(on_inputs, accuracy, color=ORANGE, marker="s", ms=4, label=r"optimal, against $I(X;Z)$")
    axes.set(xlabel="information (nats)", ylabel="accuracy (%)", ylim=(0, 103), xlim=(0, max(on_inputs)))
    axes.legend(loc="lower right")
    return figure


def gaussian_gap(separations: Tensor, gaussian: Tensor, exact: Tensor) -> Figure:
    """The paper's estimate and the exact information of a two-moded factor, in nats, against the modes' distance."""
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.2), layout="constrained")
    axes.fill_between(separations, exact, gaussian, color=GREY, alpha=0.25, lw=0, label=r"KL$(q(z_h)\,\|\,q^*(z_h))$")
    axes.plot(separations, gaussian, color=ORANGE, label="Gaussian estimate (the paper)")
    axes.plot(separations, exact, color=BLUE, label="exact")
    axes.axhline(np.log(2), color=GREY, lw=0.8, ls=":")
    axes.annotate("log 2", (float(separations[-1]), np.log(2)), ha="right", va="bottom", fontsize=10, color=GREY)
    axes.set(xlabel=r"distance of the two modes (in $\sigma_h$)", ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    axes.legend(loc="upper left")
    return figure


def reconstruction_against_bound(
    information: Tensor, bound: Tensor, optimum: Tensor, all_active_from: float, trained: tuple[Tensor, Tensor]
) -> Figure:
    """Reconstruction error against information: the bound, the best code, and trained linear VAEs.

    Parameters
    ----------
    information, bound, optimum : Tensor, shape (C,)
        I(X;Z) in nats, and the mean squared error a coordinate that the bound allows and the best code has.
    all_active_from : float
        Nats from which on the best code uses all components.
    trained : pair of Tensor, shape (B,)
        Information and error of the trained models.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    axes.fill_between(information, bound, bound.min() / 2, color=GREY, alpha=0.25, lw=0, label="forbidden by the bound")
    axes.plot(information, bound, color=GREY, ls="--")
    axes.plot(information, optimum, color=ORANGE, label="best code (water-filling)")
    axes.plot(*trained, "o", color=BLUE, ms=5, label="trained linear VAE")
    axes.axvline(all_active_from, color=GREY, lw=0.8, ls=":")
    axes.annotate(
        "all components\nactive",
        (all_active_from, float(optimum.max())),
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=10,
        color=GREY,
    )
    axes.set_yscale("log")
    axes.set(
        xlabel=r"$I(X;Z)$ (nats)",
        ylabel="mean squared error a coordinate",
        xlim=(0, float(information.max())),
        ylim=(float(bound.min()) / 1.3, None),
    )
    axes.legend(loc="lower left")
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


def beta_path(runs: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """Numbers of many runs against beta, one panel below the other: every run, their mean, and its 95 % interval.

    The interval is Student's, over the runs of a beta, and drawn from three runs up: that of two reaches thirteen times
    as far as they do.

    Parameters
    ----------
    runs : DataFrame
        A row for each run, with a column `beta` and those of the panels.
    panels : mapping of str to str
        Columns to the labels of their axes.
    """
    figure, rows = plt.subplots(
        len(panels), 1, figsize=(_WIDTH, 1.7 * len(panels) + 0.6), sharex=True, layout="constrained", squeeze=False
    )
    betas = sorted(runs.beta.unique())
    for axes, (column, label), colour in zip(rows[:, 0], panels.items(), itertools.cycle([BLUE, ORANGE, GREEN])):
        values = runs.groupby("beta")[column]
        mean, n = values.mean(), values.count()
        half = np.where(n > 2, stats.t.ppf(0.975, n - 1) * values.std() / np.sqrt(n), 0.0)
        axes.errorbar(betas, mean, yerr=half, fmt="none", ecolor=colour, elinewidth=9, alpha=0.35)
        axes.plot(betas, mean, color=colour, lw=1.2, alpha=0.6)
        axes.plot(runs.beta, runs[column], "o", color=colour, ms=4.5)
        axes.set(ylabel=label, xscale="log", ylim=(0, None))
        axes.margins(y=0.15)
    axes.set_xlabel(r"$\beta$")
    axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
    axes.minorticks_off()
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


def label_information(
    information: LabelInformation, factors: Sequence[int], remainder: Sequence[int], factor_labels: Sequence[str]
) -> Figure:
    """Heat map of the share of each label's entropy that each factor holds, significant cells with a dot.

    Parameters
    ----------
    information : LabelInformation
    factors : sequence of int
        A row each.
    remainder : sequence of int
        Factors that share the last row, which shows the largest share among them.
    factor_labels : sequence of str
        Of the rows of `factors`.
    """
    share, significant = information.normalized, information.significant()
    rows, dots = _named_and_strongest(share, significant, factors, remainder)
    labels = [*factor_labels, *([f"{len(remainder)} ignored, largest"] if len(remainder) else [])]
    figure, axes = plt.subplots(figsize=(_WIDTH, 1.9 + 0.24 * len(rows)), layout="constrained")
    mesh = axes.pcolormesh(rows.numpy(), cmap="viridis", vmin=0, edgecolors="none", rasterized=True)
    place = dots.nonzero().numpy() + 0.5
    axes.plot(place[:, 1], place[:, 0], "o", color="#d5d8db", ms=2.5, mec="#3a3f44", mew=0.4)
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels)
    axes.set_xticks(np.arange(len(information.names)) + 0.5, information.names, rotation=90)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    figure.colorbar(mesh, ax=axes, label=r"$I(Y;Z_h)\,/\,H(Y)$", pad=0.02, aspect=30)
    return figure


def attribute_accuracy(
    counts: Sequence[int], top: Sequence[float], random: np.ndarray, others: Mapping[str, float], bound: float
) -> Figure:
    """Mean balanced accuracy of attributes against the number of factors that a classifier sees, in per cent.

    Parameters
    ----------
    counts : sequence of int
    top : sequence of float
        The most informative ones.
    random : array, shape (draws, number of counts)
        Factors drawn from all.
    others : mapping of name to float
        Levels to compare with, of fixed sets of factors.
    bound : float
        What Fano's inequality allows the last of them.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.8), layout="constrained")
    axes.fill_between(counts, random.min(0), random.max(0), color=GREY, alpha=0.3, lw=0)
    axes.plot(
        counts, random.mean(0), color=GREY, ls=":", marker="s", ms=4, label=f"random ({len(random)} draws, range)"
    )
    axes.plot(counts, top, color=BLUE, marker="o", ms=5, label="most informative")
    for (name, level), colour, line in zip(others.items(), (GREEN, ORANGE), ("--", "-."), strict=False):
        axes.axhline(level, color=colour, ls=line, label=name)
    axes.axhline(bound, color=ORANGE, lw=0.8, ls=":", label="Fano's bound for the ignored")
    axes.set(xlabel="factors that the classifier sees", ylabel="mean balanced accuracy (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def accuracy_by_attribute(names: Sequence[str], accuracy: Mapping[str, Sequence[float]]) -> Figure:
    """Balanced accuracy of every attribute from several sets of factors, in per cent; attributes by the first set."""
    order = np.argsort(next(iter(accuracy.values())))
    figure, axes = plt.subplots(figsize=(_WIDTH, 0.9 + 0.25 * len(names)), layout="constrained")
    place = np.arange(len(names))
    for (name, values), colour, marker in zip(accuracy.items(), (GREEN, BLUE, ORANGE), "Do^", strict=False):
        axes.plot(np.array(values)[order], place, marker, color=colour, ms=5.5, label=name, mfc="none", mew=1.4)
    axes.axvline(50, color=GREY, lw=0.8, ls=":")
    axes.set_yticks(place, np.array(names)[order].tolist())
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.set(xlabel="balanced accuracy (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.1 - 0.6 / len(names)), ncols=3, columnspacing=1)
    return figure


def recording(signals: np.ndarray, names: Sequence[str], sampling_rate: float, start: float = 0.0) -> Figure:
    """Signals of electrodes below each other, with a bar for the scale.

    Parameters
    ----------
    signals : array, shape (channels, samples)
        In microvolts.
    names : sequence of str
    sampling_rate : float
        In Hz.
    start : float
        Time of the first sample in s.
    """
    figure, axes = plt.subplots(figsize=(_WIDTH, 0.9 + 0.34 * len(names)), layout="constrained")
    time = start + np.arange(signals.shape[1]) / sampling_rate
    step = 6 * float(signals.std())
    for row, signal in enumerate(signals):
        axes.plot(time, signal - row * step, color=BLUE, lw=0.8)
    axes.set_yticks(-step * np.arange(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlabel="time (s)", xlim=(time[0], time[-1]))
    bar = 10 ** np.floor(np.log10(step)) * (5 if step >= 10 ** np.floor(np.log10(step)) * 5 else 1)
    # Beside the signals, in the units that they are drawn in.
    edge = axes.get_yaxis_transform()
    low = -step * (len(names) - 1)
    axes.plot([1.02, 1.02], [low, low + bar], transform=edge, color=GREY, lw=2, clip_on=False)
    axes.text(1.035, low + bar / 2, f"{bar:g} µV", transform=edge, va="center", color=GREY)
    return figure


def rating_counts(ratings: np.ndarray, names: Sequence[str], threshold: float = 5.0) -> Figure:
    """Histograms of ratings (T, R) from 1 to 9, those above the threshold in another colour."""
    figure, panels = plt.subplots(1, len(names), figsize=(_WIDTH, 2.2), sharey=True, layout="constrained")
    edges = np.linspace(1, 9, 17)
    for axes, column, name in zip(panels, ratings.T, names, strict=True):
        for chosen, colour in ((column > threshold, BLUE), (column <= threshold, ORANGE)):
            axes.hist(column[chosen], edges, color=colour, lw=0)
        axes.set(title=name, xlabel="rating", xticks=[1, 5, 9])
    panels[0].set_ylabel("trials")
    return figure


def scalp_maps(
    rows: Mapping[str, np.ndarray], columns: Sequence[str], positions: np.ndarray, label: str, shared: bool = True
) -> Figure:
    """Heads from above, the nose up: a row of maps for each name, blue below and red above zero.

    Parameters
    ----------
    rows : mapping of name to array, shape (number of columns, E)
        Values at the electrodes.
    columns : sequence of str
    positions : array, shape (E, 2)
        Of the electrodes on a disc of radius 1, x to the right ear, y to the nose.
    label : str
        What the values are, with the unit.
    shared : bool
        One scale for all rows; else each has its own, whose end is written beside it.
    """
    # Here because importing it takes a second.
    from mne.viz import plot_topomap

    side = min(1.15, 0.72 * _WIDTH / len(columns))
    figure, panels = plt.subplots(
        len(rows),
        len(columns),
        figsize=(_WIDTH, side * len(rows) + (1.1 if shared else 0.5)),
        squeeze=False,
        layout="constrained",
    )
    limits = {name: float(np.abs(maps).max()) or 1.0 for name, maps in rows.items()}
    if shared:
        limits = dict.fromkeys(rows, max(limits.values()))
    for heads, (name, maps) in zip(panels, rows.items(), strict=True):
        limit = limits[name]
        for axes, values in zip(heads, maps, strict=True):
            image, _ = plot_topomap(
                values, positions, axes=axes, cmap="RdBu_r", vlim=(-limit, limit), contours=0, sensors="k.",
                sphere=(0, 0, 0, 1), show=False,
            )  # fmt: skip
            for line in axes.lines:
                line.set(color=GREY if line.get_linestyle() == "-" else "#3a3f44", markersize=2)
        # MNE hides the axes with all that belongs to them.
        text = name if shared else f"{name}\n±{limit:.2g}"
        heads[0].text(-0.12, 0.5, text, transform=heads[0].transAxes, ha="right", va="center", color=GREY)
    for axes, title in zip(panels[0], columns, strict=True):
        axes.set_title(title)
    if shared:
        figure.colorbar(image, ax=panels, location="bottom", label=label, shrink=0.6, aspect=30, pad=0.03)
    return figure


def factors_and_ratings(
    association: RatingAssociation,
    information: LabelInformation,
    factors: Sequence[int],
    remainder: Sequence[int],
    factor_labels: Sequence[str],
) -> Figure:
    """Two heat maps, a row a factor and a column a rating: rank correlation and information; dots are significant.

    Parameters
    ----------
    association : RatingAssociation
    information : LabelInformation
        Between the factors and the same ratings, high or low.
    factors : sequence of int
        A row each.
    remainder : sequence of int
        Factors that share the last row, which shows the strongest among them.
    factor_labels : sequence of str
        Of the rows of `factors`.
    """
    tables = (
        (association.correlation, association.significant(), "RdBu_r", "rank correlation"),
        (1000 * information.nats, information.significant(), "viridis", "information (millinats)"),
    )
    labels = [*factor_labels, *([f"{len(remainder)} ignored, strongest"] if len(remainder) else [])]
    figure, panels = plt.subplots(1, 2, figsize=(_WIDTH, 2.3 + 0.24 * len(labels)), sharey=True, layout="constrained")
    for axes, (table, significant, colours, name) in zip(panels, tables, strict=True):
        rows, dots = _named_and_strongest(table, significant, factors, remainder)
        limit = float(rows.abs().max()) or 1.0
        mesh = axes.pcolormesh(
            rows.numpy(), cmap=colours, vmin=-limit if colours == "RdBu_r" else 0, vmax=limit, rasterized=True
        )
        place = dots.nonzero().numpy() + 0.5
        axes.plot(place[:, 1], place[:, 0], "o", color="#d5d8db", ms=4, mec="#3a3f44", mew=0.6)
        axes.set_xticks(np.arange(len(information.names)) + 0.5, information.names, rotation=45, ha="right")
        axes.tick_params(length=0)
        figure.colorbar(mesh, ax=axes, label=name, location="top", pad=0.02, aspect=18)
    panels[0].set_yticks(np.arange(len(labels)) + 0.5, labels)
    panels[0].invert_yaxis()
    return figure


def trajectories(courses: Mapping[str, tuple[Tensor, Tensor]], smooth: int = 5) -> Figure:
    """Course of a factor through the trials of high and of low rating: mean and standard error over trials.

    Parameters
    ----------
    courses : mapping of title to two Tensors, shapes (T, windows) and (T,)
        The factor in every window of every trial, and whether the trial was rated high. A panel each.
    smooth : int
        Windows that a running mean takes.
    """
    figure, panels = plt.subplots(
        1, len(courses), figsize=(_WIDTH, 3.0), sharey=True, squeeze=False, layout="constrained"
    )
    kernel = np.ones(smooth) / smooth
    for axes, (title, (course, high)) in zip(panels[0], courses.items(), strict=True):
        smoothed = np.stack([np.convolve(trial, kernel, mode="valid") for trial in course.double().numpy()])
        window = np.arange(smoothed.shape[1]) + (smooth + 1) / 2
        chosen = high.numpy()
        for which, colour, line, name in ((chosen, BLUE, "-", "rated high"), (~chosen, ORANGE, "--", "rated low")):
            mean = smoothed[which].mean(0)
            error = smoothed[which].std(0) / np.sqrt(which.sum())
            axes.fill_between(window, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
            axes.plot(window, mean, color=colour, ls=line, label=name)
        axes.axhline(0, color=GREY, lw=0.8, ls=":")
        axes.set(title=title, xlabel="window of the trial")
    panels[0, 0].set_ylabel("factor, mean over trials")
    panels[0, 0].legend()
    return figure


def areas(tables: Mapping[str, Mapping[str, Mapping[str, MeanArea]]]) -> Figure:
    """Mean areas under the ROC curve with their intervals: a panel for each table, a row a set of features.

    Parameters
    ----------
    tables : mapping of title to mapping of set to mapping of rating to MeanArea
    """
    sets = list(next(iter(tables.values())))
    figure, panels = plt.subplots(
        1, len(tables), figsize=(_WIDTH, 1.4 + 0.34 * len(sets)), sharey=True, sharex=True, layout="constrained"
    )
    place = np.arange(len(sets))
    for axes, (title, table) in zip(np.atleast_1d(panels), tables.items(), strict=True):
        ratings = list(next(iter(table.values())))
        for rating, colour, marker, shift in zip(ratings, (BLUE, ORANGE), "oD", (-0.14, 0.14), strict=False):
            found = [table[name][rating] for name in sets]
            middle = np.array([area.mean for area in found])
            reach = np.array([[area.mean - area.low, area.high - area.mean] for area in found]).T
            axes.errorbar(middle, place + shift, xerr=reach, fmt=marker, color=colour, ms=5, lw=1.4, label=rating)
        axes.axvline(0.5, color=GREY, lw=0.8, ls=":")
        axes.set(title=title, xlabel="area under the ROC curve")
        axes.grid(axis="y", color=GREY, alpha=0.2)
    first = np.atleast_1d(panels)[0]
    first.set_yticks(place, sets)
    first.invert_yaxis()
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _named_and_strongest(
    table: Tensor, significant: Tensor, factors: Sequence[int], remainder: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Rows of some factors, below them in each column the value largest in size among the remaining ones, and dots.

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
