"""Orders in which factors are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from vaemi.information import FactorInformation, kl_to_prior


def factor_orders(
    information: FactorInformation, mean: Tensor, log_variance: Tensor, draws: int = 10, seed: int = 0
) -> dict[str, Tensor]:
    """Return orders of the factors to compare, the most important factor first.

    Parameters
    ----------
    information : FactorInformation
    mean, log_variance : Tensor, shape (M, H)
        The posteriors that `information` was measured on.
    draws : int
        Number of random orders.
    seed : int
        Seed of the random orders.

    Returns
    -------
    dict of name to Tensor, shape (H,)
        ``information`` is the paper's order; ``kl`` ranks by E_x KL(q(z_h|x) || p(z_h)); ``variance`` by the marginal
        standard deviation sigma*_h; ``random 0``, ``random 1``, ... are permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        "information": information.ranking,
        "kl": kl_to_prior(mean, log_variance).mean(0).argsort(descending=True),
        "variance": information.marginal_std.argsort(descending=True),
        **{f"random {i}": torch.randperm(mean.shape[1], generator=generator) for i in range(draws)},
    }
