"""What is asked of labels, names and factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def checked_labels(labels: Any, n_samples: int, name: str = "labels") -> Tensor:
    """Labels as int64 of shape (M, A) on the CPU."""
    labels = torch.as_tensor(labels).cpu()
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{name} holds {labels.dtype}: give integers or booleans, or cut them with `discretized`.")
    if labels.ndim != 2 or len(labels) != n_samples or labels.shape[1] == 0:
        raise ValueError(f"{name} has shape {tuple(labels.shape)}: give ({n_samples}, A), a row a sample.")
    return labels.long()


def checked_names(names: Sequence[str] | None, n_labels: int) -> tuple[str, ...]:
    """One name a label."""
    if names is None:
        return tuple(f"label {a}" for a in range(n_labels))
    if len(names) != n_labels:
        raise ValueError(f"names holds {len(names)} names for {n_labels} labels: give one a label.")
    return tuple(names)


def check_factors(factors: Sequence[int] | Tensor, latent_dim: int) -> None:
    """Refuse factors that are none of the model's."""
    strangers = [factor for factor in torch.as_tensor(factors).tolist() if not 0 <= factor < latent_dim]
    if strangers:
        raise ValueError(f"factors holds {strangers}: the model's factors are 0 to {latent_dim - 1}.")
