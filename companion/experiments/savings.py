"""What a smaller code costs: the rise of a held-out loss, against what all factors together are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaemi.influence.decoding import sample_posterior
from vaemi.information import kl_to_prior

# Of the standard normal: the upper end of a 95 % interval.
_UPPER = 1.96


@dataclass(frozen=True)
class LossChange:
    """How a loss changes on the same held-out inputs, with standard errors over the inputs.

    Attributes
    ----------
    rise : float
        Mean of the loss afterwards less the loss before, in its own unit; below 0 if it falls.
    rise_stderr : float
    worth : float
        What all factors together save: mean loss of the reconstruction when every factor is 0, less that with them.
    share : float
        ``rise / worth``; it does not depend on the unit of the loss, nor on constants in it.
    share_stderr : float
        Of the ratio of two means over the same inputs (the delta method).
    """

    rise: float
    rise_stderr: float
    worth: float
    share: float
    share_stderr: float

    def within(self, margin: float) -> bool:
        """Whether the rise is below `margin`, a share of the worth, at the upper end of its 95 % interval."""
        return self.share + _UPPER * self.share_stderr < margin

    def __str__(self) -> str:
        percent, error = 100 * self.share, 100 * self.share_stderr
        # Two digits of the error; without one, as where nothing was removed, there is nothing to be exact about.
        decimals = min(max(1 - math.floor(math.log10(error)), 0), 6) if error > 0 else 1
        return f"{percent:+.{decimals}f}\u00a0±\u00a0{error:.{decimals}f}\u00a0%"


def loss_change(before: Tensor, after: Tensor, worth: Tensor) -> LossChange:
    """Compare two losses of the same inputs.

    Parameters
    ----------
    before, after : Tensor, shape (N,)
        Of each input, in the same unit; N is 2 or more.
    worth : Tensor, shape (N,)
        What all factors together save on each input, in that unit.

    Raises
    ------
    ValueError
        If the shapes differ, or the factors save nothing, so that there is nothing to lose.
    """
    if before.ndim != 1 or len(before) < 2 or not before.shape == after.shape == worth.shape:
        raise ValueError(
            f"The losses have shapes {tuple(before.shape)}, {tuple(after.shape)} and {tuple(worth.shape)}: give one "
            "number for each of the same two or more inputs."
        )
    rise, worth = (part.detach().cpu().double() for part in (after - before, worth))
    if not worth.mean() > 0:
        raise ValueError(
            f"The factors save nothing (with all of them at 0 the mean loss changes by {worth.mean():.3g}): train "
            "longer, or lower the weight of the KL term."
        )
    share = rise.mean() / worth.mean()
    root = len(rise) ** 0.5
    return LossChange(
        rise=float(rise.mean()),
        rise_stderr=float(rise.std() / root),
        worth=float(worth.mean()),
        share=float(share),
        share_stderr=float((rise - share * worth).std() / worth.mean() / root),
    )


def squared_error_of(
    decode: Callable[[Tensor], Tensor], target: Tensor, sigma: float = 1.0, batch_size: int = 500
) -> Callable[[Tensor], Tensor]:
    r"""The loss of a Gaussian decoder in nats, up to a constant: :math:`\|x - \mathrm{decode}(z)\|^2 / 2 \sigma^2`.

    Parameters
    ----------
    decode : callable
        From codes (B, ...) to pictures (B, ...).
    target : Tensor, shape (N, ...)
        The inputs that the codes belong to.
    sigma : float
        Standard deviation of a pixel.
    batch_size : int
        Codes that are decoded at once.

    Returns
    -------
    callable
        From codes (N, ...) to losses (N,).
    """

    def loss(z: Tensor) -> Tensor:
        pairs = zip(z.split(batch_size), target.split(batch_size), strict=True)
        return torch.cat([(decode(codes) - x).square().flatten(1).sum(1) for codes, x in pairs]) / (2 * sigma**2)

    return loss


@torch.no_grad()
def pruning_change(loss: Callable[[Tensor], Tensor], code: Tensor, kept: Tensor) -> LossChange:
    """What it costs to set all factors but some to 0, the mean of the prior.

    Parameters
    ----------
    loss : callable
        From codes to the loss of each input, (N, ...) to (N,): the decoder and the term for the reconstruction.
    code : Tensor, shape (N, ...)
        Posterior means; spatial latents as they are.
    kept : Tensor of bool
        Shape of the code of one input, as `Audit.kept`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the factors save nothing.
    """
    if kept.dtype != torch.bool or kept.shape != code.shape[1:]:
        raise ValueError(
            f"kept is {kept.dtype} of shape {tuple(kept.shape)}: give truth values of shape {tuple(code.shape[1:])}."
        )
    before, nothing = loss(code), loss(torch.zeros_like(code))
    return loss_change(before, loss(code * kept.to(code.device)), nothing - before)


@torch.no_grad()
def objectives_of_inputs(
    loss: Callable[[Tensor], Tensor], mean: Tensor, log_variance: Tensor, beta: float = 1.0, seed: int = 0
) -> Tensor:
    """What training minimizes, for each input: the loss of one draw from its posterior, and beta times the KL term.

    Parameters
    ----------
    loss : callable
        From codes to the loss of each input, in nats, (N, ...) to (N,).
    mean, log_variance : Tensor, shape (N, ...)
    beta : float
        Weight of the KL term.
    seed : int
        Of the draws.

    Returns
    -------
    Tensor, shape (N,)
    """
    kl = kl_to_prior(mean.flatten(1), log_variance.flatten(1)).sum(1)
    return loss(sample_posterior(mean, log_variance, seed)) + beta * kl


def shrinking_change(
    losses: Sequence[Callable[[Tensor], Tensor]],
    codes: Sequence[tuple[Tensor, Tensor]],
    beta: float = 1.0,
    seed: int = 0,
) -> LossChange:
    """What it costs to train again with fewer latents: the rise of the objective that both models were trained for.

    Its share is of the same worth as in `pruning_change`, what the factors of the first model save of its loss.

    Parameters
    ----------
    losses : two callables
        Of the first model and of the smaller one, from codes to the loss of each input, in nats.
    codes : two pairs of Tensor
        Posterior means and log-variances of the same held-out inputs, of the first model and of the smaller one.
    beta, seed
        As for `objectives_of_inputs`.

    Raises
    ------
    ValueError
        If the numbers of inputs differ, or the factors of the first model save nothing.
    """
    before, after = (
        objectives_of_inputs(loss, mean, log_variance, beta, seed)
        for loss, (mean, log_variance) in zip(losses, codes, strict=True)
    )
    with torch.no_grad():
        mean = codes[0][0]
        worth = losses[0](torch.zeros_like(mean)) - losses[0](mean)
    return loss_change(before, after, worth)
