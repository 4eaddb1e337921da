"""CelebA: 202,599 faces of celebrities with 40 attributes each, or as many as the user has, as 64x64 pictures.

The pictures are decoded once into an array on disk beside the data, so that sets larger than memory can be used.
CelebA may be used for non-commercial research only and not passed on: this project contains none of it. If the user
has none, drawn faces stand in for it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from companion.data import _celeba_layout as layout
from companion.data import drawn_faces
from companion.data._picture_cache import PictureCache, damaged, picture_cache
from companion.data.sources import Provenance, checksum, data_folder, data_root, listed, stamp, unused, user_cache
from companion.errors import DataError
from vaemi.information.words import counted

SOURCES = ("folder", "drawn")

_WIDTH, _HEIGHT = 178, 218
# Increase it when a change here decodes the same files to other pictures.
_PREPROCESSING = 1
_CACHES = ".cache"
_STAND_IN = "computer-generated from known factors, a stand-in for CelebA"
_FEWEST_DRAWN = 12


@dataclass(frozen=True)
class FacePictures:
    """One part of the data.

    Attributes
    ----------
    images : Tensor, uint8, shape (N, 3, size, size)
        0 to 255, RGB. A copy-on-write memory map: only what is used is read, and writing does not change the file.
    attributes : Tensor, bool, shape (N, A)
    identities : Tensor, int64, shape (N,), or None
        Number of the person.
    factors : Tensor, float32, shape (N, F), or None
        Generating factors; drawn faces only.
    """

    images: Tensor
    attributes: Tensor
    identities: Tensor | None
    factors: Tensor | None


@dataclass(frozen=True)
class Faces:
    """The three disjoint parts, the names of their columns, and where the pictures come from.

    `remarks` are sentences without paths on the pictures found, missing, not listed and corrupt, and on the split.
    """

    train: FacePictures
    validation: FacePictures
    test: FacePictures
    attribute_names: tuple[str, ...]
    factor_names: tuple[str, ...]
    provenance: Provenance
    remarks: tuple[str, ...]

    def varying_attributes(
        self, least: float = 0.02, train: int | None = None, held_out: int | None = None, fewest: int = 0
    ) -> list[int]:
        """Return the columns of the attributes that a classifier can learn and be tested on.

        Parameters
        ----------
        least : float
            Share of the training pictures that the rarer value must have; validation and test need both values.
        train, held_out : int, optional
            Number of pictures, the first ones, that are used of the training part and of the others. Default: all.
        fewest : int
            Number of attributes that are needed.

        Raises
        ------
        DataError
            If there are fewer.
        """
        share = self.train.attributes[:train].float().mean(0)
        varies = torch.minimum(share, 1 - share) >= least
        for part in (self.validation, self.test):
            varies &= part.attributes[:held_out].any(0) & ~part.attributes[:held_out].all(0)
        columns = varies.nonzero()[:, 0].tolist()
        if len(columns) < fewest:
            raise DataError(
                f"Only {len(columns)} of {len(self.attribute_names)} attributes vary among the pictures used, but "
                f"{fewest} are needed: put {layout.ATTRIBUTES} with more attributes beside the pictures, or use drawn "
                "faces (data_source=drawn)."
            )
        return columns


def load(
    source: str = "auto",
    size: int = 64,
    crop: int = 148,
    max_corrupt: int | None = None,
    drawn: int = 12_000,
    seed: int = 0,
    say: Callable[[str], None] = print,
    threads: int | None = None,
) -> Faces:
    """Load what the user has of CelebA, or drawn faces.

    Parameters
    ----------
    source : {"auto", "folder", "drawn"}
        ``"auto"`` takes CelebA if the data root contains anything of it, else drawn faces.
    size : int
        Height and width of the pictures.
    crop : int
        Side in pixels of the square that is cut from the middle of CelebA's 178x218 pictures before resizing.
    max_corrupt : int, optional
        Number of pictures that may be skipped because they cannot be decoded or are not 178x218. Default: 0.1 % of
        those used, at least 10.
    drawn, seed : int
        Number of drawn faces, and their seed.
    say : callable
        Receives a sentence on the data used, and the remarks if they are CelebA.
    threads : int, optional
        Number of threads that decode pictures. Default: the number of processors.

    Returns
    -------
    Faces
        With the official split if that leaves no part empty.

    Raises
    ------
    DataError
        If a file under the data root is malformed, too many pictures are corrupt, the picture cache cannot be
        written, or the source is not available.

    Examples
    --------
    >>> from companion.data import celeba
    >>> faces = celeba.load("drawn", drawn=60, size=32, say=lambda sentence: None)
    >>> faces.provenance.stand_in
    True
    """
    if source not in ("auto", *SOURCES):
        raise DataError(f"CelebA has no source {source!r}: choose auto, {', '.join(SOURCES)}.")
    if not 1 <= crop <= _WIDTH:
        raise DataError(f"crop is {crop}: the pictures of CelebA allow 1 to {_WIDTH}.")
    if size < 1 or (max_corrupt is not None and max_corrupt < 0):
        raise DataError(f"size is {size} and max_corrupt {max_corrupt}: give size >= 1 and max_corrupt >= 0.")
    if source == "drawn":
        return _load_drawn(drawn, seed, size, say)
    found = layout.find(folder())
    if found:
        return _load_folder(found, size, crop, max_corrupt, say, threads or _processors())
    if source == "folder":
        raise DataError(" ".join([*unused_files(), how_to_get()]))
    return _load_drawn(drawn, seed, size, say)


def folder() -> Path:
    """Return the folder in which CelebA's pictures (unpacked or in a zip) and tables are looked for."""
    return data_folder("celeba")


def signature(source: str = "auto") -> str:
    """Return a text that changes when `load` would use other pictures or tables; empty for drawn faces."""
    found = layout.find(folder())
    if source == "drawn" or not found:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for file in (*found.pictures, *found.tables.values()):
        digest.update(f"{file.name} {stamp(file)}\n".encode())
    return digest.hexdigest()


def unused_files() -> list[str]:
    """Return a sentence on the files that are there, if none of them is a picture or table of CelebA."""
    found = layout.find(folder())
    wanted = f"{layout.ARCHIVE} or {layout.PICTURES}/*.jpg, and {layout.ATTRIBUTES}"
    return [] if found else unused(folder(), found.other, wanted)


def status() -> list[str]:
    """Describe in sentences which files were found, without opening a picture."""
    found = layout.find(folder())
    if not found:
        return [how_to_get()]
    try:
        with layout.open_pictures(found) as pictures:
            sentences = [f"{len(pictures.stamps):,} of {layout.COMPLETE:,} pictures in {pictures.place}."]
    except DataError as error:
        sentences = [str(error)]
    sentences += [f"There is no {name}." for name in layout.MD5 if name not in found.tables]
    for home in _cache_folders(folder()):
        if caches := list(home.glob("*.npy")):
            total = sum(path.stat().st_size for path in caches)
            sentences.append(
                f"{home} holds {total / 1e9:.2g} GB of decoded pictures ({len(caches)} settings); you may delete it."
            )
    return sentences


def check() -> list[str]:
    """Read the tables, decode all pictures and verify the picture caches; return a sentence for each problem."""
    problems = []
    try:
        found = layout.find(folder())
        if found:
            problems += _check_files(found)
    except DataError as error:
        problems.append(str(error))
    for data_set in (folder(), _drawn_folder()):
        for home in _cache_folders(data_set):
            problems += damaged(home)
    return problems


def _check_files(found: layout.Found) -> list[str]:
    tables = layout.read_tables(found)
    with layout.open_pictures(found) as pictures, ThreadPoolExecutor(_processors()) as pool:
        names = _used_names(tables.listed(), pictures)
        progress = tqdm(names, desc="CelebA", unit="picture", mininterval=2)
        decoded = pool.map(lambda name: _decode(pictures, name, 64, 148), progress)
        faults = {name: fault for name, fault in zip(names, decoded, strict=True) if isinstance(fault, str)}
    problems = []
    if faults:
        problems.append(f"{_pictures(len(faults))} corrupt in {pictures.place}: {listed(_with_reasons(faults))}.")
    return problems


def how_to_get() -> str:
    """Return a sentence on how to get CelebA, which cannot be fetched."""
    return (
        "CelebA cannot be fetched, because it may be used for non-commercial research only and not passed on. Get "
        f"{layout.ARCHIVE}, {', '.join(layout.MD5)} from its authors "
        f"(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html) and put all or some of them into {folder()}. Until then "
        "drawn faces are used."
    )


# --- the user's files ------------------------------------------------------------------------------------------------


def _used_names(in_tables: pd.Index | None, pictures: layout.Pictures) -> list[str]:
    """Return the names that every table lists and that have a picture, in the order of the first table."""
    if in_tables is None:
        return sorted(pictures.stamps)
    return [name for name in in_tables if name in pictures.stamps]


def _load_folder(
    files: layout.Found, size: int, crop: int, max_corrupt: int | None, say: Callable[[str], None], threads: int
) -> Faces:
    tables = layout.read_tables(files)
    in_tables = tables.listed()
    with layout.open_pictures(files) as pictures, ThreadPoolExecutor(threads) as pool:
        found = len(pictures.stamps)
        used = _used_names(in_tables, pictures)
        n_listed = found if in_tables is None else len(in_tables)
        if len(used) < len(layout.SPLITS):
            raise DataError(
                f"Only {len(used)} of the {found:,} pictures found are among the {n_listed:,} that all tables list, "
                f"but at least {len(layout.SPLITS)} are needed: check that the names agree exactly."
            )
        parts, remark = layout.split(pd.Index(used), tables.partition)
        names = list(parts.index)
        limit = max(10, len(names) // 1000) if max_corrupt is None else max_corrupt
        faults: dict[str, str] = {}

        def make(start: int, stop: int) -> tuple[np.ndarray, dict[str, str]]:
            block = names[start:stop]
            decoded = list(pool.map(lambda name: _decode(pictures, name, size, crop), block))
            bad = {name: found for name, found in zip(block, decoded, strict=True) if isinstance(found, str)}
            faults.update(bad)
            _refuse_corrupt(faults, limit, len(names), pictures.place)
            good = [found for found in decoded if not isinstance(found, str)]
            return np.stack(good) if good else np.empty((0, 3, size, size), np.uint8), bad

        settings = {"preprocessing": _PREPROCESSING, "crop": crop, "files": _fingerprint(names, pictures)}
        cache = picture_cache(_cache_folders(folder()), settings, len(names), size, make, "CelebA")
    _refuse_corrupt(cache.faults, limit, len(names), pictures.place)
    parts = parts.drop(list(cache.faults))
    if tables.factors is not None:
        source = f"{len(parts):,} drawn faces read from files, {_STAND_IN}"
    elif len(parts) == layout.COMPLETE:
        source = f"CelebA, complete: {layout.COMPLETE:,} pictures"
    else:
        source = f"CelebA, a part of it: {len(parts):,} of {layout.COMPLETE:,} pictures"
    remarks = [_counts(found, n_listed, parts)]
    if missing := n_listed - len(names):
        remarks.append(f"{_pictures(missing)} listed but not there.")
    if unlisted := found - len(names):
        remarks.append(f"{_pictures(unlisted)} there but not listed, and not used.")
    if faulty := cache.faults:
        remarks.append(f"{_pictures(len(faulty))} skipped as corrupt: {listed(_with_reasons(faulty))}.")
    remarks += [*tables.remarks, *([remark] if remark else [])]
    say(" ".join([f"{source}, from {pictures.place}.", *remarks]))
    return _faces(parts, tables, cache, source, tables.factors is not None, remarks)


def _refuse_corrupt(faults: Mapping[str, str], limit: int, n: int, place: Path) -> None:
    if len(faults) > limit or len(faults) == n:
        raise DataError(
            f"{_pictures(len(faults))} corrupt in {place}, but at most {limit} may be (max_corrupt): "
            f"{listed(_with_reasons(faults))}; get these pictures again, or remove them."
        )


def _fingerprint(names: Sequence[str], pictures: layout.Pictures) -> str:
    """Return a digest of the pictures' names, order and stamps."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        digest.update(f"{name} {pictures.stamps[name]}\n".encode())
    return digest.hexdigest()


def _decode(pictures: layout.Pictures, name: str, size: int, crop: int) -> np.ndarray | str:
    """Return a decoded picture, or the reason why there is none."""
    try:
        return picture(pictures.read(name), size, crop)
    except UnidentifiedImageError:
        return "not a JPEG"
    except MemoryError:
        raise
    except Exception as error:  # Pillow and zipfile raise many kinds for damaged files
        return str(error)


def picture(content: bytes, size: int = 64, crop: int = 148) -> np.ndarray:
    """Decode a JPEG of 178x218 pixels: its middle square, resized with antialiasing.

    Parameters
    ----------
    content : bytes
        Content of the file.
    size, crop : int
        Side of the result and of the square.

    Returns
    -------
    ndarray, uint8, shape (3, size, size)

    Raises
    ------
    ValueError
        If it has another size. Pillow raises various exceptions if it is not a complete JPEG.
    """
    if not content:
        raise ValueError("empty")
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if image.size != (_WIDTH, _HEIGHT):
            raise ValueError(f"{image.size[0]}x{image.size[1]}, not {_WIDTH}x{_HEIGHT}")
        left, top = (_WIDTH - crop) // 2, (_HEIGHT - crop) // 2
        # Cropped first: resizing a box of the whole picture would use pixels outside the square.
        square = image.convert("RGB").crop((left, top, left + crop, top + crop))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


# --- drawn faces -----------------------------------------------------------------------------------------------------


def _drawn_folder() -> Path:
    return data_root() / "drawn_faces"


def _load_drawn(n: int, seed: int, size: int, say: Callable[[str], None]) -> Faces:
    if n < _FEWEST_DRAWN:
        raise DataError(f"drawn is {n}: at least {_FEWEST_DRAWN} faces are needed, so that no part is empty.")
    factors = drawn_faces.sample_factors(n, seed)
    # A few faces as they are drawn now: a change to the drawing makes a new cache.
    settings = {"seed": seed, "faces": checksum(factors, drawn_faces.render(factors[:_FEWEST_DRAWN]))}

    def make(start: int, stop: int) -> tuple[np.ndarray, dict[str, str]]:
        return drawn_faces.render(factors[start:stop], size=size).numpy(), {}

    cache = picture_cache(_cache_folders(_drawn_folder()), settings, n, size, make, "drawn faces")
    tables = layout.Tables(
        attributes=pd.DataFrame(drawn_faces.attributes(factors).numpy(), columns=list(drawn_faces.ATTRIBUTE_NAMES)),
        identities=None,
        partition=None,
        factors=pd.DataFrame(factors.numpy(), columns=list(drawn_faces.FACTOR_NAMES)),
    )
    held_out = n // _FEWEST_DRAWN
    parts = pd.Series(np.repeat([0, 1, 2], [n - 2 * held_out, held_out, held_out]))
    source = f"{n:,} drawn faces, {_STAND_IN}"
    say(f"{source}. `vaemi data status celeba` says how to use CelebA itself.")
    return _faces(parts, tables, cache, source, True, [_counts(n, n, parts)])


# --- from the cache to the parts -------------------------------------------------------------------------------------


def _faces(
    parts: pd.Series,
    tables: layout.Tables,
    cache: PictureCache,
    source: str,
    stand_in: bool,
    remarks: Sequence[str],
) -> Faces:
    """Slice the pictures and tables by part; `parts` has the part of each picture, in the cache's order."""
    images = torch.from_numpy(cache.images)
    attributes, identities, factors = (
        None if table is None else torch.from_numpy(np.array(table.loc[parts.index]))
        for table in (tables.attributes, tables.identities, tables.factors)
    )
    if attributes is None:
        attributes = torch.empty(len(parts), 0, dtype=torch.bool)
    attribute_names = () if tables.attributes is None else tuple(tables.attributes.columns)
    # From the checksums of the blocks, so that the pictures need not be read.
    checksums = [checksum for _, checksum in cache.blocks]
    digest = hashlib.blake2b(f"{checksums} {attribute_names}".encode(), digest_size=16)
    slices = []
    for number in range(len(layout.SPLITS)):
        rows = slice(int((parts < number).sum()), int((parts <= number).sum()))
        part = FacePictures(
            images=images[rows],
            attributes=attributes[rows],
            identities=None if identities is None else identities[rows, 0],
            factors=None if factors is None else factors[rows],
        )
        slices.append(part)
        digest.update(f"{len(part.images)}".encode())
        for values in (part.attributes, part.identities, part.factors):
            digest.update(b"-" if values is None else values.numpy().tobytes())
    train, validation, test = slices
    return Faces(
        train,
        validation,
        test,
        attribute_names=attribute_names,
        factor_names=() if tables.factors is None else tuple(tables.factors.columns),
        provenance=Provenance(source, stand_in, n=len(parts), checksum=digest.hexdigest()),
        remarks=tuple(remarks),
    )


def _cache_folders(data_set: Path) -> list[Path]:
    """Return the folders for the caches of a data set: beside it, else in the user's cache folder."""
    return [data_set / _CACHES, user_cache() / data_set.name / _CACHES]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _counts(found: int, listed: int, parts: pd.Series) -> str:
    train, validation, test = ((parts == number).sum() for number in range(len(layout.SPLITS)))
    return (
        f"{found:,} pictures found, {listed:,} listed: {train:,} for training, {validation:,} for validation, "
        f"{test:,} for testing."
    )


def _with_reasons(faults: Mapping[str, str]) -> list[str]:
    return [f"{name} ({reason})" for name, reason in sorted(faults.items())]


def _pictures(n: int) -> str:
    return counted(n, "picture is", "pictures are")
