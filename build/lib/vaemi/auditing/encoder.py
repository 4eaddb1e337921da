"""Any encoder in, the information of its factors out, and a warning where the answer would be wrong without an error.

`audit` is `vaemi.audit`. The module has another name than the function: were they the same, an import of the module
would put it in the function's place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaemi.auditing import adapters
from vaemi.errors import AuditError
from vaemi.information import FactorInformation, InformationSketch
from vaemi.models import VAE, as_float

if TYPE_CHECKING:
    import pandas as pd

SCALES = ("log_variance", "variance", "std", "log_std")
# What encoders call the two parts of their answer; the second name says how to read the numbers.
_MEANS = ("mean", "mu", "loc", "embedding", "z_mean", "qz_m")
_SECONDS = {
    "log_variance": ("log_variance", "logvar", "log_var", "log_covariance", "z_log_var"),
    "variance": ("variance", "var", "qz_v"),
    "std": ("std", "scale", "sigma", "stddev"),
    "log_std": ("log_std", "log_scale", "log_sigma"),
}
_AS_VARIANCE: dict[str, Callable[[Tensor], Tensor]] = {
    "log_variance": torch.exp,
    "variance": lambda second: second,
    "std": torch.square,
    "log_std": lambda second: (2 * second).exp(),
}
# A factor whose means vary by less is silent: all readings of a logarithm near 0 look alike there.
_SILENT = 0.05
# |log sigma*^2| of most factors below which nothing is wrong; 0.1 is a sigma* of 0.95 or 1.05.
_NEAR_ONE = 0.1
# A name such as log_covariance is better evidence than a sigma* a little off, as it is before training has ended. A
# torch Normal is no such name: whatever is given to it becomes its scale.
_FAR_FOR_A_NAME = 0.4
# And above which it is worth a sentence even if no other reading does better: a sigma* of 0.67 or 1.5.
_FAR_FROM_ONE = 0.8
_DEPENDS_ON_MODE = (nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True)
class Audit:
    """What `audit` found.

    Attributes
    ----------
    information : FactorInformation
        Of every factor; where latents are spatial, every channel at every place is a factor, in the order of
        ``flatten``.
    threshold : float
        Nats above which a factor counts as influential.
    latent_shape : tuple of int
        Shape of the latents of one input: ``(H,)``, or with places ``(channels, ...)``.
    remarks : list of str
        A sentence or two for each thing that may make the numbers wrong; empty if nothing was noticed.
    scale : str
        How the second output was read: one of ``SCALES``.
    n_batches : int
        Number of batches encoded.
    device : str
        Where the encoder's answers were.
    seconds : float
        Duration.
    source : str
        What was audited.
    """

    information: FactorInformation
    threshold: float
    latent_shape: tuple[int, ...]
    remarks: list[str] = field(default_factory=list)
    scale: str = "log_variance"
    n_batches: int = 0
    device: str = "cpu"
    seconds: float = 0.0
    source: str = ""

    @property
    def influential(self) -> Tensor:
        """Indices of the factors above the threshold, most informative first."""
        return self.information.influential(self.threshold)

    @property
    def kept(self) -> Tensor:
        """True where a factor is influential, in the shape of the latents: ``code * audit.kept`` is the pruned code."""
        return self.maps > self.threshold

    @cached_property
    def uncertain(self) -> Tensor:
        """Indices of the factors whose 95 % interval holds the threshold, most informative first."""
        low, high = self.information.interval(0.95)
        open_question = (low <= self.threshold) & (high > self.threshold)
        # Without error, a factor at the threshold is where it is.
        open_question &= high > low
        ranking = self.information.ranking
        return ranking[open_question[ranking]]

    @property
    def is_spatial(self) -> bool:
        """True if the latents have places."""
        return len(self.latent_shape) > 1

    @property
    def latent_dim(self) -> int:
        """The recommended number of factors: those above the threshold; of spatial latents, channels with such a place.

        Train with a few more (`uncertain` says how many may be missing): if they stay silent, the number was right.
        """
        if not self.is_spatial:
            return len(self.influential)
        return int((self.maps > self.threshold).flatten(1).any(1).sum())

    @property
    def latent_dim_range(self) -> tuple[int, int]:
        """The recommended number if all uncertain factors lay under the threshold, and if all lay over it."""
        low, high = self.information.interval(0.95)
        return tuple(  # type: ignore[return-value]
            int((end.view(self.latent_shape[0], -1) > self.threshold).any(1).sum()) for end in (low, high)
        )

    @property
    def maps(self) -> Tensor:
        """Information in nats in the shape of the latents: of spatial ones (channels, ...), a number for each place."""
        return self.information.nats.view(self.latent_shape)

    @property
    def by_channel(self) -> Tensor:
        """Sum over the places of each channel in nats, shape (channels,).

        Neighbouring places know much of the same: it is an upper bound on what the channel knows.
        """
        return self.maps.reshape(self.latent_shape[0], -1).sum(1)

    @property
    def by_place(self) -> Tensor:
        """Sum over the channels at each place in nats, the latents' shape without its first axis."""
        return self.maps.sum(0)

    def to_frame(self) -> pd.DataFrame:
        """A row a factor, the most informative first; of spatial latents a row a channel.

        Columns are those of `FactorInformation.to_frame` and ``influential`` (yes, no or uncertain); of channels
        ``channel``, ``nats`` (sum over places), ``nats_at_best_place``, ``places_above_threshold`` and
        ``marginal_std`` (median over places).
        """
        import pandas as pd

        if self.is_spatial:
            rows = self.maps.flatten(1)
            frame = pd.DataFrame(
                {
                    "channel": np.arange(len(rows)),
                    "nats": self.by_channel.numpy(),
                    "nats_at_best_place": rows.amax(1).numpy(),
                    "places_above_threshold": (rows > self.threshold).sum(1).numpy(),
                    "marginal_std": self.information.marginal_std.view(len(rows), -1).median(1).values.numpy(),
                }
            )
            return frame.sort_values("nats", ascending=False, kind="stable", ignore_index=True)
        frame = self.information.to_frame()
        above, uncertain = set(self.influential.tolist()), set(self.uncertain.tolist())
        frame["influential"] = [
            "uncertain" if factor in uncertain else "yes" if factor in above else "no" for factor in frame["factor"]
        ]
        return frame

    def __str__(self) -> str:
        return "\n".join([self.summary, *(f"Remark: {remark}" for remark in self.remarks)])

    @property
    def summary(self) -> str:
        """The result in a sentence or two."""
        fewest, most = self.latent_dim_range
        unsure = f" (95 % interval {fewest} to {most})" if fewest != most else ""
        samples = f"from {self.information.n_samples:,} inputs"
        if self.is_spatial:
            channels, *places = self.latent_shape
            return (
                f"{self.latent_dim} of {channels} channels know more than {self.threshold:g} nats at one of their "
                f"{' x '.join(map(str, places))} places or more{unsure}, {samples}. Over channels and places the "
                f"information adds up to {self.information.total:.2f} nats."
            )
        names = ", ".join(f"z{factor}" for factor in self.uncertain.tolist())
        return (
            f"{self.latent_dim} of {len(self.information)} factors know more than {self.threshold:g} nats{unsure}, "
            f"{samples}, {self.information.total:.2f} nats together."
            + (f" Too close to the threshold to call: {_shortened(names)}." if names else "")
        )


def audit(
    encode: Any,
    batches: Any,
    *,
    scale: str | None = None,
    threshold: float = 0.1,
    whole_batch: bool = False,
    batch_size: int = 256,
    device: Any = None,
    precision: str = "default",
    max_bytes: int = 2**31,
    progress: bool = True,
) -> Audit:
    """Which latent factors of any VAE matter, from its encoder and some (held-out) inputs.

    One pass over the batches, in memory that does not grow with their number. The first batch is encoded up to three
    times, to see whether the answers are the same.

    Parameters
    ----------
    encode : callable or model
        A function of a batch, a torch module or Lightning module with `encode` (or `model.encode`), an encoder network,
        a model of pythae, diffusers' `AutoencoderKL`, or a model of scvi-tools such as `SCVI`. The answer is a pair
        (mean, second), see `scale`; a `torch.distributions.Normal` or `Independent` one; or a dictionary or object in
        which the parts have one of the usual names (mean, mu, loc, embedding; log_variance, logvar, log_covariance,
        std, scale, variance; qz or latent_dist for a distribution). Shapes are (B, H), or (B, channels, ...) for
        spatial latents. Modules given so are put into eval mode, and back afterwards; what a function calls is its own
        affair, but looked at.
    batches : iterable, DataLoader, Dataset, tensor or array
        Inputs in batches; a tensor, an array or a Dataset is cut into batches. For scvi-tools an AnnData, too.
    scale : {"log_variance", "variance", "std", "log_std"}, optional
        What the second of a pair is; ``"log_variance"`` if left out. Answers that say it themselves need none; if it is
        given, it holds against their word.
    threshold : float
        Nats above which a factor counts as influential.
    whole_batch : bool
        Hand over a batch that is a tuple or list as it is; else its first element, the inputs of (inputs, labels).
    batch_size : int
        Of tensors, arrays and Datasets.
    device : torch.device or str, optional
        Where inputs are moved to; where the module's weights are, if left out.
    precision : {"default", "high"}
        As `InformationSketch`.
    max_bytes : int
        As `InformationSketch`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Audit
        Its `remarks` name what may have made the numbers wrong.

    Raises
    ------
    AuditError
        If there is nothing to encode, `encode` fails, or its answer cannot be read or holds values that are not finite
        (with the number of the batch, from 1), or a setting is out of range.

    Notes
    -----
    How the second output is to be read shows in sigma*_h^2 = E[mu_h^2 + sigma_h^2]. Multiplying factor h by c and
    dividing the decoder's first weights by it leaves the reconstruction as it is, so a trained model sits where the KL
    term is stationary in c. Its derivative c sigma*_h^2 - 1/c vanishes at c = 1 only if sigma*_h = 1: whatever beta is,
    and for silent factors too. The reading under which most factors have sigma* next to 1 is the right one, as long as
    the prior is N(0, I). A root taken for its square, or the reverse, moves sigma* little; it is told from the pattern
    of the departures over the factors, if three or more are used.

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
        raise AuditError(f"threshold is {threshold}: give a number of nats >= 0.")
    if batch_size < 1:
        raise AuditError(f"batch_size is {batch_size}: give a number of inputs >= 1.")
    encoder = _Encoder(encode, scale, whole_batch, device)
    gathered = _Gathered(precision, max_bytes)
    with encoder.ready(), torch.no_grad():
        for number, batch in enumerate(_shown(_batches(encode, batches, batch_size), progress), 1):
            answer = encoder(batch, number)
            gathered.add(answer, f"Batch {number}")
            if number == 1:
                remarks = [*encoder.remarks_on_mode(), *_remarks_on_repetition(encoder, batch, answer)]
    if gathered.sketch is None:
        raise AuditError("There are no batches: give at least two inputs, or, if the iterator is used up, a new one.")
    if gathered.sketch.n_samples < 2:
        raise AuditError("There is one input only: information about the input needs two or more, better thousands.")
    return gathered.audit(remarks, threshold, number, time.monotonic() - started, encoder.name)


@dataclass(frozen=True)
class _Answer:
    """Of one batch: mean and second output, (B, ...), what the second is, and whether its own name says so."""

    mean: Tensor
    second: Tensor
    scale: str
    named: bool = False


class _Encoder:
    """What was given as `encode`, as a function from a batch to an `_Answer`."""

    def __init__(self, given: Any, scale: str | None, whole_batch: bool, device: Any) -> None:
        self.given = given
        self.scale = scale
        self.whole_batch = whole_batch
        self.function, self.module = _function_and_module(given)
        self.name = _name(given)
        parameter = next(self.module.parameters(), None) if self.module is not None else None
        self.device = device if device is not None else None if parameter is None else parameter.device
        self.dtype = None if parameter is None else parameter.dtype

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The module in eval mode; afterwards each of its parts as it was."""
        if self.module is None:
            yield
            return
        before = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        try:
            yield
        finally:
            for part, training in before:
                part.training = training

    def __call__(self, batch: Any, number: int) -> _Answer:
        return self.of_inputs(self.inputs(batch), number)

    def of_inputs(self, inputs: Any, number: int) -> _Answer:
        try:
            output = self.function(inputs)
        except AuditError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise AuditError(
                f"{self.name} failed in batch {number}"
                f"{f' of shape {tuple(inputs.shape)}' if isinstance(inputs, Tensor) else ''}: "
                f"{type(error).__name__}: {reason[:300]}"
            ) from error
        answer = _read(output, self.scale, self.name)
        _check(answer, inputs, number, self.name)
        return answer

    def inputs(self, batch: Any) -> Any:
        if isinstance(batch, tuple | list) and not self.whole_batch:
            if not batch:
                raise AuditError("A batch is an empty tuple: give inputs, or (inputs, labels).")
            batch = batch[0]
        return self._moved(batch)

    def _moved(self, batch: Any) -> Any:
        if isinstance(batch, np.ndarray):
            batch = torch.from_numpy(np.ascontiguousarray(batch))
        if isinstance(batch, Tensor):
            if isinstance(self.module, VAE):
                batch = as_float(batch)
            wrong_float = self.dtype is not None and batch.is_floating_point()
            return batch.to(self.device, self.dtype if wrong_float else None)
        if isinstance(batch, Mapping):
            return type(batch)({key: self._moved(value) for key, value in batch.items()})  # type: ignore[call-arg]
        if isinstance(batch, tuple | list) and self.whole_batch:
            return type(batch)(self._moved(value) for value in batch)
        return batch

    def remarks_on_mode(self) -> list[str]:
        """Parts that are in training mode while the encoder runs."""
        modules = [self.module] if self.module is not None else _modules_within(self.given)
        parts = [
            f"{name or 'the module itself'} ({type(part).__name__})"
            for module in modules
            for name, part in module.named_modules()
            if part.training and isinstance(part, _DEPENDS_ON_MODE)
        ]
        if not parts:
            return []
        return [
            f"In training mode while encoding: {_shortened(', '.join(parts))}. Dropout and batch normalization then "
            "give answers that depend on chance or on the other inputs of the batch; call eval() on the model first."
        ]


class _Gathered:
    """Sums over batches: the sketch, and the moments of each factor that tell how its second output is to be read."""

    def __init__(self, precision: str, max_bytes: int) -> None:
        self.precision = precision
        self.max_bytes = max_bytes
        self.sketch: InformationSketch | None = None
        self.shape: tuple[int, ...] = ()
        self.scale = ""
        self.device = ""

    def add(self, answer: _Answer, where: str) -> None:
        shape = tuple(answer.mean.shape[1:])
        mean, second = (_in_double(part.detach().flatten(1)) for part in (answer.mean, answer.second))
        if self.sketch is None:
            try:
                self.sketch = InformationSketch(mean.shape[1], self.precision, self.max_bytes)
            except ValueError as error:
                raise AuditError(str(error)) from None
            self.shape, self.scale, self.device = shape, answer.scale, str(answer.mean.device)
            self.named = answer.named
            self.first = torch.stack([mean[0], second[0]])
            self.constant = True
            self.sums = mean.new_zeros(2 + len(SCALES), mean.shape[1])
            self.least, self.most = float("inf"), float("-inf")
        if (shape, answer.scale) != (self.shape, self.scale):
            raise AuditError(
                f"{where} has latents of shape {shape}, read as {answer.scale}, and those before {self.shape}, "
                f"read as {self.scale}: all batches must give the same; inputs of another size make other maps."
            )
        log_variance = _AS_LOG_VARIANCE[answer.scale](second)
        try:
            self.sketch.update(mean, log_variance)
        except ValueError as error:
            raise AuditError(f"{where}: {error}") from None
        variances = [_AS_VARIANCE[name](second) for name in SCALES]
        self.sums += torch.stack([part.sum(0) for part in (mean, mean.square(), *variances)])
        self.constant &= bool(((mean == self.first[0]) & (second == self.first[1])).all())
        self.least, self.most = min(self.least, float(second.min())), max(self.most, float(second.max()))

    def merge(self, other: _Gathered) -> None:
        """Add what was gathered elsewhere, from latents of the same shape and reading.

        Raises
        ------
        ValueError
            If the sketches do not fit together.
        """
        assert other.sketch is not None
        if self.sketch is None:
            self.sketch = InformationSketch(other.sketch.n_factors, self.precision, self.max_bytes)
            self.shape, self.scale, self.device = other.shape, other.scale, other.device
            self.named, self.first, self.constant = other.named, other.first, True
            self.sums = torch.zeros_like(other.sums)
            self.least, self.most = float("inf"), float("-inf")
        self.sketch.merge(other.sketch)
        self.sums += other.sums
        self.constant &= other.constant and torch.equal(self.first, other.first)
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)

    def audit(self, remarks: list[str], threshold: float, n_batches: int, seconds: float, source: str) -> Audit:
        """The outcome, with the remarks on what was gathered after those given."""
        assert self.sketch is not None
        information = self.sketch.compute()
        return Audit(
            information=information,
            threshold=threshold,
            latent_shape=self.shape,
            remarks=remarks + self.remarks() + _remarks_on_samples(information, threshold),
            scale=self.scale,
            n_batches=n_batches,
            device=self.device,
            seconds=seconds,
            source=source,
        )

    def remarks(self) -> list[str]:
        assert self.sketch is not None
        if self.constant:
            return [
                "The answer is the same for every input, so no factor knows anything: the posterior has collapsed, the "
                "inputs are all the same, or they do not reach the network."
            ]
        return self._remarks_on_scale()

    def _remarks_on_scale(self) -> list[str]:
        assert self.sketch is not None
        mean, second_moment, *variances = (self.sums / self.sketch.n_samples).cpu()
        silent = second_moment - mean.square() < _SILENT
        # A standard deviation cannot be negative.
        possible = [name for name in SCALES if self.least > 0 or name.startswith("log_")]
        off = {
            name: _worst_median((second_moment + variance).log(), silent)
            for name, variance in zip(SCALES, variances, strict=True)
            if name in possible
        }
        given, best = off[self.scale], min(map(abs, off.values()))
        if abs(given) > (_FAR_FOR_A_NAME if self.named else _NEAR_ONE) and best < abs(given) / 2:
            likely = [name for name, deviation in off.items() if abs(deviation) < best + 0.03 and name != self.scale]
            found = " or ".join(f"as {name} it is {np.exp(off[name] / 2):.2f}" for name in likely)
            return [
                f"The second output was read as {self.scale}, and sigma* then has a median of {np.exp(given / 2):.2f}, "
                f"where a N(0, 1) prior pulls it to 1; read {found}. If that is what the network answers with, "
                f"say scale={' or scale='.join(map(repr, likely))}; a model that was not trained to the end "
                "is off, too."
            ]
        other = _SQUARE_OR_ROOT[self.scale]
        if not self.named and other in off and abs(off[other]) < _NEAR_ONE:
            of_both = (variances[SCALES.index(name)][~silent] for name in (self.scale, other))
            share, error = _share_explained(second_moment[~silent], *of_both)
            if share > max(0.6, 1.3 * error):
                return [
                    f"The second output was read as {self.scale}. Over the factors that are used, sigma* departs "
                    f"from 1 as if it were the {other}: that explains {share:.0%} (+-{error:.0%}) of what is "
                    f"missing. If that is what the network answers with, say scale={other!r}; compare the KL "
                    "term with that of the training. A model that was not trained to the end is off, too."
                ]
        if self.scale.startswith("log_") and self.least >= 0 and self.most > 0.5:
            return [
                f"The second output was read as {self.scale} and is never negative (from {self.least:.3g} to "
                f"{self.most:.3g}), so no posterior would be narrower than the prior: is it a variance or a standard "
                "deviation (scale='variance', scale='std')?"
            ]
        if abs(given) > _FAR_FROM_ONE:
            return [
                f"sigma* is far from 1 (median {np.exp(given / 2):.3g}) however the second output is read: the prior "
                "pulls little, as in autoencoders for latent diffusion, or is not N(0, 1), or the inputs are scaled "
                "otherwise than in training, or training was too short."
            ]
        return []


_AS_LOG_VARIANCE: dict[str, Callable[[Tensor], Tensor]] = {
    "log_variance": lambda second: second,
    "variance": torch.log,
    "std": lambda second: 2 * second.log(),
    "log_std": lambda second: 2 * second,
}


def _in_double(values: Tensor) -> Tensor:
    return (values.cpu() if values.device.type == "mps" else values).double()  # it has no float64


_SQUARE_OR_ROOT = {"log_variance": "log_std", "log_std": "log_variance", "variance": "std", "std": "variance"}


def _share_explained(second_moment: Tensor, given: Tensor, other: Tensor) -> tuple[float, float]:
    """How far the departures of sigma*^2 from 1 are those that one reading makes of the other, and the error of that.

    Least squares of the departures on the difference of the readings, factor by factor: about 0 if the given one is
    right, about 1 if the other is. A root taken for its square moves sigma* by a tenth at most, and by most where the
    deviation is neither small nor near 1, which a median does not see.
    """
    if len(given) < 3:
        return 0.0, float("inf")
    # A few factors far off, which no reading explains, do not decide.
    departure = (second_moment + given - 1).clamp(-0.3, 0.3)
    difference = given - other
    weight = difference.square().sum().clamp_min(1e-12)
    share = (departure * difference).sum() / weight
    left = (departure - share * difference).square().sum() / (len(given) - 1)
    return float(share), float((left / weight).sqrt())


def _worst_median(deviation: Tensor, silent: Tensor) -> float:
    """Median over the silent factors, or over the others, whichever is further from 0.

    A wrong reading of a logarithm shows in the others only, one of a deviation in the silent ones first.
    """
    return max((float(deviation[chosen].median()) for chosen in (silent, ~silent) if chosen.any()), key=abs)


def _remarks_on_repetition(encoder: _Encoder, batch: Any, first: _Answer) -> list[str]:
    """Whether the answer to the same inputs changes, or depends on their neighbours in the batch."""
    again = encoder(batch, 1)
    if (off := _difference(first, again)) > 1e-3:
        return [
            f"The same batch encoded twice gives other answers (off by {off:.2g} of the outputs' standard deviation): "
            "dropout is on, or the encoder answers with a draw from the posterior instead of its mean."
        ]
    inputs = encoder.inputs(batch)
    half = len(first.mean) // 2
    if not isinstance(inputs, Tensor) or half < 2:
        return []
    part = encoder.of_inputs(inputs[:half], 1)
    whole = _Answer(first.mean[:half], first.second[:half], first.scale)
    if (off := _difference(whole, part)) > 1e-2:
        return [
            f"Half a batch gives other answers than the same inputs in the whole batch (off by {off:.2g} of a standard "
            "deviation of the outputs): batch normalization is in training mode; call eval() on the model first."
        ]
    return []


def _difference(one: _Answer, other: _Answer) -> float:
    """Largest difference in units of the outputs' spread."""
    pairs = ((one.mean, other.mean), (one.second, other.second))
    return max(float((a - b).abs().max().double() / a.double().std(correction=0).clamp_min(1e-6)) for a, b in pairs)


def _remarks_on_samples(information: FactorInformation, threshold: float) -> list[str]:
    assert information.leave_one_out is not None
    gap = information.leave_one_out - information.nats
    # Of silent factors both are tiny.
    few = (gap > information.stderr) & (information.leave_one_out > threshold) & (gap > 0.01)
    if not few.any():
        return []
    worst = int((gap * few).argmax())
    return [
        f"{information.n_samples:,} inputs are too few to measure {int(few.sum())} of the factors: z{worst} lies "
        f"between {information.nats[worst]:.2f} and {information.leave_one_out[worst]:.2f} nats, further apart than "
        f"its standard error ({information.stderr[worst]:.2g}). Give more inputs; their number limits information to "
        f"{np.log(information.n_samples):.2f} nats."
    ]


def _check(answer: _Answer, inputs: Any, number: int, name: str) -> None:
    where = f"in batch {number}"
    if answer.mean.ndim < 2 or answer.mean.shape != answer.second.shape or 0 in answer.mean.shape:
        raise AuditError(
            f"{name} answered {where} with shapes {tuple(answer.mean.shape)} and {tuple(answer.second.shape)}: both "
            "must be (inputs, factors), or (inputs, channels, height, width), and not empty."
        )
    if isinstance(inputs, Tensor) and inputs.ndim > 0 and len(inputs) != len(answer.mean):
        raise AuditError(
            f"{name} answered {where} for {len(answer.mean)} inputs and was given {len(inputs)}: the first axis of the "
            "answer must be that of the inputs."
        )
    for part, values in (("the mean", answer.mean), (f"the second output, the {answer.scale},", answer.second)):
        bad = ~values.isfinite()
        if bad.any():
            raise AuditError(
                f"{name} answered {where} with {int(bad.sum())} value(s) in {part} that are not finite, the first for "
                f"input {int(bad.flatten(1).any(1).nonzero()[0])}: look at that input, or at the weights."
            )
    if answer.scale in ("variance", "std") and not (answer.second > 0).all():
        least = float(answer.second.min())
        advice = (
            "a deterministic encoder carries no finite information"
            if least == 0
            else "it is probably a logarithm (scale='log_variance' or scale='log_std')"
        )
        raise AuditError(
            f"{name} answered {where} with a {answer.scale} of {least:.3g}, and it must be greater than 0: {advice}."
        )


def _read(output: Any, scale: str | None, name: str) -> _Answer:
    """Mean and second output of anything that an encoder may answer with."""
    if isinstance(output, torch.distributions.Independent):
        return _read(output.base_dist, scale, name)
    if isinstance(output, torch.distributions.Normal):
        return _Answer(output.loc, output.scale, scale or "std")
    if isinstance(output, torch.distributions.Distribution):
        raise AuditError(
            f"{name} answers with a {type(output).__name__}: only normal posteriors with independent factors can be "
            "audited (Normal, or Independent of it)."
        )
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        if len(output) == 1:
            return _read(output[0], scale, name)
        if len(output) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in output):
            mean, second = (torch.as_tensor(part) for part in output)
            return _Answer(mean, second, scale or "log_variance")
        what = f"{len(output)} things" if len(output) != 2 else " and ".join(type(part).__name__ for part in output)
        raise AuditError(f"{name} answers with {what}: give a function that returns the pair (mean, log_variance).")
    for key in ("latent_dist", "qz"):
        if (inner := _part(output, key)) is not None:
            return _read(inner, scale, name)
    center = _named(output, _MEANS)
    for kind, keys in _SECONDS.items():
        if center is not None and (width := _named(output, keys)) is not None:
            return _Answer(center, width, scale or kind, named=scale is None)
    kind = f"a {type(output).__name__}" + (
        f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    )
    raise AuditError(
        f"{name} answers with {kind}, in which no mean and log-variance are found: give a function that returns the "
        "pair (mean, log_variance) or a torch Normal."
    )


def _named(output: Any, keys: tuple[str, ...]) -> Tensor | None:
    return next((value for key in keys if isinstance(value := _part(output, key), Tensor)), None)


def _part(output: Any, key: str) -> Any:
    if isinstance(output, Mapping):
        return output.get(key)
    # Of a tensor, mean and var are methods.
    return None if isinstance(output, Tensor) else getattr(output, key, None)


def _function_and_module(given: Any) -> tuple[Callable[[Any], Any], nn.Module | None]:
    """What to call with inputs, and the module to put into eval mode."""
    if (found := adapters.encoder_of(given)) is not None:
        return found
    owner = given if isinstance(given, nn.Module) else None
    for holder in (given, getattr(given, "model", None), getattr(given, "vae", None)):
        if holder is not None and callable(getattr(holder, "encode", None)) and not isinstance(holder, str | bytes):
            return holder.encode, owner or (holder if isinstance(holder, nn.Module) else None)
    if not callable(given):
        raise AuditError(
            f"encode is a {type(given).__name__}: give a function of a batch, or a model with a method encode."
        )
    bound = getattr(given, "__self__", None)
    return given, owner or (bound if isinstance(bound, nn.Module) else None)


def _modules_within(function: Any) -> list[nn.Module]:
    """Modules that a function refers to: bound, enclosed, or by a global name that its code mentions."""
    if isinstance(function, partial):
        within = [*function.args, *function.keywords.values()]
        return [part for part in within if isinstance(part, nn.Module)] + _modules_within(function.func)
    # Of a method its object, of an object that can be called itself.
    owner = getattr(function, "__self__", function)
    enclosed = list(getattr(owner, "__dict__", {}).values())
    code = getattr(function, "__code__", None)
    if code is None:
        return [part for part in enclosed if isinstance(part, nn.Module)]
    for cell in function.__closure__ or ():
        try:
            enclosed.append(cell.cell_contents)
        except ValueError:  # not yet filled
            continue
    mentioned = [function.__globals__.get(name) for name in code.co_names]
    return list({id(part): part for part in (*enclosed, *mentioned) if isinstance(part, nn.Module)}.values())


def _batches(given: Any, batches: Any, batch_size: int) -> Iterable[Any]:
    if (found := adapters.batches_of(given, batches, batch_size)) is not None:
        return found
    if isinstance(batches, np.ndarray):
        batches = torch.from_numpy(np.ascontiguousarray(batches))
    if isinstance(batches, Tensor):
        if batches.ndim == 0:
            raise AuditError("batches is a single number: give inputs, the first axis of which counts them.")
        return batches.split(batch_size) if len(batches) else ()
    if isinstance(batches, torch.utils.data.Dataset) and hasattr(batches, "__getitem__"):
        return torch.utils.data.DataLoader(batches, batch_size=batch_size)
    if isinstance(batches, str | bytes) or not isinstance(batches, Iterable):
        raise AuditError(f"batches is a {type(batches).__name__}: give a tensor, a DataLoader or batches of inputs.")
    return batches


def _shown(batches: Iterable[Any], progress: bool) -> Iterable[Any]:
    return tqdm(batches, desc="audit", unit="batch", disable=not progress)


def _name(given: Any) -> str:
    name = getattr(given, "__qualname__", None)
    if name is None:
        return type(given).__name__
    return name.rsplit("<locals>.", 1)[-1]


def _shortened(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[:most].rsplit(", ", 1)[0] + ", ..."
