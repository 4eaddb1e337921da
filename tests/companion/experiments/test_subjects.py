"""Telling ratings across and within subjects against areas in closed form, and against chance."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from companion import experiments


def trials(n_subjects=6, n=60, shift=1.0, own=0.0, n_features=4, seed=0):
    """Feature 0 is shifted by `shift` in high trials, feature 1 by `own` with a sign of each subject."""
    generator = torch.Generator().manual_seed(seed)
    subject = torch.arange(n_subjects).repeat_interleave(n)
    high = torch.rand(len(subject), generator=generator) < 0.5
    features = torch.randn(len(subject), n_features, generator=generator)
    features[:, 0] += shift * high
    features[:, 1] += own * high * (1 - 2 * (subject % 2))
    return features, high, subject


def test_areas_are_those_of_two_normal_distributions():
    features, high, subject = trials(n=2000, shift=1.2)
    truth = norm.cdf(1.2 / math.sqrt(2))
    across = experiments.areas_across_subjects(features, high, subject)
    assert list(across) == list(range(6))
    assert np.mean(list(across.values())) == pytest.approx(truth, abs=0.015)
    within = experiments.areas_within_subjects(features, high, subject)
    assert np.mean(list(within.values())) == pytest.approx(truth, abs=0.015)


def test_what_only_holds_within_a_subject_does_not_carry_over():
    features, high, subject = trials(n=400, shift=0.0, own=2.0)
    # Those with the sign of the tested one are a minority among the others.
    assert max(experiments.areas_across_subjects(features, high, subject).values()) < 0.2
    assert min(experiments.areas_within_subjects(features, high, subject).values()) > 0.85


def test_neither_finds_anything_in_noise():
    areas = {"across": [], "within": []}
    for seed in range(12):
        data = trials(n=40, shift=0.0, n_features=20, seed=seed)
        areas["across"] += experiments.areas_across_subjects(*data).values()
        areas["within"] += experiments.areas_within_subjects(*data, seed=seed).values()
    for found in areas.values():
        # 72 areas with a standard deviation of about 0.1 each.
        assert np.mean(found) == pytest.approx(0.5, abs=0.035)


def test_nothing_is_learned_from_the_tested_subject():
    features, high, subject = trials(shift=0.5)
    before = experiments.areas_across_subjects(features, high, subject, tested=[2])
    assert list(before) == [2]
    flipped = torch.where(subject == 2, ~high, high)
    after = experiments.areas_across_subjects(features, flipped, subject, tested=[2])
    assert after[2] == pytest.approx(1 - before[2])


def test_no_features_are_a_coin_and_one_sided_subjects_are_left_out():
    features, high, subject = trials()
    high[subject == 1] = True
    high[subject == 3] = False
    high[(subject == 3).nonzero()[0]] = True
    across = experiments.areas_across_subjects(features[:, :0], high, subject)
    assert across == {0: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.5}
    assert list(experiments.areas_within_subjects(features, high, subject)) == [0, 2, 4, 5]


def test_the_interval_is_students():
    areas = [0.5, 0.6, 0.7, 0.8]
    found = experiments.mean_area(areas)
    half = t.ppf(0.975, 3) * np.std(areas, ddof=1) / 2
    assert found == pytest.approx((0.65, 0.65 - half, 0.65 + half))
    assert str(found) == f"0.65 [{0.65 - half:.2f}, {0.65 + half:.2f}]"


def test_trial_means():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    torch.testing.assert_close(
        experiments.trial_means(values, torch.tensor([1, 1, 0])), torch.tensor([[10.0, 20.0], [2.0, 3.0]])
    )
    assert experiments.trial_means(torch.ones(4, 3, 2), torch.tensor([0, 0, 1, 1])).shape == (2, 3, 2)
    with pytest.raises(ValueError, match="trial 1 has no window"):
        experiments.trial_means(values, torch.tensor([0, 0, 2]))
    with pytest.raises(ValueError, match="one a window"):
        experiments.trial_means(values, torch.tensor([0, 0]))


def test_what_cannot_be_told():
    features, high, subject = trials()
    with pytest.raises(ValueError, match="a row a trial"):
        experiments.areas_within_subjects(features, high[:-1], subject)
    with pytest.raises(ValueError, match="two or more"):
        experiments.areas_across_subjects(features, high, torch.zeros_like(subject))
    one_sided = torch.where(subject == 0, high, True)
    with pytest.raises(ValueError, match="other than 0 have ratings on one side"):
        experiments.areas_across_subjects(features, one_sided, subject)
    with pytest.raises(ValueError, match="two or more"):
        experiments.mean_area([0.5])


def test_area_under_the_curve_of_single_features():
    rating = np.array([1.0, 2, 8, 9, 9, 1, 1, 9, 3, 4])
    subject = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3])
    power = np.zeros((10, 1, 3))
    # Subject 1: 3 of 4 pairs in order; subject 2: all of them, at another level; subject 3 rates nothing high.
    power[:, 0, 0] = [1, 3, 2, 4, 18, 11, 12, 19, 7, 7]
    power[:, 0, 1] = -power[:, 0, 0]
    areas = experiments.single_feature_auc(power, rating, subject)
    assert areas.shape == (1, 3)
    assert areas[0] == pytest.approx([(0.75 + 1) / 2, (0.25 + 0) / 2, 0.5])
    assert experiments.single_feature_auc(power[8:], rating[8:], subject[8:], threshold=3)[0, 2] == 0.5
    with pytest.raises(ValueError, match="No subject"):
        experiments.single_feature_auc(power[8:], rating[8:], subject[8:])
    with pytest.raises(ValueError, match="lengths 10, 9 and 10"):
        experiments.single_feature_auc(power, rating[1:], subject)


# The files.
