"""Relations of factors and ratings within subjects, and prediction of ratings, against known answers and chance."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, spearmanr, t

from companion.experiments import eeg as experiments


def recordings(trials=(12, 12, 12), n_factors=3, n_ratings=2, effect=0.0, seed=0):
    """Factors and ratings of trials, and their subjects; factor 1 follows rating 0 with the effect."""
    generator = torch.Generator().manual_seed(seed)
    subject = torch.arange(len(trials)).repeat_interleave(torch.tensor(trials))
    ratings = torch.randint(1, 10, (len(subject), n_ratings), generator=generator).double()
    values = torch.randn(len(subject), n_factors, generator=generator, dtype=torch.float64)
    values[:, 1] += effect * (ratings[:, 0] - 5) / 2
    return values, ratings, subject


def test_a_planted_relation_is_found_and_no_other():
    found = experiments.rating_association(*recordings((20,) * 6, effect=0.8), permutations=199)
    assert found.significant().nonzero().tolist() == [[1, 0]]
    assert found.corrected_p_value[1, 0] == pytest.approx(1 / 200)
    assert not found.significant(0.001).any()
    frame = found.to_frame(["valence", "arousal"])
    assert frame.iloc[0][["factor", "rating"]].tolist() == [1, "valence"]
    assert frame.correlation[0] == float(found.correlation[1, 0]) > 0
    opposite = experiments.rating_association(*recordings((20,) * 6, effect=-0.8), permutations=199)
    assert opposite.correlation[1, 0] < 0
    assert opposite.to_frame(["valence", "arousal"]).factor[0] == 1


def test_subjects_are_combined_by_their_trials():
    values, ratings, subject = recordings((5, 9, 30), effect=0.5)
    found = experiments.rating_association(values, ratings, subject, permutations=19)
    z = 0.0
    for s, n in enumerate((5, 9, 30)):
        z += (n - 3) * math.atanh(spearmanr(values[subject == s, 1], ratings[subject == s, 0]).statistic)
    assert float(found.correlation[1, 0]) == pytest.approx(math.tanh(z / (2 + 6 + 27)), abs=1e-11)


def test_the_interval_is_students_over_the_subjects():
    values, ratings, subject = recordings((15,) * 6, effect=0.5)
    found = experiments.rating_association(values, ratings, subject, permutations=19)
    z = [math.atanh(spearmanr(values[subject == s, 1], ratings[subject == s, 0]).statistic) for s in range(6)]
    for confidence in (0.95, 0.5):
        half = t.ppf((1 + confidence) / 2, 5) * np.std(z, ddof=1) / math.sqrt(6)
        expected = [math.tanh(np.mean(z) - half), math.tanh(np.mean(z) + half)]
        assert [float(end[1, 0]) for end in found.interval(confidence)] == pytest.approx(expected, abs=1e-9)


def test_the_interval_holds_the_correlation_of_the_population():
    generator = torch.Generator().manual_seed(4)

    def association_in(subjects):
        """Subjects, every other one with twice the trials, in whom the factor follows the rating more or less."""
        slope = 0.5 + 0.4 * torch.randn(subjects, generator=generator).double()
        subject = torch.arange(subjects).repeat_interleave(20 * (1 + torch.arange(subjects) % 2))
        ratings = torch.randn(len(subject), 1, generator=generator).double()
        values = slope[subject, None] * ratings + torch.randn(len(subject), 1, generator=generator)
        return experiments.rating_association(values, ratings, subject, permutations=19)

    truth = float(association_in(1000).correlation)
    ends = [association_in(8).interval() for _ in range(100)]
    held = sum(float(low) <= truth <= float(high) for low, high in ends)
    # 95 of 100 are expected; a binomial count is outside these once in 100 times.
    assert 89 <= held <= 99


def test_an_interval_needs_two_subjects():
    values, ratings, subject = recordings((10, 10), effect=1.0)
    ratings[:10, 0] = 5
    low, high = experiments.rating_association(values, ratings, subject, permutations=19).interval()
    assert low[:, 0].tolist() == [-1] * 3
    assert high[:, 0].tolist() == [1] * 3
    assert (low[:, 1] > -1).all()


def test_p_values_are_those_of_all_orders():
    values, ratings, subject = recordings((5,), n_factors=2, n_ratings=1, effect=0.5)
    found = experiments.rating_association(values, ratings, subject, permutations=10_000)
    orders = np.array(
        [
            [abs(spearmanr(values[:, f], ratings[list(order), 0]).statistic) for f in range(2)]
            for order in itertools.permutations(range(5))
        ]
    )
    for f in range(2):
        assert float(found.p_value[f]) == pytest.approx((orders[:, f] >= orders[0, f] - 1e-9).mean(), abs=0.02)
        exact = (orders.max(1) >= orders[0, f] - 1e-9).mean()
        assert float(found.corrected_p_value[f]) == pytest.approx(exact, abs=0.02)


def test_independent_ratings_are_found_as_often_as_alpha_says():
    found = 0
    for seed in range(300):
        data = recordings((5, 8, 6), n_factors=4, n_ratings=3, seed=seed)
        found += bool(experiments.rating_association(*data, permutations=39, seed=seed).significant().any())
    # 15 of 300 are expected; a binomial count is outside these once in 500 times.
    assert 5 <= found <= 28


def test_levels_of_subjects_do_not_pass_for_a_relation():
    values, ratings, subject = recordings((15,) * 8)
    before = experiments.rating_association(values, ratings, subject, permutations=99)
    # Subjects with high factors rate high: over all trials together the correlation is almost perfect.
    level = 10 * subject[:, None]
    after = experiments.rating_association(values + level, ratings + level, subject, permutations=99)
    torch.testing.assert_close(after.correlation, before.correlation)
    assert not after.significant().any()


def test_constant_ratings_have_no_weight_and_a_perfect_order_a_finite_one():
    values, ratings, subject = recordings((10, 10), effect=1.0)
    ratings[:10, 0] = 5
    found = experiments.rating_association(values, ratings, subject, permutations=19)
    alone = experiments.rating_association(values[10:], ratings[10:], subject[10:], permutations=19)
    torch.testing.assert_close(found.correlation[:, 0], alone.correlation[:, 0])
    ratings[:, 0] = 5
    nothing = experiments.rating_association(values, ratings, subject, permutations=19)
    assert (nothing.correlation[:, 0] == 0).all()
    assert (nothing.corrected_p_value[:, 0] == 1).all()
    order = torch.arange(8.0)[:, None]
    perfect = experiments.rating_association(order, order.exp(), torch.arange(2).repeat_interleave(4), permutations=19)
    assert float(perfect.correlation) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="has 3 trials, fewer than 4"):
        experiments.rating_association(*recordings((12, 3)), permutations=19)


def test_slopes_are_per_standard_deviation_of_each_subjects_ratings():
    _, ratings, subject = recordings((40, 60, 80))
    wish = torch.cat([(part - part.mean(0)) / part.std(0, correction=0) for part in ratings.split((40, 60, 80))])
    # Factor 0 follows rating 0, factor 1 none, with a level and a scale of the ratings for each subject.
    values = torch.stack([0.7 * wish[:, 0], torch.zeros(180)], 1) + 5 * subject[:, None]
    ratings = 5 + torch.tensor([0.5, 1.0, 2.0])[subject, None] * wish
    found = experiments.slopes_within_subjects(values, ratings, subject)
    shared = float(0.7 * (wish[:, 0] * wish[:, 1]).mean())
    torch.testing.assert_close(found, torch.tensor([[0.7, shared], [0, 0]], dtype=torch.float64))
    ratings[:40, 0] = 5
    assert float(experiments.slopes_within_subjects(values, ratings, subject)[0, 0]) == pytest.approx(0.7)
    assert not experiments.slopes_within_subjects(values, torch.full((180, 1), 5.0), subject).any()


def trials(n=60, shift=1.0, n_features=4, seed=0):
    """Trials of six subjects; feature 0 is shifted by `shift` in high ones."""
    generator = torch.Generator().manual_seed(seed)
    subject = torch.arange(6).repeat_interleave(n)
    high = torch.rand(len(subject), generator=generator) < 0.5
    features = torch.randn(len(subject), n_features, generator=generator)
    features[:, 0] += shift * high
    return features, high, subject


def test_areas_are_those_of_two_normal_distributions():
    data = trials(n=1000, shift=1.2)
    truth = norm.cdf(1.2 / math.sqrt(2))
    for found in (experiments.areas_across_subjects(*data, range(6)), experiments.areas_within_subjects(*data)):
        assert list(found) == list(range(6))
        assert np.mean(list(found.values())) == pytest.approx(truth, abs=0.015)


@pytest.mark.slow
def test_neither_finds_anything_in_noise():
    across, within = [], []
    for seed in range(12):
        data = trials(n=40, shift=0.0, n_features=20, seed=seed)
        across += experiments.areas_across_subjects(*data, range(6)).values()
        within += experiments.areas_within_subjects(*data, seed=seed).values()
    # 72 areas with a standard deviation of about 0.1 each.
    assert [np.mean(across), np.mean(within)] == pytest.approx([0.5, 0.5], abs=0.035)


def test_nothing_is_learned_from_the_tested_subject():
    features, high, subject = trials(shift=0.5)
    before = experiments.areas_across_subjects(features, high, subject, [2])
    flipped = torch.where(subject == 2, ~high, high)
    after = experiments.areas_across_subjects(features, flipped, subject, [2])
    assert after == {2: pytest.approx(1 - before[2])}


def test_no_features_are_a_coin_and_one_sided_subjects_are_left_out():
    features, high, subject = trials()
    high[subject == 1] = True
    high[subject == 3] = False
    high[(subject == 3).nonzero()[0]] = True
    across = experiments.areas_across_subjects(features[:, :0], high, subject, range(6))
    assert across == {0: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.5}
    assert list(experiments.areas_within_subjects(features, high, subject)) == [0, 2, 4, 5]
    one_sided = torch.where(subject == 0, high, True)
    with pytest.raises(ValueError, match="Without subject 0 all ratings are high, or all are low"):
        experiments.areas_across_subjects(features, one_sided, subject, [0])


def test_rows_of_areas_name_their_test_features_and_rating():
    features, high, subject = trials(shift=0.8)
    tested = torch.tensor([1, 4])
    rows = experiments.area_rows(
        {"all": features, "none": features[:, :0]}, {"up": high, "down": ~high}, subject, tested, seed=3
    )
    found = pd.DataFrame(rows, columns=["test", "features", "rating", "area"])
    assert found.groupby(["test", "features", "rating"]).size().to_dict() == dict.fromkeys(
        itertools.product(("people not seen", "within a person"), ("all", "none"), ("up", "down")), 2
    )
    across = experiments.areas_across_subjects(features, high, subject, [1, 4])
    chosen = (found.features == "all") & (found.rating == "up")
    assert found[chosen & (found.test == "people not seen")].area.tolist() == list(across.values())
    theirs = torch.isin(subject, tested)
    within = experiments.areas_within_subjects(features[theirs], high[theirs], subject[theirs], seed=3)
    assert found[chosen & (found.test == "within a person")].area.tolist() == list(within.values())


def test_mean_areas_have_students_interval():
    areas = [0.5, 0.6, 0.7, 0.8]
    scores = pd.DataFrame({"features": ["a"] * 4 + ["b"] * 4, "area": areas + areas[::-1]})
    half = t.ppf(0.975, 3) * np.std(areas, ddof=1) / 2
    found = experiments.mean_areas(scores)
    assert found.index.tolist() == ["a", "b"]
    assert found.loc["a", ["mean", "low", "high"]].tolist() == pytest.approx([0.65, 0.65 - half, 0.65 + half])


def test_area_under_the_curve_of_single_features():
    high = np.array([0, 0, 1, 1, 1, 0, 0, 1, 0, 0], dtype=bool)
    subject = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3])
    power = np.zeros((10, 1, 3))
    # Subject 1: 3 of 4 pairs in order; subject 2: all of them, at another level; subject 3 rates nothing high.
    power[:, 0, 0] = [1, 3, 2, 4, 18, 11, 12, 19, 7, 7]
    power[:, 0, 1] = -power[:, 0, 0]
    areas = experiments.single_feature_auc(power, high, subject)
    assert areas.tolist() == [pytest.approx([(0.75 + 1) / 2, (0.25 + 0) / 2, 0.5])]
