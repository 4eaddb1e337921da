"""Numbers in words: durations, ratios and ranges as text for a reader."""

from __future__ import annotations

from collections.abc import Sequence

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
    """Return a number with three significant digits below 10 and one decimal above; "-" for None.

    Very small ones have a power of ten: "3.27 × 10⁻⁹".
    """
    if value is None:
        return "-"
    digits, _, exponent = (f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}").partition("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS) if exponent else ""
    return " × ".join(filter(None, ["" if power and digits == "1" else digits, power]))


def percentage_in_words(value: float) -> str:
    """Return a percentage without its sign, to two decimals at most: "below 0.01" for one that would be 0.00."""
    rounded = round(value, 2)
    if rounded or not value:
        return number_in_words(rounded)
    return "below 0.01" if value > 0 else "above -0.01"


def interval_in_words(ends: Sequence[float], percent: bool = False) -> str:
    """Return an interval: "1.2 to 1.5", of percentages to two decimals: "-0.01 to 0"; "" if the ends look the same."""
    # Adding 0.0 takes the sign from a negative zero.
    shown = {number_in_words(round(end, 2) + 0.0 if percent else end): None for end in ends}
    return " to ".join(shown) if len(shown) > 1 else ""
