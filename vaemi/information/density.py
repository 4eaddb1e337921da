"""Information of any posterior that torch can draw from and whose density it knows, by sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from .joint import BLOCK, information
from .result import FactorInformation


def density_information(
    posterior: Distribution, *, draws: int = 1, points: int | None = None, seed: int = 0
) -> FactorInformation:
    r"""Estimate the information of the latents of any torch distribution, by sampling.

    With :math:`z \sim q(z|x_m)`, averages :math:`\log q(z|x_m) - \log q(z)`, where q(z) is the mean of the densities of
    all M posteriors. For Gaussian factors `factor_information`, and for discrete ones `discrete_information`, are exact
    and faster.

    Parameters
    ----------
    posterior : torch.distributions.Distribution, batch shape (M, H) or (M,)
        Posteriors of M samples. Every one of H entries of the batch shape is a latent; an event with several
        coordinates is one latent. A `Laplace` of shape (M, H) has H latents; a `MultivariateNormal` of M means has
        one, all its factors together; a flow, as a `TransformedDistribution`, too; and a `RelaxedOneHotCategorical` of
        shape (M, H, K) has H relaxed latents of K classes.
    draws : int
        Draws per sample.
    points : int, optional
        Number of samples, chosen at random, from which z is drawn; all M by default. Time grows with
        points * draws * M.
    seed : int
        Seed of the draws.

    Returns
    -------
    FactorInformation
        One entry per latent. `nats` is the plug-in value, at most log M; `leave_one_out` sums q(z) over the other
        samples. Their expectations lie below and above the information of the population. `stderr` includes the noise
        of the draws. `marginal_std` is NaN for latents of several coordinates. `method` is ``"density"``.

    Raises
    ------
    ValueError
        If the batch shape is not (M, H) or (M,) with M >= 2, if `draws` or `points` is out of range, or if a density is
        not a number.

    References
    ----------
    Poole et al., On Variational Bounds of Mutual Information, ICML 2019; see `joint_information`.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import density_information
    >>> posterior = torch.distributions.Laplace(torch.linspace(-2, 2, 500)[:, None], 0.1)
    >>> round(density_information(posterior).total, 1)
    2.1
    """
    shape = posterior.batch_shape
    if len(shape) not in (1, 2) or shape[0] < 2:
        raise ValueError(
            f"posterior has batch shape {tuple(shape)}: give (M, H) or (M,), M >= 2 samples by H latents; Independent "
            "makes axes of the batch part of one latent."
        )
    m, h = shape[0], math.prod(shape[1:])
    points = m if points is None else points
    if draws < 1 or not 2 <= points <= m:
        raise ValueError(f"draws is {draws} and points {points}: give one or more draws of 2 to {m} points.")
    z, own = _draws(posterior, draws, points, seed)
    nats = torch.empty(2, len(own), h, dtype=torch.float64)
    for rows in torch.arange(len(own)).split(max(1, BLOCK // (m * h * math.prod(posterior.event_shape)))):
        density = posterior.log_prob(z[rows].unsqueeze(1)).double().reshape(len(rows), m, h).transpose(1, 2).cpu()
        which = own[rows][:, None, None].expand(-1, h, 1)
        of_own = density.gather(2, which)[..., 0]
        nats[:, rows] = information(density.scatter(2, which, -math.inf).logsumexp(2), of_own, m)
    if nats.isnan().any():
        raise ValueError("The log density of the posterior is NaN for some draws: use float64, or another seed.")
    by_point = nats.unflatten(1, (points, draws)).mean(2)
    flat = z.double().reshape(len(own), -1).cpu()
    return FactorInformation(
        nats=by_point[0].mean(0),
        stderr=by_point[0].std(0) / math.sqrt(points),
        marginal_std=torch.full((h,), math.nan).double() if posterior.event_shape else flat.square().mean(0).sqrt(),
        n_samples=m,
        method="density",
        leave_one_out=by_point[1].mean(0),
    )


def _draws(posterior: Distribution, draws: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return draws of z, shape (points * draws, H, ...), and the sample of each, shape (points * draws,)."""
    with torch.random.fork_rng():  # distributions take no generator
        torch.manual_seed((seed + 0x5EED_CAFE) % 2**32)  # see joint.draw
        chosen = torch.randperm(posterior.batch_shape[0])[:points].sort().values
        z = posterior.sample(torch.Size([draws]))
        z = z[:, chosen.to(z.device)]
    return z.transpose(0, 1).flatten(0, 1), chosen.repeat_interleave(draws)
