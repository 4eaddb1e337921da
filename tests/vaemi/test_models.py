"""The networks: the published one layer by layer, the others by shape, the likelihood against torch.distributions."""

import math

import pytest
import torch
from conftest import tiny
from torch import nn

from vaemi.models import MLPVAE, ConvVAE, GaussianLikelihood, LinearVAE, as_float, build, posterior


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


@pytest.mark.parametrize(
    ("shape", "channels", "output"),
    [((1, 28, 28), (32, 32), "relu"), ((3, 64, 64), (32, 32, 64, 64), "sigmoid"), ((4, 32, 32), (16, 32), "identity")],
)
def test_every_picture_size_goes_through_and_back(shape, channels, output):
    model = ConvVAE(shape, latent_dim=10, channels=channels, hidden_dim=32, output=output)
    mean, log_variance = model.encode(torch.rand(5, *shape))
    assert mean.shape == log_variance.shape == (5, 10)
    assert model.decode(mean).shape == (5, *shape)


def test_posterior_stays_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = ConvVAE(latent_dim=3).encode(torch.rand(2, 1, 28, 28))
    assert mean.dtype == log_variance.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_shape": (1, 30, 28)}, "divisible by 4"),
        ({"latent_dim": 0}, "positive"),
        ({"output": "tanh"}, "'relu', 'sigmoid', 'identity'"),
        ({"activation": "swish"}, "'relu', 'leaky_relu'"),
        ({"initialization": "zero"}, "'torch', 'he'"),
        ({"initial_sigma": 0}, "initial_sigma"),
    ],
)
def test_impossible_networks(arguments, words):
    with pytest.raises(ValueError, match=words):
        ConvVAE(**arguments)


def test_likelihood_is_the_normal_density():
    likelihood = GaussianLikelihood(0.3)
    x, reconstruction = torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    expected = -torch.distributions.Normal(reconstruction, 0.3).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(likelihood.negative_log_likelihood(x, reconstruction), expected)


def test_best_sigma_is_the_root_mean_square_error():
    likelihood = GaussianLikelihood(1.0)
    x, reconstruction = torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=50)

    def loss():
        optimizer.zero_grad()
        value = likelihood.negative_log_likelihood(x, reconstruction).sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert likelihood.sigma == pytest.approx(float((x - reconstruction).square().mean().sqrt()), rel=1e-4)


def test_linear_model_has_one_variance_for_all_samples():
    model = LinearVAE(6, 2)
    mean, log_variance = model.encode(torch.randn(9, 6))
    assert mean.shape == log_variance.shape == (9, 2)
    assert (log_variance == log_variance[0]).all()
    assert model.decode(mean).shape == (9, 6)
    assert not model.likelihood.log_sigma.requires_grad
    with pytest.raises(ValueError, match="positive"):
        LinearVAE(0, 2)


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


def test_dense_model_layer_by_layer():
    model = MLPVAE(20, 3, hidden_dims=(16, 8), initial_sigma=0.4)
    assert parameters_by_layer(model.encoder) == [
        ("Linear", 20 * 16 + 16),
        ("Linear", 16 * 8 + 8),
        ("Linear", 8 * 2 * 3 + 2 * 3),
    ]
    assert parameters_by_layer(model.decoder) == [
        ("Linear", 3 * 8 + 8),
        ("Linear", 8 * 16 + 16),
        ("Linear", 16 * 20 + 20),
    ]
    # One between any two layers; means, log-variances and the output may be negative.
    for part in (model.encoder, model.decoder):
        assert [type(layer) for layer in part] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    mean, log_variance = model.encode(torch.randn(9, 20))
    assert mean.shape == log_variance.shape == (9, 3)
    assert model.decode(mean).shape == (9, 20)
    assert model.likelihood.sigma == pytest.approx(0.4)
    assert model.likelihood.log_sigma.requires_grad
    assert not MLPVAE(20, 3, learned_sigma=False).likelihood.log_sigma.requires_grad


@pytest.mark.parametrize(
    "model", [tiny(), LinearVAE(5, 3), MLPVAE(5, 3, [7, 6], initial_sigma=0.4)], ids=lambda model: type(model).__name__
)
def test_a_model_is_built_from_its_hyperparameters(model):
    again = build(model.hyperparameters)
    again.load_state_dict(model.state_dict())
    assert again.hyperparameters == model.hyperparameters
    with pytest.raises(ValueError, match="There is no model 'GAN'"):
        build({"model": "GAN"})


def test_dense_model_without_hidden_layers_is_linear():
    model = MLPVAE(5, 2, hidden_dims=())
    z = torch.randn(2, 2)
    torch.testing.assert_close(
        model.decode(z.sum(0, keepdim=True)), model.decode(z).sum(0, keepdim=True) - model.decode(torch.zeros(1, 2))
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data_dim": 0}, "positive"),
        ({"latent_dim": 0}, "positive"),
        ({"hidden_dims": (8, 0)}, r"hidden_dims \(8, 0\)"),
        ({"initial_sigma": -1}, "initial_sigma"),
    ],
)
def test_impossible_dense_models(arguments, words):
    with pytest.raises(ValueError, match=words):
        MLPVAE(**{"data_dim": 4, "latent_dim": 2, **arguments})


def test_leaky_units_pass_a_gradient_where_published_ones_are_silent():
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


def test_a_convolutional_model_may_keep_its_deviation():
    usual, fixed = (ConvVAE((1, 8, 8), 2, (4,), 8, learned_sigma=learned) for learned in (True, False))
    assert [model.likelihood.log_sigma.requires_grad for model in (usual, fixed)] == [True, False]
    # Two trainings, two names of their checkpoints; the usual one's is as before.
    assert "learned_sigma" not in usual.hyperparameters
    assert fixed.hyperparameters == usual.hyperparameters | {"learned_sigma": False}
