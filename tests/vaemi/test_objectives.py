"""Objectives: each term on a case with a known answer, and what training makes of them."""

import math
import time

import numpy as np
import pytest
import torch
from conftest import linear_model, same_weights, tiny
from torch.distributions import Normal, kl_divergence

from vaemi.errors import TrainingError
from vaemi.information import kl_to_prior, total_correlation
from vaemi.models import MLPVAE, LinearVAE, as_float, posterior
from vaemi.objectives import (
    AVAE,
    OBJECTIVES,
    BetaTCVAE,
    BetaVAE,
    FactorVAE,
    InfoVAE,
    discriminator_loss,
    maximum_mean_discrepancy,
    objective_named,
    permuted_factors,
    relative_seconds,
    self_consistency,
)
from vaemi.training import train

SMALL = {"factor-vae": FactorVAE(hidden_dims=(16, 16))}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_model():
    torch.manual_seed(0)
    return MLPVAE(3, 4, hidden_dims=(16,)), torch.randn(20, 3, generator=seeded(1))


def correlated(n, correlation, seed=0):
    x = torch.randn(n, 2, generator=seeded(seed))
    return torch.stack([x[:, 0], correlation * x[:, 0] + math.sqrt(1 - correlation**2) * x[:, 1]], 1)


def gaussian_total_correlation(correlation):
    return -0.5 * math.log(1 - correlation**2)


# --- The weighted ELBO


def test_the_elbo_is_that_of_torch():
    model, x = random_model()
    terms = BetaVAE()(model, x, seeded(), beta=3.0)
    mean, log_variance = model.encode(x)
    q = Normal(mean, (0.5 * log_variance).exp())
    z = mean + q.stddev * torch.randn(mean.shape, generator=seeded())
    likelihood = Normal(model.decode(z), model.likelihood.sigma).log_prob(x).sum(1).mean()
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(terms.negative_log_likelihood, -likelihood)
    torch.testing.assert_close(terms.kl, kl)
    torch.testing.assert_close(terms.loss, -likelihood + 3 * kl)
    assert terms.extra == {}


# --- beta-TCVAE


@pytest.mark.parametrize("method", ["stratified", "weighted"])
def test_the_three_parts_sum_to_the_kl_term(method):
    model, x = random_model()
    terms = BetaTCVAE(method=method)(model, x, seeded(), n_samples=1000)
    assert list(terms.extra) == ["mutual_information", "total_correlation", "dimension_wise_kl"]
    torch.testing.assert_close(sum(terms.extra.values()), terms.kl)
    # With all weights at one it is the negative ELBO.
    torch.testing.assert_close(terms.loss, BetaVAE()(model, x, seeded()).loss)


def test_each_part_has_its_own_weight():
    model, x = random_model()
    terms = BetaTCVAE(0.5, 3.0)(model, x, seeded(), beta=7.0, n_samples=1000)
    information, correlation, dimension_wise = terms.extra.values()
    expected = terms.negative_log_likelihood + 0.5 * information + 7 * correlation + 3 * dimension_wise
    torch.testing.assert_close(terms.loss, expected)


def test_the_three_parts_of_a_gaussian_aggregated_posterior():
    # z = x + noise of variance v: q(z) is a Gaussian of variances 1 + v and covariance r.
    r, v = 0.8, 0.25
    x = correlated(3000, r)
    with torch.no_grad():
        terms = BetaTCVAE()(linear_model(torch.eye(2), torch.eye(2), v), x, seeded(1))
    information = 0.5 * math.log(((1 + v) ** 2 - r**2) / v**2)
    dimension_wise = 2 * 0.5 * (v - math.log(1 + v))
    expected = [information, gaussian_total_correlation(r / (1 + v)), dimension_wise]
    assert [float(term) for term in terms.extra.values()] == pytest.approx(expected, abs=0.03)


# --- FactorVAE


def test_permuting_the_factors_keeps_each_and_breaks_their_tie():
    z = correlated(5000, 0.9)
    permuted = permuted_factors(z, seeded(1))
    torch.testing.assert_close(permuted.sort(0).values, z.sort(0).values, rtol=0, atol=0)
    assert abs(float(torch.corrcoef(permuted.T)[0, 1])) < 0.05
    assert (permuted != z).any(0).all()


def test_the_discriminator_finds_the_total_correlation_of_a_gaussian():
    r, steps = 0.8, 500
    torch.manual_seed(0)
    discriminator = FactorVAE(hidden_dims=(32, 32)).discriminator(2)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = seeded(1)
    for step in range(steps):
        z = correlated(500, r, seed=10 + step)
        optimizer.zero_grad()
        discriminator_loss(discriminator, z, permuted_factors(z, generator)).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        x = correlated(20_000, r, seed=9)
        found = discriminator(x).mean()
        # The objective reports the same number: here q(z) is these draws.
        model = linear_model(torch.eye(2), torch.eye(2), 1e-6)
        terms = FactorVAE(2.0)(model, x, generator, beta=3.0, discriminator=discriminator)
    assert float(found) == pytest.approx(gaussian_total_correlation(r), abs=0.04)
    assert float(terms.extra["total_correlation"]) == pytest.approx(float(found), abs=1e-3)
    expected = terms.negative_log_likelihood + 3 * terms.kl + 2 * terms.extra["total_correlation"]
    torch.testing.assert_close(terms.loss, expected)


def test_a_discriminator_that_sees_nothing_costs_log_2():
    z = torch.randn(50, 2, generator=seeded())
    blind = torch.nn.Linear(2, 1).requires_grad_(False)
    torch.nn.init.zeros_(blind.weight)
    torch.nn.init.zeros_(blind.bias)
    assert float(discriminator_loss(blind, z, z)) == pytest.approx(math.log(2))
    # Draws of the first kind are the ones with the high logit.
    torch.nn.init.constant_(blind.bias, 5.0)
    far = torch.full((50, 2), 1e3)
    torch.nn.init.constant_(blind.weight, 1.0)
    assert float(discriminator_loss(blind, far, -far)) == 0


def test_model_and_discriminator_each_follow_their_own_loss():
    model, x = random_model()
    torch.manual_seed(1)
    objective = FactorVAE(3.0, hidden_dims=(8,))
    discriminator = objective.discriminator(4)
    terms = objective(model, x, seeded(), discriminator=discriminator)
    terms.loss.backward()
    mean, log_variance = model.encode(x)
    generator = seeded()
    z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
    own = discriminator_loss(discriminator, z.detach(), permuted_factors(z.detach(), generator))
    for parameter, gradient in zip(
        discriminator.parameters(), torch.autograd.grad(own, discriminator.parameters()), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient)
    likelihood = model.likelihood.negative_log_likelihood(x, model.decode(z)).mean()
    loss = likelihood + kl_to_prior(mean, log_variance).sum(1).mean() + 3 * discriminator(z).mean()
    for parameter, gradient in zip(model.parameters(), torch.autograd.grad(loss, model.parameters()), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


# --- InfoVAE


def expected_similarity(kernel, shift, variance, n_factors):
    """E k(d) of d ~ N(shift, variance I) in closed form, for the second kernel with a mixture of Gaussian ones."""
    scale = 2 * n_factors

    def rbf(t):
        return (1 + 2 * t * variance / scale) ** (-n_factors / 2) * np.exp(
            -t * n_factors * shift**2 / (scale + 2 * t * variance)
        )

    if kernel == "rbf":
        return rbf(1.0)
    nodes, weights = np.polynomial.laguerre.laggauss(60)  # 1 / (1 + u) is the mean of exp(-t u) over t ~ Exp(1)
    return float((weights * rbf(nodes)).sum())


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
@pytest.mark.parametrize(("shift", "deviation"), [(0.0, 1.0), (0.7, 1.0), (0.3, 0.4)])
def test_the_discrepancy_of_two_gaussians(kernel, shift, deviation):
    n_factors = 3
    expected = (
        expected_similarity(kernel, 0.0, 2 * deviation**2, n_factors)
        + expected_similarity(kernel, 0.0, 2.0, n_factors)
        - 2 * expected_similarity(kernel, shift, 1 + deviation**2, n_factors)
    )
    # Few draws, so that a bias would show: pairs of a draw with itself would add some 0.1.
    generator = seeded()
    found = torch.stack(
        [
            maximum_mean_discrepancy(
                shift + deviation * torch.randn(6, n_factors, generator=generator),
                torch.randn(8, n_factors, generator=generator),
                kernel,
            )
            for _ in range(2000)
        ]
    )
    stderr = float(found.std()) / math.sqrt(len(found))
    assert stderr < 0.004
    assert float(found.mean()) == pytest.approx(expected, abs=4 * stderr)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_the_bandwidth_is_in_units_of_z(kernel):
    a, b = torch.randn(2, 10, 3, generator=seeded())
    found = maximum_mean_discrepancy(10 * a, 10 * b, kernel, bandwidth=10.0)
    torch.testing.assert_close(found, maximum_mean_discrepancy(a, b, kernel))
    assert abs(found - maximum_mean_discrepancy(a, b, kernel, bandwidth=0.3)) > 1e-3


def test_the_discrepancy_is_between_aggregated_posterior_and_prior():
    # q(z) = N(0, 4 + 0.25) in each of two factors, where the prior has N(0, 1).
    model = linear_model(2 * torch.eye(2), torch.eye(2), 0.25)
    x = torch.randn(2000, 2, generator=seeded())
    with torch.no_grad():
        terms = InfoVAE(50.0)(model, x, seeded(1), beta=0.5)
    expected = (
        expected_similarity("rbf", 0.0, 2 * 4.25, 2)
        + expected_similarity("rbf", 0.0, 2.0, 2)
        - 2 * expected_similarity("rbf", 0.0, 5.25, 2)
    )
    assert float(terms.extra["discrepancy"]) == pytest.approx(expected, abs=0.01)
    expected = terms.negative_log_likelihood + 0.5 * terms.kl + 50 * terms.extra["discrepancy"]
    torch.testing.assert_close(terms.loss, expected)


# --- AVAE


def test_consistency_is_the_average_divergence_from_the_coupled_code():
    rho = 0.9
    mean, log_variance, again_mean, again_log_variance = torch.randn(4, 3, 2, generator=seeded()).double()
    z = mean + (0.5 * log_variance).exp() * torch.randn(200_000, 3, 2, generator=seeded(1)).double()
    coupled = Normal(rho * z, math.sqrt(1 - rho**2))
    expected = kl_divergence(Normal(again_mean, (0.5 * again_log_variance).exp()), coupled).mean(0)
    found = self_consistency(mean, log_variance, again_mean, again_log_variance, rho)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_an_exactly_consistent_code_costs_nothing():
    mean = torch.randn(5, 2, generator=seeded()).double()
    certain = torch.full_like(mean, -math.inf)  # a posterior of no width
    free = torch.full_like(mean, math.log(1 - 0.8**2))
    zero = torch.zeros_like(mean)
    torch.testing.assert_close(self_consistency(mean, certain, 0.8 * mean, free, 0.8), zero)
    assert (self_consistency(mean, certain, 0.7 * mean, free, 0.8) > 0).all()


def test_the_price_of_inconsistency_of_a_linear_model():
    # z = e x + noise of variance v is decoded to d z and encoded again to e d z.
    rho, e, d, v = 0.8, 1.5, 0.4, 0.3
    x = torch.tensor([[2.0]]).expand(200_000, 1)
    with torch.no_grad():
        terms = AVAE(rho)(linear_model([[e]], [[d]], v), x, seeded(), beta=2.0)
    free, m = 1 - rho**2, e * 2.0
    spread = v + rho**2 * v + (e * d - rho) ** 2 * m**2 + (e * d) ** 2 * v
    expected = 0.5 * (math.log(free / v) - 1 + spread / free)
    assert float(terms.extra["self_consistency"]) == pytest.approx(expected, rel=0.01)
    torch.testing.assert_close(
        terms.loss, terms.negative_log_likelihood + 2 * terms.kl + terms.extra["self_consistency"]
    )


def test_inconsistency_moves_the_encoder_alone():
    model, x = random_model()
    gradients = []
    for objective in (BetaVAE(), AVAE()):
        model.zero_grad()
        objective(model, x, seeded()).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name in gradients[0]:
        same = torch.equal(gradients[0][name], gradients[1][name])
        assert same == (not name.startswith("encoder")), name


# --- Training


def train_tiny(images, **settings):
    common = {"steps": 25, "batch_size": 20, "progress": False, "records": 5, "precision": "32-true"}
    return train(tiny(), images, images, **{**common, **settings})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_repeats_and_is_loaded(tiny_images, tmp_path, name):
    settings = {"objective": SMALL.get(name, name), "batch_size": 30, "checkpoints": tmp_path, "steps": 60}
    first = train_tiny(tiny_images, **settings)
    taken = train_tiny(tiny_images, **settings)
    again = train_tiny(tiny_images, **settings, fresh=True)
    assert same_weights(first.model, again.model)
    history = first.history
    assert history.objective[-1] < history.objective[0]
    expected = {
        "beta-vae": set(),
        "beta-tcvae": {"mutual_information", "total_correlation", "dimension_wise_kl"},
        "factor-vae": {"total_correlation", "discriminator_loss"},
        "info-vae": {"discrepancy"},
        "avae": {"self_consistency"},
    }
    assert set(history.extra) == expected[name]
    assert all(values.shape == history.step.shape and values.isfinite().all() for values in history.extra.values())
    assert taken.seconds == first.seconds
    torch.testing.assert_close(vars(taken.history), vars(history), rtol=0, atol=0)


def test_a_discriminator_starts_by_the_seed_and_draws_none_of_the_callers_numbers(tiny_images):
    trained = []
    for seed in (1, 1, 2):
        model = tiny()
        torch.manual_seed(100 + len(trained))
        state = torch.random.get_rng_state()
        run = train(
            model, tiny_images, tiny_images, steps=5, objective=SMALL["factor-vae"], batch_size=20, records=1,
            seed=seed, precision="32-true", progress=False,
        )  # fmt: skip
        assert torch.equal(torch.random.get_rng_state(), state)
        trained.append(run.history.extra["discriminator_loss"])
    # Before the first step the model is the same for all, the discriminator is not.
    assert torch.equal(trained[0], trained[1])
    assert trained[0][0] != trained[2][0]


def test_factor_vae_at_no_price_is_the_usual_training(tiny_images):
    usual, free = (
        train_tiny(tiny_images, objective=objective)
        for objective in ("beta-vae", FactorVAE(weight=0.0, hidden_dims=(8,)))
    )
    assert same_weights(usual.model, free.model)


def corners():
    """Three of the four corners of a square: two coordinates that know of each other and are hardly correlated."""
    corner = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])[torch.randint(3, (2000,), generator=seeded())]
    return corner - 0.67 + 0.15 * torch.randn(2000, 2, generator=seeded(1))


def trained_total_correlation(objective, beta=1.0):
    data = corners()
    torch.manual_seed(0)
    model = MLPVAE(2, 2, hidden_dims=(32,), initial_sigma=0.3, learned_sigma=False)
    train(
        model, data, data, steps=400, objective=objective, beta=beta, batch_size=100, learning_rate=5e-3, records=1,
        precision="32-true", progress=False,
    )  # fmt: skip
    return total_correlation(*posterior(model, data[:500])).plug_in


def test_total_correlation_falls_as_its_weight_rises():
    low, high = (trained_total_correlation("beta-tcvae", beta) for beta in (1.0, 10.0))
    assert low > 0.2
    assert high < 0.05
    weak, strong = (
        trained_total_correlation(FactorVAE(weight, hidden_dims=(64, 64), learning_rate=1e-3)) for weight in (0.0, 10.0)
    )
    assert weak > 0.2
    assert strong < 0.1


# --- What a user may get wrong


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: objective_named("beta-tc-vae"), "'beta-tc-vae': choose beta-vae or beta-tcvae or factor-vae"),
        (lambda: BetaTCVAE(mutual_information_weight=-1.0), "mutual_information_weight of beta-tcvae is -1"),
        (lambda: BetaTCVAE(dimension_wise_weight=math.nan), "dimension_wise_weight of beta-tcvae is nan"),
        (lambda: BetaTCVAE(method="mss"), "choose 'stratified' or 'weighted'"),
        (lambda: FactorVAE(weight=-0.1), "weight of factor-vae is -0.1"),
        (lambda: FactorVAE(learning_rate=0.0), "learning_rate of factor-vae is 0.0"),
        (lambda: FactorVAE(hidden_dims=()), "one or more widths"),
        (lambda: FactorVAE(hidden_dims=(16, 0)), "all positive"),
        (lambda: InfoVAE(weight=math.inf), "weight of info-vae is inf"),
        (lambda: InfoVAE(bandwidth=0.0), "bandwidth of info-vae is 0.0"),
        (lambda: InfoVAE(kernel="laplace"), "choose 'rbf' or 'imq'"),
        (lambda: AVAE(rho=1.0), "rho is 1.0"),
        (lambda: AVAE(rho=-0.1), "rho is -0.1"),
        (lambda: self_consistency(*[torch.zeros(2, 2)] * 4, rho=2.0), "rho is 2.0"),
        (lambda: maximum_mean_discrepancy(torch.zeros(1, 2), torch.zeros(3, 2)), "two or more draws"),
        (lambda: maximum_mean_discrepancy(torch.zeros(3, 2), torch.zeros(3, 1)), r"\(3, 1\)"),
        (lambda: maximum_mean_discrepancy(torch.zeros(3, 2), torch.zeros(3, 2), "laplace"), "kernel is 'laplace'"),
    ],
)
def test_impossible_objectives(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_missing_discriminator_and_a_batch_beyond_the_data():
    model, x = random_model()
    with pytest.raises(ValueError, match="needs the discriminator"):
        FactorVAE()(model, x, seeded())
    with pytest.raises(ValueError, match="holds 20 of n_samples = 10"):
        BetaTCVAE()(model, x, seeded(), n_samples=10)


@pytest.mark.parametrize("name", ["beta-tcvae", "factor-vae", "info-vae"])
def test_a_batch_of_one_has_nothing_to_compare(tiny_images, name):
    objective = objective_named(SMALL.get(name, name))
    model, x = random_model()
    with pytest.raises(ValueError, match=f"holds 1 sample: {name} compares samples"):
        objective(model, x[:1], seeded(), discriminator=objective.discriminator(4))
    with pytest.raises(TrainingError, match=f"batch_size is 1 over 1 process: {name} compares.*give 2 or more"):
        train_tiny(tiny_images, objective=objective, batch_size=1)
    with pytest.raises(TrainingError, match="There is 1 held-out sample"):
        train(tiny(), tiny_images, tiny_images[:1], steps=2, objective=objective, batch_size=20, progress=False)


# --- What AVAE makes of a factor at rest, and what a step costs


def encoder_of_nothing(objective):
    """A model whose decoder draws the same whatever z is, after its encoder was trained."""
    torch.manual_seed(0)
    model = LinearVAE(3, 2)
    with torch.no_grad():
        model.decoder.weight.zero_()
    model.decoder.requires_grad_(False)
    x = torch.randn(400, 3, generator=seeded(1))
    train(
        model, x, x, steps=600, objective=objective, batch_size=100, learning_rate=0.05, schedule="cosine",
        precision="32-true", records=1, progress=False,
    )  # fmt: skip
    return posterior(model, x)


@pytest.mark.parametrize("rho", [0.6, 0.975])
def test_a_factor_at_rest_is_nearly_constant_under_avae_and_the_prior_in_a_vae(rho):
    mean, log_variance = encoder_of_nothing(AVAE(rho))
    torch.testing.assert_close(log_variance.exp(), torch.full_like(mean, 1 - rho**2), rtol=0.03, atol=0)
    assert mean.square().mean() < 0.01
    mean, log_variance = encoder_of_nothing(BetaVAE())
    torch.testing.assert_close(log_variance.exp(), torch.ones_like(mean), rtol=0.03, atol=0)


class _Slow(BetaVAE):
    def _loss(self, draw):
        began = time.process_time()
        while time.process_time() < began + 0.02:
            pass
        return super()._loss(draw)


def test_what_a_step_costs_over_the_first(tiny_images):
    model = tiny()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    x = as_float(tiny_images[:20])
    found = relative_seconds(model, x, {"a": BetaVAE(), "b": FactorVAE(hidden_dims=(8,)), "slow": _Slow()}, repeats=3)
    assert found["a"] == 1
    assert found["b"] > 0
    assert found["slow"] > 2
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    for objectives, repeats in (({}, 1), ({"a": BetaVAE()}, 0)):
        with pytest.raises(ValueError, match="give one or more of each"):
            relative_seconds(model, x, objectives, repeats=repeats)
