"""Audit a function, module or model of another library: encode batches, add up posteriors, look for known mistakes.

The module is not named after its function `audit`, since importing it would then hide the function in the package.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaemi._progress import progress_bar
from vaemi.auditing.decoder import find_decoder
from vaemi.auditing.families import check_decoded, is_from, refuse_other_codes, returns_decoded
from vaemi.auditing.posteriors import read_posterior
from vaemi.auditing.result import Audit
from vaemi.auditing.single_cell import scvi_batches, scvi_encoder
from vaemi.auditing.sums import Sums
from vaemi.errors import AuditError
from vaemi.information.answers import SCALES, Answer, check_answer
from vaemi.information.sketch import MAX_BYTES
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
    channel_axis: int | None = None,
    kl: float | None = None,
    max_bytes: int = MAX_BYTES,
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
        a model of pythae, diffusers' `AutoencoderKL`, or a model of scvi-tools or DRVI; also compiled with
        ``torch.compile`` or wrapped in `DataParallel`. It returns a pair (mean, second), see `scale`, or a triple
        (mean, second, z) with a draw z; a `torch.distributions.Normal`, or an `Independent` of one; a
        `MultivariateNormal` or `LowRankMultivariateNormal`, read by its marginals; or a dictionary or object in which
        the parts have one of the usual names (mean, mu, loc, embedding; log_variance, logvar, log_covariance, std,
        scale, variance; qz or latent_dist for a distribution). Discrete and quantized codes are for `audit_codes`.
        Shapes are (B, H), or (B, channels, ...) for spatial latents, see `channel_axis`. A module is put into eval mode
        and back afterwards; modules that a function calls are left as they are.
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
    channel_axis : int, optional
        Axis of the answers that counts the channels; 1 if left out. Sequence models that return (B, T, H) need -1.
    kl : float, optional
        The KL term that the training logged for inputs like these: nats per input, summed over the factors, not
        multiplied by beta. It decides what the second output is, where sigma* does not.
    max_bytes : int
        Largest size of the sums; see `vaemi.InformationSketch`.
    progress : bool
        Show progress bars on standard error, if tqdm is installed.

    Returns
    -------
    Audit
        Its `remarks` name what may have made the numbers wrong; its `notes` name what could not be decided, and factors
        on which the criteria differ.

    Raises
    ------
    AuditError
        If there is nothing to encode, `encode` fails, or its answer cannot be read or is not finite (the message has
        the number of the batch, from 1).

    Notes
    -----
    A factor can be stretched, and the decoder's first weights shrunk to match, without changing the reconstruction. In
    a trained model the KL term is stationary under this, which it is only where sigma*_h^2 = E[mu_h^2 + sigma_h^2] = 1,
    whatever beta is. Held-out inputs, dropout and a short training move sigma* by as much as the wrong reading of the
    second output does, above all where every factor is used. A remark on `scale` is therefore made only where the
    departures of sigma*^2 from 1 follow the difference between two readings over the factors; where they show neither
    reading, `notes` asks for `kl`.

    Examples
    --------
    >>> import torch, vaemi
    >>> x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    >>> def encode(x):
    ...     mean = x * torch.tensor([0.6, 0.0])
    ...     return mean, torch.tensor([0.64, 1.0]).log().expand(len(x), 2)
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
    encode, decode = unwrapped(encode), unwrapped(decode)
    refuse_other_codes(encode, noise)
    encoder = _Encoder(encode, scale, whole_batch, device, channel_axis, noise)
    decoder = find_decoder(encode, decode, decoded_inputs, channel_axis or 1)
    sums: Sums | None = None
    remarks: list[str] = []
    number, bytes_as_inputs = 0, False
    bar = progress_bar(_batches(encode, batches, batch_size), desc="audit", unit="batch", disable=not progress)
    with _in_eval_mode(encoder.module, decode), torch.no_grad():
        for number, batch in enumerate(bar, 1):
            inputs = encoder.inputs(batch)
            answer = encoder(inputs, number)
            if sums is None:
                if noise is None and returns_decoded(encode):
                    check_decoded(encode, encoder.function, inputs)
                sums = Sums(tuple(answer.mean.shape[1:]), answer.scale, answer.named, noise, max_bytes)
                remarks = _remarks_on_repetition(encoder, inputs, answer)
                bytes_as_inputs = _are_bytes(inputs)
            sums.update(answer, f"Batch {number}")
            if decoder:
                decoder.collect(inputs, answer)
        if sums is None or sums.criteria.n_samples < 2:
            raise AuditError(
                "There are fewer than two inputs: information about the input needs two or more, better thousands. An "
                "exhausted iterator gives none."
            )
        effects = decoder.effects(encoder.name, progress) if decoder else None
    undecided = []
    if channel_axis is None and len(sums.shape) == 2:
        channels, places = sums.shape
        undecided = [
            f"Latents of shape ({channels}, {places}) per input are read as {channels} channels at {places} places; if "
            f"they are {channels} places or steps of {places} factors, as in sequence models, pass channel_axis=-1."
        ]
    return sums.audit(
        remarks,
        threshold,
        number,
        time.monotonic() - started,
        encoder.name,
        effects,
        kl=kl,
        bytes_as_inputs=bytes_as_inputs,
        undecided=undecided,
    )


class _Encoder:
    """Whatever was passed as `encode`, as a function from inputs to an `Answer`."""

    def __init__(
        self,
        given: Any,
        scale: str | None,
        whole_batch: bool,
        device: torch.device | str | None,
        channel_axis: int | None = None,
        noise: float | None = None,
    ) -> None:
        self.scale = scale
        self.noise = noise
        self.whole_batch = whole_batch
        self.channel_axis = channel_axis
        self.function, self.module = _function_and_module(given)
        self.name = getattr(given, "__qualname__", type(given).__name__).rsplit("<locals>.", 1)[-1]
        weights = next(self.module.parameters(), None)
        self.device = device if device is not None or weights is None else weights.device
        self.dtype = None if weights is None else weights.dtype
        if device is not None:
            try:
                torch.empty(0, device=device)
            except (RuntimeError, AssertionError, NotImplementedError) as error:
                reason = " ".join(str(error).split())[:200]
                raise AuditError(f"device is {str(device)!r}, which cannot be used here: {reason}") from None

    def output(self, inputs: Any, number: int) -> Any:
        """Return what the encoder answers, or raise an AuditError with the number of the batch."""
        try:
            return self.function(inputs)
        except Exception as error:
            shape = f" of shape {tuple(inputs.shape)} and {inputs.dtype}" if isinstance(inputs, Tensor) else ""
            raise AuditError(
                f"{self.name} failed in batch {number}{shape}: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error

    def __call__(self, inputs: Any, number: int) -> Answer:
        output = self.output(inputs, number)
        try:
            answer = read_posterior(output, self.scale, self.name, self.noise)
            check_answer(answer, f"{self.name} returned in batch {number}")
            if self.channel_axis is not None:
                answer = answer.with_channels_first(self.channel_axis)
        except (ValueError, TypeError, IndexError) as error:
            raise AuditError(str(error)) from None
        if isinstance(inputs, Tensor) and len(inputs) != len(answer.mean):
            raise AuditError(
                f"{self.name} returned {len(answer.mean)} posteriors for the {len(inputs)} inputs of batch {number}: "
                "the first axis must be that of the inputs."
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


def unwrapped(given: Any) -> Any:
    """Return what `torch.compile`, `DataParallel` and other wrappers hold: they hide its methods and its class."""
    names = ("_orig_mod", "_original_module", "module")
    while isinstance(given, nn.Module):
        # Not by their truth: some modules have a length.
        inner = next((given._modules[name] for name in names if isinstance(given._modules.get(name), nn.Module)), None)
        if inner is None:
            break
        given = inner
    return given


def _are_bytes(inputs: Any) -> bool:
    """Return True for whole numbers from 0 to 255, with some in the upper half, as of pictures that were not scaled."""
    if not isinstance(inputs, Tensor) or not inputs.numel() or inputs.is_complex():
        return False
    least, most = (float(end) for end in torch.aminmax(inputs))
    return least >= 0 and 127 < most <= 255 and bool((inputs == inputs.round()).all())


def _function_and_module(given: Any) -> tuple[Callable[[Any], Any], nn.Module]:
    """Return what to call with inputs, and the module to put into eval mode, an empty one if there is none."""
    if is_from("pythae.models", given):
        # pythae's datasets make batches {"data": inputs, "labels": ...}.
        return lambda batch: given.encoder(batch["data"] if isinstance(batch, Mapping) else batch), given
    if is_from("scvi.model", given):
        return scvi_encoder(given), given.module
    function = given.func if isinstance(given, partial) else given
    bound = getattr(inspect.unwrap(function) if callable(function) else function, "__self__", None)
    owners = [given, getattr(given, "model", None), bound]
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
