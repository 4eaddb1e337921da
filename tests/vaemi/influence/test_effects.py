"""Effects on the output of decoders whose answer is known."""

from types import SimpleNamespace

import pytest
import torch

from vaemi.influence import decoder_effects

N = 4000


@pytest.fixture
def posteriors():
    generator = torch.Generator().manual_seed(7)  # not that of the draws
    mean = torch.randn(N, 3, generator=generator) * torch.tensor([1.0, 0.5, 2.0])
    return mean, torch.full((N, 3), 0.04).log()


def test_a_linear_decoder_has_effects_in_closed_form(posteriors):
    # Replacing z_h changes the output by w (z' - z), whose mean square is 2 |w|^2 Var(z_h).
    weights = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    found = decoder_effects(lambda z: z @ weights.T, *posteriors, progress=False)
    variance = torch.tensor([1.0, 0.25, 4.0]) + 0.04
    expected = (2 * variance * weights.square().mean(0)).sqrt().double()
    assert (found.effect - expected).abs().max() < 4 * found.stderr.max()
    torch.testing.assert_close(found.effect, expected, rtol=0.05, atol=0)
    assert found.effect[2] == found.stderr[2] == 0
    assert found.of_all == pytest.approx(float(expected.square().sum().sqrt()), rel=0.05)
    torch.testing.assert_close(found.share, found.effect / found.of_all)


def test_the_standard_error_covers_the_truth():
    generator = torch.Generator().manual_seed(1000)
    errors = []
    for seed in range(200):
        mean = torch.randn(100, 1, generator=generator)
        found = decoder_effects(lambda z: z, mean, torch.full((100, 1), -20.0), seed=seed, progress=False)
        errors.append(float((found.effect - 2**0.5) / found.stderr))
    assert 0.8 < torch.tensor(errors).std() < 1.3


def test_channels_of_spatial_latents_are_replaced_everywhere():
    mean = torch.randn(50, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    found = decoder_effects(lambda z: z[:, :1], mean, torch.full_like(mean, -20.0), batch_size=16, progress=False)
    assert found.effect.shape == (2,)
    assert found.effect[1] == 0
    assert found.effect[0] == pytest.approx(2**0.5, rel=0.1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: torch.distributions.Normal(z, 1.0),
        lambda z: SimpleNamespace(sample=z),
        lambda z: SimpleNamespace(reconstruction=z),
        lambda z: (z, None),
    ],
)
def test_outputs_of_other_libraries_are_read(posteriors, wrap):
    plain = decoder_effects(lambda z: z, *posteriors, progress=False)
    assert torch.equal(decoder_effects(wrap, *posteriors, progress=False).effect, plain.effect)


def test_bad_decoders_get_a_sentence(posteriors):
    with pytest.raises(ValueError, match="decode returned a str"):
        decoder_effects(lambda z: "picture", *posteriors, progress=False)
    with pytest.raises(ValueError, match="decode returned 1 outputs for 256 codes"):
        decoder_effects(lambda z: z[:1], *posteriors, progress=False)
    with pytest.raises(ValueError, match="two or more"):
        decoder_effects(lambda z: z, *(part[:1] for part in posteriors))
