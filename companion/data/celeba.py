"""CelebA: faces of celebrities with 40 attributes each, all 202,599 or those that the user has, as 64x64 pictures.

The pictures are decoded once into a memory map beside the data, so that sets larger than memory can be used. CelebA
may be used for non-commercial research only and not passed on: none of it comes with this project. Where the user has
none, drawn faces stand in for it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import platformdirs
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from companion.data import _celeba_layout as layout
from companion.data import drawn_faces
from companion.data._picture_cache import Chunk, PictureCache, Recipe, damaged, other_caches, picture_cache
from companion.data.sources import DataError, Provenance, checksum, data_root

SOURCES = ("folder", "drawn")

_WIDTH, _HEIGHT = 178, 218
# Raised whenever a change here makes other pictures of the same files.
_PREPROCESSING = 1
_CACHES = ".cache"
_NAMED_IN_MESSAGES = 5


@dataclass(frozen=True)
class FacePictures:
    """One part of the data.

    Attributes
    ----------
    images : Tensor, uint8, shape (N, 3, size, size)
        0 to 255, RGB; a part of a memory map, so that only what is used is read. What is written to it does not
        reach the file.
    attributes : Tensor, bool, shape (N, A)
    identities : Tensor, int64, shape (N,), or None
        Number of the person.
    factors : Tensor, float32, shape (N, F), or None
        What the faces were drawn from; drawn faces only.
    """

    images: Tensor
    attributes: Tensor
    identities: Tensor | None
    factors: Tensor | None


@dataclass(frozen=True)
class Report:
    """What was found of a set of pictures.

    Attributes
    ----------
    listed : int
        Pictures that every text file lists.
    found : int
        Pictures that are there.
    missing : int
        Listed ones that are not there.
    unlisted : int
        Ones that are there and not listed, and so are not used.
    corrupt : tuple of str
        Names of pictures that could not be used, each with the reason.
    train : int
        Pictures in use for training.
    validation : int
        For validation.
    test : int
        For the test.
    remarks : tuple of str
        Sentences on what is unusual: missing text files, another split than the official one.
    """

    listed: int
    found: int
    missing: int
    unlisted: int
    corrupt: tuple[str, ...]
    train: int
    validation: int
    test: int
    remarks: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """The report in words, without a path, for console and page."""
        words = [
            f"{self.found:,} pictures found, {self.listed:,} listed: {self.train:,} for training, "
            f"{self.validation:,} for validation, {self.test:,} for testing."
        ]
        if self.missing:
            words.append(f"{_pictures(self.missing)} listed but not there.")
        if self.unlisted:
            words.append(f"{_pictures(self.unlisted)} there but not listed, and not used.")
        if self.corrupt:
            words.append(f"{_pictures(len(self.corrupt))} skipped as corrupt: {_some(self.corrupt)}.")
        return [*words, *self.remarks]


@dataclass(frozen=True)
class Faces:
    """The three disjoint parts, the names of the columns, and where the pictures come from."""

    train: FacePictures
    validation: FacePictures
    test: FacePictures
    attribute_names: tuple[str, ...]
    factor_names: tuple[str, ...]
    provenance: Provenance
    report: Report

    def varying_attributes(self, least: float = 0.02) -> list[int]:
        """Attributes that can be learned and tested.

        Parameters
        ----------
        least : float
            Share of the training pictures that the rarer value must have.

        Returns
        -------
        list of int
            Their columns; both values also occur in validation and test.
        """
        share = self.train.attributes.float().mean(0)
        varies = torch.minimum(share, 1 - share) >= least
        for part in (self.validation, self.test):
            varies &= part.attributes.any(0) & ~part.attributes.all(0)
        return varies.nonzero()[:, 0].tolist()


def load(
    source: str = "auto",
    size: int = 64,
    crop: int = 148,
    max_corrupt: int | None = None,
    drawn: int = 18_000,
    seed: int = 0,
    say: Callable[[str], None] = print,
    threads: int | None = None,
) -> Faces:
    """CelebA as far as it is there, or drawn faces.

    Parameters
    ----------
    source : {"auto", "folder", "drawn"}
        ``"auto"`` takes CelebA where the data root holds anything of it, else drawn faces.
    size : int
        Height and width of the pictures.
    crop : int
        Side in pixels of the square that is cut from the middle of the 178x218 pictures of CelebA before they are
        made smaller.
    max_corrupt : int, optional
        How many pictures may be skipped because they cannot be decoded or are not 178x218; 0.1 % of those listed,
        and at least 10, if left out.
    drawn, seed : int
        Number of drawn faces, and what they are drawn from.
    say : callable
        Told in sentences what was found and what is used.
    threads : int, optional
        That decode pictures where the memory map has to be made; as many as there are processors if left out.

    Returns
    -------
    Faces
        Split as published where that leaves no part empty.

    Raises
    ------
    DataError
        If a file under the data root is not what it should be, too many pictures are corrupt, the memory map cannot
        be written, or the source asked for cannot be had.
    """
    if source not in ("auto", *SOURCES):
        raise DataError(f"CelebA has no source {source!r}: choose auto, {', '.join(SOURCES)}.")
    if not 1 <= crop <= _WIDTH:
        raise DataError(f"crop is {crop}: the pictures of CelebA allow 1 to {_WIDTH}.")
    if size < 1 or (max_corrupt is not None and max_corrupt < 0):
        raise DataError(f"size is {size} and max_corrupt {max_corrupt}: they cannot be negative, nor size 0.")
    if source == "drawn" or (source == "auto" and not _anything_there()):
        if source == "auto":
            say(how_to_get())
        return _drawn(drawn, seed, size, say)
    if not _anything_there():
        raise DataError(how_to_get())
    return _from_folder(size, crop, max_corrupt, say, threads)


def folder() -> Path:
    """Where the pictures (folder or zip) and the text files lie."""
    return data_root() / "celeba"


def missing_files() -> list[str]:
    """Names of what the data root lacks; the pictures count as there, in part or whole, as folder or zip."""
    pictures = (folder() / layout.PICTURES).is_dir() or (folder() / layout.ARCHIVE).exists()
    return [*([] if pictures else [layout.ARCHIVE]), *_missing_texts()]


def check() -> list[str]:
    """What is wrong with the files that are there, a sentence each; an empty list if nothing is.

    Reads the text files, decodes every picture, and compares the memory maps with their checksums.
    """
    problems = []
    if _anything_there():
        try:
            labels = layout.read_labels(folder())
            with layout.open_pictures(folder()) as pictures:
                problems += _bad_pictures(pictures, layout.arrange(labels, pictures.stamps).names)
        except DataError as error:
            problems.append(str(error))
    for data_set in (folder(), _drawn_folder()):
        for home in _homes(data_set):
            problems += damaged(home)
    return problems


def status() -> list[str]:
    """What is there, in sentences, without opening a picture."""
    if not _anything_there():
        return [how_to_get()]
    try:
        with layout.open_pictures(folder()) as pictures:
            found = f"{len(pictures.stamps):,} of {layout.COMPLETE:,} pictures in {pictures.place}."
            sentences = [found, *pictures.remarks]
    except DataError as error:
        sentences = [str(error)]
    return [*sentences, *(f"There is no {name}." for name in _missing_texts())]


def how_to_get() -> str:
    """A sentence for who asks to fetch CelebA, which cannot be fetched."""
    return (
        "CelebA cannot be fetched: it may be used for non-commercial research only and not passed on; get "
        f"{layout.ARCHIVE}, {', '.join(layout.MD5)} from its authors "
        f"(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html) and put them into {folder()}, all or in part; until then "
        "drawn faces are used."
    )


# --- the user's files ------------------------------------------------------------------------------------------------


def _anything_there() -> bool:
    unpacked = folder() / layout.PICTURES
    files = (layout.ARCHIVE, *layout.MD5)
    return any((folder() / name).exists() for name in files) or (unpacked.is_dir() and any(unpacked.iterdir()))


def _missing_texts() -> list[str]:
    return [name for name in layout.MD5 if not (folder() / name).exists()]


def _from_folder(
    size: int, crop: int, max_corrupt: int | None, say: Callable[[str], None], threads: int | None
) -> Faces:
    labels = layout.read_labels(folder())
    with layout.open_pictures(folder()) as pictures:
        order = layout.arrange(labels, pictures.stamps)
        limit = max(10, order.listed // 1000) if max_corrupt is None else max_corrupt

        def allow(faults: Mapping[int, str]) -> None:
            if len(faults) > limit or len(faults) == len(order.names):
                raise DataError(
                    f"{_pictures(len(faults))} corrupt in {pictures.place}, and {limit} may be (max_corrupt): "
                    f"{_some(_named(order.names, faults))}; get them again, or take them away."
                )

        recipe = Recipe(
            name="CelebA",
            settings={"preprocessing": _PREPROCESSING, "crop": crop, "files": _fingerprint(order, pictures)},
            n=len(order.names),
            size=size,
            make=lambda start, stop: _decoded(pictures, order.names[start:stop], start, size, crop),
            allow=allow,
        )
        cache = picture_cache(recipe, _homes(folder()), say, threads)
    remarks = (*labels.remarks, *pictures.remarks, *order.remarks)
    parts, report = _parts(cache, order, labels, remarks)
    names = labels.factors.columns if labels.factors else ()
    if labels.factors:
        source = f"{len(cache.images):,} drawn faces read from files, {_STAND_IN}"
    elif len(cache.images) == layout.COMPLETE:
        source = f"CelebA, complete: {layout.COMPLETE:,} pictures"
    else:
        source = f"CelebA, a part of it: {len(cache.images):,} of {layout.COMPLETE:,} pictures"
    say(f"{source}, from {pictures.place}; memory map in {cache.folder}.")
    for sentence in report.sentences():
        say(sentence)
    _say_other_caches(cache.folder, say)
    return _faces(parts, labels, names, source, bool(labels.factors), cache, report)


def _fingerprint(order: layout.Arrangement, pictures: layout.Pictures) -> str:
    """Of the pictures in use: names, order, and what changes with their content."""
    digest = hashlib.blake2b(digest_size=16)
    for name in order.names:
        digest.update(f"{name} {pictures.stamps[name]}\n".encode())
    return digest.hexdigest()


def _decoded(pictures: layout.Pictures, names: Sequence[str], first: int, size: int, crop: int) -> Chunk:
    """The pictures of these names, the first of which has position `first`."""
    decoded = np.empty((len(names), 3, size, size), np.uint8)
    faults: dict[int, str] = {}
    for position, name in enumerate(names, start=first):
        try:
            decoded[position - first - len(faults)] = picture(pictures.read(name), size, crop)
        except layout.BadPictureError as error:
            faults[position] = str(error)
    return Chunk(decoded[: len(names) - len(faults)], faults)


def picture(content: bytes, size: int = 64, crop: int = 148) -> np.ndarray:
    """The middle square of a JPEG of 178x218 pixels, made smaller with antialiasing.

    Parameters
    ----------
    content : bytes
        Of the file.
    size, crop : int
        Side of the result and of the square.

    Returns
    -------
    ndarray, uint8, shape (3, size, size)

    Raises
    ------
    BadPictureError
        If it is no whole JPEG of that size.
    """
    if not content:
        raise layout.BadPictureError("empty")
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.size != (_WIDTH, _HEIGHT):
                raise layout.BadPictureError(f"{image.size[0]}x{image.size[1]}, not {_WIDTH}x{_HEIGHT}")
            left, top = (_WIDTH - crop) // 2, (_HEIGHT - crop) // 2
            # Cropped first: resizing a box of the whole picture would let pixels outside the square in.
            square = image.convert("RGB").crop((left, top, left + crop, top + crop))
        return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    except (layout.BadPictureError, MemoryError):
        raise
    except Exception as error:  # Pillow lets many kinds through where a file is damaged.
        reason = "no JPEG" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise layout.BadPictureError(reason) from None


def _bad_pictures(pictures: layout.Pictures, names: Sequence[str]) -> list[str]:
    """A sentence on those that are corrupt, if any is."""
    faults: dict[int, str] = {}
    for position, name in enumerate(tqdm(names, desc="CelebA", unit="picture", mininterval=2)):
        try:
            picture(pictures.read(name))
        except layout.BadPictureError as error:
            faults[position] = str(error)
    return [f"{_pictures(len(faults))} corrupt in {pictures.place}: {_some(_named(names, faults))}."] if faults else []


# --- drawn faces -----------------------------------------------------------------------------------------------------

_STAND_IN = "computer-generated from known factors, a stand-in for CelebA"
_FEWEST_DRAWN = 12


def _drawn_folder() -> Path:
    return data_root() / "drawn_faces"


def _drawn(n: int, seed: int, size: int, say: Callable[[str], None]) -> Faces:
    if n < _FEWEST_DRAWN:
        raise DataError(f"drawn is {n}: at least {_FEWEST_DRAWN} faces are needed, for a face in every part.")
    factors = drawn_faces.sample_factors(n, seed)
    # Some faces as they are drawn now, so that a change to the drawing makes a new cache.
    fingerprint = checksum(factors, drawn_faces.render(factors[:_FEWEST_DRAWN]))
    recipe = Recipe(
        name="drawn faces",
        settings={"seed": seed, "faces": fingerprint},
        n=n,
        size=size,
        make=lambda start, stop: Chunk(drawn_faces.render(factors[start:stop], size=size).numpy(), {}),
    )
    # Drawing has threads of its own.
    cache = picture_cache(recipe, _homes(_drawn_folder()), say, threads=1)
    names = [str(i) for i in range(n)]
    rows = {name: i for i, name in enumerate(names)}
    labels = layout.Labels(
        attributes=layout.Table(drawn_faces.ATTRIBUTE_NAMES, rows, drawn_faces.attributes(factors).numpy()),
        identities=None,
        partition=None,
        factors=layout.Table(drawn_faces.FACTOR_NAMES, rows, factors.numpy()),
        remarks=(),
    )
    held_out = n // _FEWEST_DRAWN
    order = layout.Arrangement(names, (n - 2 * held_out, held_out, held_out), n, n, 0, 0)
    parts, report = _parts(cache, order, labels, ())
    source = f"{n:,} drawn faces, {_STAND_IN}"
    say(f"{source}; memory map in {cache.folder}.")
    return _faces(parts, labels, drawn_faces.FACTOR_NAMES, source, True, cache, report)


# --- from the memory map to what is handed out -----------------------------------------------------------------------


def _parts(
    cache: PictureCache, order: layout.Arrangement, labels: layout.Labels, remarks: tuple[str, ...]
) -> tuple[list[FacePictures], Report]:
    """The three parts as slices of one memory map, and the report."""
    names = [name for i, name in enumerate(order.names) if i not in cache.faults]
    ends = np.cumsum(order.sizes)
    skipped = np.array([[position < end for end in ends] for position in cache.faults], int).reshape(-1, 3).sum(0)
    bounds = [0, *(ends - skipped).tolist()]
    images = torch.from_numpy(cache.images)
    n = len(names)
    attributes = torch.from_numpy(labels.attributes.select(names) if labels.attributes else np.empty((n, 0), np.bool_))
    identities = torch.from_numpy(labels.identities.select(names)[:, 0]) if labels.identities else None
    factors = torch.from_numpy(labels.factors.select(names)) if labels.factors else None
    parts = [
        FacePictures(
            images=images[start:stop],
            attributes=attributes[start:stop],
            identities=None if identities is None else identities[start:stop],
            factors=None if factors is None else factors[start:stop],
        )
        for start, stop in pairwise(bounds)
    ]
    report = Report(
        listed=order.listed,
        found=order.found,
        missing=order.missing,
        unlisted=order.unlisted,
        corrupt=tuple(_named(order.names, cache.faults)),
        train=len(parts[0].images),
        validation=len(parts[1].images),
        test=len(parts[2].images),
        remarks=remarks,
    )
    return parts, report


def _faces(
    parts: list[FacePictures],
    labels: layout.Labels,
    factor_names: tuple[str, ...],
    source: str,
    stand_in: bool,
    cache: PictureCache,
    report: Report,
) -> Faces:
    attribute_names = labels.attributes.columns if labels.attributes else ()
    # Of the chunks' checksums, so that the pictures need not be read again.
    digest = hashlib.blake2b(f"{cache.checksums} {attribute_names}".encode(), digest_size=16)
    for part in parts:
        digest.update(f"{len(part.images)}".encode())
        for values in (part.attributes, part.identities, part.factors):
            digest.update(b"-" if values is None else values.numpy().tobytes())
    train, validation, test = parts
    return Faces(
        train,
        validation,
        test,
        attribute_names=attribute_names,
        factor_names=factor_names,
        provenance=Provenance(source, stand_in, n=len(cache.images), checksum=digest.hexdigest()),
        report=report,
    )


def _homes(data_set: Path) -> list[Path]:
    """Folders for the caches of a data set: beside it, else in the user's cache folder."""
    return [
        data_set / _CACHES,
        platformdirs.user_cache_path("vaemi", appauthor=False) / data_set.name / _CACHES,
    ]


def _say_other_caches(used: Path, say: Callable[[str], None]) -> None:
    if others := other_caches(used):
        say(
            f"{used.parent} also holds memory maps of other settings, or of files that have changed since "
            f"({', '.join(cache.name for cache in others)}): they may be deleted."
        )


def _named(names: Sequence[str], faults: Mapping[int, str]) -> list[str]:
    return [f"{names[position]} ({reason})" for position, reason in sorted(faults.items())]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_IN_MESSAGES
    return ", ".join(names[:_NAMED_IN_MESSAGES]) + (f" and {more:,} more" if more > 0 else "")


def _pictures(n: int) -> str:
    return "1 picture is" if n == 1 else f"{n:,} pictures are"
