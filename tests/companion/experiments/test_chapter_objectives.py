"""The row of numbers for a model: columns against a direct computation, and cases with a known answer."""

import math

import pandas as pd
import pytest
import torch
from conftest import linear_model

import vaemi
from companion.experiments import objectives as experiments
from companion.experiments.theory import total_correlation_bound
from vaemi import influence
from vaemi.information import total_correlation
from vaemi.models import posterior
from vaemi.objectives import BetaVAE, FactorVAE

BOTH = torch.tensor([0, 1])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_what_an_encoder_misses_and_how_the_codes_go_together():
    # The second code is a z plus noise of variance v: (1 - a) z is missed, and the correlation is a / sqrt(a^2 + v).
    a, v, deviation = 0.6, 0.25, 3.0
    z = normal(100_000, 2) * torch.tensor([1.0, deviation])
    mean, again = experiments.recoded(linear_model(a * torch.eye(2), torch.eye(2), v), z)
    for factor, std in ((0, 1.0), (1, deviation)):
        assert experiments.recoding_error(z, mean, [factor]) == pytest.approx(1 - a, rel=1e-3)
        expected = a * std / math.sqrt(a**2 * std**2 + v)
        assert experiments.recoding_correlation(z, again, [factor]) == pytest.approx(expected, abs=5e-3)
    assert experiments.recoding_error(z, mean, BOTH) == pytest.approx(1 - a, rel=1e-3)


def test_a_factor_that_the_decoder_ignores_is_not_found():
    z = normal(20_000, 2)
    mean, again = experiments.recoded(linear_model(torch.eye(2), torch.diag(torch.tensor([1.0, 0.0]))), z)
    assert experiments.recoding_error(z, mean, [1]) == pytest.approx(1, abs=0.01)
    assert experiments.recoding_correlation(z, again, [1]) == pytest.approx(0, abs=0.02)
    assert experiments.recoding_error(z + 5, torch.full_like(z, 5), [0]) == pytest.approx(1, abs=0.02)
    # Together: half of the variance is missed.
    assert experiments.recoding_error(z, mean, BOTH) == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_every_score_is_what_its_name_says():
    # A linear model of four inputs: the first factor is one of them, the second mixes two, the third is nothing.
    generating = normal(3000, 4)
    pictures = generating @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.2]))
    encoder = torch.tensor([[0.9, 0, 0, 0], [0, 0.6, 0.6, 0], [0, 0, 0, 0]])
    model = linear_model(encoder, encoder.T)
    (learners, pictures), (known, truth) = pictures.split([2000, 1000]), generating.split([2000, 1000])
    scores = experiments.score_code(model, pictures, truth, learners, known, top=1, points=500, seed=4)
    code = posterior(model, pictures)
    information = vaemi.factor_information(*code)
    z = influence.sample_posterior(*code, seed=4)
    assert scores["influential_factors"] == 2
    assert scores["total_information_nats"] == pytest.approx(float(information.nats.sum()))
    assert scores["information_per_influential_factor_nats"] == pytest.approx(float(information.nats[:2].mean()))
    kl = float(vaemi.information.kl_to_prior(*code).sum(1).mean())
    assert scores["kl_of_marginals_nats"] == pytest.approx(kl - scores["total_information_nats"], abs=1e-5)
    widths = information.marginal_std[:2]
    assert (scores["sigma_star_least"], scores["sigma_star_most"]) == (float(widths.min()), float(widths.max()))
    sampled = total_correlation(*code, points=500, seed=4)
    assert scores["total_correlation_at_least_nats"] == max(sampled.lower, total_correlation_bound(z))
    assert scores["total_correlation_at_most_nats"] == sampled.upper
    on_truth = influence.label_information(*code, influence.discretized(truth), permutations=19)
    assert scores["mig"] == pytest.approx(influence.disentanglement_scores(on_truth).mig)
    missed = (pictures - influence.decode(model, code[0])).square().mean()
    assert scores["reconstruction_error"] == pytest.approx(float(missed))
    # The third factor, of which the decoder draws nothing, is missed altogether.
    mean, _ = experiments.recoded(model, z, 4)
    assert scores["recoding_error"] == experiments.recoding_error(z, mean, information.ranking[:2])
    assert scores["recoding_error_of_all"] > scores["recoding_error"]
    # A Gaussian and a threshold on what it shows: the share of right answers is 1/2 + asin(r) / pi. Of each generating
    # factor the first factor shows r = 0.9 / sqrt(0.91), 0, 0, 0, all of them also 0.6 / sqrt(0.82) for two.
    first, second = math.asin(0.9 / math.sqrt(0.91)) / math.pi, math.asin(0.6 / math.sqrt(0.82)) / math.pi
    assert scores["accuracy_all_percent"] == pytest.approx(100 * (0.5 + (first + 2 * second) / 4), abs=1.0)
    assert scores["accuracy_top_percent"] == pytest.approx(100 * (0.5 + first / 4), abs=1.0)


def test_the_standard_errors_of_two_equal_factors_add_up():
    pictures = normal(2000, 1)
    generating = pictures.expand(-1, 2) + 0.1 * normal(2000, 2, seed=1)
    once, twice = (
        experiments.score_code(
            linear_model(0.9 * torch.ones(n, 1), torch.ones(1, n) / n), pictures, generating, pictures, generating,
            top=1, points=50,
        )["total_information_stderr_nats"]
        for n in (1, 2)
    )  # fmt: skip
    # Not by the root of two, as of independent ones.
    assert twice == pytest.approx(2 * once, rel=1e-6)


def test_a_table_of_one_model_each_and_of_several():
    row = {
        "influential_factors": 3,
        "total_information_nats": 4.25,
        "total_information_stderr_nats": 0.0512,
        "total_correlation_at_least_nats": 0.5,
        "total_correlation_at_most_nats": 1.5,
        "mig": 0.1234,
        "accuracy_top_percent": 60.0,
        "accuracy_all_percent": 70.0,
        "reconstruction_error": 0.0025,
        "recoding_error": 0.25,
    }
    other = row | {"influential_factors": 5, "total_information_nats": 6.25, "total_correlation_at_most_nats": 2.5}
    times = {"b": 1.0, "a": 1.5}
    alone = experiments.scores_table(pd.DataFrame([row, other], index=["b", "a"]), times, 0.04)
    assert alone.iloc[0].tolist() == [
        "b", "3", "4.2 ± 0.05", "0.5 to 1.5", "0.123", "60.0", "70.0", "5.00", "0.25", "1.00",
    ]  # fmt: skip
    assert alone.iloc[-1].tolist() == [
        "the average face", "0", "0.0", "0.0", "0.000", "50.0", "50.0", "20.00", "1.00", "-",
    ]  # fmt: skip
    several = experiments.scores_table(pd.DataFrame([row, other], index=["a", "a"]), times, 0.04)
    assert several.iloc[0].tolist()[:4] == ["a", "4.0 (3.0\N{EN DASH}5.0)", "5.2 (4.2\N{EN DASH}6.2)", "0.5 to 2.0"]


def test_a_code_without_information_is_scored():
    generating = normal(300, 2)
    model = linear_model(torch.zeros(2, 2), torch.zeros(2, 2), 1.0)
    scores = experiments.score_code(model, generating, generating, generating, generating, top=1, points=50)
    assert scores["influential_factors"] == scores["information_per_influential_factor_nats"] == 0
    assert scores["kl_of_marginals_nats"] == pytest.approx(0, abs=1e-6)


def test_a_table_of_members_has_the_order_of_their_prices_and_the_widest_range():
    row = {
        "influential_factors": 3,
        "total_information_nats": 4.25,
        "information_per_influential_factor_nats": 1.375,
        "total_correlation_at_least_nats": 0.5,
        "reconstruction_error": 0.0025,
        "kl_of_marginals_nats": 0.125,
        "sigma_star_least": 0.9,
        "sigma_star_most": 1.1,
    }
    other = row | {"influential_factors": 5, "sigma_star_least": 0.8, "sigma_star_most": 1.0}
    scores = pd.DataFrame([row, row, other], index=["no member", "b", "a"])
    alone = experiments.members_table(scores, {"b": 1.0, "a": 0.5}, {"a": 0.25, "b": 0.75})
    assert alone.iloc[0].tolist() == ["b", "1", "3", "4.2", "1.38", "0.5", "5.00", "0.12", "0.90 to 1.10", "0.75"]
    assert alone.iloc[1].tolist()[:3] == ["a", "0.5", "5"]
    several = experiments.members_table(pd.DataFrame([row, other], index=["a", "a"]), {"a": 0}, {"a": 1.0})
    assert several.iloc[0].tolist()[1:4] == ["0", "4.0 (3.0\N{EN DASH}5.0)", "4.2 (4.2\N{EN DASH}4.2)"]
    assert several[r"$\sigma^*$"].tolist() == ["0.80 to 1.10"]


def test_only_a_larger_difference_than_the_change_of_differences_tells_objectives_apart():
    scores = pd.DataFrame({"influential_factors": [18, 10, 20, 20, 5]}, index=["a", "b", "c", "c", "new"])
    counts = experiments.compared_counts(scores, {"c": [17, 19], "b": [11, 11], "a": [12, 12], "gone": [1]})
    assert counts.index.tolist() == ["a", "b", "c"]
    assert counts.change.tolist() == [6, -1, 2]
    # a - b is 8 here and 1 there: no difference changes by more than 7.
    assert experiments.unsettled(counts) == 7
    assert experiments.told_apart(counts) == [("b", "a"), ("b", "c")]
    counts = experiments.compared_counts(scores, {"c": [18], "b": [11], "a": [11]})
    assert experiments.unsettled(counts) == 8
    assert experiments.told_apart(counts) == [("b", "c")]


def test_the_reference_run_is_compared_with_shorter_runs_only():
    reference = experiments.longer_reference_run(steps=1)
    steps = reference["manifest"]["parameters"]["steps"]
    assert reference["experiment"] == "objectives"
    assert experiments.longer_reference_run(steps - 1) == reference
    assert experiments.longer_reference_run(steps) is None


def test_what_the_chapter_writes_about_the_counts():
    reference = experiments.longer_reference_run(steps=1)
    there = reference["values"]["influential_factors"]
    counted = [*there["VAE"], *(count + 2 for count in there["AVAE"])]
    names = ["VAE"] * len(there["VAE"]) + ["AVAE"] * len(there["AVAE"])
    scores = pd.DataFrame({"influential_factors": counted}, index=names)
    found = experiments.settled_counts(scores, steps=1)
    assert found["steps"] == reference["manifest"]["parameters"]["steps"]
    assert (found["most"], found["unsettled"]) == ("AVAE", pytest.approx(2))
    assert found["here"] - found["there"] == pytest.approx(2)
    assert "| VAE " in found["table"]
    alone = pd.DataFrame({"influential_factors": [3, 5, 9, 9]}, index=["a", "a", "b", "b"])
    assert experiments.settled_counts(alone, found["steps"]) == {"table": None, "spread": 2}


def test_the_time_of_an_objective_is_relative_to_the_first():
    model = linear_model(torch.eye(2), torch.eye(2))
    named = {"a": BetaVAE(), "many": FactorVAE(hidden_dims=(500, 500)), "same": BetaVAE()}
    found = experiments.relative_seconds(model, normal(500, 2), named, repeats=5)
    assert found["a"] == 1
    assert found["many"] > max(found["same"], 1)
    assert all(weight.grad is None for weight in model.parameters())
