"""Figures of the chapter on objectives."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, WIDTH
from vaemi.information import FactorInformation


def spectra_side_by_side(
    spectra: Mapping[str, Tensor], threshold: float = 0.1, columns: int = 3, shown_beyond: int = 2
) -> Figure:
    """Draw a panel per objective with a line per seed; dashes repeat the first objective.

    Parameters
    ----------
    spectra : mapping of name to Tensor, shape (seeds, H)
        Information of every factor in nats. The title of a panel counts the factors above the threshold.
    threshold : float
        Nats above which a factor counts as influential.
    columns : int
        Panels in a row.
    shown_beyond : int
        Ranks shown beyond the last influential factor of any model.
    """
    counts = {name: (nats > threshold).sum(1).unique().tolist() for name, nats in spectra.items()}
    shown = max(map(max, counts.values())) + shown_beyond
    frame = pd.concat(
        pd.DataFrame(nats.sort(dim=1, descending=True).values[:, :shown].numpy())
        .rename_axis("seed")
        .reset_index()
        .melt("seed", var_name="rank", value_name="nats")
        .assign(objective=name)
        for name, nats in spectra.items()
    )
    frame["rank"] = frame["rank"].astype(int) + 1
    height = (0.6 + 1.7 * -(-len(spectra) // columns)) / -(-len(spectra) // columns)
    grid = sns.relplot(
        frame, x="rank", y="nats", col="objective", col_wrap=min(columns, len(spectra)), units="seed", estimator=None,
        kind="line", color=BLUE, marker="o", ms=3.5, mec=BLUE, lw=1, height=height, aspect=WIDTH / columns / height,
    )  # fmt: skip
    first = frame[frame.objective == next(iter(spectra))]
    for name, axes in grid.axes_dict.items():
        if name != next(iter(spectra)):
            sns.lineplot(
                first, x="rank", y="nats", units="seed", estimator=None, ax=axes, color=GREY, lw=1, ls="--", zorder=1
            )
        axes.axhline(threshold, color=GREY, lw=0.8, ls=":")
        axes.set_title(
            f"{name}: {' to '.join(map(str, sorted({counts[name][0], counts[name][-1]})))}", fontsize="small"
        )
        axes.locator_params(axis="x", integer=True, nbins=5)
    grid.set(ylim=(0, None)).set_axis_labels("", "")
    grid.figure.supxlabel("factor, ranked by information", color=GREY, fontsize="medium")
    grid.figure.supylabel(r"$I(X;Z_h)$ (nats)", color=GREY, fontsize="medium")
    grid.figure.set_layout_engine("constrained")
    return grid.figure


def deviation_against_information(
    information: Mapping[str, FactorInformation], levels: Mapping[str, float] | None = None
) -> Figure:
    """Draw the marginal deviation of every factor against its information, for several models.

    Parameters
    ----------
    information : mapping of name to FactorInformation
        At most four.
    levels : mapping of name to float, optional
        Deviations to mark by a line.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    for (name, of), colour, marker in zip(information.items(), (BLUE, ORANGE, GREEN, PURPLE), "osD^", strict=False):
        axes.plot(of.nats.numpy(), of.marginal_std.numpy(), marker, color=colour, ms=5, alpha=0.85, label=name)
    for (name, level), line in zip((levels or {}).items(), (":", "--", "-."), strict=False):
        axes.axhline(level, color=GREY, lw=1, ls=line, label=name)
    axes.set(xlabel=r"$I(X;Z_h)$ (nats)", ylabel=r"$\sigma^*_h$", ylim=(0, None))
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    axes.legend(fontsize="small")
    return figure
