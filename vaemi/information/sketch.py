"""Information in one pass, in memory that does not depend on the number of samples, and in parts that add up."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .answers import check_answer, read_answer
from .checks import checked_choice, checked_posterior, checked_weight
from .distributed import gathered
from .lattice import LATTICES, MOST_FACTORS, Lattice
from .mixture import Evaluation, evaluate_in_parts
from .result import FactorInformation
from .spreading import Blocks, factor_groups, gather, joined, rows_of_factors, spread

_FORMAT = "vaemi.InformationSketch/1"
#: Default of `max_bytes`.
MAX_BYTES = 2**31


class InformationSketch:
    """The aggregated posteriors of H factors, updated by batches of posterior means and log-variances.

    Samples are spread over a lattice that is the same for all data. So sketches of parts of the data, made in any order
    and on any machine, add up to the sketch of the whole.

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
        distance between them.

    Attributes
    ----------
    n_samples : int
        M, the number of samples so far.
    blocks : Blocks
        The state.

    Raises
    ------
    ValueError
        If there are no factors or more than two million, or the precision is unknown.

    Examples
    --------
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
        self.n_samples = 0
        self.blocks = Blocks(torch.empty(0, dtype=torch.int64), torch.empty(0, 1, self._lattice.cells).double())

    @property
    def _lattice(self) -> Lattice:
        return LATTICES[self.precision]

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        return self.blocks.nbytes

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
            As in `factor_information`, except that one sample is enough; if an answer is not understood; or if the
            state would exceed `max_bytes`. The sketch is then unchanged.
        """
        if log_variance is None:
            answer = read_answer(mean, scale)
            check_answer(answer, "The encoder returned")
            mean, log_variance = answer.flat()
        elif scale is not None:
            raise ValueError("scale is for an encoder's answer: pass update(answer, scale=...), not two arguments.")
        mean, log_variance = self._checked(mean, log_variance)
        self._add(self._spread(mean, log_variance, checked_weight(weight, mean)), len(mean))

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
        self._add(other.blocks, other.n_samples)

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
        for blocks, n_samples in gathered(self.blocks, self.n_samples, self.n_factors, self.precision, group):
            if n_samples:
                whole._add(blocks, n_samples)
        return whole

    def compute(self) -> FactorInformation:
        """Return the information of every factor from all samples, as `factor_information` does for one batch.

        Raises
        ------
        ValueError
            If there were fewer than two samples.
        """
        self._refuse_too_few()
        return self._information([part for _, part in evaluate_in_parts(self.blocks, self._lattice)])

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
        for first, part in evaluate_in_parts(self.blocks, self._lattice):
            parts.append(part)
            found.append(self._gathered(first, part, mean, log_variance))
        return self._information(parts), torch.cat(found).T

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
        asked = self._spread(mean, log_variance, None)
        blocks = self.blocks + Blocks(asked.keys, torch.zeros_like(asked.values))
        parts = evaluate_in_parts(blocks, self._lattice)
        return torch.cat([self._gathered(first, part, mean, log_variance) for first, part in parts]).T

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a safetensors file, atomically."""
        save_file = _safetensors("safetensors.torch").save_file
        path = Path(path)
        state = {"keys": self.blocks.keys, "values": self.blocks.values}
        with _atomic_write(path) as scratch:
            save_file({name: tensor.cpu().contiguous() for name, tensor in state.items()}, scratch, self.file_metadata)

    @property
    def file_metadata(self) -> dict[str, str]:
        """What a file says about the tensors ``keys`` and ``values`` of the state. It may hold more than a sketch."""
        return {
            "format": _FORMAT,
            "n_factors": str(self.n_factors),
            "precision": self.precision,
            "n_samples": str(self.n_samples),
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
                sketch = cls(int(about["n_factors"]), about["precision"])
                sketch.n_samples = int(about["n_samples"])
                sketch.blocks = Blocks(file.get_tensor("keys"), file.get_tensor("values"))
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file, or damaged: {error}.") from None
        return sketch

    def __repr__(self) -> str:
        return (
            f"InformationSketch({self.n_factors} factors, {self.n_samples} samples, precision {self.precision!r}, "
            f"{self.nbytes / 2**20:.1f} MiB)"
        )

    def _refuse_too_few(self) -> None:
        if self.n_samples < 2:
            raise ValueError(f"The sketch holds {self.n_samples} sample(s): call update with two or more.")

    def _information(self, parts: list[Evaluation]) -> FactorInformation:
        names = ("nats", "stderr", "marginal_std", "leave_one_out")
        found = {name: torch.cat([getattr(part, name) for part in parts]).cpu() for name in names}
        return FactorInformation(**found, n_samples=self.n_samples, method="mixture")

    def _gathered(self, first: int, part: Evaluation, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return the divergences of posteriors (N, H) for the factors of a part, from the first of them, (h, N)."""
        columns = slice(first, first + len(part.nats))
        rows = rows_of_factors(mean[:, columns]), rows_of_factors(log_variance[:, columns])
        return gather(part.divergence, part.keys, *rows, self._lattice)

    def _checked(self, mean: Any, log_variance: Any) -> tuple[Tensor, Tensor]:
        mean, log_variance = checked_posterior(mean, log_variance, least=1)
        if mean.shape[1] != self.n_factors:
            raise ValueError(f"mean has {mean.shape[1]} factors and the sketch has {self.n_factors}: make them agree.")
        return mean, log_variance

    def _spread(self, mean: Tensor, log_variance: Tensor, weight: Tensor | None) -> Blocks:
        parts, counts = [], []
        for rows in factor_groups(mean, log_variance):
            parts.append(spread(*rows, weight, self._lattice))
            counts.append(len(rows[0]))
        return joined(parts, counts)

    def _add(self, blocks: Blocks, n_samples: int) -> None:
        blocks = blocks.to(self.blocks.keys.device) if self.n_samples else blocks
        if not self.blocks.add_in_place(blocks):
            total = self.blocks.to(blocks.keys.device) + blocks
            if total.nbytes > self.max_bytes:
                raise ValueError(
                    f"The sketch would take {total.nbytes:,} bytes and max_bytes is {self.max_bytes:,}: its posteriors "
                    "are far narrower than the distances between them; clamp log_variance from below, which can only "
                    "lower the information, or raise max_bytes."
                )
            self.blocks = total
        self.n_samples += n_samples


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
