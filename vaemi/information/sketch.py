"""Information in one pass, in memory that does not depend on the number of samples, and in parts that add up."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .answers import check_answer, read_answer
from .checks import checked_choice, checked_posterior, checked_weight, checksum
from .direct import FEW_SAMPLES, DirectEvaluation, evaluations
from .distributed import gathered
from .lattice import LATTICES, MOST_FACTORS, Lattice
from .mixture import FIELDS, Evaluation
from .result import FactorInformation
from .spreading import Blocks, Samples, joined, spread_in_groups
from .words import counted

_FORMAT = "vaemi.InformationSketch/3"
#: Default of `max_bytes`.
MAX_BYTES = 2**31
# Bytes of samples that wait: before they are first spread, and at most.
_LEAST_WAITING, _MOST_WAITING = 1 << 20, 1 << 27


class InformationSketch:
    """The aggregated posteriors of H factors, updated by batches of posterior means and log-variances.

    Samples are spread over a lattice that is the same for all data. Sketches of parts of the data, made in any order
    and on any machine, add up to the sketch of the whole. Samples are kept as they are while they are few (2,000), or
    that takes less memory than the lattice does: until there are many, or if posteriors are far narrower than the
    distances between them.

    Parameters
    ----------
    n_factors : int
        Number of latent factors, H.
    precision : {"default", "high"}
        Numerical error of the information: below 1e-6 nats, or below 1e-9 nats in three to four times the memory and
        two to three times the time.
    max_bytes : int
        Largest size of the state. It grows with the range of a factor over its standard deviations, not with the number
        of samples; the default of 2 GiB is reached only where posteriors are orders of magnitude narrower than the
        distances between them. An even sample of the samples then stands for all: every 2nd, 4th, ... is kept, with
        that weight, up to half of `max_bytes` or 128 MiB.

    Attributes
    ----------
    n_samples : int
        Number of samples so far.
    n_kept : int
        M, the number of those that the information rests on.
    blocks : Blocks
        The samples that were spread.
    waiting : Samples
        The others.

    Raises
    ------
    ValueError
        If there are no factors or more than a million, or the precision is unknown.

    Examples
    --------
    >>> from vaemi import InformationSketch
    >>> sketch = InformationSketch(n_factors=1)
    >>> sketch.update([[-5.0], [5.0]], [[0.0], [0.0]])
    >>> round(float(sketch.compute().nats[0]), 4)
    0.6931
    """

    def __init__(self, n_factors: int, precision: str = "default", max_bytes: int = MAX_BYTES) -> None:
        if not 1 <= n_factors <= MOST_FACTORS:
            raise ValueError(f"n_factors is {n_factors}: give a number from 1 to {MOST_FACTORS}.")
        self.n_factors = n_factors
        self.precision = checked_choice("precision", precision, LATTICES)
        self.max_bytes = max_bytes
        self.n_samples = self.n_kept = 0
        self.blocks = Blocks(torch.empty(0, dtype=torch.int64), torch.empty(0, 1, self._lattice.cells).double())
        self._parts = [Samples.of(torch.empty(0, n_factors), torch.empty(0, n_factors), None)]
        self._stride = 1
        self._next_spread = self._bounded(0)

    @property
    def waiting(self) -> Samples:
        """The samples that were not spread."""
        if len(self._parts) > 1:
            self._parts = [Samples(*map(torch.cat, zip(*self._parts, strict=True)))]
        return self._parts[0]

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        return self.blocks.nbytes + sum(part.nbytes for part in self._parts)

    @property
    def _lattice(self) -> Lattice:
        return LATTICES[self.precision]

    @property
    def _most_waiting(self) -> int:
        return min(_MOST_WAITING, self.max_bytes // 2)

    def update(self, mean: Any, log_variance: Any = None, weight: Any = None, *, scale: str | None = None) -> None:
        """Add a batch.

        Parameters
        ----------
        mean, log_variance : array or tensor, shape (M, H)
            Posterior means and log-variances, in any floating type, on any device; the state stays on the device of the
            first batch. Without `log_variance`, `mean` is whatever the encoder returned; see `vaemi.audit` for what is
            read. Every channel of a map at every place is then a factor.
        weight : array or tensor, shape (M,), optional
            Weight of each sample, 0 or more; one by default.
        scale : {"log_variance", "variance", "std", "log_std"}, optional
            What the second output is where `mean` is an encoder's answer.

        Raises
        ------
        ValueError, TypeError
            As in `factor_information`, except that one sample is enough; or if an answer is not understood. The sketch
            is then unchanged.
        """
        if log_variance is None:
            answer = read_answer(mean, scale)
            check_answer(answer, "The encoder returned")
            mean, log_variance = answer.flat()
        elif scale is not None:
            raise ValueError("scale is for an encoder's answer: pass update(answer, scale=...), not two arguments.")
        mean, log_variance = self._checked(mean, log_variance)
        samples = Samples.of(mean, log_variance, checked_weight(weight, mean))
        if self._stride > 1:
            samples = samples.rows(slice(-self.n_samples % self._stride, None, self._stride))
            samples.weight.mul_(self._stride)
        self.n_samples += len(mean)
        self._wait(samples)

    def merge(self, other: InformationSketch) -> None:
        """Add the samples of another sketch; up to rounding, the order does not matter.

        Raises
        ------
        ValueError
            If the two differ in number of factors or in precision, or together exceed `max_bytes`.
        """
        if (self.n_factors, self.precision) != (other.n_factors, other.precision):
            raise ValueError(
                f"A sketch of {other.n_factors} factors at precision {other.precision!r} cannot be merged into one of "
                f"{self.n_factors} at {self.precision!r}: make both alike."
            )
        self._add(other.state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as named tensors; the inverse of `load_state_dict`."""
        counts = torch.tensor([self.n_samples, self.n_kept, self._stride])
        waiting = {f"waiting_{name}": part for name, part in self.waiting._asdict().items()}
        return {"keys": self.blocks.keys, "values": self.blocks.values, **waiting, "counts": counts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the state by one from `state_dict` of a sketch with the same settings."""
        self.n_samples, self.n_kept, self._stride = state["counts"].tolist()
        self.blocks = Blocks(state["keys"], state["values"])
        self._parts = [Samples(*(state[f"waiting_{name}"] for name in Samples._fields))]
        self._next_spread = self._bounded(2 * self.blocks.nbytes)

    def all_gather(self, group: Any = None) -> InformationSketch:
        """Return the merged sketch of all processes, the same in each of them; this one stays as it is.

        Every process must call it, also one without samples. States are exchanged one at a time, so memory does not
        depend on the number of processes. Without a process group there is one process.

        Parameters
        ----------
        group : torch.distributed.ProcessGroup, optional
            The processes; all of them by default.

        Raises
        ------
        RuntimeError
            If a launcher started several processes, and `torch.distributed.init_process_group` was not called.
        ValueError
            If the sketches differ in number of factors or in precision, or together exceed `max_bytes`.
        """
        whole = InformationSketch(self.n_factors, self.precision, self.max_bytes)
        for state in gathered(self.state_dict(), self.n_factors, self.precision, group):
            whole._add(state)
        return whole

    def compute(self) -> FactorInformation:
        """Return the information of every factor from all samples, as `factor_information` does for one batch.

        Raises
        ------
        ValueError
            If there were fewer than two samples.
        """
        self._refuse_too_few()
        return self._information([_fields(part) for _, part in self._evaluations()])

    def compute_with_divergences(self, mean: Any, log_variance: Any) -> tuple[FactorInformation, Tensor]:
        """Return `compute()`, and `divergences` of posteriors that are among the samples, from one evaluation.

        Parameters
        ----------
        mean, log_variance : array or tensor, shape (N, H)
            Posteriors that were passed to `update`, here or in a sketch that was merged.

        Raises
        ------
        ValueError, TypeError
            As in `compute` and `update`.
        """
        self._refuse_too_few()
        mean, log_variance = self._checked(mean, log_variance)
        parts, found = [], []
        # What was left out may lie where no block is.
        asked = None if self.n_kept == self.n_samples else Samples.nothing_at(mean, log_variance)
        for first, part in self._evaluations(asked):
            parts.append(_fields(part))
            found.append(part.divergence_of(first, mean, log_variance, self._lattice))
        return self._information(parts), torch.cat(found, 1)

    def divergences(self, mean: Any, log_variance: Any) -> Tensor:
        """Return KL(q(z_h|x) || q(z_h)) of any posteriors from the aggregated posteriors so far.

        Over the samples of the sketch, the mean is the information, and `standard_error` gives its error for correlated
        samples. For other samples they measure how much each factor carries about each input.

        Parameters
        ----------
        mean, log_variance : array or tensor, shape (N, H)

        Returns
        -------
        Tensor of float64, shape (N, H)
            Nats. Where no posterior of the sketch reaches, the density is set to 1e-290.

        Raises
        ------
        ValueError, TypeError
            As in `update`, or if the sketch is empty.
        """
        mean, log_variance = self._checked(mean, log_variance)
        if not self.n_samples:
            raise ValueError("The sketch holds no samples: call update first.")
        evaluations = self._evaluations(Samples.nothing_at(mean, log_variance))
        return torch.cat(
            [part.divergence_of(first, mean, log_variance, self._lattice) for first, part in evaluations], 1
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a safetensors file, atomically."""
        path = Path(path)
        with _atomic_write(path) as scratch:
            write_tensors(self.state_dict(), scratch, self.file_metadata)

    @property
    def file_metadata(self) -> dict[str, str]:
        """What a file says about the tensors of `state_dict`. It may hold more than a sketch."""
        return {
            "format": _FORMAT,
            "n_factors": str(self.n_factors),
            "precision": self.precision,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InformationSketch:
        """Return the sketch that `save` wrote, or that in a state of `vaemi.audit_files`.

        Raises
        ------
        ValueError
            If the file is damaged or is something else.
        """
        safetensors = _safetensors("safetensors")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("format") != _FORMAT:
                    raise ValueError(f"{path} is not a saved InformationSketch of this version.")
                state = read_tensors(file)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file, or damaged: {error}.") from None
        if state is None:
            raise ValueError(f"{path} is damaged: its checksum does not match its contents.")
        sketch = cls(int(about["n_factors"]), about["precision"])
        sketch.load_state_dict(state)
        return sketch

    def __repr__(self) -> str:
        return (
            f"InformationSketch({self.n_factors} factors, {self.n_samples} samples, precision {self.precision!r}, "
            f"{self.nbytes / 2**20:.1f} MiB)"
        )

    def _refuse_too_few(self) -> None:
        if self.n_samples < 2:
            raise ValueError(f"The sketch holds {counted(self.n_samples, 'sample')}: call update with two or more.")

    def _information(self, parts: list[tuple[Tensor, ...]]) -> FactorInformation:
        found = dict(zip(FIELDS, (torch.cat(part).cpu() for part in zip(*parts, strict=True)), strict=True))
        return FactorInformation(**found, n_samples=self.n_kept, method="mixture")

    def _evaluations(self, asked: Samples | None = None) -> Iterator[tuple[int, Evaluation | DirectEvaluation]]:
        """Evaluate all samples, and `asked` as well, some factors at a time."""
        return evaluations(self.waiting, self._lattice, self.blocks, asked)

    def _checked(self, mean: Any, log_variance: Any) -> tuple[Tensor, Tensor]:
        mean, log_variance = checked_posterior(mean, log_variance, least=1)
        if mean.shape[1] != self.n_factors:
            raise ValueError(f"mean has {mean.shape[1]} factors and the sketch has {self.n_factors}: make them agree.")
        return mean, log_variance

    def _add(self, state: Mapping[str, Tensor]) -> None:
        """Add what is in a state."""
        n_samples, n_kept, stride = state["counts"].tolist()
        if not n_samples:
            return
        blocks = Blocks(state["keys"], state["values"])
        if len(blocks.keys):
            device = self._device or blocks.keys.device
            blocks = self.blocks.to(device) + blocks.to(device)
            if blocks.nbytes > self.max_bytes:
                raise ValueError(
                    f"The sketch would take {blocks.nbytes:,} bytes and max_bytes is {self.max_bytes:,}: raise it, or "
                    "merge fewer sketches."
                )
            self.blocks = blocks
        waiting = Samples(*(state[f"waiting_{name}"] for name in Samples._fields))
        self.n_samples += n_samples
        self.n_kept += n_kept - len(waiting.mean)
        self._stride = max(self._stride, stride)
        self._wait(waiting)

    def _wait(self, samples: Samples) -> None:
        """Keep samples as they are, and spread all that wait if it saves memory."""
        samples = samples.to(self._device or samples.mean.device)
        self._parts = [*(part for part in self._parts if len(part.mean)), samples]
        self.n_kept += len(samples.mean)
        size = sum(part.nbytes for part in self._parts)
        are_few = self.n_kept <= FEW_SAMPLES and not len(self.blocks.keys)  # then `compute` is that of one call
        if size > (self.max_bytes // 2 if are_few else self._next_spread):
            is_full = size > self._most_waiting
            if self._spread(self.max_bytes - self._most_waiting if is_full else self.nbytes):
                size = self.blocks.nbytes
            elif is_full:
                self._thin()
            self._next_spread = self._bounded(2 * size)
        if self._parts[-1] is samples:  # they may be views of what the caller overwrites
            self._parts[-1] = samples.rows(...)

    def _bounded(self, size: int) -> int:
        return min(max(_LEAST_WAITING, size), self._most_waiting)

    def _spread(self, most: int) -> bool:
        """Spread all samples that wait, if the blocks then take `most` bytes or less; return whether they do."""
        groups: list[tuple[int, Blocks]] = []
        size = 0
        for first, blocks in spread_in_groups(self.waiting, self.n_factors, self._lattice, self.blocks):
            groups.append((first, blocks))
            size += blocks.nbytes
            if size > most:
                return False
        self.blocks = joined(groups)
        self._parts = [self.waiting.rows(slice(0))]
        return True

    def _thin(self) -> None:
        """Leave out every second of the samples that wait, until they fit."""
        while (waiting := self.waiting).nbytes > self._most_waiting and len(waiting.mean) > 2:
            self._stride *= 2
            self._parts = [waiting.rows(slice(None, None, 2))]
            self._parts[0].weight.mul_(2)
            self.n_kept -= len(waiting.mean) - len(self._parts[0].mean)

    @property
    def _device(self) -> torch.device | None:
        """Where the state is; None while it is empty."""
        if not self.n_kept:
            return None
        return self.blocks.keys.device if len(self.blocks.keys) else self._parts[0].mean.device


def _fields(evaluation: Evaluation | DirectEvaluation) -> tuple[Tensor, ...]:
    """Return what is kept of an evaluation, whose divergences are as large as the blocks."""
    return tuple(getattr(evaluation, name) for name in FIELDS)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors to a safetensors file, with metadata and a checksum of all."""
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    about = {**metadata, "checksum": _checksum_of_file(on_cpu, metadata)}
    _safetensors("safetensors.torch").save_file(on_cpu, path, about)


def read_tensors(file: Any) -> dict[str, Tensor] | None:
    """Return the tensors of an open file of `write_tensors`, or None if its checksum does not match its contents."""
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata = dict(file.metadata())
    return tensors if metadata.pop("checksum", "") == _checksum_of_file(tensors, metadata) else None


def _checksum_of_file(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    names = sorted(tensors)
    about = [*sorted(metadata.items()), names, checksum(*(tensors[name] for name in names))]
    return hashlib.blake2b(repr(about).encode(), digest_size=16).hexdigest()


@contextmanager
def _atomic_write(path: Path) -> Iterator[Path]:
    """Yield a scratch path in a folder beside `path`; it replaces `path` when the block ends without an error."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder, path.name)
        Path(folder, path.name).replace(path)


def _safetensors(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ImportError("Saving and loading a sketch needs safetensors: pip install 'vaemi[audit]'.") from None
