"""What information allows and forbids."""

from __future__ import annotations

import math
from typing import Any

import torch

# Halvings of an interval of length 1 that leave it shorter than float64 can tell.
_BISECTIONS = 54


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

    Fano's inequality, ``P_error >= (H(Y) - I(Y; Z_S) - log 2) / log|Y|``, turned round; ``sum_{h in S} I(X; Z_h)
    >= I(X; Z_S) >= I(Y; Z_S)`` may stand for the information and only loosens the bound.

    Parameters
    ----------
    information : float or array of floats
        Nats that the kept factors hold, I(Y; Z_S) or an upper bound on it.
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
        If the information is negative, if there are fewer than two classes, or if the entropy lies outside
        [0, log n_classes].
    """
    information = _checked_information(information)
    _check_label_entropy(label_entropy, n_classes)
    error = (label_entropy - information - math.log(2)) / math.log(n_classes)
    return 1 - error.clamp(0, 1)


def fano_accuracy_bound_exact(information: Any, label_entropy: float, n_classes: int) -> torch.Tensor:
    """Highest accuracy that Fano's inequality allows, without the relaxation of `fano_accuracy_bound`.

    The largest 1 - e with ``h_b(e) + e log(|Y| - 1) >= H(Y) - I(Y; Z_S)``, where h_b is the binary entropy. The relaxed
    bound puts log 2 for h_b(e) and ``log|Y|`` for ``log(|Y| - 1)``, and says nothing of two classes. This one is met by
    labels that are equally frequent and told right with probability 1 - e, else any other with the same probability.

    Parameters
    ----------
    information, label_entropy, n_classes
        As for `fano_accuracy_bound`.

    Returns
    -------
    Tensor
        Upper bound on the accuracy, between 1 / n_classes and 1, float64, shape of `information`; precise to 1e-12.

    Raises
    ------
    ValueError
        As `fano_accuracy_bound`.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 2.10.1.
    """
    information = _checked_information(information)
    _check_label_entropy(label_entropy, n_classes)
    # With accuracy 1/K + d the inequality reads log K - h_b(e) - e log(K - 1) <= I + log K - H(Y). Its left side, the
    # divergence of the guess's outcome from chance, grows with d and keeps its precision at d = 0, where the inequality
    # as it is commonly written is flat.
    allowed = information + max(0.0, math.log(n_classes) - label_entropy)
    low, high = torch.zeros_like(allowed), torch.full_like(allowed, 1 - 1 / n_classes)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = _divergence_from_chance(middle, n_classes) <= allowed
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return torch.where(information >= label_entropy, 1.0, 1 / n_classes + high)


def _divergence_from_chance(gain: torch.Tensor, n_classes: int) -> torch.Tensor:
    """KL in nats of (right, wrong) with accuracy 1/K + gain from (right, wrong) with accuracy 1/K."""
    chance = 1 / n_classes
    right = torch.special.xlog1py(chance + gain, gain / chance)
    return right + torch.special.xlog1py(1 - chance - gain, -gain / (1 - chance))


def gaussian_entropy(eigenvalues: Any) -> float:
    """Differential entropy h(X) in nats of a Gaussian: 1/2 sum_i log(2 pi e lambda_i).

    Parameters
    ----------
    eigenvalues : array of floats, shape (D,)
        Eigenvalues lambda_i of the covariance, in squared units of x.

    Raises
    ------
    ValueError
        If there are none, or one is not a finite number > 0.
    """
    return float(0.5 * (2 * math.pi * math.e * _checked_eigenvalues(eigenvalues)).log().sum())


def gaussian_entropy_from_samples(samples: Any) -> float:
    r"""Unbiased estimate of the differential entropy h(X) in nats of a Gaussian from its samples.

    The log-determinant of a sample covariance is too small on average. That of the scatter matrix A of n Gaussian
    samples about their mean, which is Wishart with n - 1 degrees of freedom, has the expectation

    .. math:: E \log|A| = \log|\Sigma| + D \log 2 + \sum_{i=1}^{D} \psi\left(\frac{n - i}{2}\right)

    with the digamma function :math:`\psi`, which is taken off. On data that are not Gaussian the result estimates the
    entropy of the Gaussian with the same covariance, an upper bound on h(X).

    Parameters
    ----------
    samples : array of floats, shape (n, D)

    Raises
    ------
    ValueError
        If samples is no (n, D) array of finite numbers, if n <= D, or if the samples lie in a subspace, where the
        entropy is minus infinity.
    """
    samples = torch.as_tensor(samples, dtype=torch.float64)
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise ValueError(f"samples has shape {tuple(samples.shape)}: give (n, D), n samples in D >= 1 dimensions.")
    n, dimension = samples.shape
    if n <= dimension:
        raise ValueError(
            f"samples holds {n} samples in {dimension} dimensions: their entropy needs more than {dimension}."
        )
    if not samples.isfinite().all():
        raise ValueError("samples holds a value that is not finite: leave that sample out.")
    # Singular values of the centred samples: their squares are the scatter's eigenvalues, without squared rounding.
    spread = torch.linalg.svdvals(samples - samples.mean(0))
    if not spread[-1] > spread[0] * n * torch.finfo(torch.float64).eps:
        raise ValueError(
            "samples lie in a subspace: the entropy is minus infinity; drop the constant directions first."
        )
    order = torch.arange(1, dimension + 1, dtype=torch.float64)
    bias = dimension * math.log(2) + torch.digamma((n - order) / 2).sum()
    return float(spread.log().sum() + 0.5 * (dimension * math.log(2 * math.pi * math.e) - bias))


def reconstruction_bound(information: Any, entropy: float, dimension: int) -> torch.Tensor:
    """Least mean squared error a coordinate with which X can be told from a variable that holds so much information.

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
        If the information is negative or not a number, the entropy is not finite, or the dimension is under 1.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 8.6.6 for one coordinate.
    """
    information = _checked_information(information)
    if not math.isfinite(entropy):
        raise ValueError(f"entropy is {entropy}: give h(X) as a finite number of nats.")
    if dimension < 1:
        raise ValueError(f"dimension is {dimension}: X needs one coordinate or more.")
    return ((2 / dimension) * (entropy - information)).exp() / (2 * math.pi * math.e)


def reverse_water_filling(eigenvalues: Any, water_level: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Information and squared error of every principal component in the best code of a Gaussian.

    A component with variance lambda_i above the water level theta gets I_i = 1/2 log(lambda_i / theta) nats and is
    told with error theta; one below gets nothing and is told with error lambda_i. The optimum of a linear-Gaussian
    beta-VAE whose likelihood has variance s^2 is this with theta = beta s^2.

    Parameters
    ----------
    eigenvalues : array of floats, shape (D,)
        Eigenvalues lambda_i of the covariance of X, in squared units of x.
    water_level : float or array of floats, shape (...)
        theta, in the same units.

    Returns
    -------
    information, distortion : Tensor of float64, shape (..., D)
        I_i in nats and min(lambda_i, theta), in the order of the eigenvalues.

    Raises
    ------
    ValueError
        If an eigenvalue or a level is not a finite number > 0.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 10.3.3.
    """
    eigenvalues = _checked_eigenvalues(eigenvalues)
    level = torch.as_tensor(water_level, dtype=torch.float64)
    if not (level.isfinite() & (level > 0)).all():
        raise ValueError("water_level holds a value that is not a finite number > 0: it is a squared error.")
    distortion = torch.minimum(eigenvalues, level[..., None])
    return 0.5 * (eigenvalues / distortion).log(), distortion


def water_level(eigenvalues: Any, information: Any) -> torch.Tensor:
    """The level at which reverse water-filling spends so much information in all.

    Parameters
    ----------
    eigenvalues : array of floats, shape (D,)
        Eigenvalues of the covariance of X, in squared units of x.
    information : float or array of floats, shape (...)
        Sum of I_i in nats.

    Returns
    -------
    Tensor of float64, shape (...)
        theta, the solution of sum_i max(0, 1/2 log(lambda_i / theta)) = information.

    Raises
    ------
    ValueError
        If an eigenvalue is not a finite number > 0, or the information is negative or not a number.
    """
    logs = _checked_eigenvalues(eigenvalues).log().sort(descending=True).values
    information = _checked_information(information)
    active = torch.arange(1, len(logs) + 1, dtype=torch.float64)
    # If just the k largest are active, log theta = (sum of their logs - 2 information) / k. Any other set has a smaller
    # sum of log(lambda_i / theta) than those above the level, so every other k comes out lower.
    return ((logs.cumsum(0) - 2 * information[..., None]) / active).amax(-1).exp()


def _checked_eigenvalues(eigenvalues: Any) -> torch.Tensor:
    eigenvalues = torch.as_tensor(eigenvalues, dtype=torch.float64)
    if eigenvalues.ndim != 1 or len(eigenvalues) == 0:
        raise ValueError(f"eigenvalues has shape {tuple(eigenvalues.shape)}: give (D,), D >= 1.")
    if not (eigenvalues.isfinite() & (eigenvalues > 0)).all():
        raise ValueError(f"the least of the eigenvalues is {eigenvalues.min():g}: all must be finite numbers > 0.")
    return eigenvalues


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
