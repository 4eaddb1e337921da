"""The data root, the provenance of a data set and the checksum in it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from companion.errors import DataError
from vaemi._checkpoints import checksum as checksum

CHOOSE_ROOT = "choose another data root with the environment variable VAEMI_DATA."

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
