"""Accuracy by ratio kept, orders of factors, and intervals, on cases with a known answer."""

import math

import pytest
import torch

from companion.experiments import classifier, mnist
from vaemi import factor_information
from vaemi.models import ConvVAE


def test_ratios_are_counted_as_the_authors_count_them():
    # int((1 - ratio) * 128) factors are removed.
    published = {1.0: 128, 0.5: 64, 0.1: 13, 0.07: 9, 0.05: 7, 0.04: 6, 0.03: 4, 0.02: 3, 0.01: 2, 0.0: 0}
    assert {ratio: mnist.kept_at_ratio(ratio, 128) for ratio in published} == published


def test_exchanges_at_the_cut_trade_each_of_the_last_kept_for_each_of_the_first_dropped():
    order = torch.tensor([3, 1, 0, 2, 4])
    kept = [sorted(one[:2].tolist()) for one in mnist.exchanges_at_the_cut(order, 2, reach=2)]
    assert kept == [[0, 1], [1, 2], [0, 3], [2, 3]]
    assert all(sorted(one.tolist()) == [0, 1, 2, 3, 4] for one in mnist.exchanges_at_the_cut(order, 2))
    assert len(mnist.exchanges_at_the_cut(order, 1)) == 3
    assert mnist.exchanges_at_the_cut(order, 0) == mnist.exchanges_at_the_cut(order, 5) == []


def test_accuracy_changes_are_those_of_the_parts():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    z = torch.randn(400, 5, generator=generator)
    z[:, 3] += 3 * (labels % 2)
    z[:, 1] += 3 * (labels // 2)
    order, other = torch.tensor([3, 1, 0, 2, 4]), torch.tensor([1, 3, 0, 2, 4])
    ratios = ["1.0", "0.2", "0.0"]
    found = mnist.accuracy_changes((z, labels), (z, labels), order, other, ratios, epochs=5, classifiers=3, seed=1)

    def accuracies(epochs, order):
        trained = classifier.train_classifier(z, labels, epochs, seed=1)
        return pytest.approx([100 * value for value in classifier.accuracies(trained, z, labels, order, [5, 1, 0])])

    assert list(found.percent.values()) == accuracies(5, order)
    assert [value for (value,) in found.changed["other order"].values()] == accuracies(5, other)
    assert [value for (value,) in found.changed["trained three times as long"].values()] == accuracies(15, order)
    assert [len(values) for values in found.changed["one factor exchanged"].values()] == [0, 3, 0]
    assert [len(values) for values in found.changed["other classifiers"].values()] == [2, 2, 2]
    low, high = found.lowest("one factor exchanged"), found.highest("one factor exchanged")
    assert low["0.2"] < found.percent["0.2"] <= high["0.2"]
    assert low["1.0"] == high["1.0"] == found.percent["1.0"]
    assert found.width("one factor exchanged") == high["0.2"] - low["0.2"]
    values = found.values()["mean_accuracy_percent_of_classifiers"]
    assert values["0.2"] == pytest.approx((found.percent["0.2"] + sum(found.changed["other classifiers"]["0.2"])) / 3)


def test_keras_starts_a_training_as_the_authors_notebook_did_and_torch_changes_nothing():
    assert mnist.start_of("torch") == ({}, {})
    network, training = mnist.start_of("keras")
    assert ConvVAE(**network).hyperparameters["initialization"] == "glorot"
    assert ConvVAE(**network).hyperparameters["sigma_parameter"] == "sigma"
    assert training == {"adam_epsilon": 1e-7}
    with pytest.raises(ValueError, match="start is 'jax': choose one of 'torch', 'keras'"):
        mnist.start_of("jax")


def test_factors_are_counted_at_each_threshold():
    nats = torch.tensor([3.0, 0.5, 0.3, 0.15, 0.07, 0.01])
    assert mnist.factors_above(nats) == {"0.05": 5, "0.1": 4, "0.2": 3, "0.5": 1}


def test_the_spectrum_is_kept_in_both_estimates():
    signs = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    mean, log_variance = signs * torch.tensor([10.0, 0.0, 0.7]), torch.zeros(100, 3)
    exact, gaussian = (factor_information(mean, log_variance, method=name) for name in ("mixture", "gaussian"))
    found = mnist.spectra_values(exact, gaussian)
    assert found["information_of_influential_factors_nats"]["max"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["information_of_influential_factors_nats"]["min"] == pytest.approx(float(exact.nats[2]))
    assert found["influential_factors_by_threshold"] == {"0.05": 2, "0.1": 2, "0.2": 1, "0.5": 1}
    assert found["factors_above_half_a_nat"] == found["factors_above_half_a_nat_gaussian"] == 1
    assert found["information_gaussian_nats"] == pytest.approx([math.log(101) / 2, 0, math.log(1.49) / 2])
    assert found["total_information_gaussian_nats"] == pytest.approx(math.log(101 * 1.49) / 2)
    assert found["sigma_star_range"] == pytest.approx([1, 101**0.5])


def test_sigma_star_ranks_the_factors_as_it_was_made_to():
    signs = torch.tensor([1.0, -1.0]).repeat(500)[:, None]
    nats = torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0])
    # sigma* is sqrt(1 + mean^2): of the used factors one is below both ignored ones, and it is the most informative.
    mean, log_variance = signs * torch.tensor([0.0, 2.0, 1.5, 1.0, 0.5]), torch.zeros(1000, 5)
    found = mnist.bootstrapped_sigma_star_ranking(nats, mean, log_variance, resamples=100)
    assert found["sigma_star_auc"] == pytest.approx(4 / 6)
    assert found["sigma_star_rank_correlation"] == pytest.approx(-0.5)
    # Squares do not vary between these pictures, so neither does sigma* between resamples.
    assert found["sigma_star_auc_interval"] == pytest.approx([4 / 6, 4 / 6])
    assert found["sigma_star_rank_correlation_interval"] == pytest.approx([-0.5, -0.5])


def test_the_bootstrap_of_sigma_star_gives_the_sampling_interval_of_a_known_ranking():
    # Two factors whose mean squares differ by one standard error of the difference: the order of a resample is that of
    # a normal variable with mean 1 and standard deviation 1, so that the area is 1 in 84 % of them and else 0.
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
    difference = mean[:, 0].square() - mean[:, 1].square()
    shift = difference.std() / 4000**0.5 - difference.mean()
    log_variance = torch.tensor([10 + shift, 10.0], dtype=torch.float64).log().expand(4000, 2)
    nats = torch.tensor([1.0, 0.0])
    found = mnist.bootstrapped_sigma_star_ranking(nats, mean, log_variance)
    assert (found["sigma_star_auc"], found["sigma_star_auc_interval"]) == (1.0, [0.0, 1.0])
    # Five standard errors apart, the order is sure.
    log_variance = torch.tensor([10 + 5 * shift, 10.0], dtype=torch.float64).log().expand(4000, 2)
    assert mnist.bootstrapped_sigma_star_ranking(nats, mean, log_variance)["sigma_star_auc_interval"] == [1.0, 1.0]


@pytest.mark.parametrize("nats", [[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
def test_a_ranking_of_too_few_factors_is_that_of_chance(nats):
    mean = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = mnist.bootstrapped_sigma_star_ranking(torch.tensor(nats), mean, torch.zeros(50, 3), resamples=10)
    assert found["sigma_star_rank_correlation"] == 0.0
    assert found["sigma_star_rank_correlation_interval"] == [0.0, 0.0]
    if not any(nats):
        assert (found["sigma_star_auc"], found["sigma_star_auc_interval"]) == (0.5, [0.5, 0.5])


def test_excess_errors_leave_out_the_ends_and_are_paired():
    each = 1 + torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = 50 * each
    errors = {
        "information": torch.stack([ends, each, 3 * each, ends]),
        "kl": torch.stack([ends, 3 * each, each, ends]),
        "random 0": torch.stack([ends, 4 * each, 4 * each, ends]),
        "random 1": torch.stack([ends, 2 * each, 4 * each, ends]),
    }
    found = mnist.excess_errors(errors, resamples=50)
    assert found["excess_error_percent"] == pytest.approx({"kl": 0, "random": 75})
    # Proportional errors of the same pictures have the same proportion in every resample.
    assert found["excess_error_percent_interval"]["kl"] == pytest.approx([0, 0])
    assert found["excess_error_percent_interval"]["random"] == pytest.approx([75, 75])
    assert mnist.excess_table(found).iloc[1].tolist() == ["random order, mean over the draws", "75.0", ""]


def test_with_one_factor_every_order_has_the_same_error():
    errors = torch.rand(2, 50, generator=torch.Generator().manual_seed(0))
    found = mnist.excess_errors({"information": errors, "kl": errors, "random 0": errors}, resamples=50)
    assert found["excess_error_percent"] == {"kl": 0, "random": 0}
    assert found["excess_error_percent_interval"]["kl"] == [0, 0]


def test_the_interval_of_an_excess_is_as_wide_as_theory_says():
    generator = torch.Generator().manual_seed(0)
    errors = torch.stack([3 + torch.randn(2000, generator=generator).double(), torch.full((2000,), 2.0).double()])
    found = mnist.influential_only_excess(errors)
    assert found["influential_only_excess_error_percent"] == pytest.approx(100 * (float(errors[0].mean()) / 2 - 1))
    low, high = found["influential_only_excess_error_percent_interval"]
    assert low < found["influential_only_excess_error_percent"] < high
    assert high - low == pytest.approx(2 * 1.96 * 50 * float(errors[0].std()) / 2000**0.5, rel=0.1)
    # Paired: errors that are proportional have the same ratio in every resample.
    proportional = mnist.influential_only_excess(torch.stack([1.1 * errors[0], errors[0]]), resamples=50)
    assert proportional["influential_only_excess_error_percent_interval"] == pytest.approx([10, 10])


def test_the_interval_of_a_mean_accuracy_holds_it_and_has_both_sources():
    def interval(*accuracy, digits=10_000):
        changes = mnist.AccuracyChanges({"0.1": accuracy[0]}, {"other classifiers": {"0.1": list(accuracy[1:])}})
        return changes.interval_of_mean("0.1", digits)

    # The digits alone: a binomial proportion.
    for alone in (interval(90.0), interval(90.0, 90.0, 90.0)):
        assert alone == pytest.approx([90 - 1.96 * 0.3, 90 + 1.96 * 0.3], abs=1e-3)
    # The seeds alone: a mean of normal variables, t = 3.182 with three degrees of freedom.
    seeds = interval(91.0, 89.0, 91.0, 89.0, digits=10**9)
    assert seeds == pytest.approx([90 - 3.182 * (4 / 3) ** 0.5 / 2, 90 + 3.182 * (4 / 3) ** 0.5 / 2], abs=1e-2)
    # Both: variance 1/3 + 0.09, and 3 (1 + 0.27)^2 = 4.84 degrees of freedom, for which t = 2.598.
    both = interval(91.0, 89.0, 91.0, 89.0)
    assert both == pytest.approx([90 - 2.598 * 0.4233**0.5, 90 + 2.598 * 0.4233**0.5], abs=1e-2)
    assert interval(100.0, 99.9, digits=10)[1] == 100
