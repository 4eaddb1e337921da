"""Synthetic data of which the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaemi.data.sources import Provenance, checksum


@dataclass(frozen=True)
class LinearGaussian:
    """Samples of N(0, Q diag(eigenvalues) Q^T) and what they were drawn from.

    Attributes
    ----------
    samples : Tensor, shape (n, D)
        float32.
    eigenvalues : Tensor, shape (D,)
        Of the true covariance, in the order given, float64.
    basis : Tensor, shape (D, D)
        The orthonormal matrix Q, whose columns are the principal directions, float64.
    provenance : Provenance
    """

    samples: Tensor
    eigenvalues: Tensor
    basis: Tensor
    provenance: Provenance

    @property
    def covariance(self) -> Tensor:
        """The true covariance Q diag(eigenvalues) Q^T, shape (D, D), float64."""
        return self.basis * self.eigenvalues @ self.basis.T

    def sample_eigenvalues(self) -> Tensor:
        """Eigenvalues of the samples' covariance (about their mean, divided by n), shape (D,), largest first.

        These, not the true ones, are all that a linear-Gaussian model fitted to the samples can know.
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
        Decides the directions and the samples.

    Returns
    -------
    LinearGaussian

    Raises
    ------
    ValueError
        If there are fewer than two samples, no eigenvalues, or one that is negative or not finite.
    """
    spectrum = torch.as_tensor(eigenvalues, dtype=torch.float64)
    if n < 2:
        raise ValueError(f"n is {n}: a covariance needs two samples or more.")
    if spectrum.ndim != 1 or len(spectrum) == 0:
        raise ValueError(
            f"eigenvalues has shape {tuple(spectrum.shape)}: give one variance for each of D >= 1 directions."
        )
    if not (spectrum.isfinite() & (spectrum >= 0)).all():
        raise ValueError(f"eigenvalues is {spectrum.tolist()}: every variance must be a finite number >= 0.")
    generator = torch.Generator().manual_seed(seed)
    basis = _random_orthonormal(len(spectrum), generator)
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


def _random_orthonormal(size: int, generator: torch.Generator) -> Tensor:
    """Uniformly distributed over the orthogonal matrices, shape (size, size), float64."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    # Without the signs of R's diagonal the distribution is that of the QR routine's convention.
    return q * r.diagonal().sign()
