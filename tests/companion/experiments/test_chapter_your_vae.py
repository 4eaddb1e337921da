"""The price of a smaller code, on cases whose answer is known."""

import math

import pytest
import torch

from companion.experiments import your_vae as experiments
from vaemi.information import kl_to_prior


def linear(n=20_000):
    """Inputs x = (2 z_0, z_1 / 2), codes z, and the loss of a decoder that knows the two weights."""
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([2.0, 0.5])
    return z, experiments.squared_error_of(lambda code: code * weights, z * weights, batch_size=999)


def test_removing_a_factor_costs_what_it_explains():
    z, loss = linear()
    change = experiments.pruning_change(loss, z, torch.tensor([True, False]))
    # Half the variances: 1/2 * 1/4 of 1/2 * (4 + 1/4).
    assert change.worth == pytest.approx(2.125, rel=0.03)
    assert change.rise == pytest.approx(0.125, rel=0.03)
    assert change.share == pytest.approx(0.25 / 4.25, rel=0.05)
    assert not change.within(0.25 / 4.25)
    assert change.within(0.065)
    nothing = experiments.pruning_change(loss, z, torch.tensor([True, True]))
    assert (nothing.rise, nothing.share, nothing.share_stderr) == (0, 0, 0)
    everything = experiments.pruning_change(loss, z, torch.tensor([False, False]))
    assert (everything.share, everything.share_stderr) == (pytest.approx(1), pytest.approx(0, abs=1e-9))


def test_units_and_constants_of_the_loss_drop_out():
    z, loss = linear(2000)
    kept = torch.tensor([True, False])
    plain = experiments.pruning_change(loss, z, kept)
    other = experiments.pruning_change(lambda code: 100 * loss(code) + 7, z, kept)
    assert other.rise == pytest.approx(100 * plain.rise, rel=1e-4)
    assert (other.share, other.share_stderr) == pytest.approx((plain.share, plain.share_stderr), rel=1e-3)


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


def test_the_rule_is_about_the_upper_end():
    change = experiments.LossChange(rise=1.0, rise_stderr=0.1, worth=100.0, share=0.01, share_stderr=0.004)
    assert str(change).replace("\u00a0", " ") == "+1.00 ± 0.40 %"
    assert not change.within(0.0178)
    assert change.within(0.0179)


@pytest.mark.parametrize(
    ("share", "error", "words"),
    [
        (-4e-5, 1.3e-5, "-0.0040 ± 0.0013 %"),
        (0.25, 0.02, "+25.0 ± 2.0 %"),
        (3.0, 1.1, "+300 ± 110 %"),
        (0, 0, "+0.0 ± 0.0 %"),
    ],
)
def test_a_price_has_two_digits_of_its_error(share, error, words):
    change = experiments.LossChange(rise=0.0, rise_stderr=0.0, worth=1.0, share=share, share_stderr=error)
    assert str(change).replace("\u00a0", " ") == words


def test_the_objective_of_an_input_is_the_loss_of_a_draw_and_the_kl_term():
    z, loss = linear(5000)
    log_variance = torch.full_like(z, math.log(0.01))
    found = experiments.objectives_of_inputs(loss, z, log_variance, beta=3.0)
    # A draw is off by 0.1 times the weights.
    error = 0.5 * 0.01 * 4.25
    kl = kl_to_prior(z, log_variance).sum(1)
    assert float((found - 3 * kl).mean()) == pytest.approx(error, rel=0.05)
    assert torch.equal(found, experiments.objectives_of_inputs(loss, z, log_variance, beta=3.0))


def test_shrinking_a_model_to_what_it_uses_is_free_and_further_is_not():
    z, loss = linear()
    weights = torch.tensor([2.0, 0.5])

    def without(last):
        def small_loss(code):
            return loss(torch.cat([code, torch.zeros(len(code), last)], 1))

        return small_loss, (z[:, : 2 - last], log_variance[:, : 2 - last])

    log_variance = torch.full_like(z, math.log(1e-4))
    silent_loss = experiments.squared_error_of(lambda code: code[:, :2] * weights, z * weights)
    silent = torch.zeros(len(z), 1)
    given = torch.cat([z, silent], 1), torch.cat([log_variance, silent], 1)
    same_loss, same = without(0)
    free = experiments.shrinking_change([silent_loss, same_loss], [given, same])
    assert free.rise == pytest.approx(0, abs=1e-3)
    assert free.within(0.01)
    poor_loss, poor = without(1)
    dear = experiments.shrinking_change([silent_loss, poor_loss], [given, poor], beta=0.0)
    assert dear.worth == pytest.approx(2.125, rel=0.03)
    assert dear.share == pytest.approx(0.25 / 4.25, rel=0.1)


@pytest.mark.parametrize(
    ("before", "after", "worth", "words"),
    [
        (torch.zeros(3), torch.zeros(4), torch.zeros(3), r"shapes \(3,\), \(4,\) and \(3,\)"),
        (torch.zeros(1), torch.zeros(1), torch.ones(1), "two or more inputs"),
        (torch.zeros(3), torch.ones(3), torch.zeros(3), "The factors save nothing"),
        (torch.zeros(3), torch.ones(3), -torch.ones(3), "train longer"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(before, after, worth, words):
    with pytest.raises(ValueError, match=words) as error:
        experiments.loss_change(before, after, worth)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [torch.tensor([0, 1]), torch.tensor([True, False, True])])
def test_indices_are_not_taken_for_truth_values(kept):
    z, loss = linear(10)
    with pytest.raises(ValueError, match=r"truth values of shape \(2,\)"):
        experiments.pruning_change(loss, z, kept)
