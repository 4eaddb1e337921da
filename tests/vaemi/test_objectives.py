"""Objectives: each term on a case with a known answer, and what training makes of them."""

import math

import pytest
import torch
from conftest import linear_model, same_weights, tiny
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from vaemi.information import kl_to_prior, total_correlation
from vaemi.models import MLPVAE, LinearVAE, posterior
from vaemi.objectives import AVAE, BetaTCVAE, BetaVAE, FactorVAE, InfoVAE
from vaemi.training import train


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


# --- The terms


def test_the_elbo_is_that_of_torch():
    model, x = random_model()
    loss, terms = BetaVAE()(model, x, seeded(), beta=3.0)
    mean, log_variance = model.encode(x)
    q = Normal(mean, (0.5 * log_variance).exp())
    z = mean + q.stddev * torch.randn(mean.shape, generator=seeded())
    likelihood = Normal(model.decode(z), model.likelihood.sigma).log_prob(x).sum(1).mean()
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(terms, {"negative_log_likelihood": -likelihood, "kl": kl})
    torch.testing.assert_close(loss, -likelihood + 3 * kl)


def test_the_three_parts_of_beta_tcvae_sum_to_the_kl_term_and_have_their_own_weights():
    model, x = random_model()
    loss, terms = BetaTCVAE(0.5, 3.0)(model, x, seeded(), beta=7.0, n_samples=1000)
    distortion, kl, information, correlation, dimension_wise = terms.values()
    torch.testing.assert_close(information + correlation + dimension_wise, kl)
    torch.testing.assert_close(loss, distortion + 0.5 * information + 7 * correlation + 3 * dimension_wise)


def test_the_three_parts_of_a_gaussian_aggregated_posterior():
    # z = x + noise of variance v: q(z) is a Gaussian of variances 1 + v and covariance r.
    r, v = 0.8, 0.25
    with torch.no_grad():
        _, terms = BetaTCVAE()(linear_model(torch.eye(2), torch.eye(2), v), correlated(3000, r), seeded(1))
    expected = {
        "mutual_information": 0.5 * math.log(((1 + v) ** 2 - r**2) / v**2),
        "total_correlation": gaussian_total_correlation(r / (1 + v)),
        "dimension_wise_kl": v - math.log(1 + v),
    }
    assert {name: float(terms[name]) for name in expected} == pytest.approx(expected, abs=0.03)


def test_the_discriminator_finds_the_total_correlation_of_a_gaussian():
    r, steps = 0.8, 500
    torch.manual_seed(0)
    objective = FactorVAE(2.0, hidden_dims=(32, 32))
    discriminator = objective.discriminator(2)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model, generator = linear_model(torch.eye(2), torch.eye(2), 1e-6), seeded(1)
    for step in range(steps):
        _, terms = objective(model, correlated(500, r, seed=10 + step), generator, discriminator=discriminator)
        optimizer.zero_grad()
        terms["discriminator_loss"].backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        x = correlated(20_000, r, seed=9)
        loss, terms = objective(model, x, generator, beta=3.0, discriminator=discriminator)
    assert float(terms["total_correlation"]) == pytest.approx(gaussian_total_correlation(r), abs=0.04)
    expected = terms["negative_log_likelihood"] + 3 * terms["kl"] + 2 * terms["total_correlation"]
    torch.testing.assert_close(loss, expected)


def test_model_and_discriminator_each_follow_their_own_loss():
    model, x = random_model()
    objective = FactorVAE(3.0, hidden_dims=(8,))
    discriminator = objective.discriminator(4)
    objective(model, x, seeded(), discriminator=discriminator)[0].backward()
    mean, log_variance = model.encode(x)
    generator = seeded()
    z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
    # Each factor permuted over the samples.
    permuted = z.detach().gather(0, torch.rand(z.shape, generator=generator).argsort(0))
    own = 0.5 * sum(
        binary_cross_entropy_with_logits(discriminator(draws), torch.full((20, 1), label))
        for draws, label in ((z.detach(), 1.0), (permuted, 0.0))
    )
    likelihood = model.likelihood.negative_log_likelihood(x, model.decode(z)).mean()
    loss = likelihood + kl_to_prior(mean, log_variance).sum(1).mean() + 3 * discriminator(z).mean()
    for module, value in ((discriminator, own), (model, loss)):
        parameters = list(module.parameters())
        expected = torch.autograd.grad(value, parameters, retain_graph=True)
        torch.testing.assert_close([parameter.grad for parameter in parameters], list(expected))


def test_the_discrepancy_is_that_of_aggregated_posterior_and_prior():
    # q(z) = N(0, 4.25) in each of two factors. E exp(-|d|^2 / 2H) = 1 / (1 + v / H)^(H / 2) of d ~ N(0, v I).
    def similarity(variance):
        return 1 / (1 + variance / 2)

    model, generator, objective = linear_model(2 * torch.eye(2), torch.eye(2), 0.25), seeded(), InfoVAE(50.0)
    with torch.no_grad():
        # Small batches, in which pairs of a draw with itself would add some 0.1.
        batches = [objective(model, torch.randn(6, 2, generator=generator), generator, beta=0.5) for _ in range(2000)]
    found = torch.stack([terms["discrepancy"] for _, terms in batches])
    stderr = float(found.std()) / math.sqrt(len(found))
    assert stderr < 0.004
    expected = similarity(2 * 4.25) + similarity(2.0) - 2 * similarity(5.25)
    assert float(found.mean()) == pytest.approx(expected, abs=4 * stderr)
    loss, terms = batches[0]
    torch.testing.assert_close(loss, terms["negative_log_likelihood"] + 0.5 * terms["kl"] + 50 * terms["discrepancy"])


def test_the_price_of_inconsistency_of_a_linear_model():
    # z = e x + noise of variance v is decoded to d z and encoded again to e d z.
    rho, e, d, v = 0.8, 1.5, 0.4, 0.3
    x = torch.tensor([[2.0]]).expand(200_000, 1)
    with torch.no_grad():
        loss, terms = AVAE(rho)(linear_model([[e]], [[d]], v), x, seeded(), beta=2.0)
    free, m = 1 - rho**2, e * 2.0
    spread = v + rho**2 * v + (e * d - rho) ** 2 * m**2 + (e * d) ** 2 * v
    expected = 0.5 * (math.log(free / v) - 1 + spread / free)
    assert float(terms["self_consistency"]) == pytest.approx(expected, rel=0.01)
    torch.testing.assert_close(loss, terms["negative_log_likelihood"] + 2 * terms["kl"] + terms["self_consistency"])


def test_inconsistency_moves_the_encoder_alone():
    model, x = random_model()
    gradients = []
    for objective in (BetaVAE(), AVAE()):
        model.zero_grad()
        objective(model, x, seeded())[0].backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name in gradients[0]:
        same = torch.equal(gradients[0][name], gradients[1][name])
        assert same == (not name.startswith("encoder")), name


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BetaTCVAE(mutual_information_weight=-1.0), "mutual_information_weight is -1"),
        (lambda: BetaTCVAE(dimension_wise_weight=math.nan), "dimension_wise_weight is nan"),
        (lambda: FactorVAE(weight=-0.1), "weight is -0.1"),
        (lambda: FactorVAE(learning_rate=0.0), "learning_rate=0.0"),
        (lambda: FactorVAE(hidden_dims=(16, 0)), "widths > 0"),
        (lambda: InfoVAE(weight=math.inf), "weight is inf"),
        (lambda: AVAE(rho=1.0), "rho is 1.0"),
        (lambda: FactorVAE()(*random_model(), seeded()), "needs the discriminator"),
    ],
)
def test_impossible_objectives(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# --- Training


def train_tiny(images, **settings):
    common = {"steps": 40, "batch_size": 30, "progress": False, "records": 4, "precision": "32-true"}
    return train(tiny(), images, images, **{**common, **settings})


@pytest.mark.parametrize(
    ("objective", "extra"),
    [
        ("beta-vae", []),
        ("beta-tcvae", ["dimension_wise_kl", "mutual_information", "total_correlation"]),
        (FactorVAE(hidden_dims=(16, 16)), ["discriminator_loss", "total_correlation"]),
        ("info-vae", ["discrepancy"]),
        ("avae", ["self_consistency"]),
    ],
    ids=str,
)
def test_every_objective_trains_repeats_and_is_loaded(tiny_images, tmp_path, objective, extra):
    first, loaded = (train_tiny(tiny_images, objective=objective, checkpoints=tmp_path) for _ in range(2))
    history = first.history
    assert history.objective[-1] < history.objective[0]
    assert sorted(history.extra) == extra
    assert all(values.shape == history.step.shape and values.isfinite().all() for values in history.extra.values())
    assert loaded.seconds == first.seconds
    torch.testing.assert_close(vars(loaded.history), vars(history), rtol=0, atol=0)
    again = train_tiny(tiny_images, objective=objective)
    assert same_weights(first.model, again.model)


def test_the_discriminator_depends_on_the_seed_and_not_on_the_callers_random_state(tiny_images):
    losses = []
    for state, seed in ((100, 1), (101, 1), (102, 2)):
        model = tiny()
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        run = train(
            model, tiny_images, tiny_images, steps=2, objective=FactorVAE(hidden_dims=(8,)), batch_size=20, records=1,
            seed=seed, precision="32-true", progress=False,
        )  # fmt: skip
        assert torch.equal(torch.random.get_rng_state(), before)
        losses.append(run.history.extra["discriminator_loss"])
    assert torch.equal(losses[0], losses[1])
    # Before the first step only the discriminators differ.
    assert losses[0][0] != losses[2][0]


def test_factor_vae_at_no_price_is_the_usual_training(tiny_images):
    free = train_tiny(tiny_images, objective=FactorVAE(weight=0.0, hidden_dims=(8,)))
    assert same_weights(train_tiny(tiny_images).model, free.model)


def test_total_correlation_falls_under_the_objectives_that_penalize_it():
    # Three of the four corners of a square: two coordinates that are dependent and hardly correlated.
    corner = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])[torch.randint(3, (2000,), generator=seeded())]
    data = corner - 0.67 + 0.15 * torch.randn(2000, 2, generator=seeded(1))

    def trained(objective, beta=1.0):
        torch.manual_seed(0)
        model = MLPVAE(2, 2, hidden_dims=(32,), initial_sigma=0.3, learned_sigma=False)
        train(
            model, data, data, steps=400, objective=objective, beta=beta, batch_size=100, learning_rate=5e-3, records=1,
            precision="32-true", progress=False,
        )  # fmt: skip
        return total_correlation(*posterior(model, data[:500])).plug_in

    assert trained("beta-vae") > 0.2
    assert trained("beta-tcvae", beta=10.0) < 0.05
    assert trained(FactorVAE(10.0, hidden_dims=(64, 64), learning_rate=1e-3)) < 0.1


@pytest.mark.parametrize(("objective", "variance"), [(AVAE(0.6), 1 - 0.6**2), (BetaVAE(), 1.0)], ids=str)
def test_a_factor_without_use_is_nearly_constant_under_avae_and_the_prior_in_a_vae(objective, variance):
    torch.manual_seed(0)
    model = LinearVAE(3, 2)
    with torch.no_grad():
        model.decoder.weight.zero_()
    model.decoder.requires_grad_(False)
    x = torch.randn(400, 3, generator=seeded(1))
    train(
        model, x, x, steps=300, objective=objective, batch_size=100, learning_rate=0.05, schedule="cosine",
        precision="32-true", records=1, progress=False,
    )  # fmt: skip
    mean, log_variance = posterior(model, x)
    torch.testing.assert_close(log_variance.exp(), torch.full_like(mean, variance), rtol=0.03, atol=0)
    assert mean.square().mean() < 0.01
