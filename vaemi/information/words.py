"""Counts in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count and what is counted: "1 file", "2,000 files"; `many` is given where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
