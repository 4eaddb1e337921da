"""The paper's estimator and the KL term against torch.distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaemi.information import gaussian_information, gaussian_joint_information, joint_information, kl_to_prior


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


def test_the_joint_estimate_is_exact_for_gaussian_codes():
    # The same mean in two factors, with independent noise of variance 0.1: 1/2 log(1 + 2 / 0.1).
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(0)).double()
    x = (x - x.mean()) / x.std(correction=0)
    mean = x[:, None].expand(-1, 2)
    log_variance = torch.full_like(mean, math.log(0.1))
    assert gaussian_joint_information(mean, log_variance) == pytest.approx(0.5 * math.log(21), abs=1e-12)
    # A shift of the code, or a third factor that is ignored, changes nothing.
    ignored = torch.zeros(len(x), 1).double()
    wider = torch.cat([mean + 3, ignored], 1), torch.cat([log_variance, ignored], 1)
    assert gaussian_joint_information(*wider) == pytest.approx(0.5 * math.log(21), abs=1e-12)


def test_the_joint_estimate_is_not_limited_by_the_number_of_samples():
    # Two inputs hold log 2; the Gaussian that is fitted to both posteriors is far from them.
    mean = torch.tensor([[50.0, 0.0], [-50.0, 0.0]]).double()
    found = gaussian_joint_information(mean, torch.zeros(2, 2).double())
    assert found == pytest.approx(0.5 * math.log(1 + 50**2))
    assert found > math.log(2) == pytest.approx(joint_information(mean, torch.zeros(2, 2)).plug_in)


def test_the_joint_estimate_lies_above_the_plug_in_and_below_the_sum_of_the_gaussian_estimates():
    mean, log_variance = torch.randn(400, 3).double() @ torch.randn(3, 3).double(), torch.randn(400, 3).double()
    found = gaussian_joint_information(mean, log_variance)
    lower = joint_information(mean, log_variance, draws=20)
    assert lower.plug_in - 5 * lower.plug_in_stderr < found < float(gaussian_information(mean, log_variance)[0].sum())
