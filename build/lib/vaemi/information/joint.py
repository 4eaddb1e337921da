"""What all factors know together: I(X; Z) and the total correlation, by sampling, each with a bracket.

A mixture in H dimensions has no quadrature, so z is drawn from the encoder and log q(z) is summed over all M
components. M samples can show at most log M nats; the bracket between the plug-in and the leave-one-out value says
whether that ceiling was felt.

Log densities come from two matrix products where the expanded square (z - mu)^2 / sigma^2 = z^2 / sigma^2 - 2 z mu /
sigma^2 + mu^2 / sigma^2 keeps `_EXPANSION_ERROR` nats in float64. Where a narrow sigma would cost more than that by
cancellation, and where the density of every single factor is needed anyway, differences are taken factor by factor.
Either way only (rows, M) numbers are held at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checks import checked_posterior

# Numbers in a block of log densities, 16 MB of float64; a handful of such blocks are alive at a time.
_BLOCK = 2**21
# Largest rounding error of a log density, in nats, with which the expanded square is still taken.
_EXPANSION_ERROR = 1e-8

_LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class JointInformation:
    """I(X; Z) of all factors together, with its bracket.

    Attributes
    ----------
    plug_in : float
        Nats with q(z) summed over all components, the own one included. At most `ceiling`; its expectation over the
        draw of the samples lies under the information of the population.
    plug_in_stderr : float
        Its standard error.
    leave_one_out : float
        Nats with q(z) summed over all components but the own one. Its expectation lies above the information of the
        population.
    leave_one_out_stderr : float
        Its standard error.
    ceiling : float
        log M: no plug-in estimate from M samples can exceed it.
    n_samples : int
        M, the number of components of q(z).
    """

    plug_in: float
    plug_in_stderr: float
    leave_one_out: float
    leave_one_out_stderr: float
    ceiling: float
    n_samples: int

    @property
    def width(self) -> float:
        """Leave-one-out less plug-in, in nats: what M samples leave open."""
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
    plug_in : float
        Nats of the mixture of the M given posteriors.
    plug_in_stderr : float
        Its standard error.
    lower : float
        sum_h I(X; Z_h) by plug-in less I(X; Z) by leave-one-out: its expectation lies under the total correlation of
        the population. It may be negative where the samples are too few; the total correlation never is.
    lower_stderr : float
        Its standard error.
    upper : float
        sum_h I(X; Z_h) by leave-one-out less I(X; Z) by plug-in: its expectation lies above.
    upper_stderr : float
        Its standard error.
    ceiling : float
        log M, the ceiling of the I(X; Z) by plug-in that `upper` and `plug_in` rest on.
    n_samples : int
        M, the number of components of q(z).
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


@dataclass(frozen=True, eq=False)
class Separation:
    """Identity 2, I(X; Z) = sum_h I(X; Z_h) - TC(q(z)), on one sample.

    Attributes
    ----------
    joint : JointInformation
        The left side.
    factors : Tensor, shape (H,)
        I(X; Z_h) in nats of every factor, as given or by plug-in from the same draws.
    total_correlation : TotalCorrelation
    residual : float or None
        I(X; Z) + TC - sum_h I(X; Z_h) in nats with the plug-in values. None if `factors` comes from the same draws,
        where it is zero by construction.
    residual_stderr : float or None
        Its standard error for the given samples.
    tolerance : float
        Widest bracket of I(X; Z), in nats, that still counts as known.
    known : bool
        Whether the bracket of I(X; Z) is no wider than `tolerance`. If not, the sample is too small for its
        information: the joint estimate is bent down by its ceiling log M, the total correlation up, and the identity
        tells nothing of the population.
    """

    joint: JointInformation
    factors: Tensor
    total_correlation: TotalCorrelation
    residual: float | None
    residual_stderr: float | None
    tolerance: float
    known: bool

    @property
    def sum_of_factors(self) -> float:
        """sum_h I(X; Z_h) in nats."""
        return float(self.factors.sum())

    def __repr__(self) -> str:
        if not self.known:
            return (
                f"Separation(unknown: I(X;Z) lies between {self.joint.plug_in:.2f} and {self.joint.leave_one_out:.2f} "
                f"nats, wider than {self.tolerance:g}; {self.joint.n_samples} samples cannot show more than log M = "
                f"{self.joint.ceiling:.2f}, the factors sum to {self.sum_of_factors:.2f})"
            )
        residual = "" if self.residual is None else f", residual {self.residual:.1e} +- {self.residual_stderr:.1e}"
        return (
            f"Separation(known: I(X;Z) {self.joint.plug_in:.3f} = {self.sum_of_factors:.3f} over the factors - "
            f"{self.total_correlation.plug_in:.3f} total correlation, in nats{residual}; bracket "
            f"{self.joint.width:.3f}, no wider than {self.tolerance:g})"
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
        Draws of z a sample; more of them reduce the noise of the sampling, not that of the choice of samples.
    points : int, optional
        Number of samples, chosen at random, from which z is drawn; all M by default. q(z) keeps its M components, so
        time grows with points * draws * M.
    seed : int
        Seed of the draws.

    Returns
    -------
    JointInformation
        In nats.

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
    """
    posterior = _posterior(mean, log_variance)
    return _joint(_sample(*posterior, draws, points, seed, by_factor=False))


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
        In nats; the bracket follows from those of I(X; Z) and of every I(X; Z_h), by identity 2.

    Raises
    ------
    ValueError, TypeError
        As in `joint_information`.
    """
    posterior = _posterior(mean, log_variance)
    return _correlation(_sample(*posterior, draws, points, seed, by_factor=True))


def total_correlation_bound(z: Any) -> float:
    r"""Lower bound of the total correlation from draws of z, which no ceiling bends.

    Ranks turn each factor into a standard normal variable, :math:`u_h = \Phi^{-1}(F_h(z_h))`. Increasing maps of single
    factors change no total correlation, and of all joint densities with the correlation matrix R of u the Gaussian has
    the largest entropy, so :math:`TC \ge -\frac12 \log\det R`, with equality for Gaussian factors. It sees what
    factors share in a monotone way, and nothing else. `total_correlation` brackets the number from both sides, but from
    M posteriors of many nats its lower end says nothing.

    Parameters
    ----------
    z : array or tensor, shape (M, H)
        Draws of the aggregated posterior, such as one from every posterior.

    Returns
    -------
    float
        Nats, infinite where a factor is a function of others. Of M draws of independent factors about H (H - 1) / 4M.

    Raises
    ------
    ValueError
        If z is not of shape (M, H) with M > H, or holds a number that is not finite.
    """
    z = torch.as_tensor(z).double()
    if z.ndim != 2 or len(z) <= z.shape[1] or not z.isfinite().all():
        raise ValueError(f"z has shape {tuple(z.shape)}: give finite draws, more of them than factors, (M, H).")
    ranks = z.argsort(0).argsort(0)
    scores = torch.special.ndtri((ranks + 0.5) / len(z))
    # Every column holds the same numbers in another order, so that one variance serves all.
    correlation = scores.T @ scores / scores[:, 0].square().sum()
    return max(0.0, -0.5 * float(torch.linalg.slogdet(correlation).logabsdet))


def separation(
    mean: Any,
    log_variance: Any,
    information: Any = None,
    *,
    tolerance: float = 0.1,
    draws: int = 1,
    points: int | None = None,
    seed: int = 0,
) -> Separation:
    """Identity 2, I(X; Z) = sum_h I(X; Z_h) - TC(q(z)), and whether the sample is large enough to tell.

    Parameters
    ----------
    mean, log_variance, draws, points, seed
        As in `total_correlation`.
    information : array, shape (H,), optional
        I(X; Z_h) in nats of every factor from another estimator, such as ``factor_information(...).nats``; the
        identity is then a check of both. By default the factors' plug-in values of the same draws, for which it holds
        by construction.
    tolerance : float
        Widest bracket of I(X; Z), in nats, that counts as known.

    Returns
    -------
    Separation

    Raises
    ------
    ValueError
        As in `joint_information`; also if `information` does not hold H finite numbers or `tolerance` is no positive
        number.
    TypeError
        If the inputs are not real numbers.
    """
    mean, log_variance = _posterior(mean, log_variance)
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}: give a positive number of nats.")
    sample = _sample(mean, log_variance, draws, points, seed, by_factor=True)
    residual = residual_stderr = None
    if information is None:
        factors = sample.factors.mean((0, 1))
    else:
        factors = torch.as_tensor(information, dtype=torch.float64, device=mean.device)
        if factors.shape != mean.shape[1:] or not factors.isfinite().all():
            raise ValueError(f"information has shape {tuple(factors.shape)}: give {mean.shape[1]} finite nats.")
        residual = float(sample.factors.sum(-1).mean() - factors.sum())
        residual_stderr = _residual_error(sample.factors.sum(-1), sample.n_samples)
    joint = _joint(sample)
    return Separation(
        joint=joint,
        factors=factors.cpu(),
        total_correlation=_correlation(sample),
        residual=residual,
        residual_stderr=residual_stderr,
        tolerance=tolerance,
        known=joint.width <= tolerance,
    )


def minibatch_log_density(
    z: Tensor, mean: Tensor, log_variance: Tensor, n_samples: int, method: str = "weighted"
) -> tuple[Tensor, Tensor]:
    r"""Estimates of log q(z_i) and of every log q(z_ih) from a minibatch, for the loss of a training.

    Parameters
    ----------
    z : Tensor, shape (B, H)
        One draw from every posterior of the minibatch, :math:`z_i \sim q(z|x_i)`.
    mean, log_variance : Tensor, shape (B, H)
        Posteriors of the minibatch, which was drawn at random, in random order and without repetition.
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
    Gradients flow, and the type of the inputs is kept. The logarithm of an unbiased density is still too small on
    average.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, NeurIPS 2018, appendix C. The
    weights 1 / N stand on the diagonal, the pairs (i, i); a stride of M + 1 = B through the flattened weights, as in
    some implementations, would put them into the first column instead.
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
    """Logarithm of the weight of component j in the density at z_i, shape (B, B)."""
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


class _Sample(NamedTuple):
    """Nats log q(z|x_m) - log q(z) of n points and K draws: plug-in and leave-one-out, joint and of each factor."""

    joint: Tensor  # (n, K)
    joint_others: Tensor  # (n, K)
    factors: Tensor  # (n, K, H), or (n, K, 0) if only the joint was asked for
    factors_others: Tensor
    n_samples: int


def _sample(
    mean: Tensor, log_variance: Tensor, draws: int, points: int | None, seed: int, *, by_factor: bool
) -> _Sample:
    m, h = mean.shape
    points = m if points is None else points
    if draws < 1:
        raise ValueError(f"draws is {draws}: give one or more.")
    if not 2 <= points <= m:
        raise ValueError(f"points is {points}: give at least two and at most the {m} samples.")
    generator = _generator(seed)
    chosen = torch.arange(m) if points == m else torch.randperm(m, generator=generator)[:points].sort().values
    own = chosen.repeat_interleave(draws).to(mean.device)
    noise = torch.randn(len(own), h, dtype=torch.float64, generator=generator).to(mean.device)

    mean = mean - mean.mean(0)  # nearer to 0 less is lost by rounding
    shift = (0.5 * log_variance[own]).exp() * noise
    own_log_density = -0.5 * (noise.square() + log_variance[own] + _LOG_2_PI)
    expansion = None if by_factor else _expansion(mean, log_variance, mean[own] + shift)
    # Written to in place: small results kept between the large blocks would scatter them over the memory.
    joint = torch.empty(2, len(own), dtype=torch.float64, device=mean.device)
    factors = torch.empty(2, len(own), h if by_factor else 0, dtype=torch.float64, device=mean.device)
    for start in range(0, len(own), rows := max(1, _BLOCK // m)):
        block = slice(start, start + rows)
        if expansion is None:
            log_density = torch.zeros(len(own[block]), m, dtype=torch.float64, device=mean.device)
            for column in range(h):
                of_factor = _log_density(mean[:, column], log_variance[:, column], own[block], shift[block, column])
                log_density += of_factor
                if by_factor:
                    factors[:, block, column] = _information(of_factor, own[block], own_log_density[block, column])
        else:
            log_density = expansion.log_density(block)
        joint[:, block] = _information(log_density, own[block], own_log_density[block].sum(1))
    joint, factors = joint.view(2, points, draws), factors.view(2, points, draws, -1)
    return _Sample(joint[0], joint[1], factors[0], factors[1], m)


def _posterior(mean: Any, log_variance: Any) -> tuple[Tensor, Tensor]:
    mean, log_variance = checked_posterior(mean, log_variance)
    return mean.double(), log_variance.double()


def _generator(seed: int) -> torch.Generator:
    """Random numbers of a seed, but not those of ``torch.manual_seed(seed)``.

    The data may have been drawn with these, and noise that repeats the data biases every estimate.
    """
    # Of a seed the generator of the CPU takes 32 bits.
    return torch.Generator().manual_seed((seed + 0x5EED_CAFE) % 2**32)


def _information(log_density: Tensor, own: Tensor, own_log_density: Tensor) -> Tensor:
    """Nats log q(z|x_m) - log q(z) by plug-in and leave-one-out, shape (2, rows); overwrites log_density (rows, M)."""
    n_samples = log_density.shape[1]
    log_density[torch.arange(len(own), device=own.device), own] = -math.inf
    others = log_density.logsumexp(1)
    plug_in = own_log_density - (torch.logaddexp(others, own_log_density) - math.log(n_samples))
    return torch.stack([plug_in, own_log_density - (others - math.log(n_samples - 1))])


def _log_density(mean: Tensor, log_variance: Tensor, own: Tensor, shift: Tensor) -> Tensor:
    """Logarithm of q(z|x_j) of one factor at z = mean[own] + shift, (rows,), for all components, shape (rows, M)."""
    # Not z - mean: adding the shift first would lose a sigma that is small beside the mean.
    offset = (mean[own, None] - mean).add_(shift[:, None]).mul_((-0.5 * log_variance).exp())
    return offset.square_().mul_(-0.5).sub_(0.5 * (log_variance + _LOG_2_PI))


class _Expansion(NamedTuple):
    """The expanded square as a matrix product: log q(z|x_j) = -1/2 (left @ right + constant)."""

    left: Tensor  # (n, 2 H): z^2 and z
    right: Tensor  # (2 H, M)
    constant: Tensor  # (M,)

    def log_density(self, block: slice) -> Tensor:
        """Of all factors together at every z of a block for all components, shape (rows, M)."""
        return (self.left[block] @ self.right).add_(self.constant).mul_(-0.5)


def _expansion(mean: Tensor, log_variance: Tensor, z: Tensor) -> _Expansion | None:
    """None if the terms of the expanded square are too large for their difference to keep `_EXPANSION_ERROR`."""
    precision = (-log_variance).exp()
    terms = ((z.abs().amax(0) + mean.abs()).square() * precision).sum(1)
    if float(terms.max()) * torch.finfo(torch.float64).eps > _EXPANSION_ERROR:
        return None
    return _Expansion(
        left=torch.cat([z.square(), z], dim=1),
        right=torch.cat([precision, -2 * mean * precision], dim=1).T,
        constant=(mean.square() * precision + log_variance + _LOG_2_PI).sum(1),
    )


def _joint(sample: _Sample) -> JointInformation:
    return JointInformation(
        *_mean_and_error(sample.joint),
        *_mean_and_error(sample.joint_others),
        ceiling=math.log(sample.n_samples),
        n_samples=sample.n_samples,
    )


def _correlation(sample: _Sample) -> TotalCorrelation:
    factors, factors_others = sample.factors.sum(-1), sample.factors_others.sum(-1)
    return TotalCorrelation(
        *_mean_and_error(factors - sample.joint),
        *_mean_and_error(factors - sample.joint_others),
        *_mean_and_error(factors_others - sample.joint),
        ceiling=math.log(sample.n_samples),
        n_samples=sample.n_samples,
    )


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean of values (n, K) in nats and its standard error over the n points.

    As in `factor_information`, the influence function of an information is a sample's own divergence less the mean.
    """
    by_point = values.mean(1)
    return float(by_point.mean()), float(by_point.std()) / math.sqrt(len(by_point))


def _residual_error(values: Tensor, n_samples: int) -> float:
    """Standard error of the mean of values (n, K) as an estimate of its expectation for the given M samples.

    From all samples only the draws are left to chance; single draws, or a choice of points, count with their full
    spread.
    """
    n, draws = values.shape
    if draws == 1 or n < n_samples:
        return _mean_and_error(values)[1]
    return math.sqrt(float(values.var(1).mean()) / (n * draws))
