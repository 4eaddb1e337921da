"""The row of numbers for a model: every column against a direct computation, and cases with a known answer."""

import math

import pytest
import torch
from conftest import linear_model

import vaemi
from companion.experiments import objectives as experiments
from companion.experiments.theory import total_correlation_bound
from vaemi import influence
from vaemi.information import total_correlation
from vaemi.models import posterior


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- Encoding again what was decoded


def test_an_encoder_that_undoes_its_decoder_finds_every_code():
    decoder = torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    found = experiments.recoding(linear_model(torch.linalg.inv(decoder), decoder, 1e-6), normal(500, 2))
    assert found.error([0, 1]) == pytest.approx(0, abs=1e-5)
    assert found.correlation([0, 1]) == pytest.approx(1, abs=1e-5)


def test_what_an_encoder_misses_and_how_the_codes_go_together():
    # The second code is a z plus noise of variance v: (1 - a) z is missed, and the correlation is a / sqrt(a^2 + v).
    a, v, deviation = 0.6, 0.25, 3.0
    z = normal(100_000, 2) * torch.tensor([1.0, deviation])
    found = experiments.recoding(linear_model(a * torch.eye(2), torch.eye(2), v), z)
    for factor, std in enumerate((1.0, deviation)):
        assert found.error([factor]) == pytest.approx(1 - a, rel=1e-3)
        assert found.correlation([factor]) == pytest.approx(a * std / math.sqrt(a**2 * std**2 + v), abs=5e-3)
    assert found.error([0, 1]) == pytest.approx(1 - a, rel=1e-3)


def test_a_factor_that_the_decoder_ignores_is_not_found():
    z = normal(20_000, 2)
    found = experiments.recoding(linear_model(torch.eye(2), torch.diag(torch.tensor([1.0, 0.0]))), z)
    assert found.error([1]) == pytest.approx(1, abs=0.01)
    assert found.correlation([1]) == pytest.approx(0, abs=0.02)
    # Together: half of the variance is missed.
    assert found.error([0, 1]) == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_codes_that_cannot_be_compared():
    model = linear_model(torch.eye(2), torch.eye(2))
    for z in (torch.zeros(1, 2), torch.zeros(5, 3), torch.zeros(5)):
        with pytest.raises(ValueError, match=r"two or more codes, \(N, 2\)"):
            experiments.recoding(model, z)
    assert math.isnan(experiments.recoding(model, torch.zeros(5, 2)).error([0]))


# --- The scores of a model


@pytest.fixture(scope="module")
def scored():
    """A linear model of four inputs: the first factor is one of them, the second mixes two, the third is nothing."""
    generating = normal(3000, 4)
    pictures = generating @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.2]))
    encoder = torch.tensor([[0.9, 0, 0, 0], [0, 0.6, 0.6, 0], [0, 0, 0, 0]])
    model = linear_model(encoder, encoder.T)
    known, truth = generating[:2000], generating[2000:]
    scores = experiments.score_code(model, pictures[2000:], truth, pictures[:2000], known, top=1, points=500, seed=4)
    return model, pictures[2000:], truth, scores


def test_every_column_is_what_it_says(scored):
    model, pictures, truth, scores = scored
    code = posterior(model, pictures)
    information = vaemi.factor_information(*code)
    z = influence.sample_posterior(*code, seed=4)
    said = scores.to_dict()
    assert said["influential_factors"] == len(information.influential(0.1)) == 2
    assert said["total_information_nats"] == pytest.approx(float(information.nats.sum()))
    sampled = total_correlation(*code, points=500, seed=4)
    assert said["total_correlation_at_least_nats"] == max(sampled.lower, total_correlation_bound(z))
    assert said["total_correlation_at_most_nats"] == sampled.upper
    on_truth = influence.label_information(*code, influence.discretized(truth), permutations=19)
    assert said["mig"] == pytest.approx(influence.disentanglement_scores(on_truth).mig)
    missed = (pictures - influence.decode(model, code[0])).square().mean()
    assert said["reconstruction_error"] == pytest.approx(float(missed))
    recoding = experiments.recoding(model, z, 4)
    assert said["recoding_error"] == recoding.error(information.influential(0.1))
    # The third factor, of which the decoder draws nothing, is missed altogether.
    assert said["recoding_error_of_all"] == recoding.error([0, 1, 2]) > said["recoding_error"]


def test_accuracies_are_those_of_halves(scored):
    said = scored[-1].to_dict()
    # A Gaussian and a threshold on what it shows: the share of right answers is 1/2 + asin(r) / pi. Of each generating
    # factor the first factor shows r = 0.9 / sqrt(0.91), 0, 0, 0, all of them also 0.6 / sqrt(0.82) for two.
    first, second = math.asin(0.9 / math.sqrt(0.91)) / math.pi, math.asin(0.6 / math.sqrt(0.82)) / math.pi
    assert said["accuracy_all_percent"] == pytest.approx(100 * (0.5 + (first + 2 * second) / 4), abs=1.0)
    assert said["accuracy_top_percent"] == pytest.approx(100 * (0.5 + first / 4), abs=1.0)


def test_the_error_of_a_sum_of_factors_that_rise_and_fall_together():
    pictures = normal(2000, 1)
    generating = pictures.expand(-1, 2) + 0.1 * normal(2000, 2, seed=1)
    once, twice = (
        experiments.score_code(
            linear_model(0.9 * torch.ones(n, 1), torch.ones(1, n) / n), pictures, generating, pictures, generating,
            top=1, points=50,
        )
        for n in (1, 2)
    )  # fmt: skip
    assert once.total_stderr == pytest.approx(float(once.information.stderr[0]), rel=0.02)
    # Not by the root of two, as of independent ones.
    assert twice.total_stderr == pytest.approx(2 * once.total_stderr, rel=1e-6)


@pytest.mark.parametrize("top", [0, 3])
def test_a_number_of_factors_that_there_is_not(top):
    pictures = normal(50, 2)
    model = linear_model(torch.eye(2), torch.eye(2))
    with pytest.raises(ValueError, match=f"top is {top}: give a number of factors from 1 to 2"):
        experiments.score_code(model, pictures, pictures, pictures, pictures, top=top)


# --- The table


ROW = {
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


def test_a_table_of_one_model_each_and_of_several():
    other = ROW | {"influential_factors": 5, "total_information_nats": 6.25, "total_correlation_at_most_nats": 2.5}
    table = experiments.scores_table({"one": [ROW], "two": [ROW, other]}, {"one": 1.0, "two": 1.5})
    assert table.iloc[0].tolist() == [
        "one", "3", "4.2 ± 0.05", "0.5 to 1.5", "0.123", "60.0", "70.0", "5.00", "0.25", "1.00",
    ]  # fmt: skip
    assert table.iloc[1].tolist()[:4] == ["two", "4.0 (3.0\N{EN DASH}5.0)", "5.2 (4.2\N{EN DASH}6.2)", "0.5 to 2.0"]
