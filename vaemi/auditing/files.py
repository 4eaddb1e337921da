"""Audit posteriors in files, which together may be far larger than memory: a map (sums of each file) and a merge."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaemi._files import atomic_write, exclusive_lock
from vaemi._progress import progress_bar
from vaemi.auditing.result import Audit
from vaemi.auditing.sums import Sums
from vaemi.errors import AuditError, VaemiError, import_extra
from vaemi.information.answers import MEAN_NAMES, SECOND_NAMES, Answer, check_answer
from vaemi.information.sketch import MAX_BYTES, read_tensors, write_tensors

if TYPE_CHECKING:
    from distributed import Client

#: Endings of files of posteriors.
KINDS = (".npy", ".npz", ".safetensors")
# A state is the file of a sketch with more in it; this is the version of that.
_VERSION = "4"
# What a state holds of the sums besides the criteria.
_PARTS = ("readings", "logarithms", "least", "most")
# What the second array is, by its name.
_SECONDS = {name: scale for scale, names in SECOND_NAMES.items() for name in names}
# Numbers of an array that are read at a time.
_NUMBERS_AT_A_TIME = 1 << 20
_SECONDS_BETWEEN_SAVES = 30.0


def audit_files(
    files: Iterable[Path | str],
    *,
    scale: str | None = None,
    threshold: float = 0.1,
    state: Path | str | None = None,
    client: Client | None = None,
    kl: float | None = None,
    max_bytes: int = MAX_BYTES,
    progress: bool = True,
) -> Audit:
    """Measure which latent factors matter, from posterior means and log-variances in files.

    Files are read in parts and added up in a sketch, so memory grows neither with their size nor with their number.

    Parameters
    ----------
    files : iterable of paths
        Each a ``.safetensors`` or ``.npz`` file with arrays ``mean`` and ``log_variance`` (or ``variance``, ``std``,
        ``log_std``; other usual names, such as ``mu`` and ``logvar``, are read as well), both (M, H) or
        (M, channels, ...); or one of a pair of ``.npy`` files whose names differ by these words, such as ``mean-0.npy``
        and ``log_variance-0.npy``. States (below) of audits of other files can be among them. A file that is named
        twice counts once. A ``.npz`` file is read into memory as a whole.
    scale : {"log_variance", "variance", "std", "log_std"}, optional
        What the second array is, which its name must not contradict.
    threshold : float
        Nats above which a factor counts as influential.
    state : path, optional
        A ``.safetensors`` file for the sums and for digests of the files in them. An existing one is continued: files
        that it contains, also renamed ones, are not counted again. It is saved every 30 seconds and at the end, also
        after an error. `vaemi.InformationSketch.load` reads it, too.
    client : distributed.Client, optional
        A Dask client whose workers count the files. They must find the files under the same names.
    kl, max_bytes : optional
        See `vaemi.audit`.
    progress : bool
        Show a progress bar on standard error, if tqdm is installed.

    Returns
    -------
    Audit
        Covers all files that were counted, those of the states included. Inputs, as in `Criteria.rarest_input`, are
        numbered in the order in which files were counted: states first, then `files`, or with a client as they end.

    Raises
    ------
    AuditError
        If a file cannot be read, its arrays do not fit together or to those of other files, or are not posteriors; if
        two files have the same content, or one has changed since it was counted. The message names the file.
    OSError
        If the state cannot be written.

    Examples
    --------
    >>> import tempfile, torch, vaemi
    >>> from pathlib import Path
    >>> from safetensors.torch import save_file
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2).contiguous()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "part-0.safetensors"
    ...     save_file({"mean": mean, "log_variance": log_variance}, file)
    ...     found = vaemi.audit_files([file], progress=False)
    >>> found.latent_dim
    1
    """
    started = time.monotonic()
    state = None if state is None else Path(state)
    lock = state and exclusive_lock(
        state.with_name(f".{state.name}.lock"), f"audit: waiting for another process that writes {state}."
    )
    with lock or nullcontext():
        shards, states = _inspected([Path(file) for file in files], scale)
        if state and state.exists():
            states[state.resolve()] = state
        total = _Total(max_bytes)
        for path in states.values():
            total.add_state(path)
        for shard in shards:
            total.check_alike(str(shard.mean), shard.shape[1:], shard.scale)
        _count(
            shards,
            total,
            state,
            client,
            partial(progress_bar, desc="audit", unit="file", disable=not progress),
        )
    if total.sums is None or total.sums.criteria.n_samples < 2:
        raise AuditError("The files hold fewer than two inputs: information about the input needs two or more.")
    return total.sums.audit([], threshold, len(total.done), time.monotonic() - started, "posteriors", kl=kl)


@dataclass(frozen=True)
class _Shard:
    """Posteriors in one file, or in a pair of `.npy` files; `names` are those of its two arrays."""

    mean: Path
    second: Path
    names: tuple[str, str]
    scale: str
    shape: tuple[int, ...]

    def digest(self) -> str:
        """Return a digest of the content, whatever the file's name."""
        digest = hashlib.blake2b(digest_size=16)
        for path in dict.fromkeys((self.mean, self.second)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()

    def sums(self, max_bytes: int) -> Sums:
        """Read the arrays in parts and add them up."""
        sums = Sums(self.shape[1:], self.scale, named=True, max_bytes=max_bytes)
        rows = max(1, _NUMBERS_AT_A_TIME // math.prod(self.shape[1:]))
        if self.mean.suffix == ".npz":  # cannot be read in parts
            rows = max(1, self.shape[0])
        for start in range(0, self.shape[0], rows):
            stop = min(start + rows, self.shape[0])
            arrays = zip((self.mean, self.second), self.names, strict=True)
            mean, second = (_rows(path, name, start, stop) for path, name in arrays)
            answer, where = Answer(mean, second, self.scale, named=True), f"{self.mean} (rows {start} to {stop - 1})"
            try:
                check_answer(answer, f"{where} holds", first_row=start)
            except ValueError as error:
                raise AuditError(str(error)) from None
            sums.update(answer, where)
        return sums


class _Total:
    """Sums of the files counted so far, and the names of these files by the digest of their content."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.sums: Sums | None = None
        self.done: dict[str, str] = {}
        self.first: tuple[str, tuple[int, ...], str] | None = None

    def check_alike(self, name: str, shape: tuple[int, ...], scale: str) -> None:
        """Raise an AuditError unless the latents in a file are like those in the first file."""
        self.first = self.first or (name, shape, scale)
        if (shape, scale) != self.first[1:]:
            raise AuditError(
                f"{name} holds latents of shape {shape} with their {scale}, and {self.first[0]} latents of shape "
                f"{self.first[1]} with their {self.first[2]}: all files must be alike."
            )

    def add(self, sums: Sums, done: dict[str, str], name: str) -> None:
        if self.sums is None:
            self.sums = sums
        else:
            try:
                self.sums.merge(sums)
            except ValueError as error:
                raise AuditError(f"{name}: {error}") from None
        self.done |= done

    def add_state(self, path: Path) -> None:
        sums, done = _load_state(path, self.max_bytes)
        self.check_alike(str(path), sums.shape, sums.scale)
        if twice := next((digest for digest in done if digest in self.done), None):
            raise AuditError(
                f"{path} has counted {done[twice]}, which has the same content as {self.done[twice]}: a sample counts "
                "once; leave one of them out."
            )
        self.add(sums, done, str(path))

    def uncounted(self, shards: Iterable[tuple[_Shard, str]]) -> Iterator[tuple[_Shard, str]]:
        """Yield the shards, with their digests, that were not counted before."""
        counted_names = set(self.done.values())
        seen: dict[str, Path] = {}
        for shard, digest in shards:
            if digest in seen:
                raise AuditError(
                    f"{shard.mean} has the same content as {seen[digest]}: a sample counts once; leave one of them out."
                )
            seen[digest] = shard.mean
            if digest in self.done:
                continue
            if str(shard.mean) in counted_names:
                raise AuditError(
                    f"{shard.mean} has changed since it was counted: delete the state to count everything again, or "
                    "rename the file if it holds other samples."
                )
            yield shard, digest


def _count(shards: list[_Shard], total: _Total, state: Path | None, client: Client | None, bar: Any) -> None:
    """Add the new shards to the total, and save it now and then and at the end."""
    saved = time.monotonic()
    try:
        for shard, digest, sums in _counted(shards, total, client, bar):
            total.add(sums, {digest: str(shard.mean)}, str(shard.mean))
            if state is not None and time.monotonic() > saved + _SECONDS_BETWEEN_SAVES:
                _save_state(state, total)
                saved = time.monotonic()
    finally:
        if state is not None:
            _save_state(state, total)


def _counted(
    shards: list[_Shard], total: _Total, client: Client | None, bar: Any
) -> Iterator[tuple[_Shard, str, Sums]]:
    """Yield the new shards with their digests and sums, in the order in which they are done."""
    if client is None:
        for shard, digest in total.uncounted((shard, shard.digest()) for shard in bar(shards)):
            yield shard, digest, shard.sums(total.max_bytes)
        return
    distributed = import_extra("distributed", "dask")
    # Impure: the same name may stand for another content than in an earlier call.
    digests = client.gather(client.map(_Shard.digest, shards, pure=False))
    new = list(total.uncounted(zip(shards, digests, strict=True)))
    futures = client.map(_Shard.sums, [shard for shard, _ in new], max_bytes=total.max_bytes, pure=False)
    shard_of = dict(zip(futures, new, strict=True))
    try:
        for future, sums in bar(distributed.as_completed(futures, with_results=True), total=len(new)):
            yield *shard_of[future], sums
            future.release()
    except distributed.KilledWorker as error:
        raise AuditError("Dask's workers were killed repeatedly, perhaps because memory ran out.") from error
    finally:
        client.cancel(futures)


def _save_state(path: Path, total: _Total) -> None:
    sums = total.sums
    if sums is None:
        return
    metadata = sums.criteria.information.file_metadata | {
        "audit": _VERSION,
        "shape": json.dumps(sums.shape),
        "scale": sums.scale,
        "done": json.dumps(total.done),
    }
    tensors = sums.criteria.state_dict() | {name: getattr(sums, name) for name in _PARTS}
    with atomic_write(path) as scratch:
        write_tensors(tensors, scratch, metadata)


def _load_state(path: Path, max_bytes: int) -> tuple[Sums, dict[str, str]]:
    with _readable(path), _opened(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("audit") != _VERSION:
            raise AuditError(
                f"{path} is not the state of an audit of files by this version: choose another name, or delete it."
            )
        sums = Sums(tuple(json.loads(metadata["shape"])), metadata["scale"], named=True, max_bytes=max_bytes)
        if (tensors := read_tensors(file)) is None:
            raise AuditError(
                f"{path} is damaged: its checksum does not match its contents. Delete it, and count again."
            )
        sums.criteria.load_state_dict(tensors)
        for name in _PARTS:
            setattr(sums, name, tensors[name])
        return sums, json.loads(metadata["done"])


def _inspected(files: Iterable[Path], scale: str | None) -> tuple[list[_Shard], dict[Path, Path]]:
    """Read the heads of all files, and return shards, and states by absolute path, each once."""
    shards: dict[_Shard, None] = {}
    states: dict[Path, Path] = {}
    for path in files:
        if path.suffix not in KINDS:
            raise AuditError(f"{path} cannot be read as posteriors: use {', '.join(KINDS)} files.")
        if not path.exists():
            raise AuditError(f"There is no {path}: name files with the arrays mean and log_variance.")
        shard = _npy_pair(path) if path.suffix == ".npy" else _shard_in_one_file(path)
        if shard is None:
            states[path.resolve()] = path
            continue
        if scale not in (None, shard.scale):
            raise AuditError(
                f"The second array of {shard.mean} is named {shard.scale}, but scale is {scale}: rename the array, or "
                "leave scale out."
            )
        shards[shard] = None
    return list(shards), states


def _shard_in_one_file(path: Path) -> _Shard | None:
    """Return the posteriors in a file, or None if it is a state."""
    with _readable(path):
        if path.suffix == ".npz":
            shapes = {name: array.shape for name, array in npz_arrays(path).items()}
        else:
            with _opened(path) as file:
                metadata = file.metadata() or {}
                if "audit" in metadata:
                    return None
                if "n_factors" in metadata:
                    raise AuditError(
                        f"{path} is a saved InformationSketch, which has only part of what an audit needs: read it "
                        "with vaemi.InformationSketch.load, or audit the posteriors that it was made from."
                    )
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    mean = next((name for name in MEAN_NAMES if name in shapes), None)
    second, scale = next(((name, scale) for name, scale in _SECONDS.items() if name in shapes), (None, None))
    if mean is None or second is None or scale is None:
        raise AuditError(
            f"{path} holds {', '.join(shapes) or 'no arrays'}: posteriors are arrays named mean and log_variance (or "
            "variance, std, log_std); to audit inputs, name the encoder first."
        )
    return _shard(path, path, (mean, second), scale, shapes[mean], shapes[second])


def _npy_pair(path: Path) -> _Shard:
    # Longer names first, as log_variance contains variance.
    words = sorted((*MEAN_NAMES, *_SECONDS), key=len, reverse=True)
    word = next((word for word in words if word in path.name), path.name)

    def existing(names: Iterable[str]) -> tuple[Path, str] | None:
        parts = ((path.with_name(path.name.replace(word, name)), name) for name in names)
        return next(((part, name) for part, name in parts if part.exists()), None)

    mean, second = existing(MEAN_NAMES), existing(_SECONDS)
    if mean is None or second is None or mean == second:
        raise AuditError(
            f"{path} is one array: posteriors in .npy files come in pairs, such as mean-0.npy and log_variance-0.npy; "
            "to audit inputs, name the encoder first."
        )
    shapes = []
    for part, _ in (mean, second):
        with _readable(part):
            shapes.append(_mapped(part).shape)
    return _shard(mean[0], second[0], (mean[1], second[1]), _SECONDS[second[1]], shapes[0], shapes[1])


def _shard(
    mean: Path, second: Path, names: tuple[str, str], scale: str, shape: tuple[int, ...], second_shape: tuple[int, ...]
) -> _Shard:
    if shape != second_shape or len(shape) < 2 or 0 in shape[1:]:
        raise AuditError(
            f"{mean} holds {' and '.join(names)} of shapes {shape} and {second_shape}: both must be (inputs, factors), "
            "or (inputs, channels, ...)."
        )
    return _Shard(mean, second, names, scale, shape)


def _rows(path: Path, name: str, start: int, stop: int) -> Tensor:
    """Read rows of an array. The file is opened anew for each, as pages of a mapped file count as memory."""
    with _readable(path):
        if path.suffix == ".safetensors":
            with _opened(path) as file:
                return file.get_slice(name)[start:stop]
        array = _mapped(path) if path.suffix == ".npy" else npz_arrays(path)[name]
        return torch.from_numpy(np.array(array[start:stop], dtype=array.dtype.newbyteorder("=")))


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in a file of NumPy, without running code that it may contain."""
    # Opened here, as NumPy leaves a damaged file open that it opened itself.
    with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
        return dict(file)


def _opened(path: Path) -> Any:
    return import_extra("safetensors", "audit").safe_open(path, framework="pt")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises for a damaged file, or for one with objects, into an AuditError."""
    try:
        yield
    except (VaemiError, OSError):
        raise
    except Exception as error:
        raise AuditError(
            f"{path} cannot be read as arrays of numbers (it is damaged, or it holds objects, which are not loaded): "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
