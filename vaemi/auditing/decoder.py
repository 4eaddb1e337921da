"""The decoder that belongs to an encoder, and what it makes of the posteriors of some inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaemi.auditing.families import is_from
from vaemi.auditing.single_cell import scvi_decoder
from vaemi.errors import AuditError
from vaemi.influence.effects import DecoderEffects, OutputChanges, draws
from vaemi.information.answers import Answer
from vaemi.models import VAE


class Decoder:
    """A decoder, and the first inputs of an audit that its effects are measured on.

    Parameters
    ----------
    decode : callable
        From codes to outputs.
    n_inputs : int
        Number of inputs to decode.
    found : bool
        True if the decoder was found in the model, not given.
    of_inputs : bool
        True if `decode` takes inputs and returns the function that decodes their codes: the decoders of scvi-tools need
        more of an input than its code. Batches of inputs are then decoded as a whole.
    channel_axis : int
        Axis of the codes that counts the channels.
    """

    def __init__(
        self,
        decode: Callable[[Any], Any],
        n_inputs: int,
        found: bool,
        of_inputs: bool = False,
        channel_axis: int = 1,
    ) -> None:
        self.decode = decode
        self.n_inputs = n_inputs
        self.found = found
        self.of_inputs = of_inputs
        self.channel_axis = channel_axis
        self.collected: list[tuple[Any, Tensor, Tensor]] = []
        self.scale_tril: list[Tensor] = []

    def collect(self, inputs: Any, answer: Answer) -> None:
        """Keep the inputs of a batch with their posteriors while there are too few."""
        missing = self.n_inputs - sum(len(mean) for _, mean, _ in self.collected)
        if missing <= 0:
            return
        rows = slice(None) if self.of_inputs else slice(missing)
        kept = inputs if self.of_inputs else None
        self.collected.append((kept, answer.mean[rows].detach(), answer.log_variance[rows].detach()))
        if answer.scale_tril is not None:
            self.scale_tril.append(answer.scale_tril[rows].detach())

    def effects(self, source: str, progress: bool) -> DecoderEffects:
        """Return the effects of the factors, or of the channels of spatial latents, over the collected inputs."""
        inputs, means, log_variances = zip(*self.collected, strict=True)
        sizes = [len(mean) for mean in means]
        scale_tril = torch.cat(self.scale_tril) if self.scale_tril else None
        drawn = draws(torch.cat(means), torch.cat(log_variances), seed=0, scale_tril=scale_tril)
        codes = (part.split(sizes) for part in drawn)
        changes = OutputChanges(means[0].shape[1])
        ticks = changes.ticks(len(sizes), progress)
        for batch, z, others in zip(inputs, *codes, strict=True):
            try:
                decode = self.decode(batch) if self.of_inputs else self.decode
                changes.add(partial(self._decoded, decode), z, others, ticks)
            except Exception as error:
                advice = "pass decode=False to leave it out" if self.found else "look at the function passed as decode"
                raise AuditError(
                    f"The decoder of {source} failed for codes of shape {tuple(z.shape)}: {type(error).__name__}: "
                    f"{' '.join(str(error).split())[:300]}; {advice}."
                ) from error
        return changes.effects()

    def _decoded(self, decode: Callable[[Tensor], Any], codes: Tensor) -> Any:
        return decode(codes.movedim(1, self.channel_axis))


def find_decoder(given: Any, decode: Any, n_inputs: int, channel_axis: int = 1) -> Decoder | None:
    """Return the decoder that was given, or that of a model of a known library; None if there is none."""
    if decode is False:
        return None
    if decode is not None:
        if not callable(decode):
            raise AuditError(f"decode is a {type(decode).__name__}: pass a function of codes, or False for none.")
        return Decoder(decode, n_inputs, found=False, channel_axis=channel_axis)
    owners: tuple[Any, ...] = (given, getattr(given, "model", None), getattr(given, "__self__", None))
    for owner in owners:
        if isinstance(owner, VAE) or is_from("diffusers", owner):
            return Decoder(owner.decode, n_inputs, found=True)
    if is_from("pythae.models", given):
        return Decoder(given.decoder, n_inputs, found=True)
    if is_from("scvi.model", given):
        return Decoder(partial(scvi_decoder, given.module), n_inputs, found=True, of_inputs=True)
    return None
