"""Information of pairs of factors against closed forms, enumeration and a nearest-neighbour estimator."""

import math

import numpy as np
import pytest
import torch

from vaemi import factor_information
from vaemi.information import joint, pairwise_information, redundancy, total_correlation
from vaemi.information.joint import TotalCorrelation


def gaussian_posteriors(covariance, sigma, count, seed):
    """Posteriors with means of this covariance and constant sigma, (count, H)."""
    root = torch.linalg.cholesky(torch.as_tensor(covariance).double())
    noise = torch.randn(count, len(root), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return noise @ root.T, torch.full((count, len(root)), 2 * math.log(sigma), dtype=torch.float64)


def copies(signal_to_noise, count, factors, seed=0):
    """Posteriors of factors that read the same mean with independent noise, and I(Z_i; Z_j)."""
    mean = torch.randn(count, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).repeat(1, factors)
    s = signal_to_noise
    shared = math.log1p(s) - 0.5 * math.log1p(2 * s)
    return mean, torch.full_like(mean, -math.log(s)), shared


def brute_force(sample):
    """Return the mean and error of every kind of estimate of I(Z_0; Z_1), from the densities of all components."""
    z = sample.mean[sample.own] + sample.shift
    deviation = (0.5 * sample.log_variance).exp()
    log_density = torch.distributions.Normal(sample.mean, deviation).log_prob(z[:, None])  # (points, M, 2)
    everything = torch.cat([log_density, log_density.sum(2, keepdim=True)], 2)
    own = everything[torch.arange(len(z)), sample.own]
    others = everything.clone()
    others[torch.arange(len(z)), sample.own] = -math.inf
    m = len(sample.mean)
    plug_in = everything.logsumexp(1) - math.log(m)
    left_out = others.logsumexp(1) - math.log(m - 1)
    half = torch.logaddexp(others.logsumexp(1), own - math.log(2)) - math.log(m - 0.5)
    values = {
        "nats": half[:, 2] - half[:, 0] - half[:, 1],
        "plug_in": plug_in[:, 2] - plug_in[:, 0] - plug_in[:, 1],
        "lower": left_out[:, 2] - plug_in[:, 0] - plug_in[:, 1],
        "upper": plug_in[:, 2] - left_out[:, 0] - left_out[:, 1],
    }
    return {name: float(value.mean()) for name, value in values.items()}, float(values["nats"].std()) / len(z) ** 0.5


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.9])
def test_correlated_gaussian_factors(correlation):
    sigma = 0.5
    posterior = gaussian_posteriors([[1.0, correlation], [correlation, 1.0]], sigma, 3000, seed=1)
    expected = -0.5 * math.log(1 - (correlation / (1 + sigma**2)) ** 2)
    found = pairwise_information(*posterior, [0, 1], points=3000)
    assert found.nats[0, 1] == pytest.approx(expected, abs=3 * float(found.stderr[0, 1]))
    assert found.lower[0, 1] - 3 * found.stderr[0, 1] < expected < found.upper[0, 1] + 3 * found.stderr[0, 1]
    assert found.stderr[0, 1] < 0.02
    assert found.lower[0, 1] < found.nats[0, 1] < found.plug_in[0, 1] < found.upper[0, 1]


def test_independent_factors_share_nothing():
    posterior = gaussian_posteriors(torch.eye(6), 0.25, 2000, seed=0)
    found = pairwise_information(*posterior, range(6))
    pairs = torch.triu_indices(6, 6, 1).unbind()
    # The bias that is left, of a higher order than 1/M, is less than a standard error; that of the plug-in is not.
    standardized = found.nats[pairs] / found.stderr[pairs]
    assert float(standardized.abs().max()) < 3.5
    assert abs(float(standardized.mean())) < 1
    assert float((found.plug_in[pairs] / found.stderr[pairs]).mean()) > 1
    assert (found.lower[pairs] < 0).all()
    assert (found.upper[pairs] > 0).all()
    assert found.repeats(0) == []
    assert found.counted_twice[0] == 0


@pytest.mark.parametrize("signal_to_noise", [1.0, 10.0, 100.0])
def test_noisy_copies_of_one_factor(signal_to_noise):
    mean, log_variance, expected = copies(signal_to_noise, 2000, 2)
    independent = torch.randn(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    mean = torch.cat([independent, mean], 1)
    log_variance = torch.cat([log_variance, log_variance[:, :1]], 1)
    found = pairwise_information(mean, log_variance, [2, 0, 1], points=2000)
    assert found.factors.tolist() == [2, 0, 1]
    assert found.nats[0, 2] == pytest.approx(expected, abs=3 * float(found.stderr[0, 2]))
    assert found.nats[0, 1] == pytest.approx(0, abs=0.06)
    each = factor_information(mean, log_variance)
    assert found.nats.diagonal().tolist() == pytest.approx(each.nats[[2, 0, 1]].tolist(), abs=1e-9)
    assert found.upper.diagonal().tolist() == pytest.approx(each.leave_one_out[[2, 0, 1]].tolist(), abs=1e-9)
    ((one, other, nats, share),) = found.repeats(0.2)
    assert {one, other} == {1, 2}
    assert nats == float(found.nats[0, 2])
    assert share == pytest.approx(nats / float(each.nats[[1, 2]].min()))
    assert found.repeats(0.999) == []


def test_two_factors_that_encode_the_same_classes():
    classes = torch.arange(1200) % 5
    codes = torch.stack([classes, (3 * classes) % 5, torch.arange(1200) % 3], 1).double()
    found = pairwise_information(100 * codes, torch.zeros(1200, 3), points=None)
    row, column = (found.factors == 0).nonzero().item(), (found.factors == 1).nonzero().item()
    third = (found.factors == 2).nonzero().item()
    assert found.plug_in[row, column] == pytest.approx(math.log(5), abs=1e-9)
    # Miller and Madow's correction of the entropy of classes that were drawn: (classes - 1) / 2 M.
    assert found.nats[row, column] == pytest.approx(math.log(5) + 4 / 2400, abs=1e-5)
    assert found.lower[row, column] == pytest.approx(math.log(5), abs=0.01)
    assert found.share[row, column] == pytest.approx(1, abs=2e-3)
    assert found.nats[row, third] == pytest.approx(0, abs=0.005)
    low, high = found.counted_twice
    assert low == pytest.approx(math.log(5), abs=0.02)
    assert high == pytest.approx(math.log(5), abs=0.02)


def test_every_value_against_all_densities():
    posterior = gaussian_posteriors([[1.0, 0.6], [0.6, 2.0]], 0.2, 300, seed=3)
    log_variance = posterior[1] + torch.randn(300, 2, generator=torch.Generator().manual_seed(4)).double()
    expected, error = brute_force(joint.draw(posterior[0], log_variance, 1, 100, 7))
    found = pairwise_information(posterior[0], log_variance, [0, 1], points=100, seed=7)
    for name, value in expected.items():
        assert getattr(found, name)[0, 1] == getattr(found, name)[1, 0] == pytest.approx(value, abs=1e-9)
    assert found.stderr[0, 1] == pytest.approx(error, rel=1e-9)


def test_products_that_underflow_are_not_lost():
    # Neighbours in one factor are far apart in the other: no product of scaled densities is left.
    generator = torch.Generator().manual_seed(0)
    mean = torch.stack([torch.randperm(60, generator=generator), torch.randperm(60, generator=generator)], 1).double()
    posterior = 1000 * mean, torch.linspace(-2, 2, 120).reshape(60, 2).double()
    expected, _ = brute_force(joint.draw(*posterior, 1, None, 0))
    found = pairwise_information(*posterior, [0, 1])
    assert expected["lower"] < -1000
    assert found.lower[0, 1] == found.lower[1, 0] == pytest.approx(expected["lower"], rel=1e-9)
    assert found.plug_in[0, 1] == pytest.approx(math.log(60), abs=1e-9)


def test_blocks_and_draws_change_nothing(monkeypatch):
    posterior = gaussian_posteriors([[1.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 1.0]], 0.3, 200, seed=5)
    at_once = pairwise_information(*posterior, [0, 1, 2], points=50, draws=3)
    monkeypatch.setattr(redundancy, "BLOCK", 200 * 3 * 3 * 7)
    in_parts = pairwise_information(*posterior, [0, 1, 2], points=50, draws=3)
    for name in ("nats", "stderr", "lower", "upper", "plug_in"):
        torch.testing.assert_close(getattr(in_parts, name), getattr(at_once, name), atol=1e-12, rtol=0)
    assert in_parts.tree_bound == pytest.approx(at_once.tree_bound)
    assert in_parts.gaussian_bound == pytest.approx(at_once.gaussian_bound)
    assert in_parts.total_correlation == at_once.total_correlation


def test_the_total_correlation_is_that_of_these_factors():
    mean, log_variance = gaussian_posteriors(torch.eye(4) + 0.5, 0.5, 500, seed=2)
    found = pairwise_information(mean, log_variance, [3, 1, 0], points=200, seed=6).total_correlation
    expected = total_correlation(mean[:, [3, 1, 0]], log_variance[:, [3, 1, 0]], points=200, seed=6)
    assert vars(found) == pytest.approx(vars(expected), abs=1e-9)


def test_many_copies_are_seen_beyond_log_m():
    # Ten pairs of copies carry far more than log M together; the tree and the Gaussian still see what they repeat.
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(1500, 10, dtype=torch.float64, generator=generator).repeat(1, 2)
    log_variance = torch.full_like(mean, -math.log(10))
    one_pair = math.log(11) - 0.5 * math.log(21)
    found = pairwise_information(mean, log_variance, range(20), points=400)
    for nats, error in (found.gaussian_bound, found.tree_bound):
        assert 0.85 * 10 * one_pair < nats < 10 * one_pair + 3 * error
    assert found.total_correlation.lower < 0
    low, high = found.counted_twice
    assert 0.8 * 10 * one_pair < low < 10 * one_pair < high
    assert {frozenset(pair[:2]) for pair in found.repeats(0.3)} == {frozenset({i, i + 10}) for i in range(10)}


def test_bounds_of_independent_factors_stay_below_zero():
    # Fitted to the points themselves, both would be above 0 for so many factors and so few samples.
    found = [
        pairwise_information(*gaussian_posteriors(torch.eye(8), 0.6, 60, seed), range(8), seed=seed)
        for seed in range(10)
    ]
    for name in ("gaussian_bound", "tree_bound"):
        assert np.mean([getattr(result, name)[0] for result in found]) < 0.05


def test_the_tree_counts_no_pair_that_closes_a_cycle_and_is_not_chosen_by_its_own_noise():
    # Equal correlations: every tree of 8 factors has 7 pairs, which share the same.
    sigma, count = 0.5, 8
    covariance = 0.5 * torch.eye(count) + 0.5
    expected = -0.5 * (count - 1) * math.log(1 - (0.5 / (1 + sigma**2)) ** 2)
    found = [
        pairwise_information(*gaussian_posteriors(covariance, sigma, 1000, seed), range(count), points=20, seed=seed)
        for seed in range(20)
    ]
    nats, errors = np.array([result.tree_bound for result in found]).T
    assert nats.mean() == pytest.approx(expected, abs=3 * nats.std() / 20**0.5 + 0.05)
    assert 0.6 < errors.mean() / nats.std() < 1.6


def test_the_bounds_by_a_gaussian_and_by_a_tree_for_gaussian_factors():
    covariance = torch.tensor([[1.0, 0.7, 0.2], [0.7, 1.0, -0.3], [0.2, -0.3, 1.0]]).double()
    found = pairwise_information(*gaussian_posteriors(covariance, 0.5, 4000, seed=0), [0, 1, 2])
    of_z = covariance + 0.25 * torch.eye(3)
    expected = float(0.5 * (of_z.diagonal().log().sum() - torch.logdet(of_z)))
    assert found.gaussian_bound[0] == pytest.approx(expected, abs=3 * found.gaussian_bound[1])
    assert found.gaussian_bound[1] < 0.03
    # The heaviest tree leaves the pair of the least correlation out.
    tree = sum(-0.5 * math.log(1 - (correlation / 1.25) ** 2) for correlation in (0.7, 0.3))
    assert found.tree_bound[0] == pytest.approx(tree, abs=3 * found.tree_bound[1])
    assert found.tree_bound[1] < 0.03


def test_against_a_nearest_neighbour_estimator():
    from sklearn.feature_selection import mutual_info_regression

    # A ring: no correlation, and dependent all the same.
    angle = torch.rand(1500, generator=torch.Generator().manual_seed(0)).double() * 2 * math.pi
    mean = torch.stack([angle.cos(), angle.sin()], 1)
    log_variance = torch.full_like(mean, 2 * math.log(0.15))
    z = (mean + 0.15 * torch.randn(1500, 2, generator=torch.Generator().manual_seed(1)).double()).numpy()
    expected = mutual_info_regression(z[:, :1], z[:, 1], random_state=0)[0]
    found = pairwise_information(mean, log_variance, [0, 1])
    assert 0.3 < found.nats[0, 1] == pytest.approx(expected, abs=0.1)


def test_standard_errors_cover_the_population():
    correlation, sigma = 0.7, 0.7
    covariance = [[1.0, correlation], [correlation, 1.0]]
    expected = -0.5 * math.log(1 - (correlation / (1 + sigma**2)) ** 2)
    found = [
        pairwise_information(*gaussian_posteriors(covariance, sigma, 300, seed), [0, 1], seed=seed, points=100)
        for seed in range(120)
    ]
    nats = np.array([float(result.nats[0, 1]) for result in found])
    errors = np.array([float(result.stderr[0, 1]) for result in found])
    assert errors.mean() == pytest.approx(nats.std(), rel=0.15)
    assert 0.9 < np.mean(np.abs(nats - expected) < 1.96 * errors) < 0.99
    assert nats.mean() == pytest.approx(expected, abs=3 * nats.std() / 120**0.5)


def test_the_influential_factors_are_the_default():
    mean = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.01, 3.0, 2.0])
    assert pairwise_information(mean, torch.zeros(200, 4)).factors.tolist() == [2, 3, 0]


@pytest.fixture
def three():
    """A result for z5, z2 and z7: z2 repeats half of z7."""

    def matrix(*rows):
        return torch.tensor(rows).double()

    nats = matrix([2.0, 0.1, 0.2], [0.1, 3.0, 0.6], [0.2, 0.6, 1.0])
    return redundancy.PairwiseInformation(
        factors=torch.tensor([5, 2, 7]),
        nats=nats,
        stderr=torch.full((3, 3), 0.01).double(),
        lower=nats - 0.05,
        upper=nats + 0.05,
        plug_in=nats + 0.04,
        total_correlation=TotalCorrelation(3.0, 0.1, 0.2, 0.3, 4.0, 0.5, 7.0, 1000),
        gaussian_bound=(0.5, 0.1),
        tree_bound=(0.8, 0.1),
        n_samples=1000,
    )


def test_pairs_are_listed_by_nats_with_the_more_informative_factor_first(three):
    frame = three.to_frame()
    assert list(zip(frame["factor"], frame["other"], strict=True)) == [(2, 7), (5, 7), (2, 5)]
    assert frame["nats"].tolist() == pytest.approx([0.6, 0.2, 0.1])
    assert frame["share"].tolist() == pytest.approx([0.6, 0.2, 0.05])
    assert frame["lower"].tolist() == pytest.approx([0.55, 0.15, 0.05])
    assert set(frame.columns) == {"factor", "other", "nats", "stderr", "lower", "upper", "plug_in", "share"}
    assert three.repeats() == [(2, 7, pytest.approx(0.6), pytest.approx(0.6))]
    # The estimate is above this share, the lower end is not.
    assert three.repeats(0.58) == []
    assert three.share.diagonal().tolist() == [1, 1, 1]


def test_what_is_counted_twice_lies_between_the_best_bounds(three):
    assert three.counted_twice == pytest.approx((0.8 - 0.2, 4 + 1))


def test_repr_says_what_matters(three):
    text = repr(three)
    for words in ("3 factors", "between z2 and z7: 0.600", "60 % of z7", "sum of 6.00 nats, 0.60 to 5.00", "M = 1000"):
        assert words in text


@pytest.mark.parametrize("share", [-0.1, 1, 50])
def test_impossible_share(three, share):
    with pytest.raises(ValueError, match=r"such as 0\.5"):
        three.repeats(share)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"factors": [1]}, ValueError, "two or more factors"),
        ({"factors": [[0, 1]]}, ValueError, r"shape \(1, 2\)"),
        ({"factors": [0, 3]}, ValueError, "holds 3: give numbers from 0 to 2"),
        ({"factors": [0, -1]}, ValueError, "holds -1"),
        ({"factors": [0, 2, 2]}, ValueError, "holds 2 more than once"),
        ({"factors": [0.0, 1.0]}, TypeError, "whole numbers"),
        ({"factors": [True, False, True]}, TypeError, "whole numbers"),
        ({"factors": ["a", "b"]}, TypeError, "whole numbers"),
        ({}, ValueError, "0 factors have more than 0.1 nats: name two or more"),
        ({"factors": [0, 1], "points": 1}, ValueError, "points is 1"),
        ({"factors": [0, 1], "draws": 0}, ValueError, "draws is 0"),
    ],
)
def test_unusable_input(arguments, error, words):
    with pytest.raises(error, match=words):
        pairwise_information(torch.zeros(5, 3), torch.zeros(5, 3), **arguments)


def test_two_samples_and_a_singular_covariance_are_enough():
    found = pairwise_information([[0.0, 0.0], [1.0, 1.0]], [[-150.0, -150.0]] * 2, [0, 1])
    assert found.plug_in[0, 1] == pytest.approx(math.log(2), abs=1e-9)
    assert found.nats[0, 1] == pytest.approx(math.log(3), abs=1e-9)  # half of 1.5 components
    mean = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    found = pairwise_information(mean, torch.full_like(mean, -150.0), [0, 1])
    assert found.gaussian_bound == (0, 0)
    assert found.counted_twice[0] == 0
