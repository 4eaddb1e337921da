"""Where files are looked for, and how they are fetched and checked.

Nothing that a user put under the data root is ever overwritten or deleted. A fetched file is complete and checked
before it takes its name.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs
from torch import Tensor

from companion.errors import DataError

# A source that has not answered by then is given up.
PATIENCE_SECONDS = 10.0

_chosen_root: Path | None = None


@dataclass(frozen=True)
class Provenance:
    """Where the data of a run come from.

    Attributes
    ----------
    source : str
        In words, for the page.
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
        """The four fields, as a run's results hold them."""
        return asdict(self)


def data_root() -> Path:
    """Folder of all data sets: what `set_data_root` said, else $VAEMI_DATA, else the user's cache folder."""
    if _chosen_root is not None:
        return _chosen_root
    if from_environment := os.environ.get("VAEMI_DATA"):
        return Path(from_environment).expanduser()
    return platformdirs.user_cache_path("vaemi", appauthor=False)


def set_data_root(path: str | os.PathLike[str] | None) -> None:
    """Look for data sets under `path` from now on; None returns to $VAEMI_DATA or the user's cache folder.

    Raises
    ------
    DataError
        If the path exists and is no folder.
    """
    global _chosen_root
    if path is not None and Path(path).exists() and not Path(path).is_dir():
        raise DataError(f"The data root {path} is a file: give a folder.")
    _chosen_root = None if path is None else Path(path).expanduser()


def checksum(*tensors: Tensor) -> str:
    """BLAKE2b (16 bytes, hexadecimal) of the tensors' shapes, types and values."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def writable_folder(path: Path) -> Path:
    """`path`, made if need be.

    Raises
    ------
    DataError
        If it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {path} cannot be made ({error.strerror}): {CHOOSE_ROOT}") from None
    if not os.access(path, os.W_OK):
        raise DataError(f"The folder {path} cannot be written to: {CHOOSE_ROOT}")
    return path


CHOOSE_ROOT = "choose another data root with the environment variable VAEMI_DATA."


def answers(urls: Sequence[str], seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether any of the addresses answers within so many seconds in all."""
    replies: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                replies.put(True)
        except (OSError, ValueError):
            replies.put(False)

    deadline = time.monotonic() + seconds
    for url in urls:
        # Daemon threads: a name server that never answers cannot be timed out from inside the call.
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    try:
        return any(replies.get(timeout=max(0.0, deadline - time.monotonic())) for _ in urls)
    except queue.Empty:
        return False
