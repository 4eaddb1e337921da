"""Information given a condition, for conditional VAEs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import checked_clusters, checked_posterior
from .result import FactorInformation, standard_error
from .sketch import InformationSketch
from .words import counted


@dataclass(frozen=True)
class ConditionalInformation:
    """Information I(X; Z_h | C) given a condition C, and what changes if the condition is ignored.

    Attributes
    ----------
    given : FactorInformation
        I(X; Z_h | C), what each factor carries about the input to someone who knows the condition.
    ignored : FactorInformation
        I(X, C; Z_h), the same to someone who does not: `factor_information` of all samples.
    about_condition, about_condition_stderr : Tensor, shape (H,)
        I(Z_h; C) = `ignored` - `given`: nats that a factor carries about the condition, which a decoder that is given
        the condition does not need. 0 where a conditional VAE has removed the condition from its code.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import conditional_information
    >>> condition = torch.arange(500) % 2
    >>> mean, log_variance = 4.0 * condition[:, None], torch.zeros(500, 1)
    >>> found = conditional_information(mean, log_variance, condition)
    >>> round(float(found.about_condition), 2)
    0.63
    """

    given: FactorInformation
    ignored: FactorInformation
    about_condition: Tensor
    about_condition_stderr: Tensor


def conditional_information(
    mean: Any, log_variance: Any, condition: Any, *, clusters: Any = None
) -> ConditionalInformation:
    r"""Estimate the information between the input and each latent factor given a condition, I(X; Z_h | C).

    For an encoder :math:`q(z_h|x, c) = N(\mu_h, \sigma_h^2)` averages :math:`KL(q(z_h|x_m, c_m) \| q(z_h|c_m))`, where
    :math:`q(z_h|c)` is the aggregated posterior of the samples with condition c.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        See `factor_information`.
    condition : array or tensor, shape (M,)
        Condition of each sample, a label such as a class, batch or donor, each with at least two samples. Bin a
        continuous condition.
    clusters : array or tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    ConditionalInformation
        The leave-one-out values of `given` are means of those within each condition: few samples of a condition show in
        them.

    Raises
    ------
    ValueError, TypeError
        As in `factor_information`, or if a condition has a single sample.

    References
    ----------
    Sohn, Lee and Yan, Learning Structured Output Representation using Deep Conditional Generative Models, NeurIPS 2015.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import conditional_information
    >>> condition = torch.arange(500) % 2
    >>> mean = 4.0 * condition[:, None] + torch.linspace(-1, 1, 500)[:, None]
    >>> found = conditional_information(mean, torch.zeros(500, 1), condition)
    >>> round(float(found.given.nats), 2), round(float(found.ignored.nats), 2)
    (0.14, 0.73)
    """
    mean, log_variance = checked_posterior(mean, log_variance)
    labels = checked_clusters(clusters, mean)
    values = torch.as_tensor(condition)
    if values.shape != mean.shape[:1]:
        raise ValueError(f"condition has shape {tuple(values.shape)}: give ({len(mean)},), a label for every sample.")
    _, group, sizes = values.unique(return_inverse=True, return_counts=True)
    if int(sizes.min()) < 2:
        raise ValueError(
            f"condition has {counted(int((sizes == 1).sum()), 'value')} with a single sample: each needs two or more; "
            "bin a continuous condition."
        )
    within = torch.empty(mean.shape, dtype=torch.float64)
    without = torch.zeros(mean.shape[1], dtype=torch.float64)
    for number, size in enumerate(sizes.tolist()):
        rows = (group == number).nonzero()[:, 0].to(mean.device)
        information, within[rows.cpu()] = _evaluated(mean[rows], log_variance[rows])
        assert information.leave_one_out is not None
        without += size / len(mean) * information.leave_one_out
    ignored, divergences = _evaluated(mean, log_variance)
    if labels is not None:
        ignored.stderr = standard_error(divergences, None, labels)
    given = FactorInformation(
        nats=within.mean(0),
        stderr=standard_error(within, None, labels),
        marginal_std=ignored.marginal_std,
        n_samples=len(mean),
        method="mixture",
        leave_one_out=without,
    )
    lost = divergences - within
    return ConditionalInformation(given, ignored, lost.mean(0), standard_error(lost, None, labels))


def _evaluated(mean: Tensor, log_variance: Tensor) -> tuple[FactorInformation, Tensor]:
    """Return the information, and KL(q(z_h|x) || q(z_h)) of every sample, shape (M, H), on the CPU."""
    sketch = InformationSketch(mean.shape[1])
    sketch.update(mean, log_variance)
    information, divergences = sketch.compute_with_divergences(mean, log_variance)
    return information, divergences.cpu()
