"""Information between factors and labels, its permutation test, and names for the factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vaemi.errors import import_extra
from vaemi.information.checks import checked_posterior

from ._checks import checked_labels, checked_names
from ._grid import grid_probabilities
from ._permutations import permutation_test, shuffles
from .decoding import sample_posterior

if TYPE_CHECKING:
    import pandas as pd

# Numbers of the shuffled labels held in memory at once: 64 MB.
_CHUNK = 1 << 24


@dataclass(frozen=True)
class LabelInformation:
    """Information I(Z_h; Y_a) between each of H factors and each of A labels, as `label_information` returns it.

    Attributes
    ----------
    nats : Tensor of float64, shape (H, A)
        The plug-in estimate, 0 or more. For M independent samples its mean is above 0 even where factor and label are
        independent, by about (number of classes - 1) times the degrees of freedom of the factor over 2 M.
    entropy : Tensor, shape (A,)
        H(Y_a) in nats, the upper limit of `nats`.
    null_mean : Tensor, shape (H, A)
        Mean information of draws over the permutations, in nats: the value expected by chance.
    p_value, corrected_p_value : Tensor, shape (H, A)
        Of each cell alone, and corrected for the number of cells.
    threshold : Tensor, shape (H, A)
        Nats that the information of the draws must exceed to be significant at `alpha` after the correction.
    names : tuple of str, length A
        Names of the labels.
    permutations : int
    alpha : float
        Family-wise error rate of `threshold`.
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

    @property
    def normalized(self) -> Tensor:
        """I(Z_h; Y_a) / H(Y_a), between 0 and 1, shape (H, A); 0 for a label that is constant."""
        return torch.where(self.entropy > 0, self.nats / self.entropy, 0.0)

    @property
    def excess(self) -> Tensor:
        """Nats above the value expected by chance, shape (H, A)."""
        return self.nats - self.null_mean

    def significant(self, alpha: float | None = None) -> Tensor:
        """Return the cells whose corrected p-value is at most alpha (by default the test's), bool of shape (H, A)."""
        return self.corrected_p_value <= (self.alpha if alpha is None else alpha)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell, the largest share of a label's entropy first.

        Columns: factor, label, nats, normalized, excess, p_value, corrected_p_value, threshold.
        """
        import pandas as pd

        order = self.normalized.flatten().argsort(descending=True, stable=True)
        columns: dict[str, Any] = {
            "factor": (order // len(self.names)).numpy(),
            "label": [self.names[cell % len(self.names)] for cell in order.tolist()],
        }
        for name in ("nats", "normalized", "excess", "p_value", "corrected_p_value", "threshold"):
            columns[name] = getattr(self, name).flatten()[order].numpy()
        return pd.DataFrame(columns)


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
    r"""Estimate the information between each factor and each label, with a permutation test.

    :math:`I(Z_h; Y) = h(q(z_h)) - \sum_y p(y) h(q(z_h|y))`, from the aggregated posteriors of all samples and of each
    class, which equals :math:`I(X; Z_h) - \sum_y p(y) I(X; Z_h | Y = y)`. The densities are summed over a grid per
    factor; z is neither sampled nor binned. The numerical error is below 1e-4 nats, near 1e-6 for most factors, and up
    to 1e-3 where most posteriors are narrower than 1/2,000 of the factor's range.

    A trained encoder's means always depend on the input a little, so no factor's information is exactly 0. The test
    asks whether the dependence is visible in z: it replaces each posterior mean by one draw from that posterior.

    Permutations shuffle the rows of `labels`, which keeps the correlations among labels. Under independence 2 M I is
    approximately a scaled chi-squared variable, whose cube root is nearly normal (Wilson and Hilferty 1931). Cells are
    therefore compared by the cube root of the information, standardized over the permutations, and the largest over all
    cells corrects the p-values for their number (Westfall and Young 1993, single step). The observed data count as one
    of the permutations, which makes the test exact for exchangeable samples.

    Samples of one cluster, such as the windows of a recording, are not independent: with `clusters` labels are shuffled
    over clusters, each of which has the same weight. With `strata` they are shuffled within each stratum, such as a
    person, so that differences between strata are not counted as an effect (Winkler et al. 2015).

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances.
    labels : array or tensor of integers or booleans, shape (M, A)
        Class of each sample for each label; any integers may denote the classes.
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
        If shapes or names do not fit, if samples of a cluster differ in label or stratum, or if `alpha` needs more
        permutations.
    TypeError
        If labels are not integers or booleans, or mean and log-variance are not real numbers.

    References
    ----------
    Westfall and Young, Resampling-Based Multiple Testing, Wiley 1993.
    Winkler et al., Multi-level block permutation, NeuroImage 123 (2015) 253-268.
    """
    tqdm = import_extra("tqdm", "influence").tqdm
    mean, log_variance = (tensor.cpu() for tensor in checked_posterior(mean, log_variance))
    labels = checked_labels(labels, len(mean))
    names = checked_names(names, labels.shape[1])
    units = _Units(clusters, strata, labels)
    indicators, member, entropy = _indicators(units.labels)
    held = torch.cat(
        [
            _conditional_entropies(units.mean(grid_probabilities(*posterior)), indicators[:, None], member)
            for posterior in zip(mean.T, log_variance.T, strict=True)
        ]
    )
    drawn = sample_posterior(mean, log_variance, seed)
    generator = torch.Generator().manual_seed(seed)
    orders = shuffles(permutations, len(units.labels), generator, units.strata)

    progress = tqdm(total=len(orders) * mean.shape[1], desc="information on labels", mininterval=2)
    chunks = []
    for part in orders.split(max(1, _CHUNK // max(1, indicators.numel()))):
        shuffled = indicators[part.T]
        chunk = []
        for factor in range(mean.shape[1]):
            shares = units.mean(grid_probabilities(drawn[:, factor], log_variance[:, factor]))
            chunk.append(_conditional_entropies(shares, shuffled, member))
            progress.update(len(part))
        chunks.append(torch.stack(chunk, dim=1))
    progress.close()
    of_draws = (entropy - torch.cat(chunks)).clamp_min(0)

    root = of_draws.pow(1 / 3)
    spread, centre = torch.std_mean(root, dim=0, correction=0)
    test = permutation_test(torch.where(spread > 0, (root - centre) / spread, 0.0), alpha)
    return LabelInformation(
        nats=(entropy - held).clamp_min(0),
        entropy=entropy,
        null_mean=of_draws[1:].mean(0),
        p_value=test.p_value,
        corrected_p_value=test.corrected_p_value,
        threshold=_value_at(test.critical, root[1:]).pow(3),
        names=names,
        permutations=permutations,
        alpha=alpha,
    )


class _Units:
    """The units over which labels are shuffled: samples, or clusters of samples.

    Attributes
    ----------
    labels : Tensor, shape (U, A)
    strata : Tensor of int64, shape (U,), or None
    """

    def __init__(self, clusters: Any, strata: Any, labels: Tensor) -> None:
        self._unit: Tensor | None = None
        self.labels = labels
        self.strata = None if strata is None else _numbered("strata", strata, labels)
        if clusters is None:
            return
        self._unit = _numbered("clusters", clusters, labels)
        self._size = self._unit.bincount()
        last = torch.empty_like(self._size).scatter_(0, self._unit, torch.arange(len(labels)))
        self.labels = self._of_clusters("labels", labels, last)
        if self.strata is not None:
            self.strata = self._of_clusters("strata", self.strata, last)

    def mean(self, shares: Tensor) -> Tensor:
        """Average over the samples of each unit, (G, M) to (G, U)."""
        if self._unit is None:
            return shares
        return shares.new_zeros(len(shares), len(self._size)).index_add_(1, self._unit, shares).div_(self._size)

    def _of_clusters(self, name: str, values: Tensor, sample: Tensor) -> Tensor:
        """Return the value that all samples of a cluster share, or raise an error."""
        chosen = values[sample]
        if not (chosen[self._unit] == values).all():
            raise ValueError(f"{name} differs within a cluster: give the same to all samples of a cluster.")
        return chosen


def _numbered(name: str, values: Any, labels: Tensor) -> Tensor:
    values = torch.as_tensor(values).cpu()
    if values.shape != labels.shape[:1]:
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give ({len(labels)},), one per sample.")
    return values.unique(return_inverse=True)[1]


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

    Parameters
    ----------
    shares : Tensor, shape (G, M)
        Shares of the posteriors at the points of a grid.
    shuffled : Tensor, shape (M, n, C)
        Class indicators in n orders.
    member : Tensor, shape (C, A)
        The label that each class belongs to.
    """
    mass = shares.sum(1)
    # A grid point may have no mass.
    posterior = (shares @ shuffled.flatten(1)).div_(mass.clamp_min(1e-30)[:, None]).view(-1, *shuffled.shape[1:])
    rest = 1 - posterior @ member
    weight = mass / mass.sum()
    of_classes, of_rest = (torch.einsum("g,gnc->nc", weight, _entropy_terms(p)) for p in (posterior, rest))
    return (of_classes @ member + of_rest).double()


def _entropy_terms(probability: Tensor) -> Tensor:
    """Return -p log p, and 0 where rounding made p negative."""
    return -probability * probability.clamp_min(1e-30).log()


def _value_at(critical: float, null: Tensor) -> Tensor:
    """Return the value whose deviation from the mean of all n + 1 values is critical, in their standard deviations.

    Parameters
    ----------
    critical : float
    null : Tensor, shape (n, ...)
        The other n values.
    """
    n = len(null)
    spread, centre = torch.std_mean(null, dim=0, correction=0)
    # An observation at centre + u spread changes mean and deviation: critical^2 = n u^2 / (n + 1 + u^2).
    if critical**2 >= n:
        return torch.full_like(centre, math.inf)
    return centre + spread * critical * math.sqrt((n + 1) / (n - critical**2))


def aligned_label(information: LabelInformation) -> list[str | None]:
    """Return for each factor the significant label with the largest share of entropy, None where there is none."""
    share = torch.where(information.significant(), information.normalized, -1.0)
    best = share.max(dim=1)
    return [
        information.names[label] if value >= 0 else None
        for value, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


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
        If the shape is another, if a value is not finite, or if there are fewer than two bins.
    """
    values = torch.as_tensor(values).cpu().double()
    if values.ndim not in (1, 2) or len(values) == 0:
        raise ValueError(f"values has shape {tuple(values.shape)}: give (N,) or (N, F), N >= 1.")
    if not values.isfinite().all():
        raise ValueError("values holds a number that is not finite: leave that row out.")
    if bins < 2:
        raise ValueError(f"bins is {bins}: give two or more.")
    columns = [_discretized_column(column, bins) for column in values.view(len(values), -1).T]
    return torch.stack(columns, dim=1).view(values.shape)


def _discretized_column(column: Tensor, bins: int) -> Tensor:
    _, place, counts = column.unique(return_inverse=True, return_counts=True)
    average_rank = counts.cumsum(0) - (counts - 1) / 2
    classes = ((average_rank.double() - 0.5) / len(column) * bins).long()
    return classes[place].unique(return_inverse=True)[1]
