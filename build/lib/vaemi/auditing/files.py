"""Audits of posteriors that lie in files, which together may be far larger than memory."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vaemi._files import only_one, written_whole
from vaemi.auditing.encoder import SCALES, Audit, AuditError, _Answer, _Gathered
from vaemi.information import InformationSketch
from vaemi.information.spreading import Blocks

#: Endings of the files that are read.
KINDS = (".npy", ".npz", ".pt", ".safetensors")
_FORMAT = "vaemi.audit_shards/1"
# Numbers of a posterior that are read at a time.
_AT_A_TIME = 1 << 20


def audit_shards(
    files: Iterable[Path | str],
    *,
    scale: str | None = None,
    threshold: float = 0.1,
    state: Path | str | None = None,
    processes: int = 1,
    precision: str = "default",
    max_bytes: int = 2**31,
    save_seconds: float = 30.0,
    progress: bool = True,
) -> Audit:
    """Which latent factors matter, from posterior means and log-variances in files.

    Files are read a part at a time and gathered in a sketch, so that the memory needed grows neither with their size
    nor with their number.

    Parameters
    ----------
    files : iterable of paths
        Each with arrays ``mean`` and ``log_variance`` (or ``variance``, ``std``, ``log_std``), both (M, H), or
        (M, channels, ...): ``.npz``, ``.safetensors`` or ``.pt``; or pairs of ``.npy`` whose names differ by these
        words, such as ``mean-0.npy`` and ``log_variance-0.npy``. Also states (below) of audits of other files, made
        elsewhere. A file that is named twice counts once.
    scale : {"log_variance", "variance", "std", "log_std"}, optional
        What the second array must be called.
    threshold : float
        Nats above which a factor counts as influential.
    state : path, optional
        Where what was gathered is kept, with digests of the files that it is from. The same call goes on from there; a
        call with more files adds those. Without it an interrupted audit is lost.
    processes : int
        Among which the files are shared out. From a script, call under ``if __name__ == "__main__":``.
    precision : {"default", "high"}
        As of `InformationSketch`.
    max_bytes : int
        As of `InformationSketch`.
    save_seconds : float
        How often the state is saved; also in the end, however it comes, if it is not that of a kill.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Audit
        Of all files that were counted, those of the state included.

    Raises
    ------
    AuditError
        If a file cannot be read, its arrays do not fit together or to those of other files, or hold what no posterior
        is, or two files have the same content, or one has changed since it was counted; the message names the file.
        What was counted before is kept in the state.
    OSError
        If there is no such file, or the state cannot be written.
    """
    started = time.monotonic()
    if not threshold >= 0:
        raise AuditError(f"threshold is {threshold}: give a number of nats >= 0.")
    if processes < 1:
        raise AuditError(f"processes is {processes}: give a number >= 1.")
    kept = None if state is None else Path(state)
    with ExitStack() as stack:
        if kept is not None:
            stack.enter_context(only_one(kept.with_name(f".{kept.name}.lock"), lambda: _say_waiting(kept)))
        count = _Count(_Gathered(precision, max_bytes), {})
        if kept is not None and kept.exists():
            count.take_in(kept)
        shards, states = _found([Path(file) for file in files], scale)
        for other in states:
            if kept is None or os.path.realpath(other) != os.path.realpath(kept):
                count.take_in(other)
        _check_alike(shards, count.gathered)
        count.run(shards, kept, processes, save_seconds, progress)
    sketch = count.gathered.sketch
    if sketch is None or sketch.n_samples < 2:
        raise AuditError("The files hold fewer than two inputs: information about the input needs two or more.")
    return count.gathered.audit([], threshold, len(count.done), time.monotonic() - started, "posteriors")


@dataclass(frozen=True)
class _Shard:
    """A file of posteriors, or a pair of them.

    Attributes
    ----------
    paths : tuple of Path
        One, or those of the mean and of the second array.
    scale : str
        Name of the second array.
    shape : tuple of int
        Of both arrays.
    """

    paths: tuple[Path, ...]
    scale: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return str(self.paths[0])

    def digest(self) -> str:
        """Of what is in it, whatever it is called."""
        parts = []
        for path in self.paths:
            with path.open("rb") as file:
                parts.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest())
        return "".join(parts)

    def gathered(self, precision: str, max_bytes: int, tell: Callable[[int], Any]) -> _Gathered:
        """What all of it comes to; tells the rows read."""
        gathered = _Gathered(precision, max_bytes)
        rows = max(1, _AT_A_TIME // prod(self.shape[1:]))
        start = 0
        for mean, second in _parts(self, rows):
            where = f"{self.name} (rows {start} to {start + len(mean) - 1})"
            _check_values(self, start, {"mean": mean, self.scale: second})
            gathered.add(_Answer(mean, second, self.scale, named=True), where)
            start += len(mean)
            tell(len(mean))
        return gathered


@dataclass
class _Count:
    """What was gathered so far, and of which contents: names and numbers of inputs by digest."""

    gathered: _Gathered
    done: dict[str, list[Any]]
    unsaved: bool = field(default=False)

    def take_in(self, path: Path) -> None:
        """Add a state."""
        gathered, done = _unpacked(path.read_bytes(), path, self.gathered)
        for digest, (name, _) in done.items():
            if digest in self.done:
                raise AuditError(
                    f"{path} has counted {name}, and so was {self.done[digest][0]} with the same content: a sample "
                    "counts once; leave one of them out."
                )
        self._merge(gathered, str(path))
        self.done |= done
        self.unsaved = True

    def run(
        self, shards: Sequence[_Shard], state: Path | None, processes: int, save_seconds: float, progress: bool
    ) -> None:
        """Count all shards that were not counted before."""
        saved = time.monotonic()
        total = sum(shard.shape[0] for shard in shards)
        with tqdm(total=total, desc="audit", unit=" inputs", unit_scale=True, disable=not progress) as bar:
            try:
                with ExitStack() as stack:
                    news = self._new(shards, bar.update)
                    one = (self.gathered.precision, self.gathered.max_bytes)
                    counted: Iterator[tuple[_Shard, str, _Gathered]]
                    if processes == 1:
                        counted = ((shard, digest, shard.gathered(*one, bar.update)) for shard, digest in news)
                    else:
                        counted = stack.enter_context(_counted_elsewhere(news, one, processes, bar.update))
                    for shard, digest, gathered in counted:
                        if gathered.sketch is not None:
                            self._merge(gathered, shard.name)
                        # At once with the sums: a shard is in both or in neither.
                        self.done[digest] = [shard.name, shard.shape[0]]
                        self.unsaved = True
                        if state is not None and time.monotonic() > saved + save_seconds:
                            self._save(state)
                            saved = time.monotonic()
            except KeyboardInterrupt:
                if state is not None:
                    tqdm.write(f"audit: {len(self.done)} file(s) are counted in {state}.", file=sys.stderr)
                raise
            finally:
                if state is not None and self.unsaved and self.gathered.sketch is not None:
                    self._save(state)

    def _new(self, shards: Sequence[_Shard], tell: Callable[[int], Any]) -> Iterator[tuple[_Shard, str]]:
        """Shards to be counted, with their digests; those that were are told."""
        counted_as = {name: digest for digest, (name, _) in self.done.items()}
        here: dict[str, str] = {}
        for shard in shards:
            digest = shard.digest()
            if digest in here:
                raise AuditError(
                    f"{shard.name} has the same content as {here[digest]}: a sample counts once; leave one of them out."
                )
            here[digest] = shard.name
            if digest in self.done:
                tell(shard.shape[0])
            elif shard.name in counted_as:
                raise AuditError(
                    f"{shard.name} has changed since it was counted: delete the state to count everything anew, or "
                    "give the new file another name if its samples are others."
                )
            else:
                yield shard, digest

    def _merge(self, gathered: _Gathered, name: str) -> None:
        try:
            self.gathered.merge(gathered)
        except ValueError as error:
            raise AuditError(f"{name}: {error}") from None

    def _save(self, path: Path) -> None:
        with written_whole(path) as scratch:
            scratch.write_bytes(_packed(self.gathered, self.done))
        self.unsaved = False


@contextmanager
def _counted_elsewhere(
    news: Iterator[tuple[_Shard, str]], settings: tuple[str, int], processes: int, tell: Callable[[int], Any]
) -> Iterator[Iterator[tuple[_Shard, str, _Gathered]]]:
    """Shards with what other processes gathered of them, in the order in which they are done."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin_process, initargs=(threads,)
    )

    def counted() -> Iterator[tuple[_Shard, str, _Gathered]]:
        pending: dict[Future[bytes], tuple[_Shard, str]] = {}
        exhausted = False
        while pending or not exhausted:
            # One more than are at work, so that none waits for a digest.
            while not exhausted and len(pending) <= processes:
                if (new := next(news, None)) is None:
                    exhausted = True
                else:
                    pending[pool.submit(_packed_shard, new[0], *settings)] = new
            for future in wait(pending, return_when=FIRST_COMPLETED).done if pending else ():
                shard, digest = pending.pop(future)
                try:
                    content = future.result()
                except BrokenProcessPool:
                    raise AuditError(
                        "A process that counted files ended by itself, perhaps for want of memory: try fewer processes."
                    ) from None
                gathered, _ = _unpacked(content, shard.paths[0], _Gathered(*settings))
                tell(shard.shape[0])
                yield shard, digest, gathered

    try:
        yield counted()
    finally:
        # What is at work would be waited for.
        children = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
            child.join()


def _begin_process(threads: int) -> None:
    # Ctrl-C is for the process that started this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _packed_shard(shard: _Shard, precision: str, max_bytes: int) -> bytes:
    return _packed(shard.gathered(precision, max_bytes, lambda rows: None), {})


def _packed(gathered: _Gathered, done: Mapping[str, Sequence[Any]]) -> bytes:
    """Sums and the list of what they are from, as the content of a safetensors file."""
    from safetensors.torch import save

    about = {"format": _FORMAT, "precision": gathered.precision, "done": json.dumps(done)}
    if gathered.sketch is None:
        return save({"keys": torch.empty(0)}, about | {"empty": "yes"})
    about |= {
        "n_factors": str(gathered.sketch.n_factors),
        "n_samples": str(gathered.sketch.n_samples),
        "shape": json.dumps(gathered.shape),
        "scale": gathered.scale,
        "named": json.dumps(gathered.named),
        "constant": json.dumps(gathered.constant),
        "range": json.dumps([gathered.least, gathered.most]),
    }
    blocks = gathered.sketch.blocks
    tensors = {"keys": blocks.keys, "values": blocks.values, "sums": gathered.sums, "first": gathered.first}
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, about)


def _unpacked(content: bytes, path: Path, like: _Gathered) -> tuple[_Gathered, dict[str, list[Any]]]:
    """What `_packed` made, with the limits of another."""
    from safetensors.torch import load

    about = _about(content)
    if about.get("format") != _FORMAT:
        raise AuditError(f"{path} is no state of an audit of files: give another name, or delete it.")
    if about["precision"] != like.precision:
        raise AuditError(f"{path} was made at precision {about['precision']!r}: ask for that, or start another state.")
    gathered = _Gathered(like.precision, like.max_bytes)
    done = json.loads(about["done"])
    if "empty" in about:
        return gathered, done
    try:
        tensors = load(content)
    except _reading_errors() as error:
        raise AuditError(f"{path} is damaged: delete it to count everything anew ({error}).") from None
    sketch = InformationSketch(int(about["n_factors"]), like.precision, like.max_bytes)
    sketch.n_samples, sketch.blocks = int(about["n_samples"]), Blocks(tensors["keys"], tensors["values"])
    gathered.sketch, gathered.sums, gathered.first = sketch, tensors["sums"], tensors["first"]
    gathered.shape, gathered.scale, gathered.device = tuple(json.loads(about["shape"])), about["scale"], "cpu"
    gathered.named, gathered.constant = json.loads(about["named"]), json.loads(about["constant"])
    gathered.least, gathered.most = json.loads(about["range"])
    return gathered, done


def _about(content: bytes) -> dict[str, str]:
    """The texts in the head of a safetensors file, none if it is something else."""
    try:
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return dict(head.get("__metadata__", {}))
    except (ValueError, AttributeError):
        return {}


def _found(files: Sequence[Path], scale: str | None) -> tuple[list[_Shard], list[Path]]:
    """Files as shards and as states, each once."""
    shards: dict[str, _Shard] = {}
    states: dict[str, Path] = {}
    for path in files:
        if path.suffix not in KINDS:
            raise AuditError(f"{path} is of no kind that is read: give {', '.join(KINDS)}.")
        if not path.exists():
            raise AuditError(f"There is no {path}: give files with the arrays mean and log_variance.")
        if path.suffix == ".safetensors" and _is_state(path):
            states.setdefault(os.path.realpath(path), path)
            continue
        shard = _pair(path, scale) if path.suffix == ".npy" else _one_file(path, scale)
        shards.setdefault(os.path.realpath(shard.paths[0]), shard)
    return list(shards.values()), list(states.values())


def _is_state(path: Path) -> bool:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(0)
        return length < 1 << 26 and _about(file.read(8 + length)).get("format") == _FORMAT


def _one_file(path: Path, scale: str | None) -> _Shard:
    shapes = _shapes(path)
    second = next((name for name in SCALES if name in shapes), None)
    if "mean" not in shapes or second is None:
        raise AuditError(
            f"{path} holds {', '.join(shapes) or 'no arrays'}: posteriors are arrays named mean and log_variance (or "
            "variance, std, log_std); for inputs name the encoder first."
        )
    return _checked(_Shard((path,), second, shapes["mean"]), shapes[second], scale)


def _pair(path: Path, scale: str | None) -> _Shard:
    """The pair of .npy files of which one is given."""
    # The longer names first, which have the shorter ones within.
    words = ("mean", *sorted(SCALES, key=len, reverse=True))
    word = next((word for word in words if word in path.name), None)
    mean = path.with_name(path.name.replace(word, "mean")) if word is not None else path
    others = {name: path.with_name(path.name.replace(word, name)) for name in SCALES} if word is not None else {}
    second = next((name for name, other in others.items() if other.exists()), None)
    if second is None or not mean.exists():
        raise AuditError(
            f"{path} is one array: posteriors in .npy files come in pairs, such as mean-0.npy and log_variance-0.npy; "
            "for inputs name the encoder first."
        )
    shape, other = (_shapes(part)["x"] for part in (mean, others[second]))
    return _checked(_Shard((mean, others[second]), second, shape), other, scale)


def _checked(shard: _Shard, second_shape: tuple[int, ...], scale: str | None) -> _Shard:
    if scale is not None and scale != shard.scale:
        raise AuditError(
            f"{shard.name} names its second array {shard.scale}, and --scale says {scale}: rename it or leave that out."
        )
    if shard.shape != second_shape:
        raise AuditError(
            f"{shard.name} holds mean and {shard.scale} of shapes {shard.shape} and {second_shape}: they must be the "
            "same."
        )
    if len(shard.shape) < 2 or 0 in shard.shape[1:]:
        raise AuditError(
            f"{shard.name} holds a mean of shape {shard.shape}: give (inputs, factors), or (inputs, channels, ...)."
        )
    return shard


def _check_alike(shards: Sequence[_Shard], gathered: _Gathered) -> None:
    """Raise if latents differ, before anything is counted."""
    first = (gathered.shape, gathered.scale, "those counted before") if gathered.sketch is not None else None
    for shard in shards:
        shape = shard.shape[1:]
        if first is None:
            first = (shape, shard.scale, shard.name)
        if (shape, shard.scale) != first[:2]:
            raise AuditError(
                f"{shard.name} holds latents of shape {shape} with their {shard.scale}, and {first[2]} latents of "
                f"shape {first[0]} with their {first[1]}: all files must hold the same."
            )


def _check_values(shard: _Shard, start: int, parts: Mapping[str, Tensor]) -> None:
    for name, values in parts.items():
        bad = ~values.isfinite()
        why = "are not finite"
        if name in ("variance", "std"):
            bad |= ~(values > 0)
            why = "are not finite and greater than 0"
        if bad.any():
            row = start + int(bad.flatten(1).any(1).nonzero()[0])
            raise AuditError(
                f"{shard.name} holds {int(bad.sum())} value(s) of {name} that {why}, the first in row {row}: look at "
                "that input, or leave the file out; the others are unharmed."
            )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's arrays by name, from its head where it has one."""
    with _readable(path):
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {name.removesuffix(".npy"): _Column(archive, name).shape for name in archive.namelist()}
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return {name: tuple(array.shape) for name, array in _mapped(path).items()}


def _parts(shard: _Shard, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Mean and second array of a shard, so many rows at a time.

    A file that is mapped into memory is opened anew for every part, as what was read of it would otherwise count as
    used memory until it is closed.
    """
    names = ("mean", shard.scale) if len(shard.paths) == 1 else ("x", "x")
    sources = list(zip(shard.paths * (2 // len(shard.paths)), names, strict=True))
    spans = [(start, min(start + rows, shard.shape[0])) for start in range(0, shard.shape[0], rows)]
    path = shard.paths[0]
    with ExitStack() as stack:
        if path.suffix == ".npz":
            with _readable(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                columns = [_Column(archive, f"{name}.npy") for name in names]
        for start, stop in spans:
            with _readable(path):
                if path.suffix == ".npz":
                    mean, second = (column.take(stop - start) for column in columns)
                elif path.suffix == ".safetensors":
                    from safetensors import safe_open

                    with safe_open(path, framework="pt") as file:
                        mean, second = (file.get_slice(name)[start:stop] for name in names)
                else:
                    mean, second = (_copied(_mapped(place)[name][start:stop]) for place, name in sources)
            yield mean, second


class _Column:
    """An array of an .npz file, read from its beginning on; compressed ones can be read in no other way."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.file = archive.open(name)
        version = np.lib.format.read_magic(self.file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, columns_first, self.dtype = read(self.file)
        self.whole: np.ndarray | None = None
        if columns_first and len(self.shape) > 1:
            # Its rows lie scattered.
            self.file = archive.open(name)
            self.whole = np.lib.format.read_array(self.file, allow_pickle=False)
        self.position = 0

    def take(self, rows: int) -> Tensor:
        """The next rows."""
        if self.dtype.kind not in "fiu":
            raise ValueError(f"an array of {self.dtype}")
        start, self.position = self.position, self.position + rows
        if self.whole is not None:
            return _copied(self.whole[start : self.position])
        shape = (rows, *self.shape[1:])
        content = self.file.read(prod(shape) * self.dtype.itemsize)
        return _copied(np.frombuffer(content, self.dtype).reshape(shape))


def _mapped(path: Path) -> dict[str, Any]:
    """Arrays of an .npy file (named x) or tensors of a .pt file, in memory only where they are looked at."""
    if path.suffix == ".npy":
        return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}
    loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(loaded, Mapping):
        raise ValueError("no dictionary of tensors")
    return {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}


def _copied(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.clone()
    if values.dtype.kind not in "fiu":
        raise ValueError(f"an array of {values.dtype}")
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("=")))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What reading raises as one sentence."""
    try:
        yield
    except AuditError:
        raise
    except _reading_errors() as error:
        raise AuditError(
            f"{path} cannot be read as arrays of numbers (damaged, or it holds objects, which are not loaded): "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _reading_errors() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
    )


def _say_waiting(state: Path) -> None:
    print(f"audit: another process counts into {state}; waiting for it.", file=sys.stderr)
