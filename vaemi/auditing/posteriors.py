"""Distributions that an encoder may answer: Gaussian marginals, classes, and codes without noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)

from vaemi.errors import AuditError

#: Distributions over classes, whose information is exact.
DISCRETE = (Bernoulli, Categorical, OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical)

_CODE_NAMES = ("latents", "latent", "embedding", "mean", "mu", "loc", "z")


class Marginals(NamedTuple):
    """Gaussian marginals of the factors, and the Cholesky factor of the covariance if factors are correlated."""

    mean: Tensor
    std: Tensor
    scale_tril: Tensor | None


def read_other_posterior(output: Any, encoder: str, noise: float | None) -> Marginals | None:
    """Read answers that are not independent Gaussian factors: those with a covariance, and codes with a given noise.

    Returns None for every other answer, which may be one of independent Gaussian factors.

    Raises
    ------
    AuditError
        If the posteriors are a torch distribution of another family, or a code without noise, and `noise` is None; the
        message names what measures them.
    """
    if noise is not None:
        code = code_of(output)
        return None if code is None else Marginals(code, torch.full_like(code, noise), None)
    if advice := _several(output):
        raise AuditError(f"{encoder} returns {advice}")
    if is_code_alone(output):
        raise AuditError(without_noise(encoder))
    posterior = _distribution_in(output)
    if posterior is None or isinstance(posterior, Normal):
        return None
    if isinstance(posterior, MultivariateNormal | LowRankMultivariateNormal):
        covariance = posterior.covariance_matrix
        independent = torch.equal(covariance, covariance.diagonal(dim1=-2, dim2=-1).diag_embed())
        scale_tril = None if independent else torch.linalg.cholesky(covariance)
        return Marginals(posterior.mean, posterior.stddev, scale_tril)
    name = type(posterior).__name__
    if isinstance(posterior, DISCRETE):
        raise AuditError(f"{encoder} returns a {name}, whose latents are classes: use vaemi.auditing.audit_codes.")
    raise AuditError(
        f"{encoder} returns a {name}: only normal posteriors can be audited. vaemi.information.density_information "
        "measures the latents of any torch distribution with a density."
    )


def _several(output: Any) -> str:
    """Return what an answer with several kinds or layers of latents is, and what to do; empty for others."""
    if isinstance(output, Mapping) and "disc" in output:
        return "discrete latents (disc): use vaemi.auditing.audit_codes."
    if isinstance(output, Tensor | np.ndarray) and not torch.as_tensor(output).is_floating_point():
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


def _distribution_in(output: Any) -> Distribution | None:
    for name in ("latent_dist", "qz"):
        part = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        output = output if part is None else part
    while isinstance(output, Independent):
        output = output.base_dist
    return output if isinstance(output, Distribution) else None


def code_of(output: Any) -> Tensor | None:
    """Return the code in the answer of an encoder without noise: a tensor, a named part or the first of a tuple."""
    if isinstance(output, Tensor | np.ndarray):
        tensor = torch.as_tensor(output)
        return tensor if tensor.is_floating_point() and tensor.ndim >= 2 else None
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return code_of(output[0]) if output else None
    for name in (*_CODE_NAMES, "latent_dist", "parameters"):
        part = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if part is not None and not callable(part) and (code := code_of(part)) is not None:
            return code
    return None


def is_code_alone(output: Any) -> bool:
    """Tell whether an encoder answers one tensor and nothing else, alone or as the only part of an object."""
    if isinstance(output, Tensor | np.ndarray):
        return code_of(output) is not None
    if isinstance(output, tuple | list):
        parts = list(output)
    else:
        parts = list((output if isinstance(output, Mapping) else getattr(output, "__dict__", {})).values())
    return len(parts) == 1 and is_code_alone(parts[0])


def without_noise(encoder: str) -> str:
    """Return the sentence that says what can be measured of codes without noise."""
    return (
        f"{encoder} returns a code without a variance, and a continuous code without noise carries infinite "
        "information. Pass noise=, a standard deviation in units of the code, to measure what is left of it if the "
        "code is known up to this noise, and decode= for the effect of each factor. If its halves are mean and "
        "log-variance, return output.chunk(2, 1)."
    )


def class_probabilities(posterior: Any) -> list[Tensor]:
    """Return the probabilities of each latent of discrete posteriors, or of the classes of relaxed ones; (B, K_h)."""
    probabilities = posterior.probs
    if isinstance(posterior, Bernoulli | RelaxedBernoulli):
        probabilities = torch.stack([1 - probabilities, probabilities], -1)
    return list(probabilities.reshape(len(probabilities), -1, probabilities.shape[-1]).unbind(1))
