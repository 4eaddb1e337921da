"""Discrete latents against closed forms and brute force over the joint table."""

import math
import statistics

import pytest
import torch

from vaemi.information import discrete_information


def brute_force(table):
    """Mutual information of a joint table p(x, k), shape (M, K)."""
    product = table.sum(1, keepdim=True) * table.sum(0, keepdim=True)
    used = table > 0
    return float((table[used] * (table[used] / product[used]).log()).sum())


def test_a_code_that_names_its_input_carries_the_entropy_of_the_classes():
    found = discrete_information(torch.eye(4).repeat(50, 1))
    assert found.nats.tolist() == pytest.approx([math.log(4)])
    assert found.stderr.tolist() == pytest.approx([0.0], abs=1e-12)
    assert found.marginal_std.isnan().all()


def test_the_binary_symmetric_channel():
    # A fair bit that is flipped with probability 0.1: log 2 - H(0.1).
    p = torch.tensor([0.1, 0.9]).double().repeat(100)
    found = discrete_information(torch.stack([1 - p, p], -1))
    expected = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert found.nats.tolist() == pytest.approx([expected])


def test_groups_of_different_sizes_and_weights_agree_with_the_joint_table():
    generator = torch.Generator().manual_seed(0)
    latents = [torch.rand(30, k, generator=generator).double() ** 4 for k in (2, 3, 7)]
    latents = [latent / latent.sum(1, keepdim=True) for latent in latents]
    weight = torch.rand(30, generator=generator).double()
    found = discrete_information(latents, weight=weight)
    share = (weight / weight.sum())[:, None]
    assert found.nats.tolist() == pytest.approx([brute_force(share * latent) for latent in latents])
    same = discrete_information(torch.stack([latents[1], latents[1]], 1))
    assert same.nats.tolist() == pytest.approx([brute_force(latents[1] / 30)] * 2)


def test_the_bracket_and_the_error_hold_over_draws_of_inputs():
    # The population: 8 kinds of inputs, each with posteriors of its own over 5 classes.
    generator = torch.Generator().manual_seed(1)
    kinds = torch.softmax(2 * torch.randn(8, 5, generator=generator).double(), 1)
    truth = brute_force(kinds / 8)
    found = [discrete_information(kinds[torch.randint(8, (40,), generator=generator)]) for _ in range(500)]
    nats, stderr, above = (torch.cat([getattr(f, name) for f in found]) for name in ("nats", "stderr", "leave_one_out"))
    error_of_mean = float(nats.std()) / math.sqrt(500)
    assert float(nats.mean()) < truth + 3 * error_of_mean
    assert truth - 3 * error_of_mean < float(above.mean()) < truth + 0.1
    assert float(above.mean() - nats.mean()) > 5 * error_of_mean
    assert float(stderr.mean()) == pytest.approx(float(nats.std()), rel=0.15)


def test_the_error_by_plain_arithmetic():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]).double()
    kl = [sum(float(a * (a / b).log()) for a, b in zip(row, p.mean(0), strict=True)) for row in p]
    expected = statistics.stdev(kl) / math.sqrt(3)
    assert discrete_information(p).stderr.tolist() == pytest.approx([expected])


def test_leave_one_out_by_plain_arithmetic():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]]).double()
    expected = 0.0
    for m in range(3):
        others = (1 - 0.1 / 3) * p[[j for j in range(3) if j != m]].mean(0) + 0.1 / 3 / 2
        expected += sum(float(a * (a / b).log()) for a, b in zip(p[m], others, strict=True) if a > 0) / 3
    assert discrete_information(p).leave_one_out.tolist() == pytest.approx([expected])


def test_a_sample_with_all_the_weight_carries_nothing():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double()
    found = discrete_information(p, weight=torch.tensor([0.0, 1.0]).double())
    assert (float(found.nats[0]), float(found.stderr[0])) == (0, 0)
    assert 0 <= float(found.leave_one_out[0]) < math.inf


def test_clusters_widen_the_error():
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.3, 0.7]]).double().repeat_interleave(25, 0)
    groups = torch.arange(100) // 25
    assert discrete_information(p, clusters=groups).stderr > 3 * discrete_information(p).stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (torch.randn(5, 3), "give probabilities, such as softmax"),
        (torch.full((5, 3), torch.nan), "latent 0 at sample 0 add up to nan"),
        (torch.ones(5), "must be of shape"),
        ([torch.eye(3), torch.eye(4)], "the same M samples"),
        (torch.ones(1, 1), r"1 sample\b: give at least 2"),
    ],
)
def test_what_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        discrete_information(given)
