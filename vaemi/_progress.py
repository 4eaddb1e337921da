"""Progress bars where tqdm is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def progress_bar(iterable: Iterable[T], **settings: Any) -> Iterable[T]:
    """Iterate with a bar on standard error, or without one if tqdm is missing; `settings` are those of tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        return iterable
    return tqdm(iterable, mininterval=2, **settings)
