"""Information of a factor about a number, where the truth is known: vaemi, ten classes, scikit-learn and GMM-MI.

    .peers/bin/python benchmarks/labels.py --json benchmarks/labels.json

`peers.txt` says how to install GMM-MI; without it its columns are empty. One thread, a few CPU minutes, nearly all
for GMM-MI.

In each case a label Y is uniform over (0, 1) or normal, and z given y is a known density, so that I(Z; Y) follows from
two integrals. An encoder returns the posterior N(mu, s^2) of a sample, whose mean depends on y. vaemi sees the
posteriors; scikit-learn (three neighbours, the default of `mutual_info_regression`) and GMM-MI (all defaults) see one
draw of z per sample.

`covered` counts data sets in which the 95 % interval of vaemi holds the truth.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import estimators as bench
import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from vaemi.influence import LabelInformation, discretized, label_information

M = 1000
DATA_SETS = 12
PEER_DATA_SETS = 3
GMM_DATA_SETS = 2


@dataclass(frozen=True)
class Case:
    """z = centre(y) + spread(y) e + width(y) e', with e and e' standard normal; the last term is the posterior.

    All are functions of y, which is standard normal if `normal` and else uniform over (0, 1).
    """

    centre: Callable[[np.ndarray], np.ndarray]
    spread: Callable[[np.ndarray], np.ndarray]
    width: Callable[[np.ndarray], np.ndarray]
    normal: bool = False

    def draw(self, m: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the posterior means and log-variances, and the labels, each of shape (m, 1)."""
        generator = np.random.default_rng(seed)
        y = generator.standard_normal(m) if self.normal else generator.random(m)
        mean = self.centre(y) + self.spread(y) * generator.standard_normal(m)
        parts = mean, 2 * np.log(self.width(y)), y
        return tuple(torch.as_tensor(part)[:, None] for part in parts)

    def truth(self) -> float:
        """Return I(Z; Y) in nats: the entropy of the mean density less the mean entropy."""
        share = (np.arange(4000) + 0.5) / 4000
        y = norm.ppf(share) if self.normal else share
        centre, total = self.centre(y), np.hypot(self.spread(y), self.width(y))
        z = np.linspace((centre - 9 * total).min(), (centre + 9 * total).max(), 6000)
        density = np.mean([norm.pdf(z, *of_y) for of_y in zip(centre, total, strict=True)], axis=0)
        positive = density[density > 0]
        entropy = -np.sum(positive * np.log(positive)) * (z[1] - z[0])
        return float(entropy - np.mean(norm.entropy(scale=total)))


def gaussian(rho: float) -> Case:
    """Jointly Gaussian with correlation rho; half of what the label leaves open is the posterior's width."""
    rest = np.sqrt((1 - rho**2) / 2)
    return Case(lambda y: rho * y, lambda y: rest + 0 * y, lambda y: rest + 0 * y, normal=True)


def wave(periods: int) -> Case:
    return Case(lambda y: np.cos(2 * np.pi * periods * y), lambda y: 0 * y, lambda y: 0.4 + 0 * y)


CASES = {
    "independent": gaussian(0.0),
    "Gaussian, correlation 0.5": gaussian(0.5),
    "Gaussian, correlation 0.9": gaussian(0.9),
    "cosine, one period": wave(1),
    "cosine, three periods": wave(3),
    "parabola": Case(lambda y: y**2 - 1, lambda y: 0.3 + 0 * y, lambda y: 0.3 + 0 * y, normal=True),
    "width only": Case(lambda y: 0 * y, lambda y: np.exp(-3 * y), lambda y: 0.3 * np.exp(-3 * y)),
}


def ours(mean: torch.Tensor, log_variance: torch.Tensor, label: torch.Tensor) -> LabelInformation:
    return label_information(mean, log_variance, label, permutations=19)


def pair(mean: torch.Tensor, log_variance: torch.Tensor, label: torch.Tensor, seed: int) -> tuple[np.ndarray, ...]:
    noise = np.random.default_rng(1000 + seed).standard_normal(len(mean))
    z = mean[:, 0].numpy() + np.exp(0.5 * log_variance[:, 0].numpy()) * noise
    return z, label[:, 0].numpy()


def measure(case: Case, m: int, data_sets: int, peers: int, gmm: int) -> dict[str, Any]:
    """Return the truth, and what each estimator finds in each of some data sets, in nats."""
    truth = case.truth()
    found: dict[str, list[float]] = {"vaemi": [], "ten classes": [], "scikit-learn": [], "GMM-MI": []}
    stderr, covered = [], 0
    for seed in range(data_sets):
        data = case.draw(m, seed)
        of_number = ours(*data)
        low, high = of_number.interval()
        covered += float(low) <= truth <= float(high)
        found["vaemi"].append(float(of_number.nats))
        stderr.append(float(of_number.stderr))
        if seed < peers:
            found["ten classes"].append(float(ours(*data[:2], discretized(data[2])).nats))
            found["scikit-learn"].append(bench.scikit_learn_pair(*pair(*data, seed), seed))
        if seed < gmm:
            found["GMM-MI"].append(bench.gmm_mi_pair(*pair(*data, seed), seed))
    rows = {
        name: {"mean": float(np.mean(values)), "error": float(np.sqrt(np.mean(np.square(np.subtract(values, truth)))))}
        for name, values in found.items()
        if values
    }
    return {"truth": truth, "stderr": float(np.mean(stderr)), "covered": int(covered), "data_sets": data_sets} | rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Information of a factor about a number, where the truth is known.")
    parser.add_argument("--quick", action="store_true", help="tiny data: checks this file")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    m, *counts = (100, 2, 1, 0) if options.quick else (M, DATA_SETS, PEER_DATA_SETS, GMM_DATA_SETS)
    if importlib.util.find_spec("gmm_mi") is None:
        counts[-1] = 0
    rows = []
    for name, case in CASES.items():
        rows.append({"case": name} | measure(case, m, *counts))
        print(f"  {name}", file=sys.stderr, flush=True)
    result = {"date": datetime.now(UTC).date().isoformat(), "machine": bench.machine(1), "samples": m, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(pd.json_normalize(rows).to_markdown(index=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
