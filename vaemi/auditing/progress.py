"""A progress bar where tqdm is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(show: bool, **settings: Any) -> Iterator[Callable[[int], Any]]:
    """Show a bar on standard error and yield the function that advances it; `settings` are those of tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    with tqdm(desc="audit", disable=not show, **settings) as bar:
        yield bar.update
