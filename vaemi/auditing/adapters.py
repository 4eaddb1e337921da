"""Adapters for models of other libraries, recognized by the module of their class: no library is imported here.

diffusers' `AutoencoderKL` needs no adapter: it has `encode`, whose answer has a `latent_dist`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn


def encoder_of(model: Any) -> tuple[Callable[[Any], Any], nn.Module] | None:
    """Return a function of inputs and the module to put into eval mode; None for unknown models."""
    if _is_from("pythae.models", model):
        # pythae's datasets make batches {"data": inputs, "labels": ...}.
        return lambda batch: model.encoder(batch["data"] if isinstance(batch, Mapping) else batch), model
    if _is_from("scvi.model", model):
        module = model.module
        return lambda batch: module.inference(**module._get_inference_input(batch)), module
    return None


def batches_of(model: Any, data: Any, batch_size: int) -> Iterable[Any] | None:
    """Return batches of data in a form of the model's library; None for other data."""
    if _is_from("scvi.model", model) and _is_from("anndata", data):
        return model._make_data_loader(adata=model._validate_anndata(data), batch_size=batch_size)
    return None


def _is_from(package: str, thing: Any) -> bool:
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in type(thing).__mro__)
