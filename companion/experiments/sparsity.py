"""Steps of the chapter on sparsity: the linear model along the path against beta, and closed manifolds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from companion import claims
from vaemi.information.bounds import reverse_water_filling
from vaemi.models import VAE, posterior


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


def error_by_sector(model: VAE, samples: Tensor, angles: Tensor, sectors: int = 20) -> Tensor:
    """Return the root mean square error of the reconstructions in equal sectors of a circle.

    Parameters
    ----------
    model : VAE
    samples : Tensor, shape (n, data_dim)
    angles : Tensor, shape (n,)
        Angle of each sample, from -pi to pi.
    sectors : int

    Returns
    -------
    Tensor, shape (sectors,)
        In units of x, over samples and coordinates; 0 in a sector without samples.
    """
    mean, _ = posterior(model, samples)
    with torch.inference_mode():
        error = (model.decode(mean) - samples).square().mean(1)
    sector = ((angles + math.pi) / (2 * math.pi) * sectors).long().clamp(0, sectors - 1)
    total = torch.zeros(sectors).index_add(0, sector, error)
    return (total / sector.bincount(minlength=sectors).clamp(min=1)).sqrt()


def compared_with_dimensions(
    dimensions: Mapping[str, int], embeddings: Mapping[str, int], counts: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Count the runs on closed manifolds by how their number of factors compares with the dimensions.

    Parameters
    ----------
    dimensions, embeddings : mapping of str to int
        Intrinsic dimension of each manifold, and dimension of the space it lies in.
    counts : mapping of str to sequence of int
        Number of influential factors in each run.

    Returns
    -------
    dict of str to int
        Number of `runs`; of those with `fewer` factors than the intrinsic dimension, exactly that (`as_dimension`) or
        `more`; and of those with as many as the space (`as_embedding`) or `still_more`.
    """
    runs = [(name, count) for name, each in counts.items() for count in each]
    return {
        "runs": len(runs),
        "fewer": sum(count < dimensions[name] for name, count in runs),
        "as_dimension": sum(count == dimensions[name] for name, count in runs),
        "more": sum(count > dimensions[name] for name, count in runs),
        "as_embedding": sum(count == embeddings[name] for name, count in runs),
        "still_more": sum(count > embeddings[name] for name, count in runs),
    }
