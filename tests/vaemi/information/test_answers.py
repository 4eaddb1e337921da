"""The reader of encoder answers outside of audits: the sketch and the metric take answers as they are."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Laplace, MultivariateNormal, Normal

from vaemi import FactorInformationMetric, InformationSketch, factor_information
from vaemi.information.answers import MEAN_NAMES, SECOND_NAMES, TO_LOG_VARIANCE, read_answer


def posteriors(count=300):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(count, 4, generator=generator).double()
    return mean, -3 * torch.rand(count, 4, generator=generator).double()


def covariance(log_variance, correlation=0.6):
    """Return covariances with these variances and one correlation between all factors."""
    std = (0.5 * log_variance).exp()
    between = torch.full((4, 4), correlation).double().fill_diagonal_(1)
    return std[:, :, None] * between * std[:, None]


ANSWERS = [
    lambda mean, log_variance: (mean, log_variance),
    lambda mean, log_variance: (mean, log_variance, mean),
    lambda mean, log_variance: Normal(mean, (0.5 * log_variance).exp()),
    lambda mean, log_variance: MultivariateNormal(mean, covariance(log_variance)),
    lambda mean, log_variance: (Independent(Independent(Normal(mean, (0.5 * log_variance).exp()), 0), 1), "loss"),
    lambda mean, log_variance: {"mu": mean, "log_sigma": 0.5 * log_variance},
    lambda mean, log_variance: (mean.view(-1, 2, 2), log_variance.view(-1, 2, 2)),
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("summary", [InformationSketch, FactorInformationMetric])
def test_a_sketch_and_a_metric_take_answers(summary, answer):
    mean, log_variance = posteriors()
    found = summary(4)
    for part in zip(mean.split(100), log_variance.split(100), strict=True):
        found.update(answer(*part))
    expected = factor_information(mean, log_variance)
    torch.testing.assert_close(found.compute().nats, expected.nats, atol=1e-10, rtol=0)


@pytest.mark.parametrize("summary", [InformationSketch, FactorInformationMetric])
def test_the_scale_of_an_answer_can_be_told(summary):
    mean, log_variance = posteriors()
    found = summary(4)
    found.update((mean, (0.5 * log_variance).exp()), scale="std")
    torch.testing.assert_close(found.compute().nats, factor_information(mean, log_variance).nats, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ((torch.zeros(5, 4),), {}, r"The encoder returns a Tensor of shape \(5, 4\)"),
        (((torch.zeros(5, 4), torch.zeros(5, 4)),), {"scale": "sigma"}, "scale is 'sigma': choose one of"),
        (((torch.zeros(5, 4), torch.zeros(5, 4)),), {"scale": "std"}, "returned a std of 0, and it must be"),
        (((torch.zeros(5, 4).long(), torch.zeros(5, 4)),), {}, r"of torch\.int64 and torch\.float32: both must be"),
        (((torch.zeros(5), torch.zeros(5)),), {}, r"returned a mean and a log_variance of shapes \(5,\)"),
        ((torch.zeros(5, 4), torch.ones(5, 4)), {"scale": "std"}, r"pass update\(answer, scale=...\)"),
        ((Categorical(torch.ones(5, 4)),), {}, "a Categorical, whose latents are classes: use .*audit_codes"),
        (({"posterior": Laplace(torch.zeros(5, 4), 1.0)},), {}, "a Laplace: only normal .*density_information"),
        (([torch.zeros(5, 4)] * 5,), {}, r"a list of a Tensor of shape .*, \.\.\., in which no mean"),
    ],
)
def test_what_a_sketch_cannot_read_is_one_sentence_and_changes_nothing(arguments, settings, words):
    sketch = InformationSketch(4)
    with pytest.raises(ValueError, match=words):
        sketch.update(*arguments, **settings)
    assert sketch.n_samples == 0


def test_correlated_factors_are_told_by_a_factor_of_their_covariance():
    mean, log_variance = posteriors()
    found = read_answer({"qz": MultivariateNormal(mean, covariance(log_variance))})
    torch.testing.assert_close(found.scale_tril @ found.scale_tril.mT, covariance(log_variance))
    assert read_answer(MultivariateNormal(mean, covariance(log_variance, 0))).scale_tril is None


@pytest.mark.parametrize(("scale", "name"), [(scale, name) for scale, names in SECOND_NAMES.items() for name in names])
def test_every_name_of_the_second_output(scale, name):
    log_variance = torch.tensor([[-2.0, 0.5], [0.0, 1.0]])
    second = {"variance": log_variance.exp(), "std": (0.5 * log_variance).exp(), "log_std": 0.5 * log_variance}
    found = read_answer({"mu": torch.zeros(2, 2), name: second.get(scale, log_variance)})
    assert (found.scale, found.named) == (scale, True)
    torch.testing.assert_close(found.log_variance, log_variance)


def test_names_are_told_apart():
    seconds = [name for names in SECOND_NAMES.values() for name in names]
    assert len({*MEAN_NAMES, *seconds}) == len(MEAN_NAMES) + len(seconds)
    assert set(SECOND_NAMES) == set(TO_LOG_VARIANCE)


def test_a_draw_in_front_is_not_taken_for_the_mean():
    """Some encoders return (z, mean, log_variance)."""
    mean, log_variance = posteriors()
    z = Normal(mean, (0.5 * log_variance).exp()).sample()
    torch.testing.assert_close(read_answer((mean, log_variance, z)).mean, mean)
    with pytest.raises(ValueError, match=r"is not \(mean, log_variance, z\) with a draw z"):
        read_answer((z, mean, log_variance))


def test_the_total_is_a_number_that_can_be_logged():
    mean, log_variance = posteriors()
    metric = FactorInformationMetric(4, as_total=True)
    metric.update(mean, log_variance)
    total = metric.compute()
    assert total.shape == ()
    assert float(total) == pytest.approx(factor_information(mean, log_variance).total, rel=1e-6)
    assert math.isfinite(total)
