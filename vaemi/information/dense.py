"""A plain quadrature of the information, to read and to test the fast estimator against."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .result import LEAST_REST, standard_error

_REACH = 10  # the grid ends so many standard deviations beyond every mean
_POINTS_PER_SIGMA = 8  # of the narrowest component; the trapezoidal rule then converges to rounding
_MOST_POINTS = 1 << 22
_NUMBERS = 1 << 21  # in a batch of components by grid points
_TINY = 1e-290
_DEFENCE = 0.1  # weight of the heavy-tailed density in the leave-one-out value, in samples


def dense_information(
    mean: Tensor, log_variance: Tensor, weight: Tensor | None = None, clusters: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Integrate the information of one factor on a grid; time grows with M times the number of grid points.

    Parameters
    ----------
    mean, log_variance : Tensor of float64, shape (M,)
    weight, clusters : Tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    nats, stderr, marginal_std, leave_one_out : Tensor of float64, shape (1,)

    Raises
    ------
    ValueError
        If the grid would have more than four million points.
    """
    share = torch.full_like(mean, 1 / len(mean)) if weight is None else weight / weight.sum()
    sigma = (0.5 * log_variance).exp()
    low, high = float((mean - _REACH * sigma).min()), float((mean + _REACH * sigma).max())
    wanted = (high - low) / float(sigma.min()) * _POINTS_PER_SIGMA
    if not 0 < wanted < _MOST_POINTS:  # 0 where float64 does not tell the ends apart
        raise ValueError(
            f"method 'dense' needs a grid of {wanted:,.0f} points for these means and sigmas: use 'mixture'."
        )
    points = math.ceil(wanted) + 1
    grid = torch.linspace(low, high, points, dtype=torch.float64, device=mean.device)
    step = (high - low) / (points - 1)
    batches = torch.arange(len(mean), device=mean.device).split(max(1, _NUMBERS // points))

    def log_components(rows: Tensor) -> Tensor:
        """Log q(z|x_m), shape (rows, points)."""
        offset = (grid - mean[rows, None]) / sigma[rows, None]
        return -0.5 * offset.square() - sigma[rows, None].log() - 0.5 * math.log(2 * math.pi)

    density = sum(share[rows] @ log_components(rows).exp() for rows in batches)  # q(z)
    assert isinstance(density, Tensor)
    centre = (share * mean).sum()
    variance = (share * ((mean - centre).square() + sigma.square())).sum()
    width = variance.clamp_min(_TINY).sqrt()
    cauchy = width / (math.pi * (width.square() + (grid - centre).square()))

    kl, kl_without = [], []
    for rows in batches:
        log_own, part = log_components(rows), share[rows, None]
        own = log_own.exp()
        # The density without sample m, with a little of a heavy-tailed one that bounds the cost of a lonely sample.
        others = ((density - part * own) / (1 - part).clamp_min(LEAST_REST)).clamp_min(0)
        others = (1 - _DEFENCE * part) * others + _DEFENCE * part * cauchy
        kl.append((own * (log_own - density.clamp_min(_TINY).log())).sum(1) * step)
        kl_without.append((own * (log_own - others.clamp_min(_TINY).log())).sum(1) * step)
    divergence, without = torch.cat(kl), torch.cat(kl_without)
    stderr = standard_error(divergence[:, None], weight, clusters)
    return (share @ divergence)[None], stderr, (variance + centre.square()).sqrt()[None], (share @ without)[None]
