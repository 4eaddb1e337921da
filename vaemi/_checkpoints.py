"""Checkpoints: a training is found again by a digest of its settings and data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vaemi._files import atomic_write, exclusive_lock
from vaemi.errors import TrainingError


def fingerprint(settings: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits that identify settings (JSON values)."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


@contextmanager
def sole_process(path: Path, fresh: bool) -> Iterator[None]:
    """Wait until no other process runs the training of a checkpoint, and delete the checkpoint if `fresh`."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise TrainingError(
            f"The checkpoint folder {path.parent} cannot be written to ({error.strerror}): choose another one."
        ) from None
    with exclusive_lock(lock, f"training: another process runs the training of {path}; waiting for it."):
        if fresh:
            path.unlink(missing_ok=True)
        yield


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; if that fails, the one before is kept."""
    try:
        with atomic_write(path) as scratch:
            torch.save(state, scratch)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise TrainingError(
            f"The checkpoint {path} cannot be written ({error}): make room or choose another folder. The same call "
            "resumes from the checkpoint before."
        ) from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file
        raise TrainingError(
            f"The checkpoint {path} is damaged: move it away, or start over (fresh=True, or vaemi run --force)."
        ) from None
