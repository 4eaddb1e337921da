"""What information allows and forbids."""

from __future__ import annotations

import math
from typing import Any

import torch


def entropy_of_labels(labels: Any) -> float:
    """Entropy H(Y) in nats of the empirical distribution of integer labels, shape (M,).

    Raises
    ------
    ValueError
        If there are no labels.
    """
    labels = torch.as_tensor(labels)
    if labels.numel() == 0:
        raise ValueError("labels is empty: its entropy is not defined.")
    share = labels.unique(return_counts=True)[1].double() / labels.numel()
    return float(-(share * share.log()).sum())


def fano_accuracy_bound(information: Any, label_entropy: float, n_classes: int) -> torch.Tensor:
    """Highest accuracy that a classifier can reach from a variable that holds so much information on the labels.

    Fano's inequality, P_error >= (H(Y) - I(Y; Z_S) - log 2) / log|Y|, turned round; sum_{h in S} I(X; Z_h) >= I(X; Z_S)
    >= I(Y; Z_S) may stand for the information and only loosens the bound.

    Parameters
    ----------
    information : float or array of floats
        Nats that the kept factors hold, I(Y; Z_S) or an upper bound on it.
    label_entropy : float
        H(Y) in nats.
    n_classes : int
        |Y|, two or more.

    Returns
    -------
    Tensor
        Upper bound on the accuracy, between 0 and 1, shape of `information`.

    Raises
    ------
    ValueError
        If the information is negative, if there are fewer than two classes, or if the entropy lies outside
        [0, log n_classes].
    """
    information = torch.as_tensor(information, dtype=torch.float64)
    if (information < 0).any():
        raise ValueError(f"information is {information.min():g} nats: it cannot be negative.")
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}: Fano's bound needs two or more.")
    if not 0 <= label_entropy <= math.log(n_classes) + 1e-12:
        raise ValueError(
            f"label_entropy is {label_entropy:g} nats: {n_classes} classes allow in [0, {math.log(n_classes):.3f}]."
        )
    error = (label_entropy - information - math.log(2)) / math.log(n_classes)
    return 1 - error.clamp(0, 1)
