"""Audit a function, module or model of another library: encode batches, add up posteriors, look for known mistakes.

The module is not named after its function `audit`, since importing it would then hide the function in the package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaemi._progress import progress_bar
from vaemi.auditing.answers import SCALES, Answer, check_answer, read_answer
from vaemi.auditing.decoder import find_decoder
from vaemi.auditing.families import check_decoded, refuse_other_codes, returns_decoded
from vaemi.auditing.posteriors import read_other_posterior
from vaemi.auditing.result import Audit
from vaemi.auditing.single_cell import is_from, scvi_batches, scvi_encoder
from vaemi.auditing.sums import Sums
from vaemi.errors import AuditError
from vaemi.models import VAE, as_float


def audit(
    encode: Any,
    batches: Any,
    *,
    scale: str | None = None,
    threshold: float = 0.1,
    whole_batch: bool = False,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    decode: Any = None,
    decoded_inputs: int = 100,
    noise: float | None = None,
    progress: bool = True,
) -> Audit:
    """Measure which latent factors of any VAE matter, from its encoder and some (held-out) inputs.

    Makes one pass over the batches, in memory that does not grow with their number. The first batch is encoded up to
    three times, to see whether the answers are the same. With a decoder, measures also how much each factor changes
    the output.

    Parameters
    ----------
    encode : callable or model
        A function of a batch, a torch module or Lightning module with `encode` (or `model.encode`), an encoder network,
        a model of pythae, diffusers' `AutoencoderKL`, or a model of scvi-tools or DRVI. It returns a pair
        (mean, second), see `scale`; a `torch.distributions.Normal`, or an `Independent` of one; a `MultivariateNormal`
        or `LowRankMultivariateNormal`, read by its marginals; or a dictionary or object in which the parts have one of
        the usual names (mean, mu, loc, embedding; log_variance, logvar, log_covariance, std, scale, variance; qz or
        latent_dist for a distribution). Discrete and quantized codes are for `audit_codes`. Shapes are (B, H), or
        (B, channels, ...) for spatial latents. A module is put into eval mode and back afterwards; modules that a
        function calls are left as they are.
    batches : iterable, DataLoader, Dataset, tensor or array
        Inputs in batches; a tensor, an array or a Dataset is cut into batches. For scvi-tools also an AnnData or
        a MuData.
    scale : {"log_variance", "variance", "std", "log_std"}, optional
        What the second of a pair is; ``"log_variance"`` if left out. Answers with names need none; if given, it
        overrides the names.
    threshold : float
        Nats above which a factor counts as influential.
    whole_batch : bool
        Pass a batch that is a tuple or list as it is, instead of its first element (the inputs of (inputs, labels)).
    batch_size : int
        Inputs per batch where `batches` has to be cut.
    device : torch.device or str, optional
        Where inputs are moved to; by default where the module's weights are.
    decode : callable or False, optional
        A function from codes (B, H), or (B, channels, ...), to outputs (B, ...) or a torch distribution. Left out, the
        decoder of a model of this package, pythae, diffusers or scvi-tools is used; False uses none.
    decoded_inputs : int
        Number of inputs, the first ones, for which every factor is replaced and decoded.
    noise : float, optional
        For encoders without noise, whose continuous codes carry infinite information: measure that of the code plus
        N(0, noise^2), with `noise` in units of the code. `encode` may then return the code alone.
    progress : bool
        Show progress bars on standard error, if tqdm is installed.

    Returns
    -------
    Audit
        Its `remarks` name what may have made the numbers wrong; its `notes` name factors on which the criteria differ.

    Raises
    ------
    AuditError
        If there is nothing to encode, `encode` fails, or its answer cannot be read or is not finite (the message has
        the number of the batch, from 1).

    Notes
    -----
    A factor can be stretched, and the decoder's first weights shrunk to match, without changing the reconstruction. In
    a trained model the KL term is stationary under this, which it is only where sigma*_h^2 = E[mu_h^2 + sigma_h^2] = 1,
    whatever beta is. The reading of the second output for which most factors have sigma* near 1 is the right one, if
    the prior is N(0, I).

    Examples
    --------
    >>> import torch, vaemi
    >>> x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    >>> def encode(x):
    ...     return torch.stack([0.6 * x[:, 0], 0 * x[:, 1]], 1), torch.tensor([0.64, 1.0]).log().expand(len(x), 2)
    >>> found = vaemi.audit(encode, x, progress=False)
    >>> found.latent_dim, found.remarks
    (1, [])
    """
    started = time.monotonic()
    if decoded_inputs < 2:
        raise AuditError(f"decoded_inputs is {decoded_inputs}: give 2 or more, or decode=False.")
    if scale is not None and scale not in SCALES:
        raise AuditError(f"scale is {scale!r}: choose one of {', '.join(map(repr, SCALES))}.")
    if noise is not None and not noise > 0:
        raise AuditError(f"noise is {noise}: give a standard deviation greater than 0, in units of the code.")
    refuse_other_codes(encode, noise)
    encoder = _Encoder(encode, scale, whole_batch, device, noise)
    decoder = find_decoder(encode, decode, decoded_inputs)
    sums: Sums | None = None
    remarks: list[str] = []
    number = 0
    bar = progress_bar(_batches(encode, batches, batch_size), desc="audit", unit="batch", disable=not progress)
    with _in_eval_mode(encoder.module, decode), torch.no_grad():
        for number, batch in enumerate(bar, 1):
            inputs = encoder.inputs(batch)
            answer = encoder(inputs, number)
            if sums is None:
                if noise is None and returns_decoded(encode):
                    check_decoded(encode, encoder.function, inputs)
                sums = Sums(tuple(answer.mean.shape[1:]), answer.scale, answer.named, noise)
                remarks = _remarks_on_repetition(encoder, inputs, answer)
            sums.update(answer, f"Batch {number}")
            if decoder:
                decoder.collect(inputs, answer)
        if sums is None or sums.criteria.n_samples < 2:
            raise AuditError(
                "There are fewer than two inputs: information about the input needs two or more, better thousands. An "
                "iterator that is used up has none."
            )
        effects = decoder.effects(encoder.name, progress) if decoder else None
    return sums.audit(remarks, threshold, number, time.monotonic() - started, encoder.name, effects)


class _Encoder:
    """Whatever was passed as `encode`, as a function from inputs to an `Answer`."""

    def __init__(
        self,
        given: Any,
        scale: str | None,
        whole_batch: bool,
        device: torch.device | str | None,
        noise: float | None = None,
    ) -> None:
        self.scale = scale
        self.noise = noise
        self.whole_batch = whole_batch
        self.function, self.module = _function_and_module(given)
        self.name = getattr(given, "__qualname__", type(given).__name__).rsplit("<locals>.", 1)[-1]
        weights = next(self.module.parameters(), None)
        self.device = device if device is not None or weights is None else weights.device
        self.dtype = None if weights is None else weights.dtype

    def output(self, inputs: Any, number: int) -> Any:
        """Return what the encoder answers, or raise an AuditError with the number of the batch."""
        try:
            return self.function(inputs)
        except Exception as error:
            shape = f" of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else ""
            raise AuditError(
                f"{self.name} failed in batch {number}{shape}: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error

    def __call__(self, inputs: Any, number: int) -> Answer:
        output = self.output(inputs, number)
        if other := read_other_posterior(output, self.name, self.noise):
            answer = Answer(other.mean, other.std, "std", named=True, scale_tril=other.scale_tril)
        else:
            answer = read_answer(output, self.scale, self.name)
        check_answer(answer, f"{self.name} returned in batch {number}")
        if isinstance(inputs, Tensor) and len(inputs) != len(answer.mean):
            raise AuditError(
                f"{self.name} returned in batch {number} {len(answer.mean)} posteriors for {len(inputs)} inputs: the "
                "first axis must count the inputs."
            )
        return answer

    def inputs(self, batch: Any) -> Any:
        """Return what the function gets for a batch: the inputs, on the device and in the type of the weights."""
        if isinstance(batch, tuple | list):
            return tuple(map(self._moved, batch)) if self.whole_batch else self._moved(batch[0])
        return self._moved(batch)

    def _moved(self, batch: Any) -> Any:
        if isinstance(batch, Mapping):
            return {key: self._moved(value) for key, value in batch.items()}
        if not isinstance(batch, Tensor | np.ndarray):
            return batch
        batch = torch.as_tensor(batch)
        if isinstance(self.module, VAE):
            batch = as_float(batch)
        return batch.to(self.device, self.dtype if batch.is_floating_point() else None)


@contextmanager
def _in_eval_mode(*modules: Any) -> Iterator[None]:
    """Put those that are modules into eval mode, and each of their parts back afterwards."""
    chosen = [module for module in modules if isinstance(module, nn.Module)]
    parts = [(part, part.training) for module in chosen for part in module.modules()]
    for module in chosen:
        module.eval()
    try:
        yield
    finally:
        for part, training in parts:
            part.training = training


def _remarks_on_repetition(encoder: _Encoder, inputs: Any, first: Answer) -> list[str]:
    """Return a warning if the answer to the same inputs changes, or depends on their neighbours in the batch."""
    if (off := _difference(first, encoder(inputs, 1))) > 1e-3:
        return [
            f"The same batch encoded twice gives different answers (off by {off:.2g} of the outputs' standard "
            "deviation): dropout is in training mode (call eval() on the model first), or the encoder returns a draw "
            "from the posterior instead of its mean."
        ]
    half = len(first.mean) // 2
    if not isinstance(inputs, Tensor) or half < 2:
        return []
    beginning = Answer(first.mean[:half], first.second[:half], first.scale)
    if (off := _difference(beginning, encoder(inputs[:half], 1))) > 1e-2:
        return [
            f"Half a batch gives different answers than the same inputs in the whole batch (off by {off:.2g} of the "
            "outputs' standard deviation): batch normalization is in training mode; call eval() on the model first."
        ]
    return []


def _difference(one: Answer, other: Answer) -> float:
    """Return the largest difference in units of the outputs' standard deviation."""
    pairs = ((one.mean, other.mean), (one.second, other.second))
    return max(float((a - b).abs().max().double() / a.double().std(correction=0).clamp_min(1e-6)) for a, b in pairs)


def _function_and_module(given: Any) -> tuple[Callable[[Any], Any], nn.Module]:
    """Return what to call with inputs, and the module to put into eval mode, an empty one if there is none."""
    if is_from("pythae.models", given):
        # pythae's datasets make batches {"data": inputs, "labels": ...}.
        return lambda batch: given.encoder(batch["data"] if isinstance(batch, Mapping) else batch), given
    if is_from("scvi.model", given):
        return scvi_encoder(given), given.module
    owners = [given, getattr(given, "model", None), getattr(given, "__self__", None)]
    module = next((owner for owner in owners if isinstance(owner, nn.Module)), nn.Module())
    for owner in owners[:2]:
        if callable(encode := getattr(owner, "encode", None)):
            return encode, module
    if not callable(given):
        raise AuditError(
            f"encode is a {type(given).__name__}: pass a function of a batch, or a model with a method encode."
        )
    return given, module


def _batches(given: Any, batches: Any, batch_size: int) -> Iterable[Any]:
    if is_from("scvi.model", given) and (is_from("anndata", batches) or is_from("mudata", batches)):
        return scvi_batches(given, batches, batch_size)
    if isinstance(batches, Tensor | np.ndarray):
        return torch.as_tensor(batches).split(batch_size)
    if isinstance(batches, torch.utils.data.Dataset) and hasattr(batches, "__getitem__"):
        return torch.utils.data.DataLoader(batches, batch_size=batch_size)
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        raise AuditError(f"batches is a {type(batches).__name__}: pass a tensor, a DataLoader or batches of inputs.")
    return batches
