"""Synthetic samples whose intrinsic dimension is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tanh_manifold(n: int, dim: int, ambient_dim: int = 64, noise: float = 0.1, seed: int = 0) -> Tensor:
    """Samples near a curved manifold of known dimension: x = B tanh(A u + b) + noise, with u ~ N(0, I_dim).

    The columns of A are orthogonal and of one length, such that A u has entries of variance 1 on average: every
    direction of u matters as much as any other. B is orthonormal. A has full rank, tanh is strictly increasing and B
    invertible, so the map is one-to-one with a Jacobian of rank `dim` everywhere: `dim` is the intrinsic dimension.
    Unlike a linear map it fills more than `dim` linear directions, which is what principal components would count.

    Parameters
    ----------
    n : int
        Number of samples.
    dim : int
        Intrinsic dimension d, from 1 to `ambient_dim`.
    ambient_dim : int
        Dimension of x.
    noise : float
        Standard deviation of the Gaussian noise in every direction of x; that of a coordinate of the noiseless x is
        about 0.5 (dim 1) to 0.6.
    seed : int
        Decides the manifold, the samples on it and the noise. Neither of the first two changes with `noise`.

    Returns
    -------
    Tensor, shape (n, ambient_dim), float32

    Raises
    ------
    ValueError
        If there are no samples, `dim` does not lie between 1 and `ambient_dim`, or `noise` is negative.
    """
    if n < 1:
        raise ValueError(f"n is {n}: give one sample or more.")
    if not 1 <= dim <= ambient_dim:
        raise ValueError(f"dim is {dim}: an intrinsic dimension in {ambient_dim} dimensions lies between 1 and that.")
    if not noise >= 0:
        raise ValueError(f"noise is {noise}: give a standard deviation >= 0.")
    generator = torch.Generator().manual_seed(seed)
    inner, shift, outer = _tanh_network(dim, ambient_dim, generator)
    u = torch.randn(n, dim, generator=generator)
    x = torch.tanh(u @ inner.T + shift) @ outer.T
    return x + noise * torch.randn(n, ambient_dim, generator=generator)


def _tanh_network(dim: int, ambient_dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A (ambient_dim, dim), b (ambient_dim,) and B (ambient_dim, ambient_dim) of `tanh_manifold`."""
    inner = _orthonormal(ambient_dim, dim, generator) * math.sqrt(ambient_dim / dim)
    shift = 0.5 * torch.randn(ambient_dim, generator=generator)
    return inner, shift, _orthonormal(ambient_dim, ambient_dim, generator)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Random matrix with orthonormal columns."""
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator))[0]
