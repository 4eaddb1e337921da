"""The exact estimator: the entropy of the aggregated posterior, a mixture of M Gaussians, by quadrature.

The integral runs over panels. A panel is bisected until it is no wider than the narrowest component that reaches
it; on such a panel the mixture is smooth and Gauss-Legendre quadrature converges exponentially. Components further
than `_REACH` of their standard deviations are left out, so the work is about the same for narrow and for broad
posteriors.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# Mass beyond 9 standard deviations: 2e-19.
_REACH = 9.0
# Widest panel, in standard deviations of its narrowest component, and nodes on it: error about 1e-12 of the density.
_PANEL = 2.0
_NODES = 16
# Least standard deviation as a share of the factor's range; see factor_information.
_RESOLUTION = 1e-10


def mixture_information(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Information of every factor, exact for the empirical mixture, and its standard error.

    Parameters
    ----------
    mean, log_variance : Tensor of float64, shape (M, H)

    Returns
    -------
    nats, stderr : Tensor, shape (H,)
        mean_m and SD_m / sqrt(M) of KL(q(z_h|x_m) || q(z_h)); KL - I is the influence function of I.
    """
    divergences = torch.stack(
        [_divergences(mu, log_var) for mu, log_var in zip(mean.T, log_variance.T, strict=True)], dim=1
    )
    # Rounding can leave -1e-16 where the truth is 0.
    return divergences.mean(0).clamp_min(0), divergences.std(0) / len(mean) ** 0.5


def _divergences(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(z|x_m) || q(z)) of one factor for every sample, shape (M,)."""
    # In units of the factor's own range the answer cannot depend on the scale of z.
    centre = mean.median()
    std = (0.5 * log_variance).exp()
    scale = (mean - centre).abs().max() + std.max()
    mean = (mean - centre) / scale
    std = (std / scale).clamp_min(_RESOLUTION)
    entropies = 0.5 * math.log(2 * math.pi * math.e) + std.log()
    return _cross_entropies(mean, std) - entropies


def _cross_entropies(mean: Tensor, std: Tensor) -> Tensor:
    """-integral of N(z; mu_m, sigma_m^2) log q(z) for every component m of the mixture q, shape (M,)."""
    nodes, weights = (torch.as_tensor(a, device=mean.device) for a in np.polynomial.legendre.leggauss(_NODES))
    low, high = mean - _REACH * std, mean + _REACH * std
    cross = torch.zeros_like(mean)
    panels = [(low.min().item(), high.max().item(), torch.arange(len(mean), device=mean.device))]
    while panels:
        left, right, candidates = panels.pop()
        near = candidates[(low[candidates] < right) & (high[candidates] > left)]
        if not len(near):
            continue
        half = 0.5 * (right - left)
        if 2 * half > _PANEL * std[near].min():
            middle = left + half
            panels += [(left, middle, near), (middle, right, near)]
            continue
        # Not z - mean: away from 0 the rounding of z is not small beside the width of a narrow component.
        offset = (left - mean[near, None]) + half * (1 + nodes)
        density = (-0.5 * (offset / std[near, None]).square()).exp()
        density /= math.sqrt(2 * math.pi) * std[near, None]
        log_q = (density.sum(0) / len(mean)).log()
        cross[near] -= density @ (half * weights * log_q)
    return cross
