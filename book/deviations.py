"""Where the reference run differs from the published table, and what of a run moves an accuracy so far."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from many_runs import SEEDS
from scipy import stats

from companion import claims
from companion.errors import RunError
from companion.words import ratio_in_words

# More than so many points between the mean over the seeds and the published accuracy ask for a paragraph.
POINTS = 2.0
_CONFIDENCE = 0.95
_NONE = "There is no reference run over several seeds here yet; `make reference` makes one.\n"


@dataclass(frozen=True)
class Row:
    """An accuracy (all in per cent) at one ratio of factors kept: published, and of several seeds."""

    ratio: str
    published: float
    accuracies: tuple[float, ...]
    classifiers: tuple[tuple[float, float], ...]
    longer: tuple[float, ...]
    gaussian: tuple[float, ...]
    exchanged: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return statistics.fmean(self.accuracies)

    @property
    def difference(self) -> float:
        """Mean less published, in points."""
        return self.mean - self.published

    @property
    def half_width(self) -> float:
        """How far one more seed may lie from the mean: Student's prediction interval, infinite for one seed."""
        n = len(self.accuracies)
        if n < 2:
            return math.inf
        quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1))
        return quantile * statistics.stdev(self.accuracies) * math.sqrt(1 + 1 / n)

    @property
    def by_classifier(self) -> float:
        """How much the first weights of the classifier change in one run, in points, at most."""
        return max(high - low for low, high in self.classifiers)

    @property
    def by_longer_classifier(self) -> float:
        """What training the classifier three times as long changes, in points, in the mean over the seeds."""
        return statistics.fmean(self.longer) - self.mean

    @property
    def by_ranking(self) -> float:
        """How much ranking by the Gaussian estimate changes in one run, in points, at most."""
        return max(abs(one - two) for one, two in zip(self.gaussian, self.accuracies, strict=True))


def rows(table: pd.DataFrame) -> list[Row]:
    """A row for each published accuracy, from the table of a sweep over seeds of the MNIST notebook."""

    def column(name: str, ratio: str) -> tuple[float, ...]:
        return tuple(float(value) for value in table[f"{name}[{ratio}]"])

    def ends(what: str, ratio: str) -> tuple[tuple[float, float], ...]:
        low, high = (column(f"{end}_accuracy_percent_{what}", ratio) for end in ("lowest", "highest"))
        return tuple(zip(low, high, strict=True))

    return [
        Row(
            ratio,
            published,
            column("accuracy_percent_by_ratio_kept", ratio),
            ends("of_classifiers", ratio),
            column("accuracy_percent_of_longer_classifier", ratio),
            column("accuracy_percent_by_gaussian_ranking", ratio),
            ends("after_exchange", ratio),
        )
        for ratio, published in claims.published_accuracies().items()
    ]


def cause(row: Row) -> str:
    """What suffices for such a difference, in a sentence: the least that does."""
    longer = any(
        min(one, two) <= row.published <= max(one, two) for one, two in zip(row.longer, row.accuracies, strict=True)
    )
    if longer or any(low <= row.published <= high for low, high in row.classifiers):
        return "Another classifier on the same factors suffices for such a difference."
    if any(low <= row.published <= high for low, high in row.exchanged):
        return (
            "So one exchange suffices for such a difference: which of some nearly equal factors is kept is chance, and "
            "decides what the few say of the digits."
        )
    if abs(row.difference) <= row.half_width:
        return "No single change of one run suffices for such a difference; another seed does."
    return "None of these suffices: the difference is not explained."


def paragraph(row: Row) -> str:
    """What is known of a difference."""
    side = "above" if row.difference > 0 else "below"
    low = min(end for end, _ in row.exchanged)
    high = max(end for _, end in row.exchanged)
    within = "within" if abs(row.difference) <= row.half_width else "beyond"
    sentences = [
        f"the mean is {abs(row.difference):.1f} points {side} the published {row.published:.2f} %, {within} the "
        f"± {row.half_width:.1f} points in which one more seed would lie in {100 * _CONFIDENCE:.0f} of 100 cases.",
        f"In one run the first weights of the classifier change {row.by_classifier:.1f} points at most,",
        f"ranking by the Gaussian estimate {row.by_ranking:.1f},",
        f"a classifier that is trained three times as long changes {row.by_longer_classifier:+.1f} in the mean,",
        f"and exchanging one factor at the cut leads to anything from {low:.1f} to {high:.1f} %.",
        cause(row),
    ]
    return f"- **{ratio_in_words(row.ratio)} kept**: {' '.join(sentences)}"


def stage(reference: Path, generated: Path) -> None:
    """Write the table and the paragraphs of the page on the reference run.

    Parameters
    ----------
    reference : Path
        Results of the reference run.
    generated : Path
        Where the page's parts go.

    Raises
    ------
    RunError
        If the table of the seeds lacks a number.
    """
    path = reference / "sweeps" / f"{SEEDS}.csv"
    try:
        text = _text(rows(pd.read_csv(path))) if path.exists() else _NONE
    except KeyError as error:
        raise RunError(
            f"{path} has no column {error}, as it was made by another version of the notebook: run make reference."
        ) from None
    (generated / "deviations.md").write_text(text)


def _text(found: list[Row]) -> str:
    table = pd.DataFrame(
        {
            "factors kept": [ratio_in_words(row.ratio) for row in found],
            "published (%)": [f"{row.published:.2f}" for row in found],
            "mean (%)": [f"{row.mean:.2f}" for row in found],
            "each seed (%)": [", ".join(f"{one:.2f}" for one in row.accuracies) for row in found],
            "difference (points)": [f"{row.difference:+.2f}" for row in found],
        }
    )
    told = [row for row in found if abs(row.difference) > POINTS]
    lines = [table.to_markdown(index=False, disable_numparse=True), ""]
    if told:
        lines += [f"{len(told)} of the {len(found)} means are more than {POINTS:g} points off:", ""]
        lines += [paragraph(row) for row in told]
    else:
        lines.append(f"No mean is more than {POINTS:g} points off.")
    return "\n".join(lines) + "\n"
