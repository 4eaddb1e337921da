"""Information between factors and labels, and its permutation test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vaemi._progress import progress_bar
from vaemi.errors import import_extra
from vaemi.information import factor_information
from vaemi.information.checks import checked_posterior
from vaemi.information.result import normal_quantile

from ._permutations import allowed_exceedances, permutation_test, shuffles
from .decoding import sample_posterior

if TYPE_CHECKING:
    import pandas as pd

# Numbers of the shuffled labels held in memory at once: 64 MB.
_CHUNK = 1 << 24
# The grid of a factor reaches this many standard deviations beyond every mean.
_REACH = 5.0
# Its spacing, in units of the standard deviation below which this share of the posteriors lies.
_SPACING, _NARROW = 0.8, 0.02
# A narrower posterior is widened to this many spacings.
_LEAST_WIDTH = 0.5
_MOST_POINTS = 2048
# Classes of numbers that the permutations compare: more would cost time and power.
_TESTED_CLASSES = 10


@dataclass(frozen=True)
class LabelInformation:
    """Information I(Z_h; Y_a) between each of H factors and each of A labels, as `label_information` returns it.

    Attributes
    ----------
    nats : Tensor of float64, shape (H, A)
        The estimate, 0 or more. For classes it is the plug-in estimate, the mean of which is above 0 even where factor
        and label are independent: see `bias`.
    entropy : Tensor, shape (A,)
        H(Y_a) in nats, the upper limit of `nats`; infinite for numbers.
    null_mean : Tensor, shape (H, A)
        Mean information of draws over the permutations, in nats: the value expected by chance. 0 for numbers, from
        which it is subtracted.
    p_value, corrected_p_value : Tensor, shape (H, A)
        Of each cell alone, and corrected for the number of cells.
    threshold : Tensor, shape (H, A)
        Nats that the information of the draws must exceed to be significant at `alpha` after the correction.
    names : tuple of str, length A
        Names of the labels.
    permutations : int
    alpha : float
        Family-wise error rate of `threshold`.
    stderr : Tensor, shape (H, A)
        Standard error of `nats`, that of a draw of samples, or of clusters.
    bias : Tensor, shape (H, A)
        Nats by which the plug-in estimate is too high on average, to first order in 1 / M. For M independent samples of
        independent factor and label it is (number of classes - 1) times the degrees of freedom of the factor over 2 M.
        0 for numbers, from which it is subtracted.
    resolution : Tensor, shape (H, A)
        What numbers gained when the number of their classes was last doubled, in nats: the scale of what finer ones
        would add. 0 for classes.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import label_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> positive = mean[:, :1] > 0
    >>> found = label_information(
    ...     mean, log_variance, positive, names=["positive"], permutations=20
    ... )
    >>> found.names, [round(share, 2) for share in found.normalized[:, 0].tolist()]
    (('positive',), [0.79, 0.0])
    """

    nats: Tensor
    entropy: Tensor
    null_mean: Tensor
    p_value: Tensor
    corrected_p_value: Tensor
    threshold: Tensor
    names: tuple[str, ...]
    permutations: int
    alpha: float
    stderr: Tensor
    bias: Tensor
    resolution: Tensor

    @property
    def normalized(self) -> Tensor:
        """Share of the label that the factor carries, between 0 and 1, shape (H, A).

        I(Z_h; Y_a) / H(Y_a) for classes, 0 for a label that is constant. For numbers, whose entropy has no such
        meaning, 1 - exp(-2 I): the squared correlation of two jointly Gaussian variables with this information (Linfoot
        1957).
        """
        share = torch.where(self.entropy > 0, self.nats / self.entropy, 0.0)
        return torch.where(self.entropy.isinf(), -torch.expm1(-2 * self.nats), share)

    @property
    def excess(self) -> Tensor:
        """Nats above the value expected by chance, shape (H, A)."""
        return self.nats - self.null_mean

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return the ends of a confidence interval for I(Z_h; Y_a), in nats, both of shape (H, A).

        Its centre is `nats` less `bias`. For numbers the upper end is raised by `resolution`.

        Raises
        ------
        ValueError
            If the confidence is not between 0 and 1.
        """
        centre = self.nats - self.bias
        half = normal_quantile(confidence) * self.stderr
        return (centre - half).clamp_min(0), (centre + half + self.resolution).clamp_min(0)

    def significant(self) -> Tensor:
        """Return the cells whose corrected p-value is at most `alpha`, bool of shape (H, A)."""
        return self.corrected_p_value <= self.alpha

    def best_labels(self, least_share: float = 0.0) -> list[str | None]:
        """Return for each factor the significant label with the largest share of entropy, None where there is none.

        Parameters
        ----------
        least_share : float
            Smallest share of a label's entropy, `normalized`, for which a factor gets the label, between 0 and 1. With
            many samples a share of 1 % can be significant, but a factor is hardly described by it.
        """
        worth_it = self.significant() & (self.normalized >= least_share)
        share, label = torch.where(worth_it, self.normalized, -1.0).max(dim=1)
        return [self.names[a] if value >= 0 else None for value, a in zip(share.tolist(), label.tolist(), strict=True)]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell, the largest share of a label's entropy first.

        Columns: factor, label, nats, stderr, normalized, excess, p_value, corrected_p_value, threshold.
        """
        order = self.normalized.flatten().argsort(descending=True, stable=True)
        columns: dict[str, Any] = {
            "factor": (order // len(self.names)).numpy(),
            "label": [self.names[cell % len(self.names)] for cell in order.tolist()],
        }
        for name in ("nats", "stderr", "normalized", "excess", "p_value", "corrected_p_value", "threshold"):
            columns[name] = getattr(self, name).flatten()[order].numpy()
        return import_extra("pandas", "audit").DataFrame(columns)


def label_information(
    mean: Any,
    log_variance: Any,
    labels: Any,
    *,
    names: Sequence[str] | None = None,
    clusters: Any = None,
    strata: Any = None,
    permutations: int = 200,
    alpha: float = 0.05,
    seed: int = 0,
) -> LabelInformation:
    r"""Estimate the information between each factor and each label, with errors and a permutation test.

    :math:`I(Z_h; Y) = h(Z_h) - h(Z_h | Y)` :math:`= E\, KL(q(z_h|x) \| q(z_h))` :math:`- E\, KL(q(z_h|x) \| q(z_h|y))`.
    The posteriors are known, so z is neither sampled nor binned, and the standard error is that of the difference of
    the two divergences over the samples, which is the influence function of the information.

    *Classes* (integers, booleans): :math:`q(z_h|y)` is the mixture of the posteriors of one class, and the information
    :math:`I(X; Z_h) - \sum_y p(y) I(X; Z_h | Y = y)` is exact for the given samples, as in `factor_information`.

    *Numbers* (floating point): only neighbours show what :math:`q(z_h|y)` is. Labels are cut into about
    :math:`\sqrt M / 2` equally frequent classes. In each, the posteriors are moved along a least-squares line of the
    mean on the label (on normal scores of its ranks) to where they would be at the centre of the class. No such move
    can raise the information: :math:`h(Z_h | Y) = h(Z_h - s(Y) | Y)` :math:`\le h(Z_h - s(Y) | \mathrm{class})` for
    every function s. The estimate rises to the information as classes get narrow, and is nearly exact where a label
    moves the factor without changing its distribution otherwise. Slopes are shrunk by :math:`1 - 2 / t^2`, since a
    slope that is mere noise blurs, and the bias of mixtures of few samples is subtracted (Miller 1955;
    `LabelInformation.bias`). Densities are summed over a grid per factor, with an error below 1e-4 nats, near 1e-6
    for most factors, and up to 1e-3 where most posteriors are narrower than 1/2,000 of the factor's range. The
    result does not depend on the unit of the label: any increasing function of it has the same information.

    A trained encoder's means always depend on the input a little, so no factor's information is exactly 0. The test
    asks whether the dependence is visible in z: it replaces each posterior mean by one draw from that posterior.

    Permutations shuffle the rows of `labels`, which keeps the correlations among labels. Under independence 2 M I is
    approximately a scaled chi-squared variable, whose cube root is nearly normal (Wilson and Hilferty 1931). Cells are
    therefore compared by the cube root of the information, standardized over the permutations, and the largest over all
    cells corrects the p-values for their number (Westfall and Young 1993, single step). The observed data count as one
    of the permutations, which makes the test exact for exchangeable samples. Numbers are tested in at most ten equally
    frequent classes.

    Samples of one cluster, such as the windows of a recording, are not independent: with `clusters` labels are shuffled
    over clusters, each of which has the same weight. With `strata` they are shuffled within each stratum, such as a
    person, so that differences between strata are not counted as an effect (Winkler et al. 2015).

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances.
    labels : array or tensor, shape (M, A)
        Labels of each sample. Integers or booleans are classes, whichever they are; floating-point numbers are values.
    names : sequence of str, length A, optional
        Names of the labels, by default "label 0", "label 1", ...
    clusters, strata : array or tensor of integers, shape (M,), optional
        All samples of a cluster must have the same labels and the same stratum.
    permutations : int
        Corrected p-values are multiples of 1 / (1 + permutations).
    alpha : float
        Family-wise error rate of `threshold`.
    seed : int
        Seed of the draws and the permutations.

    Returns
    -------
    LabelInformation

    Raises
    ------
    ValueError
        If shapes or names do not fit, if a number is not finite, if samples of a cluster differ in label or stratum, or
        if `alpha` needs more permutations.
    TypeError
        If labels, mean or log-variance are not real numbers.

    References
    ----------
    Linfoot, An Informational Measure of Correlation, Information and Control 1 (1957) 85-89.
    Miller, Note on the Bias of Information Estimates, in: Information Theory in Psychology, Free Press 1955.
    Westfall and Young, Resampling-Based Multiple Testing, Wiley 1993.
    Winkler et al., Multi-level block permutation, NeuroImage 123 (2015) 253-268.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import label_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = label_information(mean, log_variance, mean[:, :1] > 0, permutations=20)
    >>> [round(nats, 2) for nats in found.nats[:, 0].tolist()]
    [0.55, 0.0]
    """
    mean, log_variance = (tensor.cpu() for tensor in checked_posterior(mean, log_variance))
    labels = torch.as_tensor(labels).cpu()
    if labels.is_complex():
        raise TypeError(f"labels holds {labels.dtype}: give integers or booleans for classes, or real numbers.")
    if labels.ndim != 2 or len(labels) != len(mean) or labels.shape[1] == 0:
        raise ValueError(f"labels has shape {tuple(labels.shape)}: give ({len(mean)}, A), one row per sample.")
    names = tuple(names or (f"label {a}" for a in range(labels.shape[1])))
    if len(names) != labels.shape[1]:
        raise ValueError(f"names holds {len(names)} names for {labels.shape[1]} labels: give one per label.")

    unit = None if clusters is None else _numbered("clusters", clusters, len(mean))
    strata = None if strata is None else _numbered("strata", strata, len(mean))
    if unit is not None:
        labels = _value_of_clusters("labels", labels, unit)
        strata = None if strata is None else _value_of_clusters("strata", strata, unit)
    allowed_exceedances(alpha, permutations)  # refuses alpha before the long part
    numbers = labels.is_floating_point()
    classes = discretized(labels, _TESTED_CLASSES) if numbers else labels
    indicators, member, entropy = _indicators(classes)
    orders = shuffles(permutations, len(labels), torch.Generator().manual_seed(seed), strata)
    parts = orders.split(max(1, _CHUNK // max(1, indicators.numel())))
    drawn = sample_posterior(mean, log_variance, seed)

    given_draws = []
    for factor in progress_bar(range(mean.shape[1]), desc="information on labels"):
        shares = _mean_of_clusters(_grid_probabilities(drawn[:, factor], log_variance[:, factor]), unit)
        given_draws.append(torch.cat([_conditional_entropies(shares, indicators[part.T], member) for part in parts]))
    of_draws = (entropy - torch.stack(given_draws, dim=1)).clamp_min(0)

    root = of_draws.pow(1 / 3)
    spread, centre = torch.std_mean(root, dim=0, correction=0)
    test = permutation_test(torch.where(spread > 0, (root - centre) / spread, 0.0), alpha)
    estimate = _of_numbers if numbers else _of_classes
    nats, stderr, bias, resolution = estimate(mean, log_variance, labels, unit)
    by_chance = of_draws[1:].mean(0)
    known_chance = by_chance if numbers else 0.0
    return LabelInformation(
        nats=nats.clamp_min(0),
        entropy=torch.full_like(entropy, math.inf) if numbers else entropy,
        null_mean=by_chance - known_chance,
        p_value=test.p_value,
        corrected_p_value=test.corrected_p_value,
        threshold=_value_at(test.critical, root[1:]).pow(3) - known_chance,
        names=names,
        permutations=permutations,
        alpha=alpha,
        stderr=stderr,
        bias=bias,
        resolution=resolution,
    )


def _of_classes(mean: Tensor, log_variance: Tensor, labels: Tensor, unit: Tensor | None) -> Sequence[Tensor]:
    """Return nats, standard error, bias and resolution of labels (U, A) that are classes, each of shape (H, A)."""
    classes = torch.stack([label.unique(return_inverse=True)[1] for label in labels.T], dim=1)
    *_, stderr, bias = _ratio_moments(mean, log_variance, classes, unit)
    sample_classes = classes if unit is None else classes[unit]
    weight = torch.ones(len(mean), dtype=torch.float64) if unit is None else 1 / unit.bincount()[unit].double()
    whole = factor_information(mean, log_variance, weight=weight).nats
    within = torch.zeros_like(bias)
    for a, label in enumerate(sample_classes.T):
        for y in label.unique():
            rows = label == y
            if rows.sum() > 1:  # a single posterior carries nothing about its class
                of_class = factor_information(mean[rows], log_variance[rows], weight=weight[rows])
                within[:, a] += of_class.nats * weight[rows].sum() / weight.sum()
    return whole[:, None] - within, stderr, bias, torch.zeros_like(bias)


def _of_numbers(mean: Tensor, log_variance: Tensor, labels: Tensor, unit: Tensor | None) -> Sequence[Tensor]:
    """Return nats, standard error, bias and resolution of labels (U, A) that are numbers, each of shape (H, A)."""
    finest = max(2, round(len(labels) ** 0.5 / 2))
    scores = torch.special.ndtri(_rank_shares(labels))
    centres = _mean_of_clusters(mean.double().T, unit).T
    found = []
    for n_classes in (finest // 2, finest):
        classes = discretized(labels, max(1, n_classes))
        moves = [_moves(centres, *columns) for columns in zip(scores.T, classes.T, strict=True)]
        nats, stderr, bias = _ratio_moments(mean, log_variance, classes, unit, moves)
        found.append(nats - bias)
    return found[1], stderr, torch.zeros_like(bias), (found[1] - found[0]).clamp_min(0)


def _moves(centres: Tensor, scores: Tensor, classes: Tensor) -> Tensor:
    """Return how far the line of each class moves the factors (U, H) from the centre of the class, shape (U, H)."""
    size = classes.bincount().double()[:, None]

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(len(size), values.shape[1]).index_add_(0, classes, values)

    scores, centres = (part - (summed(part) / size)[classes] for part in (scores[:, None], centres))
    tiny = torch.finfo(torch.float64).tiny
    length, product = summed(scores.square()).clamp_min(tiny), summed(scores * centres)
    slope = product / length
    residual = (summed(centres.square()) - slope * product).clamp_min(0)
    variance = residual / (size - 2).clamp_min(1) / length
    kept = (1 - 2 * variance / slope.square().clamp_min(tiny)).clamp_min(0)
    # A line through two points fits them whatever they are.
    return scores * (slope * kept * (size > 2))[classes]


def _ratio_moments(
    mean: Tensor, log_variance: Tensor, classes: Tensor, unit: Tensor | None, moves: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the plug-in estimate of I(Z_h; class), its standard error and its bias, each of shape (H, A).

    Within the classes (U, A) posteriors are moved back by `moves`, A tensors of shape (U, H).
    """
    shape = mean.shape[1], classes.shape[1]
    nats, stderr, bias = (torch.empty(shape, dtype=torch.float64) for _ in range(3))
    of_all = torch.zeros(len(classes), dtype=torch.long)
    for h in progress_bar(range(shape[0]), desc="errors of the information on labels"):
        shares = _mean_of_clusters(_grid_probabilities(mean[:, h], log_variance[:, h]), unit)
        whole, excess = _divergences(shares, of_all)
        for a, label in enumerate(classes.T):
            if moves is not None:
                move = moves[a][:, h] if unit is None else moves[a][unit, h]
                shares = _mean_of_clusters(_grid_probabilities(mean[:, h] - move, log_variance[:, h]), unit)
            within, excess_within = _divergences(shares, label)
            ratio = whole - within
            nats[h, a] = ratio.mean()
            stderr[h, a] = ratio.std() / len(ratio) ** 0.5
            bias[h, a] = (excess_within - excess).mean()
    return nats, stderr, bias


def _divergences(shares: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return KL(q_u || q of the class of u), and by how much it is too small since q is the mean of few, both (U,).

    From the shares of the posteriors at the points of a grid (G, U). A class of n members has too small an entropy, on
    average by half the mean of :math:`\sum_g q_{ug}^2 / q_g - 1` over n: for posteriors that are points it is Miller's
    bias.
    """
    size = classes.bincount()
    density = (shares.new_zeros(len(shares), len(size)).index_add_(1, classes, shares) / size).clamp_min(1e-30)
    own = classes[None]
    cross = (density.log().T @ shares).gather(0, own)[0]
    square = (density.reciprocal().T @ shares.square()).gather(0, own)[0]
    divergence = torch.special.entr(shares).sum(0).neg() - cross
    return divergence.double(), (square - 1).double() / (2 * (size - 1).clamp_min(1)[classes])


def _numbered(name: str, values: Any, n_samples: int) -> Tensor:
    values = torch.as_tensor(values).cpu()
    if values.shape != (n_samples,):
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give ({n_samples},), one per sample.")
    return values.unique(return_inverse=True)[1]


def _value_of_clusters(name: str, values: Tensor, unit: Tensor) -> Tensor:
    """Return the value that all samples of a cluster share, (M, ...) to (U, ...)."""
    shared = values.new_empty(int(unit.max()) + 1, *values.shape[1:])
    shared[unit] = values
    if not (shared[unit] == values).all():
        raise ValueError(f"{name} differs within a cluster: give the same to all samples of a cluster.")
    return shared


def _mean_of_clusters(shares: Tensor, unit: Tensor | None) -> Tensor:
    """Average over the samples of each cluster, (G, M) to (G, U)."""
    if unit is None:
        return shares
    size = unit.bincount()
    return shares.new_zeros(len(shares), len(size)).index_add_(1, unit, shares).div_(size)


def _grid_probabilities(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the share of every posterior (M,) at each point of an even grid, float32 of shape (G, M).

    Points are 0.8 standard deviations apart, where trapezoidal sums of Gaussians are integrals to high precision. The
    narrowest 2 % of the posteriors may be finer than that, and all of them where the grid would need more than 2,048
    points; a posterior finer than half the spacing is widened to that.
    """
    mean, sigma = mean.double(), (0.5 * log_variance.double()).exp()
    low, high = (mean - _REACH * sigma).min(), (mean + _REACH * sigma).max()
    spacing = torch.maximum(_SPACING * sigma.quantile(_NARROW), (high - low) / (_MOST_POINTS - 1))
    # In units of the spacing from the first point, single precision suffices however far from 0 the factor lies.
    points = torch.arange(int((high - low) / spacing) + 2, dtype=torch.float32)
    position = ((mean - low) / spacing).float()
    width = (sigma / spacing).clamp_min(_LEAST_WIDTH).float()
    offset = (points[:, None] - position).div_(2**0.5 * width)
    density = offset.square_().neg_().exp_()
    return density.div_(density.sum(0))


def _indicators(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return class indicators (M, C), the label that each belongs to (C, A), and H(Y_a), (A,).

    The most frequent class of each label is left out: its probability is 1 less the others', and as the largest it
    suffers least from rounding.
    """
    columns, owner, entropy = [], [], []
    for a, label in enumerate(labels.T):
        _, classes, counts = label.unique(return_inverse=True, return_counts=True)
        share = counts.double() / len(label)
        entropy.append(torch.special.entr(share).sum())
        columns.append(one_hot(classes)[:, share.argsort(descending=True)[1:]].float())
        owner += [a] * (len(share) - 1)
    member = one_hot(torch.tensor(owner, dtype=torch.long), labels.shape[1]).float()
    return torch.cat(columns, dim=1), member, torch.stack(entropy)


def _conditional_entropies(shares: Tensor, shuffled: Tensor, member: Tensor) -> Tensor:
    """Return H(Y_a | Z) in nats of one factor, for all labels in n orders, float64 of shape (n, A).

    From the shares of the posteriors at the points of a grid (G, M), class indicators in n orders (M, n, C), and the
    label that each class belongs to (C, A).
    """
    mass = shares.sum(1)
    # A grid point may have no mass.
    posterior = (shares @ shuffled.flatten(1)).div_(mass.clamp_min(1e-30)[:, None]).view(len(mass), *shuffled.shape[1:])
    rest = 1 - posterior @ member
    weight = mass / mass.sum()
    of_classes, of_rest = (torch.einsum("g,gnc->nc", weight, _entropy_terms(p)) for p in (posterior, rest))
    return (of_classes @ member + of_rest).double()


def _entropy_terms(probability: Tensor) -> Tensor:
    """Return -p log p, and 0 where rounding made p negative."""
    return -probability * probability.clamp_min(1e-30).log()


def _value_at(critical: float, null: Tensor) -> Tensor:
    """Return the value whose deviation from the mean of all n + 1 values is critical, in their standard deviations.

    `null`, of shape (n, ...), holds the other n values.
    """
    n = len(null)
    spread, centre = torch.std_mean(null, dim=0, correction=0)
    # An observation at centre + u spread changes mean and deviation: critical^2 = n u^2 / (n + 1 + u^2).
    if critical**2 >= n:
        return torch.full_like(centre, math.inf)
    return centre + spread * critical * math.sqrt((n + 1) / (n - critical**2))


def discretized(values: Any, bins: int = 10) -> Tensor:
    """Cut numbers into equally frequent classes 0, 1, ...; equal numbers stay together.

    A value's class follows from its average rank, so a column of two values keeps them as two classes, however rare one
    is. The entropy of the result, by which `LabelInformation.normalized` divides, grows with the logarithm of `bins`.

    Parameters
    ----------
    values : array or tensor, shape (N,) or (N, F)
    bins : int
        Largest number of classes per column, two or more.

    Returns
    -------
    Tensor of int64, shape of `values`

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> from vaemi.influence import discretized
    >>> discretized([0.1, 5.0, 2.0, 9.0], bins=2).tolist()
    [0, 1, 0, 1]
    """
    values = torch.as_tensor(values).cpu()
    classes = [
        (share * bins).long().unique(return_inverse=True)[1] for share in _rank_shares(values.view(len(values), -1)).T
    ]
    return torch.stack(classes, dim=1).view(values.shape)


def _rank_shares(values: Tensor) -> Tensor:
    """Return the average rank of each value in its column (N, F), from 1/2 on, as a share of N; equal ones have one."""
    if not values.isfinite().all():
        raise ValueError("A label or value is not finite: leave its row out.")
    columns = []
    for column in values.double().T:
        _, place, counts = column.unique(return_inverse=True, return_counts=True)
        average_rank = counts.cumsum(0) - (counts - 1) / 2
        columns.append(((average_rank.double() - 0.5) / len(column))[place])
    return torch.stack(columns, dim=1)
