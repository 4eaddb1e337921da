"""Information from draws alone, against posteriors whose information is known."""

import math

import pytest
import torch
from torch import distributions

from vaemi.information import density_information, draws_information, factor_information

M, K = 500, 100
NOISE = torch.tensor([0.02, 0.2, 0.75, 1.0])  # variances; the means have what is left to 1


@pytest.fixture(scope="module")
def posteriors():
    mean = (1 - NOISE).sqrt() * torch.randn(M, 4, generator=torch.Generator().manual_seed(0))
    return mean.double(), NOISE.log().double().expand(M, 4)


@pytest.fixture(scope="module")
def z(posteriors):
    mean, log_variance = posteriors
    noise = torch.randn(M, K, 4, generator=torch.Generator().manual_seed(1)).double()
    return mean[:, None] + (0.5 * log_variance).exp()[:, None] * noise


def test_the_bracket_is_that_of_normal_posteriors(posteriors, z):
    exact, found = factor_information(*posteriors), draws_information(z)
    # 2 / K nats for the fit; the noise of the draws is below 0.01.
    assert (found.nats < exact.nats + 0.01).all()
    assert (found.nats > exact.nats - 2 / K - 0.01).all()
    torch.testing.assert_close(found.leave_one_out, exact.leave_one_out, atol=0.02, rtol=0)
    torch.testing.assert_close(found.stderr, exact.stderr, atol=0.01, rtol=0)
    torch.testing.assert_close(found.marginal_std, exact.marginal_std, atol=0.01, rtol=0)


def test_a_monotone_function_of_a_factor_changes_nothing(z):
    torch.testing.assert_close(draws_information(z.sinh()).nats, draws_information(z).nats)


def test_posteriors_far_from_normal_leave_the_bracket_open():
    # Two modes, 4 apart, with the same sign of the mean in both.
    mean = torch.randn(M, 1, generator=torch.Generator().manual_seed(2)).double()
    modes = distributions.Normal(torch.stack([mean - 2, mean + 2], -1), torch.tensor(0.2).double())
    truth = float(
        density_information(
            distributions.MixtureSameFamily(distributions.Categorical(torch.ones(M, 1, 2)), modes), draws=4
        ).nats
    )
    sign = 4 * torch.randint(2, (M, K, 1), generator=torch.Generator().manual_seed(3)) - 2
    noise = torch.randn(M, K, 1, generator=torch.Generator().manual_seed(4))
    found = draws_information(mean[:, None] + sign + 0.2 * noise)
    assert float(found.nats) < truth
    assert float(found.leave_one_out) > float(found.nats) + 0.5
    assert float(found.interval()[1]) > truth - 0.2


def test_no_information_is_not_found():
    found = draws_information(torch.randn(M, K, 2, generator=torch.Generator().manual_seed(5)))
    assert found.nats.tolist() == pytest.approx([0, 0], abs=0.005)
    assert found.leave_one_out.tolist() == pytest.approx([0, 0], abs=0.02)


def test_inputs_far_apart_reach_the_ceiling():
    z = 1000.0 * torch.arange(20)[:, None, None] + torch.randn(20, 50, 1, generator=torch.Generator().manual_seed(6))
    found = float(draws_information(z).nats)
    assert math.log(20) - 0.2 < found < math.log(20)


@pytest.mark.parametrize(
    ("z", "says"),
    [
        (torch.zeros(5, 20), r"shape \(5, 20\): give \(M, K, H\)"),
        (torch.zeros(5, 8, 2), "16 or more draws"),
        (torch.zeros(5, 20, 2), "one value in all draws of factor 0 for input 0: a code without noise"),
        (torch.full((5, 20, 2), torch.nan), "nan"),
    ],
)
def test_what_is_refused(z, says):
    with pytest.raises(ValueError, match=says):
        draws_information(z)
