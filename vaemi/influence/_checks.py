"""Checks of labels, names and factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def checked_labels(labels: Any, n_samples: int, name: str = "labels") -> Tensor:
    """Return labels as int64 of shape (M, A) on the CPU, or raise an error."""
    labels = torch.as_tensor(labels).cpu()
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{name} holds {labels.dtype}: give integers or booleans, or cut them with `discretized`.")
    if labels.ndim != 2 or len(labels) != n_samples or labels.shape[1] == 0:
        raise ValueError(f"{name} has shape {tuple(labels.shape)}: give ({n_samples}, A), one row per sample.")
    return labels.long()


def checked_names(names: Sequence[str] | None, n_labels: int) -> tuple[str, ...]:
    """Return one name per label, or raise an error."""
    if names is None:
        return tuple(f"label {a}" for a in range(n_labels))
    if len(names) != n_labels:
        raise ValueError(f"names holds {len(names)} names for {n_labels} labels: give one per label.")
    return tuple(names)


def check_factors(factors: Sequence[int] | Tensor, latent_dim: int) -> None:
    """Raise an error if a factor is out of range."""
    outside = [factor for factor in torch.as_tensor(factors).tolist() if not 0 <= factor < latent_dim]
    if outside:
        raise ValueError(f"factors holds {outside}: the model's factors are 0 to {latent_dim - 1}.")
