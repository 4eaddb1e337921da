"""Planted relations of factors and ratings are found within subjects, and chance is not."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

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
        (lambda m, r, s, t: (m, r, s[:-1], t), "a row a window"),
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
