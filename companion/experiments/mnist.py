"""Steps of the chapter on MNIST: how accuracy depends on the classifier and on the order of the factors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from companion.experiments.classifier import accuracies, train_classifier

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

    from vaemi.information import FactorInformation


def kept_at_ratio(ratio: float, latent_dim: int) -> int:
    """Return how many factors the authors keep at a ratio: they remove int((1 - ratio) * latent_dim)."""
    return latent_dim - int((1 - ratio) * latent_dim)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Return Spearman's rank correlation of two vectors of the same length."""
    return float(spearmanr(a.numpy(), b.numpy()).statistic)


def excess_errors(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return how much more error every order makes than the order by information, in per cent.

    Parameters
    ----------
    errors : mapping of name to sequence of float
        For several numbers of factors kept. The first and the last (no factor, all factors) are the same in every order
        and left out.
    """
    inner = {name: sum(curve[1:-1]) for name, curve in errors.items()}
    return {name: 100 * (total / inner["information"] - 1) for name, total in inner.items()}


def both_estimates(information: FactorInformation, gaussian: FactorInformation, factors: Tensor) -> pd.DataFrame:
    """Return one row per factor: the exact estimate and the paper's Gaussian one, in nats."""
    table = pd.DataFrame({"exact": information.nats, "± 1 standard error": information.stderr})
    table["new digits"], table["Gaussian"] = information.leave_one_out, gaussian.nats
    table["Gaussian - exact"] = table["Gaussian"] - table["exact"]
    return table.iloc[factors]


def exchanges_at_the_cut(order: Tensor, count: int, reach: int = 3) -> list[Tensor]:
    """Return the orders in which one of the last factors kept and one of the first dropped are exchanged.

    Parameters
    ----------
    order : Tensor, shape (H,)
        Factors, the most informative first.
    count : int
        Number of factors kept.
    reach : int
        Number of factors on each side of the cut that are exchanged, each with each.

    Returns
    -------
    list of Tensor
        `reach` squared orders, fewer near the ends, none where no factor or every factor is kept.
    """
    exchanged = []
    for kept in range(max(count - reach, 0), count):
        for dropped in range(count, min(count + reach, len(order))):
            one = order.clone()
            one[[kept, dropped]] = order[[dropped, kept]]
            exchanged.append(one)
    return exchanged


@dataclass(frozen=True)
class AccuracyChanges:
    """Accuracy by ratio of factors kept, and its values after a change.

    Attributes
    ----------
    percent : dict of ratio to float
        Without a change, in per cent.
    changed : dict of name to dict of ratio to list of float
        After each change of this name; empty where there is nothing to change.
    """

    percent: dict[str, float]
    changed: dict[str, dict[str, list[float]]]

    def lowest(self, name: str) -> dict[str, float]:
        """Return the lowest accuracy at each ratio, with or without the change."""
        return {ratio: min([value, *self.changed[name][ratio]]) for ratio, value in self.percent.items()}

    def highest(self, name: str) -> dict[str, float]:
        """Return the highest accuracy at each ratio, with or without the change."""
        return {ratio: max([value, *self.changed[name][ratio]]) for ratio, value in self.percent.items()}

    def width(self, name: str) -> float:
        """Return the largest difference between highest and lowest over the ratios, in points."""
        low, high = self.lowest(name), self.highest(name)
        return max(high[ratio] - low[ratio] for ratio in self.percent)


def accuracy_changes(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    order: Tensor,
    other_order: Tensor,
    ratios: Iterable[str],
    epochs: int = 20,
    classifiers: int = 4,
    seed: int = 0,
) -> AccuracyChanges:
    """Measure accuracy as factors are dropped, and how it depends on the classifier and on the order.

    Parameters
    ----------
    train, test : pair of Tensor, shapes (N, H) and (N,)
        Factors and labels.
    order, other_order : Tensor, shape (H,)
        Factors, those kept longest first, and another order to compare with.
    ratios : iterable of str
        Shares of the factors that are kept, see `kept_at_ratio`.
    epochs : int
        Passes of the classifier through the training set.
    classifiers : int
        Number of classifiers, trained with different seeds.
    seed : int
        Seed of the first classifier.

    Returns
    -------
    AccuracyChanges
        With the changes "other classifiers", "trained three times as long", "other order" and "one factor exchanged"
        (see `exchanges_at_the_cut`).

    Raises
    ------
    ValueError
        If `classifiers` is below 1.
    """
    if classifiers < 1:
        raise ValueError(f"classifiers is {classifiers}: train at least one.")
    counts = {ratio: kept_at_ratio(float(ratio), train[0].shape[1]) for ratio in ratios}
    first, *others = (train_classifier(*train, epochs, seed=seed + i) for i in range(classifiers))
    longer = _train_further(first, *train, 2 * epochs)

    def percent(classifiers: Sequence[MLPClassifier], orders: Sequence[Tensor], count: int) -> list[float]:
        return [100 * accuracies(one, *test, by, [count])[0] for one in classifiers for by in orders]

    unchanged = {ratio: percent([first], [order], count)[0] for ratio, count in counts.items()}
    changed = {
        "other classifiers": {ratio: percent(others, [order], count) for ratio, count in counts.items()},
        "trained three times as long": {ratio: percent([longer], [order], count) for ratio, count in counts.items()},
        "other order": {ratio: percent([first], [other_order], count) for ratio, count in counts.items()},
        "one factor exchanged": {
            ratio: percent([first], exchanges_at_the_cut(order, count), count) for ratio, count in counts.items()
        },
    }
    return AccuracyChanges(unchanged, changed)


def _train_further(classifier: MLPClassifier, z: Tensor, labels: Tensor, epochs: int) -> MLPClassifier:
    """Return a copy of a classifier after more epochs."""
    longer = copy.deepcopy(classifier)
    for _ in tqdm(range(epochs), desc="classifier, longer", mininterval=2):
        longer.partial_fit(z.numpy(), labels.numpy())
    return longer


def accuracy_values(accuracy: AccuracyChanges) -> dict[str, dict[str, float]]:
    """Return what the run's `values` hold of the accuracies."""
    names = {
        "accuracy_percent_of_longer_classifier": "trained three times as long",
        "accuracy_percent_by_gaussian_ranking": "other order",
    }
    return {
        "accuracy_percent_by_ratio_kept": accuracy.percent,
        **{key: {ratio: value for ratio, (value,) in accuracy.changed[name].items()} for key, name in names.items()},
        "lowest_accuracy_percent_of_classifiers": accuracy.lowest("other classifiers"),
        "highest_accuracy_percent_of_classifiers": accuracy.highest("other classifiers"),
        "lowest_accuracy_percent_after_exchange": accuracy.lowest("one factor exchanged"),
        "highest_accuracy_percent_after_exchange": accuracy.highest("one factor exchanged"),
    }
