"""Information of posteriors of which only draws can be had, such as flows and Hamiltonian steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .checks import checked_posterior
from .joint import BLOCK, information, log_densities, log_sum
from .result import FactorInformation

_LEAST_DRAWS = 16
# Draws of each half at which densities are evaluated; more would only reduce the noise of the draws.
_EVALUATED = 8


def draws_information(z: Any) -> FactorInformation:
    r"""Estimate the information between the input and each latent factor from draws of the codes.

    For posteriors whose marginal densities are not known: flows, Hamiltonian VAEs, codes on a sphere or a ball. Draw
    the codes that are decoded. Where the densities are known, `factor_information` and `density_information` are
    better.

    Parameters
    ----------
    z : array or tensor, shape (M, K, H)
        K independent draws from the posterior of each of M inputs, K >= 16, better 100 or more.

    Returns
    -------
    FactorInformation
        `nats` and `leave_one_out` are a lower and an upper value, see Notes; `method` is ``"draws"``. `nats` is at most
        log M.

    Raises
    ------
    ValueError
        If the shape is not (M, K, H) with M >= 2 and K >= 16, if a value is not finite, or if a factor has the same
        value in all draws of an input: a code without noise carries infinite information.
    TypeError
        If `z` does not hold real numbers.

    Notes
    -----
    Each factor is first replaced by a monotone function of it under which its aggregated posterior is normal; this does
    not change the information. With normal densities r(z|x) fitted to one half of the draws of each input, `nats` is
    the mean over the other half of :math:`\log r(z|x_m) - \log \frac1M \sum_j r(z|x_j)`, averaged over both choices of
    the half. Its expectation is never above the information, for posteriors of any shape (Donsker and Varadhan). It
    falls short by the divergence of the posteriors from the fitted ones, of which about 2 / K nats are due to the fit.

    `leave_one_out` sums over the other inputs only and adds that divergence, estimated from the spacings of the draws
    in ranks of the fitted densities. Its expectation lies above the information but for the bias of the spacings, which
    see too little of the divergence where posteriors have gaps or steps that K draws do not resolve. If the two values
    are far apart, the posteriors are far from normal, or inputs or draws are too few.

    References
    ----------
    Poole et al., On Variational Bounds of Mutual Information, ICML 2019.
    Beirlant et al., Nonparametric Entropy Estimation: An Overview, International Journal of Mathematical and
    Statistical Sciences 6 (1997) 17-39, for entropies from spacings.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import draws_information
    >>> noise = torch.randn(300, 100, 1, generator=torch.Generator().manual_seed(0))
    >>> z = torch.linspace(-2, 2, 300)[:, None, None] + 0.1 * noise  # 100 per input
    >>> found = draws_information(z)
    >>> round(float(found.nats), 1), round(float(found.leave_one_out), 1)
    (2.3, 2.3)
    """
    given = torch.as_tensor(z)
    if given.ndim != 3 or len(given) < 2 or given.shape[1] < _LEAST_DRAWS:
        raise ValueError(
            f"z has shape {tuple(given.shape)}: give (M, K, H), {_LEAST_DRAWS} or more draws of H factors for each of "
            "M >= 2 inputs."
        )
    m, k, h = given.shape
    flat = given.reshape(m, k * h)
    values = checked_posterior(flat, torch.zeros(flat.shape))[0].double().reshape(m, k, h)
    spread = values.amax(1) - values.amin(1)
    if not (spread > 0).all():
        sample, factor = (spread == 0).nonzero()[0].tolist()
        raise ValueError(
            f"z holds one value in all draws of factor {factor} for input {sample}: a code without noise carries "
            "infinite information; see the noise of vaemi.audit."
        )
    scores = _normal_scores(values)
    halves = scores[:, : k // 2], scores[:, k // 2 :]
    nats, upper = torch.stack([_bracket(*pair) for pair in (halves, halves[::-1])]).mean(0)
    return FactorInformation(
        nats=nats.mean(0).clamp_min(0).cpu(),
        stderr=(nats.std(0) / math.sqrt(m)).cpu(),
        marginal_std=values.square().mean((0, 1)).sqrt().cpu(),
        n_samples=m,
        method="draws",
        leave_one_out=upper.mean(0).cpu(),
    )


def _normal_scores(z: Tensor) -> Tensor:
    """Return each factor as a monotone function of it under which the aggregated posterior is normal.

    This keeps the information, and brings the posteriors of factors that carry little near normal ones.
    """
    ranks = z.flatten(0, 1).argsort(0).argsort(0).double()
    return torch.special.ndtri((ranks + 0.5) / len(ranks)).view_as(z)


def _bracket(fitted: Tensor, evaluated: Tensor) -> Tensor:
    """Return the lower and the upper value of each input and factor, shape (2, M, H)."""
    m = len(fitted)
    mean, log_variance = fitted.mean(1), fitted.var(1).log()
    misfit = _divergences_from_uniform(
        torch.special.ndtr((evaluated - mean[:, None]) * (-0.5 * log_variance).exp()[:, None])
    )
    evaluated = evaluated[:, :_EVALUATED]
    draws = evaluated.shape[1]
    own = torch.arange(m, device=mean.device).repeat_interleave(draws)
    shift = (evaluated - mean[:, None]).flatten(0, 1)
    found = mean.new_empty(2, len(own), mean.shape[1])
    for rows in torch.arange(len(own), device=mean.device).split(max(1, BLOCK // m)):
        which = own[rows][:, None]
        for h in range(mean.shape[1]):
            density = log_densities(mean[own[rows], h], shift[rows, h], mean[:, h], log_variance[:, h])
            of_own = density.gather(1, which)[:, 0]
            found[:, rows, h] = information(log_sum(density.scatter_(1, which, -math.inf)), of_own, m)
    lower, upper = found.unflatten(1, (m, draws)).mean(2)
    return torch.stack([lower, upper + misfit])


def _divergences_from_uniform(ranks: Tensor) -> Tensor:
    """Return KL(density of the ranks || uniform), (M, H), from the spacings of K ranks in 0 to 1, (M, K, H)."""
    ends = torch.zeros_like(ranks[:, :1])
    spacings = torch.cat([ends, ranks.sort(1).values, ends + 1], 1).diff(dim=1)
    expected = torch.tensor([1.0, ranks.shape[1] + 1.0]).double().digamma()  # of the logarithm, if they are uniform
    return float(expected[0] - expected[1]) - spacings.clamp_min(1e-300).log().mean(1)
