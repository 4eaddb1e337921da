"""Information in discrete latents, exact: the aggregated posterior is a table of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .checks import checked_clusters, checked_weight
from .result import LEAST_REST, FactorInformation, standard_error
from .words import counted

# A softmax in half precision adds up to 1 within this.
_SUM_ERROR = 1e-2
# Weight of the uniform distribution in the leave-one-out value, in samples; it bounds the cost of a lonely class.
DEFENCE = 0.1


def discrete_information(probabilities: Any, *, weight: Any = None, clusters: Any = None) -> FactorInformation:
    r"""Compute the information between the input and each discrete latent of an encoder.

    With q(k|x) the probability of class k and :math:`q(k) = \frac{1}{M} \sum_m q(k|x_m)`, computes
    :math:`I(X; Z_h) = \frac{1}{M} \sum_m \sum_k q(k|x_m) \log \frac{q(k|x_m)}{q(k)}` of every latent, at most the
    logarithm of its number of classes.

    Parameters
    ----------
    probabilities : array or tensor, shape (M, H, K) or (M, K), or a sequence of H arrays of shape (M, K_h)
        Probabilities of the classes for M samples: H latents of K classes, one latent, or latents of different
        numbers of classes. A Bernoulli latent of probability p has two classes, ``torch.stack([1 - p, p], -1)``.
    weight, clusters : array or tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    FactorInformation
        One factor per latent. `marginal_std` is NaN, since classes have no scale; `method` is ``"discrete"``.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are fewer than two samples, or the values are not probabilities that add up to
        1; or for weights and clusters as in `factor_information`.

    Notes
    -----
    The standard error is that of the influence function, as in `factor_information`. `leave_one_out` is the mean of
    KL(q(.|x_m) || r_m), where r_m is the aggregated posterior without sample m, mixed with a tenth of a sample that is
    uniform over the classes. Since r_m does not depend on sample m, the expectation of `leave_one_out` is never below
    the information of the population, and that of `nats` is never above.

    A relaxed (Gumbel-softmax) latent carries at least the information of its class, which is what this function
    computes: the largest of the relaxed values has exactly the probabilities of the softmax, at any temperature.
    `density_information` measures the relaxed code itself.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import discrete_information
    >>> probabilities = 0.05 + 0.8 * torch.eye(4)[torch.arange(1000) % 4]  # four classes
    >>> round(discrete_information(probabilities).total, 3)
    0.799
    """
    latents = _checked_latents(probabilities)
    first = latents[0]
    weight, labels = checked_weight(weight, first), checked_clusters(clusters, first)
    share = (first.new_ones(len(first)) if weight is None else weight)[:, None]
    share = share / share.sum()
    kl, kl_without = [], []
    for own in latents:
        aggregated = (share * own).sum(0)
        others = ((aggregated - share * own) / (1 - share).clamp_min(LEAST_REST)).clamp_min(0)
        others = (1 - DEFENCE * share) * others + DEFENCE * share / own.shape[1]
        kl.append((torch.xlogy(own, own) - torch.xlogy(own, aggregated)).sum(1))
        kl_without.append((torch.xlogy(own, own) - torch.xlogy(own, others)).sum(1))
    divergence, without = torch.stack(kl, 1), torch.stack(kl_without, 1)
    nats = (share * divergence).sum(0).clamp_min(0)
    return FactorInformation(
        nats=nats.cpu(),
        stderr=standard_error(divergence, weight, labels).cpu(),
        marginal_std=torch.full_like(nats, torch.nan).cpu(),
        n_samples=len(first),
        method="discrete",
        leave_one_out=(share * without).sum(0).cpu(),
    )


def _checked_latents(given: Any) -> list[Tensor]:
    """Return the probabilities of every latent as float64, each of shape (M, K_h)."""
    if not isinstance(given, Sequence):
        given = torch.as_tensor(given)
        given = [given] if given.ndim == 2 else list(given.unbind(1)) if given.ndim == 3 else []
    latents = [torch.as_tensor(latent).detach() for latent in given]
    if not latents or any(latent.ndim != 2 or len(latent) != len(latents[0]) for latent in latents):
        raise ValueError(
            "probabilities must be of shape (M, K), (M, H, K) or a sequence of (M, K_h), with the same M samples."
        )
    if len(latents[0]) < 2:
        raise ValueError(f"probabilities hold {counted(len(latents[0]), 'sample')}: give at least 2.")
    return [_checked_probabilities(latent.cpu().double(), h) for h, latent in enumerate(latents)]


def _checked_probabilities(values: Tensor, latent: int) -> Tensor:
    total = values.sum(1, keepdim=True)
    wrong = ~((values >= 0).all(1) & ((total[:, 0] - 1).abs() < _SUM_ERROR))  # also where a value is NaN
    if wrong.any():
        sample = int(wrong.nonzero()[0])
        raise ValueError(
            f"probabilities of latent {latent} at sample {sample} add up to {float(total[sample]):.4g}, and the least "
            f"is {float(values[sample].min()):.4g}: give probabilities, such as softmax(logits) over the classes."
        )
    return values / total
