"""Answers that an audit reads besides those of `read_answer`: codes without noise; and names for what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, RelaxedBernoulli

from vaemi.errors import AuditError
from vaemi.information.answers import Answer, as_tensor, is_array, read_answer

_CODE_NAMES = ("latents", "latent", "embedding", "mean", "mu", "loc", "z")


def read_posterior(output: Any, scale: str | None, encoder: str, noise: float | None) -> Answer:
    """Read an answer as `read_answer` does, or, with a noise, the code in it.

    Raises
    ------
    ValueError
        If it cannot be read; the message names what measures a code without noise, several latents or several layers.
    """
    if noise is not None:
        if (code := _code_of(output)) is not None:
            return Answer(code, torch.full_like(code, noise), "std", named=True)
    elif advice := _several(output):
        raise AuditError(f"{encoder} returns {advice}")
    elif _is_code_alone(output):
        raise AuditError(
            f"{encoder} returns a code without a variance, and a continuous code without noise carries infinite "
            "information. Pass noise=, a standard deviation in units of the code, to measure the information that is "
            "left after adding this noise, and decode= for the effect of each factor. If the halves of the code are "
            "mean and log-variance, return output.chunk(2, 1)."
        )
    return read_answer(output, scale, encoder)


def _several(output: Any) -> str:
    """Return what an answer with several kinds or layers of latents is, and what to do; empty for others."""
    if isinstance(output, Mapping) and "disc" in output:
        return "discrete latents (disc): use vaemi.auditing.audit_codes."
    if is_array(output) and not as_tensor(output).is_floating_point():
        return "whole numbers: if they are entries of a codebook, use vaemi.auditing.audit_codes."
    if not isinstance(output, tuple | list) or len(output) < 2:
        return ""
    if all(isinstance(part, Distribution) for part in output):
        return (
            f"{len(output)} distributions: return the posterior alone, or use vaemi.auditing.audit_codes if all are "
            "latents of one code."
        )
    if all(isinstance(part, tuple | list) and len(part) in (2, 4) for part in output):
        return (
            f"{len(output)} layers: use vaemi.information.hierarchical_information, or return the mean and the second "
            "of one layer."
        )
    return ""


def _code_of(output: Any) -> Tensor | None:
    """Return the code in the answer of an encoder without noise: a tensor, a named part or the first of a tuple."""
    if is_array(output):
        tensor = as_tensor(output)
        return tensor if tensor.is_floating_point() and tensor.ndim >= 2 else None
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return _code_of(output[0]) if output else None
    for name in (*_CODE_NAMES, "latent_dist", "parameters"):
        part = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if part is not None and not callable(part) and (code := _code_of(part)) is not None:
            return code
    return None


def _is_code_alone(output: Any) -> bool:
    """Tell whether an encoder answers one tensor and nothing else, alone or as the only part of an object."""
    if is_array(output):
        return _code_of(output) is not None
    if isinstance(output, tuple | list):
        parts = list(output)
    else:
        parts = list((output if isinstance(output, Mapping) else getattr(output, "__dict__", {})).values())
    return len(parts) == 1 and _is_code_alone(parts[0])


def class_probabilities(posterior: Any) -> list[Tensor]:
    """Return the probabilities of each latent of discrete posteriors, or of the classes of relaxed ones; (B, K_h)."""
    probabilities = posterior.probs
    if isinstance(posterior, Bernoulli | RelaxedBernoulli):
        probabilities = torch.stack([1 - probabilities, probabilities], -1)
    return list(probabilities.reshape(len(probabilities), -1, probabilities.shape[-1]).unbind(1))
