"""Objectives of a VAE: the weighted ELBO, and four that constrain the latent factors further.

An objective is called with a model, a batch and a generator, and returns its loss and the terms of the loss. In the
formulas D is the negative log-likelihood -log p(x|z) with one draw of z ~ q(z|x), and KL is KL(q(z|x) || p(z)), both
averaged over the batch.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vaemi.information.gaussian import kl_to_prior, second_moments
from vaemi.information.joint import minibatch_log_density

if TYPE_CHECKING:
    from vaemi.models import VAE

_LOG_2_PI = math.log(2 * math.pi)
_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": lambda distance: (-distance).exp(),
    "imq": lambda distance: 1 / (1 + distance),
}


@dataclass(frozen=True)
class ObjectiveTerms:
    """Value of an objective on one batch, and its terms.

    Attributes
    ----------
    loss : Tensor, shape ()
        Minimized value, in nats per sample. Its gradient also trains the discriminator, if there is one.
    negative_log_likelihood : Tensor, shape ()
        D, in nats per sample.
    kl : Tensor, shape ()
        KL, in nats per sample.
    extra : dict of str to Tensor
        Terms that the ELBO does not have, unweighted, each of shape ().
    """

    loss: Tensor
    negative_log_likelihood: Tensor
    kl: Tensor
    extra: dict[str, Tensor]


class _Draw(NamedTuple):
    """A batch after one pass through the model, and the arguments of the objective."""

    model: VAE
    generator: torch.Generator
    mean: Tensor  # (B, H)
    log_variance: Tensor
    z: Tensor
    reconstruction: Tensor  # shape of x
    negative_log_likelihood: Tensor  # ()
    kl: Tensor
    beta: float = 1.0
    n_samples: int = 0
    discriminator: nn.Module | None = None
    share: slice | None = None

    @property
    def negative_elbo(self) -> Tensor:
        """The weighted sum D + beta KL."""
        return self.negative_log_likelihood + self.beta * self.kl


@dataclass(frozen=True)
class Objective(ABC):
    """Base class of the objectives.

    Attributes
    ----------
    name : str
        Name in `vaemi.training.train`.
    least_batch : int
        Smallest batch size.
    """

    name: ClassVar[str]
    least_batch: ClassVar[int] = 1

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
    ) -> ObjectiveTerms:
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
        ObjectiveTerms

        Raises
        ------
        ValueError
            If the batch is smaller than `least_batch` or larger than `n_samples`, or the discriminator is missing.
        """
        if len(x) < self.least_batch:
            raise ValueError(
                f"The batch holds {len(x)} sample: {self.name} compares samples, so give {self.least_batch} or more."
            )
        draw = _draw(model, x, generator, share)._replace(
            beta=beta, n_samples=len(x) if n_samples is None else n_samples, discriminator=discriminator
        )
        loss, extra = self._loss(draw)
        return ObjectiveTerms(loss, draw.negative_log_likelihood, draw.kl, extra)

    @abstractmethod
    def _loss(self, draw: _Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and the terms that the ELBO does not have."""


@dataclass(frozen=True)
class BetaVAE(Objective):
    """Weighted ELBO, D + beta KL; the negative ELBO at beta = 1.

    References
    ----------
    Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR 2017.
    """

    name: ClassVar[str] = "beta-vae"

    def _loss(self, draw: _Draw) -> tuple[Tensor, dict[str, Tensor]]:
        return draw.negative_elbo, {}


@dataclass(frozen=True)
class BetaTCVAE(Objective):
    r"""beta-TCVAE: the three parts of the KL term, each with its own weight.

    :math:`D + \alpha I(X; Z) + \beta\, TC(q(z)) + \gamma \sum_h KL(q(z_h) \| p(z_h))`, with the aggregated posterior
    q(z) estimated from the batch by `vaemi.information.joint.minibatch_log_density`. The extra terms are
    `mutual_information`, `total_correlation` and `dimension_wise_kl`, in nats. They sum exactly to the KL term, because
    E log q(z|x) and E log p(z) are computed in closed form, not at the draw. With all weights at 1 the objective is
    the negative ELBO.

    Parameters
    ----------
    mutual_information_weight : float
        Weight alpha.
    dimension_wise_weight : float
        Weight gamma; beta is an argument of the call.
    method : {"stratified", "weighted"}
        As in `minibatch_log_density`: minibatch stratified sampling or minibatch-weighted sampling. Their gradients
        differ little. The log-densities of the second are too small by about log N, with N the size of the data set:
        its total correlation can be many nats, or negative.

    Raises
    ------
    ValueError
        If a weight is negative or the method is unknown.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, NeurIPS 2018.
    """

    mutual_information_weight: float = 1.0
    dimension_wise_weight: float = 1.0
    method: str = "stratified"

    name: ClassVar[str] = "beta-tcvae"
    least_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_not_negative(self, "mutual_information_weight", "dimension_wise_weight")
        _check_choice("method", self.method, ("stratified", "weighted"))

    def _loss(self, draw: _Draw) -> tuple[Tensor, dict[str, Tensor]]:
        joint, factors = minibatch_log_density(draw.z, draw.mean, draw.log_variance, draw.n_samples, self.method)
        log_posterior = -0.5 * (_LOG_2_PI + 1 + draw.log_variance).sum(1).mean()
        log_prior = -0.5 * (_LOG_2_PI + second_moments(draw.mean, draw.log_variance)).sum(1).mean()
        log_joint, log_product = joint.mean(), factors.sum(1).mean()
        information, correlation = log_posterior - log_joint, log_joint - log_product
        dimension_wise = log_product - log_prior
        loss = (
            draw.negative_log_likelihood
            + self.mutual_information_weight * information
            + draw.beta * correlation
            + self.dimension_wise_weight * dimension_wise
        )
        return loss, {
            "mutual_information": information,
            "total_correlation": correlation,
            "dimension_wise_kl": dimension_wise,
        }


@dataclass(frozen=True)
class FactorVAE(Objective):
    r"""FactorVAE: the ELBO, and the total correlation as estimated by a discriminator.

    :math:`D + \beta\, KL + w\, TC(q(z))`. The discriminator learns to tell draws of q(z) from draws of the product of
    its marginals, which are the batch's draws with each factor permuted over the samples. Its logit is then the log
    density ratio, and the mean of the logit is the total correlation. Model and discriminator are updated in the same
    step, each by its own Adam. The extra terms are `total_correlation`, the discriminator's estimate in nats, and
    `discriminator_loss`, its cross-entropy in nats per draw (log 2 if it cannot tell them apart).

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
    """

    weight: float = 10.0
    hidden_dims: tuple[int, ...] = (1000,) * 6
    learning_rate: float = 1e-4

    name: ClassVar[str] = "factor-vae"
    least_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_not_negative(self, "weight")
        _check_positive(self, "learning_rate")
        # A list would make the frozen class unhashable.
        object.__setattr__(self, "hidden_dims", tuple(self.hidden_dims))
        if not self.hidden_dims or min(self.hidden_dims) < 1:
            raise ValueError(f"hidden_dims is {self.hidden_dims}: give one or more widths, all positive.")

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

    def _loss(self, draw: _Draw) -> tuple[Tensor, dict[str, Tensor]]:
        discriminator = draw.discriminator
        if discriminator is None:
            raise ValueError("factor-vae needs the discriminator that its method discriminator(latent_dim) makes.")
        # The model's gradient goes through the discriminator, but must not move it.
        fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        correlation = torch.func.functional_call(discriminator, fixed, (draw.z,)).float().mean()
        z = draw.z.detach()
        own_loss = discriminator_loss(discriminator, z, permuted_factors(z, draw.generator))
        loss = draw.negative_elbo + self.weight * correlation
        # Add the discriminator's gradient but not its value: one backward pass serves both, which share no parameter.
        loss = loss + (own_loss - own_loss.detach())
        return loss, {"total_correlation": correlation, "discriminator_loss": own_loss}


@dataclass(frozen=True)
class InfoVAE(Objective):
    r"""InfoVAE: the ELBO, and the distance of the aggregated posterior from the prior.

    :math:`D + \beta\, KL + w\, MMD^2(q(z), p(z))`, in the paper's notation with :math:`\beta = 1 - \alpha` and
    :math:`w = \alpha + \lambda - 1`. At beta = 0 it is the MMD-VAE, which sets no price on information. The extra
    term is `discrepancy`, the squared maximum mean discrepancy, which has no unit.

    Parameters
    ----------
    weight : float
        Weight w, in nats.
    kernel : {"rbf", "imq"}
        As in `maximum_mean_discrepancy`.
    bandwidth : float
        As in `maximum_mean_discrepancy`.

    Raises
    ------
    ValueError
        If the weight is negative, the bandwidth not positive or the kernel unknown.

    References
    ----------
    Zhao, Song and Ermon, InfoVAE: Balancing Learning and Inference in Variational Autoencoders, AAAI 2019.
    """

    weight: float = 100.0
    kernel: str = "rbf"
    bandwidth: float = 1.0

    name: ClassVar[str] = "info-vae"
    least_batch: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_not_negative(self, "weight")
        _check_positive(self, "bandwidth")
        _check_choice("kernel", self.kernel, tuple(_KERNELS))

    def _loss(self, draw: _Draw) -> tuple[Tensor, dict[str, Tensor]]:
        prior = _normal_like(draw.z, draw.generator, draw.share)
        discrepancy = maximum_mean_discrepancy(draw.z, prior, self.kernel, self.bandwidth)
        return draw.negative_elbo + self.weight * discrepancy, {"discrepancy": discrepancy}


@dataclass(frozen=True)
class AVAE(Objective):
    r"""Autoencoding VAE: the ELBO, and a penalty on an encoder that disagrees with itself on reconstructions.

    :math:`D + \beta\, KL + C`. The reconstruction of x is encoded again, and C is the KL divergence of its posterior
    from N(rho z, 1 - rho^2), averaged over z ~ q(z|x); see `self_consistency`. No gradient flows through the
    reconstruction: C trains the encoder only. The extra term is `self_consistency`, C in nats per sample.

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
    """

    rho: float = 0.975

    name: ClassVar[str] = "avae"

    def __post_init__(self) -> None:
        _check_coupling(self.rho)

    def _loss(self, draw: _Draw) -> tuple[Tensor, dict[str, Tensor]]:
        again = draw.model.encode(draw.reconstruction.detach())
        consistency = self_consistency(draw.mean, draw.log_variance, *again, self.rho).sum(1).mean()
        return draw.negative_elbo + consistency, {"self_consistency": consistency}


#: Every objective by its name.
OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective for objective in (BetaVAE, BetaTCVAE, FactorVAE, InfoVAE, AVAE)
}


def objective_named(objective: str | Objective) -> Objective:
    """Return the objective with that name and default parameters, or the given instance.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if isinstance(objective, Objective):
        return objective
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}: choose {' or '.join(OBJECTIVES)}.")
    return OBJECTIVES[objective]()


def elbo_terms(model: VAE, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return D and KL in nats per sample, and the posterior's mean and log-variance, both (B, H)."""
    draw = _draw(model, x, generator)
    return draw.negative_log_likelihood, draw.kl, (draw.mean, draw.log_variance)


def relative_seconds(
    model: VAE, x: Tensor, objectives: Mapping[str, Objective], *, repeats: int = 10, beta: float = 1.0
) -> dict[str, float]:
    """Return the time of a forward and backward pass with each objective, relative to the first objective.

    The objectives take turns, so that other load on the machine affects them equally; the result is the ratio of
    medians. On a CPU it is processor time. The model does not change.

    Parameters
    ----------
    model : VAE
    x : Tensor, shape (B, ...)
    objectives : mapping of name to Objective
    repeats : int
        Number of turns, after a first one that does not count.
    beta : float
        As in `Objective`; the time does not depend on it.

    Returns
    -------
    dict of name to float

    Raises
    ------
    ValueError
        If there are no objectives or no repeats.
    """
    if not objectives or repeats < 1:
        raise ValueError(f"There are {len(objectives)} objectives and {repeats} repeats: give one or more of each.")
    generator = torch.Generator(x.device).manual_seed(0)
    # torch.autograd.grad leaves the gradients that the parameters may hold.
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    discriminators = {name: objective.discriminator(model.latent_dim) for name, objective in objectives.items()}
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in objectives}
    for _ in range(1 + repeats):
        for name, objective in objectives.items():
            own = discriminators[name]
            trained = weights + ([] if own is None else list(own.to(x.device).parameters()))
            started = clock()
            terms = objective(model, x, generator, beta=beta, n_samples=len(x), discriminator=own)
            gradients = torch.autograd.grad(terms.loss, trained)
            float(gradients[0].sum())  # waits for a GPU
            taken[name].append(clock() - started)
    medians = {name: median(seconds[1:]) for name, seconds in taken.items()}
    first = next(iter(medians.values()))
    return {name: seconds / first for name, seconds in medians.items()}


def permuted_factors(z: Tensor, generator: torch.Generator) -> Tensor:
    """Permute each column of z, (B, H), independently, which gives draws of the product of the marginals."""
    order = torch.rand(z.shape, generator=generator, device=z.device).argsort(0)
    return z.gather(0, order)


def discriminator_loss(discriminator: nn.Module, joint: Tensor, product: Tensor) -> Tensor:
    """Return the mean cross-entropy of a discriminator between two kinds of draws, in nats per draw, shape ().

    At its minimum the logit is the log density ratio, log q(z) - log q'(z).

    Parameters
    ----------
    discriminator : Module
        From z (B, H) to a logit (B, 1), high for draws of the first kind.
    joint : Tensor, shape (B, H)
        Draws of q(z).
    product : Tensor, shape (B, H)
        Draws of q'(z), the product of the marginals.
    """
    logits = discriminator(torch.cat([joint, product])).float()
    target = torch.cat([torch.ones(len(joint), 1), torch.zeros(len(product), 1)]).to(logits)
    return binary_cross_entropy_with_logits(logits, target)


def maximum_mean_discrepancy(a: Tensor, b: Tensor, kernel: str = "rbf", bandwidth: float = 1.0) -> Tensor:
    r"""Return an unbiased estimate of the squared maximum mean discrepancy of two distributions, shape ().

    :math:`E\,k(a, a') + E\,k(b, b') - 2 E\,k(a, b)`, without the pairs of a draw with itself. It has no unit. Its
    expectation is 0 if the distributions agree, so that it can be negative.

    Parameters
    ----------
    a : Tensor, shape (A, H)
        Two or more draws.
    b : Tensor, shape (B, H)
        Two or more draws.
    kernel : {"rbf", "imq"}
        Gaussian kernel :math:`\exp(-|a - b|^2 / c)`, or the inverse multiquadratic one :math:`c / (c + |a - b|^2)`
        with heavier tails, both with :math:`c = 2 H\, bandwidth^2`. At bandwidth 1, c is the mean squared distance of
        two draws of N(0, I).
    bandwidth : float
        In units of z.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If there are fewer than two draws of a kind, their numbers of factors differ, or the kernel is unknown.

    References
    ----------
    Gretton et al., A Kernel Two-Sample Test, JMLR 2012, and for the second kernel Tolstikhin et al., Wasserstein
    Auto-Encoders, ICLR 2018.
    """
    _check_choice("kernel", kernel, tuple(_KERNELS))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}: give two or more draws of each, (A, H) and (B, H)."
        )
    scale = 2 * a.shape[1] * bandwidth**2

    def similarity(left: Tensor, right: Tensor) -> Tensor:
        return _KERNELS[kernel]((left[:, None] - right).square().sum(2) / scale)

    def among(draws: Tensor) -> Tensor:
        # The similarity of a draw to itself is 1.
        return (similarity(draws, draws).sum() - len(draws)) / (len(draws) * (len(draws) - 1))

    return among(a) + among(b) - 2 * similarity(a, b).mean()


def self_consistency(
    mean: Tensor, log_variance: Tensor, again_mean: Tensor, again_log_variance: Tensor, rho: float
) -> Tensor:
    r"""Return the disagreement of a reconstruction's code with the code it was drawn from, in nats, (B, H).

    :math:`E_z KL(q(\tilde z_h|\tilde x) \| N(\rho z_h, 1 - \rho^2))` over z ~ q(z|x), which for Gaussian posteriors
    with moments m, v and, of the reconstruction, :math:`\tilde m, \tilde v` is
    :math:`\frac12 (\log\frac{1 - \rho^2}{\tilde v} - 1 + \frac{\tilde v + \rho^2 v + (\tilde m - \rho m)^2}{1 -
    \rho^2})`. It is 0 where the first posterior is a point, v = 0, and the second N(rho m, 1 - rho^2).

    Parameters
    ----------
    mean : Tensor, shape (B, H)
        Of the posterior of x.
    log_variance : Tensor, shape (B, H)
        Of the posterior of x.
    again_mean : Tensor, shape (B, H)
        Of the posterior of the reconstruction.
    again_log_variance : Tensor, shape (B, H)
        Of the posterior of the reconstruction.
    rho : float
        Correlation, in [0, 1), that the two codes ought to have.

    Returns
    -------
    Tensor, shape (B, H)

    Raises
    ------
    ValueError
        If rho does not lie in [0, 1).

    References
    ----------
    Cemgil et al., The Autoencoding Variational Autoencoder, NeurIPS 2020.
    """
    _check_coupling(rho)
    free = 1 - rho**2
    spread = again_log_variance.exp() + rho**2 * log_variance.exp() + (again_mean - rho * mean).square()
    return 0.5 * (math.log(free) - again_log_variance - 1 + spread / free)


def _draw(model: VAE, x: Tensor, generator: torch.Generator, share: slice | None = None) -> _Draw:
    mean, log_variance = model.encode(x)
    z = mean + (0.5 * log_variance).exp() * _normal_like(mean, generator, share)
    reconstruction = model.decode(z)
    negative_log_likelihood = model.likelihood.negative_log_likelihood(x, reconstruction).mean()
    kl = kl_to_prior(mean, log_variance).sum(1).mean()
    return _Draw(model, generator, mean, log_variance, z, reconstruction, negative_log_likelihood, kl, share=share)


def _normal_like(z: Tensor, generator: torch.Generator, share: slice | None) -> Tensor:
    if share is None:
        share = slice(0, len(z), 1)
    shape = (share.stop, *z.shape[1:])
    return torch.randn(shape, generator=generator, device=z.device, dtype=z.dtype)[share]


def _check_not_negative(objective: Objective, *names: str) -> None:
    for name in names:
        if not 0 <= (value := getattr(objective, name)) < math.inf:
            raise ValueError(f"{name} of {objective.name} is {value}: give a number >= 0.")


def _check_positive(objective: Objective, *names: str) -> None:
    for name in names:
        if not 0 < (value := getattr(objective, name)) < math.inf:
            raise ValueError(f"{name} of {objective.name} is {value}: give a number > 0.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: choose {' or '.join(map(repr, choices))}.")


def _check_coupling(rho: float) -> None:
    if not 0 <= rho < 1:
        raise ValueError(f"rho is {rho}: give a correlation from 0 to below 1.")
