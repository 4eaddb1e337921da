"""The authors' classifier of digits from the factors that are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.neural_network import MLPClassifier
from torch import Tensor
from tqdm import tqdm

from vaemi.influence import keep


def train_classifier(
    z: Tensor, labels: Tensor, epochs: int = 20, hidden_dim: int = 256, seed: int = 0
) -> MLPClassifier:
    """Train the authors' classifier: one hidden ReLU layer on the factors, Adam with rate 1e-3, batches of 100.

    Parameters
    ----------
    z, labels : Tensor, shapes (N, H) and (N,)
    epochs : int
    hidden_dim : int
        Width of the hidden layer.
    seed : int
        Seed of the first weights and the batches.
    """
    classifier = MLPClassifier(
        (hidden_dim,), batch_size=min(100, len(z)), learning_rate_init=1e-3, alpha=0.0, random_state=seed
    )
    for _ in tqdm(range(epochs), desc="classifier", mininterval=2):
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
