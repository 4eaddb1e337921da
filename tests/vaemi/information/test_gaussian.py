"""The paper's estimator and the KL term against torch.distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaemi.information import gaussian_information, kl_to_prior


def test_kl_to_prior_agrees_with_torch():
    mean, log_variance = torch.randn(20, 3).double(), torch.randn(20, 3).double()
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(3), torch.ones(3)))
    torch.testing.assert_close(kl_to_prior(mean, log_variance), expected)


def test_mean_divergence_to_the_fitted_gaussian():
    # Identity 5: the estimate is the mean KL(q(z|x) || N(0, sigma*^2)).
    mean, log_variance = torch.randn(50, 3).double(), torch.randn(50, 3).double()
    nats, _, marginal_std = gaussian_information(mean, log_variance)
    fitted = Normal(torch.zeros(3).double(), marginal_std)
    torch.testing.assert_close(nats, kl_divergence(Normal(mean, (log_variance / 2).exp()), fitted).mean(0))


def test_one_used_and_one_ignored_factor():
    mean = torch.tensor([[0.6, 0.0], [-0.6, 0.0]]).double()
    log_variance = torch.tensor([[2 * math.log(0.8), 0.0]] * 2).double()
    nats, _, marginal_std = gaussian_information(mean, log_variance)
    assert nats.tolist() == pytest.approx([-math.log(0.8), 0.0])
    assert marginal_std.tolist() == pytest.approx([1.0, 1.0])
