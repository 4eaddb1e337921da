"""Steps of the chapter on MNIST: numbers with their intervals over pictures, classifiers and orders of the factors."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu, rankdata, t
from torch import Tensor
from tqdm import tqdm

from companion import claims
from companion.experiments.classifier import accuracies, train_classifier
from companion.experiments.shared import bootstrap_weights, percentile_interval, spectrum_values
from companion.words import interval_in_words, percentage_in_words
from vaemi.information.checks import checked_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.neural_network import MLPClassifier

    from vaemi.information import FactorInformation

_THRESHOLDS = ("0.05", "0.1", "0.2", "0.5")
_CONFIDENCE = 0.95
# Orders of `vaemi.influence.factor_orders`, as a page names them.
_ORDERS = {
    "kl": "KL to the prior",
    "variance": r"marginal standard deviation, $\sigma^*_h$",
    "active_units": r"active units, $\mathrm{Var}_x(\mu_h)$",
    "mean_precision": r"mean log precision, $-\mathbb{E}_x \log \sigma_h^2$",
    "random": "random order, mean over the draws",
}
# Arguments of the network and of its training, by the library whose defaults they are.
_STARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "torch": ({}, {}),
    "keras": ({"initialization": "glorot", "sigma_parameter": "sigma"}, {"adam_epsilon": 1e-7}),
}


def start_of(library: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of `ConvVAE` and of `train` by which a training starts as in a library.

    Parameters
    ----------
    library : {"torch", "keras"}
        With "keras", weights start as Glorot and Bengio (2010) propose and biases at zero, the parameter of the
        likelihood is sigma itself, and Adam's epsilon is 1e-7: Keras's defaults, and the authors' notebook.

    Raises
    ------
    ValueError
        If the library is another one.
    """
    return _STARTS[checked_choice("start", library, _STARTS)]


def factors_above(nats: Tensor) -> dict[str, int]:
    """Return the number of factors above 0.05, 0.1, 0.2 and 0.5 nats, by threshold."""
    return {threshold: int((nats > float(threshold)).sum()) for threshold in _THRESHOLDS}


def spectra_values(exact: FactorInformation, gaussian: FactorInformation) -> dict[str, Any]:
    """Return what the run's `values` hold of the spectrum, in both estimates."""
    influential = exact.influential(claims.THRESHOLD)
    return spectrum_values(exact) | {
        "influential_factors_by_threshold": factors_above(exact.nats),
        "information_gaussian_nats": gaussian.nats.tolist(),
        "total_information_gaussian_nats": gaussian.total,
        "factors_above_half_a_nat": int((exact.nats > 0.5).sum()),
        "factors_above_half_a_nat_gaussian": int((gaussian.nats > 0.5).sum()),
        "information_of_influential_factors_nats": {
            "min": float(exact.nats[influential].min()) if len(influential) else 0.0,
            "max": float(exact.nats.max()),
        },
        "sigma_star_range": [float(exact.marginal_std.min()), float(exact.marginal_std.max())],
    }


# --- Intervals over the pictures --------------------------------------------------------------------------------------


def bootstrapped_sigma_star_ranking(
    nats: Tensor, mean: Tensor, log_variance: Tensor, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Return how well sigma* ranks the factors, with 95 % percentile intervals of a bootstrap over the pictures.

    A resample of the pictures changes sigma*. The information, and with it which factors are influential, stays that of
    all pictures.

    Parameters
    ----------
    nats : Tensor, shape (H,)
        Information of each factor.
    mean, log_variance : Tensor, shape (M, H)
        Posteriors of the pictures.
    resamples : int
    seed : int
        Seed of the resamples.

    Returns
    -------
    dict
        `sigma_star_auc`: the area under the ROC curve of sigma* for influential against ignored factors, 0.5 if there
        are none of one kind. `sigma_star_rank_correlation`: Spearman's correlation of sigma* with the information
        among the influential factors, 0 if there are fewer than three. Each with its `..._interval`, the two ends.
    """
    influential = nats.numpy() > claims.THRESHOLD
    squares = (mean.double().square() + log_variance.double().exp()).numpy()
    # Squares of sigma* have the ranks of sigma*.
    resampled = bootstrap_weights(len(squares), resamples, seed).numpy() @ squares
    values: dict[str, Any] = {}
    for name, statistic in (
        ("auc", lambda squares: _area(squares[:, influential], squares[:, ~influential])),
        ("rank_correlation", lambda squares: _rank_correlation(squares[:, influential], nats.numpy()[influential])),
    ):
        values[f"sigma_star_{name}"] = float(statistic(squares.mean(0, keepdims=True))[0])
        values[f"sigma_star_{name}_interval"] = percentile_interval(statistic(resampled))
    return values


def _area(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the ROC curve in each row: U of Mann and Whitney as a share of all pairs, 0.5 if none."""
    if not (pairs := ones.shape[1] * others.shape[1]):
        return np.full(len(ones), 0.5)
    return mannwhitneyu(ones, others, axis=1, method="asymptotic").statistic / pairs


def _rank_correlation(rows: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's correlation of each row with another one, 0 if they have fewer than three columns."""
    if len(other) < 3:
        return np.zeros(len(rows))
    return np.corrcoef(rankdata(other), rankdata(rows, axis=1))[0, 1:]


def excess_errors(errors: Mapping[str, Tensor], resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return how much more error each order of the factors makes than that by information, with 95 % intervals.

    An order's error is the mean over the pictures and over the counts of factors kept, without the first and the last
    count (none and all), at which every order is the same. The bootstrap is paired: a resample holds the same pictures
    for every order.

    Parameters
    ----------
    errors : mapping of name to Tensor, shape (number of counts, N)
        Error of each picture at each count, see `vaemi.influence.keep_top_sample_errors`. The names that begin with
        "random" are averaged.
    resamples : int
    seed : int
        Seed of the resamples.

    Returns
    -------
    dict
        `excess_error_percent` and `excess_error_percent_interval`, each by name of the order.
    """
    # With one factor there is no count between none and all.
    of_pictures = {name: (each[1:-1] if len(each) > 2 else each).mean(0).numpy() for name, each in errors.items()}
    draws = [of_pictures.pop(name) for name in list(of_pictures) if name.startswith("random")]
    of_pictures["random"] = np.mean(draws, axis=0)
    best = of_pictures.pop("information")
    weights = bootstrap_weights(len(best), resamples, seed).numpy()
    return {
        "excess_error_percent": {name: float(_excess(one.mean(), best.mean())) for name, one in of_pictures.items()},
        "excess_error_percent_interval": {
            name: percentile_interval(_excess(weights @ one, weights @ best)) for name, one in of_pictures.items()
        },
    }


def excess_table(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per order: its name, its excess error and the interval, from the values of `excess_errors`."""
    rows = []
    for name, percent in values["excess_error_percent"].items():
        interval = interval_in_words(values["excess_error_percent_interval"][name], percent=True)
        rows.append((_ORDERS[name], percentage_in_words(percent), interval))
    return pd.DataFrame(rows, columns=["kept first by", "more error (%)", "95 % interval"])


def influential_only_excess(errors: Tensor, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return how much more error the influential factors make without the others than with them.

    Parameters
    ----------
    errors : Tensor, shape (2, N)
        Error of each picture with the influential factors kept, and with all.
    resamples : int
    seed : int
        Seed of the resamples of the paired bootstrap over the pictures.

    Returns
    -------
    dict
        `influential_only_excess_error_percent` and its `..._interval`, a 95 % interval.
    """
    alone, complete = errors.numpy()
    weights = bootstrap_weights(len(alone), resamples, seed).numpy()
    name = "influential_only_excess_error_percent"
    return {
        name: float(_excess(alone.mean(), complete.mean())),
        f"{name}_interval": percentile_interval(_excess(weights @ alone, weights @ complete)),
    }


def _excess(error: Any, reference: Any) -> Any:
    return 100 * (error / reference - 1)


# --- Accuracy ---------------------------------------------------------------------------------------------------------


def kept_at_ratio(ratio: float, latent_dim: int) -> int:
    """Return how many factors the authors keep at a ratio: they remove int((1 - ratio) * latent_dim)."""
    return latent_dim - int((1 - ratio) * latent_dim)


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

    def of_classifiers(self, ratio: str) -> list[float]:
        """Return the accuracy of each classifier at a ratio, in per cent."""
        return [self.percent[ratio], *self.changed["other classifiers"][ratio]]

    def interval_of_mean(self, ratio: str, test_digits: int) -> list[float]:
        """Return a 95 % interval of the mean accuracy of the classifiers at a ratio, in per cent.

        It is over the seed of the classifiers and the draw of the test digits. With k classifiers, n digits and the
        mean accuracy p, the variance of the mean is s^2 / k + p (1 - p) / n. Here s is the standard deviation between
        the classifiers. The second part does not shrink with k, because all classifiers are tested on the same digits.
        The half-width is Student's t times the standard error, with the degrees of freedom of Welch and Satterthwaite,
        k - 1 for the first part and infinitely many for the second. A single classifier gives the second part only.

        Parameters
        ----------
        ratio : str
        test_digits : int
            Number of digits that the accuracy was measured on.
        """
        accuracy = np.array(self.of_classifiers(ratio))
        mean, k = float(accuracy.mean()), len(accuracy)
        of_seeds = float(accuracy.var(ddof=1)) / k if k > 1 else 0.0
        variance = of_seeds + mean * (100 - mean) / test_digits
        freedom = (k - 1) * (variance / of_seeds) ** 2 if of_seeds else math.inf
        half = float(t.ppf((1 + _CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
        return [max(mean - half, 0.0), min(mean + half, 100.0)]

    def values(self) -> dict[str, dict[str, float]]:
        """Return what the run's `values` hold of the accuracies."""
        longer, by_gaussian = self.changed["trained three times as long"], self.changed["other order"]
        return {
            "accuracy_percent_by_ratio_kept": self.percent,
            "mean_accuracy_percent_of_classifiers": {
                ratio: float(np.mean(self.of_classifiers(ratio))) for ratio in self.percent
            },
            "accuracy_percent_of_longer_classifier": {ratio: value for ratio, (value,) in longer.items()},
            "accuracy_percent_by_gaussian_ranking": {ratio: value for ratio, (value,) in by_gaussian.items()},
            "lowest_accuracy_percent_of_classifiers": self.lowest("other classifiers"),
            "highest_accuracy_percent_of_classifiers": self.highest("other classifiers"),
            "lowest_accuracy_percent_after_exchange": self.lowest("one factor exchanged"),
            "highest_accuracy_percent_after_exchange": self.highest("one factor exchanged"),
        }


def accuracy_changes(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    order: Tensor,
    other_order: Tensor,
    ratios: Iterable[str],
    epochs: int,
    classifiers: int,
    seed: int,
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
    """
    counts = {ratio: kept_at_ratio(float(ratio), train[0].shape[1]) for ratio in ratios}
    first, *others = (train_classifier(*train, epochs, seed=seed + i) for i in range(classifiers))
    longer = copy.deepcopy(first)
    for _ in tqdm(range(2 * epochs), desc="classifier, longer", mininterval=2):
        longer.partial_fit(*(part.numpy() for part in train))

    def percent(classifiers: Sequence[MLPClassifier], orders: Sequence[Tensor], count: int) -> list[float]:
        return [100 * accuracies(one, *test, by, [count])[0] for one in classifiers for by in orders]

    changed: dict[str, dict[str, list[float]]] = {}
    for ratio, count in counts.items():
        for name, classifiers_used, orders in (
            ("other classifiers", others, [order]),
            ("trained three times as long", [longer], [order]),
            ("other order", [first], [other_order]),
            ("one factor exchanged", [first], exchanges_at_the_cut(order, count)),
        ):
            changed.setdefault(name, {})[ratio] = percent(classifiers_used, orders, count)
    return AccuracyChanges({ratio: percent([first], [order], count)[0] for ratio, count in counts.items()}, changed)


def fano_values(
    counts: Sequence[int], accuracy: Mapping[str, Sequence[float]], bound: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return what the run's `values` hold of the accuracy from sampled factors and of Fano's bound."""
    values: dict[str, Any] = {"factors_kept_for_fano": counts}
    for which in ("most", "least"):
        values[f"sampled_accuracy_percent_{which}_informative_kept"] = accuracy[which]
        values[f"fano_bound_percent_{which}_informative_kept"] = bound[which]
    return values
