"""How well features of trials tell high from low ratings: in people not seen before, and within each person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import sklearn
import torch
from scipy.stats import rankdata
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

# From hardly any shrinkage of standardized features to nearly all.
_PENALTIES = np.logspace(0, 4, 9)


class MeanArea(NamedTuple):
    """Mean area under the ROC curve over subjects, and its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def trial_means(values: Tensor, trial: Tensor) -> Tensor:
    """Means over the windows of each trial: (M, ...) to (T, ...), for trial numbers (M,) from 0 to T - 1.

    Raises
    ------
    ValueError
        If there is not one number a window, or a number that no window has.
    """
    if trial.shape != values.shape[:1]:
        raise ValueError(f"trial has shape {tuple(trial.shape)}: give ({len(values)},), one a window.")
    counts = trial.bincount()
    if not counts.all():
        raise ValueError(f"trial {int((counts == 0).nonzero()[0])} has no window: number trials without gaps.")
    sums = values.new_zeros(len(counts), *values.shape[1:]).index_add_(0, trial, values)
    return sums / counts.view(-1, *[1] * (values.ndim - 1))


def single_feature_auc(
    power: np.ndarray, rating: np.ndarray, subject: np.ndarray, threshold: float = 5.0
) -> np.ndarray:
    """How well each band power alone separates a subject's trials of high rating from those of low rating.

    The area under the ROC curve is taken within each subject and averaged over subjects, in the same sense for all:
    above 0.5 if power is higher in trials of high rating. The best feature, that farthest from 0.5, is so chosen once
    for all subjects. Subjects all of whose ratings are on one side are left out.

    Parameters
    ----------
    power : array, shape (trials, bands, electrodes)
        Of a trial each, of all subjects.
    rating : array, shape (trials,)
    subject : array, shape (trials,)
        Whose trial it is.
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
    features: Any, high: Any, subject: Any, tested: Sequence[int] | None = None
) -> dict[int, float]:
    """Area under the ROC curve in each subject, by a classifier that learned from all others.

    The classifier is a ridge regression on the standardized features in which both classes weigh the same; errors of
    leaving out one of the trials that it learns from choose the penalty. An area is the chance that of one trial with
    a high and one with a low rating of that subject the first gets the higher score; 0.5 is guessing. It does not
    depend on where the subject's scores lie.

    Parameters
    ----------
    features : array or tensor, shape (T, F)
        A row a trial.
    high : array or tensor of booleans, shape (T,)
        Whether the trial's rating is high.
    subject : array or tensor of integers, shape (T,)
        Whose trial it is.
    tested : sequence of int, optional
        Subjects to be tested, all if left out.

    Returns
    -------
    dict of subject to float
        Without subjects all of whose ratings are high, or none.

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than two subjects, or those to learn from have but one class.
    """
    features, high, subject = _checked(features, high, subject)
    subjects = np.unique(subject)
    if len(subjects) < 2:
        raise ValueError("All trials are of one subject: learning from other subjects needs two or more.")
    areas = {}
    for number in subjects.tolist() if tested is None else tested:
        own = subject == number
        if len(np.unique(high[own])) < 2:
            continue
        if len(np.unique(high[~own])) < 2:
            raise ValueError(f"The subjects other than {number} have ratings on one side only: choose another rating.")
        areas[number] = _learned_area(features, high, ~own, own)
    return areas


def areas_within_subjects(features: Any, high: Any, subject: Any, folds: int = 5, seed: int = 0) -> dict[int, float]:
    """Area under the ROC curve in each subject, by classifiers that learned from other trials of the same subject.

    Trials are dealt into folds at random, high and low evenly; each fold is told by the classifier of
    `areas_across_subjects` that learned from the others. An area is the mean over folds.

    Parameters
    ----------
    features : array or tensor, shape (T, F)
    high : array or tensor of booleans, shape (T,)
    subject : array or tensor of integers, shape (T,)
    folds : int
        Fewer in subjects with fewer trials of one class.
    seed : int
        Of the deal.

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
        areas[number] = float(np.mean([_learned_area(features, high, own[learn], own[test]) for learn, test in parts]))
    return areas


def mean_area(areas: Sequence[float], level: float = 0.95) -> MeanArea:
    """Mean over subjects with Student's confidence interval: for subjects like these, not for these.

    Raises
    ------
    ValueError
        If there are fewer than two subjects.
    """
    values = np.asarray(areas, dtype=float)
    if len(values) < 2:
        raise ValueError(f"There are {len(values)} subjects: an interval needs two or more.")
    half = scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return MeanArea(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def _checked(features: Any, high: Any, subject: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, high, subject = (torch.as_tensor(part).cpu().numpy() for part in (features, high, subject))
    if features.ndim != 2 or high.shape != features.shape[:1] or subject.shape != features.shape[:1]:
        raise ValueError(
            f"features has shape {features.shape}, high {high.shape} and subject {subject.shape}: give (T, F), (T,) "
            "and (T,), a row a trial."
        )
    return features.astype(np.float64), high.astype(bool), subject


def _learned_area(features: np.ndarray, high: np.ndarray, learn: np.ndarray, test: np.ndarray) -> float:
    if not features.shape[1]:
        return 0.5
    # Of so small problems scikit-learn's checks of its own calls would take more than half of the time.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        classifier = _classifier().fit(features[learn], high[learn])
        scores = classifier.decision_function(features[test])
    return float(_roc_area(scores, high[test]))


def _roc_area(values: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Area under the ROC curve by Mann and Whitney's U, along the first axis; ties count one half."""
    n_high = high.sum()
    u = rankdata(values, axis=0)[high].sum(0) - n_high * (n_high + 1) / 2
    return u / (n_high * (len(high) - n_high))


def _classifier() -> Pipeline:
    return make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=_PENALTIES, class_weight="balanced"))
