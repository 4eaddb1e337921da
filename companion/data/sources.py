"""The data root, the files under it, the provenance of a data set and the checksum in it."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from companion.errors import DataError
from vaemi.information.checks import checksum as checksum

CHOOSE_ROOT = "choose another data root with the environment variable VAEMI_DATA."
# What reading a damaged file, .gz or member of a zip may raise.
UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError)
_NAMED_IN_MESSAGES = 5

# A file in a folder, or in a zip: both have name, parent, suffix, stem, open and read_bytes.
File = Path | zipfile.Path

_chosen_root: Path | None = None


@dataclass(frozen=True)
class Provenance:
    """Where the data of a run come from.

    Attributes
    ----------
    source : str
        Description for the page.
    stand_in : bool
        True if these are not the data of the paper.
    n : int
        Number of samples over all splits.
    checksum : str
        BLAKE2b of the samples and labels as used.
    """

    source: str
    stand_in: bool
    n: int
    checksum: str

    def to_dict(self) -> dict[str, Any]:
        """Return the four fields as a run's results store them."""
        return asdict(self)


def user_cache() -> Path:
    """Return the user's cache folder of this project."""
    return platformdirs.user_cache_path("vaemi", appauthor=False)


def data_root() -> Path:
    """Return the folder of all data sets: see `set_data_root`, then $VAEMI_DATA, then the user's cache folder."""
    if _chosen_root is not None:
        return _chosen_root
    if from_environment := os.environ.get("VAEMI_DATA"):
        return Path(from_environment).expanduser()
    return user_cache()


def set_data_root(path: str | os.PathLike[str] | None) -> None:
    """Look for data sets under `path` from now on; None returns to $VAEMI_DATA or the user's cache folder.

    Raises
    ------
    DataError
        If the path is a file.
    """
    global _chosen_root
    if path is not None and Path(path).exists() and not Path(path).is_dir():
        raise DataError(f"The data root {path} is a file: give a folder.")
    _chosen_root = None if path is None else Path(path).expanduser()


def writable_folder(path: Path) -> Path:
    """Create a folder if it is missing and return it.

    Raises
    ------
    DataError
        If it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {path} cannot be created ({error.strerror}): {CHOOSE_ROOT}") from None
    if not os.access(path, os.W_OK):
        raise DataError(f"The folder {path} cannot be written to: {CHOOSE_ROOT}")
    return path


# --- the user's files ------------------------------------------------------------------------------------------------


def data_folder(name: str) -> Path:
    """Return the folder of a data set under the data root; its name may be there in other capitals, or not at all."""
    with suppress(OSError):
        same = [path for path in data_root().iterdir() if path.name.lower() == name.lower()]
        if same:
            return min(same, key=lambda path: (path.name != name, path.name))
    return data_root() / name


def unpacked_files(folder: Path) -> list[Path]:
    """Return all files of a folder and of those in it, by name, without hidden ones.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    files: list[Path] = []
    try:
        # Sorted by text, which takes a fifth of the time that Path's own order does.
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):  # also what macOS leaves beside the files that it copies
                continue
            if entry.is_dir():
                files += unpacked_files(Path(entry.path))
            else:
                files.append(Path(entry.path))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): check its permissions.") from None
    return files


def packed_files(files: Iterable[Path]) -> list[zipfile.Path]:
    """Return all files in the zips among `files`, without hidden ones.

    Raises
    ------
    DataError
        If one of the zips is damaged.
    """
    packed = []
    for path in files:
        if path.suffix.lower() != ".zip":
            continue
        try:
            archive = zipfile.ZipFile(path)
        except UNREADABLE as error:
            raise DataError(f"{path} is not a complete zip ({error}): get it again, or move it away.") from None
        packed += [
            zipfile.Path(archive, name)
            for name in sorted(archive.namelist())
            if not name.endswith("/") and not name.rpartition("/")[2].startswith(".")
        ]
    return packed


def stamp(file: File) -> str:
    """Return a text that changes when the file does."""
    if isinstance(file, Path):
        status = file.stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    entry = file.root.getinfo(file.at)
    return f"{entry.file_size} {entry.CRC:08x}"


def unused(folder: Path, files: Sequence[File], wanted: str) -> list[str]:
    """Return a sentence that names the files which are there and those which are wanted; none without files."""
    if not files:
        return []
    places = [str(file).removeprefix(str(folder)).lstrip(os.sep) for file in files]
    return [f"{folder} contains {listed(places)} but not {wanted}: put these there, or a stand-in is used."]


def listed(names: Sequence[str]) -> str:
    """Return the first names in words, and how many more there are."""
    more = len(names) - _NAMED_IN_MESSAGES
    return ", ".join(names[:_NAMED_IN_MESSAGES]) + (f" and {more:,} more" if more > 0 else "")
