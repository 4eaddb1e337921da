"""Objectives of a VAE: the weighted ELBO, and four that constrain the latent factors further.

An objective is called with a model, a batch and a generator, and returns its loss and the terms of the loss. In the
formulas D is the negative log-likelihood -log p(x|z) with one draw of z ~ q(z|x), and KL is KL(q(z|x) || p(z)), both
averaged over the batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vaemi.information.gaussian import kl_to_prior, second_moments
from vaemi.information.joint import minibatch_log_density

if TYPE_CHECKING:
    from vaemi.models import VAE

__all__ = ["AVAE", "BetaTCVAE", "BetaVAE", "FactorVAE", "InfoVAE", "Objective"]

_LOG_2_PI = math.log(2 * math.pi)


class Draw(NamedTuple):
    """One pass of a batch through the model, and the arguments of the objective."""

    model: VAE
    generator: torch.Generator
    mean: Tensor  # (B, H), as are the next two
    log_variance: Tensor
    z: Tensor
    reconstruction: Tensor  # shape of x
    negative_log_likelihood: Tensor  # ()
    kl: Tensor  # ()
    beta: float = 1.0
    n_samples: int = 0
    discriminator: nn.Module | None = None

    @classmethod
    def of(
        cls, model: VAE, x: Tensor, generator: torch.Generator, share: slice | None = None, **arguments: Any
    ) -> Draw:
        """Pass x through the model; the arguments are those of `Objective.__call__`."""
        mean, log_variance = model.encode(x)
        share = share or slice(0, len(x), 1)
        noise = torch.randn(share.stop, mean.shape[1], generator=generator, device=mean.device, dtype=mean.dtype)
        z = mean + (0.5 * log_variance).exp() * noise[share]
        reconstruction = model.decode(z)
        return cls(
            model,
            generator,
            mean,
            log_variance,
            z,
            reconstruction,
            negative_log_likelihood=model.likelihood.negative_log_likelihood(x, reconstruction).mean(),
            kl=kl_to_prior(mean, log_variance).sum(1).mean(),
            **arguments,
        )

    @property
    def negative_elbo(self) -> Tensor:
        return self.negative_log_likelihood + self.beta * self.kl

    @property
    def elbo_terms(self) -> dict[str, Tensor]:
        return {"negative_log_likelihood": self.negative_log_likelihood, "kl": self.kl}


@dataclass(frozen=True)
class Objective(ABC):
    """Base class of the objectives.

    Attributes
    ----------
    name : str
        Name in `vaemi.training.train`.

    Examples
    --------
    >>> from vaemi.objectives import BetaVAE, Objective
    >>> isinstance(BetaVAE(), Objective), BetaVAE.name
    (True, 'beta-vae')
    """

    name: ClassVar[str]

    def discriminator(self, latent_dim: int) -> nn.Module | None:
        """Return a fresh network that is trained along with the model, or None if the objective has none."""
        return None

    def discriminator_adam(self) -> dict[str, Any]:
        """Return the arguments of Adam for the discriminator's parameters."""
        return {}

    def __call__(
        self,
        model: VAE,
        x: Tensor,
        generator: torch.Generator,
        *,
        beta: float = 1.0,
        n_samples: int | None = None,
        discriminator: nn.Module | None = None,
        share: slice | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective on a batch.

        Parameters
        ----------
        model : VAE
        x : Tensor, shape (B, ...)
            Drawn at random without replacement from the data set.
        generator : torch.Generator
            On the device of x.
        beta : float
            Weight of the KL term; of the total correlation in beta-TCVAE.
        n_samples : int, optional
            Size of the data set that the batch was drawn from. Default is the batch's own size.
        discriminator : Module, optional
            The network that the method `discriminator` returned, for objectives that have one.
        share : slice, optional
            Rows of a larger batch that x consists of, if several processes share a batch; ``slice(1, 20, 2)`` is every
            second of 20 rows. The noise of x is then the same as in a process with the whole batch.

        Returns
        -------
        loss : Tensor, shape ()
            Minimized value, in nats per sample. Its gradient also trains the discriminator, if there is one.
        terms : dict of str to Tensor
            `negative_log_likelihood` (D) and `kl` (KL), in nats per sample, and the objective's own terms, unweighted,
            each of shape ().
        """
        draw = Draw.of(
            model, x, generator, share, beta=beta, n_samples=n_samples or len(x), discriminator=discriminator
        )
        loss, own_terms = self._loss(draw)
        return loss, draw.elbo_terms | own_terms

    @abstractmethod
    def _loss(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and the terms that the ELBO does not have."""


@dataclass(frozen=True)
class BetaVAE(Objective):
    """Weighted ELBO, D + beta KL; the negative ELBO at beta = 1.

    References
    ----------
    Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR 2017.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.objectives import BetaVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x, generator = torch.randn(20, 3), torch.Generator().manual_seed(0)
    >>> value, parts = BetaVAE()(model, x, generator)
    >>> value.shape, sorted(parts)
    (torch.Size([]), ['kl', 'negative_log_likelihood'])
    """

    name: ClassVar[str] = "beta-vae"

    def _loss(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        return draw.negative_elbo, {}


@dataclass(frozen=True)
class BetaTCVAE(Objective):
    r"""beta-TCVAE: the three parts of the KL term, each with its own weight.

    :math:`D + \alpha I(X; Z) + \beta\, TC(q(z))` :math:`+ \gamma \sum_h KL(q(z_h) \| p(z_h))`, with the aggregated
    posterior q(z) estimated from the batch by `vaemi.information.joint.minibatch_log_density`. The extra terms are
    `mutual_information`, `total_correlation` and `dimension_wise_kl`, in nats. They sum exactly to the KL term, because
    E log q(z|x) and E log p(z) are computed in closed form, not at the draw. With all weights at 1 the objective is
    the negative ELBO.

    Parameters
    ----------
    mutual_information_weight : float
        Weight alpha.
    dimension_wise_weight : float
        Weight gamma; beta is an argument of the call.

    Raises
    ------
    ValueError
        If a weight is negative or not finite.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.objectives import BetaTCVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x, generator = torch.randn(20, 3), torch.Generator().manual_seed(0)
    >>> value, parts = BetaTCVAE()(model, x, generator)
    >>> value.shape, sorted(parts)
    (torch.Size([]), ['dimension_wise_kl', 'kl', 'mutual_information',
    'negative_log_likelihood', 'total_correlation'])
    """

    mutual_information_weight: float = 1.0
    dimension_wise_weight: float = 1.0

    name: ClassVar[str] = "beta-tcvae"

    def __post_init__(self) -> None:
        _check_weights(
            mutual_information_weight=self.mutual_information_weight, dimension_wise_weight=self.dimension_wise_weight
        )

    def _loss(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        joint, factors = minibatch_log_density(draw.z, draw.mean, draw.log_variance, draw.n_samples, "stratified")
        log_posterior = -0.5 * (_LOG_2_PI + 1 + draw.log_variance).sum(1).mean()
        log_prior = -0.5 * (_LOG_2_PI + second_moments(draw.mean, draw.log_variance)).sum(1).mean()
        log_joint, log_product = joint.mean(), factors.sum(1).mean()
        terms = {
            "mutual_information": log_posterior - log_joint,
            "total_correlation": log_joint - log_product,
            "dimension_wise_kl": log_product - log_prior,
        }
        loss = (
            draw.negative_log_likelihood
            + self.mutual_information_weight * terms["mutual_information"]
            + draw.beta * terms["total_correlation"]
            + self.dimension_wise_weight * terms["dimension_wise_kl"]
        )
        return loss, terms


@dataclass(frozen=True)
class FactorVAE(Objective):
    r"""FactorVAE: the ELBO, and the total correlation as estimated by a discriminator.

    :math:`D + \beta\, KL + w\, TC(q(z))`. The discriminator learns to distinguish draws of q(z) from draws of the
    product of its marginals, which are the batch's draws with each factor permuted over the samples. Its logit is then
    the log density ratio, whose mean is the term `total_correlation` in nats. The term `discriminator_loss` is its
    cross-entropy in nats per draw (log 2 if it cannot distinguish them). Model and discriminator are updated in the
    same step, each by its own Adam.

    Parameters
    ----------
    weight : float
        Weight w of the total correlation, gamma in the paper.
    hidden_dims : sequence of int
        Widths of the discriminator's hidden layers, each followed by a leaky ReLU. The paper's default has five million
        weights and costs more on a CPU than most models; (256, 256) is enough for a few factors.
    learning_rate : float
        Learning rate of the discriminator's Adam, which has the paper's betas (0.5, 0.9) and follows the model's
        schedule.

    Raises
    ------
    ValueError
        If the weight is negative, or the learning rate or a width is not positive.

    Notes
    -----
    Both kinds of draws come from one batch, as in Locatello et al.; the paper permutes the draws of a second batch.

    References
    ----------
    Kim and Mnih, Disentangling by Factorising, ICML 2018.
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations,
    ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.objectives import FactorVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> objective = FactorVAE()
    >>> arguments = model, torch.randn(20, 3), torch.Generator().manual_seed(0)
    >>> discriminator = objective.discriminator(latent_dim=2)
    >>> value, parts = objective(*arguments, discriminator=discriminator)
    >>> value.shape, sorted(parts)
    (torch.Size([]), ['discriminator_loss', 'kl', 'negative_log_likelihood',
    'total_correlation'])
    """

    weight: float = 10.0
    hidden_dims: tuple[int, ...] = (1000,) * 6
    learning_rate: float = 1e-4

    name: ClassVar[str] = "factor-vae"

    def __post_init__(self) -> None:
        # A list would make the frozen class unhashable.
        object.__setattr__(self, "hidden_dims", tuple(self.hidden_dims))
        _check_weights(weight=self.weight)
        if not min(self.learning_rate, *self.hidden_dims) > 0:
            raise ValueError(f"{self}: give a learning rate and widths > 0.")

    def discriminator(self, latent_dim: int) -> nn.Module:
        """Return a fresh discriminator, from z (B, latent_dim) to a logit (B, 1)."""
        layers: list[nn.Module] = []
        width = latent_dim
        for hidden in self.hidden_dims:
            layers += [nn.Linear(width, hidden), nn.LeakyReLU(0.2)]
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, 1))

    def discriminator_adam(self) -> dict[str, Any]:
        """Return the discriminator's learning rate and betas."""
        return {"lr": self.learning_rate, "betas": (0.5, 0.9)}

    def _loss(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        discriminator = draw.discriminator
        if discriminator is None:
            raise ValueError("factor-vae needs the discriminator that its method discriminator(latent_dim) makes.")
        # The model's gradient goes through the discriminator, but must not move it.
        fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        correlation = torch.func.functional_call(discriminator, fixed, (draw.z,)).float().mean()

        joint = draw.z.detach()
        order = torch.rand(joint.shape, generator=draw.generator, device=joint.device).argsort(0)
        logits = discriminator(torch.cat([joint, joint.gather(0, order)])).float()
        is_joint = torch.ones_like(logits)
        is_joint[len(joint) :] = 0
        own_loss = binary_cross_entropy_with_logits(logits, is_joint)

        # Add the discriminator's gradient but not its value: one backward pass serves both, which share no parameter.
        loss = draw.negative_elbo + self.weight * correlation
        loss = loss + (own_loss - own_loss.detach())
        return loss, {"total_correlation": correlation, "discriminator_loss": own_loss}


@dataclass(frozen=True)
class InfoVAE(Objective):
    r"""InfoVAE: the ELBO, and the distance of the aggregated posterior from the prior.

    :math:`D + \beta\, KL + w\, MMD^2(q(z), p(z))`. The term `discrepancy` is an unbiased estimate of the squared
    maximum mean discrepancy with the kernel :math:`\exp(-|a - b|^2 / 2H)`. It has no unit, and can be negative.

    Parameters
    ----------
    weight : float
        Weight w, in nats; beta is an argument of the call and of `vaemi.training.train`.

    Raises
    ------
    ValueError
        If the weight is negative or not finite.

    Notes
    -----
    The paper's parameters are alpha and lambda, with :math:`\beta = 1 - \alpha` and :math:`w = \alpha + \lambda - 1`.
    The KL term is the information I(X; Z) plus KL(q(z) || p(z)), and beta is what a nat of that information costs:

    ===== ==== ======================================================================
    alpha beta
    ===== ==== ======================================================================
    0     1    all of the KL term, as in a VAE, and the discrepancy
    0.5   0.5  half of it
    1     0    the MMD-VAE: information costs nothing, and no factor need switch off
    ===== ==== ======================================================================

    In `train` these are ``objective=InfoVAE(alpha + lambda_ - 1), beta=1 - alpha``. The weight of the discrepancy is w
    from the first step on; `beta_warmup` concerns beta only.

    References
    ----------
    Zhao, Song and Ermon, InfoVAE: Balancing Learning and Inference in Variational Autoencoders, AAAI 2019.
    Gretton et al., A Kernel Two-Sample Test, JMLR 2012.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.objectives import InfoVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x, generator = torch.randn(20, 3), torch.Generator().manual_seed(0)
    >>> value, parts = InfoVAE()(model, x, generator)
    >>> value.shape, sorted(parts)
    (torch.Size([]), ['discrepancy', 'kl', 'negative_log_likelihood'])
    """

    weight: float = 100.0

    name: ClassVar[str] = "info-vae"

    def __post_init__(self) -> None:
        _check_weights(weight=self.weight)

    def _loss(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        z = draw.z
        prior = torch.randn(z.shape, generator=draw.generator, device=z.device, dtype=z.dtype)
        n, n_factors = z.shape

        def similarity(a: Tensor, b: Tensor) -> Tensor:
            return (-((a[:, None] - b).square().sum(2) / (2 * n_factors))).exp()

        def among(draws: Tensor) -> Tensor:
            # Without the pairs of a draw with itself, whose similarity is 1.
            return (similarity(draws, draws).sum() - n) / (n * (n - 1))

        discrepancy = among(z) + among(prior) - 2 * similarity(z, prior).mean()
        return draw.negative_elbo + self.weight * discrepancy, {"discrepancy": discrepancy}


@dataclass(frozen=True)
class AVAE(Objective):
    r"""Autoencoding VAE: the ELBO, and a penalty on an encoder that disagrees with itself on reconstructions.

    :math:`D + \beta\, KL + C`. The reconstruction of x is encoded again, and the term `self_consistency`, C in nats per
    sample, is the KL divergence of its posterior from N(rho z', 1 - rho^2), averaged over z' ~ q(z|x), which are
    independent of the draw that was decoded. No gradient flows through the reconstruction: C trains the encoder only.

    Parameters
    ----------
    rho : float
        Correlation of the two codes, in [0, 1). The default is that of the authors' code.

    Raises
    ------
    ValueError
        If rho does not lie in [0, 1).

    References
    ----------
    Cemgil, Ghaisas, Dvijotham, Gowal and Kohli, The Autoencoding Variational Autoencoder, NeurIPS 2020. The average
    over z and the stopped gradient follow the authors' published code.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.objectives import AVAE
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x, generator = torch.randn(20, 3), torch.Generator().manual_seed(0)
    >>> value, parts = AVAE()(model, x, generator)
    >>> value.shape, sorted(parts)
    (torch.Size([]), ['kl', 'negative_log_likelihood', 'self_consistency'])
    """

    rho: float = 0.975

    name: ClassVar[str] = "avae"

    def __post_init__(self) -> None:
        if not 0 <= self.rho < 1:
            raise ValueError(f"rho is {self.rho}: give a correlation from 0 to below 1.")

    def _loss(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        again = draw.model.encode(draw.reconstruction.detach())
        consistency = self_consistency(draw.mean, draw.log_variance, *again, self.rho).sum(1).mean()
        return draw.negative_elbo + consistency, {"self_consistency": consistency}


def self_consistency(
    mean: Tensor, log_variance: Tensor, again_mean: Tensor, again_log_variance: Tensor, rho: float
) -> Tensor:
    """Return E_z KL(again || N(rho z, 1 - rho^2)) over z ~ N(mean, variance) for each sample and factor, in nats."""
    free = 1 - rho**2
    spread = again_log_variance.exp() + rho**2 * log_variance.exp() + (again_mean - rho * mean).square()
    return 0.5 * (math.log(free) - again_log_variance - 1 + spread / free)


#: Every objective by its name.
OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective for objective in (BetaVAE, BetaTCVAE, FactorVAE, InfoVAE, AVAE)
}


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} is {weight}: give a number >= 0.")
