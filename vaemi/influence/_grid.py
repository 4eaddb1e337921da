"""Posteriors of one factor as probabilities of grid points."""

from __future__ import annotations

import torch
from torch import Tensor

# The grid reaches this many standard deviations beyond every mean.
_REACH = 5.0
# The spacing, in units of the standard deviation below which this share of the posteriors lies.
_SPACING, _NARROW = 0.8, 0.02
# A narrower posterior is widened to this many spacings.
_LEAST_WIDTH = 0.5
_MOST_POINTS = 2048


def grid_probabilities(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the share of every posterior N(mu_m, sigma_m^2) at the points of an even grid that covers them all.

    Points are 0.8 standard deviations apart, where trapezoidal sums of Gaussians are integrals to high precision. The
    narrowest 2 % of the posteriors may be finer than that, and all of them where the grid would need more than 2,048
    points; a posterior finer than half the spacing is widened to that.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (M,)

    Returns
    -------
    Tensor of float32, shape (points, M)
        Columns sum to 1.
    """
    mean, sigma = mean.double(), (0.5 * log_variance.double()).exp()
    low, high = (mean - _REACH * sigma).min(), (mean + _REACH * sigma).max()
    spacing = torch.maximum(_SPACING * sigma.quantile(_NARROW), (high - low) / (_MOST_POINTS - 1))
    # In units of the spacing from the first point, single precision suffices however far from 0 the factor lies.
    points = torch.arange(int((high - low) / spacing) + 2, dtype=torch.float32)
    position = ((mean - low) / spacing).float()
    width = (sigma / spacing).clamp_min(_LEAST_WIDTH).float()
    offset = (points[:, None] - position).div_(2**0.5 * width)
    density = offset.square_().neg_().exp_()
    return density.div_(density.sum(0))
