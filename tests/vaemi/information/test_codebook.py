"""Codebooks against entropies that are known, and counts made by hand."""

import math

import pytest
import torch

from vaemi.information import codebook_usage, discrete_information
from vaemi.information.codebook import grassberger_entropy


def test_the_code_of_a_place_carries_its_entropy():
    first, second = torch.arange(400) % 4, torch.zeros(400, dtype=torch.long)
    usage = codebook_usage(torch.stack([first, second], 1), n_entries=6)
    assert usage.information.nats.tolist() == pytest.approx([math.log(4), 0.0])
    assert usage.dead.tolist() == [4, 5]
    assert usage.counts.tolist() == [500, 100, 100, 100, 0, 0]
    shares = torch.tensor([5, 1, 1, 1]) / 8
    assert usage.plug_in == pytest.approx(-float((shares * shares.log()).sum()), abs=1e-6)
    assert usage.shape == (2,)


def test_places_agree_with_discrete_latents():
    codes = torch.randint(5, (60, 2, 3), generator=torch.Generator().manual_seed(0))
    usage = codebook_usage(codes, 5)
    expected = discrete_information(torch.nn.functional.one_hot(codes.flatten(1), 5))
    for name in ("nats", "stderr", "leave_one_out"):
        torch.testing.assert_close(getattr(usage.information, name), getattr(expected, name))
    assert usage.maps.shape == (2, 3)


def test_the_correction_the_bracket_and_the_interval_over_draws():
    generator = torch.Generator().manual_seed(2)
    shares = torch.softmax(1.5 * torch.randn(50, generator=generator).double(), 0)
    truth = -float((shares * shares.log()).sum())
    found = [codebook_usage(torch.multinomial(shares, 200, True, generator=generator), 50) for _ in range(200)]
    entropy, plug_in, above = (
        torch.tensor([getattr(usage, name) for usage in found]) for name in ("entropy", "plug_in", "leave_one_out")
    )
    bias = truth - float(plug_in.mean())
    assert bias > 0.05
    assert float(entropy.mean()) == pytest.approx(truth, abs=bias / 4)
    assert float(above.mean()) > truth
    covered = [low <= truth <= high for low, high in (usage.interval() for usage in found)]
    assert sum(covered) / len(covered) > 0.93


def test_grassberger_by_his_own_recursion():
    # G(1) = -gamma - log 2, G(2) = 2 - gamma - log 2, G(2n + 1) = G(2n), G(2n + 2) = G(2n) + 2 / (2n + 1).
    g = [math.nan, -0.5772156649015329 - math.log(2), 2 - 0.5772156649015329 - math.log(2)]
    for n in (1, 2):
        g += [g[2 * n], g[2 * n] + 2 / (2 * n + 1)]
    counts = [1, 2, 3, 4, 5]
    expected = math.log(15) - sum(n * g[n] for n in counts) / 15
    assert grassberger_entropy(torch.tensor([0, *counts])) == pytest.approx(expected)


def test_the_error_is_that_of_inputs_whose_places_agree():
    # Every input has one code at all of its nine places: nine codes are no more evidence than one.
    code = torch.randint(3, (300, 1), generator=torch.Generator().manual_seed(3)) // 2
    alone, repeated = codebook_usage(code, 2), codebook_usage(code.expand(-1, 9), 2)
    assert repeated.stderr == pytest.approx(alone.stderr)
    assert repeated.leave_one_out == pytest.approx(alone.leave_one_out)
    assert alone.leave_one_out == pytest.approx(float(alone.information.leave_one_out[0]))


def test_a_dead_entry_may_be_rare():
    # 0.95 = 1 - (1 - share)^M.
    assert codebook_usage(torch.zeros(100, dtype=torch.long), 2).largest_unseen_share == pytest.approx(0.0295, abs=1e-4)


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (torch.zeros(4, 2), "integers"),
        (torch.tensor([[0]]), "M >= 2 inputs"),
        (torch.tensor([0, 3]), "codes reach from 0 to 3: an entry of 3 is 0 to 2"),
        (torch.tensor([0, -1]), "codes reach from -1 to 0"),
    ],
)
def test_what_is_refused(codes, says):
    with pytest.raises(ValueError, match=says):
        codebook_usage(codes, 3)
