"""Any torch distribution, against the exact estimators and closed forms."""

import math

import pytest
import torch
from torch import distributions

from vaemi.information import density_information, discrete_information, factor_information, joint_information

M = 400


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def assert_near(found, expected, exact=None):
    """Within four standard errors of the draws; `exact` holds a FactorInformation of the same posteriors."""
    assert ((found.nats - expected).abs() < 4 * found.stderr + 1e-9).all(), (found.nats, expected, found.stderr)
    if exact is not None:
        assert ((found.leave_one_out - exact.leave_one_out).abs() < 4 * found.stderr + 2e-2).all()


def test_normal_factors_agree_with_the_quadrature(generator):
    mean = torch.randn(M, 3, generator=generator).double() * torch.tensor([1.0, 0.5, 0.0])
    variance = torch.tensor([0.05, 0.75, 1.0]).double().expand(M, 3)
    exact = factor_information(mean, variance.log(), "dense")
    found = density_information(distributions.Normal(mean, variance.sqrt()), draws=4)
    assert_near(found, exact.nats, exact)
    torch.testing.assert_close(found.marginal_std, exact.marginal_std, rtol=0.05, atol=0)


def test_discrete_factors_agree_with_the_exact_sum(generator):
    probabilities = torch.softmax(3 * torch.randn(M, 2, 5, generator=generator).double(), -1)
    found = density_information(distributions.Categorical(probabilities), draws=4)
    assert_near(found, discrete_information(probabilities).nats)


def test_correlated_noise_carries_what_the_marginals_do_not(generator):
    # z = x + noise in both factors, with noise of correlation 0.9: I(X;Z) exceeds the sum over factors.
    x = torch.randn(2000, 2, generator=generator).double()
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double()
    q = distributions.MultivariateNormal(x, covariance)
    truth = 0.5 * float(torch.linalg.slogdet(torch.eye(2) + covariance).logabsdet - covariance.logdet())
    found = density_information(q, points=400)
    assert float(found.nats) - 4 * float(found.stderr) < truth < float(found.leave_one_out) + 4 * float(found.stderr)
    assert float(found.leave_one_out - found.nats) < 0.1
    assert float(found.nats) > factor_information(x, torch.zeros_like(x)).total + 0.3
    low_rank = distributions.LowRankMultivariateNormal(
        x, 0.9**0.5 * torch.ones(2000, 2, 1).double(), 0.1 * torch.ones(2000, 2)
    )
    assert float(density_information(low_rank, points=400).nats) == pytest.approx(float(found.nats), abs=0.1)


def test_an_invertible_flow_keeps_the_information_of_all_factors(generator):
    mean = torch.randn(M, 2, generator=generator).double()
    log_variance = torch.full((M, 2), -2.0).double()
    base = distributions.Independent(distributions.Normal(mean, (0.5 * log_variance).exp()), 1)
    flow = distributions.TransformedDistribution(
        base, [distributions.transforms.AffineTransform(1.0, 2.0), distributions.transforms.ExpTransform()]
    )
    expected = joint_information(mean, log_variance, draws=8)
    assert_near(density_information(flow, draws=8), expected.plug_in)


def test_laplace_factors_agree_with_a_quadrature(generator):
    mean = torch.randn(50, 1, generator=generator).double()
    grid = torch.linspace(-12, 12, 20001).double()
    density = distributions.Laplace(mean, torch.tensor(0.5).double()).log_prob(grid)
    kl = (density.exp() * (density - density.exp().mean(0).log())).sum(1) * (grid[1] - grid[0])
    found = density_information(distributions.Laplace(mean, torch.tensor(0.5).double().expand(50, 1)), draws=200)
    assert float(found.nats) == pytest.approx(float(kl.mean()), abs=0.02)


def test_a_relaxed_code_carries_at_least_its_class(generator):
    logits = 2 * torch.randn(M, 4, generator=generator).double()
    classes = float(discrete_information(logits.softmax(-1)).nats)
    found = density_information(
        distributions.RelaxedOneHotCategorical(torch.tensor(0.3).double(), logits=logits), draws=4
    )
    assert float(found.nats) > classes - 3 * float(found.stderr)
    # The relaxed value of two classes is a logistic variable about the difference of the logits, at any temperature.
    relaxed = [
        density_information(
            distributions.RelaxedBernoulli(torch.tensor(t).double(), logits=logits[:, :1]), draws=20
        ).nats
        for t in (0.5, 2.0)
    ]
    assert float(relaxed[0]) == pytest.approx(float(relaxed[1]), abs=1e-6)


def test_points_are_a_sample_and_the_generator_is_left_alone(generator):
    q = distributions.Normal(torch.randn(M, 2, generator=generator).double(), torch.ones(M, 2).double())
    before = torch.random.get_rng_state()
    few, all_points = density_information(q, points=100), density_information(q)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_near(few, all_points.nats)
    assert few.stderr[0] > 1.5 * all_points.stderr[0]
    assert few.n_samples == M


@pytest.mark.parametrize(
    ("posterior", "settings", "says"),
    [
        (distributions.Normal(torch.zeros(()), 1.0), {}, r"batch shape \(\): give"),
        (distributions.Normal(torch.zeros(2, 3, 4), 1.0), {}, "Independent makes axes"),
        (
            distributions.Normal(torch.zeros(5, 1), 1.0),
            {"points": 6},
            "points 6: give one or more draws of 2 to 5 points",
        ),
        (distributions.Normal(torch.zeros(5, 1), 1.0), {"draws": 0}, "draws is 0"),
    ],
)
def test_what_is_refused(posterior, settings, says):
    with pytest.raises(ValueError, match=says):
        density_information(posterior, **settings)


def test_joint_information_at_its_ceiling(generator):
    q = distributions.Independent(distributions.Normal(100 * torch.randn(20, 3, generator=generator).double(), 1.0), 1)
    assert float(density_information(q).nats) == pytest.approx(math.log(20), abs=1e-6)
