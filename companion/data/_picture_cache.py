"""Pictures as one memory map of bytes: made once, chunk after chunk, and not used before all of it is there.

Threads make the chunks (Pillow decodes outside the interpreter's lock). They are appended in order, each followed by a
line in a journal with its checksum: what a killed process leaves are whole chunks and perhaps a part of one, and the
next process goes on after the last chunk whose checksum holds. The folder gets its final name when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from companion.data.sources import DataError, writable_folder
from vaemi._files import only_one, written_whole

# Raised whenever older caches must not be used any more.
_FORMAT = 1
# Pictures that are made, checked and, after a kill, lost together: 6 MB at 64x64.
CHUNK = 500

_IMAGES, _JOURNAL, _MANIFEST = "images.u8", "journal.jsonl", "manifest.json"


class Chunk(NamedTuple):
    """Pictures of a range of positions, uint8 (K, 3, size, size), and why others of the range are not among them."""

    pictures: np.ndarray
    faults: Mapping[int, str]


@dataclass(frozen=True)
class Recipe:
    """What a cache is made of.

    Attributes
    ----------
    name : str
        For messages.
    settings : dict
        Whatever decides the pictures, as JSON holds it; another dict is another cache.
    n, size : int
        Number of pictures, and their height and width.
    make : callable
        The chunk of positions start <= i < stop; called in several threads.
    allow : callable
        Given the faults known so far, position to reason; raises DataError where they are too many.
    """

    name: str
    settings: dict[str, Any]
    n: int
    size: int
    make: Callable[[int, int], Chunk]
    allow: Callable[[Mapping[int, str]], None] = field(default=lambda faults: None)

    @property
    def full_settings(self) -> dict[str, Any]:
        """The settings with all else that decides the bytes of the cache."""
        return {"format": _FORMAT, "n": self.n, "size": self.size, "chunk": CHUNK, **self.settings}

    @property
    def digest(self) -> str:
        """Name of the cache's folder."""
        return hashlib.blake2b(json.dumps(self.full_settings, sort_keys=True).encode(), digest_size=8).hexdigest()

    @property
    def picture_bytes(self) -> int:
        """Bytes of one picture."""
        return 3 * self.size**2


class _Record(NamedTuple):
    """A chunk as the journal and the manifest describe it."""

    rows: int
    checksum: str
    faults: dict[int, str]

    def to_list(self) -> list[Any]:
        return [self.rows, self.checksum, [[position, reason] for position, reason in self.faults.items()]]

    @classmethod
    def from_list(cls, values: Any) -> _Record:
        rows, checksum, faults = values
        if not (isinstance(rows, int) and rows >= 0 and isinstance(checksum, str)):
            raise ValueError("not a chunk")
        return cls(rows, checksum, {int(position): str(reason) for position, reason in faults})


@dataclass(frozen=True)
class PictureCache:
    """A complete cache.

    Attributes
    ----------
    folder : Path
    images : ndarray, uint8, shape (K, 3, size, size)
        A memory map; what is written to it stays in this process.
    faults : dict
        Positions without a picture, and why.
    checksums : list of str
        One a chunk.
    """

    folder: Path
    images: np.ndarray
    faults: dict[int, str]
    checksums: list[str]


class _UnusableError(Exception):
    """A folder with a cache's name that holds none."""


def picture_cache(
    recipe: Recipe, homes: Sequence[Path], say: Callable[[str], None], threads: int | None = None
) -> PictureCache:
    """The cache of a recipe, taken from the first of the folders that has it, or else made in the first writable one.

    Parameters
    ----------
    recipe : Recipe
    homes : sequence of Path
        Folders in which caches are looked for, the preferred one first.
    say : callable
        Told where the cache is made, if not in the first folder, and for whom it waits.
    threads : int, optional
        As many as there are processors if left out.

    Raises
    ------
    DataError
        If the recipe's faults are too many, no folder can be written to, or the disk is full.
    """
    for home in homes:
        try:
            found = _opened(recipe, home / recipe.digest)
        except _UnusableError:
            continue  # Absent, or replaced below.
        _tidy(found.folder)
        return found
    home = _first_writable(homes, say)
    _keep_from_git(home)
    final = home / recipe.digest
    lock = _lock_of(final)

    def say_waiting() -> None:
        say(f"{recipe.name}: another process is making the picture cache in {home}; waiting for it.")

    with ExitStack() as stack:
        try:
            locked = stack.enter_context(only_one(lock, say_waiting))
        except OSError as error:
            raise _not_written(lock, error) from None
        try:
            return _opened(recipe, final)  # made by another process while this one waited
        except _UnusableError as reason:
            if final.exists():
                say(f"The picture cache {final} is made again: {reason}.")
                shutil.rmtree(final)
        # Without a lock another process may be at work as well, so that each has its own.
        partial = home / (f"{recipe.digest}.partial" if locked else f"{recipe.digest}.partial-{os.getpid()}")
        try:
            _make(recipe, partial, threads or _processors())
            _finish(partial, final)
        except OSError as error:
            raise _not_written(partial, error) from None
    try:
        return _opened(recipe, final)
    except _UnusableError as reason:
        raise DataError(f"The picture cache {final} cannot be used: {reason}; delete it and try again.") from None


def damaged(home: Path) -> list[str]:
    """A sentence for every complete cache in a folder that does not hold what it did when it was made."""
    sentences = []
    for folder in sorted(manifest.parent for manifest in home.glob(f"*/{_MANIFEST}")):
        try:
            settings, records = _manifest(folder)
            picture_bytes = 3 * int(settings["size"]) ** 2
            good = _good_records(folder / _IMAGES, records, picture_bytes, progress=folder.name)
            if good < len(records):
                raise _UnusableError(f"the checksum of chunk {good} of {len(records)} is wrong")
        except (_UnusableError, OSError, KeyError, TypeError, ValueError) as reason:
            sentences.append(f"The picture cache {folder} is damaged ({reason}): delete it, and it will be made again.")
    return sentences


def other_caches(used: Path) -> list[Path]:
    """Folders beside a cache that hold others, complete or begun."""
    return sorted(path for path in used.parent.iterdir() if path.is_dir() and path != used)


def _opened(recipe: Recipe, folder: Path) -> PictureCache:
    if not folder.exists():
        raise _UnusableError("it does not exist")
    settings, records = _manifest(folder)
    if settings != recipe.full_settings:
        raise _UnusableError("its settings are others")
    rows = sum(record.rows for record in records)
    faults = {position: reason for record in records for position, reason in record.faults.items()}
    if rows + len(faults) != recipe.n:
        raise _UnusableError(f"it holds {rows + len(faults)} pictures of {recipe.n}")
    recipe.allow(faults)
    images = folder / _IMAGES
    try:
        if images.stat().st_size != rows * recipe.picture_bytes:
            raise _UnusableError(f"{_IMAGES} has another size than it was made with")
        # Copy on write: nothing that a training does to its samples reaches the file.
        mapped = np.memmap(images, np.uint8, mode="c", shape=(rows, 3, recipe.size, recipe.size))
    except (OSError, ValueError) as error:
        raise _UnusableError(f"{_IMAGES} cannot be mapped ({error})") from None
    return PictureCache(folder, mapped, faults, [record.checksum for record in records])


def _manifest(folder: Path) -> tuple[dict[str, Any], list[_Record]]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        return dict(manifest["settings"]), [_Record.from_list(values) for values in manifest["chunks"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise _UnusableError(f"{_MANIFEST} is missing or damaged") from None


def _make(recipe: Recipe, partial: Path, threads: int) -> None:
    """Fill the folder `partial`, going on from what it holds."""
    partial.mkdir(exist_ok=True)
    records = _whole_records(recipe, partial)
    faults = {position: reason for record in records for position, reason in record.faults.items()}
    recipe.allow(faults)
    rows = sum(record.rows for record in records)
    done = min(len(records) * CHUNK, recipe.n)
    _refuse_if_full(partial, (recipe.n - done) * recipe.picture_bytes)
    with (
        (partial / _IMAGES).open("ab") as images,
        (partial / _JOURNAL).open("a") as journal,
        tqdm(total=recipe.n, initial=done, desc=recipe.name, unit="picture", mininterval=2) as bar,
    ):
        # What a killed process had begun.
        images.truncate(rows * recipe.picture_bytes)
        for chunk in _in_order(recipe, done, threads):
            record = _Record(len(chunk.pictures), _checksum(chunk.pictures.data), dict(chunk.faults))
            images.write(chunk.pictures.data)
            images.flush()
            journal.write(json.dumps(record.to_list()) + "\n")
            journal.flush()
            records.append(record)
            bar.update(record.rows + len(record.faults))
            faults |= record.faults
            recipe.allow(faults)
        os.fsync(images.fileno())
    manifest = {"settings": recipe.full_settings, "chunks": [record.to_list() for record in records]}
    with (partial / _MANIFEST).open("w") as file:
        json.dump(manifest, file)
        file.flush()
        os.fsync(file.fileno())


def _finish(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError:
        if not final.exists():
            raise
        shutil.rmtree(partial)  # A process that could not be locked out was faster.
    # Only now: before, a kill would have cost all chunks.
    (final / _JOURNAL).unlink(missing_ok=True)


def _lock_of(final: Path) -> Path:
    return final.with_name(f"{final.name}.lock")


def _tidy(final: Path) -> None:
    """Delete what a process left that was killed after it had given the cache its name; its lock is the last of it."""
    if _lock_of(final).exists():
        with suppress(OSError), only_one(_lock_of(final), lambda: None):
            (final / _JOURNAL).unlink(missing_ok=True)


def _whole_records(recipe: Recipe, partial: Path) -> list[_Record]:
    """The journal's chunks that are in the file as they were made; the journal is cut down to them."""
    path = partial / _JOURNAL
    records: list[_Record] = []
    try:
        for line in path.read_text().splitlines():
            records.append(_Record.from_list(json.loads(line)))
    except (OSError, ValueError, TypeError):
        pass  # There is none yet, or its last line was cut off.
    try:
        records = records[: _good_records(partial / _IMAGES, records, recipe.picture_bytes)]
    except OSError:
        records = []
    scratch = path.with_suffix(".new")
    scratch.write_text("".join(json.dumps(record.to_list()) + "\n" for record in records))
    scratch.replace(path)
    return records


def _good_records(path: Path, records: list[_Record], picture_bytes: int, progress: str | None = None) -> int:
    """How many chunks from the first on have the checksum that their record says."""
    with path.open("rb") as file:
        for i, record in enumerate(tqdm(records, desc=progress, unit="chunk", mininterval=2, disable=not progress)):
            if _checksum(file.read(record.rows * picture_bytes)) != record.checksum:
                return i
    return len(records)


def _in_order(recipe: Recipe, first: int, threads: int) -> Iterator[Chunk]:
    """The chunks from position `first` on, made in threads, few at a time."""
    waiting: deque[Future[Chunk]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for start in range(first, recipe.n, CHUNK):
            waiting.append(pool.submit(recipe.make, start, min(start + CHUNK, recipe.n)))
            # One more than there are threads, so that none idles while a chunk is written.
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _checksum(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_writable(homes: Sequence[Path], say: Callable[[str], None]) -> Path:
    for home in homes[:-1]:
        try:
            return writable_folder(home)
        except DataError:
            say(f"The folder {home} cannot be written to: the picture cache goes to {homes[-1]}.")
    return writable_folder(homes[-1])


def _keep_from_git(home: Path) -> None:
    """Git takes no picture even where the data root lies in a clone."""
    ignore = home / ".gitignore"
    if not ignore.exists():
        try:
            # An empty one, as a kill may leave, would keep nothing from git and never be mended.
            with written_whole(ignore) as scratch:
                scratch.write_text("*\n")
        except OSError as error:
            raise _not_written(home, error) from None


def _refuse_if_full(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed")


def _not_written(path: Path, error: OSError) -> DataError:
    return DataError(
        f"The picture cache {path} cannot be written ({error.strerror or error}): make room, or choose another data "
        "root with the environment variable VAEMI_DATA; the same call goes on from what is there."
    )
