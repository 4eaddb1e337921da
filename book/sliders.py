"""Sliders on the pages: the water level, two factors that are turned, and a spectrum while its model trains.

`book/_sliders/sliders.js` computes the first two from the few numbers written here; a test compares it to the library.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from templates import ROOT, render

from companion import weights
from companion.claims import THRESHOLD
from companion.experiments import pages

ASSETS = ROOT / "book" / "_sliders"
NAMES = ("water", "turn", "training")
# Factors of the spectrum that is shown while its model trains.
_SHOWN = 24


def place(numbers: Mapping[str, Any], reference: Path, target: Path, generated: Path) -> None:
    """Write the scripts and styles of the sliders and their data to a folder, and the parts of the pages to another.

    Parameters
    ----------
    numbers : mapping
        `theory` has the numbers of the page on theory.
    reference : Path
        Folder of the reference run.
    target, generated : Path
    """
    shutil.copytree(ASSETS, target, dirs_exist_ok=True)
    data = {"water": water(numbers["theory"]), "turn": turn(), "training": training(reference)}
    for name in NAMES:
        script = f"window.vaemiSlider = {json.dumps({'name': name, **data[name]})};\n"
        (target / f"{name}.js").write_text(script, encoding="utf-8")
        (generated / f"slider-{name}.md").write_text(render("slider.md", name=name), encoding="utf-8")


def water(theory: Mapping[str, Any]) -> dict[str, Any]:
    """Return the eigenvalues, the water level at beta = 1 and the range of beta."""
    return {"eigenvalues": theory["eigenvalues"], "level": theory["water_level_at_beta_1"], "most": 64}


def turn() -> dict[str, Any]:
    """Return the variances of the means and of the noise of both codes of `rotated_codes`."""
    return {"codes": [{"name": name, "means": m, "noise": s} for name, (m, s) in pages.ROTATED.items()]}


def training(reference: Path) -> dict[str, Any]:
    """Return the information of MNIST's finally most informative factors after each recorded number of steps."""
    manifest = json.loads((reference / "mnist.json").read_text(encoding="utf-8"))["manifest"]
    history = weights.load(reference / "weights" / manifest["weights"]).history
    information = history["information"]
    ranking = information[-1].argsort(descending=True)[:_SHOWN]
    return {
        "steps": history["step"].tolist(),
        "factors": ranking.tolist(),
        "nats": [[round(nats, 3) for nats in row] for row in information[:, ranking].tolist()],
        # Over all factors, also those that are not shown.
        "influential": (information > THRESHOLD).sum(1).tolist(),
        "total": [round(nats, 2) for nats in information.sum(1).tolist()],
        "threshold": THRESHOLD,
    }
