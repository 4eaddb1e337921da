"""Steps of the chapter on sparsity: the linear model that the path against beta is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from companion import claims
from vaemi.information.bounds import reverse_water_filling


def linear_path(
    betas: Sequence[float], eigenvalues: Tensor, latent_dim: int, sigma: float
) -> tuple[list[int], list[float]]:
    """Return the number of influential factors and the objective of the best linear model at every beta.

    Parameters
    ----------
    betas : sequence of float
    eigenvalues : Tensor, shape (n,)
        Eigenvalues of the covariance of n pixels, the largest first.
    latent_dim : int
        Number of factors.
    sigma : float
        Fixed standard deviation of a pixel.

    Returns
    -------
    counts : list of int
    objectives : list of float
        Nats per sample.
    """
    constant = len(eigenvalues) * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    rest = float(eigenvalues[latent_dim:].sum())
    counts, objectives = [], []
    for beta in betas:
        nats, distortion = reverse_water_filling(eigenvalues[:latent_dim], beta * sigma**2)
        error = float(distortion.sum()) + rest
        counts.append(int((nats > claims.THRESHOLD).sum()))
        objectives.append(constant + error / (2 * sigma**2) + beta * float(nats.sum()))
    return counts, objectives
