"""Analyses of EEG: which factors go with ratings, and how well features of trials predict high ratings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.stats
import sklearn
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from tqdm import tqdm

from vaemi.influence._permutations import permutation_test, shuffles

if TYPE_CHECKING:
    import pandas as pd

_LEAST_TRIALS = 4  # the variance of Fisher's z is 1 / (trials - 3)
_PENALTIES = np.logspace(0, 4, 9)  # from hardly any shrinkage of standardized features to nearly all


@dataclass(frozen=True)
class RatingAssociation:
    """Rank correlation of each of H factors with each of R ratings, within subjects.

    Attributes
    ----------
    correlation : Tensor of float64, shape (H, R)
        tanh of the subjects' mean Fisher z, weighted by the number of trials less 3.
    by_subject : Tensor, shape (S, H, R)
        Spearman's rank correlation over the trials of each subject, in the order of `subjects`. It is 0 where the
        factor or the rating is constant; such a subject has no weight in that cell.
    p_value : Tensor, shape (H, R)
        Two-sided, of every cell alone.
    corrected_p_value : Tensor, shape (H, R)
        Corrected for the number of cells: probability that unrelated ratings give a correlation as far from 0 in any.
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
    subjects: tuple[int, ...]
    permutations: int
    alpha: float

    def significant(self, alpha: float | None = None) -> Tensor:
        """Return which cells have a corrected p-value of at most alpha (default: the test's), bool, shape (H, R)."""
        return self.corrected_p_value <= (self.alpha if alpha is None else alpha)

    def to_frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a row for each cell, the strongest first: factor, rating, correlation, p_value, corrected_p_value.

        `names` are the ratings' names; numbers are used if left out.
        """
        import pandas as pd

        order = self.correlation.abs().flatten().argsort(descending=True, stable=True)
        factor, rating = (index.tolist() for index in torch.unravel_index(order, self.correlation.shape))
        columns = {"factor": factor, "rating": rating if names is None else [names[r] for r in rating]}
        statistics = ("correlation", "p_value", "corrected_p_value")
        return pd.DataFrame(columns | {name: getattr(self, name).flatten()[order].numpy() for name in statistics})


def rating_association(
    mean: ArrayLike | Tensor,
    ratings: ArrayLike | Tensor,
    subject: ArrayLike | Tensor,
    trial: ArrayLike | Tensor,
    *,
    permutations: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
) -> RatingAssociation:
    """Test whether factors go with ratings from trial to trial within subjects.

    A factor's value in a trial is its mean over the trial's windows. It is correlated with the rating by ranks within
    each subject, so neither a subject's level of the factor nor its use of the scale matters. Subjects are combined by
    the mean of Fisher's z with weights trials - 3. Permutations shuffle the rows of the ratings over the trials of
    each subject, which keeps the ratings' correlations with each other and the windows of a trial together. The largest
    absolute mean z over all cells corrects for their number (Westfall and Young, single step). A perfect rank
    correlation, whose z is infinite, counts as halfway between 1 and the next possible value.

    Parameters
    ----------
    mean : array or tensor, shape (M, H)
        Factors' values in M windows.
    ratings : array or tensor, shape (T, R)
        A row for each trial that occurs in the windows, sorted by subject and then by trial.
    subject, trial : arrays or tensors of integers, shape (M,)
        Of each window. The same trial number in two subjects means two trials.
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
        If shapes do not match, a value is not finite, a subject has fewer than 4 trials, or alpha needs more
        permutations.

    References
    ----------
    Nichols and Holmes, Nonparametric permutation tests for functional neuroimaging, Human Brain Mapping 15 (2002)
    1-25.
    """
    values, ratings, trial_subject = _by_trial(mean, ratings, subject, trial)
    subjects, counts = trial_subject.unique(return_counts=True)
    if counts.min() < _LEAST_TRIALS:
        few = int(subjects[counts.argmin()])
        raise ValueError(f"Subject {few} has {int(counts.min())} trials, fewer than {_LEAST_TRIALS}: leave it out.")
    generator = torch.Generator().manual_seed(seed)
    cells = (values.shape[1], ratings.shape[1])
    combined = torch.zeros(1 + permutations, *cells, dtype=torch.float64)
    weight = torch.zeros(cells, dtype=torch.float64)
    by_subject = []
    for number in tqdm(subjects, desc="permuting ratings", unit="subject", mininterval=2):
        own = trial_subject == number
        factor_ranks, rating_ranks = _unit_ranks(values[own]), _unit_ranks(ratings[own])
        n = len(factor_ranks)
        shuffled = rating_ranks[shuffles(permutations, n, generator)]
        correlation = torch.einsum("th,ptr->phr", factor_ranks, shuffled)
        by_subject.append(correlation[0].clone())
        combined += (n - 3) * _fisher_z(correlation, n)
        weight += (n - 3) * (factor_ranks.any(0)[:, None] & rating_ranks.any(0))
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


def slopes_within_subjects(
    mean: ArrayLike | Tensor, ratings: ArrayLike | Tensor, subject: ArrayLike | Tensor, trial: ArrayLike | Tensor
) -> Tensor:
    """Compute the change of each factor for one standard deviation of each rating, within subjects.

    These are least-squares slopes of a factor's means over the windows of each trial, averaged over subjects with their
    numbers of trials as weights. A subject who rates all trials the same has no weight in that rating.

    Parameters
    ----------
    mean, ratings, subject, trial
        See `rating_association`.

    Returns
    -------
    Tensor of float64, shape (H, R)
        0 for a rating that is constant in every subject.

    Raises
    ------
    ValueError
        If shapes do not match or a value is not finite.
    """
    values, ratings, trial_subject = _by_trial(mean, ratings, subject, trial)
    total = values.new_zeros(values.shape[1], ratings.shape[1])
    weight = values.new_zeros(ratings.shape[1])
    for number in trial_subject.unique():
        own = trial_subject == number
        centred = ratings[own] - ratings[own].mean(0)
        spread = centred.square().mean(0).sqrt()
        total += values[own].T @ torch.where(spread > 0, centred / spread, 0.0)  # slope times number of trials
        weight += (spread > 0) * len(centred)
    return total / weight.clamp_min(1)


def trial_means(values: Tensor, trial: Tensor) -> Tensor:
    """Average over the windows of each trial: (M, ...) to (T, ...), for trial numbers (M,) from 0 to T - 1.

    Raises
    ------
    ValueError
        If there is not one number for each window, or a number is skipped.
    """
    if trial.shape != values.shape[:1]:
        raise ValueError(f"trial has shape {tuple(trial.shape)}: give ({len(values)},), one for each window.")
    counts = trial.bincount()
    if not counts.all():
        raise ValueError(f"trial {int((counts == 0).nonzero()[0])} has no window: number trials without gaps.")
    sums = values.new_zeros(len(counts), *values.shape[1:]).index_add_(0, trial, values)
    return sums / counts.view(-1, *[1] * (values.ndim - 1))


class MeanArea(NamedTuple):
    """Mean area under the ROC curve over subjects, and its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def mean_area(areas: Sequence[float], level: float = 0.95) -> MeanArea:
    """Average areas over subjects, with Student's confidence interval for the population of subjects.

    Raises
    ------
    ValueError
        If there are fewer than two subjects.
    """
    values = np.asarray(areas, dtype=float)
    if len(values) < 2:
        raise ValueError(f"There are {len(values)} subjects: an interval needs two or more.")
    half = scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * scipy.stats.sem(values)
    return MeanArea(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def single_feature_auc(power: ArrayLike, rating: ArrayLike, subject: ArrayLike, threshold: float = 5.0) -> np.ndarray:
    """Compute how well each band power alone separates a subject's trials of high rating from those of low rating.

    The area under the ROC curve is taken within each subject and averaged over subjects; it is above 0.5 if power is
    higher in trials of high rating. Subjects with ratings on one side of the threshold only are left out.

    Parameters
    ----------
    power : array, shape (trials, bands, electrodes)
        Of all subjects.
    rating, subject : array, shape (trials,)
    threshold : float
        Ratings above it are high.

    Returns
    -------
    array, shape (bands, electrodes)

    Raises
    ------
    ValueError
        If the lengths differ, or no subject has both high and low ratings.
    """
    power, high, subject = np.asarray(power), np.asarray(rating) > threshold, np.asarray(subject)
    if not len(power) == len(high) == len(subject):
        raise ValueError(f"power, rating and subject have lengths {len(power)}, {len(high)} and {len(subject)}.")
    own_trials = [subject == number for number in np.unique(subject)]
    areas = [_roc_area(power[own], high[own]) for own in own_trials if 0 < high[own].mean() < 1]
    if not areas:
        raise ValueError(f"No subject has ratings both above and up to {threshold}.")
    return np.mean(areas, axis=0)


def areas_across_subjects(
    features: ArrayLike | Tensor,
    high: ArrayLike | Tensor,
    subject: ArrayLike | Tensor,
    tested: Sequence[int] | None = None,
) -> dict[int, float]:
    """Compute the area under the ROC curve in each subject of a classifier trained on all other subjects.

    The classifier is a ridge regression on standardized features with balanced classes, whose penalty is chosen by
    leaving out single training trials. An area of 0.5 is guessing; it does not depend on the level of a subject's
    scores.

    Parameters
    ----------
    features : array or tensor, shape (T, F)
        A row for each trial.
    high : array or tensor of booleans, shape (T,)
        Whether the trial's rating is high.
    subject : array or tensor of integers, shape (T,)
    tested : sequence of int, optional
        Subjects to be tested, all if left out.

    Returns
    -------
    dict of subject to float
        Without subjects whose ratings are all high or all low.

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than two subjects, or the training trials have one class only.
    """
    features, high, subject = _checked(features, high, subject)
    subjects = np.unique(subject)
    if len(subjects) < 2:
        raise ValueError("All trials are of one subject: training on other subjects needs two or more.")
    areas = {}
    for number in subjects.tolist() if tested is None else tested:
        own = subject == number
        if len(np.unique(high[own])) < 2:
            continue
        if len(np.unique(high[~own])) < 2:
            raise ValueError(f"The subjects other than {number} have ratings on one side only: choose another rating.")
        areas[number] = _test_area(features, high, ~own, own)
    return areas


def areas_within_subjects(
    features: ArrayLike | Tensor, high: ArrayLike | Tensor, subject: ArrayLike | Tensor, folds: int = 5, seed: int = 0
) -> dict[int, float]:
    """Compute the area under the ROC curve in each subject by stratified cross-validation over its own trials.

    Parameters
    ----------
    features, high, subject
        See `areas_across_subjects`, also for the classifier.
    folds : int
        Fewer in subjects with fewer trials of one class. The area is the mean over the folds.
    seed : int
        Of the folds.

    Returns
    -------
    dict of subject to float
        Without subjects with fewer than two trials of either class.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    features, high, subject = _checked(features, high, subject)
    areas = {}
    for number in np.unique(subject).tolist():
        own = np.flatnonzero(subject == number)
        possible = min(folds, int(high[own].sum()), int((~high[own]).sum()))
        if possible < 2:
            continue
        parts = StratifiedKFold(possible, shuffle=True, random_state=seed).split(own, high[own])
        areas[number] = float(np.mean([_test_area(features, high, own[train], own[test]) for train, test in parts]))
    return areas


def _by_trial(mean: Any, ratings: Any, subject: Any, trial: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return factors' means over the windows of each trial (T, H), ratings (T, R) and the trials' subjects (T,)."""
    mean, ratings = (torch.as_tensor(numbers).cpu().double() for numbers in (mean, ratings))
    subject, trial = (torch.as_tensor(numbers).cpu() for numbers in (subject, trial))
    if mean.ndim != 2 or subject.shape != mean.shape[:1] or trial.shape != mean.shape[:1]:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)}, subject {tuple(subject.shape)} and trial {tuple(trial.shape)}: give "
            "(M, H), (M,) and (M,), a row for each window."
        )
    pairs, of_window = torch.stack([subject, trial], dim=1).unique(dim=0, return_inverse=True)
    if ratings.ndim != 2 or len(ratings) != len(pairs):
        raise ValueError(f"ratings has shape {tuple(ratings.shape)}: give ({len(pairs)}, R), a row for each trial.")
    if not (mean.isfinite().all() and ratings.isfinite().all()):
        raise ValueError("mean or ratings holds a number that is not finite: leave that trial out.")
    return trial_means(mean, of_window), ratings, pairs[:, 0]


def _unit_ranks(columns: Tensor) -> Tensor:
    """Rank each column (n, C), centred and of unit length, so that products are correlations; 0 for a constant."""
    ranks = torch.from_numpy(rankdata(columns.numpy(), axis=0))
    ranks -= ranks.mean(0)
    length = ranks.square().sum(0).sqrt()
    return torch.where(length > 0, ranks / length, 0.0)


def _fisher_z(correlation: Tensor, n: int) -> Tensor:
    # Exchanging two neighbours lowers the rank correlation of n from 1 by 12 / (n (n^2 - 1)).
    largest = 1 - 6 / (n * (n**2 - 1))
    return correlation.clamp(-largest, largest).atanh()


def _checked(features: Any, high: Any, subject: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, high, subject = (torch.as_tensor(part).cpu().numpy() for part in (features, high, subject))
    if features.ndim != 2 or high.shape != features.shape[:1] or subject.shape != features.shape[:1]:
        raise ValueError(
            f"features has shape {features.shape}, high {high.shape} and subject {subject.shape}: give (T, F), (T,) "
            "and (T,), a row for each trial."
        )
    return features.astype(np.float64), high.astype(bool), subject


def _test_area(features: np.ndarray, high: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    if not features.shape[1]:
        return 0.5
    # scikit-learn's checks of its own calls would take more than half of the time of such small problems.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        ridge = RidgeClassifierCV(alphas=_PENALTIES, class_weight="balanced")
        classifier = make_pipeline(StandardScaler(), ridge).fit(features[train], high[train])
        return float(_roc_area(classifier.decision_function(features[test]), high[test]))


def _roc_area(values: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Compute areas under the ROC curve along the first axis by Mann and Whitney's U; ties count one half."""
    n_high = high.sum()
    u = rankdata(values, axis=0)[high].sum(0) - n_high * (n_high + 1) / 2
    return u / (n_high * (len(high) - n_high))
