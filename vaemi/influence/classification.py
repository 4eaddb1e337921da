"""Classify from the factors that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaemi.errors import import_extra

from ._checks import check_factors, checked_labels
from .decoding import keep

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline


def train_classifier(
    z: Tensor, labels: Tensor, epochs: int = 20, hidden_dim: int = 256, seed: int = 0
) -> MLPClassifier:
    """Train the paper's classifier: one hidden ReLU layer on the factors, Adam with rate 1e-3, batches of 100.

    Parameters
    ----------
    z, labels : Tensor, shapes (N, H) and (N,)
    epochs : int
    hidden_dim : int
        Width of the hidden layer.
    seed : int
        Seed of the first weights and the batches.
    """
    networks = import_extra("sklearn.neural_network", "influence")
    progress = import_extra("tqdm", "influence").tqdm(range(epochs), desc="classifier", mininterval=2)
    classifier = networks.MLPClassifier(
        (hidden_dim,), batch_size=min(100, len(z)), learning_rate_init=1e-3, alpha=0.0, random_state=seed
    )
    for _ in progress:
        classifier.partial_fit(z.numpy(), labels.numpy(), classes=labels.unique().numpy())
    return classifier


def accuracies(
    classifier: MLPClassifier, z: Tensor, labels: Tensor, order: Tensor, counts: Sequence[int]
) -> list[float]:
    """Return the accuracy (0 to 1) of a classifier trained on all factors when only the first k of an order are kept.

    Parameters
    ----------
    classifier : MLPClassifier
    z, labels : Tensor, shapes (N, H) and (N,)
    order : Tensor, shape (H,)
        Factors, the one kept longest first.
    counts : sequence of int
        Values of k.
    """
    return [float(np.mean(classifier.predict(keep(z, order[:count]).numpy()) == labels.numpy())) for count in counts]


@dataclass(frozen=True)
class AttributeClassifier:
    """One binary classifier per attribute.

    Each is a logistic regression on the factors and their squares, with both classes weighted equally.
    """

    classifiers: tuple[Pipeline, ...]

    def probabilities(self, z: Tensor) -> Tensor:
        """Return the probability that a sample has the attribute, both classes being equally likely, shape (N, A)."""
        columns = [classifier.predict_proba(_array(z))[:, 1] for classifier in self.classifiers]
        return torch.from_numpy(np.stack(columns, axis=1))

    def balanced_accuracies(self, z: Tensor, labels: Any) -> Tensor:
        """Return the mean recall of both classes for z (N, H) and labels (N, A), float64 of shape (A,).

        Raises
        ------
        ValueError, TypeError
            If an attribute does not consist of both 0 and 1.
        """
        labels = _two_classes("labels", labels, len(z)).bool()
        right = (self.probabilities(z) > 0.5) == labels
        of_class = [(right & chosen).sum(0) / chosen.sum(0).double() for chosen in (labels, ~labels)]
        return (of_class[0] + of_class[1]) / 2


def train_attributes(z: Tensor, labels: Any) -> AttributeClassifier:
    """Train one classifier per attribute. The result is deterministic.

    Parameters
    ----------
    z : Tensor, shape (N, H)
    labels : array or tensor of 0 and 1 or booleans, shape (N, A)

    Raises
    ------
    ValueError, TypeError
        If an attribute does not consist of both 0 and 1.
    """
    inputs = _array(z)
    columns = _two_classes("labels", labels, len(z)).numpy().T
    return AttributeClassifier(tuple(_attribute_pipeline().fit(inputs, column) for column in columns))


def attribute_accuracies(
    train_z: Tensor, train_labels: Any, test_z: Tensor, test_labels: Any, subsets: Mapping[str, Sequence[int] | Tensor]
) -> dict[str, Tensor]:
    """Return the balanced accuracy of attributes from subsets of the factors, with classifiers trained on each subset.

    Parameters
    ----------
    train_z, test_z : Tensor, shapes (N, H) and (N', H)
    train_labels, test_labels : array or tensor of 0 and 1 or booleans, shapes (N, A) and (N', A)
    subsets : mapping of name to sequence of int
        Factors that are kept. The accuracy of an empty subset is 0.5.

    Returns
    -------
    dict of name to Tensor of float64, shape (A,)

    Raises
    ------
    ValueError, TypeError
        If an attribute does not consist of both 0 and 1, or a factor is out of range.
    """
    tqdm = import_extra("tqdm", "influence").tqdm
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


def _attribute_pipeline() -> Pipeline:
    pipeline, preprocessing, linear = (
        import_extra(f"sklearn.{name}", "influence") for name in ("pipeline", "preprocessing", "linear_model")
    )
    # Squares predict what the two ends of a factor have in common, such as a face turned to either side.
    squares = preprocessing.FunctionTransformer(_with_squares)
    regression = linear.LogisticRegression(class_weight="balanced", max_iter=2000)
    return pipeline.make_pipeline(preprocessing.StandardScaler(), squares, regression)


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
