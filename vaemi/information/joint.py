"""Information of all factors together, I(X; Z), and their total correlation, by sampling, each with a bracket.

A mixture in H dimensions has no quadrature, so z is drawn from the encoder and log q(z) is summed over all M
components. M samples can show at most log M nats; the bracket between the plug-in and the leave-one-out value shows
whether that limit was felt.

Log densities come from two matrix products of the expanded square (z - mu)^2 / sigma^2 where that keeps
`_EXPANSION_ERROR` nats in float64. Otherwise, and where the density of every factor is needed anyway, differences are
taken factor by factor. Only (rows, M) numbers are held at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checks import checked_posterior

# Numbers in a block of log densities, 16 MB of float64; a handful of such blocks are alive at a time.
BLOCK = 2**21
# exp takes several times as long where its result leaves float64. A sum of 1 or more does not feel smaller terms.
LEAST_EXPONENT = -700.0
# Largest rounding error of a log density, in nats, with which the expanded square is still taken.
_EXPANSION_ERROR = 1e-8

_LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class JointInformation:
    """I(X; Z) of all factors together, with its bracket.

    Attributes
    ----------
    plug_in, plug_in_stderr : float
        Nats with q(z) summed over all components, and the standard error. At most `ceiling`; the expectation over the
        draw of the samples lies below the information of the population.
    leave_one_out, leave_one_out_stderr : float
        The same with q(z) summed over all components but the own one. The expectation lies above.
    ceiling : float
        log M: no plug-in estimate from M samples can exceed it.
    n_samples : int
        M, the number of components of q(z).

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import joint_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = joint_information(mean, log_variance)
    >>> found.plug_in < found.leave_one_out, round(found.ceiling, 2)
    (True, 6.21)
    """

    plug_in: float
    plug_in_stderr: float
    leave_one_out: float
    leave_one_out_stderr: float
    ceiling: float
    n_samples: int

    @property
    def width(self) -> float:
        """Leave-one-out less plug-in, in nats, which is what M samples leave open."""
        return self.leave_one_out - self.plug_in

    def __repr__(self) -> str:
        return (
            f"JointInformation(I(X;Z) between {self.plug_in:.3f} +- {self.plug_in_stderr:.3f} (plug-in) and "
            f"{self.leave_one_out:.3f} +- {self.leave_one_out_stderr:.3f} nats (leave-one-out); {self.n_samples} "
            f"samples cannot show more than log M = {self.ceiling:.2f})"
        )


@dataclass(frozen=True)
class TotalCorrelation:
    """TC(q(z)) = KL(q(z) || prod_h q(z_h)), with its bracket.

    Attributes
    ----------
    plug_in, plug_in_stderr : float
        Nats of the mixture of the M given posteriors, and the standard error.
    lower, lower_stderr : float
        sum_h I(X; Z_h) by plug-in minus I(X; Z) by leave-one-out: the expectation lies below the total correlation of
        the population. It may be negative where the samples are too few.
    upper, upper_stderr : float
        sum_h I(X; Z_h) by leave-one-out minus I(X; Z) by plug-in: the expectation lies above.
    ceiling : float
        log M, the limit of the I(X; Z) by plug-in that `upper` and `plug_in` rest on.
    n_samples : int
        M, the number of components of q(z).

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import total_correlation
    >>> mean = torch.linspace(-2, 2, 500)[:, None].expand(500, 2)
    >>> found = total_correlation(mean, torch.full((500, 2), -2.0))
    >>> found.lower < found.plug_in < found.upper
    True
    """

    plug_in: float
    plug_in_stderr: float
    lower: float
    lower_stderr: float
    upper: float
    upper_stderr: float
    ceiling: float
    n_samples: int

    def __repr__(self) -> str:
        return (
            f"TotalCorrelation(between {max(self.lower, 0):.3f} +- {self.lower_stderr:.3f} and {self.upper:.3f} +- "
            f"{self.upper_stderr:.3f} nats; of the {self.n_samples} given posteriors {self.plug_in:.3f} +- "
            f"{self.plug_in_stderr:.3f})"
        )


def joint_information(
    mean: Any, log_variance: Any, *, draws: int = 1, points: int | None = None, seed: int = 0
) -> JointInformation:
    r"""Mutual information between the input and all latent factors together, by sampling.

    With :math:`z \sim q(z|x_m)`, averages :math:`\log q(z|x_m) - \log q(z)`, where q(z) is the mean over all M
    components (plug-in) or over the M - 1 others (leave-one-out).

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances of M samples and H factors.
    draws : int
        Draws of z per sample; more of them reduce the noise of the draws, not that of the choice of samples.
    points : int, optional
        Number of samples, chosen at random, from which z is drawn; all M by default. q(z) keeps its M components, so
        time grows with points * draws * M.
    seed : int
        Seed of the draws.

    Returns
    -------
    JointInformation

    Raises
    ------
    ValueError
        If the inputs are unusable (see `factor_information`), or `draws` or `points` is out of range.
    TypeError
        If the inputs are not real numbers.

    References
    ----------
    Poole et al., On Variational Bounds of Mutual Information, ICML 2019: the two sums bound the information from
    below and from above in expectation.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import joint_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = joint_information(mean, log_variance, seed=0)
    >>> round(found.plug_in, 1), round(found.leave_one_out, 1)
    (1.3, 1.3)
    """
    sample = _sample(mean, log_variance, draws, points, seed, by_factor=False)
    return JointInformation(
        *mean_and_error(sample.joint[0]),
        *mean_and_error(sample.joint[1]),
        ceiling=math.log(sample.n_samples),
        n_samples=sample.n_samples,
    )


def total_correlation(
    mean: Any, log_variance: Any, *, draws: int = 1, points: int | None = None, seed: int = 0
) -> TotalCorrelation:
    r"""Total correlation of the aggregated posterior, :math:`KL(q(z) \| \prod_h q(z_h))`, by sampling.

    Parameters
    ----------
    mean, log_variance, draws, points, seed
        As in `joint_information`; time grows with points * draws * M * H, since each factor's marginal is summed
        over all components too.

    Returns
    -------
    TotalCorrelation
        The bracket follows from those of I(X; Z) and of every I(X; Z_h), by TC = sum_h I(X; Z_h) - I(X; Z).

    Raises
    ------
    ValueError, TypeError
        As in `joint_information`.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import total_correlation
    >>> mean = torch.linspace(-2, 2, 500)[:, None].expand(500, 2)  # a factor, twice
    >>> round(total_correlation(mean, torch.full((500, 2), -2.0)).plug_in, 1)
    0.8
    """
    sample = _sample(mean, log_variance, draws, points, seed, by_factor=True)
    return mean_total_correlation(dependence(sample.factors.sum(-1), sample.joint), sample.n_samples)


def dependence(factors: Tensor, together: Tensor) -> Tensor:
    """Return nats of factors one by one less those of the factors together: plug-in, lower and upper, shape (3, ...).

    Both arguments have the shape (2, ...), plug-in before leave-one-out.
    """
    return torch.stack([factors[0] - together[0], factors[0] - together[1], factors[1] - together[0]])


def mean_total_correlation(values: Tensor, n_samples: int) -> TotalCorrelation:
    """Return the result for the `dependence` of all factors at every point and draw, shape (3, n, K)."""
    plug_in, lower, upper = values
    return TotalCorrelation(
        *mean_and_error(plug_in),
        *mean_and_error(lower),
        *mean_and_error(upper),
        ceiling=math.log(n_samples),
        n_samples=n_samples,
    )


def minibatch_log_density(
    z: Tensor, mean: Tensor, log_variance: Tensor, n_samples: int, method: str = "weighted"
) -> tuple[Tensor, Tensor]:
    r"""Estimate log q(z_i) and every log q(z_ih) from a minibatch, for a training loss.

    Parameters
    ----------
    z : Tensor, shape (B, H)
        One draw from every posterior of the minibatch, :math:`z_i \sim q(z|x_i)`.
    mean, log_variance : Tensor, shape (B, H)
        Posteriors of the minibatch, drawn at random without repetition.
    n_samples : int
        N, the size of the whole data set.
    method : {"weighted", "stratified"}
        ``"weighted"``: every component of the minibatch has the weight 1 / (N B). The expectation of the density
        over minibatches is :math:`\frac{1}{N B} (q(z_i|x_i) + \frac{B - 1}{N - 1} \sum_{j \ne i} q(z_i|x_j))`: too
        small, and tilted towards the own component.
        ``"stratified"``: with M = B - 1, the weight 1 / N for the own component, (N - M) / (N M) for the one after
        it (the first for the last), 1 / M for all others; the density is unbiased.

    Returns
    -------
    joint : Tensor, shape (B,)
        log q(z_i) in nats; ``(joint - factors.sum(1)).mean()`` estimates the total correlation.
    factors : Tensor, shape (B, H)
        log q(z_ih) in nats.

    Raises
    ------
    ValueError
        If the shapes differ or are not (B, H), if B exceeds N or is too small (``"stratified"`` needs two), or if
        the method is unknown.

    Notes
    -----
    The logarithm of an unbiased density is still too small on average.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, NeurIPS 2018, appendix C. The
    weights 1 / N belong on the diagonal, the pairs (i, i); some implementations put them into the first column.
    """
    if not z.shape == mean.shape == log_variance.shape or z.ndim != 2:
        raise ValueError(
            f"z has shape {tuple(z.shape)}, mean {tuple(mean.shape)} and log_variance {tuple(log_variance.shape)}: "
            "all must be (B, H), the minibatch by factors."
        )
    log_weights = _minibatch_log_weights(len(z), n_samples, method).to(z)
    log_density = -0.5 * ((z[:, None] - mean).square() * (-log_variance).exp() + log_variance + _LOG_2_PI)
    joint = (log_density.sum(2) + log_weights).logsumexp(1)
    factors = (log_density + log_weights[:, :, None]).logsumexp(1)
    return joint, factors


def _minibatch_log_weights(batch: int, n_samples: int, method: str) -> Tensor:
    """Return the logarithm of the weight of component j in the density at z_i, shape (B, B)."""
    if method not in ("weighted", "stratified"):
        raise ValueError(f"method is {method!r}: choose 'weighted' or 'stratified'.")
    least = 2 if method == "stratified" else 1
    if not least <= batch <= n_samples:
        raise ValueError(
            f"the minibatch holds {batch} of n_samples = {n_samples}: the {method} estimate needs {least} or more, "
            "and no more than the data set has."
        )
    if method == "weighted":
        return torch.full((batch, batch), -math.log(n_samples * batch), dtype=torch.float64)
    others = batch - 1
    own = torch.arange(batch)
    weights = torch.full((batch, batch), 1 / others, dtype=torch.float64)
    weights[own, (own + 1) % batch] = (n_samples - others) / (n_samples * others)
    weights[own, own] = 1 / n_samples
    return weights.log()


class Draws(NamedTuple):
    """Draws of z from the posteriors of some samples, K of each; n is their number times K."""

    mean: Tensor  # (M, H), of all samples, less their mean
    log_variance: Tensor  # (M, H)
    own: Tensor  # (n,), the sample whose posterior each z is drawn from
    shift: Tensor  # (n, H), z less the mean of that posterior
    own_log_density: Tensor  # (n, H), log q(z_h|x) of that sample


def draw(mean: Any, log_variance: Any, draws: int, points: int | None, seed: int) -> Draws:
    """Check the arguments of `joint_information`, choose samples and draw z."""
    mean, log_variance = (tensor.double() for tensor in checked_posterior(mean, log_variance))
    m, h = mean.shape
    points = m if points is None else points
    if draws < 1:
        raise ValueError(f"draws is {draws}: give one or more.")
    if not 2 <= points <= m:
        raise ValueError(f"points is {points}: give at least two and at most the {m} samples.")
    # Not the numbers of torch.manual_seed(seed), with which the data may have been drawn: noise that repeats the data
    # biases every estimate. The CPU's generator takes 32 bits of a seed.
    generator = torch.Generator().manual_seed((seed + 0x5EED_CAFE) % 2**32)
    chosen = torch.arange(m) if points == m else torch.randperm(m, generator=generator)[:points].sort().values
    own = chosen.repeat_interleave(draws).to(mean.device)
    noise = torch.randn(len(own), h, dtype=torch.float64, generator=generator).to(mean.device)
    return Draws(
        mean=mean - mean.mean(0),  # rounding errors are smaller near 0
        log_variance=log_variance,
        own=own,
        shift=(0.5 * log_variance[own]).exp() * noise,
        own_log_density=-0.5 * (noise.square() + log_variance[own] + _LOG_2_PI),
    )


class _Sample(NamedTuple):
    """Nats log q(z|x_m) - log q(z) of n points and K draws, plug-in before leave-one-out."""

    joint: Tensor  # (2, n, K)
    factors: Tensor  # (2, n, K, H), or (2, n, K, 0) if only the joint was asked for
    n_samples: int


def _sample(mean: Any, log_variance: Any, draws: int, points: int | None, seed: int, *, by_factor: bool) -> _Sample:
    mean, log_variance, own, shift, own_log_density = draw(mean, log_variance, draws, points, seed)
    m, h = mean.shape
    expansion = None if by_factor else _expansion(mean, log_variance, mean[own] + shift)
    # Written to in place: small results kept between the large blocks would scatter them over the memory.
    joint = torch.empty(2, len(own), dtype=torch.float64, device=mean.device)
    factors = torch.empty(2, len(own), h if by_factor else 0, dtype=torch.float64, device=mean.device)
    for start in range(0, len(own), rows := max(1, BLOCK // m)):
        block = slice(start, start + rows)
        if expansion is None:
            log_density = torch.zeros(len(own[block]), m, dtype=torch.float64, device=mean.device)
            for column in range(h):
                of_factor = log_densities(
                    mean[own[block], column], shift[block, column], mean[:, column], log_variance[:, column]
                )
                log_density += of_factor
                if by_factor:
                    factors[:, block, column] = _information(of_factor, own[block], own_log_density[block, column])
        else:
            left, right, constant = expansion
            log_density = (left[block] @ right).add_(constant).mul_(-0.5)
        joint[:, block] = _information(log_density, own[block], own_log_density[block].sum(1))
    return _Sample(joint.unflatten(1, (-1, draws)), factors.unflatten(1, (-1, draws)), m)


def _information(log_density: Tensor, own: Tensor, own_log_density: Tensor) -> Tensor:
    """Return log q(z|x_m) - log q(z) by plug-in and leave-one-out, (2, rows); overwrites log_density (rows, M)."""
    log_density[torch.arange(len(own), device=own.device), own] = -math.inf
    return information(log_sum(log_density), own_log_density, log_density.shape[1])


def log_sum(log_density: Tensor) -> Tensor:
    """Return the logarithm of the sum of densities over the last dimension; overwrites log_density."""
    peak = log_density.amax(-1)
    scaled = log_density.sub_(peak[..., None]).clamp_(min=LEAST_EXPONENT).exp_()
    return scaled.sum(-1).log_().add_(peak)


def information(others: Tensor, own_log_density: Tensor, n_samples: int) -> Tensor:
    """Return log q(z|x_m) - log q(z) by plug-in and leave-one-out, shape (2, ...).

    `others` is the logarithm of the sum of the densities of all other components, `own_log_density` log q(z|x_m).
    """
    plug_in = own_log_density - (torch.logaddexp(others, own_log_density) - math.log(n_samples))
    return torch.stack([plug_in, own_log_density - (others - math.log(n_samples - 1))])


def log_densities(own_mean: Tensor, shift: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log q(z_h|x_j) at z_h = own_mean + shift, both (rows, ...), for components (..., M); (rows, ..., M)."""
    # Not z - mean: adding the shift first would lose a sigma that is small beside the mean.
    offset = (own_mean[..., None] - mean).add_(shift[..., None]).mul_((-0.5 * log_variance).exp())
    return offset.square_().mul_(-0.5).sub_(0.5 * (log_variance + _LOG_2_PI))


def _expansion(mean: Tensor, log_variance: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return (n, 2H), (2H, M) and (M,) tensors with log q(z|x_j) = -1/2 (left @ right + constant).

    None if the terms of the expanded square are too large for their difference to keep `_EXPANSION_ERROR`.
    """
    precision = (-log_variance).exp()
    terms = ((z.abs().amax(0) + mean.abs()).square() * precision).sum(1)
    if float(terms.max()) * torch.finfo(torch.float64).eps > _EXPANSION_ERROR:
        return None
    left = torch.cat([z.square(), z], dim=1)
    right = torch.cat([precision, -2 * mean * precision], dim=1).T
    return left, right, (mean.square() * precision + log_variance + _LOG_2_PI).sum(1)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Return the mean of values (n, K) and its standard error over the n points."""
    by_point = values.mean(1)
    return float(by_point.mean()), float(by_point.std()) / math.sqrt(len(by_point))
