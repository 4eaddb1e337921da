"""Atomic writes and file locks."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is there in the end becomes `path`, and after an exception is deleted.

    What killed processes left of the same file is deleted first.

    Parameters
    ----------
    path : Path
        The file to be, in a folder that exists.

    Yields
    ------
    Path
        An empty file.

    Raises
    ------
    OSError
        If it cannot be written; `path` is then as it was.
    """
    remove_leftovers(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Held by its writer as long as that lives, so that others know a leftover from a file in the making.
        with scratch.open("ab") as mark:
            with suppress(OSError):
                _locked(mark, wait=True)
            yield scratch
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what `written_whole` had begun of a file in processes that are no more."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if leftover.suffix[1:].isdigit():
            # Not where there are no locks, the folder cannot be written to, or another deletes it at this moment.
            with suppress(OSError), leftover.open("ab") as mark:
                if _locked(mark, wait=False):
                    leftover.unlink(missing_ok=True)


@contextmanager
def only_one(path: Path, say: Callable[[], None], inherited: bool = False) -> Iterator[IO[str] | None]:
    """Be the only process, and the only thread, inside; who comes second waits.

    The system takes the lock from a process that ends, however it ends: a lock file that lies about holds nobody up.

    Parameters
    ----------
    path : Path
        The lock file, which is deleted in the end.
    say : callable
        Called before a wait.
    inherited : bool
        Whether a program that this process becomes goes on holding the lock.

    Yields
    ------
    file or None
        The lock file, open: a process that is given it holds the lock, too. None where the file system has no locks.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    file, locked = _acquired(path, say)
    os.set_inheritable(file.fileno(), inherited)
    try:
        yield file if locked else None
    finally:
        if locked:
            path.unlink(missing_ok=True)  # before the lock is given up, so that it is not another's
        file.close()


def _acquired(path: Path, say: Callable[[], None]) -> tuple[IO[str], bool]:
    told = False
    while True:
        file = path.open("a")
        try:
            locked = _locked(file, wait=told)
        except OSError:
            return file, False
        if not locked:
            file.close()
            say()
            told = True
            continue
        # The one before deleted the file that this one had opened: what counts is the file that others find.
        try:
            same = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except FileNotFoundError:
            same = False
        if same:
            return file, True
        file.close()


def _locked(file: IO[str] | IO[bytes], wait: bool) -> bool:
    """Whether the file is this process's now; an OSError where there are no locks."""
    if fcntl is None:
        raise OSError("no locks on this system")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


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
