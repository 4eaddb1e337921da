"""Information given a condition, and layers given the layers above, against closed forms."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaemi.information import conditional_information, factor_information, hierarchical_information, joint_information


@pytest.fixture(scope="module")
def conditioned():
    """Factor 0: the condition alone; 1: the input alone; 2: both."""
    generator = torch.Generator().manual_seed(0)
    condition = torch.arange(8000) % 2
    x = torch.randn(8000, generator=generator).double()
    mean = torch.stack([20.0 * condition, x, 20.0 * condition + x], 1)
    return mean, torch.full((8000, 3), math.log(0.1)).double(), condition


def test_information_given_and_about_the_condition(conditioned):
    found = conditional_information(*conditioned)
    of_input = 0.5 * math.log(11)
    assert found.given.nats.tolist() == pytest.approx([0, of_input, of_input], abs=0.03)
    assert found.about_condition.tolist() == pytest.approx([math.log(2), 0, math.log(2)], abs=2e-3)
    torch.testing.assert_close(found.ignored.nats, found.given.nats + found.about_condition, atol=1e-6, rtol=0)


def test_each_condition_is_a_population_of_its_own(conditioned):
    mean, log_variance, _ = conditioned
    condition = torch.arange(8000) % 8 // 3  # shares 3/8, 3/8, 2/8
    found = conditional_information(mean, log_variance, condition)
    parts = [factor_information(mean[condition == c], log_variance[condition == c]) for c in range(3)]
    for name in ("nats", "leave_one_out"):
        expected = sum(share / 8 * getattr(part, name) for share, part in zip((3, 3, 2), parts, strict=True))
        torch.testing.assert_close(getattr(found.given, name), expected, atol=1e-5, rtol=0)
    variance = sum((share / 8 * part.stderr) ** 2 for share, part in zip((3, 3, 2), parts, strict=True))
    # Shares of the conditions vary too, which adds the spread of the conditions' information: next to nothing here.
    torch.testing.assert_close(found.given.stderr, variance.sqrt(), atol=5e-4, rtol=0.02)


def test_a_sample_given_twice_counts_once_as_a_cluster(conditioned):
    once = conditional_information(*conditioned)
    sample = torch.arange(8000).repeat(2)
    twice = conditional_information(*(torch.cat([part, part]) for part in conditioned), clusters=sample)
    for name in ("given", "ignored"):
        torch.testing.assert_close(getattr(twice, name).stderr, getattr(once, name).stderr, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(twice.about_condition_stderr, once.about_condition_stderr, atol=1e-6, rtol=1e-3)


def test_labels_of_any_kind_and_what_is_refused(conditioned):
    mean, log_variance, condition = (part[:100] for part in conditioned)
    named = conditional_information(mean, log_variance, condition.bool())
    torch.testing.assert_close(named.given.nats, conditional_information(mean, log_variance, condition).given.nats)
    with pytest.raises(ValueError, match="bin a continuous condition"):
        conditional_information(mean, log_variance, mean[:, 1])
    with pytest.raises(ValueError, match=r"give \(100,\), a label"):
        conditional_information(mean, log_variance, condition[:50])


def test_layers_of_a_linear_hierarchy():
    # z2 = x + n2, z1 = x + z2 + n1, all of variance 1; p(z1|z2) = N(1.5 z2, 1.5), the true conditional.
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 6000, 1, generator=generator).double()
    above = x + noise
    zero = torch.zeros_like(x)
    top, bottom = hierarchical_information(
        [(x, zero), (x + above, zero, 1.5 * above, torch.full_like(x, math.log(1.5)))]
    )
    assert float(top.with_above.nats) == pytest.approx(0.5 * math.log(2), abs=0.02)
    assert top.upper is None
    # Var(z1) = Var(2x + n2 + n1) = 6; about x and z2 together 1/2 log 6, and given z2 1/2 log 1.5.
    assert float(bottom.with_above.nats) == pytest.approx(0.5 * math.log(6), abs=0.03)
    assert float(bottom.upper) == pytest.approx(0.5 * math.log(1.5), abs=4 * float(bottom.upper_stderr))
    # The chain rule: both layers together are two looks at x with independent noise, z2 and z1 - z2.
    both = joint_information(torch.cat([x, x], 1), torch.zeros(6000, 2))
    assert float(top.with_above.nats + bottom.upper) == pytest.approx(both.plug_in, abs=0.05)


def test_the_upper_value_is_the_divergence_from_the_prior():
    mean, prior_mean = torch.randn(2, 30, 2).double()
    log_variance, prior_log_variance = torch.randn(2, 30, 2).double()
    (found,) = hierarchical_information([(mean, log_variance, prior_mean, prior_log_variance)])
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(prior_mean, (prior_log_variance / 2).exp())
    torch.testing.assert_close(found.upper, kl_divergence(q, p).mean(0))


def test_a_layer_of_three_parts_is_refused():
    with pytest.raises(ValueError, match="layer 0 has 3 parts"):
        hierarchical_information([[torch.zeros(5, 2)] * 3])
