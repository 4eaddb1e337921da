"""What the page on large data shows: the committed benchmark of scale as a figure, and the numbers that go with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from companion import figures

MEASURED = Path(__file__).resolve().parent.parent / "benchmarks" / "scale.json"


def stage(generated: Path) -> dict[str, Any]:
    """Write the figure and return the numbers that `book/scale.md` names."""
    measured = json.loads(MEASURED.read_text())
    rows = pd.DataFrame(measured["rows"])
    numbers_of_a_sample = 2 * measured["factors"]
    figure = figures.time_and_memory(rows, megabytes_of_a_sample=4e-6 * numbers_of_a_sample)
    figure.savefig(generated / "fig-scale.svg", metadata={"Date": None})
    alone = rows[~rows.in_memory].sort_values("samples")
    return {
        "machine": measured["machine"],
        "factors": measured["factors"],
        "shard": measured["samples_of_a_shard"],
        "gigabytes": measured["gigabytes_of_the_largest"],
        "true_total_nats": measured["true_total_nats"],
        "fewest": alone.iloc[0].to_dict(),
        "most": alone.iloc[-1].to_dict(),
        "memory_ratio": float(alone.peak_megabytes.iloc[-1] / alone.peak_megabytes.iloc[0]),
        "ratios": measured["ratios"],
        "in_memory": rows[rows.in_memory].sort_values("samples").iloc[-1].to_dict(),
        "padded": measured["padded_sampler"],
    }
