"""Relations of factors and ratings within subjects, and prediction of ratings, against known answers and chance."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, spearmanr, t

from companion import experiments


def recordings(trials=(12, 12, 12), n_factors=3, n_ratings=2, windows=4, effect=0.0, seed=0):
    """Windows, ratings, and numbers of subject and trial; factor 1 follows rating 0 with the effect."""
    generator = np.random.default_rng(seed)
    subject = np.repeat(np.arange(len(trials)), trials)
    trial = np.concatenate([np.arange(n) for n in trials])
    ratings = generator.uniform(1, 9, (len(subject), n_ratings)).round()
    values = generator.normal(size=(len(subject), n_factors))
    values[:, 1] += effect * (ratings[:, 0] - 5) / 2
    shuffled = generator.permutation(len(subject) * windows)
    mean = np.repeat(values, windows, axis=0) + 0.2 * generator.normal(size=(len(subject) * windows, n_factors))
    return mean[shuffled], ratings, np.repeat(subject, windows)[shuffled], np.repeat(trial, windows)[shuffled]


def test_a_planted_relation_is_found_and_no_other():
    found = experiments.rating_association(*recordings((20,) * 6, effect=0.8), permutations=199)
    assert found.significant().nonzero().tolist() == [[1, 0]]
    assert torch.equal(found.correlation.abs() > found.threshold, found.significant())
    assert found.corrected_p_value[1, 0] == pytest.approx(1 / 200)
    assert found.by_subject.shape == (6, 3, 2)
    assert (found.by_subject[:, 1, 0] > 0.2).all()
    frame = found.to_frame(["valence", "arousal"])
    assert frame.iloc[0][["factor", "rating"]].tolist() == [1, "valence"]
    assert frame.correlation[0] == float(found.correlation[1, 0])
    opposite = experiments.rating_association(*recordings((20,) * 6, effect=-0.8), permutations=199)
    assert opposite.correlation[1, 0] < -opposite.threshold


def test_subjects_are_combined_by_their_trials():
    mean, ratings, subject, trial = recordings((5, 9, 30), effect=0.5)
    found = experiments.rating_association(mean, ratings, subject, trial, permutations=19)
    z, row = 0.0, 0
    for s, n in enumerate((5, 9, 30)):
        means = [mean[(subject == s) & (trial == t), 1].mean() for t in range(n)]
        rho = spearmanr(means, ratings[row : row + n, 0]).statistic
        row += n
        assert float(found.by_subject[s, 1, 0]) == pytest.approx(rho, abs=1e-12)
        z += (n - 3) * math.atanh(rho)
    assert float(found.correlation[1, 0]) == pytest.approx(math.tanh(z / (2 + 6 + 27)), abs=1e-11)


def test_p_values_are_those_of_all_orders():
    mean, ratings, subject, trial = recordings((5,), n_factors=2, n_ratings=1, windows=1, effect=0.5)
    values = mean[np.argsort(trial)]
    found = experiments.rating_association(mean, ratings, subject, trial, permutations=20_000)
    orders = [
        [abs(spearmanr(values[:, f], ratings[list(order), 0]).statistic) for f in range(2)]
        for order in itertools.permutations(range(5))
    ]
    orders = np.array(orders)
    for f in range(2):
        assert float(found.p_value[f]) == pytest.approx((orders[:, f] >= orders[0, f] - 1e-9).mean(), abs=0.015)
        exact = (orders.max(1) >= orders[0, f] - 1e-9).mean()
        assert float(found.corrected_p_value[f]) == pytest.approx(exact, abs=0.015)


def test_independent_ratings_are_found_as_often_as_alpha_says():
    found = 0
    for seed in range(300):
        result = experiments.rating_association(
            *recordings((5, 8, 6), n_factors=4, n_ratings=3, windows=2, seed=seed), permutations=39, seed=seed
        )
        found += bool(result.significant().any())
    # 15 of 300 are expected; a binomial count is outside these once in 500 times.
    assert 5 <= found <= 28


def test_levels_of_subjects_do_not_pass_for_a_relation():
    mean, ratings, subject, trial = recordings((15,) * 8)
    before = experiments.rating_association(mean, ratings, subject, trial, permutations=99)
    # Subjects with high factors rate high: over all trials together the correlation is almost perfect.
    shifted = mean + 10.0 * subject[:, None]
    raised = ratings + 10.0 * np.repeat(np.arange(8), 15)[:, None]
    assert spearmanr(np.arange(8).repeat(15) * 10, raised[:, 0]).statistic > 0.9
    after = experiments.rating_association(shifted, raised, subject, trial, permutations=99)
    torch.testing.assert_close(after.by_subject, before.by_subject)
    assert not after.significant().any()


def test_constant_ratings_of_a_subject_have_no_weight():
    mean, ratings, subject, trial = recordings((10, 10), effect=1.0)
    ratings[:10, 0] = 5
    found = experiments.rating_association(mean, ratings, subject, trial, permutations=19)
    assert (found.by_subject[0, :, 0] == 0).all()
    torch.testing.assert_close(found.correlation[:, 0], found.by_subject[1, :, 0], atol=1e-11, rtol=0)
    ratings[:, 0] = 5
    nothing = experiments.rating_association(mean, ratings, subject, trial, permutations=19)
    assert (nothing.correlation[:, 0] == 0).all()
    assert (nothing.corrected_p_value[:, 0] == 1).all()


def test_a_perfect_order_counts_for_a_finite_z():
    mean = torch.arange(8.0)[:, None]
    subject, trial = torch.arange(2).repeat_interleave(4), torch.arange(8)
    ratings = torch.arange(8.0)[:, None].exp()
    found = experiments.rating_association(mean, ratings, subject, trial, permutations=19)
    assert found.by_subject.flatten().tolist() == pytest.approx([1, 1])
    assert float(found.correlation) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, r, s, t: (m, r[:-1], s, t), r"give \(36, R\)"),
        (lambda m, r, s, t: (m, r, s[:-1], t), "a row for each window"),
        (lambda m, r, s, t: (m * np.inf, r, s, t), "not finite"),
        (lambda m, r, s, t: (m[s < 9], r, np.where((s == 2) & (t < 2), 7, s), t), "Subject 7 has 2 trials"),
    ],
)
def test_what_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        experiments.rating_association(*change(*recordings()), permutations=19)


def test_slopes_are_per_standard_deviation_of_each_subjects_ratings():
    _, ratings, subject, trial = recordings((40, 60, 80), windows=2)
    rows = np.repeat(np.arange(3), (40, 60, 80))
    wish = np.concatenate([(r - r.mean(0)) / r.std(0) for r in np.split(ratings, [40, 100])])
    row = np.array([0, 40, 100])[subject] + trial
    # Factor 0 follows rating 0, factor 1 none, with a level for each subject; ratings on a scale of each subject.
    residual = np.random.default_rng(0).normal(size=180)
    for own in (rows == s for s in range(3)):
        explaining = np.column_stack([np.ones(own.sum()), wish[own]])
        residual[own] -= explaining @ np.linalg.lstsq(explaining, residual[own], rcond=None)[0]
    both = np.column_stack([0.7 * wish[:, 0] + residual, residual])
    values = both[row] + 5 * subject[:, None]
    ratings = 5 + rows[:, None] + np.array([0.5, 1.0, 2.0])[rows, None] * wish
    found = experiments.slopes_within_subjects(values, ratings, subject, trial)
    shared = np.mean([0.7 * wish[rows == s, 0] @ wish[rows == s, 1] for s in range(3)]) * 3 / 180
    torch.testing.assert_close(found, torch.tensor([[0.7, shared], [0, 0]], dtype=torch.float64), atol=1e-12, rtol=0)
    ratings[:40, 0] = 5
    again = experiments.slopes_within_subjects(values, ratings, subject, trial)
    assert again[0].tolist() == pytest.approx([0.7, shared])
    assert experiments.slopes_within_subjects(values, np.full((180, 1), 5.0), subject, trial).tolist() == [[0], [0]]


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


@pytest.mark.slow
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
    with pytest.raises(ValueError, match="one for each window"):
        experiments.trial_means(values, torch.tensor([0, 0]))


def test_what_cannot_be_told():
    features, high, subject = trials()
    with pytest.raises(ValueError, match="a row for each trial"):
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
