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


def closed_in_words(
    dimensions: Mapping[str, int], embeddings: Mapping[str, int], counts: Mapping[str, Sequence[int]]
) -> str:
    """Describe how many factors models use on closed manifolds, and explain it.

    Parameters
    ----------
    dimensions, embeddings : mapping of str to int
        Intrinsic dimension of each manifold, and dimension of the space it lies in.
    counts : mapping of str to sequence of int
        Number of influential factors in each run.

    Returns
    -------
    str
        Markdown.
    """
    runs = [(name, count) for name, each in counts.items() for count in each]
    as_dimension = sum(count == dimensions[name] for name, count in runs)
    as_embedding = sum(count == embeddings[name] for name, count in runs)
    sentences = [
        f"In **{as_dimension} of {len(runs)} runs** the number of influential factors is the intrinsic dimension, and "
        f"in {as_embedding} of {len(runs)} it is the dimension of the space that the manifold lies in."
    ]
    if any(count > dimensions[name] for name, count in runs):
        sentences.append(_WHY_MORE)
    if any(count > embeddings[name] for name, count in runs):
        sentences.append(_WHY_STILL_MORE)
    if any(count < dimensions[name] for name, count in runs):
        sentences.append(_WHY_FEWER)
    if as_dimension == len(runs):
        sentences.append(_WHY_EQUAL)
    return " ".join(sentences)


_WHY_MORE = (
    "No continuous map takes a closed curve to a line, or a closed surface to a plane, one-to-one. An encoder with $d$ "
    "factors would have to jump somewhere: two neighbours on either side of the cut get codes far apart. A network of "
    "limited steepness cannot jump, so samples near the cut are reconstructed badly. With further factors nothing has "
    "to be cut: a circle is encoded as a circle, in two factors, and each of them carries information. The VAE counts "
    "the coordinates of a continuous code, and closed data need more of them than their intrinsic dimension."
)
_WHY_STILL_MORE = (
    "Where there are more factors than that space has dimensions, two factors share a direction, as happens when "
    "training is short."
)
_WHY_FEWER = (
    "Where there are fewer factors than dimensions, training was too short, or the noise too strong, to find all "
    "of them."
)
_WHY_EQUAL = (
    "The encoder must then cut the manifold open, since no continuous map takes a closed curve to a line, or a closed "
    "surface to a plane, one-to-one: two neighbours on either side of the cut get codes far apart. Samples near the "
    "cut are reconstructed badly, but they are few, and a further factor would cost nats on all samples."
)
