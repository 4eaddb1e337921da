"""What users of estimators of mutual information complain about, measured: negative values, unstable training, bias.

    .venv/bin/python benchmarks/robustness.py --json robustness.json

The peers are those of `estimators.py`, with the settings given there; `peers.txt` says how to install them; a
missing one is named in its row. One thread; with all peers about ten CPU minutes, nearly all of them for MINE.

Each part answers a question that issues of public packages ask again and again:

- `ignored`: is a value negative? Estimates of ignored factors of the encoder of `estimators.py`, whose information is
  about 0. (cbueth/infomeasure #7, paulbrodersen/entropy_estimators #17, gregversteeg/NPEET #17, Linear95/CLUB #25)
- `seeds`: does a repetition on the same data give the same number? One Gaussian factor, three seeds of the estimator;
  the draws of z that peers without densities need stay the same. (rdevon/DIM #40, Linear95/CLUB #16)
- `levels`: does the estimate keep up as information grows? One Gaussian factor whose aggregated posterior is N(0, 1).
  (wgao9/knnie #3; an estimate from M samples without the density of the marginal is at most log M nats)
- `dimensions`: does it keep up as dimensions are added? All factors together of a linear-Gaussian encoder: the means
  are correlated Gaussians and the posteriors have equal variances, so that
  I(X; Z) = 1/2 (log det(C + s^2) - log det s^2) with C the covariance of the means.
  (MasanoriYamada/Mine_pytorch #2, gregversteeg/NPEET #10, dpiras/GMM-MI #18)

All parts have M = 1,000 samples. `estimate` is the mean over `data_sets` data sets, and so its distance from the truth
is bias, but for a noise of a few hundredths of a nat where `data_sets` is 1. Ours also has an `upper` end: the
leave-one-out value. The paper's formula for all factors together is `gaussian_joint_information`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bmi_tasks
import estimators as bench
import numpy as np
import pandas as pd
import torch

import vaemi
from companion.data import encoders
from vaemi.information import gaussian_joint_information, joint_information

M = 1000
LEVELS = (1.0, 3.0, 5.0, 8.0)
SEED_LEVEL = 3.0
SEEDS = 3
# Dimensions and nats of all factors together: the same information in more factors, then much of it.
DIMENSIONS = ((2, 3.0), (10, 3.0), (30, 3.0), (30, 15.0))


# --- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Posteriors and one z from each, all of shape (M, H)."""

    mean: torch.Tensor
    log_variance: torch.Tensor
    z: torch.Tensor

    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and draws in float64, of shape (M,) for one factor and (M, H) for several."""
        return tuple(values.squeeze(1).double().numpy() for values in (self.mean, self.z))


def with_draws(mean: torch.Tensor, log_variance: torch.Tensor, seed: int) -> Sample:
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed), dtype=mean.dtype)
    return Sample(mean, log_variance, mean + (0.5 * log_variance).exp() * noise)


def ignored(m: int, count: int) -> list[Sample]:
    """Ignored factors of the encoder of `estimators.py`, evenly spread over them."""
    mean, log_variance = bench.simulate(m)
    first = len(bench.USED)
    chosen = np.linspace(first, bench.H - 1, count).astype(int)
    return [with_draws(mean[:, h : h + 1], log_variance[:, h : h + 1], seed=int(h)) for h in chosen]


def gaussian_factor(m: int, nats: float, seed: int) -> Sample:
    mean, log_variance = map(torch.from_numpy, encoders.gaussian(math.exp(-nats)).draw(m, 1, seed))
    return with_draws(mean, log_variance, seed)


def linear_encoder(m: int, dimension: int, nats: float, seed: int) -> Sample:
    spread, turn = bmi_tasks.linear_encoder(dimension, nats)
    mean = torch.from_numpy(np.random.default_rng(seed).standard_normal((m, dimension)) * spread @ turn.T)
    return with_draws(mean, torch.zeros_like(mean), seed)


# --- estimators ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contestant:
    """An estimator of one factor, and of all together where there is one: (sample, seed) -> nats.

    `ignored` factors are measured and bias is averaged over `data_sets` data sets, with up to `most_nats` in them.
    `upper` gives the upper end of a bracket, of one factor or of all.
    """

    one: Callable[[Sample, int], float]
    all: Callable[[Sample, int], float] | None = None
    upper: Callable[[Sample], float] | None = None
    ignored: int = bench.H - len(bench.USED)
    data_sets: int = 10
    most_nats: float = math.inf


def ours(sample: Sample, seed: int) -> float:
    return float(vaemi.factor_information(sample.mean, sample.log_variance).nats)


def ours_of_all(sample: Sample, seed: int) -> float:
    return joint_information(sample.mean, sample.log_variance, seed=seed).plug_in


def leave_one_out(sample: Sample) -> float:
    if sample.mean.shape[1] == 1:
        return float(vaemi.factor_information(sample.mean, sample.log_variance).leave_one_out)
    return joint_information(sample.mean, sample.log_variance).leave_one_out


def papers(sample: Sample, seed: int) -> float:
    return float(vaemi.factor_information(sample.mean, sample.log_variance, method="gaussian").nats)


def papers_of_all(sample: Sample, seed: int) -> float:
    return gaussian_joint_information(sample.mean, sample.log_variance)


def fixed_bins(sample: Sample, seed: int) -> float:
    return float(bench.fixed_bins(sample.mean.float(), sample.log_variance.float(), len(sample.mean))[0])


def log_sum_exp(sample: Sample, seed: int) -> float:
    return float(bench.log_sum_exp(sample.mean, sample.log_variance, len(sample.mean), seed + 1)[0])


def of_pair(estimate: Callable[[np.ndarray, np.ndarray, int], float]) -> Callable[[Sample, int], float]:
    return lambda sample, seed: estimate(*sample.pair(), seed)


infomeasure, mine = of_pair(bench.infomeasure_pair), of_pair(bench.mine_pair)
CONTESTANTS = {
    bench.OURS: Contestant(ours, ours_of_all, leave_one_out),
    "the paper's Gaussian": Contestant(papers, papers_of_all),
    "fixed bins, 100 on [-4, 4]": Contestant(fixed_bins),
    "Monte-Carlo log-sum-exp": Contestant(log_sum_exp),
    "KSG, scikit-learn": Contestant(of_pair(bench.scikit_learn_pair)),
    "KSG, infomeasure": Contestant(infomeasure, infomeasure, data_sets=3),
    "GMM-MI": Contestant(of_pair(bench.gmm_mi_pair), ignored=4, data_sets=1),
    "MINE, torch-mist": Contestant(mine, mine, ignored=2, data_sets=1, most_nats=8.0),
}


# --- the parts -------------------------------------------------------------------------------------------------------


def of_ignored(contestant: Contestant, m: int) -> dict[str, Any]:
    nats = np.array([contestant.one(sample, 0) for sample in ignored(m, contestant.ignored)])
    return {
        "factors": len(nats),
        "negative": int((nats < 0).sum()),
        "exactly_zero": int((nats == 0).sum()),
        "lowest": float(nats.min()),
        "highest": float(nats.max()),
    }


def of_seeds(contestant: Contestant, m: int) -> dict[str, Any]:
    sample = gaussian_factor(m, SEED_LEVEL, seed=0)
    nats = [contestant.one(sample, seed) for seed in range(SEEDS)]
    return {"truth": SEED_LEVEL, "nats": nats, "spread": max(nats) - min(nats)}


def of_levels(contestant: Contestant, m: int) -> list[dict[str, Any]]:
    return [
        {"truth": nats} | averages(contestant, contestant.one, lambda seed, nats=nats: gaussian_factor(m, nats, seed))
        for nats in LEVELS
    ]


def of_dimensions(contestant: Contestant, m: int) -> list[dict[str, Any]]:
    if contestant.all is None:
        return []
    return [
        {"dimension": dimension, "truth": nats}
        | averages(contestant, contestant.all, lambda seed, key=(dimension, nats): linear_encoder(m, *key, seed))
        for dimension, nats in DIMENSIONS
        if nats <= contestant.most_nats
    ]


def averages(
    contestant: Contestant, estimate: Callable[[Sample, int], float], sample: Callable[[int], Sample]
) -> dict[str, Any]:
    samples = [sample(seed) for seed in range(contestant.data_sets)]
    row: dict[str, Any] = {"estimate": float(np.mean([estimate(sample, 0) for sample in samples]))}
    if contestant.upper is not None:
        row["upper"] = float(np.mean([contestant.upper(sample) for sample in samples]))
    return row


PARTS = {"ignored": of_ignored, "seeds": of_seeds, "levels": of_levels, "dimensions": of_dimensions}


def measure(name: str, m: int) -> dict[str, Any]:
    """The row of one estimator; `failed` says what kept it from running."""
    contestant = CONTESTANTS[name]
    row: dict[str, Any] = {"estimator": name, "data_sets": contestant.data_sets}
    row["failed"] = bench.missing(bench.ESTIMATORS[name])
    start = time.process_time()
    for part, of_part in PARTS.items():
        row[part] = None if row["failed"] else of_part(contestant, m)
        print(f"    {name}: {part}", file=sys.stderr, flush=True)
    row["cpu_seconds"] = time.process_time() - start
    return row


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; all numbers in nats but the counts."""
    shown = []
    for row in rows:
        if row["failed"]:
            shown.append({"estimator": row["estimator"], "remarks": row["failed"]})
            continue
        negative = f"{row['ignored']['negative']} of {row['ignored']['factors']}"
        cells = {"estimator": row["estimator"], "negative": negative, "lowest": row["ignored"]["lowest"]}
        cells["spread over seeds"] = row["seeds"]["spread"]
        cells |= {f"{level['truth']:g} nats": level["estimate"] for level in row["levels"]}
        cells |= {f"{at['truth']:g} nats in {at['dimension']}": at["estimate"] for at in row["dimensions"]}
        shown.append(cells | {"CPU seconds": row["cpu_seconds"], "remarks": ""})
    return pd.DataFrame(shown).to_markdown(index=False, floatfmt=".3g", missingval="-")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Negative values, spread over seeds and bias of estimators.")
    parser.add_argument("--quick", action="store_true", help="tiny data: checks this file")
    parser.add_argument("--json", type=Path, help="write the rows and the machine to this file")
    parser.add_argument("--keep", action="store_true", help="measure only estimators without rows in that file")
    options = parser.parse_args(arguments)
    m = 120 if options.quick else M
    torch.set_num_threads(1)
    result: dict[str, Any] = {"quick": options.quick, "date": datetime.now(UTC).date().isoformat()}
    result |= {"machine": bench.machine(1), "samples": m, "rows": []}
    kept = (
        json.loads(options.json.read_text(encoding="utf-8"))["rows"] if options.keep and options.json.exists() else []
    )
    known = {row["estimator"]: row for row in kept if not row["failed"]}
    for name in CONTESTANTS:
        row = known.get(name) or measure(name, m)
        result["rows"].append(row)
        print(f"  {name}: {row['failed'] or format(row['cpu_seconds'], '.1f') + ' s'}", file=sys.stderr, flush=True)
        if options.json:  # after each, since the last ones take minutes
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(markdown(result["rows"]))


if __name__ == "__main__":
    main()
