"""Information on labels against factor_information, quadrature and chance; bins, clusters and strata."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from vaemi import factor_information, influence


def encoder_output(n, n_factors, seed=0, nats=(0.01, 0.5, 1.5, 2.5)):
    """Factors of growing information whose widths differ from sample to sample."""
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.tensor(nats).repeat(n_factors)[:n_factors].neg().exp()
    mean = torch.randn(n, n_factors, generator=generator) * (1 - sigma.square()).sqrt()
    log_variance = 2 * (sigma.log() + 0.3 * torch.randn(n, n_factors, generator=generator))
    return mean, log_variance


def test_it_is_the_information_of_all_less_that_within_the_classes():
    mean, log_variance = encoder_output(900, 4)
    generator = torch.Generator().manual_seed(1)
    labels = torch.stack([(mean.sum(1) > 0.8).long(), torch.randint(0, 3, (900,), generator=generator)], dim=1)
    labels[:, 1] += (mean[:, 2] > 1) * 3
    found = influence.label_information(mean, log_variance, labels, permutations=19)
    whole = factor_information(mean, log_variance).nats
    for a in range(2):
        within = torch.zeros(4, dtype=torch.float64)
        for y in labels[:, a].unique():
            members = labels[:, a] == y
            within += members.double().mean() * factor_information(mean[members], log_variance[members]).nats
        torch.testing.assert_close(found.nats[:, a], whole - within, atol=1e-5, rtol=0)
    assert found.nats[2, 1] > 0.3


@pytest.mark.parametrize(("gap", "sigma", "far"), [(0.5, 1.0, 0.0), (2.0, 0.7, 0.0), (1.0, 0.2, 0.0), (2.0, 0.7, 1e6)])
def test_two_gaussians_by_label(gap, sigma, far):
    labels = (torch.arange(400) % 4 == 0)[:, None]
    mean = labels.double() * gap + far
    share = np.array([0.75, 0.25])

    def integrand(z):
        joint = share * norm.pdf(z, [0, gap], sigma)
        return float(np.sum(joint * np.log(joint / joint.sum() / share)))

    truth = quad(integrand, -6 * sigma, gap + 6 * sigma, limit=200)[0]
    log_variance = torch.full_like(mean, 2 * math.log(sigma))
    found = influence.label_information(mean, log_variance, labels, permutations=19)
    assert float(found.nats) == pytest.approx(truth, abs=1e-4)
    assert float(found.entropy) == pytest.approx(-(share * np.log(share)).sum())
    assert float(found.normalized) == pytest.approx(truth / float(found.entropy), abs=3e-4)


def test_any_integers_may_be_classes_and_a_constant_says_nothing():
    mean, log_variance = encoder_output(300, 2)
    labels = (mean[:, :1] > 0).long() + (mean[:, :1] > 1).long()
    found = influence.label_information(
        mean, log_variance, torch.cat([labels, 7 - 40 * labels, 0 * labels], dim=1), permutations=19
    )
    torch.testing.assert_close(found.nats[:, 0], found.nats[:, 1], atol=1e-6, rtol=0)
    assert found.nats[:, 2].tolist() == found.normalized[:, 2].tolist() == [0, 0]
    assert found.corrected_p_value[:, 2].tolist() == [1, 1]


def test_what_is_planted_is_found_and_named():
    mean, log_variance = encoder_output(500, 4, nats=(0.5, 1.0, 1.5, 0.02))
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(500, 3, generator=generator)
    labels = torch.stack(
        [mean[:, 1] + 0.3 * noise[:, 0] > 0, mean[:, 1] + mean[:, 2] + noise[:, 1] > 0, noise[:, 2] > 0], dim=1
    )
    found = influence.label_information(mean, log_variance, labels, names=["Male", "Bangs", "Hat"], permutations=99)
    assert found.significant().nonzero().tolist() == [[1, 0], [1, 1], [2, 1]]
    assert found.best_labels() == [None, "Male", "Bangs", None]
    # Factor 1 carries more than 40 % of the entropy of Male, factor 2 less of that of Bangs.
    of_bangs = float(found.normalized[2, 1])
    assert found.normalized[1, 0] > 0.4 > of_bangs
    assert found.best_labels(least_share=of_bangs) == [None, "Male", "Bangs", None]
    assert found.best_labels(least_share=0.4) == [None, "Male", None, None]
    assert found.best_labels(least_share=1.0) == [None] * 4
    assert (found.corrected_p_value >= found.p_value).all()
    assert found.corrected_p_value.min() == pytest.approx(0.01)
    # What permutations show is chance alone, for one factor alike whether a label is planted or not.
    assert found.null_mean[1].max() < 1.2 * found.null_mean[1].min() < found.nats[1, :2].min()
    assert found.excess[1, 0] == pytest.approx(float(found.nats[1, 0] - found.null_mean[1, 0]))
    frame = found.to_frame()
    assert frame.iloc[0][["factor", "label"]].tolist() == [1, "Male"]
    assert len(frame) == 12
    cell = frame[(frame.factor == 2) & (frame.label == "Bangs")].iloc[0]
    assert cell.nats == float(found.nats[2, 1])
    assert cell.threshold == float(found.threshold[2, 1])


def test_independent_labels_are_found_as_often_as_alpha_says():
    found = 0
    for seed in range(100):
        mean, log_variance = encoder_output(60, 4, seed, nats=(0.02, 1.0, 2.0, 2.5))
        labels = torch.rand(60, 2, generator=torch.Generator().manual_seed(1000 + seed)) < torch.tensor([0.5, 0.15])
        result = influence.label_information(mean, log_variance, labels, permutations=39, seed=seed)
        found += bool(result.significant().any())
    # 5 of 100 are expected; a binomial count is outside these once in 120 times.
    assert 1 <= found <= 12


def test_chance_shows_as_much_as_it_says():
    generator = torch.Generator().manual_seed(7)
    mean = torch.randn(4000, 1, generator=generator)
    labels = torch.rand(4000, 1, generator=generator) < 0.5
    found = influence.label_information(mean, torch.full_like(mean, 4.0), labels, permutations=400)
    # The draws vary with 1 + exp(4) and each has the width exp(4): the classes differ by chance in the components of
    # order k of the density, of which the width leaves rho^k, rho = 1 / (1 + 1 / (1 + exp(-4))).
    rho = 1 / (1 + 1 / (1 + math.exp(-4)))
    assert float(found.null_mean) == pytest.approx(rho / (1 - rho) / (2 * 4000), rel=0.15)


def test_a_dependence_that_draws_do_not_show_is_not_significant():
    labels = torch.arange(1000)[:, None] % 2
    means = torch.stack([0.01 * labels[:, 0], 0.6 * labels[:, 0]], dim=1)
    found = influence.label_information(means, torch.zeros_like(means), labels, permutations=99)
    assert found.significant().tolist() == [[False], [True]]
    # The exact information of two Gaussians a little apart: half the variance of the mean.
    assert float(found.nats[0]) == pytest.approx(0.01**2 / 8, rel=0.05)


def test_bins_hold_as_many_and_ties_stay_together():
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert influence.discretized(values, 10).bincount().tolist() == [100] * 10
    assert (influence.discretized(values)[values.argsort()].diff() >= 0).all()
    rare = torch.tensor([0.0] * 997 + [1.0] * 3)
    tied = torch.tensor([2.0] * 500 + list(range(10, 510)))
    both = influence.discretized(torch.stack([rare, tied, torch.zeros(1000)], dim=1), bins=4)
    assert [column.bincount().tolist() for column in both.T] == [[997, 3], [500, 250, 250], [1000]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: influence.label_information(m, m, m > 0, permutations=10), ValueError, "with 10 permutations"),
        (lambda m: influence.label_information(m, m, m > 0, alpha=0), ValueError, "alpha is 0"),
        (lambda m: influence.label_information(m, m, m + 0j), TypeError, "integers or booleans for classes"),
        (lambda m: influence.label_information(m, m, m / 0), ValueError, "not finite"),
        (lambda m: influence.label_information(m, m, m[:9] > 0), ValueError, r"give \(30, A\)"),
        (lambda m: influence.label_information(m, m, m > 0, names=["x"]), ValueError, "1 names for 2"),
        (lambda m: influence.label_information(m, m, m > 0, strata=[1]), ValueError, "one per sample"),
        (lambda m: influence.label_information(m, m, m > 0, clusters=[1] * 30), ValueError, "labels differs within"),
        (lambda m: influence.label_information(m, m, m, clusters=[1] * 30), ValueError, "labels differs within"),
        (lambda m: influence.discretized(m / 0), ValueError, "not finite"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(torch.randn(30, 2, generator=torch.Generator().manual_seed(0)))


def clustered(seed, spread=1.0):
    """A factor whose means stay together within clusters, labels of clusters, and both of strata that differ."""
    generator = torch.Generator().manual_seed(seed)
    stratum = torch.arange(4).repeat_interleave(40)
    level = torch.randn(len(stratum), 1, generator=generator) + spread * stratum[:, None]
    likely = 0.5 + 0.12 * (stratum - 1.5) * spread
    label = torch.rand(len(stratum), generator=generator) < likely
    cluster = torch.arange(len(stratum)).repeat_interleave(6)
    mean = level[cluster] + 0.3 * torch.randn(len(cluster), 1, generator=generator)
    return mean, torch.full_like(mean, math.log(0.1)), label[cluster, None], cluster, stratum[cluster]


def test_every_cluster_counts_the_same_whatever_its_size():
    mean, log_variance = encoder_output(60, 3)
    labels = (mean[:, 1:2] > 0.3).long()
    plain = influence.label_information(mean, log_variance, labels, permutations=19)
    size = torch.arange(60) % 4 + 1
    again = torch.arange(60).repeat_interleave(size)
    shuffled = again[torch.randperm(len(again), generator=torch.Generator().manual_seed(0))]
    repeated = influence.label_information(
        mean[shuffled], log_variance[shuffled], labels[shuffled], clusters=shuffled + 7, permutations=19
    )
    torch.testing.assert_close(repeated.nats, plain.nats, atol=1e-4, rtol=0)
    torch.testing.assert_close(repeated.entropy, plain.entropy)


def test_clusters_and_strata_keep_the_level_of_the_test():
    wrong = {"samples": 0, "clusters": 0, "both": 0}
    for seed in range(40):
        mean, log_variance, labels, cluster, stratum = clustered(seed)
        given = {"samples": {}, "clusters": {"clusters": cluster}, "both": {"clusters": cluster, "strata": stratum}}
        for name, arguments in given.items():
            found = influence.label_information(mean, log_variance, labels, permutations=39, seed=seed, **arguments)
            wrong[name] += float(found.corrected_p_value) <= 0.05
    assert wrong["samples"] >= 35
    assert wrong["clusters"] >= 20
    # Of 40 tests at a level of 1 in 20 seven or more are false once in 300 times.
    assert wrong["both"] <= 6


def test_an_effect_within_strata_is_found():
    mean, log_variance, labels, cluster, stratum = clustered(0, spread=0.0)
    mean = mean + 1.5 * labels
    found = influence.label_information(mean, log_variance, labels, clusters=cluster, strata=stratum, permutations=199)
    assert float(found.corrected_p_value) == 1 / 200


def gaussian_pair(m, rho, seed=0, width=0.5):
    """Posteriors and a label whose draws z are N(0, 1) and correlated with the label by rho."""
    generator = torch.Generator().manual_seed(seed)
    label, rest = torch.randn(2, m, 1, generator=generator, dtype=torch.float64)
    sigma = width * math.sqrt(1 - rho**2)
    mean = rho * label + math.sqrt(1 - rho**2 - sigma**2) * rest
    return mean, torch.full_like(mean, 2 * math.log(sigma)), label


@pytest.mark.parametrize(("rho", "error"), [(0.0, 0.005), (0.6, 0.02), (0.95, 0.04)])
def test_a_number_that_is_jointly_gaussian(rho, error):
    mean, log_variance, label = gaussian_pair(2000, rho)
    truth = -0.5 * math.log1p(-(rho**2))
    found = influence.label_information(mean, log_variance, label, permutations=19)
    assert float(found.nats) == pytest.approx(truth, abs=error)
    assert float(found.nats) == pytest.approx(truth, abs=3 * float(found.stderr) + 1e-3)
    assert float(found.normalized) == pytest.approx(rho**2, abs=2 * error)
    assert found.entropy.isinf().all()
    assert float(found.p_value) == 0.05 or rho == 0
    # A unit does not matter, nor does any other increasing function.
    again = influence.label_information(mean, log_variance, (3 * label).exp(), permutations=19)
    torch.testing.assert_close(again.nats, found.nats, atol=1e-9, rtol=0)


@pytest.mark.parametrize("periods", [1, 3])
def test_a_number_that_is_not_monotone(periods):
    label = torch.rand(3000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean = (2 * math.pi * periods * label).cos()
    z = np.linspace(-4, 4, 2001)
    density = norm.pdf(z[:, None], np.cos(np.linspace(0, np.pi, 2001)), 0.4).mean(1)
    truth = -np.sum(density * np.log(density)) * (z[1] - z[0]) - norm.entropy(scale=0.4)
    log_variance = torch.full_like(mean, 2 * math.log(0.4))
    found = influence.label_information(mean, log_variance, label, permutations=19)
    assert float(found.nats) == pytest.approx(truth, abs=0.015)
    low, high = found.interval()
    assert low < truth < high
    # Ten classes, which are narrow enough for one period only, would hide up to half of it.
    in_classes = influence.label_information(mean, log_variance, influence.discretized(label), permutations=19)
    assert float(in_classes.nats) < truth - 0.045


def test_a_number_that_moves_only_the_width():
    label = torch.rand(3000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigma = np.exp(-2 * (np.arange(2000) + 0.5) / 2000)
    z = np.linspace(-6, 6, 4001)
    density = norm.pdf(z[:, None], 0, sigma).mean(1)
    truth = -np.sum(density * np.log(density)) * (z[1] - z[0]) - norm.entropy(scale=sigma).mean()
    found = influence.label_information(torch.zeros_like(label), -4 * label, label, permutations=19)
    assert float(found.nats) == pytest.approx(truth, abs=0.006)


def test_intervals_hold_the_truth_as_often_as_they_say():
    truth = -0.5 * math.log(1 - 0.6**2)
    numbers = classes = 0
    shares = norm.cdf(np.linspace(-8, 8, 4001)[:, None] * 0.6 / 0.8)  # P(label > 0 | z)
    weight = norm.pdf(np.linspace(-8, 8, 4001))[:, None] * 0.004
    of_sign = math.log(2) + float(np.sum(weight * (shares * np.log(shares + 1e-300)))) * 2
    for seed in range(60):
        mean, log_variance, label = gaussian_pair(300, 0.6, seed)
        low, high = influence.label_information(mean, log_variance, label, permutations=19).interval()
        numbers += bool(low <= truth <= high)
        low, high = influence.label_information(mean, log_variance, label > 0, permutations=19).interval()
        classes += bool(low <= of_sign <= high)
    # 57 of 60 are expected; fewer than 52 once in 60 times.
    assert min(numbers, classes) >= 52


def test_an_independent_label_shows_its_bias():
    generator = torch.Generator().manual_seed(5)
    mean = torch.randn(3000, 40, generator=generator)
    classes = torch.randint(0, 8, (3000, 1), generator=generator)
    found = influence.label_information(mean, torch.full_like(mean, 2 * math.log(0.5)), classes, permutations=19)
    # Means over 40 factors vary by 6 %.
    assert float(found.bias.mean()) == pytest.approx(float(found.nats.mean()), rel=0.2)
    numbers = influence.label_information(
        mean, torch.full_like(mean, 2 * math.log(0.5)), torch.rand(3000, 1, generator=generator), permutations=19
    )
    assert float(numbers.nats.mean()) < float(found.nats.mean())
    assert float(numbers.nats.mean()) < 2 * float(numbers.stderr.mean())
    assert numbers.bias.abs().max() == numbers.null_mean.abs().max() == 0


def test_classes_are_exact_where_posteriors_are_far_finer_than_a_grid():
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn(400, 1, generator=generator)
    log_variance = torch.full_like(mean, 2 * math.log(1e-5))
    labels = torch.rand(400, 1, generator=generator) < 0.3
    found = influence.label_information(mean, log_variance, labels, permutations=19)
    whole = factor_information(mean, log_variance).nats
    within = sum(
        float(members.double().mean()) * factor_information(mean[members], log_variance[members]).nats
        for members in (labels[:, 0], ~labels[:, 0])
    )
    torch.testing.assert_close(found.nats[0], whole - within, atol=1e-6, rtol=0)


def test_errors_of_clusters_are_those_of_a_draw_of_clusters():
    mean, log_variance, label = gaussian_pair(500, 0.6)
    labels = {"number": label, "class": label > 0}
    for given in labels.values():
        plain = influence.label_information(mean, log_variance, given, permutations=19)
        copies = [part.repeat_interleave(5, 0) for part in (mean, log_variance, given)]
        again = influence.label_information(*copies, clusters=torch.arange(2500) // 5, permutations=19)
        for name in ("nats", "stderr", "bias", "resolution"):
            torch.testing.assert_close(getattr(again, name), getattr(plain, name), atol=2e-4, rtol=0.01)


def test_independent_numbers_are_found_as_often_as_alpha_says():
    found = 0
    for seed in range(60):
        mean, log_variance = encoder_output(60, 3, seed, nats=(0.02, 1.0, 2.0))
        labels = torch.rand(60, 2, generator=torch.Generator().manual_seed(1000 + seed))
        result = influence.label_information(mean, log_variance, labels, permutations=39, seed=seed)
        found += bool(result.significant().any())
    # 3 of 60 are expected; more than 8 once in 200 times.
    assert found <= 8


def test_numbers_with_few_values_are_their_classes():
    mean, log_variance, label = gaussian_pair(3000, 0.6)
    rounded = label.clamp(-1, 1).round()
    as_numbers = influence.label_information(mean, log_variance, rounded, permutations=19)
    as_classes = influence.label_information(mean, log_variance, rounded.long(), permutations=19)
    torch.testing.assert_close(as_numbers.nats, as_classes.nats - as_classes.bias, atol=1e-4, rtol=0)
    torch.testing.assert_close(as_numbers.stderr, as_classes.stderr, atol=1e-6, rtol=0)
    assert float(as_numbers.resolution) == pytest.approx(0, abs=1e-6)
    constant = influence.label_information(mean, log_variance, 0 * label, permutations=19)
    assert (float(constant.nats), float(constant.normalized), float(constant.p_value)) == (0, 0, 1)
