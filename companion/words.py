"""Numbers in words: durations, ratios and ranges as text for a reader."""

from __future__ import annotations

from collections.abc import Sequence


def duration_in_words(seconds: float) -> str:
    """Return a duration as seconds, minutes or hours: "45 s", "22 min", "5.5 h"."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def ratio_in_words(ratio: float | str) -> str:
    """Return a ratio, such as 0.07, in percent: "7 %"."""
    return f"{100 * float(ratio):g} %"


def range_in_words(values: Sequence[float], digits: int = 2) -> str:
    """Return the lowest and highest of some numbers: "1.00 to 2.50", or "-" if there are none."""
    if not values:
        return "-"
    return " to ".join(dict.fromkeys(f"{end:.{digits}f}" for end in (min(values), max(values))))


def number_in_words(value: float | None) -> str:
    """Return a number with three significant digits below 10 and one decimal above; "-" for None."""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
