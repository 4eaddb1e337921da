"""Audit encoders whose latents are classes, alone or beside Gaussian factors, or entries of a codebook."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, RelaxedBernoulli, RelaxedOneHotCategorical

from vaemi._progress import progress_bar
from vaemi.auditing.encoder import _batches, _Encoder, _in_eval_mode, unwrapped
from vaemi.auditing.families import has_codebook, n_codebook_entries, quantized
from vaemi.auditing.posteriors import class_probabilities
from vaemi.errors import AuditError, import_extra
from vaemi.information import (
    CodebookUsage,
    FactorInformation,
    codebook_usage,
    discrete_information,
    factor_information,
)
from vaemi.information.answers import DISCRETE, without_independent
from vaemi.information.words import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CodeAudit:
    """What the latents of an encoder with discrete or mixed codes carry.

    Attributes
    ----------
    information : FactorInformation
        Exact information of every latent, or of the code at every place, in the order of `latents`.
    latents : list of str
        What each latent is, such as ``"Gaussian"``, ``"10 classes"`` or ``"place 0, 3"``.
    threshold : float
        Nats above which a latent counts as influential.
    codebook : CodebookUsage, optional
        Use of the codebook, if codes are entries of one.
    remarks : list of str
        One entry for each thing to know before the numbers are used.
    source : str
        Name of the encoder.
    seconds : float
        Duration.

    Examples
    --------
    >>> import torch, vaemi
    >>> def encode(x):
    ...     return torch.distributions.Categorical(torch.eye(4)[x] * 0.8 + 0.05)
    >>> x = torch.arange(1000) % 4
    >>> found = vaemi.auditing.audit_codes(encode, x, progress=False)
    >>> found.influential.tolist()
    [0]
    """

    information: FactorInformation
    latents: list[str]
    threshold: float = 0.1
    codebook: CodebookUsage | None = None
    remarks: list[str] = field(default_factory=list)
    source: str = ""
    seconds: float = 0.0

    @property
    def influential(self) -> Tensor:
        """Indices of the latents above the threshold, most informative first."""
        return self.information.influential(self.threshold)

    @property
    def summary(self) -> str:
        """The result in one or two sentences."""
        kind = f"of {len(self.latents)} {'places' if self.codebook else 'latents'}"
        found = (
            f"{counted(len(self.influential), f'{kind} carries', f'{kind} carry')} more than {self.threshold:g} nats, "
            f"from {self.information.n_samples:,} inputs, "
            f"{self.information.total:.2f} nats in sum."
        )
        if self.codebook is None:
            return found
        low, high = self.codebook.interval()
        used = len(self.codebook.counts) - len(self.codebook.dead)
        return (
            f"{found} {used} of {len(self.codebook.counts)} entries of the codebook are used; their entropy is "
            f"{self.codebook.entropy:.2f} nats (95 % interval {low:.2f} to {high:.2f}), perplexity "
            f"{self.codebook.perplexity:.1f}."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per latent, the most informative first: `FactorInformation.to_frame` and ``latent``."""
        import_extra("pandas", "audit")
        frame = self.information.to_frame()
        frame.insert(1, "latent", [self.latents[h] for h in frame["factor"]])
        return frame

    def __str__(self) -> str:
        return "\n".join([self.summary, *(f"Remark: {remark}" for remark in self.remarks)])


def audit_codes(
    encode: Any,
    batches: Any,
    *,
    n_entries: int | None = None,
    threshold: float = 0.1,
    whole_batch: bool = False,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> CodeAudit:
    """Measure what the latents of an encoder with discrete, mixed or vector-quantized codes carry.

    Keeps the probabilities, or the codes, of all inputs in memory.

    Parameters
    ----------
    encode : callable or model
        As in `vaemi.audit`, but the answer is a torch `Bernoulli`, `Categorical`, `OneHotCategorical` or the relaxed
        kind of one, of batch shape (B, ...), or `Independent`; a list of these and of `Normal` for mixed codes; a
        dictionary with ``cont``, a pair (mean, log-variance) of shape (B, H), and ``disc``, a list of probabilities
        (B, K), as in JointVAE; or integers, numbers of entries of a codebook, (B, ...). pythae's `VQVAE` and diffusers'
        `VQModel` are read as they are.
    batches, whole_batch, batch_size, device, progress
        As in `vaemi.audit`.
    n_entries : int, optional
        Size of the codebook, needed if `encode` returns integers.
    threshold : float
        Nats above which a latent counts as influential.

    Returns
    -------
    CodeAudit

    Raises
    ------
    AuditError
        If there are fewer than two inputs, `encode` fails, or its answer cannot be read.

    Examples
    --------
    >>> import torch, vaemi
    >>> x = torch.arange(1000) % 4
    >>> def encode(x):
    ...     return torch.distributions.Categorical(torch.eye(4)[x] * 0.8 + 0.05)
    >>> found = vaemi.auditing.audit_codes(encode, x, progress=False)
    >>> round(found.information.total, 3), found.latents
    (0.799, ['4 classes'])
    """
    started = time.monotonic()
    encode = unwrapped(encode)
    encoder = _Encoder(encode, None, whole_batch, device)
    parts: list[list[tuple[str, Tensor]]] = []
    remarks: list[str] = []
    if has_codebook(encode):
        n_entries = n_codebook_entries(encode)
        encoder.function = lambda inputs: quantized(encode, inputs)
    bar = progress_bar(_batches(encode, batches, batch_size), desc="audit", unit="batch", disable=not progress)
    with _in_eval_mode(encoder.module), torch.no_grad():
        for number, batch in enumerate(bar, 1):
            output = encoder.output(encoder.inputs(batch), number)
            parts.append([(kind, part.detach().cpu()) for kind, part in _read(output, encoder.name)])
            if [kind for kind, _ in parts[-1]] != [kind for kind, _ in parts[0]]:
                raise AuditError(f"{encoder.name} returned other latents in batch {number} than in the batches before.")
            if number == 1 and _is_relaxed(output):
                remarks.append(
                    "The latents are relaxed: these are the nats of their classes, a lower bound on those of the "
                    "relaxed code that is decoded; vaemi.information.density_information measures the latter."
                )
    if sum(len(part[0][1]) for part in parts) < 2:
        raise AuditError("There are fewer than two inputs: information about the input needs two or more.")
    kinds = [kind for kind, _ in parts[0]]
    columns = [torch.cat([part[h][1] for part in parts]) for h in range(len(kinds))]
    try:
        if kinds == ["entries"]:
            usage = _usage(columns[0], n_entries)
            names = [f"place {', '.join(map(str, place))}" for place in _places(usage.shape)]
            information: FactorInformation = usage.information
        else:
            usage, names, information = None, *_mixed(kinds, columns)
    except ValueError as error:
        raise AuditError(f"{encoder.name}: {error}") from None
    return CodeAudit(information, names, threshold, usage, remarks, encoder.name, time.monotonic() - started)


def _read(output: Any, encoder: str) -> list[tuple[str, Tensor]]:
    """Return the kind of each latent of a batch with its numbers: probabilities, (mean, log-variance) or entries."""
    output = without_independent(output)
    if isinstance(output, Normal):
        both = torch.stack([output.loc, 2 * output.scale.log()], -1)
        return [("Gaussian", latent) for latent in both.reshape(len(both), -1, 2).unbind(1)]
    if isinstance(output, DISCRETE):
        return [(f"{latent.shape[1]} classes", latent) for latent in class_probabilities(output)]
    if isinstance(output, Mapping) and ("disc" in output or "cont" in output):
        latents = [(f"{latent.shape[1]} classes", latent) for latent in output.get("disc", [])]
        if "cont" in output:
            latents = [*_read(Normal(output["cont"][0], (0.5 * output["cont"][1]).exp()), encoder), *latents]
        return latents
    if isinstance(output, tuple | list) and output and all(isinstance(part, Distribution) for part in output):
        return [latent for part in output for latent in _read(part, encoder)]
    if isinstance(output, Tensor) and not output.is_floating_point():
        return [("entries", output)]
    raise AuditError(
        f"{encoder} returns a {type(output).__name__}: return a Bernoulli, Categorical or OneHotCategorical of torch, "
        "a list of these and Normal, a dictionary with cont and disc, or integers, the entries of a codebook."
    )


def _is_relaxed(output: Any) -> bool:
    """Tell whether a latent is relaxed, as in JointVAE."""
    if isinstance(output, Mapping):
        return "disc" in output
    if isinstance(output, tuple | list):
        return any(map(_is_relaxed, output))
    return isinstance(without_independent(output), RelaxedBernoulli | RelaxedOneHotCategorical)


def _usage(codes: Tensor, n_entries: int | None) -> CodebookUsage:
    if n_entries is None:
        raise ValueError("codes are integers: pass n_entries, the size of the codebook.")
    return codebook_usage(codes, n_entries)


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(place) for place in torch.ones(shape).nonzero().tolist()]


def _mixed(kinds: list[str], columns: list[Tensor]) -> tuple[list[str], FactorInformation]:
    """Return names and information of latents that are Gaussian or discrete, in their order."""
    gaussian = [h for h, kind in enumerate(kinds) if kind == "Gaussian"]
    discrete = [h for h, kind in enumerate(kinds) if kind != "Gaussian"]
    parts = []
    if gaussian:
        mean, log_variance = torch.stack([columns[h] for h in gaussian], 1).unbind(-1)
        parts.append(factor_information(mean, log_variance))
    if discrete:
        parts.append(discrete_information([columns[h] for h in discrete]))
    order = torch.tensor([*gaussian, *discrete]).argsort()

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])[order]

    return kinds, FactorInformation(
        nats=joined("nats"),
        stderr=joined("stderr"),
        marginal_std=joined("marginal_std"),
        n_samples=parts[0].n_samples,
        method=" and ".join(part.method for part in parts),
        leave_one_out=joined("leave_one_out"),
    )
