"""Predict binary attributes from the factors that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaemi._progress import progress_bar
from vaemi.errors import import_extra

if TYPE_CHECKING:
    from sklearn.multioutput import MultiOutputClassifier


def attribute_accuracies(
    train_z: Tensor, train_labels: Any, test_z: Tensor, test_labels: Any, subsets: Mapping[str, Sequence[int] | Tensor]
) -> dict[str, Tensor]:
    """Return the balanced accuracy of attributes from subsets of the factors, with classifiers trained on each subset.

    Each classifier is a logistic regression on the factors and their squares, with both classes weighted equally.

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
    ValueError
        If all training samples agree in an attribute.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import attribute_accuracies
    >>> z = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> labels = (z[:, :1] > 0).int()  # the first factor decides
    >>> halves = z[:200], labels[:200], z[200:], labels[200:]
    >>> found = attribute_accuracies(*halves, {"first": [0], "second": [1]})
    >>> float(found["first"]) > 0.9, float(found["second"]) < 0.7
    (True, True)
    """
    hits = attribute_hits(train_z, train_labels, test_z, test_labels, subsets)
    return {name: balanced_accuracy(of_subset, test_labels) for name, of_subset in hits.items()}


def attribute_hits(
    train_z: Tensor, train_labels: Any, test_z: Tensor, test_labels: Any, subsets: Mapping[str, Sequence[int] | Tensor]
) -> dict[str, Tensor]:
    """Return which attributes of which test samples are predicted correctly from subsets of the factors.

    Parameters
    ----------
    train_z, train_labels, test_z, test_labels, subsets
        See `attribute_accuracies`, also for the classifiers.

    Returns
    -------
    dict of name to Tensor of float64, shape (N', A)
        1 where the prediction is correct, 0 where it is wrong. An empty subset guesses: 0.5 everywhere.
    """
    truth = np.asarray(test_labels)
    found = {}
    for name, factors in progress_bar(subsets.items(), desc="classifiers of attributes"):
        chosen = torch.as_tensor(factors, dtype=torch.long)
        if not len(chosen):
            found[name] = torch.full(truth.shape, 0.5, dtype=torch.float64)
            continue
        predicted = train_attributes(train_z[:, chosen], train_labels).predict(test_z[:, chosen].double().numpy())
        found[name] = torch.from_numpy(predicted == truth).double()
    return found


def balanced_accuracy(hits: Tensor, labels: Any, weights: Tensor | None = None) -> Tensor:
    """Return the balanced accuracy of each attribute: the mean of the shares of hits within its two classes.

    Parameters
    ----------
    hits : Tensor of float64, shape (N, A)
        See `attribute_hits`.
    labels : array or tensor of 0 and 1 or booleans, shape (N, A)
    weights : Tensor of float64, shape (R, N), optional
        Weights of the samples in each of R resamples, such as how often a bootstrap has drawn them.

    Returns
    -------
    Tensor of float64, shape (A,), or (R, A) with weights
        A class without weight does not count.
    """
    positive = torch.as_tensor(labels).double()
    each = torch.ones(len(hits), dtype=torch.float64) if weights is None else weights
    shares = [(each @ (members * hits)) / (each @ members) for members in (positive, 1 - positive)]
    return torch.stack(shares).nanmean(0)


def train_attributes(z: Tensor, labels: Any) -> MultiOutputClassifier:
    """Train one classifier per column of `labels` (N, A) on z (N, H), see `attribute_accuracies`."""
    linear, multioutput, pipeline, preprocessing = (
        import_extra(f"sklearn.{name}", "influence")
        for name in ("linear_model", "multioutput", "pipeline", "preprocessing")
    )
    # Squares predict what the two ends of a factor have in common, such as a face turned to either side.
    squares = preprocessing.FunctionTransformer(lambda x: np.concatenate([x, np.square(x)], axis=1))
    regression = linear.LogisticRegression(class_weight="balanced", max_iter=2000)
    classifier = pipeline.make_pipeline(preprocessing.StandardScaler(), squares, regression)
    return multioutput.MultiOutputClassifier(classifier).fit(z.double().numpy(), np.asarray(labels))
