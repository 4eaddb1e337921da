"""Audits of discrete, mixed, quantized, correlated and noiseless codes."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import distributions, nn

import vaemi
from vaemi import AuditError
from vaemi.auditing import audit_codes

N = 1200


@pytest.fixture(scope="module")
def x():
    return torch.randn(N, 4, generator=torch.Generator().manual_seed(0))


def probabilities(x):
    """Return those of the two signs of the first input, with an error of one in ten, and of four constant kinds."""
    p = torch.where(x[:, 0] > 0, 0.9, 0.1)
    return p, torch.full((len(x), 4), 0.25)


OF_THE_SIGN = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)


def audit(encode, x, **settings):
    return audit_codes(encode, x, progress=False, **settings)


@pytest.mark.parametrize(
    "encode",
    [
        lambda x: distributions.Bernoulli(probabilities(x)[0][:, None]),
        lambda x: distributions.Independent(distributions.Bernoulli(probabilities(x)[0][:, None]), 1),
        lambda x: distributions.Categorical(torch.stack([1 - probabilities(x)[0], probabilities(x)[0]], -1)),
        lambda x: distributions.OneHotCategorical(
            torch.stack([1 - probabilities(x)[0], probabilities(x)[0]], -1)[:, None]
        ),
        lambda x: [distributions.Categorical(torch.stack([1 - probabilities(x)[0], probabilities(x)[0]], -1))],
        lambda x: {"disc": [torch.stack([1 - probabilities(x)[0], probabilities(x)[0]], -1)]},
    ],
)
def test_discrete_latents_in_any_form(encode, x):
    found = audit(encode, x)
    assert found.information.nats.tolist() == pytest.approx([OF_THE_SIGN], abs=2e-3)
    assert found.latents == ["2 classes"]


def test_mixed_codes_as_in_jointvae(x):
    def encode(x):
        p, same = probabilities(x)
        mean, log_variance = 0.8 * x[:, :2], torch.full((len(x), 2), math.log(0.36))
        return {"cont": [mean, log_variance], "disc": [same, torch.stack([1 - p, p], -1)]}

    found = audit(encode, x)
    gaussian = vaemi.factor_information(*encode(x)["cont"])
    assert found.latents == ["Gaussian", "Gaussian", "4 classes", "2 classes"]
    torch.testing.assert_close(found.information.nats[:2], gaussian.nats, atol=1e-5, rtol=0)
    assert found.information.nats[2:].tolist() == pytest.approx([0, OF_THE_SIGN], abs=2e-3)
    assert found.influential.tolist() == [0, 1, 3] or found.influential.tolist() == [1, 0, 3]
    assert "relaxed" in found.remarks[0]
    assert "3 of 4 latents carry more than 0.1 nats, from 1,200 inputs" in found.summary
    # The order of the answer is kept.
    turned = audit(
        lambda x: [distributions.Categorical(encode(x)["disc"][1]), distributions.Normal(encode(x)["cont"][0], 0.6)], x
    )
    assert turned.latents == ["2 classes", "Gaussian", "Gaussian"]
    assert turned.information.nats.tolist() == pytest.approx([OF_THE_SIGN, *gaussian.nats.tolist()], abs=2e-3)
    frame = turned.to_frame()
    assert list(frame["latent"]) == [turned.latents[h] for h in turned.information.ranking]


def test_relaxed_latents_are_measured_by_their_classes(x):
    found = audit(lambda x: distributions.RelaxedBernoulli(torch.tensor(0.5), probs=probabilities(x)[0][:, None]), x)
    assert found.information.nats.tolist() == pytest.approx([OF_THE_SIGN], abs=2e-3)
    assert "a lower bound" in found.remarks[0]


def test_a_codebook_by_place(x):
    found = audit(lambda x: torch.stack([(x[:, :2] > 0).long(), torch.zeros(len(x), 2).long()], 1), x, n_entries=5)
    assert found.information.nats.tolist() == pytest.approx([math.log(2)] * 2 + [0, 0], abs=2e-3)
    assert found.codebook.shape == (2, 2)
    assert found.codebook.dead.tolist() == [2, 3, 4]
    assert found.latents == ["place 0, 0", "place 0, 1", "place 1, 0", "place 1, 1"]
    assert "2 of 5 entries of the codebook are used" in str(found)


@pytest.mark.parametrize(
    ("encode", "settings", "says"),
    [
        (lambda x: (x, x), {}, "returns a tuple: return a Bernoulli"),
        (lambda x: (x[:, 0] > 0).long(), {}, "pass n_entries"),
        (lambda x: {"disc": [x]}, {}, "give probabilities"),
        (lambda x: distributions.Laplace(x, 1.0), {}, "returns a Laplace"),
        (lambda x: x.nothing, {}, "failed in batch 1"),
    ],
)
def test_what_is_refused(encode, settings, says, x):
    with pytest.raises(AuditError, match=says):
        audit(encode, x, **settings)


def test_the_audit_of_gaussian_factors_names_the_other_functions(x):
    with pytest.raises(AuditError, match=r"Categorical, whose latents are classes: use vaemi\.auditing\.audit_codes"):
        vaemi.audit(lambda x: distributions.Categorical(logits=x), x, progress=False)
    with pytest.raises(AuditError, match=r"Laplace: only normal posteriors .*density_information"):
        vaemi.audit(lambda x: distributions.Laplace(x, 1.0), x, progress=False)


@pytest.mark.parametrize(
    ("encode", "says"),
    [
        (lambda x: {"cont": [x, x], "disc": [x.softmax(1)]}, r"discrete latents \(disc\): use .*audit_codes"),
        (lambda x: (x > 0).long(), "whole numbers: .*audit_codes"),
        (lambda x: [distributions.Normal(x, 1.0), distributions.Categorical(logits=x)], "2 distributions: .*codes if"),
        (lambda x: [(x, x), (x, x, x, x)], "2 layers: use .*hierarchical_information"),
    ],
)
def test_several_kinds_or_layers_of_latents_are_named(encode, says, x):
    with pytest.raises(AuditError, match=says):
        vaemi.audit(encode, x, progress=False)


# Gaussians with a covariance

COVARIANCE = torch.tensor([[0.5, 0.4, 0.0], [0.4, 0.5, 0.0], [0.0, 0.0, 0.9]])


def correlated(x):
    return distributions.MultivariateNormal(x[:, :3] * torch.tensor([0.7, 0.7, 0.3]), COVARIANCE)


@pytest.mark.parametrize(
    "encode",
    [
        correlated,
        lambda x: distributions.LowRankMultivariateNormal(
            correlated(x).mean, torch.tensor([[0.4**0.5], [0.4**0.5], [0.0]]), torch.tensor([0.1, 0.1, 0.9])
        ),
    ],
)
def test_correlated_factors_are_read_by_their_marginals(encode, x):
    found = vaemi.audit(encode, x, progress=False)
    expected = vaemi.factor_information(correlated(x).mean, COVARIANCE.diagonal().log().expand(N, 3))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-5, rtol=0)
    assert len(found.remarks) == 1
    assert "their sum does not bound" in found.remarks[0]
    assert found.redundancy is None


def test_the_kl_term_does_not_judge_correlated_factors(x):
    # Their KL term exceeds the sum over factors by their total correlation, here 0.51 nats.
    kl = distributions.kl_divergence(correlated(x), distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)))
    (remark,) = vaemi.audit(correlated, x, kl=float(kl.mean()), progress=False).remarks
    assert "their sum does not bound" in remark


def test_a_diagonal_covariance_is_independent(x):
    found = vaemi.audit(
        lambda x: distributions.MultivariateNormal(0.8 * x[:, :2], 0.36 * torch.eye(2)), x, progress=False
    )
    assert found.remarks == []
    assert found.redundancy is not None


def test_the_effect_of_correlated_factors_is_that_of_joint_draws(x):
    # The decoder sees the difference of the first two factors, whose noise mostly cancels: its variance is
    # 2 * 0.49 + 0.2 with all factors replaced, and two independent differences differ by twice that.
    found = vaemi.audit(correlated, x, decode=lambda z: z[:, :1] - z[:, 1:2], decoded_inputs=N, progress=False)
    assert found.effects.of_all == pytest.approx((2 * (2 * 0.49 + 0.2)) ** 0.5, rel=0.05)


# Codes without noise


class Autoencoder(nn.Module):
    def encode(self, x):
        return x[:, :2] * torch.tensor([1.0, 0.01])

    def decode(self, z):
        return z * torch.tensor([1.0, 0.0])


def identity(x):
    return {"latent_dist": SimpleNamespace(parameters=x)}


def test_a_code_without_noise_needs_a_noise(x):
    for encode in (Autoencoder(), lambda x: {"z": x}, lambda x: x.numpy(), identity):
        # The last is diffusers' IdentityDistribution, in its usual place.
        with pytest.raises(AuditError, match=r"carries infinite information\. Pass noise="):
            vaemi.audit(encode, x, progress=False)


def test_the_information_at_a_noise_and_the_effect(x):
    found = vaemi.audit(Autoencoder(), x, decode=Autoencoder().decode, noise=0.2, progress=False)
    expected = [0.5 * math.log(1 + 1 / 0.04), 0]
    assert found.information.nats.tolist() == pytest.approx(expected, abs=0.06)
    assert found.effects.share.tolist() == pytest.approx([1, 0])
    assert (found.remarks, found.scale) == ([], "noise of 0.2")
    same = vaemi.audit(identity, x, noise=0.2, progress=False)
    torch.testing.assert_close(same.information.nats[:1], found.information.nats[:1])
    with pytest.raises(AuditError, match="noise is 0: give a standard deviation greater than 0"):
        vaemi.audit(Autoencoder(), x, noise=0, progress=False)
