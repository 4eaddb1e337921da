"""A cache of decoded pictures: one uint8 array on disk for each setting, whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from companion.data.sources import CHOOSE_ROOT, writable_folder
from companion.errors import DataError
from vaemi._checkpoints import fingerprint
from vaemi._files import atomic_write, exclusive_lock

# Another version makes all existing caches unused.
_VERSION = 2
# The provenance of a data set contains the checksums of its blocks: another size changes it.
_BLOCK = 500

# Decodes the pictures start <= i < stop: uint8 (K, 3, size, size), and the reason for each name that has none.
MakePictures = Callable[[int, int], tuple[np.ndarray, dict[str, str]]]


class PictureCache(NamedTuple):
    """Decoded pictures on disk.

    Attributes
    ----------
    path : Path
    images : ndarray, uint8, shape (K, 3, size, size)
        Copy-on-write memory map: writing to it does not change the file.
    faults : dict
        Name of each picture that could not be decoded, and the reason.
    blocks : list
        Number of pictures and checksum of each block.
    """

    path: Path
    images: np.ndarray
    faults: dict[str, str]
    blocks: list[tuple[int, str]]


def picture_cache(
    folders: Sequence[Path], settings: Mapping[str, Any], n: int, size: int, make: MakePictures, name: str
) -> PictureCache:
    """Open the cache of these settings, or build it in the first folder that can be written to.

    Parameters
    ----------
    folders : sequence of Path
        Where caches are looked for, the preferred folder first.
    settings : mapping
        Everything besides `n` and `size` that determines the pictures, as JSON values.
    n, size : int
        Number of pictures, and their height and width.
    make : callable
        Decodes a block of pictures.
    name : str
        Name of the data set, for messages.

    Raises
    ------
    DataError
        If no folder can be written to, the disk is full, or the cache is damaged.
    """
    file_name = f"{fingerprint({'version': _VERSION, 'n': n, 'size': size, **settings})}.npy"
    for folder in folders:
        if (folder / file_name).exists():
            return _open(folder / file_name)
    path = _first_writable(folders) / file_name
    try:
        # Git must not take pictures that may not be passed on, even if the data root is inside a clone.
        (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        waiting = f"{name}: another process builds the picture cache {path}; waiting for it."
        with exclusive_lock(path.with_suffix(".lock"), waiting):
            if not path.exists():
                _build(path, n, size, make, name)
    except OSError as error:
        raise DataError(
            f"The picture cache {path} cannot be written ({error.strerror or error}): free disk space, or {CHOOSE_ROOT}"
        ) from None
    return _open(path)


def damaged(folder: Path) -> list[str]:
    """Return a sentence for each cache in a folder that differs from what was written."""
    sentences = []
    for path in sorted(folder.glob("*.npy")):
        try:
            cache = _open(path)
            start = 0
            for rows, checksum in cache.blocks:
                if _checksum(cache.images[start : start + rows]) != checksum:
                    raise DataError(f"The picture cache {path} was changed: delete it; the next run builds it again.")
                start += rows
        except DataError as error:
            sentences.append(str(error))
    return sentences


def _open(path: Path) -> PictureCache:
    try:
        images = np.load(path, mmap_mode="c")
        about = json.loads(path.with_suffix(".json").read_bytes())
        faults, blocks = about["faults"], about["blocks"]
    except (OSError, ValueError, EOFError, KeyError):
        raise DataError(f"The picture cache {path} is damaged: delete it; the next run builds it again.") from None
    return PictureCache(path, images[: len(images) - len(faults)], faults, blocks)


def _build(path: Path, n: int, size: int, make: MakePictures, name: str) -> None:
    blocks: list[tuple[int, str]] = []
    faults: dict[str, str] = {}
    with atomic_write(path) as scratch:
        # Not through a memory map: a full disk would end the process with SIGBUS.
        with scratch.open("wb") as file, tqdm(total=n, desc=name, unit="picture", mininterval=2) as progress:
            header = {"descr": "|u1", "fortran_order": False, "shape": (n, 3, size, size)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, n, _BLOCK):
                stop = min(start + _BLOCK, n)
                pictures, block_faults = make(start, stop)
                file.write(np.ascontiguousarray(pictures).data)
                blocks.append((len(pictures), _checksum(pictures)))
                faults |= block_faults
                progress.update(stop - start)
            file.write(bytes(len(faults) * 3 * size**2))  # up to the shape in the header
        # Before the array takes its name, which is what makes the cache complete.
        path.with_suffix(".json").write_text(json.dumps({"blocks": blocks, "faults": faults}), encoding="utf-8")


def _checksum(pictures: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(pictures).data, digest_size=16).hexdigest()


def _first_writable(folders: Sequence[Path]) -> Path:
    for folder in folders[:-1]:
        try:
            return writable_folder(folder)
        except DataError:
            continue
    return writable_folder(folders[-1])
