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


def swap_at_the_cut(order: Tensor, count: int) -> Tensor:
    """The order with its factor of rank `count` and the next one exchanged; as it is if there are no two such."""
    swapped = order.clone()
    if 0 < count < len(order):
        swapped[[count - 1, count]] = order[[count, count - 1]]
    return swapped


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors of the same length."""
    return float(spearmanr(a.numpy(), b.numpy()).statistic)
