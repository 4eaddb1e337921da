"""Checks of posteriors, weights and clusters, with messages that name the place of a bad value."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from .words import counted

# exp(log_variance), mean**2 and sums of squared weights stay far inside float64 within these.
_LOG_VARIANCE_LIMIT = 200.0
_MEAN_LIMIT = 1e100
_WEIGHT_LIMITS = 1e-100, 1e100


def checked_posterior(mean: Any, log_variance: Any, least: int = 2) -> tuple[Tensor, Tensor]:
    """Return both as finite floating-point (M, H) tensors on one device, M >= `least`; see `factor_information`."""
    mean, log_variance = _as_floating("mean", mean), _as_floating("log_variance", log_variance)
    if mean.shape != log_variance.shape:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} and log_variance {tuple(log_variance.shape)}: both must be (M, H), "
            "samples by factors."
        )
    if mean.ndim != 2 or mean.shape[1] == 0:
        raise ValueError(
            f"mean and log_variance have shape {tuple(mean.shape)}: give (M, H), M samples by H >= 1 factors."
        )
    if len(mean) < least:
        raise ValueError(f"mean and log_variance hold {counted(len(mean), 'sample')}: give at least {least}.")
    _refuse_beyond("mean", mean, _MEAN_LIMIT, "check the encoder's output", "its square leaves float64")
    _refuse_beyond(
        "log_variance",
        log_variance,
        _LOG_VARIANCE_LIMIT,
        "clamp the standard deviation from below before its logarithm is taken",
        "is not a log-variance of a trained encoder; pass log(sigma**2), not sigma**2",
    )
    return mean, log_variance.to(mean.device)


def checked_weight(weight: Any, mean: Tensor) -> Tensor | None:
    """Return one finite weight >= 0 per sample as float64, shape (M,), on the device of `mean`."""
    if weight is None:
        return None
    weight = _as_floating("weight", weight).to(mean.device, torch.float64)
    if weight.shape != mean.shape[:1]:
        raise ValueError(f"weight has shape {tuple(weight.shape)}: give ({len(mean)},), a number for every sample.")
    low, high = _WEIGHT_LIMITS
    bad = ~((weight == 0) | (weight >= low) & (weight <= high))
    if bad.any():
        sample = int(bad.nonzero()[0])
        raise ValueError(
            f"weight holds {float(weight[sample]):g} at sample {sample}: give 0, or weights from {low:g} to {high:g}."
        )
    if not weight.sum() > 0:
        raise ValueError("weight holds zeros only: give at least one sample a weight.")
    return weight


def checked_choice(name: str, value: str, choices: Collection[str]) -> str:
    """Return the value if it is one of the choices, else raise ValueError."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(map(repr, choices))}.")
    return value


def checked_clusters(clusters: Any, mean: Tensor) -> Tensor | None:
    """Return the cluster of each sample as a number from 0, shape (M,), on the device of `mean`."""
    if clusters is None:
        return None
    labels = _as_tensor("clusters", clusters)
    if labels.shape != mean.shape[:1]:
        raise ValueError(f"clusters has shape {tuple(labels.shape)}: give ({len(mean)},), a label for every sample.")
    kinds, index = labels.unique(return_inverse=True)
    if len(kinds) < 2:
        raise ValueError("clusters holds a single label: a standard error needs two or more independent clusters.")
    return index.to(mean.device)


def _as_tensor(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} is not an array of numbers: {' '.join(str(error).split())}") from None
    if tensor.layout != torch.strided or tensor.is_meta:
        raise TypeError(f"{name} is a sparse or a meta tensor: give one that holds all values, such as to_dense().")
    return tensor


def _as_floating(name: str, value: Any) -> Tensor:
    tensor = _as_tensor(name, value)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} holds {tensor.dtype}: give real numbers.")
    if tensor.device.type == "mps":  # has no float64
        tensor = tensor.cpu()
    tensor = tensor.detach()
    if not tensor.is_floating_point():
        return tensor.double()
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _refuse_beyond(name: str, values: Tensor, limit: float, if_not_finite: str, if_beyond: str) -> None:
    # NaN if any value is. As Python's numbers, since a limit beyond float32 compares as infinity with a tensor of it.
    low, high = (float(end) for end in torch.aminmax(values))
    if low >= -limit and high <= limit:
        return
    for bad, why in (
        (~values.isfinite(), f"every value must be a finite number; {if_not_finite}"),
        (values.abs() > limit, f"beyond +-{limit:g} {if_beyond}"),
    ):
        if bad.any():
            sample, factor = bad.nonzero()[0].tolist()
            raise ValueError(
                f"{name} holds {values[sample, factor].item():g} at sample {sample}, factor {factor} "
                f"({counted(int(bad.sum()), 'such value')}): {why}."
            )


def checksum(*tensors: Tensor) -> str:
    """Return the BLAKE2b checksum (32 hexadecimal digits) of the tensors' shapes, dtypes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        # As bytes, since numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
