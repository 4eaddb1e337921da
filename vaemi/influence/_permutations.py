"""p-values from permutations, for each cell of a table and corrected for all cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PermutationTest:
    """p-values of a table of statistics.

    Attributes
    ----------
    p_value, corrected_p_value : Tensor of float64, shape (...)
        Of each cell alone, and against the largest statistic of all cells (Westfall and Young 1993, single step).
    critical : float
        A cell is significant at alpha after the correction if and only if its statistic is larger.
    """

    p_value: Tensor
    corrected_p_value: Tensor
    critical: float


def allowed_exceedances(alpha: float, n_permutations: int) -> int:
    """Return how many of the permutations and the data may reach a significant value, or raise a ValueError if none."""
    allowed = math.floor(alpha * (1 + n_permutations) + 1e-9)
    if not 0 < alpha < 1 or allowed < 1:
        raise ValueError(
            f"alpha is {alpha}: with {n_permutations} permutations give a number from 1 / (1 + {n_permutations}) to 1."
        )
    return allowed


def permutation_test(statistic: Tensor, alpha: float) -> PermutationTest:
    """Test a table of statistics, shape (1 + n, ...): of the observed data, then of n permutations.

    Large values are evidence against independence, and the cells must be comparable; `alpha` is the family-wise error
    rate.
    """
    n = len(statistic) - 1
    observed, null = statistic[0], statistic[1:]
    largest = null.flatten(1).amax(1).sort(descending=True).values
    above = n - torch.searchsorted(largest.flip(0), observed.contiguous(), side="left")
    return PermutationTest(
        p_value=(1 + (null >= observed).sum(0)).double() / (1 + n),
        corrected_p_value=(1 + above).double() / (1 + n),
        critical=float(largest[allowed_exceedances(alpha, n) - 1]),
    )


def shuffles(n_permutations: int, n: int, generator: torch.Generator, strata: Tensor | None = None) -> Tensor:
    """Return the identity and `n_permutations` random orders of n items, shape (1 + n_permutations, n).

    With `strata`, integers of shape (n,), items are permuted within their stratum only.
    """
    orders = torch.arange(n).repeat(1 + n_permutations, 1)
    places = orders[0].clone() if strata is None else strata.argsort(stable=True)
    for order in orders[1:]:
        mixed = torch.randperm(n, generator=generator)
        order[places] = mixed if strata is None else mixed[strata[mixed].argsort(stable=True)]
    return orders
