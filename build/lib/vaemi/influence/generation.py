"""New pictures in which only some factors vary, and how much of the variety they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    """Pictures from z ~ N(0, I) in which only the factors named vary and all others are 0.

    Parameters
    ----------
    n : int
        Pictures. The same seed gives every factor the same values, whichever others vary.
    factors : sequence of int, optional
        All if left out.
    marginal_std : Tensor, shape (H,), optional
        sigma*_h, to draw each factor with the width of its aggregated posterior instead of the prior's 1.

    Returns
    -------
    Tensor, shape (n, ...)
        Means of p(x|z), on the CPU.

    Raises
    ------
    ValueError
        If a factor is not one of the model's, or `marginal_std` has not one width for each.
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
    """Variance of pictures in which some factors vary over that of pictures in which all do.

    Each is the variance over the pictures, summed over pixels and channels. The ratio may exceed 1, since factors
    that vary together can undo each other in the picture.

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
        raise ValueError("all_pictures holds the same picture again and again: there is no variance to explain.")
    return some / every


def prediction_diversity(probabilities: Any) -> float:
    r"""How much predictions of attributes differ between pictures, in nats.

    :math:`\sum_a h_b(\bar p_a) - \overline{h_b(p_a)}`, bars for means over the pictures and :math:`h_b` for the binary
    entropy: the information between which picture it is and each predicted attribute, summed over the attributes.
    It is 0 where all pictures get the same predictions, and A log 2 where each attribute is surely there in half of the
    pictures and surely not in the others. For one attribute it is the logarithm of the inception score (Salimans et
    al. 2016).

    Parameters
    ----------
    probabilities : array or tensor, shape (N, A)
        Predicted probability that a picture has an attribute, as by `AttributeClassifier.probabilities`.

    Raises
    ------
    ValueError
        If the shape is another or a value is not between 0 and 1.

    References
    ----------
    Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016.
    """
    probabilities = torch.as_tensor(probabilities).cpu().double()
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise ValueError(f"probabilities has shape {tuple(probabilities.shape)}: give (N, A), a row a picture.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities holds a number that is not between 0 and 1.")
    return float((_binary_entropy(probabilities.mean(0)) - _binary_entropy(probabilities).mean(0)).sum().clamp_min(0))


def _binary_entropy(probability: Tensor) -> Tensor:
    return torch.special.entr(probability) + torch.special.entr(1 - probability)
