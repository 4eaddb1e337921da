"""Figures of the pages without a notebook."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from companion.figures.shared import (
    normal_density,
)
from vaemi.auditing.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    WIDTH,
    use_style,
)
from vaemi.information import factor_information

if TYPE_CHECKING:
    pass


def used_and_ignored_factor() -> tuple[Figure, float]:
    """Posteriors of six pictures and their average, for a used and an ignored factor; and the used one's nats."""
    generator = np.random.default_rng(4)
    narrow = 0.25
    means = generator.normal(0, np.sqrt(1 - narrow**2), 2000)
    log_variances = np.full_like(means, 2 * np.log(narrow))
    nats = float(factor_information(means[:, None], log_variances[:, None]).nats[0])
    z = np.linspace(-3.2, 3.2, 400)
    density = normal_density(z, 0, 1)
    use_style()
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.8), sharex=True, sharey=True, layout="constrained")
    shown = (
        ("a used factor", BLUE, np.linspace(-1.9, 1.9, 6), narrow),
        ("an ignored factor", ORANGE, np.zeros(6), 1.0),
    )
    for axes, (title, colour, centres, width) in zip(panels, shown, strict=True):
        for centre in centres:
            axes.plot(z, normal_density(z, centre, width), color=colour, lw=1.6, alpha=0.9)
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
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, layout="constrained")
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


def cost_and_error(rows: pd.DataFrame) -> Figure:
    """Estimators by CPU time and error, both logarithmic.

    Parameters
    ----------
    rows : DataFrame
        With columns estimator, cpu_seconds and largest_error (nats).
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
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
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH + 1.2, 3.2), layout="constrained")
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
        len(panels), 1, figsize=(WIDTH, 1.7 * len(panels) + 0.6), sharex=True, layout="constrained", squeeze=False
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
