"""How much each factor changes the output of a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaemi._progress import progress_bar

from .decoding import sample_posterior


@dataclass(frozen=True)
class DecoderEffects:
    """Change of a decoder's output when one factor is replaced by a draw from its aggregated posterior.

    Attributes
    ----------
    effect : Tensor, shape (H,)
        Root of the mean squared change over inputs and elements of the output, in the units of the output, float64.
        For spatial latents H is the number of channels, each replaced at all places.
    stderr : Tensor, shape (H,)
        Standard error of `effect` over the inputs.
    of_all : float
        The same when all factors are replaced by those of one other input.
    n_inputs : int
        Number of inputs decoded.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import decoder_effects
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> def decode(z):
    ...     return z.sum(1, keepdim=True)
    >>> found = decoder_effects(decode, mean, log_variance, progress=False)
    >>> found.effect.shape, found.n_inputs
    (torch.Size([2]), 500)
    """

    effect: Tensor
    stderr: Tensor
    of_all: float
    n_inputs: int

    @property
    def share(self) -> Tensor:
        """`effect` over `of_all`, shape (H,); 0 if the output never changes. The shares do not add up to 1."""
        return self.effect / self.of_all if self.of_all > 0 else torch.zeros_like(self.effect)

    @property
    def share_stderr(self) -> Tensor:
        """Standard error of `share`, that of `of_all` neglected, shape (H,)."""
        return self.stderr / self.of_all if self.of_all > 0 else torch.zeros_like(self.stderr)

    def __repr__(self) -> str:
        order = self.effect.argsort(descending=True)[:3].tolist()
        strongest = ", ".join(f"z{h}: {self.effect[h]:.3g}" for h in order)
        return (
            f"DecoderEffects({len(self.effect)} factors, {strongest}; all: {self.of_all:.3g}; {self.n_inputs} inputs)"
        )


def decoder_effects(
    decode: Callable[[Tensor], Any],
    mean: Tensor,
    log_variance: Tensor,
    *,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> DecoderEffects:
    r"""Measure how much each factor changes the output of a decoder.

    For :math:`z \sim q(z|x)` and z' equal to z but for :math:`z'_h \sim q(z_h)`, the effect of factor h is the root
    mean square of decode(z') - decode(z). A draw from the aggregated posterior :math:`q(z_h)` is that of another input.

    Parameters
    ----------
    decode : callable
        From codes (B, H), or (B, channels, ...), to outputs (B, ...), a torch distribution, of which the mean is taken,
        or an object with `sample` or `reconstruction`.
    mean, log_variance : Tensor, shape (N, H) or (N, channels, ...)
        Posteriors of the inputs to decode, N >= 2. Takes N (H + 2) decodings.
    batch_size : int
        Codes that are decoded at a time.
    seed : int
        Of the draws.
    progress : bool
        Show a progress bar, if tqdm is installed.

    Returns
    -------
    DecoderEffects

    Raises
    ------
    ValueError
        If there are fewer than two inputs, or the outputs are not one for each code.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import decoder_effects
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> def decode(z):
    ...     return z[:, :1]  # uses the first factor only
    >>> found = decoder_effects(decode, mean, log_variance, progress=False)
    >>> found.share.tolist()
    [1.0, 0.0]
    """
    if len(mean) < 2:
        raise ValueError("mean holds one input: an effect needs two or more.")
    z, others = draws(mean, log_variance, seed)
    changes = OutputChanges(mean.shape[1])
    parts = list(zip(z.split(batch_size), others.split(batch_size), strict=True))
    ticks = changes.ticks(len(parts), progress)
    for part, other in parts:
        changes.add(decode, part, other, ticks)
    return changes.effects()


def draws(mean: Tensor, log_variance: Tensor, seed: int, scale_tril: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return a draw z ~ q(z|x) for each input, and one of another input.

    `scale_tril`, shape (N, H, H), is the Cholesky factor of the covariance if factors are correlated.
    """
    if scale_tril is None:
        z = sample_posterior(mean.cpu(), log_variance.cpu(), seed).to(mean.device)
    else:
        noise = sample_posterior(torch.zeros(mean.shape), torch.zeros(mean.shape), seed).to(mean)
        z = mean + (scale_tril @ noise[..., None])[..., 0]
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed + 1))
    others = torch.empty_like(z)
    others[order] = z[order.roll(1)]
    return z, others


class OutputChanges:
    """Sums of the squared changes of the output, over batches of codes."""

    def __init__(self, n_factors: int) -> None:
        self.sums = torch.zeros(2, n_factors, dtype=torch.float64)
        self.sum_of_all, self.n = 0.0, 0

    def ticks(self, n_batches: int, progress: bool) -> Iterator[int]:
        """Return an iterator that moves a progress bar by one for each factor of each batch."""
        total = range(n_batches * self.sums.shape[1])
        return iter(progress_bar(total, desc="decoding", unit="factor", disable=not progress))

    @torch.no_grad()
    def add(self, decode: Callable[[Tensor], Any], z: Tensor, others: Tensor, ticks: Iterator[int]) -> None:
        """Replace each factor of the codes z by that of `others`, both (B, H) or (B, channels, ...)."""
        before = output_of(decode(z))
        if len(before) != len(z):
            raise ValueError(
                f"decode returned {len(before)} outputs for {len(z)} codes: the first axis must count them."
            )

        def change(codes: Tensor) -> Tensor:
            return (output_of(decode(codes)) - before).flatten(1).square().double().mean(1).cpu()

        for factor, _ in zip(range(z.shape[1]), ticks, strict=False):
            codes = z.clone()
            codes[:, factor] = others[:, factor]
            squares = change(codes)
            self.sums[:, factor] += torch.stack([squares.sum(), squares.square().sum()])
        self.sum_of_all += float(change(others).sum())
        self.n += len(z)

    def effects(self) -> DecoderEffects:
        """Return the effects of the batches so far."""
        mean, mean_square = self.sums / self.n
        effect = mean.sqrt()
        deviation = ((mean_square - mean.square()).clamp_min(0) / (self.n - 1)).sqrt()
        stderr = torch.where(effect > 0, deviation / (2 * effect), 0.0)
        return DecoderEffects(effect, stderr, (self.sum_of_all / self.n) ** 0.5, self.n)


def output_of(decoded: Any) -> Tensor:
    """Return the tensor in what a decoder returns: itself, the mean of a distribution, or a named part."""
    if isinstance(decoded, torch.distributions.Distribution):
        return decoded.mean
    for name in ("sample", "reconstruction"):
        if isinstance(part := getattr(decoded, name, None), Tensor):
            return part
    if isinstance(decoded, tuple | list):
        return output_of(decoded[0])
    if isinstance(decoded, Tensor):
        return decoded
    raise ValueError(
        f"decode returned a {type(decoded).__name__}: return a tensor of outputs, or a distribution with a mean."
    )
