"""Pictures in which only some factors vary, and their share of the variance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vaemi.models import VAE, as_float

from ._checks import check_factors
from .decoding import decode, keep


def sample_prior(
    model: VAE,
    n: int,
    factors: Sequence[int] | Tensor | None = None,
    seed: int = 0,
    marginal_std: Tensor | None = None,
) -> Tensor:
    """Return pictures decoded from z ~ N(0, I), in which only some factors vary and all others are 0.

    Parameters
    ----------
    model : VAE
    n : int
        Number of pictures.
    factors : sequence of int, optional
        Factors that vary, by default all.
    seed : int
        The same seed gives every factor the same values, whichever others vary.
    marginal_std : Tensor, shape (H,), optional
        sigma*_h, to draw each factor with the width of its aggregated posterior instead of the prior's 1.

    Returns
    -------
    Tensor, shape (n, ...)
        Means of p(x|z), on the CPU.

    Raises
    ------
    ValueError
        If a factor is out of range or `marginal_std` has another shape.
    """
    z = torch.randn(n, model.latent_dim, generator=torch.Generator().manual_seed(seed))
    if marginal_std is not None:
        if marginal_std.shape != (model.latent_dim,):
            raise ValueError(f"marginal_std has shape {tuple(marginal_std.shape)}: give ({model.latent_dim},).")
        z = z * marginal_std.to(z)
    if factors is not None:
        check_factors(factors, model.latent_dim)
        z = keep(z, factors)
    return decode(model, z)


def variance_explained(pictures: Tensor, all_pictures: Tensor) -> float:
    """Return the variance of pictures in which some factors vary over that of pictures in which all vary.

    The variance over the pictures is summed over pixels and channels. The ratio may exceed 1, since the effects of
    factors can cancel in the picture.

    Parameters
    ----------
    pictures, all_pictures : Tensor, shapes (N, ...) and (N', ...)
        Two or more of each.

    Raises
    ------
    ValueError
        If there are fewer than two, if the shapes of a picture differ, or if all pictures are the same.
    """
    if len(pictures) < 2 or len(all_pictures) < 2 or pictures.shape[1:] != all_pictures.shape[1:]:
        raise ValueError(
            f"pictures has shape {tuple(pictures.shape)} and all_pictures {tuple(all_pictures.shape)}: give two or "
            "more of each, of one size."
        )
    some, every = (float(as_float(of).double().var(dim=0).sum()) for of in (pictures, all_pictures))
    if every == 0:
        raise ValueError("all_pictures holds copies of one picture: there is no variance to explain.")
    return some / every
