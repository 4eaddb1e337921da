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
    """
    metrics = import_extra("sklearn.metrics", "influence")
    truth = np.asarray(test_labels).T
    found = {}
    for name, factors in progress_bar(subsets.items(), desc="classifiers of attributes"):
        chosen = torch.as_tensor(factors, dtype=torch.long)
        if not len(chosen):
            found[name] = torch.full((len(truth),), 0.5, dtype=torch.float64)
            continue
        predicted = train_attributes(train_z[:, chosen], train_labels).predict(test_z[:, chosen].double().numpy()).T
        scores = [metrics.balanced_accuracy_score(*pair) for pair in zip(truth, predicted, strict=True)]
        found[name] = torch.tensor(scores, dtype=torch.float64)
    return found


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
