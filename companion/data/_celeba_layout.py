"""CelebA's files as users have them: all or some pictures, unpacked or in the official zip, with or without labels."""

from __future__ import annotations

import csv
import hashlib
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from companion.data.sources import DataError

PICTURES, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
ATTRIBUTES, IDENTITIES, PARTITION = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"
# What a set of drawn faces has beside it when it was written to disk.
FACTORS = "generating_factors.csv"

COMPLETE = 202_599
MD5 = {
    ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c",
    IDENTITIES: "32bd1bd63d3c78cd57e08160ec5ed1e2",
    PARTITION: "d32c9cbf5e040fd4025c592c306e6668",
}
SPLITS = ("train", "validation", "test")
_FEWEST = len(SPLITS)
_LARGEST_PICTURE = 2**24  # bytes


class BadPictureError(Exception):
    """A picture that cannot be used; the message says why, without the picture's name."""


class Table(NamedTuple):
    """Rows of a text file: the picture's name to its row in `values`, of shape (rows, len(columns))."""

    columns: tuple[str, ...]
    row_of: Mapping[str, int]
    values: np.ndarray

    def select(self, names: Sequence[str]) -> np.ndarray:
        """The values of these pictures, in this order."""
        return self.values[[self.row_of[name] for name in names]]


@dataclass(frozen=True)
class Labels:
    """The text files, each None where there is none, and sentences on what is remarkable about them."""

    attributes: Table | None
    identities: Table | None
    partition: Table | None
    factors: Table | None
    remarks: tuple[str, ...]

    @property
    def tables(self) -> list[Table]:
        """Those that are there."""
        return [
            table for table in (self.attributes, self.identities, self.partition, self.factors) if table is not None
        ]


@dataclass(frozen=True)
class Pictures:
    """Where pictures are.

    Attributes
    ----------
    place : Path
        The folder or zip.
    stamps : mapping
        A picture's name to what changes when the picture does.
    read : callable
        Name to the content of the file; may be called in several threads. Raises BadPictureError where the zip is
        damaged, DataError where the file cannot be read at all.
    remarks : tuple of str
    """

    place: Path
    stamps: Mapping[str, str]
    read: Callable[[str], bytes]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrangement:
    """Names of the pictures to use, train before validation before test, and how many each has.

    `listed` is the number of pictures that every text file lists (all pictures, if there is no text file), `missing`
    of those that are not there, `unlisted` of pictures that are there and not listed.
    """

    names: list[str]
    sizes: tuple[int, int, int]
    listed: int
    found: int
    missing: int
    unlisted: int
    remarks: tuple[str, ...] = ()


# --- text files ------------------------------------------------------------------------------------------------------


def read_labels(folder: Path) -> Labels:
    """All text files of the folder.

    Raises
    ------
    DataError
        Naming the first file that is not what it should be, and the line.
    """
    remarks: list[str] = []
    attributes = read_attributes(folder / ATTRIBUTES, remarks) if (folder / ATTRIBUTES).exists() else None
    identities = read_numbers(folder / IDENTITIES, attributes) if (folder / IDENTITIES).exists() else None
    partition = read_partition(folder / PARTITION, attributes) if (folder / PARTITION).exists() else None
    factors = read_factors(folder / FACTORS) if (folder / FACTORS).exists() else None
    for name, table, consequence in (
        (ATTRIBUTES, attributes, "there are no attributes"),
        (IDENTITIES, identities, "the identities are unknown"),
    ):
        if table is None:
            remarks.append(f"There is no {name}: {consequence}.")
    for name, table in ((ATTRIBUTES, attributes), (IDENTITIES, identities), (PARTITION, partition)):
        if table is not None and len(table.row_of) == COMPLETE and _md5(folder / name) != MD5[name]:
            remarks.append(f"{name} has as many rows as the official file and another MD5: it was changed.")
    return Labels(attributes, identities, partition, factors, tuple(remarks))


def read_attributes(path: Path, remarks: list[str]) -> Table:
    """`list_attr_celeba.txt`: the number of rows, the attributes' names, then rows of a name and -1 or 1 for each.

    Raises
    ------
    DataError
        Naming file and line; also where there are fewer rows than line 1 says, the mark of a broken download.
    """
    lines = _lines(path)
    if len(lines) < 2:
        raise DataError(f"{path} has {len(lines)} lines: line 1 should be the number of rows, line 2 the attributes.")
    count = lines[0].strip()
    if not (count.isascii() and count.isdigit() and len(count) < 10):
        raise DataError(f"{path}, line 1, is {_shortened(count)}: it should be the number of rows.")
    columns = tuple(lines[1].split())
    if not columns or len(set(columns)) < len(columns):
        raise DataError(f"{path}, line 2, should be the names of the attributes, each once.")
    names, values = [], []
    for number, line in enumerate(lines[2:], start=3):
        name, *row = line.split() or [""]
        if len(row) != len(columns):
            raise DataError(
                f"{path}, line {number}, has {len(row)} values where line 2 names {len(columns)} attributes: if the "
                "file was cut off there, get it again, else correct the line."
            )
        try:
            values.append(bytes(map(_SIGNS.__getitem__, row)))
        except KeyError as error:
            raise DataError(
                f"{path}, line {number}, holds {_shortened(error.args[0])} where only -1 and 1 may stand."
            ) from None
        names.append(name)
    if int(count) > len(names):
        raise DataError(
            f"{path} says in line 1 that it has {int(count):,} rows and has {len(names):,}: it was cut off; get it "
            f"again, or write {len(names)} into line 1 if you cut it on purpose."
        )
    if int(count) < len(names):
        remarks.append(
            f"{path.name} says in line 1 that it has {int(count):,} rows and has {len(names):,}: all are used."
        )
    table = np.frombuffer(b"".join(values), np.bool_).reshape(len(names), len(columns))
    return Table(columns, _indexed(path, names, first_line=3), table)


_SIGNS = {"-1": 0, "1": 1}


def read_numbers(path: Path, attributes: Table | None = None) -> Table:
    """Rows of a name and a whole number, such as `identity_CelebA.txt`; values are int64 of shape (rows, 1).

    Raises
    ------
    DataError
        Naming file and line; also where the last line has no end and `attributes` has more pictures, so that the
        last number may be half of one.
    """
    lines = _lines(path)
    names, values = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 2 or not (fields[1].isascii() and fields[1].isdigit() and len(fields[1]) < 19):
            raise DataError(
                f"{path}, line {number}, is {_shortened(line)}: it should be a picture's name and a number."
            )
        names.append(fields[0])
        values.append(int(fields[1]))
    row_of = _indexed(path, names, first_line=1)
    if lines and attributes and not attributes.row_of.keys() <= row_of.keys() and not _ends_with_a_line(path):
        raise DataError(
            f"{path} ends in the middle of line {len(lines)}, and {ATTRIBUTES} lists more pictures: get it again, or "
            "end that line if it is complete."
        )
    return Table(("number",), row_of, np.array(values, np.int64).reshape(-1, 1))


def read_partition(path: Path, attributes: Table | None = None) -> Table:
    """`list_eval_partition.txt`: rows of a name and 0 (train), 1 (validation) or 2 (test)."""
    table = read_numbers(path, attributes)
    foreign = np.flatnonzero(table.values[:, 0] >= len(SPLITS))
    if len(foreign):
        raise DataError(
            f"{path}, line {foreign[0] + 1}, holds {table.values[foreign[0], 0]} where only 0 (train), 1 (validation) "
            "and 2 (test) may stand."
        )
    return table


def read_factors(path: Path) -> Table:
    """`generating_factors.csv` of drawn faces: a header, then rows of a name and a finite number for each factor."""
    rows = csv.reader(_lines(path))
    try:
        header, *body = list(rows) or [[]]
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}, is no line of a csv file ({error}).") from None
    values = np.empty((len(body), max(len(header) - 1, 0)), np.float32)
    for i, row in enumerate(body):
        try:
            values[i] = np.array(row[1:], np.float64) if len(row) == len(header) > 1 else np.nan
        except ValueError:
            values[i] = np.nan
        if not np.isfinite(values[i]).all() or not row:
            raise DataError(f"{path}, line {i + 2}, should be a picture's name and {len(header) - 1} numbers.")
    return Table(tuple(header[1:]), _indexed(path, [row[0] for row in body], first_line=2), values)


def _lines(path: Path) -> list[str]:
    """Lines of a text file, whatever ends them, without the empty ones at its end."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text file: get it again.") from None
    return text.rstrip().replace("\r\n", "\n").split("\n") if text.strip() else []


def _ends_with_a_line(path: Path) -> bool:
    return path.read_bytes()[-1:] in (b"\n", b"\r", b"")


def _indexed(path: Path, names: list[str], first_line: int) -> dict[str, int]:
    row_of = {name: row for row, name in enumerate(names)}
    if len(row_of) < len(names):
        seen: set[str] = set()
        for row, name in enumerate(names):
            if name in seen:
                raise DataError(f"{path}, line {first_line + row}, lists {_shortened(name)} a second time.")
            seen.add(name)
    return row_of


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# --- pictures --------------------------------------------------------------------------------------------------------


@contextmanager
def open_pictures(folder: Path) -> Iterator[Pictures]:
    """The pictures of the unpacked folder, if it holds any, else those of the zip.

    Raises
    ------
    DataError
        If there are none, or the zip is none.
    """
    unpacked, archive = folder / PICTURES, folder / ARCHIVE
    stamps = _stamps(unpacked)
    if stamps:
        remarks = (f"Both {PICTURES} and {ARCHIVE} are there: the folder is used.",) if archive.exists() else ()
        yield Pictures(unpacked, stamps, _FolderReader(unpacked), remarks)
    elif archive.exists():
        with _archive(archive) as pictures:
            yield pictures
    else:
        raise DataError(f"{folder} has no pictures: put {ARCHIVE} there, or unpack it so that {PICTURES} holds *.jpg.")


def _stamps(unpacked: Path) -> dict[str, str]:
    """Size and time of change of every picture in a folder; empty if there is no such folder."""
    stamps = {}
    try:
        with os.scandir(unpacked) as entries:
            for entry in entries:
                if _is_picture(entry.name) and entry.is_file():
                    status = entry.stat()
                    stamps[entry.name] = f"{status.st_size} {status.st_mtime_ns}"
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DataError(f"{unpacked} cannot be read ({error.strerror}).") from None
    return stamps


def _is_picture(name: str) -> bool:
    # Hidden ones are what some systems leave beside the files they copy.
    return name.endswith(".jpg") and not name.startswith(".")


@dataclass(frozen=True)
class _FolderReader:
    folder: Path

    def __call__(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.folder / name} cannot be read ({error.strerror}): check the disk.") from None


@contextmanager
def _archive(path: Path) -> Iterator[Pictures]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} is no whole zip ({error}): get it again.") from None
    with archive:
        prefix = f"{PICTURES}/"
        members = {
            entry.filename.removeprefix(prefix): entry
            for entry in archive.infolist()
            if entry.filename.startswith(prefix)
        }
        stamps = {
            name: f"{entry.file_size} {entry.CRC:08x}"
            for name, entry in members.items()
            if "/" not in name and _is_picture(name)
        }
        if not stamps:
            raise DataError(f"{path} holds no {prefix}*.jpg: it is not CelebA's.")
        yield Pictures(path, stamps, _ArchiveReader(path, archive, threading.Lock()))


@dataclass(frozen=True)
class _ArchiveReader:
    path: Path
    archive: zipfile.ZipFile
    # zipfile counts its open members, and the counting is not safe in threads.
    lock: threading.Lock

    def __call__(self, name: str) -> bytes:
        try:
            entry = self.archive.getinfo(f"{PICTURES}/{name}")
            # zipfile reads no more than the entry says, which CelebA's pictures say in kilobytes.
            if entry.file_size > _LARGEST_PICTURE:
                raise BadPictureError(f"{entry.file_size:,} bytes in the zip, more than a picture has")
            with self.lock:
                member = self.archive.open(entry)
            try:
                return member.read()
            finally:
                with self.lock:
                    member.close()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}): check the disk.") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            raise BadPictureError(f"damaged in the zip: {error}") from None


# --- which pictures, in which order ----------------------------------------------------------------------------------


def arrange(labels: Labels, found: Iterable[str]) -> Arrangement:
    """Which of the pictures found are used, and in which order.

    A picture is used if every text file lists it. The split is the official one where it is known and leaves no part
    empty (a copy's first pictures all belong to the training part), else by position in the list: 80, 10 and 10 %.

    Raises
    ------
    DataError
        If fewer than three pictures can be used.
    """
    there = set(found)
    tables = labels.tables
    if tables:
        others = [table.row_of for table in tables[1:]]
        listed = [name for name in tables[0].row_of if all(name in rows for rows in others)]
    else:
        listed = sorted(there)
    used = [name for name in listed if name in there]
    if len(used) < _FEWEST:
        raise DataError(
            f"{len(used)} of {len(there):,} pictures found are among the {len(listed):,} that all text files list: at "
            f"least {_FEWEST} are needed; names must agree exactly."
        )
    names, sizes, remark = _split(used, labels.partition)
    return Arrangement(
        names=names,
        sizes=sizes,
        listed=len(listed),
        found=len(there),
        missing=len(listed) - len(used),
        unlisted=len(there) - len(used),
        remarks=(remark,) if remark else (),
    )


def _split(names: list[str], partition: Table | None) -> tuple[list[str], tuple[int, int, int], str]:
    """Names in the order of their parts, the parts' sizes, and a sentence if the split is not the official one."""
    by_position = "the pictures are split by position, 80, 10 and 10 %, and a person may be in several parts."
    if partition is not None:
        part = partition.select(names)[:, 0]
        train, validation, test = np.bincount(part, minlength=len(SPLITS)).tolist()
        if min(train, validation, test) > 0:
            return [names[i] for i in np.argsort(part, kind="stable")], (train, validation, test), ""
        empty = " and ".join(name for name, size in zip(SPLITS, (train, validation, test), strict=True) if size == 0)
        reason = f"The official split leaves no picture found for {empty}"
    else:
        reason = f"There is no {PARTITION}"
    tenth = max(1, len(names) // 10)
    return names, (len(names) - 2 * tenth, tenth, tenth), f"{reason}: {by_position}"
