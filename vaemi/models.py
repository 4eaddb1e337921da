"""VAEs: a convolutional one for images, a dense and a linear one for vectors, and their Gaussian likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vaemi.information.checks import checked_choice

__all__ = ["MLPVAE", "VAE", "ConvVAE", "LinearVAE", "posterior"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "leaky_relu": partial(nn.LeakyReLU, 0.1)}
_Weighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
_IMAGE_CHANNELS = 4  # images have at most so many
_OUTPUTS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "identity": nn.Identity}


class GaussianLikelihood(nn.Module):
    """Gaussian likelihood ``N(x; decode(z), sigma^2 I)`` with one sigma for all pixels, parametrized by its log."""

    log_sigma: Tensor

    def __init__(self, initial_sigma: float = 1.0, learned: bool = True) -> None:
        super().__init__()
        if not initial_sigma > 0:
            raise ValueError(f"The standard deviation of the likelihood is {initial_sigma}: give a number > 0.")
        self._add_parameter(initial_sigma, learned)

    def _add_parameter(self, initial_sigma: float, learned: bool) -> None:
        self.log_sigma = nn.Parameter(torch.tensor(math.log(initial_sigma)), requires_grad=learned)

    @property
    def sigma(self) -> float:
        """Current standard deviation, in units of x."""
        return self.log_sigma.exp().item()

    def negative_log_likelihood(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """Return ``n (log sigma + 1/2 log 2 pi) + |x - xhat|^2 / (2 sigma^2)`` for each sample, (B,), in nats."""
        squared_error = (x - reconstruction).flatten(1).square().sum(1)
        n = x[0].numel()
        return n * (self.log_sigma + 0.5 * math.log(2 * math.pi)) + 0.5 * squared_error * (-2 * self.log_sigma).exp()


class SigmaLikelihood(GaussianLikelihood):
    """Gaussian likelihood whose parameter is sigma itself, so that an optimizer's steps are steps of sigma."""

    def _add_parameter(self, initial_sigma: float, learned: bool) -> None:
        self.standard_deviation = nn.Parameter(torch.tensor(float(initial_sigma)), requires_grad=learned)

    @property
    def log_sigma(self) -> Tensor:  # type: ignore[override]
        """Log of the standard deviation, a scalar."""
        return self.standard_deviation.log()


class VAE(nn.Module):
    """Base class of the models.

    Attributes
    ----------
    latent_dim : int
        Number of latent factors H.
    likelihood : Module
        Gaussian p(x|z): its standard deviation `sigma`, and `negative_log_likelihood(x, reconstruction)` in nats, (B,).
    hyperparameters : dict
        Name and arguments of the class, as JSON values.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> mean, log_variance = model.encode(torch.zeros(5, 3))
    >>> mean.shape, model.decode(mean).shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    latent_dim: int
    encoder: nn.Module
    decoder: nn.Module
    likelihood: GaussianLikelihood
    hyperparameters: dict[str, Any]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior mean and log-variance of x, both (B, latent_dim), float32 or wider."""
        mean, log_variance = _at_least_float32(self.encoder(x)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of p(x|z), in the shape of x, float32 or wider."""
        return _at_least_float32(self.decoder(z))


def _at_least_float32(output: Tensor) -> Tensor:
    # Under autocast the output is bfloat16, whose 8 bits are too few for log-variances.
    return output.to(torch.promote_types(output.dtype, torch.float32))


class ConvVAE(VAE):
    """Convolutional VAE: 4x4 convolutions of stride 2 and a dense layer, mirrored in the decoder.

    The defaults are the published MNIST network: 28x28x1; encoder conv 32, conv 32, dense 256, dense 2x128;
    decoder dense 256, dense 1568, transposed conv 32, transposed conv 1; ReLU after every layer, the output included.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, height and width of x. Height and width must be divisible by 2 for each convolution.
    latent_dim : int
        Number of latent factors H.
    channels : sequence of int
        Output channels of the convolutions, starting at the image.
    hidden_dim : int
        Width of the dense layers before and after the latent factors.
    output : {"relu", "sigmoid", "identity"}
        Activation after the last layer.
    initial_sigma : float
        Initial standard deviation of the likelihood.
    activation : {"relu", "leaky_relu"}
        Activation after the other layers. A ReLU that is 0 for all inputs early in training stays so; a leaky one
        recovers.
    initialization : {"torch", "he", "glorot"}
        Initial weights: PyTorch's default; the wider ones that He et al. (2015) derive for such activations; or the
        uniform ones of Glorot and Bengio (2010), Keras's default. The latter two start with zero biases.
    learned_sigma : bool
        Whether training may change the standard deviation.
    sigma_parameter : {"log_sigma", "sigma"}
        Parameter of the likelihood: the log of the standard deviation, or the standard deviation itself.

    Raises
    ------
    ValueError
        If height or width cannot be halved by each convolution, a size is not positive, or a name is unknown.

    References
    ----------
    He et al., Delving Deep into Rectifiers, ICCV 2015.
    Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, AISTATS 2010.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import ConvVAE
    >>> model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
    >>> mean, log_variance = model.encode(torch.zeros(5, 1, 8, 8))
    >>> mean.shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 128,
        channels: Sequence[int] = (32, 32),
        hidden_dim: int = 256,
        output: str = "relu",
        initial_sigma: float = 1.0,
        activation: str = "relu",
        initialization: str = "torch",
        learned_sigma: bool = True,
        sigma_parameter: str = "log_sigma",
    ) -> None:
        super().__init__()
        depth, height, width = image_shape
        shrink = 2 ** len(channels)
        _check_positive(depth, height, width, latent_dim, hidden_dim, *channels)
        if height % shrink or width % shrink:
            raise ValueError(
                f"image_shape is {tuple(image_shape)}: each of {len(channels)} convolutions halves the image, so "
                f"height and width must be divisible by {shrink}."
            )
        checked_choice("output", output, _OUTPUTS)
        checked_choice("activation", activation, _ACTIVATIONS)
        checked_choice("initialization", initialization, ("torch", *_INITIALIZERS))
        checked_choice("sigma_parameter", sigma_parameter, _LIKELIHOODS)
        self.latent_dim = latent_dim
        self.hyperparameters = {
            "model": type(self).__name__,
            "image_shape": list(image_shape),
            "latent_dim": latent_dim,
            "channels": list(channels),
            "hidden_dim": hidden_dim,
            "output": output,
            "initial_sigma": float(initial_sigma),
            "activation": activation,
            # The older choices are left out: names of trainings from before there were others stay the same.
            **({"initialization": "glorot"} if initialization == "glorot" else {}),
            **({} if learned_sigma else {"learned_sigma": False}),
            **({} if sigma_parameter == "log_sigma" else {"sigma_parameter": sigma_parameter}),
        }
        active = _ACTIVATIONS[activation]
        inner = (channels[-1], height // shrink, width // shrink)
        self.encoder = nn.Sequential(
            *_stack(_halving, [depth, *channels], active),
            nn.Flatten(),
            nn.Linear(math.prod(inner), hidden_dim),
            active(),
            nn.Linear(hidden_dim, 2 * latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim),
            active(),
            nn.Linear(hidden_dim, math.prod(inner)),
            active(),
            nn.Unflatten(1, inner),
            *_stack(ConvTranspose2d, [*reversed(channels), depth], active)[:-1],
            _OUTPUTS[output](),
        )
        if initialization != "torch":
            self.apply(partial(_initialize, _INITIALIZERS[initialization]))
        self.likelihood = _LIKELIHOODS[sigma_parameter](initial_sigma, learned=learned_sigma)


class ConvTranspose2d(nn.ConvTranspose2d):
    """Transposed 4x4 convolution of stride 2 and padding 1, which doubles height and width; fast on CPUs.

    A pixel of the result depends on 2x2 pixels of x. For an image of few channels, a 2x2 convolution whose channels are
    the 2x2 blocks of the result takes half the time. For more channels the bias is added apart, since torch sums its
    gradient slowly in bfloat16 otherwise.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the convolution of x (B, C, h, w), of shape (B, C', 2h, 2w)."""
        assert self.bias is not None
        if x.device.type != "cpu":
            return super().forward(x, output_size)
        if self.out_channels > _IMAGE_CHANNELS:
            result = functional.conv_transpose2d(x, self.weight, None, stride=2, padding=1)
            return result + self.bias.to(result.dtype)[:, None, None]
        # Gradients of this form have the strides of weights in channels_last, which data-parallel training asks for.
        taps = self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, 2, 2, 2, 2, self.out_channels)
        kernels = taps.permute(5, 2, 4, 0, 1, 3).reshape(-1, self.in_channels, 2, 2).flip(2, 3)
        blocks = functional.conv2d(x, kernels, self.bias.repeat_interleave(4), padding=1)
        return functional.pixel_shuffle(blocks, 2)[..., 1:-1, 1:-1]


class LinearVAE(VAE):
    """Probabilistic PCA as a VAE: a linear encoder and a linear decoder, for data of shape (B, data_dim).

    The log-variance does not depend on x, as at the optimum of a linear-Gaussian model.

    Parameters
    ----------
    data_dim, latent_dim : int
        Dimensions of x and z.
    sigma : float
        Standard deviation of the likelihood.
    learned_sigma : bool
        Whether training may change it.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> model.decode(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, data_dim: int, latent_dim: int, sigma: float = 1.0, learned_sigma: bool = False) -> None:
        super().__init__()
        _check_positive(data_dim, latent_dim)
        self.latent_dim = latent_dim
        self.hyperparameters = {
            "model": type(self).__name__,
            "data_dim": data_dim,
            "latent_dim": latent_dim,
            "sigma": float(sigma),
            "learned_sigma": learned_sigma,
        }
        self.encoder = nn.Linear(data_dim, latent_dim)
        self.log_variance = nn.Parameter(torch.zeros(latent_dim))
        self.decoder = nn.Linear(latent_dim, data_dim)
        self.likelihood = GaussianLikelihood(sigma, learned=learned_sigma)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior mean of x and the log-variance that all x share, both (B, latent_dim)."""
        mean = _at_least_float32(self.encoder(x))
        return mean, self.log_variance.to(mean.dtype).expand_as(mean)


class MLPVAE(VAE):
    """VAE of dense layers, for data of shape (B, data_dim).

    Parameters
    ----------
    data_dim, latent_dim : int
        Dimensions of x and z.
    hidden_dims : sequence of int
        Widths of the encoder's hidden layers, each followed by a ReLU; the decoder has them in reverse order.
    initial_sigma : float
        Initial standard deviation of the likelihood.
    learned_sigma : bool
        Whether training may change it.

    Raises
    ------
    ValueError
        If a dimension or the standard deviation is not positive.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import MLPVAE
    >>> model = MLPVAE(data_dim=3, latent_dim=2, hidden_dims=(8,))
    >>> model.decode(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        data_dim: int,
        latent_dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        initial_sigma: float = 1.0,
        learned_sigma: bool = True,
    ) -> None:
        super().__init__()
        _check_positive(data_dim, latent_dim, *hidden_dims)
        self.latent_dim = latent_dim
        self.hyperparameters = {
            "model": type(self).__name__,
            "data_dim": data_dim,
            "latent_dim": latent_dim,
            "hidden_dims": list(hidden_dims),
            "initial_sigma": float(initial_sigma),
            "learned_sigma": learned_sigma,
        }
        self.encoder = _dense([data_dim, *hidden_dims, 2 * latent_dim])
        self.decoder = _dense([latent_dim, *reversed(hidden_dims), data_dim])
        self.likelihood = GaussianLikelihood(initial_sigma, learned=learned_sigma)


def build(hyperparameters: Mapping[str, Any]) -> VAE:
    """Return the model with these `hyperparameters` and fresh weights."""
    models = {model.__name__: model for model in (ConvVAE, LinearVAE, MLPVAE)}
    arguments = dict(hyperparameters)
    return models[arguments.pop("model")](**arguments)


def as_float(images: Tensor) -> Tensor:
    """Return images as float32; uint8 is divided by 255, other types are only converted."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


@torch.inference_mode()
def posterior(model: VAE, samples: Tensor, batch_size: int = 1000) -> tuple[Tensor, Tensor]:
    """Return the posterior means and log-variances of all samples, both (N, H), on the CPU.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.models import posterior
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> mean, log_variance = posterior(model, torch.zeros(5, 3))
    >>> mean.shape, log_variance.shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """
    device = next(model.parameters()).device
    encoded = [model.encode(as_float(batch.to(device))) for batch in samples.split(batch_size)]
    mean, log_variance = (torch.cat(parts).cpu() for parts in zip(*encoded, strict=True))
    return mean, log_variance


def _check_positive(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"The sizes are {sizes}: all dimensions, channels and widths must be positive.")


def _halving(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)


def _stack(
    layer: Callable[[int, int], nn.Module], channels: Sequence[int], active: Callable[[], nn.Module]
) -> list[nn.Module]:
    """Return a layer between any two numbers of channels, each with an activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [layer(inputs, outputs), active()]
    return layers


def _he_uniform(layer: _Weighted) -> None:
    # PyTorch counts the inputs along the second axis, but those of a transposed convolution are along the first.
    nn.init.kaiming_uniform_(layer.weight, mode="fan_out" if isinstance(layer, nn.ConvTranspose2d) else "fan_in")


def _glorot_uniform(layer: _Weighted) -> None:
    nn.init.xavier_uniform_(layer.weight)


_INITIALIZERS: dict[str, Callable[[_Weighted], None]] = {"he": _he_uniform, "glorot": _glorot_uniform}
_LIKELIHOODS = {"log_sigma": GaussianLikelihood, "sigma": SigmaLikelihood}


def _initialize(weights: Callable[[_Weighted], None], layer: nn.Module) -> None:
    if isinstance(layer, _Weighted):
        weights(layer)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _dense(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers between these widths, with a ReLU between any two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
