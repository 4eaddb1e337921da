"""The paper's estimator: the aggregated posterior of each factor is taken for a zero-mean Gaussian."""

from __future__ import annotations

from torch import Tensor

from .errors import standard_error


def second_moments(mean: Tensor, log_variance: Tensor) -> Tensor:
    """E[z^2 | x] = sigma^2 + mu^2 of every sample and factor, shape (M, H)."""
    return log_variance.exp() + mean.square()


def marginal_std(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The paper's sigma*_h = sqrt(mean_m[sigma_h^2 + mu_h^2]), shape (H,): the root mean square of z_h under q(z)."""
    return second_moments(mean, log_variance).mean(0).sqrt()


def gaussian_information(
    mean: Tensor, log_variance: Tensor, weight: Tensor | None = None, clusters: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Information of every factor under a Gaussian marginal, its standard error, and the marginal's width.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (M, H)
    weight, clusters : Tensor, shape (M,), optional
        As for `standard_error`.

    Returns
    -------
    nats, stderr, sigma_star : Tensor, shape (H,)
        1/2 (log sigma*_h^2 - mean_m log sigma_h^2), section 3 of the paper. It equals I + KL(q(z_h) || q*(z_h)),
        hence never lies under I.
    """
    share = mean.new_full((len(mean), 1), 1 / len(mean)) if weight is None else (weight / weight.sum())[:, None]
    moments = second_moments(mean, log_variance)
    variance = (share * moments).sum(0)
    nats = 0.5 * (variance.log() - (share * log_variance).sum(0))
    influence = 0.5 * (moments / variance - log_variance)
    return nats, standard_error(influence, weight, clusters), variance.sqrt()


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(z_h|x) || N(0, 1)) of every sample and factor in nats: 1/2 (mu^2 + sigma^2 - 1 - log sigma^2)."""
    return 0.5 * (second_moments(mean, log_variance) - 1 - log_variance)
