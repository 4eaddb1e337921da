"""Atomic writes and file locks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside `path` that replaces it on success and is deleted on an exception.

    Two processes must not write the same path at once: hold an `exclusive_lock` where that can happen.

    Parameters
    ----------
    path : Path
        The file to write, in a folder that exists.

    Yields
    ------
    Path
        Name of the scratch file, which does not exist yet.

    Raises
    ------
    OSError
        If the file cannot be written; `path` is unchanged.
    """
    scratch = path.with_name(f".{path.name}.partial")
    scratch.unlink(missing_ok=True)  # of a process that was killed
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def exclusive_lock(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold an exclusive lock; later callers wait. The system releases the lock of a process that dies.

    Parameters
    ----------
    path : Path
        The lock file, in a folder that exists. It stays.
    waiting : str, optional
        Message to standard error before waiting.

    Raises
    ------
    OSError
        If the lock file cannot be created.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if waiting:
            print(waiting, file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
