"""CelebA's files as users have them: all or some pictures, unpacked or in a zip, with or without tables."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from companion.data.sources import UNREADABLE, File, packed_files, stamp, unpacked_files
from companion.errors import DataError

PICTURES, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
ATTRIBUTES, IDENTITIES, PARTITION = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"
# Written beside drawn faces by `drawn_faces.write`.
FACTORS = "generating_factors.csv"

COMPLETE = 202_599
MD5 = {
    ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c",
    IDENTITIES: "32bd1bd63d3c78cd57e08160ec5ed1e2",
    PARTITION: "d32c9cbf5e040fd4025c592c306e6668",
}
SPLITS = ("train", "validation", "test")


class Pictures(NamedTuple):
    """Pictures in a folder or zip.

    Attributes
    ----------
    place : Path
        The folder or zip.
    stamps : dict
        Name of each picture, and a text that changes when the picture does.
    read : callable
        Maps a name to the content of the file; thread-safe.
    """

    place: Path
    stamps: dict[str, str]
    read: Callable[[str], bytes]


class Tables(NamedTuple):
    """The tables that were found, indexed by the picture's name, and remarks on them.

    `attributes` is bool, `identities` and `partition` are int64 with one column, `factors` is float32.
    """

    attributes: pd.DataFrame | None
    identities: pd.DataFrame | None
    partition: pd.DataFrame | None
    factors: pd.DataFrame | None
    remarks: tuple[str, ...] = ()

    def listed(self) -> pd.Index | None:
        """Return the names that every table lists, in the order of the first table; None without tables."""
        indices = [table.index for table in self[:4] if table is not None]
        if not indices:
            return None
        names = indices[0]
        for other in indices[1:]:
            names = names[names.isin(other)]
        return names


class Found(NamedTuple):
    """CelebA's files in a folder.

    Attributes
    ----------
    folder : Path
    pictures : list of Path or zipfile.Path
        The .jpg files of one folder: of those called img_align_celeba, or else of all, the fullest.
    tables : dict
        The file of each table, as .txt or as the .csv that Kaggle distributes, by the name of the .txt.
    other : list of Path or zipfile.Path
        All other files.
    """

    folder: Path
    pictures: list[File]
    tables: dict[str, File]
    other: list[File]

    def __bool__(self) -> bool:
        """Tell whether there are pictures or tables."""
        return bool(self.pictures or self.tables)


def find(folder: Path) -> Found:
    """Find pictures and tables by their names, anywhere in a folder; in zips only if no picture is unpacked.

    Raises
    ------
    DataError
        If a zip is damaged.
    """
    unpacked = unpacked_files(folder)
    files: list[File] = [*unpacked]
    if not any(file.suffix == ".jpg" for file in unpacked):
        files += packed_files(unpacked)
    stems = {Path(name).stem.lower(): name for name in (*MD5, FACTORS)}
    places: dict[Path, list[File]] = {}
    tables: dict[str, File] = {}
    other: list[File] = []
    for file in files:
        if file.suffix == ".jpg":
            places.setdefault(Path(str(file)).parent, []).append(file)
        elif file.suffix in (".txt", ".csv") and (name := stems.get(file.stem.lower())):
            if name not in tables or file.suffix > tables[name].suffix:  # .txt before .csv
                tables[name] = file
        else:
            other.append(file)
    fullest = max(places, key=lambda place: (place.name == PICTURES, len(places[place])), default=folder)
    return Found(folder, places.get(fullest, []), tables, other)


# --- tables ----------------------------------------------------------------------------------------------------------


def read_tables(found: Found) -> Tables:
    """Read all tables that were found.

    Raises
    ------
    DataError
        If a table is malformed; the message names the file and the line.
    """
    remarks: list[str] = []
    attributes = identities = partition = factors = None
    if path := found.tables.get(ATTRIBUTES):
        attributes = _read_attributes(path, remarks)
    else:
        remarks.append(f"There is no {ATTRIBUTES}: there are no attributes.")
    if path := found.tables.get(IDENTITIES):
        identities = _read_number(
            path, "a whole number", lambda values: (values >= 0) & (values < 2**53) & (values % 1 == 0)
        )
    else:
        remarks.append(f"There is no {IDENTITIES}: the identities are unknown.")
    if path := found.tables.get(PARTITION):
        kinds = "0 (train), 1 (validation) or 2 (test)"
        partition = _read_number(path, kinds, lambda values: values.isin(range(len(SPLITS))))
    if path := found.tables.get(FACTORS):
        columns = _first_lines(path)[0].split(",")[1:]
        numbers = f"{len(columns)} finite numbers"
        factors = _read_table(path, columns, 2, numbers, lambda values: abs(values) < np.inf).astype(np.float32)
    for name, table in ((ATTRIBUTES, attributes), (IDENTITIES, identities), (PARTITION, partition)):
        path = found.tables.get(name)
        if path and path.suffix == ".txt" and table is not None and len(table) == COMPLETE and _md5(path) != MD5[name]:
            remarks.append(f"{name} has as many rows as the official file but another MD5: it was changed.")
    return Tables(attributes, identities, partition, factors, tuple(remarks))


def _read_attributes(path: File, remarks: list[str]) -> pd.DataFrame:
    """Read the attributes: line 1 is the number of rows, line 2 their names; a .csv starts with the names."""
    lines = _first_lines(path)
    if path.suffix == ".csv":
        count, columns, names_line = None, lines[0].split(",")[1:], 1
    else:
        if not (lines[0].isascii() and lines[0].isdigit()):
            raise DataError(f"{path}, line 1, should be the number of rows: get the file again.")
        count, columns, names_line = int(lines[0]), lines[1].split(), 2
    if not columns or len(set(columns)) < len(columns):
        raise DataError(f"{path}, line {names_line}, should name each attribute once: get the file again.")
    allowed = f"{len(columns)} values of -1 or 1"
    table = _read_table(path, columns, names_line + 1, allowed, lambda values: values.isin((-1, 1)))
    if count is not None and count > len(table):
        raise DataError(
            f"{path} has {len(table):,} rows, but line 1 says {count:,}: the file was cut off. Get it again, or "
            "correct line 1 if you cut it on purpose."
        )
    if count is not None and count < len(table):
        remarks.append(f"{path.name} says in line 1 that it has {count:,} rows and has {len(table):,}: all are used.")
    return table == 1


def _read_number(path: File, what: str, valid: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Read a table of one number for each picture; only a .csv has a header."""
    return _read_table(path, ("number",), 2 if path.suffix == ".csv" else 1, what, valid).astype(np.int64)


def _read_table(
    path: File, columns: Sequence[str], first_line: int, what: str, valid: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """Read rows of a picture's name and numbers.

    Parameters
    ----------
    path : Path or zipfile.Path
    columns : sequence of str
        Names of the numbers.
    first_line : int
        Line of the first row, from 1.
    what : str
        Description of valid numbers, for the message.
    valid : callable
        Maps the numbers, NaN where a field is missing or not a number, to booleans of that shape.

    Returns
    -------
    DataFrame
        The numbers, indexed by name.
    """
    try:
        table = pd.read_csv(
            io.BytesIO(path.read_bytes()),
            sep="," if path.suffix == ".csv" else r"\s+",
            header=None,
            names=["picture", *columns, "surplus"],
            skiprows=first_line - 1,
            skip_blank_lines=False,
            quoting=csv.QUOTE_NONE,
            encoding="utf-8-sig",
            dtype={"picture": str},
            low_memory=False,
        )
    except pd.errors.EmptyDataError:
        table = pd.DataFrame({"picture": []})
    except (pd.errors.ParserError, UnicodeDecodeError, *UNREADABLE) as error:
        raise DataError(f"{path} cannot be read ({str(error).strip()}): get it again.") from None
    table = table.reset_index(drop=True)
    last = table["picture"].last_valid_index()
    if last is None:
        raise DataError(f"{path} has no rows: get it again.")
    table = table.loc[:last]  # without blank lines at the end
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce")
    bad = ~valid(values).all(axis=1) | table["surplus"].notna() | table["picture"].isna()
    bad |= table["picture"].duplicated()
    if bad.any():
        raise DataError(
            f"{path}, line {first_line + int(bad.to_numpy().argmax())}, should be the name of a picture, listed once, "
            f"and {what}: correct it, or get the file again if it was cut off there."
        )
    return values.set_index(pd.Index(table["picture"]))


def _first_lines(path: File) -> list[str]:
    """Return the first two lines."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [file.readline().strip() for _ in range(2)]
    except (UnicodeDecodeError, *UNREADABLE) as error:
        raise DataError(f"{path} cannot be read ({error}): get it again.") from None


def _md5(path: File) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


# --- pictures --------------------------------------------------------------------------------------------------------


@contextmanager
def open_pictures(found: Found) -> Iterator[Pictures]:
    """Open the pictures that were found.

    Raises
    ------
    DataError
        If there are none.
    """
    if not found.pictures:
        raise DataError(
            f"{found.folder} has no pictures: put {ARCHIVE} there, or unpack it so that {PICTURES} contains *.jpg."
        )
    stamps = {file.name: stamp(file) for file in found.pictures}
    first = found.pictures[0]
    if isinstance(first, Path):
        yield Pictures(first.parent, stamps, lambda name: (first.parent / name).read_bytes())
        return
    lock, inner = threading.Lock(), first.at.removesuffix(first.name)  # ZipFile does not promise to be thread-safe
    with zipfile.ZipFile(str(first.root.filename)) as archive:

        def read(name: str) -> bytes:
            with lock:
                return archive.read(inner + name)

        yield Pictures(Path(str(archive.filename)), stamps, read)


# --- splits ----------------------------------------------------------------------------------------------------------


def split(names: pd.Index, partition: pd.DataFrame | None) -> tuple[pd.Series, str]:
    """Assign each picture to a part.

    The split is the official one if it is known and leaves no part empty (the first pictures of CelebA all belong to
    the training part), else it is by position in the list: 80, 10 and 10 %.

    Returns
    -------
    parts : Series
        0 (train), 1 (validation) or 2 (test) for each name, sorted by part.
    remark : str
        Why this is not the official split; empty if it is.
    """
    if partition is not None:
        parts = partition["number"].loc[names].sort_values(kind="stable")
        empty = [name for number, name in enumerate(SPLITS) if not (parts == number).any()]
        if not empty:
            return parts, ""
        reason = f"The official split leaves no picture found for {' and '.join(empty)}"
    else:
        reason = f"There is no {PARTITION}"
    tenth = max(1, len(names) // 10)
    numbers = np.repeat([0, 1, 2], [len(names) - 2 * tenth, tenth, tenth])
    remark = "the pictures are split by position, 80, 10 and 10 %, and a person may be in several parts."
    return pd.Series(numbers, index=names), f"{reason}: {remark}"
