"""Audit any encoder: encode batches of inputs, add up their posteriors, and look for known mistakes.

The module is not named after its function `audit`, since importing it would then hide the function in the package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaemi.auditing import adapters
from vaemi.auditing.answers import SCALES, Answer, check_answer, read_answer
from vaemi.auditing.progress import progress_bar
from vaemi.auditing.result import Audit, shortened
from vaemi.auditing.sums import Sums
from vaemi.errors import AuditError
from vaemi.models import VAE, as_float

_DEPENDS_ON_MODE = (nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.modules.batchnorm._BatchNorm)


def audit(
    encode: Any,
    batches: Any,
    *,
    scale: str | None = None,
    threshold: float = 0.1,
    whole_batch: bool = False,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    precision: str = "default",
    max_bytes: int = 2**31,
    progress: bool = True,
) -> Audit:
    """Measure which latent factors of any VAE matter, from its encoder and some (held-out) inputs.

    Makes one pass over the batches, in memory that does not grow with their number. The first batch is encoded up to
    three times, to see whether the answers are the same.

    Parameters
    ----------
    encode : callable or model
        A function of a batch, a torch module or Lightning module with `encode` (or `model.encode`), an encoder network,
        a model of pythae, diffusers' `AutoencoderKL`, or a model of scvi-tools such as `SCVI`. It returns a pair
        (mean, second), see `scale`; a `torch.distributions.Normal`, or an `Independent` of one; or a dictionary or
        object in which the parts have one of the usual names (mean, mu, loc, embedding; log_variance, logvar,
        log_covariance, std, scale, variance; qz or latent_dist for a distribution). Shapes are (B, H), or
        (B, channels, ...) for spatial latents. A module is put into eval mode and back afterwards. Modules that a
        function calls are left as they are, but a training mode is noticed.
    batches : iterable, DataLoader, Dataset, tensor or array
        Inputs in batches; a tensor, an array or a Dataset is cut into batches. For scvi-tools also an AnnData.
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
    precision, max_bytes
        See `InformationSketch`.
    progress : bool
        Show a progress bar on standard error, if tqdm is installed.

    Returns
    -------
    Audit
        Its `remarks` name what may have made the numbers wrong.

    Raises
    ------
    AuditError
        If there is nothing to encode, `encode` fails, its answer cannot be read or is not finite (the message has the
        number of the batch, from 1), or a setting is out of range.

    Notes
    -----
    How the second output has to be read shows in sigma*_h^2 = E[mu_h^2 + sigma_h^2]. Multiplying factor h by c and
    dividing the decoder's first weights by c leaves the reconstruction unchanged, so a trained model is where the KL
    term is stationary in c. Its derivative c sigma*_h^2 - 1/c vanishes at c = 1 only if sigma*_h = 1, whatever beta is,
    and for unused factors too. The reading for which most factors have sigma* near 1 is the right one, if the prior is
    N(0, I). A root taken for its square, or the reverse, moves sigma* little; it shows in the pattern of the departures
    over the factors, if three or more are used.

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
    if scale is not None and scale not in SCALES:
        raise AuditError(f"scale is {scale!r}: choose one of {', '.join(map(repr, SCALES))}.")
    if not threshold >= 0:
        raise AuditError(f"threshold is {threshold}: choose a number of nats >= 0.")
    if batch_size < 1:
        raise AuditError(f"batch_size is {batch_size}: choose a number of inputs >= 1.")
    encoder = _Encoder(encode, scale, whole_batch, device)
    sums: Sums | None = None
    number = 0
    batches = _batches(encode, batches, batch_size)
    length = len(batches) if isinstance(batches, Sized) else None
    with encoder.in_eval_mode(), torch.no_grad(), progress_bar(progress, total=length, unit="batch") as advance:
        for number, batch in enumerate(batches, 1):
            inputs = encoder.inputs(batch)
            answer = encoder(inputs, number)
            if sums is None:
                sums = Sums(tuple(answer.mean.shape[1:]), answer.scale, answer.named, precision, max_bytes)
                remarks = [*encoder.remarks_on_mode(), *_remarks_on_repetition(encoder, inputs, answer)]
            sums.update(answer, f"Batch {number}")
            advance(1)
    if sums is None:
        raise AuditError("There are no batches: pass at least two inputs, or a new iterator if this one is used up.")
    if sums.sketch.n_samples < 2:
        raise AuditError("There is one input only: information about the input needs two or more, better thousands.")
    return sums.audit(remarks, threshold, number, time.monotonic() - started, encoder.name)


class _Encoder:
    """Whatever was passed as `encode`, as a function from inputs to an `Answer`."""

    def __init__(self, given: Any, scale: str | None, whole_batch: bool, device: torch.device | str | None) -> None:
        self.given = given
        self.scale = scale
        self.whole_batch = whole_batch
        self.function, self.module = _function_and_module(given)
        self.name = getattr(given, "__qualname__", type(given).__name__).rsplit("<locals>.", 1)[-1]
        weights = next(self.module.parameters(), None) if self.module is not None else None
        self.device = device if device is not None or weights is None else weights.device
        self.dtype = None if weights is None else weights.dtype

    @contextmanager
    def in_eval_mode(self) -> Iterator[None]:
        """Put the module into eval mode, and each of its parts back afterwards."""
        parts = [] if self.module is None else [(part, part.training) for part in self.module.modules()]
        if self.module is not None:
            self.module.eval()
        try:
            yield
        finally:
            for part, training in parts:
                part.training = training

    def __call__(self, inputs: Any, number: int) -> Answer:
        try:
            output = self.function(inputs)
        except Exception as error:
            shape = f" of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else ""
            raise AuditError(
                f"{self.name} failed in batch {number}{shape}: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        answer = read_answer(output, self.scale, self.name)
        check_answer(answer, f"{self.name} returned in batch {number}")
        if isinstance(inputs, Tensor) and inputs.ndim > 0 and len(inputs) != len(answer.mean):
            raise AuditError(
                f"{self.name} returned in batch {number} {len(answer.mean)} posteriors for {len(inputs)} inputs: the "
                "first axis must count the inputs."
            )
        return answer

    def inputs(self, batch: Any) -> Any:
        """Return what the function gets for a batch: the inputs, on the device and in the type of the weights."""
        if isinstance(batch, tuple | list) and not self.whole_batch:
            if not batch:
                raise AuditError("A batch is an empty tuple: pass inputs, or (inputs, labels).")
            batch = batch[0]
        return self._moved(batch)

    def _moved(self, batch: Any) -> Any:
        if isinstance(batch, np.ndarray):
            batch = torch.from_numpy(np.ascontiguousarray(batch))
        if isinstance(batch, Tensor):
            if isinstance(self.module, VAE):
                batch = as_float(batch)
            return batch.to(self.device, self.dtype if batch.is_floating_point() else None)
        if isinstance(batch, Mapping):
            return type(batch)({key: self._moved(value) for key, value in batch.items()})  # type: ignore[call-arg]
        if isinstance(batch, tuple | list) and self.whole_batch:
            return type(batch)(self._moved(value) for value in batch)
        return batch

    def remarks_on_mode(self) -> list[str]:
        """Return a warning if a part is in training mode while the encoder runs."""
        modules = [self.module] if self.module is not None else _modules_of(self.given)
        parts = [
            f"{name or 'the module itself'} ({type(part).__name__})"
            for module in modules
            for name, part in module.named_modules()
            if part.training and isinstance(part, _DEPENDS_ON_MODE)
        ]
        if not parts:
            return []
        return [
            f"In training mode while encoding: {shortened(', '.join(parts))}. With dropout or batch normalization the "
            "answers then depend on chance or on the other inputs of the batch; call eval() on the model first."
        ]


def _remarks_on_repetition(encoder: _Encoder, inputs: Any, first: Answer) -> list[str]:
    """Return a warning if the answer to the same inputs changes, or depends on their neighbours in the batch."""
    if (off := _difference(first, encoder(inputs, 1))) > 1e-3:
        return [
            f"The same batch encoded twice gives different answers (off by {off:.2g} of the outputs' standard "
            "deviation): dropout is on, or the encoder returns a draw from the posterior instead of its mean."
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


def _function_and_module(given: Any) -> tuple[Callable[[Any], Any], nn.Module | None]:
    """Return what to call with inputs, and the module to put into eval mode."""
    if (adapted := adapters.encoder_of(given)) is not None:
        return adapted
    owner = given if isinstance(given, nn.Module) else None
    for holder in (given, getattr(given, "model", None), getattr(given, "vae", None)):
        encode = getattr(holder, "encode", None)
        if callable(encode) and not isinstance(holder, str | bytes):
            return encode, owner or (holder if isinstance(holder, nn.Module) else None)
    if not callable(given):
        raise AuditError(
            f"encode is a {type(given).__name__}: pass a function of a batch, or a model with a method encode."
        )
    bound = getattr(given, "__self__", None)
    return given, owner or (bound if isinstance(bound, nn.Module) else None)


def _modules_of(function: Any) -> list[nn.Module]:
    """Return the modules that a function refers to: bound, enclosed, or by a global name in its code."""
    if isinstance(function, partial):
        bound = [*function.args, *function.keywords.values()]
        return [part for part in bound if isinstance(part, nn.Module)] + _modules_of(function.func)
    # For a method its object's attributes, for an object that can be called its own.
    mentioned = list(getattr(getattr(function, "__self__", function), "__dict__", {}).values())
    if (code := getattr(function, "__code__", None)) is not None:
        mentioned += [function.__globals__.get(name) for name in code.co_names]
        for cell in function.__closure__ or ():
            try:
                mentioned.append(cell.cell_contents)
            except ValueError:  # a name that is not assigned yet
                continue
    return list({id(part): part for part in mentioned if isinstance(part, nn.Module)}.values())


def _batches(given: Any, batches: Any, batch_size: int) -> Iterable[Any]:
    if (adapted := adapters.batches_of(given, batches, batch_size)) is not None:
        return adapted
    if isinstance(batches, np.ndarray):
        batches = torch.from_numpy(np.ascontiguousarray(batches))
    if isinstance(batches, Tensor):
        if batches.ndim == 0:
            raise AuditError("batches is a single number: pass inputs, whose first axis counts them.")
        return batches.split(batch_size) if len(batches) else ()
    if isinstance(batches, torch.utils.data.Dataset) and hasattr(batches, "__getitem__"):
        return torch.utils.data.DataLoader(batches, batch_size=batch_size)
    if isinstance(batches, str | bytes) or not isinstance(batches, Iterable):
        raise AuditError(f"batches is a {type(batches).__name__}: pass a tensor, a DataLoader or batches of inputs.")
    return batches
