"""The decoder that belongs to an encoder, and what it makes of the posteriors of some inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaemi.auditing.answers import Answer
from vaemi.errors import AuditError
from vaemi.influence.effects import DecoderEffects, OutputChanges, draws
from vaemi.models import VAE


class Decoder:
    """A decoder, and the first inputs of an audit that its effects are measured on.

    Parameters
    ----------
    for_inputs : callable
        From inputs to the function that decodes codes of these inputs: decoders of some libraries need more of an
        input than its code.
    n_inputs : int
        Number of inputs to decode.
    found : bool
        True if the decoder was found in the model, not given.
    """

    def __init__(self, for_inputs: Callable[[Any], Callable[[Tensor], Any]], n_inputs: int, found: bool) -> None:
        self.for_inputs = for_inputs
        self.n_inputs = n_inputs
        self.found = found
        self.collected: list[tuple[Any, Tensor, Tensor]] = []

    def collect(self, inputs: Any, answer: Answer) -> None:
        """Keep the inputs of a batch with their posteriors while there are too few."""
        missing = self.n_inputs - sum(len(mean) for _, mean, _ in self.collected)
        if missing <= 0:
            return
        # What is not a tensor cannot be cut, so all of it is decoded.
        rows = slice(missing) if isinstance(inputs, Tensor) else slice(None)
        kept = inputs[rows] if isinstance(inputs, Tensor) else inputs
        self.collected.append((kept, answer.mean[rows].detach(), answer.log_variance[rows].detach()))

    def effects(self, source: str, progress: bool) -> DecoderEffects:
        """Return the effects of the factors, or of the channels of spatial latents, over the collected inputs."""
        inputs, means, log_variances = zip(*self.collected, strict=True)
        sizes = [len(mean) for mean in means]
        codes = (part.split(sizes) for part in draws(torch.cat(means), torch.cat(log_variances), seed=0))
        changes = OutputChanges(means[0].shape[1])
        ticks = changes.ticks(len(sizes), progress)
        for batch, z, others in zip(inputs, *codes, strict=True):
            try:
                changes.add(self.for_inputs(batch), z, others, ticks)
            except Exception as error:
                advice = "pass decode=False to leave it out" if self.found else "look at the function passed as decode"
                raise AuditError(
                    f"The decoder of {source} failed for codes of shape {tuple(z.shape)}: {type(error).__name__}: "
                    f"{' '.join(str(error).split())[:300]}; {advice}."
                ) from error
        return changes.effects()


def find_decoder(given: Any, decode: Any, n_inputs: int) -> Decoder | None:
    """Return the decoder that was given, or that of a model of a known library; None if there is none."""
    if decode is False:
        return None
    if decode is not None:
        if not callable(decode):
            raise AuditError(f"decode is a {type(decode).__name__}: pass a function of codes, or False for none.")
        return Decoder(lambda inputs: decode, n_inputs, found=False)
    for_inputs = _known_decoder(given)
    return None if for_inputs is None else Decoder(for_inputs, n_inputs, found=True)


def _known_decoder(given: Any) -> Callable[[Any], Callable[[Tensor], Any]] | None:
    owners = [given, getattr(given, "model", None), getattr(given, "__self__", None)]
    for owner in owners:
        if isinstance(owner, VAE) or is_from("diffusers", owner):
            return lambda inputs: owner.decode
    if is_from("pythae.models", given):
        return lambda inputs: given.decoder
    if is_from("scvi.model", given):
        return partial(_scvi_decoder, given.module)
    return None


def _scvi_decoder(module: Any, inputs: Any) -> Callable[[Tensor], Any]:
    """Return the decoder for a batch of scvi-tools, whose library sizes and covariates stay as they are."""
    inferred = module.inference(**module._get_inference_input(inputs))
    generative_input = module._get_generative_input(inputs, inferred)
    return lambda z: module.generative(**{**generative_input, "z": z})["px"]


def is_from(package: str, thing: Any) -> bool:
    """Recognize a model by the module of its class, so that no library is imported here."""
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in type(thing).__mro__)
