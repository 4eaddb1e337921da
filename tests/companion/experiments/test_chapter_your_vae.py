"""The price of a smaller code, on cases whose answer is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from companion.experiments import your_vae as experiments

WEIGHTS = torch.tensor([2.0, 0.5])


def linear(n=20_000):
    """Codes z and the loss of a decoder that knows the weights of the inputs x = (2 z_0, z_1 / 2)."""
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return z, experiments.squared_error_of(lambda code: code[:, :2] * WEIGHTS, z * WEIGHTS)


def test_removing_a_factor_costs_what_it_explains():
    z, loss = linear()
    kept = torch.tensor([True, False])
    change = experiments.pruning_change(loss, z, kept)
    # Half the variances: 1/2 * 1/4 of 1/2 * (4 + 1/4).
    assert change.worth == pytest.approx(2.125, rel=0.03)
    assert change.rise == pytest.approx(0.125, rel=0.03)
    assert change.share == pytest.approx(0.25 / 4.25, rel=0.05)
    assert not change.within(0.25 / 4.25)
    assert change.within(0.065)
    nothing = experiments.pruning_change(loss, z, ~(kept & ~kept))
    assert (nothing.rise, nothing.share, nothing.share_stderr) == (0, 0, 0)
    # Units and constants of the loss drop out.
    other = experiments.pruning_change(lambda code: 100 * loss(code) + 7, z, kept)
    assert other.rise == pytest.approx(100 * change.rise, rel=1e-4)
    assert (other.share, other.share_stderr) == pytest.approx((change.share, change.share_stderr), rel=1e-3)


def test_the_standard_error_is_the_spread_over_samples():
    generator = torch.Generator().manual_seed(1)
    changes = []
    for _ in range(400):
        worth = 3 + 2 * torch.randn(300, generator=generator)
        rise = 0.5 * worth + 0.5 * torch.randn(300, generator=generator)
        changes.append(experiments.loss_change(torch.zeros(300), rise, worth))
    shares = torch.tensor([change.share for change in changes])
    claimed = sum(change.share_stderr for change in changes) / len(changes)
    assert float(shares.std()) == pytest.approx(claimed, rel=0.12)
    # What goes with the worth is no error of their ratio.
    assert claimed == pytest.approx(0.5 / 3 / 300**0.5, rel=0.05)
    covered = sum(abs(change.share - 0.5) < 1.96 * change.share_stderr for change in changes)
    assert 0.92 < covered / len(changes) < 0.98


@pytest.mark.parametrize(
    ("share", "error", "words"),
    [
        (-4e-5, 1.3e-5, "+0.00 ± 0.00 %"),
        (0.01, 0.004, "+1.00 ± 0.40 %"),
        (3.0, 1.1, "+300.00 ± 110.00 %"),
        (0, 0, "+0.00 ± 0.00 %"),
    ],
)
def test_a_price_is_in_percent_and_is_judged_by_its_upper_end(share, error, words):
    change = experiments.LossChange(rise=0.0, rise_stderr=0.0, worth=1.0, share=share, share_stderr=error)
    assert str(change).replace("\u00a0", " ") == words
    assert change.within(share + 1.97 * error + 1e-9)
    assert not change.within(share + 1.95 * error)


def test_shrinking_is_free_to_what_is_used_and_costs_the_loss_and_the_kl_term_beyond():
    z, loss = linear()
    log_variance = torch.full_like(z, math.log(1e-4))
    silent = torch.zeros(len(z), 1)
    given = torch.cat([z, silent], 1), torch.cat([log_variance, silent], 1)
    free = experiments.shrinking_change([loss, loss], [given, (z, log_variance)])
    assert free.rise == pytest.approx(0, abs=1e-3)
    assert free.within(0.01)

    def loss_of_one(code):
        return loss(torch.cat([code, silent], 1))

    poor = z[:, :1], log_variance[:, :1]
    dear = experiments.shrinking_change([loss, loss_of_one], [given, poor], beta=0.0)
    assert dear.share == pytest.approx(0.25 / 4.25, rel=0.1)
    # The KL term of the factor that is gone: 1/2 (v + E mu^2 - 1 - log v).
    saved = 0.5 * (1e-4 + float(z[:, 1].square().mean()) - 1 - math.log(1e-4))
    paid = experiments.shrinking_change([loss, loss_of_one], [given, poor], beta=3.0)
    assert paid.rise == pytest.approx(dear.rise - 3 * saved, rel=1e-4)


def test_a_model_whose_factors_save_nothing_has_no_price():
    with pytest.raises(ValueError, match="The factors do not lower the loss"):
        experiments.loss_change(torch.zeros(3), torch.ones(3), -torch.ones(3))


def test_a_module_is_trained_the_same_each_time_and_left_in_eval_mode():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    samples = torch.cat([x, x @ torch.tensor([[1.0], [-2.0]]) + 3], 1)
    shares, weights = [], []

    def loss(module, batch, done):
        shares.append(done)
        return (module(batch[:, :2]) - batch[:, 2:]).square().mean()

    for seed in (1, 1, 2):
        torch.manual_seed(0)
        module, state = torch.nn.Linear(2, 1), torch.get_rng_state()
        assert experiments.minimize(module, loss, samples, steps=400, learning_rate=0.1, seed=seed) > 0
        assert torch.equal(torch.get_rng_state(), state)
        assert not module.training
        weights.append(module.weight)
    assert shares[:400] == [step / 400 for step in range(400)]
    torch.testing.assert_close(weights[0], torch.tensor([[1.0, -2.0]]), atol=1e-3, rtol=0)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_neighbours_by_all_programs_by_one_and_by_none():
    activity = np.random.default_rng(0).standard_normal((2000, 2))
    same = experiments.neighbours(3 * activity @ [[0.6, 0.8], [-0.8, 0.6]], activity)
    assert same.shared == 1
    assert same.explained.min() > 0.95
    # Without the second program neighbours predict the first, and nothing of the second: 1/15 more variance is left.
    one = experiments.neighbours(activity[:, :1], activity)
    assert one.explained == pytest.approx([1, -1 / 15], abs=0.04)
    with pytest.raises(ValueError, match="No latent is influential"):
        experiments.neighbours(activity[:, :0], activity)
    none = experiments.neighbours(np.random.default_rng(1).standard_normal((2000, 2)), activity)
    assert none.shared == pytest.approx(15 / 1999, abs=0.003)
    assert none.explained == pytest.approx([-1 / 15] * 2, abs=0.04)


def test_the_weight_of_the_kl_term_grows_over_the_first_half():
    batch = torch.ones(4, 1, 2, 2)
    answer = SimpleNamespace(recon_loss=torch.tensor(3.0), reg_loss=torch.tensor(2.0))
    posterior = SimpleNamespace(sample=lambda: torch.zeros(4, 1), kl=lambda: torch.full((4,), 2.0))
    autoencoder = SimpleNamespace(
        encode=lambda x: SimpleNamespace(latent_dist=posterior),
        decode=lambda z: SimpleNamespace(sample=torch.full((4, 1, 2, 2), 0.2)),
    )
    for done, weight in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)):
        found = experiments.pythae_loss(lambda given: answer, batch, done, beta=0.5)
        assert float(found) == 3 + weight * 0.5 * 2
        # An error of 4 * 0.8^2 / (2 * 0.4^2) in nats, and a KL term of 2.
        assert float(experiments.maps_loss(autoencoder, batch, done, sigma=0.4)) == pytest.approx(8 + weight * 2)


def test_what_a_regression_explains_on_samples_that_it_has_not_seen():
    x, noise = np.random.default_rng(0).standard_normal((2, 4000, 1))
    found = experiments.explained_variance({"x": x, "noise": noise}, {"sum": 3 * x + noise, "x": x})
    assert found["x", "x"] == pytest.approx(1)
    assert found["sum", "x"] == pytest.approx(0.9, abs=0.01)
    assert found["sum", "noise"] == pytest.approx(0.1, abs=0.02)
    assert found["x", "noise"] == pytest.approx(0, abs=0.01)
