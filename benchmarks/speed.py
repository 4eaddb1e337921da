"""CPU time and memory of `vaemi.factor_information` before and after a change, beside the paper's formula, in one run.

    .venv/bin/python benchmarks/speed.py --before ../vaemi-of-that-commit --json benchmarks/speed.json

`--before` is a checkout of the older version (`git worktree add`). The encoder is that of `estimators.py`: 128 factors,
24 of them used. The case of very many factors repeats the used ones, as the latents of a diffusion model are all used.
Every measurement has a process and one thread of its own and makes a small call first, which compiles. Versions take
turns, and of several rounds the median counts; what takes more than `REPEAT_BELOW` seconds is measured once. Short
calls are repeated within a process. The error is the largest against the dense quadrature, over some factors. "Without
numba" hides numba from both versions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
# Name: factors, samples, whether all factors are used, whether numba is there.
FULL = {
    "128 factors, 50,000 samples": (128, 50_000, False, True),
    "32 factors, 1,000 samples": (32, 1_000, False, True),
    "16,384 factors, 1,000 samples": (16_384, 1_000, True, True),
    "128 factors, 50,000 samples, without numba": (128, 50_000, False, False),
}
# CPU seconds that the change was to reach; without numba, times those with numba.
GOALS = {"128 factors, 50,000 samples": 0.35, "32 factors, 1,000 samples": 0.015, "16,384 factors, 1,000 samples": 8.0}
GOAL_WITHOUT_NUMBA = 10
QUICK = {"4 factors, 60 samples": (4, 60, False, True), "4 factors, 60 samples, without numba": (4, 60, False, False)}
VERSIONS = ("before", "after", "the paper's formula")
# Factors on which the error is measured.
JUDGED = 4
# CPU seconds: a call is repeated within a process until it took the first, and in other processes if it takes less than
# the second.
REPEATED_FOR, REPEAT_BELOW = 0.5, 5.0


def measure(factors: int, samples: int, all_used: bool, numba: bool, version: str) -> dict[str, Any]:
    """Return median CPU seconds of a call, memory, and the estimates of the judged factors, from this process."""
    if not numba:
        sys.modules["numba"] = None  # type: ignore[assignment]
        warnings.simplefilter("ignore")
    import estimators as bench
    import torch

    import vaemi

    torch.set_num_threads(1)
    mean, log_variance = bench.simulate(samples)
    among = list(range(len(bench.USED))) if all_used else bench.EVERY
    chosen = (among * (factors // len(among) + 1))[:factors] if factors > len(among) else bench.subset(factors, among)
    mean, log_variance = mean[:, chosen].contiguous(), log_variance[:, chosen].contiguous()
    method = "gaussian" if version == VERSIONS[2] else "mixture"
    vaemi.factor_information(mean[:50], log_variance[:50], method)
    before = bench._resident_before()
    seconds: list[float] = []
    while sum(seconds) < REPEATED_FOR:
        start = time.process_time()
        found = vaemi.factor_information(mean, log_variance, method)
        seconds.append(time.process_time() - start)
        if len(seconds) == 1:
            peak = None if before is None else (bench._highest_resident() - before) / 1e6
    judged = list(range(0, min(factors, 128), min(factors, 128) // JUDGED))
    truth = bench.reference(mean[:, judged], log_variance[:, judged])
    error = abs(found.nats[judged].numpy() - truth).max()
    return {"cpu_seconds": median(seconds), "peak_megabytes": peak, "largest_error": float(error)}


def measure_apart(checkout: Path, case: tuple[int, int, bool, bool], version: str) -> dict[str, Any]:
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    environment = {**os.environ, **threads, "PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, __file__, "--task", json.dumps([*case, version])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def commit_of(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The estimator's speed before and after a change.")
    parser.add_argument("--before", type=Path, default=ROOT, help="checkout of the older version")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny data: checks this file, not the speed")
    parser.add_argument("--json", type=Path, help="write rows and the machine to this file")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        print(json.dumps(measure(*json.loads(options.task))))
        return
    rows: list[dict[str, Any]] = []
    for name, case in (QUICK if options.quick else FULL).items():
        results: dict[str, list[dict[str, Any]]] = {version: [] for version in VERSIONS}
        for _ in range(options.rounds):
            for version, found in results.items():
                if found and found[0]["cpu_seconds"] > REPEAT_BELOW:
                    continue
                found.append(measure_apart(options.before if version == "before" else ROOT, case, version))
        with_numba = next((row["after"]["cpu_seconds"] for row in rows if name.startswith(row["case"])), None)
        goal = with_numba * GOAL_WITHOUT_NUMBA if with_numba else GOALS.get(name)
        row: dict[str, Any] = {"case": name, "goal_cpu_seconds": goal}
        for version, found in results.items():
            row[version] = {key: median(one[key] for one in found) for key in found[0] if found[0][key] is not None}
        rows.append(row)
        print(name, {version: round(row[version]["cpu_seconds"], 4) for version in VERSIONS}, flush=True)
    if options.json:
        import estimators as bench

        commits = {"before": commit_of(options.before), "after": commit_of(ROOT)}
        about = {"date": datetime.now(UTC).date().isoformat(), "commits": commits, "rounds": options.rounds}
        result = {"quick": options.quick, **about, "machine": bench.machine(1), "rows": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
