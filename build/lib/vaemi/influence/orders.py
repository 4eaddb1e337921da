"""Orders in which factors are kept or dropped."""

from __future__ import annotations

import torch
from scipy.stats import spearmanr
from torch import Tensor

from vaemi.information import FactorInformation, kl_to_prior


def factor_orders(
    information: FactorInformation, mean: Tensor, log_variance: Tensor, draws: int = 10, seed: int = 0
) -> dict[str, Tensor]:
    """Orders in which factors may be kept, the most important first, each of shape (H,).

    ``information`` is the paper's; ``kl`` ranks by E_x KL(q(z_h|x) || p(z_h)); ``variance`` by the marginal standard
    deviation sigma*_h; ``random 0``, ``random 1``, ... are permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        "information": information.ranking,
        "kl": kl_to_prior(mean, log_variance).mean(0).argsort(descending=True),
        "variance": information.marginal_std.argsort(descending=True),
        **{f"random {i}": torch.randperm(mean.shape[1], generator=generator) for i in range(draws)},
    }


def kept_at_ratio(ratio: float, latent_dim: int) -> int:
    """How many factors the authors keep at a ratio: int((1 - ratio) * latent_dim) of them are removed."""
    return latent_dim - int((1 - ratio) * latent_dim)


def exchanges_at_the_cut(order: Tensor, count: int, reach: int = 3) -> list[Tensor]:
    """Orders in which one of the last factors kept and one of the first dropped have traded places.

    Parameters
    ----------
    order : Tensor, shape (H,)
        Factors, the most informative first.
    count : int
        How many are kept.
    reach : int
        How many on each side of the cut are exchanged, each with each.

    Returns
    -------
    list of Tensor
        `reach` squared of them, fewer near the ends of the order, none where nothing or everything is kept.
    """
    exchanged = []
    for kept in range(max(count - reach, 0), count):
        for dropped in range(count, min(count + reach, len(order))):
            one = order.clone()
            one[[kept, dropped]] = order[[dropped, kept]]
            exchanged.append(one)
    return exchanged


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors of the same length."""
    return float(spearmanr(a.numpy(), b.numpy()).statistic)
