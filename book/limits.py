"""What the page on the limits of a spectrum shows: one figure, and the numbers that go with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from companion import figures
from companion.claims import THRESHOLD
from companion.experiments import pages

# Groups that a factor could tell from the rest, by their share of the data.
_SHARES = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}


def stage(generated: Path) -> dict[str, Any]:
    """Write the figure and return the numbers that `book/beyond.md` names."""
    codes = pages.rotated_codes()
    figures.rotated_code(codes).savefig(generated / "fig-beyond-turned.svg", metadata={"Date": None})
    return {
        "turned": pages.rotated_numbers(codes),
        "flag_nats": {name: pages.rare_flag(share) for name, share in _SHARES.items()},
        "smallest_flag_percent": 100 * smallest_share(THRESHOLD),
    }


def smallest_share(nats: float) -> float:
    """Share of the data whose entropy, of belonging to it or not, is so many nats: by bisection below one half."""
    low, high = 1e-12, 0.5
    while high - low > 1e-9:
        middle = (low + high) / 2
        entropy = -middle * math.log(middle) - (1 - middle) * math.log(1 - middle)
        low, high = (middle, high) if entropy < nats else (low, middle)
    return low
