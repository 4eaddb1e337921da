"""The paper's estimator for Gaussian posteriors, which takes the aggregated posterior for a Gaussian too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .checks import checked_posterior
from .result import standard_error


def second_moments(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return E[z^2 | x] = sigma^2 + mu^2, shape (M, H)."""
    return log_variance.exp() + mean.square()


def gaussian_information(
    mean: Tensor, log_variance: Tensor, weight: Tensor | None = None, clusters: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the information of every factor under a Gaussian marginal, its standard error, and the marginal's width.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (M, H)
    weight, clusters : Tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    nats, stderr, sigma_star : Tensor, shape (H,)
        1/2 (log sigma*_h^2 - mean_m log sigma_h^2), section 3 of the paper. It equals I + KL(q(z_h) || q*(z_h)),
        so it is never below I.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import gaussian_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> nats, stderr, sigma_star = gaussian_information(mean, log_variance)
    >>> [round(value, 2) for value in nats.tolist()]
    [1.33, 0.0]
    """
    share = mean.new_full((len(mean), 1), 1 / len(mean)) if weight is None else (weight / weight.sum())[:, None]
    moments = second_moments(mean, log_variance)
    variance = (share * moments).sum(0)
    nats = 0.5 * (variance.log() - (share * log_variance).sum(0))
    influence = 0.5 * (moments / variance - log_variance)
    return nats, standard_error(influence, weight, clusters), variance.sqrt()


def gaussian_joint_information(mean: Any, log_variance: Any) -> float:
    """Return an upper bound on I(X; Z) of all factors together, in nats: E_x KL(q(z|x) || N(m, C)).

    m and C are the mean and the covariance of the aggregated posterior q(z). The bound exceeds I(X; Z) by
    KL(q(z) || N(m, C)), so it is exact if q(z) is Gaussian, and unlike `joint_information` it is not limited by log M.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances of M samples and H factors.

    Returns
    -------
    float
        Half of the log determinant of C less mean_m sum_h log sigma_h^2, the bound for these M samples. Unless M is
        much larger than H, their covariance is smaller than that of the population, and so is the bound.

    Raises
    ------
    ValueError, TypeError
        If the inputs are unusable; see `factor_information`.

    References
    ----------
    Poole et al., On Variational Bounds of Mutual Information, ICML 2019, section 2.1: an upper bound from any density
    in place of q(z). With one factor and m = 0 it is the paper's estimator.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import gaussian_joint_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> round(gaussian_joint_information(mean, log_variance), 2)
    1.33
    """
    mean, log_variance = checked_posterior(mean, log_variance)
    mean, log_variance = mean.double(), log_variance.double()
    covariance = torch.cov(mean.T, correction=0).reshape(mean.shape[1], -1) + log_variance.exp().mean(0).diag()
    return 0.5 * float(torch.linalg.slogdet(covariance).logabsdet - log_variance.mean(0).sum())


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(q(z_h|x) || N(0, 1)) in nats, 1/2 (mu^2 + sigma^2 - 1 - log sigma^2), of posteriors (M, H).

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import kl_to_prior
    >>> kl_to_prior(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).tolist()
    [[0.5, 0.0]]
    """
    return 0.5 * (second_moments(mean, log_variance) - 1 - log_variance)
