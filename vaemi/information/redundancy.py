"""Information that two factors share, I(Z_i; Z_j), for all pairs of some factors, by sampling.

The densities of all pairs at one z are the matrix product sum_m q(z_i|x_m) q(z_j|x_m) of a (K, M) matrix with its
transpose, each row divided by its maximum.

Any density r that was not fitted to the x that z is drawn from bounds the total correlation from below,
E log r(z) / prod_h q(z_h) <= TC, since E log r <= E log q. Three are tried: the mixture without the own component, a
Gaussian, and the tree of pairs of Chow and Liu. The last two are not limited by log M.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from .checks import checked_posterior
from .factors import factor_information
from .joint import (
    BLOCK,
    LEAST_EXPONENT,
    Draws,
    TotalCorrelation,
    dependence,
    draw,
    information,
    log_densities,
    log_sum,
    mean_and_error,
    mean_total_correlation,
)
from .words import counted

if TYPE_CHECKING:
    import pandas as pd

# Products with a scaled density of exp(LEAST_EXPONENT) or less do not count in a sum above this.
_SAFE_SUM = 1e-280


@dataclass(frozen=True, eq=False, repr=False)
class PairwiseInformation:
    """Information I(Z_i; Z_j) that K factors share in pairs, as `pairwise_information` returns it.

    All matrices are symmetric, in the order of `factors`, float64 and on the CPU. Their diagonals hold the information
    I(X; Z_i) of each factor as `factor_information` estimates it.

    Attributes
    ----------
    factors : Tensor of int64, shape (K,)
        Index of each factor in the encoder.
    nats : Tensor, shape (K, K)
        The estimate for the population, in nats. The own component of every draw counts half in q(z), which removes
        the bias of order 1/M. Where the bracket is wide, it is still too large, though less so than `plug_in`.
    stderr : Tensor, shape (K, K)
        Standard error of `nats` over the draw of the points.
    lower, upper : Tensor, shape (K, K)
        Bracket: the expectations over the draw of the samples lie below and above the information of the population.
        `lower` may be negative where the samples are too few. On the diagonal the plug-in and leave-one-out values.
    plug_in : Tensor, shape (K, K)
        Nats of the mixture of the M given posteriors. As an estimate for the population it is too large, nearly by as
        much as `upper`.
    total_correlation : TotalCorrelation
        Total correlation of all K factors together, from the same draws.
    gaussian_bound, tree_bound : tuple of float
        Two lower bounds on the total correlation of the population, each with its standard error, in nats: by a
        Gaussian with the covariance of z (0 if that is singular), and by the tree of pairs that share most.
    n_samples : int
        M, the number of components of q(z).

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import pairwise_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None].expand(500, 2)
    >>> found = pairwise_information(mean, torch.full((500, 2), -2.0))
    >>> found.factors.tolist(), found.nats.shape
    ([0, 1], torch.Size([2, 2]))
    """

    factors: Tensor
    nats: Tensor
    stderr: Tensor
    lower: Tensor
    upper: Tensor
    plug_in: Tensor
    total_correlation: TotalCorrelation
    gaussian_bound: tuple[float, float]
    tree_bound: tuple[float, float]
    n_samples: int

    @property
    def share(self) -> Tensor:
        """Share of the information of the less informative factor of each pair that the other repeats, (K, K)."""
        each = self.nats.diagonal()
        least = torch.minimum(each[:, None], each)
        return torch.where(least > 0, self.nats / least, 0.0)

    @property
    def counted_twice(self) -> tuple[float, float]:
        """Range of the total correlation, the nats that the sum of I(X; Z_h) counts more than once.

        From the largest lower bound, 0 at least, to the upper bound, each moved outwards by two standard errors. The
        lower bounds are `TotalCorrelation.lower`, `gaussian_bound` and `tree_bound`. The upper end is wide where the
        factors carry more than log M together, since no estimate from M samples could then show that they are
        independent.
        """
        found = self.total_correlation
        bounds = ((found.lower, found.lower_stderr), self.gaussian_bound, self.tree_bound)
        return max(0.0, *(nats - 2 * error for nats, error in bounds)), found.upper + 2 * found.upper_stderr

    def repeats(self, share: float = 0.5) -> list[tuple[int, int, float, float]]:
        """Return the pairs of factors in which one repeats more than a share of the other, most nats first.

        Parameters
        ----------
        share : float
            Share of the information of the less informative factor.

        Returns
        -------
        list of (int, int, float, float)
            The more informative factor, the less informative one, I(Z_i; Z_j) in nats, and its share. A pair counts if
            even `lower` exceeds the share and lies two standard errors above 0.

        Raises
        ------
        ValueError
            If the share is not in [0, 1).
        """
        if not 0 <= share < 1:
            raise ValueError(f"share is {share}: give a number of at least 0 and below 1, such as 0.5.")
        each, shares = self.nats.diagonal(), self.share
        least = torch.minimum(each[:, None], each)
        repeated = (self.lower > share * least) & (self.lower > 2 * self.stderr)
        return [
            (int(self.factors[i]), int(self.factors[j]), float(self.nats[i, j]), float(shares[i, j]))
            for i, j in self._pairs()
            if repeated[i, j]
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair, most nats first, with the columns of this class and `share`.

        The column `factor` is the more informative one of a pair, and `share` that of the information of `other`.
        """
        import pandas as pd

        first, second = (list(places) for places in zip(*self._pairs(), strict=True))
        columns = {"factor": self.factors[first].numpy(), "other": self.factors[second].numpy()}
        for name in ("nats", "stderr", "lower", "upper", "plug_in", "share"):
            columns[name] = getattr(self, name)[first, second].numpy()
        return pd.DataFrame(columns)

    def _pairs(self) -> list[tuple[int, int]]:
        """Return the places of all pairs, most nats first, in each the more informative factor first."""
        each = self.nats.diagonal()
        pairs = torch.triu_indices(len(each), len(each), 1).T
        pairs = pairs[self.nats[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)]
        return [(i, j) if each[i] >= each[j] else (j, i) for i, j in pairs.tolist()]

    def __len__(self) -> int:
        return len(self.factors)

    def __repr__(self) -> str:
        i, j = self._pairs()[0]
        low, high = self.counted_twice
        return (
            f"PairwiseInformation({len(self)} factors; most between z{self.factors[i]} and z{self.factors[j]}: "
            f"{self.nats[i, j]:.3f} +- {self.stderr[i, j]:.3f} nats (between {self.lower[i, j]:.3f} and "
            f"{self.upper[i, j]:.3f}), {100 * self.share[i, j]:.0f} % of z{self.factors[j]}; of the sum of "
            f"{self.nats.trace():.2f} nats, {low:.2f} to {high:.2f} are counted more than once; M = {self.n_samples})"
        )


def pairwise_information(
    mean: Any,
    log_variance: Any,
    factors: Sequence[int] | Tensor | None = None,
    *,
    points: int | None = 1000,
    draws: int = 1,
    seed: int = 0,
) -> PairwiseInformation:
    r"""Mutual information :math:`I(Z_i; Z_j)` of all pairs of some factors, under the aggregated posterior.

    The factors are independent given the input, so
    :math:`I(Z_i; Z_j) = I(X; Z_i) + I(X; Z_j)` :math:`- I(X; Z_i, Z_j)`: the nats that the sum of the two counts twice,
    and the total correlation of the pair. With z drawn from :math:`q(z|x_m)`, averages
    :math:`\log q(z_i, z_j) - \log q(z_i) - \log q(z_j)` of the mixtures of the posteriors.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances of M samples and H factors.
    factors : sequence of int, optional
        Two or more different factors; by default the influential ones, with more than 0.1 nats, most informative first.
    points : int, optional
        Number of samples, chosen at random, from which z is drawn; all M if there are no more, or if None. q(z) keeps
        its M components, so time grows with points * draws * M, up to some 20 factors with K, and beyond with K^2. It
        is several times as long where many samples have no other sample within 30 sigma.
    draws : int
        Draws of z per point.
    seed : int
        Seed of the draws.

    Returns
    -------
    PairwiseInformation

    Raises
    ------
    ValueError
        If the inputs are unusable (see `factor_information`), if there are fewer than two factors, if a factor does not
        exist or is given twice, or if `draws` or `points` is out of range.
    TypeError
        If the inputs are not real numbers, or the factors not whole ones.

    Notes
    -----
    The plug-in of :math:`I(X; Z_i, Z_j)` lies as far below the information of the population as leave-one-out lies
    above, to the order 1/M: by :math:`\chi^2 / 2M`, with :math:`\chi^2 + 1` the mean of :math:`q(z|x) / q(z)` over
    draws from the encoder. With a weight of one half for the own component the two terms cancel. For posteriors that do
    not overlap between classes, and are the same within, this is Miller and Madow's correction.

    References
    ----------
    Poole et al., On Variational Bounds of Mutual Information, ICML 2019: the bracket. Chow and Liu, Approximating
    Discrete Probability Distributions with Dependence Trees, IEEE Transactions on Information Theory 14 (1968)
    462-467: the tree.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import pairwise_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None].expand(500, 2)  # a factor, twice
    >>> shared = pairwise_information(mean, torch.full((500, 2), -2.0)).nats
    >>> round(float(shared[0, 1]), 1), round(float(shared[0, 0]), 1)
    (0.8, 1.1)
    """
    mean, log_variance = checked_posterior(mean, log_variance)
    chosen = _influential(mean, log_variance) if factors is None else _checked_factors(factors, mean.shape[1])
    mean, log_variance = mean[:, chosen].double(), log_variance[:, chosen].double()
    sample = draw(mean, log_variance, draws, None if points is None else min(points, len(mean)), seed)
    values = _values(sample, draws)
    each = factor_information(mean, log_variance)
    assert each.leave_one_out is not None, "the mixture has it"
    nats, plug_in, lower, upper = values.pairs.mean(1)
    stderr = values.pairs[0].std(0) / math.sqrt(values.pairs.shape[1])
    return PairwiseInformation(
        factors=chosen,
        nats=_matrix(nats, each.nats),
        stderr=_matrix(stderr, each.stderr),
        lower=_matrix(lower, each.nats),
        upper=_matrix(upper, each.leave_one_out),
        plug_in=_matrix(plug_in, each.nats),
        total_correlation=mean_total_correlation(values.together, len(mean)),
        gaussian_bound=_gaussian_bound(sample, values.factors, draws),
        tree_bound=_tree_bound(values.pairs[2], len(chosen)),
        n_samples=len(mean),
    )


def _influential(mean: Tensor, log_variance: Tensor) -> Tensor:
    chosen = factor_information(mean, log_variance).influential()
    if len(chosen) < 2:
        raise ValueError(
            f"{counted(len(chosen), 'factor has', 'factors have')} more than 0.1 nats: name two or more in `factors`."
        )
    return chosen


def _checked_factors(factors: Any, n_factors: int) -> Tensor:
    try:
        chosen = torch.as_tensor(factors).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"factors is not a sequence of whole numbers: {error}") from None
    if chosen.ndim != 1 or len(chosen) < 2:
        raise ValueError(f"factors has shape {tuple(chosen.shape)}: give a sequence of two or more factors.")
    if chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool:
        raise TypeError(f"factors holds {chosen.dtype}: give whole numbers.")
    chosen = chosen.long()
    for factor in chosen.tolist():
        if not 0 <= factor < n_factors:
            raise ValueError(f"factors holds {factor}: give numbers from 0 to {n_factors - 1}.")
        if (chosen == factor).sum() > 1:
            raise ValueError(f"factors holds {factor} more than once: name every factor once.")
    return chosen


class _Values(NamedTuple):
    """Nats at every one of n points; the pairs are those of `torch.triu_indices`, their values the mean over draws."""

    pairs: Tensor  # (4, n, K (K - 1) / 2): own component counted half, and the three of `dependence`
    together: Tensor  # (3, n, draws), `dependence` of all factors
    factors: Tensor  # (n draws,), log q(z_h|x) - log q(z_h) by plug-in, the sum over the factors


def _values(sample: Draws, draws: int) -> _Values:
    m, k = sample.mean.shape
    n = len(sample.own)
    first, second = torch.triu_indices(k, k, 1, device=sample.own.device)
    # Written to in place: small results kept between the large blocks would scatter them over the memory.
    pairs = sample.mean.new_empty(4, n // draws, len(first))
    together, factors = sample.mean.new_empty(3, n), sample.mean.new_empty(n)
    for start in range(0, n, rows := max(1, BLOCK // (k * max(m, k) * draws)) * draws):
        block = slice(start, start + rows)
        log_density = _log_densities(sample, block)
        own = sample.own_log_density[block]
        others, others_of_pairs = _sums(log_density)
        each = _counted(others, own, m)
        of_pairs = _counted(others_of_pairs[:, first, second], own[:, first] + own[:, second], m)
        of_all = _counted(log_sum(log_density.sum(1)), own.sum(1), m)
        sums = each[..., first] + each[..., second]
        at_draws = torch.cat([(sums[2] - of_pairs[2])[None], dependence(sums, of_pairs)])
        pairs[:, start // draws : (start + rows) // draws] = at_draws.unflatten(1, (-1, draws)).mean(2)
        together[:, block] = dependence(each.sum(2), of_all)
        factors[block] = each[0].sum(1)
    return _Values(pairs, together.unflatten(1, (-1, draws)), factors)


def _log_densities(sample: Draws, block: slice) -> Tensor:
    """Return log q(z_h|x_j) of all factors and components, (rows, K, M), minus infinity for the own component."""
    own = sample.own[block]
    density = log_densities(sample.mean[own], sample.shift[block], sample.mean.T, sample.log_variance.T)
    density[torch.arange(len(own), device=own.device), :, own] = -math.inf
    return density


def _sums(log_density: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the sums of densities over components, of every factor (rows, K) and pair (rows, K, K).

    The diagonals of the second have no meaning.
    """
    peak = log_density.amax(2)
    scaled = (log_density - peak[:, :, None]).clamp_(min=LEAST_EXPONENT).exp_()
    products = scaled @ scaled.mT
    pairs = products.log().add_(peak[:, :, None]).add_(peak[:, None, :])
    lost = products < _SAFE_SUM
    for i, j in lost.any(0).triu(1).nonzero().tolist():
        rows = lost[:, i, j]
        pairs[rows, i, j] = log_sum(log_density[rows, i] + log_density[rows, j])
    return scaled.sum(2).log_().add_(peak), pairs


def _counted(others: Tensor, own: Tensor, m: int) -> Tensor:
    """Return log q(z|x_m) - log q(z) with the own component counted once, not, and half, shape (3, ...)."""
    half = own - (torch.logaddexp(others, own - math.log(2)) - math.log(m - 0.5))
    return torch.cat([information(others, own, m), half[None]])


def _gaussian_bound(sample: Draws, factors: Tensor, draws: int) -> tuple[float, float]:
    """Return E log N(z; m, C) / prod_h q(z_h), with m and C of the samples with an odd index for even ones."""
    z = sample.mean[sample.own] + sample.shift
    values = factors - sample.own_log_density.sum(1)
    for parity in (0, 1):
        fitted, drawn = slice(1 - parity, None, 2), sample.own % 2 == parity
        mean, noise = sample.mean[fitted], sample.log_variance[fitted].exp().mean(0)
        covariance = torch.cov(mean.T, correction=0) + noise.diag()
        scale = covariance.diagonal().sqrt()
        root, singular = torch.linalg.cholesky_ex(covariance / scale[:, None] / scale)
        if singular:
            return 0.0, 0.0
        whitened = torch.linalg.solve_triangular(root, ((z[drawn] - mean.mean(0)) / scale).T, upper=False)
        log_determinant = 2 * float(root.diagonal().log().sum() + scale.log().sum())
        values[drawn] -= 0.5 * (whitened.square().sum(0) + log_determinant + len(scale) * math.log(2 * math.pi))
    return mean_and_error(values.unflatten(0, (-1, draws)))


def _tree_bound(lower: Tensor, n_factors: int) -> tuple[float, float]:
    """Return the sum of I(Z_i; Z_j) over the pairs of the heaviest tree, from its values (n, pairs).

    Every second point chooses the tree for the others: chosen by its own noise, it would be too heavy.
    """
    values = lower.new_empty(len(lower), 1)
    for parity in (0, 1):
        chosen = _heaviest_tree(lower[1 - parity :: 2].mean(0), n_factors)
        values[parity::2, 0] = lower[parity::2, chosen].sum(1)
    return mean_and_error(values)


def _heaviest_tree(weights: Tensor, n_factors: int) -> list[int]:
    """Return the pairs of the tree, or trees, over the factors with the largest sum of weights (Kruskal)."""
    tree_of = list(range(n_factors))
    pairs = torch.triu_indices(n_factors, n_factors, 1).T.tolist()
    order = weights.argsort(descending=True)
    chosen = []
    for pair in order[weights[order] > 0].tolist():
        one, other = (tree_of[factor] for factor in pairs[pair])
        if one != other:
            chosen.append(pair)
            tree_of = [one if tree == other else tree for tree in tree_of]
    return chosen


def _matrix(pairs: Tensor, diagonal: Tensor) -> Tensor:
    """Return the symmetric matrix with these values of pairs (i, j), i < j, and this diagonal, on the CPU."""
    matrix = diagonal.diag()
    first, second = torch.triu_indices(len(matrix), len(matrix), 1)
    matrix[first, second] = matrix[second, first] = pairs.cpu()
    return matrix
