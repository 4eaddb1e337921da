"""Which factors go with what subjects say, from trial to trial within each subject."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import rankdata
from torch import Tensor
from tqdm import tqdm

from companion.experiments.subjects import trial_means
from vaemi.influence._permutations import permutation_test, shuffles

if TYPE_CHECKING:
    import pandas as pd

# Fisher's z of fewer trials has no finite variance, 1 / (trials - 3).
_LEAST_TRIALS = 4


@dataclass(frozen=True)
class RatingAssociation:
    """Rank correlation of each of H factors with each of R ratings, within subjects.

    Attributes
    ----------
    correlation : Tensor of float64, shape (H, R)
        Over the subjects: tanh of the mean of their Fisher z, weighted by the number of trials less 3.
    by_subject : Tensor, shape (S, H, R)
        Spearman's rank correlation over the trials of each subject, in the order of `subjects`; 0 where factor or
        rating is the same in all trials, and such a subject has no weight in that cell.
    p_value : Tensor, shape (H, R)
        Two-sided, of every cell alone.
    corrected_p_value : Tensor, shape (H, R)
        Corrected for the number of cells: chance that unrelated ratings give a correlation as far from 0.
    threshold : float
        Absolute correlation that a cell must exceed to be significant at `alpha` after the correction.
    subjects : tuple, length S
    permutations : int
    alpha : float
        Family-wise error rate of `threshold`.
    """

    correlation: Tensor
    by_subject: Tensor
    p_value: Tensor
    corrected_p_value: Tensor
    threshold: float
    subjects: tuple[Any, ...]
    permutations: int
    alpha: float

    def significant(self, alpha: float | None = None) -> Tensor:
        """Cells whose corrected p-value is at most alpha (that of the test if left out), bool of shape (H, R)."""
        return self.corrected_p_value <= (self.alpha if alpha is None else alpha)

    def to_frame(self, names: list[str] | None = None) -> pd.DataFrame:
        """A row a cell, the strongest first: factor, rating, correlation, p_value, corrected_p_value.

        `names` are those of the ratings, their numbers if left out.
        """
        import pandas as pd

        order = self.correlation.abs().flatten().argsort(descending=True, stable=True)
        n_ratings = self.correlation.shape[1]
        rating = (order % n_ratings).tolist()
        columns: dict[str, Any] = {
            "factor": (order // n_ratings).numpy(),
            "rating": rating if names is None else [names[r] for r in rating],
        }
        for name in ("correlation", "p_value", "corrected_p_value"):
            columns[name] = getattr(self, name).flatten()[order].numpy()
        return pd.DataFrame(columns)


def rating_association(
    mean: Any,
    ratings: Any,
    subject: Any,
    trial: Any,
    *,
    permutations: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
) -> RatingAssociation:
    """Test whether factors go with ratings from trial to trial, whatever subjects differ in.

    A factor's value in a trial is the mean over the trial's windows. Within each subject it is correlated with the
    rating by ranks, so neither a subject's level of the factor nor its use of the scale matters; subjects are combined
    by the mean of Fisher's z with trials - 3 as weights. Permutations shuffle the rows of the ratings over the trials
    of each subject, which keeps the ratings' correlations among each other and the windows of a trial together; the
    largest absolute mean z over all cells corrects for their number (Westfall and Young, single step). A perfect rank
    correlation, whose z is infinite, counts for half of the step to it.

    Parameters
    ----------
    mean : array or tensor, shape (M, H)
        Factors' values in M windows.
    ratings : array or tensor, shape (T, R)
        A row for each trial that occurs in the windows, sorted by subject and then by trial.
    subject, trial : arrays or tensors of integers, shape (M,)
        Of each window. The same number of a trial in two subjects is two trials.
    permutations : int
        p-values are multiples of 1 / (1 + permutations).
    alpha : float
        Family-wise error rate of `threshold`.
    seed : int

    Returns
    -------
    RatingAssociation

    Raises
    ------
    ValueError
        If the shapes do not fit, if there is not one row of ratings a trial, if a value is not finite, if a subject
        has fewer than 4 trials, or if alpha asks for more permutations.

    References
    ----------
    Nichols and Holmes, Nonparametric permutation tests for functional neuroimaging, Human Brain Mapping 15 (2002)
    1-25.
    """
    values, ratings, trial_subject = _by_trial(mean, ratings, subject, trial)
    subjects, counts = trial_subject.unique(return_counts=True)
    if counts.min() < _LEAST_TRIALS:
        few = int(subjects[counts.argmin()])
        raise ValueError(
            f"Subject {few} has {int(counts.min())} trials: a rank correlation within a subject needs "
            f"{_LEAST_TRIALS}, so leave the subject out."
        )
    generator = torch.Generator().manual_seed(seed)
    cells = (values.shape[1], ratings.shape[1])
    combined = torch.zeros(1 + permutations, *cells, dtype=torch.float64)
    weight = torch.zeros(cells, dtype=torch.float64)
    by_subject = []
    for rows in tqdm(list(_rows(counts)), desc="ratings, subject by subject", mininterval=2):
        factor_ranks, rating_ranks = _unit_ranks(values[rows]), _unit_ranks(ratings[rows])
        n = len(factor_ranks)
        shuffled = rating_ranks[shuffles(permutations, n, generator)]
        correlation = torch.einsum("th,ptr->phr", factor_ranks, shuffled)
        varies = factor_ranks.any(0)[:, None] & rating_ranks.any(0)
        by_subject.append(correlation[0].clone())
        combined += (n - 3) * _fisher_z(correlation, n)
        weight += (n - 3) * varies
    # Orders that give the same correlations must tie, whatever the rounding of the sums.
    combined = (combined / weight.clamp_min(1)).round(decimals=12)
    test = permutation_test(combined.abs(), alpha)
    return RatingAssociation(
        correlation=combined[0].tanh(),
        by_subject=torch.stack(by_subject),
        p_value=test.p_value,
        corrected_p_value=test.corrected_p_value,
        threshold=math.tanh(test.critical),
        subjects=tuple(subjects.tolist()),
        permutations=permutations,
        alpha=alpha,
    )


def slopes_within_subjects(mean: Any, ratings: Any, subject: Any, trial: Any) -> Tensor:
    """By how much factors are higher in trials whose rating is one standard deviation of that subject's ratings higher.

    The least-squares slopes of a factor's means over the windows of each trial, averaged over subjects with the number
    of their trials as weights. A subject who gives the same rating to all trials has no weight in that rating.

    Parameters
    ----------
    mean : array or tensor, shape (M, H)
        Factors' values in M windows.
    ratings : array or tensor, shape (T, R)
        In the order of `rating_association`.
    subject, trial : arrays or tensors of integers, shape (M,)

    Returns
    -------
    Tensor of float64, shape (H, R)
        0 for a rating that is the same in all trials of each subject.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite.
    """
    values, ratings, trial_subject = _by_trial(mean, ratings, subject, trial)
    total = values.new_zeros(values.shape[1], ratings.shape[1])
    weight = values.new_zeros(ratings.shape[1])
    for number in trial_subject.unique():
        own = trial_subject == number
        given = ratings[own] - ratings[own].mean(0)
        spread = given.square().mean(0).sqrt()
        # Slope on the standardized rating, times the number of trials.
        total += values[own].T @ torch.where(spread > 0, given / spread, 0.0)
        weight += (spread > 0) * len(given)
    return total / weight.clamp_min(1)


def _by_trial(mean: Any, ratings: Any, subject: Any, trial: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Factors' means over the windows of each trial (T, H), ratings (T, R), and the subject of each trial (T,)."""
    mean, ratings = (torch.as_tensor(numbers).cpu().double() for numbers in (mean, ratings))
    subject, trial = (torch.as_tensor(numbers).cpu() for numbers in (subject, trial))
    if mean.ndim != 2 or subject.shape != mean.shape[:1] or trial.shape != mean.shape[:1]:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)}, subject {tuple(subject.shape)} and trial {tuple(trial.shape)}: give "
            "(M, H), (M,) and (M,), a row a window."
        )
    windows = torch.stack([subject, trial], dim=1)
    pairs, of_window = windows.unique(dim=0, return_inverse=True)
    if ratings.ndim != 2 or len(ratings) != len(pairs):
        raise ValueError(
            f"ratings has shape {tuple(ratings.shape)}: give ({len(pairs)}, R), a row for each trial of each subject "
            "in the windows."
        )
    if not (mean.isfinite().all() and ratings.isfinite().all()):
        raise ValueError("mean or ratings holds a number that is not finite: leave that trial out.")
    return trial_means(mean, of_window), ratings, pairs[:, 0]


def _rows(counts: Tensor) -> Iterator[slice]:
    """Where the rows of each group lie."""
    for end, count in zip(counts.cumsum(0).tolist(), counts.tolist(), strict=True):
        yield slice(end - count, end)


def _unit_ranks(columns: Tensor) -> Tensor:
    """Ranks of each column (n, C), centred and of unit length, so that products are correlations; 0 for a constant."""
    ranks = torch.from_numpy(rankdata(columns.numpy(), axis=0))
    ranks -= ranks.mean(0)
    length = ranks.square().sum(0).sqrt()
    return torch.where(length > 0, ranks / length, 0.0)


def _fisher_z(correlation: Tensor, n: int) -> Tensor:
    # One exchange of neighbours lowers the rank correlation of n from 1 by 12 / (n (n^2 - 1)).
    most = 1 - 6 / (n * (n**2 - 1))
    return correlation.clamp(-most, most).atanh()
