"""What the factors say of labels: information, its permutation test, and names for the factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm import tqdm

from vaemi.information.checks import checked_posterior

from ._checks import checked_labels, checked_names
from ._grid import grid_probabilities
from ._permutations import permutation_test, shuffles
from .decoding import sample_posterior

if TYPE_CHECKING:
    import pandas as pd

# Numbers in the shuffled labels that are held at a time: 64 MB.
_CHUNK = 1 << 24


@dataclass(frozen=True)
class LabelInformation:
    """Information I(Z_h; Y_a) between each of H factors and each of A labels.

    Attributes
    ----------
    nats : Tensor of float64, shape (H, A)
        The plug-in estimate, 0 or more: of M independent samples it is positive on average even where factor and
        label are independent, by about (K_a - 1) times the freedom of the factor over 2 M.
    entropy : Tensor, shape (A,)
        H(Y_a) in nats, the most that `nats` can be.
    null_mean : Tensor, shape (H, A)
        Mean over the permutations of the information of draws, in nats: what a sample shows by chance.
    p_value : Tensor, shape (H, A)
        Of every cell alone.
    corrected_p_value : Tensor, shape (H, A)
        Corrected for the number of cells: chance that independent labels give a largest statistic so high.
    threshold : Tensor, shape (H, A)
        Nats that the information of the draws must exceed to be significant at `alpha` after the correction.
    names : tuple of str, length A
        Of the labels.
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
        """Nats above what a sample shows by chance, shape (H, A); negative where it is less."""
        return self.nats - self.null_mean

    def significant(self, alpha: float | None = None) -> Tensor:
        """Cells whose corrected p-value is at most alpha (that of the test if left out), bool of shape (H, A)."""
        return self.corrected_p_value <= (self.alpha if alpha is None else alpha)

    def to_frame(self) -> pd.DataFrame:
        """A row a cell, the largest share of a label's entropy first.

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
    r"""Information between each factor of an encoder and each label, with a permutation test.

    :math:`I(Z_h; Y) = h(q(z_h)) - \sum_y p(y) h(q(z_h|y))` of the aggregated posteriors of all samples and of those
    of each class, which is :math:`I(X; Z_h) - \sum_y p(y) I(X; Z_h | Y = y)`. The densities are summed over a grid per
    factor: z is neither drawn nor cut into bins. The numerical error is below 1e-4 nats, and
    near 1e-6 for most factors; it may reach 1e-3 where most posteriors are narrower than 1/2,000 of the factor's range.

    A trained encoder's means always depend on the input a little, so no factor's information is exactly 0. The test
    asks whether it is enough for the samples to show: z is drawn once from every posterior, and the draws, each with
    its posterior's width, take the place of the posteriors. What they hold less is lost in the noise of z.

    Permutations shuffle the rows of `labels`, so that labels stay as correlated among each other as they are. Under
    independence 2 M I is about a scaled chi-squared variable, with more freedom for factors with finer posteriors and
    labels with more classes; its cube root is nearly normal (Wilson and Hilferty 1931). So cells are made comparable
    by the cube root of the information, less its mean and over its standard deviation in the permutations, and the
    largest over all cells corrects the p-values for their number (Westfall and Young, single step). The data as they
    are count as one of the permutations throughout, which makes the test exact for exchangeable samples.

    Samples that belong together, such as the windows of a recording, are no more evidence than one: with `clusters`
    labels are shuffled over the clusters, and every cluster counts the same however many samples it has. With `strata`
    they are shuffled within each stratum only, such as a person, so that what strata differ in is no find.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances.
    labels : array or tensor of integers or booleans, shape (M, A)
        Class of each sample for each label; any integers may stand for the classes.
    names : sequence of str, length A, optional
        Of the labels; "label 0", "label 1", ... if left out.
    clusters, strata : array or tensor of integers, shape (M,), optional
        Of each sample. All samples of a cluster have the same labels and the same stratum.
    permutations : int
        Corrected p-values are multiples of 1 / (1 + permutations).
    alpha : float
        Family-wise error rate of `threshold`.
    seed : int
        Of the draws and the permutations.

    Returns
    -------
    LabelInformation

    Raises
    ------
    ValueError
        If the shapes do not fit, if there is not one name a label, if samples of a cluster differ in label or stratum,
        or if alpha asks for more permutations.
    TypeError
        If the labels are not integers or booleans, or mean and log-variance no real numbers.

    References
    ----------
    Westfall and Young, Resampling-Based Multiple Testing, Wiley 1993.
    Winkler et al., Multi-level block permutation, NeuroImage 123 (2015) 253-268.
    """
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
    """What labels are shuffled over: samples, or clusters of them.

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
        """Means over the samples of each unit: (G, M) to (G, U)."""
        if self._unit is None:
            return shares
        return shares.new_zeros(len(shares), len(self._size)).index_add_(1, self._unit, shares).div_(self._size)

    def _of_clusters(self, name: str, values: Tensor, sample: Tensor) -> Tensor:
        """Values of one sample of each cluster, that all others share."""
        chosen = values[sample]
        if not (chosen[self._unit] == values).all():
            raise ValueError(f"{name} differs within a cluster: give the same to all samples of a cluster.")
        return chosen


def _numbered(name: str, values: Any, labels: Tensor) -> Tensor:
    values = torch.as_tensor(values).cpu()
    if values.shape != labels.shape[:1]:
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give ({len(labels)},), one a sample.")
    return values.unique(return_inverse=True)[1]


def _indicators(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indicators (M, C) of all classes but the commonest of each label, which are whose (C, A), and H(Y_a), (A,)."""
    columns, owner, entropy = [], [], []
    for a, label in enumerate(labels.T):
        _, classes, counts = label.unique(return_inverse=True, return_counts=True)
        share = counts.double() / len(label)
        entropy.append(torch.special.entr(share).sum())
        # What the other classes leave is the commonest's, whose share suffers least from the difference's rounding.
        columns.append(one_hot(classes)[:, share.argsort(descending=True)[1:]].float())
        owner += [a] * (len(share) - 1)
    member = one_hot(torch.tensor(owner, dtype=torch.long), labels.shape[1]).float()
    return torch.cat(columns, dim=1), member, torch.stack(entropy)


def _conditional_entropies(shares: Tensor, shuffled: Tensor, member: Tensor) -> Tensor:
    """H(Y_a | Z) in nats of one factor for all labels in n orders, float64 of shape (n, A).

    Parameters
    ----------
    shares : Tensor, shape (G, M)
        Of the posteriors at the points of a grid.
    shuffled : Tensor, shape (M, n, C)
        Indicators of C classes in n orders.
    member : Tensor, shape (C, A)
        Which classes are of which label.
    """
    mass = shares.sum(1)
    # In a gap of the grid there is no mass, and no say.
    posterior = (shares @ shuffled.flatten(1)).div_(mass.clamp_min(1e-30)[:, None]).view(-1, *shuffled.shape[1:])
    rest = 1 - posterior @ member
    weight = mass / mass.sum()
    of_classes, of_rest = (torch.einsum("g,gnc->nc", weight, _entropy_terms(p)) for p in (posterior, rest))
    return (of_classes @ member + of_rest).double()


def _entropy_terms(probability: Tensor) -> Tensor:
    """-p log p, 0 for p that rounding left at 0 or below."""
    return -probability * probability.clamp_min(1e-30).log()


def _value_at(critical: float, null: Tensor) -> Tensor:
    """Value of an observation whose deviation from the mean of all n + 1, in their standard deviations, is critical.

    Parameters
    ----------
    critical : float
    null : Tensor, shape (n, ...)
        The other values.
    """
    n = len(null)
    spread, centre = torch.std_mean(null, dim=0, correction=0)
    # The observation at centre + u spread moves mean and deviation: critical^2 = n u^2 / (n + 1 + u^2).
    if critical**2 >= n:
        return torch.full_like(centre, math.inf)
    return centre + spread * critical * math.sqrt((n + 1) / (n - critical**2))


def aligned_label(information: LabelInformation) -> list[str | None]:
    """For each factor the significant label of whose entropy it holds the largest share, None where there is none."""
    share = torch.where(information.significant(), information.normalized, -1.0)
    best = share.max(dim=1)
    return [
        information.names[label] if value >= 0 else None
        for value, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def discretized(values: Any, bins: int = 10) -> Tensor:
    """Classes 0, 1, ... of numbers, equally frequent where ties, which stay together, allow.

    A value's class is that of the mean of the ranks it takes, so a column of two values keeps them as two classes
    however rare one is. The number of bins is a choice: the entropy of a cut continuous variable, by which
    `LabelInformation.normalized` divides, grows with its logarithm.

    Parameters
    ----------
    values : array or tensor, shape (N,) or (N, F)
    bins : int
        Most classes of a column, two or more.

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
    middle = (torch.from_numpy(rankdata(values.numpy(), axis=0)) - 0.5) / len(values)
    classes = (middle * bins).long().view(len(values), -1)
    columns = [column.unique(return_inverse=True)[1] for column in classes.T]
    return torch.stack(columns, dim=1).view(values.shape)


def correlated_groups(labels: Any, names: Sequence[str], least: float = 0.5) -> list[list[str]]:
    """Groups of labels that go together, so that what holds one of them seems to hold the others.

    Two labels are linked if their Cramér's V, which is the absolute phi for two classes each, is at least `least`;
    groups are what links connect, directly or over others. Labels without a link are in no group.

    Parameters
    ----------
    labels : array or tensor of integers or booleans, shape (M, A)
    names : sequence of str, length A
    least : float
        Between 0 and 1.

    Raises
    ------
    ValueError, TypeError
        If the labels are no integers of that shape, or there is not one name a label.
    """
    labels = torch.as_tensor(labels)
    labels = checked_labels(labels, len(labels))
    names = checked_names(names, labels.shape[1])
    _, group = connected_components(_cramers_v(labels).numpy() >= least, directed=False)
    members: dict[int, list[str]] = {}
    for name, g in zip(names, group.tolist(), strict=True):
        members.setdefault(g, []).append(name)
    return [together for together in members.values() if len(together) > 1]


def _cramers_v(labels: Tensor) -> Tensor:
    """Cramér's V of all pairs of labels (M, A), shape (A, A); 0 where one is constant."""
    indicators = [one_hot(label.unique(return_inverse=True)[1]).double() for label in labels.T]
    result = torch.zeros(len(indicators), len(indicators), dtype=torch.float64)
    for a, first in enumerate(indicators):
        for b, second in enumerate(indicators[:a]):
            expected = first.mean(0)[:, None] * second.mean(0)
            chi_squared = ((first.T @ second / len(labels)) ** 2 / expected).sum() - 1
            freedom = min(first.shape[1], second.shape[1]) - 1
            if freedom > 0:
                result[a, b] = result[b, a] = (chi_squared / freedom).clamp_min(0).sqrt()
    return result
