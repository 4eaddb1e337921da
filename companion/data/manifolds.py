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

    Examples
    --------
    >>> from companion.data import manifolds
    >>> manifolds.linear_gaussian(100, [4, 1, 0.1]).samples.shape
    torch.Size([100, 3])
    """
    spectrum = torch.as_tensor(eigenvalues, dtype=torch.float64)
    if (spectrum < 0).any():  # the samples would be NaN
        raise ValueError(f"eigenvalues is {spectrum.tolist()}: give variances of 0 or more.")
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


def tanh_manifold(
    n: int, dim: int, ambient_dim: int = 64, noise: float = 0.1, seed: int = 0, strength_ratio: float = 1.0
) -> Tensor:
    """Draw samples near a curved manifold: x = B tanh(A u + b) + noise, with u ~ N(0, I_dim).

    The columns of A are orthogonal, and A u has entries of variance 1 on average. With `strength_ratio` 1 the columns
    have equal length, so all directions of u have equal weight; otherwise their lengths are a geometric progression.
    B is orthonormal. A has full rank, tanh is strictly increasing and B invertible, so the map is one-to-one with a
    Jacobian of rank `dim` everywhere: `dim` is the intrinsic dimension. Principal components would count more
    directions, since the manifold is curved.

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
    strength_ratio : float
        Length of the longest column of A, divided by that of the shortest.

    Returns
    -------
    Tensor, shape (n, ambient_dim), float32

    Raises
    ------
    ValueError
        If `dim` is above `ambient_dim`, or `strength_ratio` below 1.

    Examples
    --------
    >>> from companion.data import manifolds
    >>> manifolds.tanh_manifold(100, dim=3).shape
    torch.Size([100, 64])
    """
    generator = torch.Generator().manual_seed(seed)
    network = _tanh_network(dim, ambient_dim, generator, strength_ratio)
    return _observed(torch.randn(n, dim, generator=generator), network, noise, generator)


def direction_strengths(
    dim: int, ambient_dim: int = 64, seed: int = 0, strength_ratio: float = 1.0, n: int = 10_000
) -> Tensor:
    """Return how far the points of a `tanh_manifold` move along each of its directions, the farthest first.

    If J is the Jacobian of x with respect to u, these are the square roots of the eigenvalues of E[J^T J]: the root
    mean square shift of x when u moves by one standard deviation along an eigenvector. The last one is the smallest
    shift of all directions of u. A direction is above the noise if its shift exceeds the standard deviation of the
    noise.

    Parameters
    ----------
    dim, ambient_dim, seed, strength_ratio
        See `tanh_manifold`.
    n : int
        Number of samples for the average.

    Returns
    -------
    Tensor, shape (dim,), float32
        In units of x.
    """
    generator = torch.Generator().manual_seed(seed)
    inner, shift, _ = _tanh_network(dim, ambient_dim, generator, strength_ratio)
    u = torch.randn(n, dim, generator=generator)
    slope = 1 - torch.tanh(u @ inner.T + shift).square()
    gram = (inner.T * slope.square().mean(0)) @ inner
    return torch.linalg.eigvalsh(gram).flip(0).sqrt()


@dataclass(frozen=True)
class ClosedManifold:
    """Samples near a manifold without a boundary, and the points they come from.

    Attributes
    ----------
    samples : Tensor, shape (n, ambient_dim)
        float32.
    points : Tensor, shape (n, m)
        Points on the circle (m = 2), sphere (3) or torus (4); each coordinate has mean 0 and variance 1.
    dim : int
        Intrinsic dimension, below m.
    """

    samples: Tensor
    points: Tensor
    dim: int

    def angles(self) -> Tensor:
        """Return the angle of each point in the plane of the first two coordinates, shape (n,), from -pi to pi."""
        return torch.atan2(self.points[:, 1], self.points[:, 0])


# Each is a product of equal spheres: their number, and the dimension of the space that each lies in.
_PRODUCTS_OF_SPHERES = {"circle": (1, 2), "sphere": (1, 3), "torus": (2, 2)}


def closed_manifold(name: str, n: int, ambient_dim: int = 64, noise: float = 0.1, seed: int = 0) -> ClosedManifold:
    """Draw samples near a closed manifold: x = B tanh(A p + b) + noise, with p uniform on a circle, sphere or torus.

    The circle lies in 2 dimensions, the sphere in 3 and the torus, a product of two circles, in 4. The rest is as in
    `tanh_manifold` with columns of A of equal length: the map of these 2, 3 or 4 coordinates to x is one-to-one, so x
    has the intrinsic dimension of p, which is 1, 2 or 2. No one-to-one and continuous map takes a closed manifold to as
    many coordinates as it has dimensions.

    Parameters
    ----------
    name : {"circle", "sphere", "torus"}
    n : int
        Number of samples.
    ambient_dim : int
        Dimension of x.
    noise : float
        Standard deviation of the Gaussian noise per coordinate; that of the noiseless x is 0.5 to 0.6.
    seed : int
        Seed of the map, the points and the noise. The first two do not depend on `noise`.

    Returns
    -------
    ClosedManifold

    Raises
    ------
    ValueError
        If there is no manifold of this name, or `ambient_dim` is below the dimension of its points.

    Examples
    --------
    >>> from companion.data import manifolds
    >>> manifolds.closed_manifold("circle", 100).samples.shape
    torch.Size([100, 64])
    """
    if name not in _PRODUCTS_OF_SPHERES:
        raise ValueError(f"There is no manifold {name!r}: choose {', '.join(_PRODUCTS_OF_SPHERES)}.")
    spheres, coordinates = _PRODUCTS_OF_SPHERES[name]
    generator = torch.Generator().manual_seed(seed)
    network = _tanh_network(spheres * coordinates, ambient_dim, generator)
    directions = torch.nn.functional.normalize(torch.randn(n, spheres, coordinates, generator=generator), dim=2)
    points = math.sqrt(coordinates) * directions.flatten(1)
    return ClosedManifold(
        samples=_observed(points, network, noise, generator), points=points, dim=spheres * (coordinates - 1)
    )


def _observed(u: Tensor, network: tuple[Tensor, Tensor, Tensor], noise: float, generator: torch.Generator) -> Tensor:
    """Return B tanh(A u + b) + noise, shape (n, ambient_dim)."""
    inner, shift, outer = network
    x = torch.tanh(u @ inner.T + shift) @ outer.T
    return x + noise * torch.randn(x.shape, generator=generator)


def _tanh_network(
    dim: int, ambient_dim: int, generator: torch.Generator, strength_ratio: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (ambient_dim, dim), b (ambient_dim,) and B (ambient_dim, ambient_dim) of `tanh_manifold`."""
    if dim > ambient_dim:  # QR would return fewer directions
        raise ValueError(f"dim is {dim}: give an intrinsic dimension from 1 to {ambient_dim}.")
    if strength_ratio < 1:
        raise ValueError(f"strength_ratio is {strength_ratio}: give the strongest over the weakest, 1 or more.")
    lengths = torch.logspace(0, -math.log10(strength_ratio), dim, dtype=torch.float64)
    lengths *= math.sqrt(ambient_dim / float(lengths.square().sum()))
    inner = _orthonormal(ambient_dim, dim, generator) * lengths.float()
    shift = 0.5 * torch.randn(ambient_dim, generator=generator)
    return inner, shift, _orthonormal(ambient_dim, ambient_dim, generator)


def _orthonormal(rows: int, columns: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a random matrix with orthonormal columns."""
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=dtype))[0]
