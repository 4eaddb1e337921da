"""The audit in the browser: the numbers and names that its scripts take from the library.

The scripts in `book/_drop` are a port of the exact estimator. They compute all matrices of the lattice themselves, from
the few numbers written here.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from statistics import NormalDist
from typing import Any

from templates import ROOT

from vaemi import criteria
from vaemi.information import answers, checks, lattice, mixture

ASSETS = ROOT / "book" / "_drop"
CONFIDENCE = 0.95


def place(target: Path) -> None:
    """Write the scripts and styles of the page, and their settings, to a folder."""
    shutil.copytree(ASSETS, target, dirs_exist_ok=True)
    (target / "settings.js").write_text(
        f"window.vaemiDrop = {{ settings: {json.dumps(settings())} }};\n", encoding="utf-8"
    )


def settings() -> dict[str, Any]:
    """Return everything that the scripts take from the library."""
    return {
        "lattice": {
            **{_camel_case(name): value for name, value in dataclasses.asdict(lattice.LATTICES["default"]).items()},
            "block": lattice.BLOCK,
            "bandsPerOctave": lattice.BANDS_PER_OCTAVE,
            "farthestPoint": lattice.FARTHEST_POINT,
            "thinning": lattice.THINNING,
            "fewLevels": lattice._FEW_LEVELS,
            "tiny": mixture._TINY,
            "defence": mixture._DEFENCE,
        },
        "names": {"mean": answers.MEAN_NAMES, "second": answers.SECOND_NAMES},
        "limits": {"mean": checks._MEAN_LIMIT, "logVariance": checks._LOG_VARIANCE_LIMIT},
        "confidence": CONFIDENCE,
        "normalQuantile": NormalDist().inv_cdf((1 + CONFIDENCE) / 2),
        "quantile": 1 - criteria.RARE_SHARE,
        "lines": _lines(),
        "commandLine": "vaemi audit",
    }


def _lines() -> dict[str, Any]:
    """Return the line of each criterion, a number or what `makeAudit` reads instead."""
    lines: dict[str, Any] = {
        name: criterion.threshold for name, criterion in criteria.CRITERIA.items() if name != "effect"
    }
    near_one, widest = lines["mean_variance"], lines["marginal_std"]
    settled = criteria.SETTLED
    lines["mean_variance"] = {"steady": settled, "passive": [1 - near_one, 1 + near_one], "active": settled}
    lines["marginal_std"] = [1 / widest, widest]
    return lines


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
