"""What can be told from the factors that are left."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import Tensor
from tqdm import tqdm

from ._checks import check_factors, checked_labels
from .decoding import keep
from .orders import exchanges_at_the_cut, kept_at_ratio


def train_classifier(
    z: Tensor, labels: Tensor, epochs: int = 20, hidden_dim: int = 256, seed: int = 0
) -> MLPClassifier:
    """The paper's classifier: one hidden ReLU layer on the factors, Adam 1e-3, batches of 100.

    Parameters
    ----------
    z, labels : Tensor, shapes (N, H) and (N,)
    """
    classifier = MLPClassifier(
        (hidden_dim,), batch_size=min(100, len(z)), learning_rate_init=1e-3, alpha=0.0, random_state=seed
    )
    return _trained_on(classifier, z, labels, epochs)


def _trained_on(classifier: MLPClassifier, z: Tensor, labels: Tensor, epochs: int) -> MLPClassifier:
    """The classifier after so many epochs more."""
    classes = labels.unique().numpy()
    for _ in tqdm(range(epochs), desc="classifier", mininterval=2):
        classifier.partial_fit(z.numpy(), labels.numpy(), classes=classes)
    return classifier


def accuracies(
    classifier: MLPClassifier, z: Tensor, labels: Tensor, order: Tensor, counts: Sequence[int]
) -> list[float]:
    """Accuracy (0 to 1) of one classifier, trained on all factors, when only the first k of an order are kept."""
    return [float(np.mean(classifier.predict(keep(z, order[:count]).numpy()) == labels.numpy())) for count in counts]


@dataclass(frozen=True)
class AccuracyChanges:
    """Accuracy by ratio of factors kept, and what it becomes when something is changed.

    Attributes
    ----------
    percent : dict of ratio to float
        With nothing changed, in per cent.
    changed : dict of name to dict of ratio to list of float
        After each change of the name; none where there is nothing to change.
    """

    percent: dict[str, float]
    changed: dict[str, dict[str, list[float]]]

    def lowest(self, name: str) -> dict[str, float]:
        """The lowest accuracy at each ratio with or without the change."""
        return {ratio: min([value, *self.changed[name][ratio]]) for ratio, value in self.percent.items()}

    def highest(self, name: str) -> dict[str, float]:
        """The highest accuracy at each ratio with or without the change."""
        return {ratio: max([value, *self.changed[name][ratio]]) for ratio, value in self.percent.items()}

    def width(self, name: str) -> float:
        """From the lowest to the highest, in points, at the ratio where that is most."""
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
    """How accuracy falls with the factors dropped, and how much of that hangs on the classifier and on the order.

    Parameters
    ----------
    train, test : pair of Tensor, shapes (N, H) and (N,)
        Factors and labels.
    order : Tensor, shape (H,)
        Factors, those kept longest first.
    other_order : Tensor, shape (H,)
        Another order to try.
    ratios : iterable of str
        Shares of the factors that are kept, as the authors count them (`kept_at_ratio`).
    epochs : int
        Of the classifier.
    classifiers : int
        How many are trained with different seeds.
    seed : int
        Of the first.

    Returns
    -------
    AccuracyChanges
        With the changes "other classifiers", "trained three times as long", "other order" and "one factor exchanged",
        which is every exchange of `exchanges_at_the_cut`.

    Raises
    ------
    ValueError
        If there is to be no classifier.
    """
    if classifiers < 1:
        raise ValueError(f"classifiers is {classifiers}: train at least one.")
    counts = {ratio: kept_at_ratio(float(ratio), train[0].shape[1]) for ratio in ratios}
    first, *others = (train_classifier(*train, epochs, seed=seed + i) for i in range(classifiers))
    longer = _trained_on(copy.deepcopy(first), *train, 2 * epochs)

    def percent(classifiers: Sequence[MLPClassifier], orders: Sequence[Tensor], count: int) -> list[float]:
        return [100 * accuracies(one, *test, by, [count])[0] for one in classifiers for by in orders]

    changed: dict[str, dict[str, list[float]]] = {}
    for ratio, count in counts.items():
        found = {
            "nothing": percent([first], [order], count),
            "other classifiers": percent(others, [order], count),
            "trained three times as long": percent([longer], [order], count),
            "other order": percent([first], [other_order], count),
            "one factor exchanged": percent([first], exchanges_at_the_cut(order, count), count),
        }
        for name, values in found.items():
            changed.setdefault(name, {})[ratio] = values
    return AccuracyChanges({ratio: value for ratio, (value,) in changed.pop("nothing").items()}, changed)


@dataclass(frozen=True)
class AttributeClassifier:
    """A classifier for each of A attributes of two classes.

    Each is a logistic regression on the factors and their squares, in which both classes weigh the same.
    """

    classifiers: tuple[Pipeline, ...]

    def probabilities(self, z: Tensor) -> Tensor:
        """Probability that a sample has the attribute, were it as frequent as not, float64 of shape (N, A)."""
        columns = [classifier.predict_proba(_array(z))[:, 1] for classifier in self.classifiers]
        return torch.from_numpy(np.stack(columns, axis=1))

    def balanced_accuracies(self, z: Tensor, labels: Any) -> Tensor:
        """Mean of the shares of both classes that are told right, for z (N, H) and labels (N, A), shape (A,).

        Raises
        ------
        ValueError, TypeError
            If the labels are not 0 and 1, or only one of them in an attribute.
        """
        labels = _two_classes("labels", labels, len(z)).bool()
        right = (self.probabilities(z) > 0.5) == labels
        of_class = [(right & chosen).sum(0) / chosen.sum(0).double() for chosen in (labels, ~labels)]
        return (of_class[0] + of_class[1]) / 2


def train_attributes(z: Tensor, labels: Any) -> AttributeClassifier:
    """Train a classifier for each attribute; nothing in it is random.

    Parameters
    ----------
    z : Tensor, shape (N, H)
    labels : array or tensor of 0 and 1 or booleans, shape (N, A)

    Raises
    ------
    ValueError, TypeError
        If the labels are not 0 and 1, or only one of them in an attribute.
    """
    inputs = _array(z)
    columns = _two_classes("labels", labels, len(z)).numpy().T
    return AttributeClassifier(tuple(_attribute_pipeline().fit(inputs, column) for column in columns))


def attribute_accuracies(
    train_z: Tensor, train_labels: Any, test_z: Tensor, test_labels: Any, subsets: Mapping[str, Sequence[int] | Tensor]
) -> dict[str, Tensor]:
    """Balanced accuracy of attributes told from some factors alone, by classifiers trained anew on them.

    Parameters
    ----------
    train_z, test_z : Tensor, shapes (N, H) and (N', H)
    train_labels, test_labels : array or tensor of 0 and 1 or booleans, shapes (N, A) and (N', A)
    subsets : mapping of name to sequence of int
        Factors that are left. Of none the accuracy is 0.5.

    Returns
    -------
    dict of name to Tensor of float64, shape (A,)

    Raises
    ------
    ValueError, TypeError
        If the labels are not 0 and 1, or only one of them in an attribute, or a factor is none of the H.
    """
    train_labels = _two_classes("train_labels", train_labels, len(train_z))
    test_labels = _two_classes("test_labels", test_labels, len(test_z))
    found = {}
    for name, factors in tqdm(subsets.items(), desc="classifiers of attributes", mininterval=2):
        check_factors(factors, train_z.shape[1])
        chosen = torch.as_tensor(factors, dtype=torch.long)
        if len(chosen):
            classifier = train_attributes(train_z[:, chosen], train_labels)
            found[name] = classifier.balanced_accuracies(test_z[:, chosen], test_labels)
        else:
            found[name] = torch.full((train_labels.shape[1],), 0.5, dtype=torch.float64)
    return found


def lift_kept(accuracy: Tensor, full: Tensor) -> float:
    """Share of what all factors tell beyond chance that is still told: sum_a (acc_a - 0.5) / sum_a (full_a - 0.5).

    The ratio of the sums, since the mean of the ratios would be led by attributes that cannot be told anyway.

    Parameters
    ----------
    accuracy, full : Tensor, shape (A,)
        Balanced accuracies from some factors and from all.

    Raises
    ------
    ValueError
        If the shapes differ or all factors tell no more than chance.
    """
    if accuracy.shape != full.shape:
        raise ValueError(f"accuracy has shape {tuple(accuracy.shape)} and full {tuple(full.shape)}: give the same.")
    lift = float((full - 0.5).sum())
    if lift <= 0:
        raise ValueError("full is no better than chance, 0.5, on average: there is no lift to keep a share of.")
    return float((accuracy - 0.5).sum()) / lift


def balanced_weights(labels: Any) -> Tensor:
    """Weights of samples that make all classes weigh the same, float64 of shape (M,), 1 on average.

    With them the entropy of two classes is log 2, accuracy is balanced accuracy, and `factor_information` gives the
    information that Fano's inequality needs for it.

    Parameters
    ----------
    labels : array or tensor of integers or booleans, shape (M,)
    """
    labels = torch.as_tensor(labels).cpu()
    labels = checked_labels(labels[:, None], len(labels))[:, 0]
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    return len(labels) / (len(counts) * counts.double())[classes]


def _attribute_pipeline() -> Pipeline:
    # Squares tell what a factor's two ends have in common, such as a face turned to either side.
    squares = FunctionTransformer(_with_squares)
    return make_pipeline(StandardScaler(), squares, LogisticRegression(class_weight="balanced", max_iter=2000))


def _with_squares(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.square(x)], axis=1)


def _array(z: Tensor) -> np.ndarray:
    return z.cpu().double().numpy()


def _two_classes(name: str, labels: Any, n_samples: int) -> Tensor:
    labels = checked_labels(labels, n_samples, name)
    for a, column in enumerate(labels.T):
        if column.unique().tolist() != [0, 1]:
            raise ValueError(
                f"{name} holds {column.unique().tolist()} in column {a}: give both 0 and 1, or leave it out."
            )
    return labels
