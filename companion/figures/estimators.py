"""Figures of the chapter on estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.stats import norm

from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, WIDTH

if TYPE_CHECKING:
    from companion.data.encoders import SimulatedEncoder


def marginals_and_fits(
    encoders: Sequence[SimulatedEncoder], exact: Sequence[float], gaussian: Sequence[float]
) -> Figure:
    """Draw four aggregated posteriors and the paper's Gaussians, with both estimates in nats."""
    figure, panels = plt.subplots(2, 2, figsize=(WIDTH, 4.4), sharex=True, layout="constrained")
    z = np.linspace(-3.5, 3.5, 700)
    for axes, encoder, nats, bound in zip(panels.flat, encoders, exact, gaussian, strict=True):
        axes.plot(z, encoder.density(z), color=BLUE, lw=1.6, label="true $q(z)$")
        axes.plot(z, norm.pdf(z), color=ORANGE, lw=1.6, ls="--", label="the paper's Gaussian")
        title = f"{encoder.name}: {nats:.2f} nats,\nby the paper {bound:.2f}"
        axes.set(title=title, yticks=[], xlabel="$z$", ylabel="density")
        axes.label_outer()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def error_against_samples(
    samples: Sequence[int], errors: Mapping[str, Sequence[float]], paper: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw the root mean square errors of the exact and the paper's estimate against the number of samples.

    `errors` and `paper` have the same four encoders; a colour is an encoder, and the paper's lines are dashed.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    for (name, curve), colour, marker in zip(errors.items(), (BLUE, GREEN, PURPLE, ORANGE), "osD^", strict=True):
        axes.plot(samples, curve, color=colour, marker=marker, ms=5, label=name)
        axes.plot(samples, paper[name], color=colour, marker=marker, ms=5, mfc="none", ls="--")
    axes.plot([], [], color=GREY, ls="--", label="the paper's estimate")
    highest = 2 * max(curve[0] for curve in errors.values())
    axes.plot(samples, highest * np.sqrt(samples[0] / np.array(samples)), color=GREY, ls=":", label="slope $-1/2$")
    axes.set(xscale="log", yscale="log", xlabel="samples $M$", ylabel="root mean square error (nats)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def coverage(information: Sequence[float], covered_percent: Mapping[int, Sequence[float]]) -> Figure:
    """Draw the share of 95 % intervals that contain the truth against the true information, for two sample sizes."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    axes.axhspan(93, 97, color=GREY, alpha=0.25, lw=0)
    axes.axhline(95, color=GREY, ls=":", lw=1)
    for (samples, curve), colour, marker in zip(covered_percent.items(), (ORANGE, BLUE), "so", strict=True):
        axes.plot(information, curve, color=colour, marker=marker, ms=5, label=f"$M$ = {samples:,}")
    axes.set(xlabel="true information (nats)", ylabel="intervals that contain it (%)", ylim=(88, 100.5))
    axes.legend(loc="lower left")
    return figure


def bracket(
    information: Sequence[float], plug_in: Sequence[float], leave_one_out: Sequence[float], samples: int
) -> Figure:
    """Draw the mean plug-in and leave-one-out estimates against the true information, and the limit log M."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    axes.fill_between(information, plug_in, leave_one_out, color=BLUE, alpha=0.15, lw=0, label="what is left open")
    axes.plot(information, leave_one_out, color=GREEN, marker="^", ms=5, label="leave-one-out")
    axes.plot(information, information, color=GREY, ls=":", label="truth")
    axes.plot(information, plug_in, color=BLUE, marker="o", ms=5, label="estimate")
    axes.axhline(np.log(samples), color=ORANGE, ls="--", label=rf"$\log M$ = {np.log(samples):.1f}")
    axes.set(xlabel="true information (nats)", ylabel="nats", ylim=(0, None))
    axes.legend(loc="upper left")
    return figure
