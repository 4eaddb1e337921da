"""Synthetic data with known truth: Gaussian with given eigenvalues, and manifolds of given dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.data.sources import Provenance, checksum


@dataclass(frozen=True)
class LinearGaussian:
    """Samples of N(0, Q diag(eigenvalues) Q^T) and their distribution.

    Attributes
    ----------
    samples : Tensor, shape (n, D)
        float32.
    eigenvalues : Tensor, shape (D,)
        Eigenvalues of the true covariance, in the order given, float64.
    basis : Tensor, shape (D, D)
        The orthonormal matrix Q, whose columns are the principal directions, float64.
    provenance : Provenance
    """

    samples: Tensor
    eigenvalues: Tensor
    basis: Tensor
    provenance: Provenance

    def sample_eigenvalues(self) -> Tensor:
        """Return the eigenvalues of the samples' covariance (divided by n), shape (D,), largest first.

        A linear-Gaussian model fitted to the samples depends on these, not on the true ones.
        """
        return torch.linalg.eigvalsh(torch.cov(self.samples.double().T, correction=0)).flip(0).clamp_min(0)


def linear_gaussian(n: int, eigenvalues: Sequence[float] | Tensor, seed: int = 0) -> LinearGaussian:
    """Draw Gaussian data with a given spectrum along random orthonormal directions.

    Parameters
    ----------
    n : int
        Number of samples.
    eigenvalues : sequence of float, length D
        Variances along the D principal directions, each >= 0.
    seed : int
        Seed of the directions and the samples.

    Returns
    -------
    LinearGaussian

    Raises
    ------
    ValueError
        If an eigenvalue is negative.
    """
    spectrum = torch.as_tensor(eigenvalues, dtype=torch.float64)
    if (spectrum < 0).any():  # the samples would be NaN
        raise ValueError(f"eigenvalues is {spectrum.tolist()}: a variance is not negative.")
    generator = torch.Generator().manual_seed(seed)
    basis = _orthonormal(len(spectrum), len(spectrum), generator, torch.float64)
    coordinates = torch.randn(n, len(spectrum), generator=generator, dtype=torch.float64) * spectrum.sqrt()
    samples = (coordinates @ basis.T).float()
    return LinearGaussian(
        samples=samples,
        eigenvalues=spectrum,
        basis=basis,
        provenance=Provenance(
            source=f"Gaussian data in {len(spectrum)} dimensions with known eigenvalues, generated with seed {seed}",
            stand_in=False,
            n=n,
            checksum=checksum(samples),
        ),
    )


def tanh_manifold(n: int, dim: int, ambient_dim: int = 64, noise: float = 0.1, seed: int = 0) -> Tensor:
    """Draw samples near a curved manifold: x = B tanh(A u + b) + noise, with u ~ N(0, I_dim).

    The columns of A are orthogonal and of equal length, such that A u has entries of variance 1 on average: all
    directions of u have equal weight. B is orthonormal. A has full rank, tanh is strictly increasing and B invertible,
    so the map is one-to-one with a Jacobian of rank `dim` everywhere: `dim` is the intrinsic dimension. Principal
    components would count more directions, since the manifold is curved.

    Parameters
    ----------
    n : int
        Number of samples.
    dim : int
        Intrinsic dimension d, from 1 to `ambient_dim`.
    ambient_dim : int
        Dimension of x.
    noise : float
        Standard deviation of the Gaussian noise per coordinate; that of the noiseless x is 0.5 (dim 1) to 0.6.
    seed : int
        Seed of the manifold, the samples on it and the noise. The first two do not depend on `noise`.

    Returns
    -------
    Tensor, shape (n, ambient_dim), float32

    Raises
    ------
    ValueError
        If `dim` is above `ambient_dim`.
    """
    if dim > ambient_dim:  # QR would return fewer directions
        raise ValueError(f"dim is {dim}: give an intrinsic dimension from 1 to {ambient_dim}.")
    generator = torch.Generator().manual_seed(seed)
    inner, shift, outer = _tanh_network(dim, ambient_dim, generator)
    u = torch.randn(n, dim, generator=generator)
    x = torch.tanh(u @ inner.T + shift) @ outer.T
    return x + noise * torch.randn(n, ambient_dim, generator=generator)


def _tanh_network(dim: int, ambient_dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (ambient_dim, dim), b (ambient_dim,) and B (ambient_dim, ambient_dim) of `tanh_manifold`."""
    inner = _orthonormal(ambient_dim, dim, generator) * math.sqrt(ambient_dim / dim)
    shift = 0.5 * torch.randn(ambient_dim, generator=generator)
    return inner, shift, _orthonormal(ambient_dim, ambient_dim, generator)


def _orthonormal(rows: int, columns: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a random matrix with orthonormal columns."""
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=dtype))[0]
