"""Steps of the theory chapter: the entropy and the best code of a Gaussian, and a bound on the total correlation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from companion.errors import CompanionError


def gaussian_entropy(eigenvalues: Tensor) -> float:
    """Return the differential entropy in nats of a Gaussian whose covariance has these eigenvalues, (D,)."""
    eigenvalues = torch.as_tensor(eigenvalues, dtype=torch.float64)
    return float(0.5 * (2 * math.pi * math.e * eigenvalues).log().sum())


def water_level(eigenvalues: Tensor, information: Tensor) -> Tensor:
    """Return the level at which reverse water-filling spends a given information.

    Parameters
    ----------
    eigenvalues : array of floats, shape (D,)
        Eigenvalues lambda_i of the covariance, all positive.
    information : float or array of floats, shape (...)
        Sum of I_i in nats.

    Returns
    -------
    Tensor of float64, shape (...)
        theta, the solution of sum_i max(0, 1/2 log(lambda_i / theta)) = information.
    """
    logs = torch.as_tensor(eigenvalues, dtype=torch.float64).log().sort(descending=True).values
    information = torch.as_tensor(information, dtype=torch.float64)
    active = torch.arange(1, len(logs) + 1, dtype=torch.float64)
    # If just the k largest are active, log theta = (sum of their logs - 2 information) / k; any other k gives less.
    return ((logs.cumsum(0) - 2 * information[..., None]) / active).amax(-1).exp()


def total_correlation_bound(z: Tensor) -> float:
    r"""Return a lower bound on the total correlation from draws of z, without the limit log M.

    Ranks turn each factor into a standard normal variable. Increasing maps of single factors leave the total
    correlation as it is, and of all joint densities with the correlation matrix R the Gaussian has the largest entropy,
    so :math:`TC \ge -\frac12 \log\det R`, with equality for Gaussian factors. The bound sees monotone dependence only.

    Parameters
    ----------
    z : Tensor, shape (M, H)
        Draws of the aggregated posterior, such as one from every posterior; M > H.

    Returns
    -------
    float
        Nats, infinite where a factor is a function of others. About H (H - 1) / 4M for independent factors.

    Raises
    ------
    CompanionError
        If there are not more draws than factors, or one is not finite.
    """
    z = torch.as_tensor(z).double()
    if len(z) <= z.shape[1] or not z.isfinite().all():
        raise CompanionError(f"z has shape {tuple(z.shape)}: give an array (M, H) of finite numbers with M > H.")
    scores = torch.special.ndtri((z.argsort(0).argsort(0) + 0.5) / len(z))
    # Every column holds the same numbers in another order, so one variance serves all.
    correlation = scores.T @ scores / scores[:, 0].square().sum()
    return max(0.0, -0.5 * float(torch.linalg.slogdet(correlation).logabsdet))
