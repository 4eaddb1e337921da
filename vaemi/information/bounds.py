"""Bounds on accuracy and reconstruction error, given the information that a code carries."""

from __future__ import annotations

import math
from typing import Any

import torch

# Halvings after which an interval of length 1 is shorter than the resolution of float64.
_BISECTIONS = 54


def entropy_of_labels(labels: Any) -> float:
    """Return the entropy H(Y) in nats of the empirical distribution of integer labels, shape (M,)."""
    labels = torch.as_tensor(labels)
    share = labels.unique(return_counts=True)[1].double() / labels.numel()
    return float(-(share * share.log()).sum())


def fano_accuracy_bound(information: Any, label_entropy: float, n_classes: int) -> torch.Tensor:
    """Return the highest accuracy that a classifier can reach from a variable with this information on the labels.

    Fano's inequality, ``P_error >= (H(Y) - I(Y; Z_S) - log 2) / log|Y|``. Since ``sum_{h in S} I(X; Z_h) >= I(X; Z_S)
    >= I(Y; Z_S)``, the information of the factors may replace I(Y; Z_S); it only loosens the bound.

    Parameters
    ----------
    information : float or array of floats
        I(Y; Z_S) in nats, or an upper bound on it.
    label_entropy : float
        H(Y) in nats.
    n_classes : int
        ``|Y|``, two or more.

    Returns
    -------
    Tensor
        Upper bound on the accuracy, between 0 and 1, shape of `information`.

    Raises
    ------
    ValueError
        If the information is negative, or the entropy lies outside [0, log n_classes].

    Examples
    --------
    >>> import math
    >>> from vaemi.information import fano_accuracy_bound
    >>> round(float(fano_accuracy_bound(1.0, math.log(10), 10)), 3)
    0.735
    """
    information = _checked_information(information)
    _check_label_entropy(label_entropy, n_classes)
    error = (label_entropy - information - math.log(2)) / math.log(n_classes)
    return 1 - error.clamp(0, 1)


def fano_accuracy_bound_exact(information: Any, label_entropy: float, n_classes: int) -> torch.Tensor:
    """Return the highest accuracy that Fano's inequality allows, without the relaxation of `fano_accuracy_bound`.

    The largest 1 - e with ``h_b(e) + e log(|Y| - 1) >= H(Y) - I(Y; Z_S)``, where h_b is the binary entropy. The relaxed
    bound replaces h_b(e) by log 2 and ``log(|Y| - 1)`` by ``log|Y|``, and is void for two classes. This one is tight:
    equally frequent labels and errors that are equally likely for all wrong classes meet it.

    Parameters
    ----------
    information, label_entropy, n_classes
        See `fano_accuracy_bound`.

    Returns
    -------
    Tensor
        Upper bound on the accuracy, between 1 / n_classes and 1, float64, shape of `information`; precise to 1e-12.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 2.10.1.

    Examples
    --------
    >>> import math
    >>> from vaemi.information import fano_accuracy_bound_exact
    >>> round(float(fano_accuracy_bound_exact(1.0, math.log(10), 10)), 3)
    0.689
    """
    information = _checked_information(information)
    _check_label_entropy(label_entropy, n_classes)
    # With accuracy 1/K + d the inequality reads KL(accuracy from chance) <= I + log K - H(Y). Unlike the usual form,
    # this one keeps its precision at d = 0.
    allowed = information + max(0.0, math.log(n_classes) - label_entropy)
    low, high = torch.zeros_like(allowed), torch.full_like(allowed, 1 - 1 / n_classes)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = _divergence_from_chance(middle, n_classes) <= allowed
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return torch.where(information >= label_entropy, 1.0, 1 / n_classes + high)


def _divergence_from_chance(gain: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Return KL in nats of (right, wrong) with accuracy 1/K + gain from (right, wrong) with accuracy 1/K."""
    chance = 1 / n_classes
    right = torch.special.xlog1py(chance + gain, gain / chance)
    return right + torch.special.xlog1py(1 - chance - gain, -gain / (1 - chance))


def reconstruction_bound(information: Any, entropy: float, dimension: int) -> torch.Tensor:
    """Return the least mean squared error per coordinate with which X can be predicted from a variable.

    ``(1/n) E||X - Xhat||^2 >= exp((2/n) (h(X) - I(X; Z))) / (2 pi e)``, with equality for a Gaussian X whose error is
    the same in all directions: reverse water-filling with all components active.

    Parameters
    ----------
    information : float or array of floats
        I(X; Z) in nats, or an upper bound on it, which loosens the bound.
    entropy : float
        h(X) in nats.
    dimension : int
        n, the number of coordinates of X.

    Returns
    -------
    Tensor
        Lower bound on the error in squared units of x, float64, shape of `information`.

    Raises
    ------
    ValueError
        If the information is negative or not a number.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 8.6.6 for one coordinate.

    Examples
    --------
    >>> import math
    >>> from vaemi.information import reconstruction_bound
    >>> entropy = 0.5 * math.log(2 * math.pi * math.e)  # of a standard normal coordinate
    >>> round(float(reconstruction_bound(math.log(2), entropy, 1)), 3)
    0.25
    """
    information = _checked_information(information)
    return ((2 / dimension) * (entropy - information)).exp() / (2 * math.pi * math.e)


def reverse_water_filling(eigenvalues: Any, water_level: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the information and squared error of every principal component in the best code of a Gaussian.

    A component with variance lambda_i above the water level theta gets I_i = 1/2 log(lambda_i / theta) nats and the
    error theta; one below gets nothing and has the error lambda_i. The optimum of a linear-Gaussian beta-VAE whose
    likelihood has variance s^2 is this with theta = beta s^2 (Cover and Thomas, theorem 10.3.3).

    Parameters
    ----------
    eigenvalues : array of floats, shape (D,)
        Eigenvalues lambda_i of the covariance of X, all positive, in squared units of x.
    water_level : float or array of floats, shape (...)
        theta, in the same units.

    Returns
    -------
    information, distortion : Tensor of float64, shape (..., D)
        I_i in nats and min(lambda_i, theta), in the order of the eigenvalues.
    """
    eigenvalues = torch.as_tensor(eigenvalues, dtype=torch.float64)
    level = torch.as_tensor(water_level, dtype=torch.float64)
    distortion = torch.minimum(eigenvalues, level[..., None])
    return 0.5 * (eigenvalues / distortion).log(), distortion


def _check_label_entropy(label_entropy: float, n_classes: int) -> None:
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}: Fano's bound needs two or more.")
    if not 0 <= label_entropy <= math.log(n_classes) + 1e-12:
        raise ValueError(
            f"label_entropy is {label_entropy:g} nats: {n_classes} classes allow in [0, {math.log(n_classes):.3f}]."
        )


def _checked_information(information: Any) -> torch.Tensor:
    information = torch.as_tensor(information, dtype=torch.float64)
    if not (information >= 0).all():
        raise ValueError(f"information is {information.min():g} nats: it cannot be negative.")
    return information
