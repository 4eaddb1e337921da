"""The networks: the published one layer by layer, the others by shape, the likelihood against torch.distributions."""

import math

import pytest
import torch
from conftest import tiny
from torch import nn

from vaemi.models import (
    MLPVAE,
    ConvTranspose2d,
    ConvVAE,
    GaussianLikelihood,
    LinearVAE,
    SigmaLikelihood,
    as_float,
    build,
    posterior,
)


def parameters_by_layer(module):
    return [
        (type(layer).__name__, sum(p.numel() for p in layer.parameters()))
        for layer in module
        if any(True for _ in layer.parameters())
    ]


def test_the_published_network_layer_by_layer():
    latent, hidden = 128, 256
    model = ConvVAE()
    kernel, inner = 4 * 4, 32 * 7 * 7
    assert parameters_by_layer(model.encoder) == [
        ("Conv2d", 1 * 32 * kernel + 32),
        ("Conv2d", 32 * 32 * kernel + 32),
        ("Linear", inner * hidden + hidden),
        ("Linear", hidden * 2 * latent + 2 * latent),
    ]
    assert parameters_by_layer(model.decoder) == [
        ("Linear", latent * hidden + hidden),
        ("Linear", hidden * inner + inner),
        ("ConvTranspose2d", 32 * 32 * kernel + 32),
        ("ConvTranspose2d", 32 * 1 * kernel + 1),
    ]
    assert [p.numel() for p in model.likelihood.parameters()] == [1]
    # ReLU everywhere but after the means and log-variances; the output too.
    assert sum(isinstance(layer, nn.ReLU) for layer in model.encoder) == 3
    assert sum(isinstance(layer, nn.ReLU) for layer in model.decoder) == 4
    assert isinstance(model.decoder[-1], nn.ReLU)


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_layer_that_doubles_is_the_transposed_convolution_of_torch(channels, dtype):
    generator = torch.Generator().manual_seed(0)
    own, torchs = ConvTranspose2d(6, channels), nn.ConvTranspose2d(6, channels, kernel_size=4, stride=2, padding=1)
    torchs.load_state_dict(own.state_dict())
    results = []
    for layer in (own.to(dtype), torchs.double()):
        generator.manual_seed(0)
        x = torch.randn(2, 6, 5, 4, generator=generator).to(dtype).to(layer.weight.dtype).requires_grad_()
        y = layer(x)
        assert y.shape == (2, channels, 10, 8)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
        results.append([value.double() for value in (y, x.grad, layer.weight.grad, layer.bias.grad)])
    tolerance = {"rtol": 0.02, "atol": 0.05} if dtype is torch.bfloat16 else {}
    torch.testing.assert_close(*results, **tolerance)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_gradients_of_the_layer_that_doubles_have_the_strides_of_its_weights(channels):
    # DistributedDataParallel warns otherwise.
    layer = ConvTranspose2d(6, channels).to(memory_format=torch.channels_last)
    x = torch.ones(2, 6, 5, 4).contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(layer(x).sum(), [layer.weight])
    assert gradient.stride() == layer.weight.stride()


def test_a_dense_model_has_a_relu_between_any_two_layers():
    model = MLPVAE(20, 3, hidden_dims=(16, 8), initial_sigma=0.4)
    assert [weights for _, weights in parameters_by_layer(model.encoder)] == [20 * 16 + 16, 16 * 8 + 8, 8 * 6 + 6]
    assert [weights for _, weights in parameters_by_layer(model.decoder)] == [3 * 8 + 8, 8 * 16 + 16, 16 * 20 + 20]
    for part in (model.encoder, model.decoder):
        assert [type(layer) for layer in part] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert model.likelihood.sigma == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (ConvVAE((3, 64, 64), 10, (32, 32, 64, 64), 32, output="sigmoid"), (3, 64, 64)),
        (ConvVAE((4, 32, 32), 10, (16, 32), 32, output="identity"), (4, 32, 32)),
        (LinearVAE(6, 10), (6,)),
        (MLPVAE(6, 10, ()), (6,)),
    ],
    ids=str,
)
def test_data_go_through_and_back_and_codes_stay_float32(model, shape):
    x = torch.rand(5, *shape)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            mean, log_variance = model.encode(x)
            reconstruction = model.decode(mean)
        assert mean.shape == log_variance.shape == (5, 10)
        assert reconstruction.shape == x.shape
        assert mean.dtype == log_variance.dtype == reconstruction.dtype == torch.float32
    if isinstance(model, LinearVAE):
        assert (log_variance == log_variance[0]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ConvVAE((1, 30, 28)), "divisible by 4"),
        (lambda: ConvVAE(latent_dim=0), "positive"),
        (lambda: ConvVAE(output="tanh"), "'relu', 'sigmoid', 'identity'"),
        (lambda: ConvVAE(initialization="zero"), "'torch', 'he', 'glorot'"),
        (lambda: ConvVAE(sigma_parameter="variance"), "'log_sigma', 'sigma'"),
        (lambda: LinearVAE(0, 2), "positive"),
        (lambda: MLPVAE(4, 2, (8, 0)), "positive"),
        (lambda: MLPVAE(4, 2, initial_sigma=-1), "standard deviation"),
    ],
)
def test_impossible_networks(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("kind", [GaussianLikelihood, SigmaLikelihood])
def test_likelihood_is_the_normal_density_with_a_gradient_of_its_parameter(kind):
    likelihood, sigma = kind(0.3), torch.tensor(0.3, requires_grad=True)
    x, reconstruction = torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    expected = -torch.distributions.Normal(reconstruction, sigma).log_prob(x).flatten(1).sum(1)
    found = likelihood.negative_log_likelihood(x, reconstruction)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    (parameter,) = likelihood.parameters()
    # d/d(log sigma) = sigma d/d(sigma)
    torch.testing.assert_close(parameter.grad, sigma.grad * (0.3 if kind is GaussianLikelihood else 1.0))


SPECTRUM, WATER_LEVEL, BETA = torch.tensor([3.0, 1.0, 0.4, 0.1]).double(), 0.3, 2.0


def linear_vae_at_the_optimum():
    """The parameters of the water-filling theorem (book/theory.md) for data with the covariance diag(SPECTRUM)."""
    model = LinearVAE(4, 4, sigma=(WATER_LEVEL / BETA) ** 0.5).double()
    weight = (SPECTRUM - WATER_LEVEL).clamp_min(0).sqrt()
    with torch.no_grad():
        model.encoder.weight.copy_((weight / SPECTRUM).diag())
        model.decoder.weight.copy_(weight.diag())
        model.log_variance.copy_((WATER_LEVEL / SPECTRUM).log().clamp_max(0))
        model.encoder.bias.zero_()
        model.decoder.bias.zero_()
    return model


def expected_objective(model):
    """-log p(x|z) + beta KL averaged over z and over x ~ N(0, diag(SPECTRUM)), without sampling."""
    encoder, decoder, variance = model.encoder.weight, model.decoder.weight, model.log_variance.exp()
    rest = torch.eye(4, dtype=torch.float64) - decoder @ encoder
    squared_error = (rest @ SPECTRUM.diag() @ rest.T).trace() + (variance * decoder.square()).sum()
    squared_error = squared_error + (decoder @ model.encoder.bias + model.decoder.bias).square().sum()
    moments = (encoder @ SPECTRUM.diag() @ encoder.T).diag() + model.encoder.bias.square() + variance
    kl = 0.5 * (moments - 1 - model.log_variance).sum()
    return 0.5 * squared_error / (WATER_LEVEL / BETA) + BETA * kl


def test_reverse_water_filling_is_the_optimum_of_a_linear_model():
    model = linear_vae_at_the_optimum()
    best = expected_objective(model)
    best.backward()
    for parameter in (*model.encoder.parameters(), *model.decoder.parameters(), model.log_variance):
        assert parameter.grad.abs().max() < 1e-12
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            moved = linear_vae_at_the_optimum()
            with torch.no_grad():
                for parameter in (*moved.encoder.parameters(), *moved.decoder.parameters(), moved.log_variance):
                    parameter += size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            assert expected_objective(moved) > best


def test_the_objective_of_a_linear_model_fixes_the_axes():
    # A rotation of the factors changes no reconstruction, but the diagonal posterior pays for it.
    best = expected_objective(linear_vae_at_the_optimum())
    for angle in (0.01, 0.1, 0.7):
        model, turn = linear_vae_at_the_optimum(), torch.eye(4, dtype=torch.float64)
        turn[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        with torch.no_grad():
            model.encoder.weight.copy_(turn @ model.encoder.weight)
            model.decoder.weight.copy_(model.decoder.weight @ turn.T)
            # The best variances for these directions: those of the posterior's precision.
            precision = 1 + model.decoder.weight.square().sum(0) / WATER_LEVEL
            model.log_variance.copy_(-precision.log())
        assert expected_objective(model) > best + 1e-6


def test_pictures_become_floats_between_0_and_1():
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert as_float(torch.tensor([0.5, 2.0]).double()).tolist() == [0.5, 2.0]


def test_posterior_of_many_samples_does_not_depend_on_batches(tiny_model, tiny_images):
    whole = posterior(tiny_model, tiny_images)
    pieces = posterior(tiny_model, tiny_images, batch_size=7)
    torch.testing.assert_close(whole, pieces)


@pytest.mark.parametrize(
    "model",
    [
        tiny(),
        ConvVAE((1, 8, 8), 2, (4,), 8, learned_sigma=False),
        ConvVAE((1, 8, 8), 2, (4,), 8, initialization="glorot", sigma_parameter="sigma"),
        LinearVAE(5, 3),
        MLPVAE(5, 3, [7, 6], initial_sigma=0.4, learned_sigma=False),
    ],
    ids=lambda model: f"{type(model).__name__}-{type(model.likelihood).__name__}",
)
def test_a_model_is_built_from_its_hyperparameters(model):
    again = build(model.hyperparameters)
    again.load_state_dict(model.state_dict())
    assert again.hyperparameters == model.hyperparameters
    assert again.likelihood.log_sigma.requires_grad == model.likelihood.log_sigma.requires_grad


def test_leaky_units_pass_a_gradient_where_published_ones_pass_none():
    gradients = {}
    for activation in ("relu", "leaky_relu"):
        torch.manual_seed(0)
        model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16, activation=activation, output="sigmoid")
        # All hidden units of the decoder below zero.
        torch.nn.init.constant_(model.decoder[0].bias, -100.0)
        z = torch.zeros(1, 4, requires_grad=True)
        model.decode(z).sum().backward()
        gradients[activation] = float(z.grad.abs().max())
    assert gradients["relu"] == 0
    assert gradients["leaky_relu"] > 0


def test_he_weights_are_as_wide_as_derived():
    torch.manual_seed(0)
    model = ConvVAE(latent_dim=128, hidden_dim=256, initialization="he")
    # A layer of n inputs has weights of variance 2 / n.
    for layer, inputs in ((model.encoder[2], 32 * 16), (model.encoder[5], 1568), (model.decoder[0], 128)):
        assert float(layer.weight.detach().var()) == pytest.approx(2 / inputs, rel=0.05)
        assert not layer.bias.any()
    assert float(model.decoder[5].weight.detach().var()) == pytest.approx(2 / (32 * 16), rel=0.05)


def test_glorot_weights_are_as_wide_as_keras_makes_them():
    torch.manual_seed(0)
    model = ConvVAE(latent_dim=128, hidden_dim=256, initialization="glorot")
    # Uniform within sqrt(6 / (inputs + outputs)), where a convolution counts its 4 x 4 window in both.
    for layer, sides in (
        (model.encoder[2], 16 * (32 + 32)),
        (model.encoder[5], 1568 + 256),
        (model.decoder[0], 128 + 256),
        (model.decoder[5], 16 * (32 + 32)),
    ):
        limit = math.sqrt(6 / sides)
        weights = layer.weight.detach()
        assert 0.98 * limit < float(weights.abs().max()) <= limit
        assert float(weights.var()) == pytest.approx(limit**2 / 3, rel=0.05)
        assert not layer.bias.any()
