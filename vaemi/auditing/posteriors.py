"""Distributions that an encoder may answer: Gaussian marginals, classes, and codes without noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    LowRankMultivariateNormal,
    MultivariateNormal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)

from vaemi.errors import AuditError

#: Distributions over classes, whose information is exact.
DISCRETE = (Bernoulli, Categorical, OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical)

_CODE_NAMES = ("latents", "latent", "embedding", "mean", "mu", "loc", "z")


def gaussian_marginals(posterior: Distribution, encoder: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return means, standard deviations and, if factors are correlated, the Cholesky factor of Gaussian posteriors.

    Raises
    ------
    AuditError
        If the posteriors are not Gaussian; the message names the function that measures them.
    """
    name = type(posterior).__name__
    if isinstance(posterior, MultivariateNormal | LowRankMultivariateNormal):
        covariance = posterior.covariance_matrix
        independent = torch.equal(covariance, covariance.diagonal(dim1=-2, dim2=-1).diag_embed())
        return posterior.mean, posterior.stddev, None if independent else torch.linalg.cholesky(covariance)
    if isinstance(posterior, DISCRETE):
        raise AuditError(f"{encoder} returns a {name}, whose latents are classes: use vaemi.auditing.audit_codes.")
    raise AuditError(
        f"{encoder} returns a {name}: only normal posteriors can be audited. vaemi.information.density_information "
        "measures the latents of any torch distribution with a density."
    )


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
    parts = list(output.values()) if isinstance(output, Mapping) else list(getattr(output, "__dict__", {}).values())
    return len(parts) == 1 and isinstance(parts[0], Tensor) and is_code_alone(parts[0])


def without_noise(encoder: str) -> str:
    """Return the sentence that says what can be measured of codes without noise."""
    return (
        f"{encoder} returns a code without a variance, and a continuous code without noise carries infinite "
        "information. Pass noise=, a standard deviation in units of the code, to measure what is left of it if the "
        "code is known up to this noise, and decode= for the effect of each factor; or return a mean and a variance."
    )


def class_probabilities(posterior: Any) -> list[Tensor]:
    """Return the probabilities of each latent of discrete posteriors, or of the classes of relaxed ones; (B, K_h)."""
    probabilities = posterior.probs
    if isinstance(posterior, Bernoulli | RelaxedBernoulli):
        probabilities = torch.stack([1 - probabilities, probabilities], -1)
    return list(probabilities.reshape(len(probabilities), -1, probabilities.shape[-1]).unbind(1))
