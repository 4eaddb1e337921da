"""What can be told from the factors that are left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.neural_network import MLPClassifier
from torch import Tensor
from tqdm import tqdm

from .decoding import keep


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
    classes = labels.unique().numpy()
    for _ in tqdm(range(epochs), desc="classifier", mininterval=2):
        classifier.partial_fit(z.numpy(), labels.numpy(), classes=classes)
    return classifier


def accuracies(
    classifier: MLPClassifier, z: Tensor, labels: Tensor, order: Tensor, counts: Sequence[int]
) -> list[float]:
    """Accuracy (0 to 1) of one classifier, trained on all factors, when only the first k of an order are kept."""
    return [float(np.mean(classifier.predict(keep(z, order[:count]).numpy()) == labels.numpy())) for count in counts]
