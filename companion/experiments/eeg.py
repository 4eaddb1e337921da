"""Analyses of EEG: which factors go with ratings, and how well features of trials predict high ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
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

from vaemi.influence._permutations import allowed_exceedances, permutation_test, shuffles

_PENALTIES = np.logspace(0, 4, 9)  # from hardly any shrinkage of standardized features to nearly all


@dataclass(frozen=True)
class RatingAssociation:
    """Rank correlation of each of H factors with each of R ratings, within subjects.

    Attributes
    ----------
    correlation : Tensor of float64, shape (H, R)
        tanh of the subjects' mean Fisher z, weighted by the number of trials less 3.
    p_value : Tensor, shape (H, R)
        Two-sided, of every cell alone.
    corrected_p_value : Tensor, shape (H, R)
        Corrected for the number of cells: probability that unrelated ratings give a correlation as far from 0 in any.
    alpha : float
        Family-wise error rate of the test.
    subject_z, subject_weight : Tensor of float64, shape (S, H, R)
        Fisher's z of each of S subjects, and the subject's weight in the mean.
    """

    correlation: Tensor
    p_value: Tensor
    corrected_p_value: Tensor
    alpha: float
    subject_z: Tensor
    subject_weight: Tensor

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return the ends of Student's confidence interval of the correlation for the population of subjects.

        It is that of the weighted mean of Fisher's z over the subjects, with one degree of freedom less than there are
        subjects, and reaches from -1 to 1 where fewer than two subjects have a weight. It holds for a cell that was
        chosen beforehand: the correlation of the strongest of several cells is too far from 0 on average.

        Returns
        -------
        low, high : Tensor of float64, shape (H, R)
        """
        z = self.correlation.atanh()
        share = self.subject_weight / self.subject_weight.sum(0).clamp_min(1)
        subjects = (self.subject_weight > 0).sum(0)
        freedom = (subjects - 1).clamp_min(1).double()
        stderr = ((share * (self.subject_z - z)).square().sum(0) * (subjects / freedom)).sqrt()
        half = torch.from_numpy(scipy.stats.t.ppf((1 + confidence) / 2, freedom.numpy())) * stderr
        half = torch.where(subjects > 1, half, torch.inf)
        return (z - half).tanh(), (z + half).tanh()

    def significant(self, alpha: float | None = None) -> Tensor:
        """Return which cells have a corrected p-value of at most alpha (default: the test's), bool, shape (H, R)."""
        return self.corrected_p_value <= (self.alpha if alpha is None else alpha)

    def to_frame(self, names: Sequence[str]) -> pd.DataFrame:
        """Return a row for each cell, the strongest first: factor, rating, correlation, p_value, corrected_p_value.

        `names` are the ratings' names.
        """
        cells = pd.MultiIndex.from_product([range(len(self.correlation)), names], names=["factor", "rating"])
        statistics = ("correlation", "p_value", "corrected_p_value")
        frame = pd.DataFrame({name: getattr(self, name).flatten().numpy() for name in statistics}, index=cells)
        return frame.sort_values("correlation", key=abs, ascending=False, kind="stable").reset_index()


def rating_association(
    values: Tensor, ratings: Tensor, subject: Tensor, *, permutations: int = 1000, alpha: float = 0.05, seed: int = 0
) -> RatingAssociation:
    """Test whether factors go with ratings from trial to trial within subjects.

    Factors are correlated with ratings by ranks within each subject, so neither a subject's level of the factor nor its
    use of the scale matters. Subjects are combined by the mean of Fisher's z with weights trials - 3. Permutations
    shuffle the rows of the ratings over the trials of each subject, which keeps the ratings' correlations with each
    other. The largest absolute mean z over all cells corrects for their number (Westfall and Young, single step). A
    perfect rank correlation, whose z is infinite, counts as halfway between 1 and the next possible value.

    Parameters
    ----------
    values : Tensor, shape (T, H)
        Factors in T trials: means over the trial's windows.
    ratings : Tensor, shape (T, R)
    subject : Tensor of integers, shape (T,)
        Of each trial.
    permutations : int
        p-values are multiples of 1 / (1 + permutations).
    alpha : float
        Family-wise error rate.
    seed : int

    Raises
    ------
    ValueError
        If a subject has fewer than 4 trials, or alpha needs more permutations.

    References
    ----------
    Nichols and Holmes, Nonparametric permutation tests for functional neuroimaging, Human Brain Mapping 15 (2002)
    1-25.
    """
    allowed_exceedances(alpha, permutations)  # refuses alpha before the long part
    generator = torch.Generator().manual_seed(seed)
    cells = (values.shape[1], ratings.shape[1])
    combined = torch.zeros(1 + permutations, *cells, dtype=torch.float64)
    subject_z, subject_weight = [], []
    for number in subject.unique():
        own = subject == number
        n = int(own.sum())
        if n < 4:  # the variance of Fisher's z is 1 / (n - 3)
            raise ValueError(f"A subject has {n} trials, fewer than 4: leave it out.")
        factor_ranks, rating_ranks = _unit_ranks(values[own]), _unit_ranks(ratings[own])
        shuffled = rating_ranks[shuffles(permutations, n, generator)]
        correlation = torch.einsum("th,ptr->phr", factor_ranks, shuffled)
        # Exchanging two neighbours lowers the rank correlation of n from 1 by 12 / (n (n^2 - 1)).
        largest = 1 - 6 / (n * (n**2 - 1))
        z = correlation.clamp(-largest, largest).atanh()
        combined += (n - 3) * z
        subject_z.append(z[0])
        subject_weight.append((n - 3.0) * (factor_ranks.any(0)[:, None] & rating_ranks.any(0)).double())
    # Orders that give the same correlations must tie, whatever the rounding of the sums.
    weight = torch.stack(subject_weight)
    combined = (combined / weight.sum(0).clamp_min(1)).round(decimals=12)
    test = permutation_test(combined.abs(), alpha)
    return RatingAssociation(
        combined[0].tanh(), test.p_value, test.corrected_p_value, alpha, torch.stack(subject_z), weight
    )


def slopes_within_subjects(values: Tensor, ratings: Tensor, subject: Tensor) -> Tensor:
    """Compute the change of each factor for one standard deviation of each rating, within subjects.

    These are least-squares slopes over the trials of each subject, averaged over subjects with their numbers of trials
    as weights. A subject who rates all trials the same has no weight in that rating.

    Parameters
    ----------
    values, ratings, subject
        See `rating_association`.

    Returns
    -------
    Tensor of float64, shape (H, R)
        0 for a rating that is constant in every subject.
    """
    values, ratings = values.double(), ratings.double()
    total = values.new_zeros(values.shape[1], ratings.shape[1])
    weight = values.new_zeros(ratings.shape[1])
    for number in subject.unique():
        own = subject == number
        centred = ratings[own] - ratings[own].mean(0)
        spread = centred.square().mean(0).sqrt()
        total += values[own].T @ torch.where(spread > 0, centred / spread, 0.0)  # slope times number of trials
        weight += (spread > 0) * len(centred)
    return total / weight.clamp_min(1)


def single_feature_auc(features: ArrayLike, high: ArrayLike, subject: ArrayLike) -> np.ndarray:
    """Compute how well each feature alone separates a subject's trials of high rating from those of low rating.

    Parameters
    ----------
    features : array, shape (T, ...)
        Such as band power of each band and electrode.
    high, subject
        See `areas_across_subjects`.

    Returns
    -------
    array, shape (...)
        Area under the ROC curve, averaged over subjects with both high and low ratings; above 0.5 if the feature is
        higher in trials of high rating.
    """
    features, high, subject = np.asarray(features), np.asarray(high), np.asarray(subject)
    own_trials = [subject == number for number in np.unique(subject)]
    return np.mean([_roc_area(features[own], high[own]) for own in own_trials if 0 < high[own].mean() < 1], axis=0)


def areas_across_subjects(
    features: ArrayLike, high: ArrayLike, subject: ArrayLike, tested: Sequence[int]
) -> dict[int, float]:
    """Compute the area under the ROC curve in each tested subject of a classifier trained on all other subjects.

    The classifier is a ridge regression on standardized features with balanced classes, whose penalty is chosen by
    leaving out single training trials. An area of 0.5 is guessing; it does not depend on the level of a subject's
    scores.

    Parameters
    ----------
    features : array, shape (T, F)
        A row for each trial.
    high : array of booleans, shape (T,)
        Whether the trial's rating is high.
    subject : array of integers, shape (T,)
    tested : sequence of int
        Subjects to be tested.

    Returns
    -------
    dict of subject to float
        Without subjects whose ratings are all high or all low.

    Raises
    ------
    ValueError
        If the training trials have one class only.
    """
    high, subject = np.asarray(high), np.asarray(subject)
    areas = {}
    for number in tested:
        own = subject == number
        if len(np.unique(high[own])) < 2:
            continue
        if len(np.unique(high[~own])) < 2:
            raise ValueError(f"Without subject {number} all ratings are high, or all are low: choose another rating.")
        areas[number] = _test_area(features, high, ~own, own)
    return areas


def areas_within_subjects(features: ArrayLike, high: ArrayLike, subject: ArrayLike, seed: int = 0) -> dict[int, float]:
    """Compute the area under the ROC curve in each subject by stratified 5-fold cross-validation over its own trials.

    Parameters
    ----------
    features, high, subject
        See `areas_across_subjects`, also for the classifier.
    seed : int
        Of the folds, which are fewer in subjects with fewer trials of one class.

    Returns
    -------
    dict of subject to float
        The mean over the folds, without subjects with fewer than two trials of either class.
    """
    high, subject = np.asarray(high), np.asarray(subject)
    areas = {}
    for number in np.unique(subject).tolist():
        own = np.flatnonzero(subject == number)
        folds = min(5, int(high[own].sum()), int((~high[own]).sum()))
        if folds < 2:
            continue
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(own, high[own])
        areas[number] = float(np.mean([_test_area(features, high, own[train], own[test]) for train, test in parts]))
    return areas


def area_rows(
    features: Mapping[str, Tensor], high: Mapping[str, Tensor], subject: Tensor, tested: Tensor, seed: int = 0
) -> list[tuple[str, str, str, float]]:
    """Return the area in each tested subject for each rating and each set of features, by both tests.

    Parameters
    ----------
    features : mapping of name to Tensor, shape (T, F)
    high : mapping of rating to Tensor of bool, shape (T,)
    subject : Tensor of integers, shape (T,)
    tested : Tensor of integers
        Subjects that the features' encoder has not seen.
    seed : int
        Of the folds of `areas_within_subjects`.

    Returns
    -------
    list of (test, features, rating, area)
        The test is "people not seen" (`areas_across_subjects`) or "within a person" (`areas_within_subjects`).
    """
    rows = []
    theirs = torch.isin(subject, tested)
    for rating, is_high in high.items():
        for name, columns in features.items():
            unseen = areas_across_subjects(columns, is_high, subject, tested.tolist())
            own = areas_within_subjects(columns[theirs], is_high[theirs], subject[theirs], seed=seed)
            rows += [("people not seen", name, rating, area) for area in unseen.values()]
            rows += [("within a person", name, rating, area) for area in own.values()]
    return rows


def mean_areas(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the column `area` over subjects for each value of the other columns, which become the index.

    The columns are mean, low and high: Student's 95 % confidence interval for the population of subjects.
    """
    settings = [name for name in scores.columns if name != "area"]
    areas = scores.groupby(settings, sort=False).area
    half = scipy.stats.t.ppf(0.975, areas.count() - 1) * areas.sem()
    return pd.DataFrame({"mean": areas.mean(), "low": areas.mean() - half, "high": areas.mean() + half})


def _unit_ranks(columns: Tensor) -> Tensor:
    """Rank each column (n, C), centred and of unit length, so that products are correlations; 0 for a constant."""
    ranks = torch.from_numpy(rankdata(columns.numpy(), axis=0))
    ranks -= ranks.mean(0)
    length = ranks.square().sum(0).sqrt()
    return torch.where(length > 0, ranks / length, 0.0)


def _test_area(features: ArrayLike, high: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    features = np.asarray(features, dtype=np.float64)
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
