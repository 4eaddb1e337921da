"""Figures of the chapter on theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, WIDTH


def kl_split(information: Tensor, to_prior: Tensor, kl: Tensor) -> Figure:
    """Draw the two parts of every factor's KL term, in nats, as a stack, and the term itself on top."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    place = np.arange(1, len(kl) + 1)
    axes.bar(place, information, color=BLUE, width=0.6, lw=0, label=r"$I(X;Z_h)$")
    axes.bar(place, to_prior, bottom=information, color=ORANGE, width=0.6, lw=0, label=r"KL$(q(z_h)\,\|\,p(z_h))$")
    axes.plot(place, kl, "D", color=GREY, ms=6, label=r"E$_x$KL$(q(z_h|x)\,\|\,p(z_h))$")
    axes.set_xticks(place)
    axes.set(xlabel="factor", ylabel="nats")
    axes.legend(loc="upper left")
    return figure


def separation(correlation: Tensor, of_factors: Tensor, joint: Tensor, sampled: Mapping[float, float]) -> Figure:
    """Draw the sum of the factors' information, also as sampled, and their joint information against correlation."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    axes.fill_between(correlation, joint, of_factors, color=GREY, alpha=0.25, lw=0, label="total correlation")
    axes.plot(correlation, of_factors, color=BLUE, label=r"$\sum_h I(X;Z_h)$")
    axes.plot(list(sampled), list(sampled.values()), "o", color=BLUE, ms=5, label="the same, estimated")
    axes.plot(correlation, joint, color=ORANGE, label=r"$I(X;Z)$")
    axes.set(xlabel="correlation of the two factors' means", ylabel="nats", ylim=(0, None))
    axes.legend(loc="lower center")
    return figure


def water_filling_path(betas: Sequence[float], information: Tensor, curve_betas: Tensor, curve: Tensor) -> Figure:
    """Draw the nats of trained linear VAEs by rank, shape (B, H), over those of the closed form, shape (C, H)."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.0), layout="constrained")
    # Each uses up the colours of the style in the same order.
    axes.plot(curve_betas, curve, lw=1.4)
    axes.set_prop_cycle(plt.rcParams["axes.prop_cycle"])
    axes.plot(betas, information, "o", ms=4.5)
    axes.plot([], [], color=GREY, lw=1.4, label="reverse water-filling")
    axes.plot([], [], "o", color=GREY, ms=4.5, label="trained linear VAE")
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.minorticks_off()
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
    """Draw the accuracy of an optimal classifier in per cent against I(Y;Z) and I(X;Z), under Fano's bound.

    `bound` and `best` are nats and accuracy of Fano's bound and of the most accurate channel.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    axes.fill_between(*bound, 103, color=GREY, alpha=0.25, lw=0, label="forbidden by Fano")
    axes.plot(*bound, color=GREY, ls="--")
    axes.plot(*best, color=GREEN, ls=":", label="most accurate channel")
    axes.plot(on_labels, accuracy, color=BLUE, marker="o", ms=4, label=r"optimal, against $I(Y;Z)$")
    axes.plot(on_inputs, accuracy, color=ORANGE, marker="s", ms=4, label=r"optimal, against $I(X;Z)$")
    axes.set(xlabel="information (nats)", ylabel="accuracy (%)", ylim=(0, 103), xlim=(0, max(on_inputs)))
    axes.legend(loc="lower right")
    return figure


def gaussian_gap(separations: Tensor, gaussian: Tensor, exact: Tensor) -> Figure:
    """Draw the paper's estimate and the exact information of a two-moded factor against the distance of the modes."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    axes.fill_between(separations, exact, gaussian, color=GREY, alpha=0.25, lw=0, label=r"KL$(q(z_h)\,\|\,q^*(z_h))$")
    axes.plot(separations, gaussian, color=ORANGE, label="Gaussian estimate (the paper)")
    axes.plot(separations, exact, color=BLUE, label="exact")
    axes.axhline(np.log(2), color=GREY, lw=0.8, ls=":")
    axes.annotate("log 2", (float(separations[0]), np.log(2)), va="bottom", fontsize=10, color=GREY)
    axes.set(xlabel=r"distance of the two modes (in $\sigma_h$)", ylabel=r"$I(X;Z_h)$ (nats)", ylim=(0, None))
    axes.legend(loc="upper left")
    return figure


def reconstruction_against_bound(
    information: Tensor, bound: Tensor, optimum: Tensor, all_active_from: float, trained: tuple[Tensor, Tensor]
) -> Figure:
    """Draw the mean squared error against I(X;Z) in nats: the bound, the best code, and trained linear VAEs.

    The best code uses all components above `all_active_from` nats; `trained` are information and error of the models.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    axes.fill_between(information, bound, bound.min() / 2, color=GREY, alpha=0.25, lw=0, label="forbidden by the bound")
    axes.plot(information, bound, color=GREY, ls="--")
    axes.plot(information, optimum, color=ORANGE, label="best code (water-filling)")
    axes.plot(*trained, "o", color=BLUE, ms=5, label="trained linear VAE")
    axes.axvline(all_active_from, color=GREY, lw=0.8, ls=":")
    axes.annotate(
        "all components\nactive", (all_active_from, float(optimum.max())), xytext=(-5, 0), textcoords="offset points",
        ha="right", va="top", fontsize=10, color=GREY,
    )  # fmt: skip
    axes.set(yscale="log", xlabel=r"$I(X;Z)$ (nats)", ylabel="mean squared error per coordinate")
    axes.set(xlim=(0, float(information.max())), ylim=(float(bound.min()) / 1.3, None))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
