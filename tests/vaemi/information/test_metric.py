"""The metric alone and reset; over processes it is in test_distributed."""

import pytest
import torch

from vaemi import FactorInformationMetric, factor_information


def samples():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(400, 3, generator=generator).double()
    return mean, -4 * torch.rand(400, 3, generator=generator).double()


def assert_same(one, other):
    for name in ("nats", "stderr", "leave_one_out", "marginal_std"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-12, rtol=0)
    assert one.n_samples == other.n_samples


def test_batches_equal_one_pass_and_reset_forgets():
    mean, log_variance = samples()
    metric = FactorInformationMetric(3)
    metric.update(mean * 7, log_variance)
    metric.reset()
    for part in zip(mean.split(150), log_variance.split(150), strict=True):
        metric.update(*part)
    assert_same(metric.compute(), factor_information(mean, log_variance))


def test_forward_gives_the_batch_and_keeps_the_whole():
    mean, log_variance = samples()
    metric = FactorInformationMetric(3)
    for part in zip(mean.split(200), log_variance.split(200), strict=True):
        assert_same(metric(*part), factor_information(*part))
    assert_same(metric.compute(), factor_information(mean, log_variance))


def test_one_factor_and_high_precision():
    mean, log_variance = samples()
    metric = FactorInformationMetric(1, precision="high")
    metric.update(mean[:, :1], log_variance[:, :1])
    assert_same(metric.compute(), factor_information(mean[:, :1], log_variance[:, :1], precision="high"))


def test_impossible_settings_and_an_empty_metric():
    with pytest.raises(ValueError, match="n_factors"):
        FactorInformationMetric(0)
    with pytest.warns(UserWarning, match="before"), pytest.raises(ValueError, match="0 samples"):
        FactorInformationMetric(2).compute()
