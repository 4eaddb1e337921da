"""Steps of the chapter on other libraries: the price of a smaller code, relative to what all factors save."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from vaemi.influence import sample_posterior
from vaemi.information import FactorInformation, kl_to_prior

if TYPE_CHECKING:
    from vaemi.auditing import Audit

Loss = Callable[[Tensor], Tensor]  # from codes (N, ...) to the reconstruction loss of each input (N,)


@dataclass(frozen=True)
class LossChange:
    """Change of a loss on the same held-out inputs, with standard errors over the inputs.

    Attributes
    ----------
    rise, rise_stderr : float
        Mean loss afterwards less the mean loss before.
    worth : float
        What all factors together save: mean reconstruction loss with every factor at 0, less that with all factors.
    share, share_stderr : float
        ``rise / worth``, which does not depend on the unit of the loss or on constants in it. The standard error is
        that of a ratio of two means over the same inputs (delta method).
    """

    rise: float
    rise_stderr: float
    worth: float
    share: float
    share_stderr: float

    def within(self, margin: float) -> bool:
        """Return whether the upper end of the 95 % interval of the share is below `margin`."""
        return self.share + 1.96 * self.share_stderr < margin

    def __str__(self) -> str:
        percent = round(100 * self.share, 2) + 0.0  # without the sign of -0.00
        return f"{percent:+.2f}\u00a0±\u00a0{100 * self.share_stderr:.2f}\u00a0%"


def loss_change(before: Tensor, after: Tensor, worth: Tensor) -> LossChange:
    """Compare two losses of the same inputs.

    Parameters
    ----------
    before, after : Tensor, shape (N,)
        Loss of each input, N >= 2.
    worth : Tensor, shape (N,)
        What all factors together save on each input.

    Raises
    ------
    ValueError
        If the factors save nothing.
    """
    rise, worth = (part.detach().cpu().double() for part in (after - before, worth))
    if not worth.mean() > 0:
        raise ValueError(
            f"The factors do not lower the loss (with all of them at 0 it changes by {worth.mean():.3g} on average): "
            "train longer, or lower the weight of the KL term."
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


def squared_error_of(decode: Callable[[Tensor], Tensor], target: Tensor, sigma: float = 1.0) -> Loss:
    r"""Return the loss of a Gaussian decoder in nats, :math:`\|x - \mathrm{decode}(z)\|^2 / 2 \sigma^2`.

    Parameters
    ----------
    decode : callable
        From codes (B, ...) to pictures (B, ...).
    target : Tensor, shape (N, ...)
        Inputs that the codes belong to.
    sigma : float
        Standard deviation of a pixel.
    """

    def loss(z: Tensor) -> Tensor:
        pairs = zip(z.split(500), target.split(500), strict=True)
        return torch.cat([(decode(codes) - x).square().flatten(1).sum(1) for codes, x in pairs]) / (2 * sigma**2)

    return loss


@torch.no_grad()
def pruning_change(loss: Loss, code: Tensor, kept: Tensor) -> LossChange:
    """Return the cost of setting all factors but some to 0, the mean of the prior.

    Parameters
    ----------
    loss : callable
        From codes (N, ...) to the reconstruction loss of each input (N,).
    code : Tensor, shape (N, ...)
        Posterior means, spatial latents included.
    kept : Tensor of bool
        Factors that are kept, in the shape of one input's code, as `Audit.kept`.
    """
    before = loss(code)
    return loss_change(before, loss(code * kept), loss(torch.zeros_like(code)) - before)


@torch.no_grad()
def shrinking_change(
    losses: Sequence[Loss], codes: Sequence[Sequence[Tensor]], beta: float = 1.0, seed: int = 0
) -> LossChange:
    """Return the cost of training again with fewer latents: the rise of the training objective.

    The objective of an input is the loss of one draw from its posterior plus beta times the KL term. The worth is that
    of the first model's factors, as in `pruning_change`.

    Parameters
    ----------
    losses : two callables
        Reconstruction losses of the first model and of the smaller one, in nats.
    codes : two pairs of Tensor
        Posterior means and log-variances of the same held-out inputs in both models.
    beta : float
        Weight of the KL term.
    seed : int
        Seed of the draws.
    """
    before, after = (
        loss(sample_posterior(mean, log_variance, seed))
        + beta * kl_to_prior(mean.flatten(1), log_variance.flatten(1)).sum(1)
        for loss, (mean, log_variance) in zip(losses, codes, strict=True)
    )
    mean, _ = codes[0]
    return loss_change(before, after, losses[0](torch.zeros_like(mean)) - losses[0](mean))


def pythae_loss(model: Any, batch: Tensor, done: float, beta: float) -> Tensor:
    """Return the loss of pythae's BetaVAE; the weight of the KL term grows to beta over the first half of a training.

    Parameters
    ----------
    model : pythae.models.BetaVAE
    batch : Tensor, shape (B, 1, height, width)
    done : float
        Share of the steps that is done.
    beta : float
        Weight of the KL term in the second half.
    """
    answer = model({"data": batch})
    return answer.recon_loss + min(1, 2 * done) * beta * answer.reg_loss


def maps_loss(model: Any, batch: Tensor, done: float, sigma: float) -> Tensor:
    """Return the negative ELBO of an AutoencoderKL; the weight of the KL term grows to 1 over the first half.

    Parameters
    ----------
    model : diffusers.AutoencoderKL
    batch : Tensor, shape (B, 1, height, width)
    done : float
        Share of the steps that is done.
    sigma : float
        Standard deviation of a pixel.
    """
    posterior = model.encode(batch).latent_dist
    errors = squared_error_of(lambda z: model.decode(z).sample, batch, sigma)(posterior.sample())
    return (errors + min(1, 2 * done) * posterior.kl()).mean()


@torch.no_grad()
def maps_code(model: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior means and log-variances of an AutoencoderKL, each of shape (N, channels, height, width)."""
    answers = [model.encode(part).latent_dist for part in pictures.split(500)]
    return torch.cat([one.mean for one in answers]), torch.cat([one.logvar for one in answers])


def cells_code(model: Any, cells: Any) -> tuple[Tensor, Tensor]:
    """Return the posterior means and log-variances of an SCVI model for an AnnData, each of shape (N, H)."""
    mean, variance = model.get_latent_representation(cells, return_dist=True)
    return torch.as_tensor(mean), torch.as_tensor(variance).log()


def explained_variance(
    sources: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
) -> dict[tuple[str, str], float]:
    """Return R^2 of linear regressions, fitted on every second sample and scored on the others.

    Parameters
    ----------
    sources, targets : mapping of name to array, shape (N, K)

    Returns
    -------
    dict
        R^2 by the names of target and source, averaged over the columns of the target.
    """
    return {
        (target, source): LinearRegression().fit(x[::2], y[::2]).score(x[1::2], y[1::2])
        for target, y in targets.items()
        for source, x in sources.items()
    }


def minimize(
    module: nn.Module,
    loss: Callable[[nn.Module, Tensor, float], Tensor],
    samples: Tensor,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Train a module with Adam and a one-cycle learning rate, and return the seconds that it took.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode afterwards.
    loss : callable
        Takes the module, a batch and the share of the steps that is done, from 0 to 1; returns a scalar.
    samples : Tensor, shape (N, ...)
        Batches are drawn from it with replacement.
    steps, batch_size : int
    learning_rate : float
        Highest learning rate.
    seed : int
        Decides the batches and the module's own draws. torch's global random state is restored afterwards.
    """
    started = time.monotonic()
    optimizer = torch.optim.Adam(module.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    module.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(steps):
            value = loss(module, samples[torch.randint(len(samples), (batch_size,))], step / steps)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    module.eval()
    return time.monotonic() - started


@dataclass(frozen=True)
class Neighbours:
    """How well the nearest neighbours of a cell in some latents stand for its neighbours by the planted programs.

    Attributes
    ----------
    shared : float
        Share of the neighbours that are also among the nearest by the activity of all programs.
    explained : array, shape (P,)
        R^2 of the activity of each program, predicted as the mean of the neighbours.
    """

    shared: float
    explained: np.ndarray


def neighbours(latent: np.ndarray, activity: np.ndarray, count: int = 15) -> Neighbours:
    """Compare neighbours by Euclidean distance in a latent space with those in the space of planted activities.

    Parameters
    ----------
    latent : array, shape (N, K)
        Codes of N cells in K latents.
    activity : array, shape (N, P)
        Planted activity of P programs, each of the same variance.
    count : int
        Neighbours per cell, itself not counted.

    Raises
    ------
    ValueError
        If there are no latents.
    """
    if latent.shape[1] == 0:
        raise ValueError("No latent is influential, so there are no distances between cells: train longer.")
    found, true = (
        NearestNeighbors(n_neighbors=count).fit(space).kneighbors(return_distance=False) for space in (latent, activity)
    )
    shared = np.mean([len(np.intersect1d(*pair)) for pair in zip(found, true, strict=True)]) / count
    left = (activity[found].mean(1) - activity).var(0)
    return Neighbours(float(shared), 1 - left / activity.var(0))


@dataclass(frozen=True)
class Story:
    """An audited model, and the cost of a smaller code.

    Attributes
    ----------
    library : str
        Package that the model comes from.
    models : two modules
        The model as built, and trained again with fewer latents.
    found, small : Audit
        Audits of both.
    own : FactorInformation
        Estimated from the library's own encoder, without the adapters of the audit.
    pruned, shrunk : LossChange
    """

    library: str
    models: Sequence[nn.Module]
    found: Audit
    small: Audit
    own: FactorInformation
    pruned: LossChange
    shrunk: LossChange

    @property
    def weights(self) -> list[int]:
        """Number of weights of both models."""
        return [sum(weight.numel() for weight in model.parameters()) for model in self.models]

    @property
    def agreement(self) -> float:
        """Largest difference between the audit and the library's own encoder, in nats."""
        return float((self.own.nats - self.found.information.nats).abs().max())

    def in_words(self, margin: float) -> dict[str, Any]:
        """Return what the text of the chapter writes about this story: sizes, and prices as text."""
        return {
            "given": self.found.kept.numel(),
            "kept": int(self.found.kept.sum()),
            "after_shrinking": self.small.kept.numel(),
            "recommended": self.found.latent_dim,
            "nats": [self.found.information.total, self.small.information.total],
            "weights": self.weights,
            "pruned": str(self.pruned),
            "shrunk": str(self.shrunk),
            "pruned_within": self.pruned.within(margin),
            "shrunk_within": self.shrunk.within(margin),
        }

    def values(self, name: str, margin: float) -> dict[str, Any]:
        """Return what the run's `values` hold of this story, with names that begin with its own."""
        values: dict[str, Any] = {
            "information_nats": self.found.information.nats.tolist(),
            "latents_given": self.found.kept.numel(),
            "latents_kept": int(self.found.kept.sum()),
            "latents_after_shrinking": self.small.kept.numel(),
            "latent_dim_recommended": self.found.latent_dim,
            "remarks": len(self.found.remarks),
            "weights": self.weights,
        }
        for change, of in {"pruning": self.pruned, "shrinking": self.shrunk}.items():
            values[change] = asdict(of) | {"within_margin": int(of.within(margin))}
        return {f"{name}_{key}": value for key, value in values.items()}


def agreement_table(stories: Iterable[Story]) -> pd.DataFrame:
    """Return one row per story: what the audit recommends, and how far it is from the library's own encoder."""
    return pd.DataFrame(
        {
            "library": f"{story.library} {version(story.library)}",
            "model": story.found.source,
            "the audit recommends": f"{story.found.latent_dim} of {story.found.latent_shape[0]}",
            "remarks": len(story.found.remarks),
            "largest difference (nats)": f"{story.agreement:.1e}",
        }
        for story in stories
    )


def price_table(stories: Iterable[Story], margin: float) -> pd.DataFrame:
    """Return two rows per story: the code's size and its price, pruned and trained again."""
    rows = []
    for story in stories:
        given, (before, after) = story.found.kept.numel(), story.weights
        for name, change, left, weights in (
            ("pruned", story.pruned, int(story.found.kept.sum()), "same"),
            ("shrunk", story.shrunk, story.small.kept.numel(), f"{before:,} to {after:,}"),
        ):
            within = "yes" if change.within(margin) else "no"
            rows.append((f"{story.found.source}, {name}", f"{given} to {left}", str(change), within, weights))
    return pd.DataFrame(rows, columns=["model", "numbers", "price", "within the margin", "weights"])
