"""Models of known libraries that decode other codes than draws of Gaussians: refused, or read by `audit_codes`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaemi.errors import AuditError
from vaemi.information.answers import read_answer

_PASS_DRAWS = "pass them to vaemi.information.draws_information"
_FLOW = "passes the draws of its encoder through a normalizing flow before it decodes them"
_STEPS = "moves the draws of its encoder by Hamiltonian steps before it decodes them"
# Models of pythae whose decoder does not get a draw from the Gaussian that the encoder answers.
_NOT_DECODED = {
    "VAE_IAF": _FLOW,
    "VAE_LinNF": _FLOW,
    "HVAE": _STEPS,
    "RHVAE": _STEPS,
    "SVAE": "draws its codes from von Mises-Fisher distributions on a sphere",
    "PoincareVAE": "draws its codes on a Poincaré ball, not in flat space",
}
# Inputs that the check of the decoded codes needs, and its limit in standard errors.
_LEAST_CHECKED, _LIMIT = 32, 8.0


def is_from(package: str, thing: Any) -> bool:
    """Recognize an object by the module of its class, so that no library is imported here."""
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in type(thing).__mro__)


def refuse_other_codes(given: Any, noise: float | None) -> None:
    """Raise an AuditError if a model of a known library decodes other codes than draws of its encoder's Gaussians."""
    name = type(given).__name__
    if has_codebook(given):
        raise AuditError(f"{name} has vector-quantized codes, not Gaussian ones: use vaemi.auditing.audit_codes.")
    if not is_from("pythae.models", given):
        return
    for base in type(given).__mro__:
        if base.__name__ in _NOT_DECODED:
            raise AuditError(
                f"{name} {_NOT_DECODED[base.__name__]}: the Gaussians of its encoder are not what is decoded. Draw "
                f"decoded codes several times per input, as model({{'data': x}}).z, and {_PASS_DRAWS}."
            )
    if getattr(given, "deterministic_posterior", False) and noise is None:
        raise AuditError(
            f"{name} with deterministic_posterior decodes the mean without noise, which carries infinite information: "
            "pass noise=, a standard deviation in units of the code."
        )


def check_decoded(given: Any, function: Any, inputs: Any) -> None:
    """Raise an AuditError if the codes that a model decodes are not draws from the Gaussians of its encoder.

    The decoded codes, less the mean and over the standard deviation, must have mean 0 and mean square 1. Models of
    pythae and scvi-tools return the codes that they decode.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        mean, std, z = _decoded(given, function, inputs)
    if len(z) < _LEAST_CHECKED:
        return
    if mean.shape == z.shape:
        standard = ((z - mean) / std).detach().double().flatten(1)
        squares = standard.square().mean(0)
        n = len(z)
        off = torch.maximum((squares - 1).abs() * math.sqrt(n / 2), standard.mean(0).abs() * math.sqrt(n))
        if bool((off < _LIMIT).all()):
            return
        h = int(off.nan_to_num(math.inf).argmax())
        found = (
            f"less the mean and over the standard deviation, those of z{h} have a mean of {standard[:, h].mean():.2g} "
            f"and a mean square of {squares[h]:.2g} over {n} inputs, where draws have 0 and 1"
        )
    else:
        found = f"their shape is {tuple(z.shape)}, and that of the Gaussians {tuple(mean.shape)}"
    raise AuditError(
        f"{type(given).__name__} does not decode draws of its encoder's Gaussians: {found}. Draw decoded "
        f"codes several times per input, and {_PASS_DRAWS}."
    )


def returns_decoded(given: Any) -> bool:
    """Tell whether a model returns the codes that it decodes, so that `check_decoded` can be applied."""
    return is_from("pythae.models", given) or is_from("scvi.model", given)


def _decoded(given: Any, function: Any, inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and standard deviation of the encoder, and the decoded codes, all of the same inputs."""
    if is_from("scvi.model", given):
        output = function(inputs)
        answer = read_answer(output)
        return answer.mean, (0.5 * answer.log_variance).exp(), output["z"]
    answers: list[Any] = []
    handle = given.encoder.register_forward_hook(lambda module, args, answer: answers.append(answer))
    try:
        output = given(inputs if isinstance(inputs, Mapping) else {"data": inputs})
    except Exception as error:
        raise AuditError(
            f"{type(given).__name__} failed to reconstruct the first batch: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}. Pass a function that returns its posteriors, such as model.encoder."
        ) from error
    finally:
        handle.remove()
    return answers[0].embedding, (0.5 * answers[0].log_covariance).exp(), output.z


def has_codebook(given: Any) -> bool:
    """Recognize pythae's VQVAE and diffusers' VQModel, or classes derived from them."""
    names = {base.__name__ for base in type(given).__mro__}
    return (is_from("pythae.models", given) and "VQVAE" in names) or (
        is_from("diffusers", given) and "VQModel" in names
    )


def quantized(model: Any, inputs: Any) -> Tensor:
    """Return the numbers of the entries that a model with a codebook uses, shape (B, ...)."""
    if is_from("pythae.models", model):
        return model(inputs if isinstance(inputs, Mapping) else {"data": inputs}).quantized_indices.squeeze(1)
    latents = model.encode(inputs).latents
    return model.quantize(latents)[2][2].reshape(len(latents), *latents.shape[2:])


def n_codebook_entries(model: Any) -> int:
    """Return the size of the codebook of a model of `has_codebook`."""
    return int(model.quantizer.num_embeddings if is_from("pythae.models", model) else model.quantize.re_embed)
