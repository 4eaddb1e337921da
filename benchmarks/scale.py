"""Posteriors in files, up to 10,000,000 samples of 128 factors: time, memory and error of `vaemi.audit_files`.

    .venv/bin/python benchmarks/scale.py --json scale.json      (10 GB in the temporary folder, some ten minutes)

The truth is known: sigma is drawn log-uniformly between a and b, and mu from N(0, 1 - sigma^2), so that q(z_h) is
N(0, 1) whatever a and b, and I(X; Z_h) = -E log sigma = -(log a + log b) / 2. 24 factors are used, 104 carry less than
a hundredth of a nat.

The samples are in files of 100,000, in float32. Every measurement is a process of its own with one thread. Memory is
the highest resident set during the audit minus that before it. For comparison, `factor_information` gets the same
samples as two tensors in memory.

The second part measures the effect of a sampler that repeats samples to give all processes equally many.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DistributedSampler

import vaemi
from vaemi.information import ShareSampler

_specification = importlib.util.spec_from_file_location("estimators", Path(__file__).with_name("estimators.py"))
assert _specification is not None
assert _specification.loader is not None
estimators = importlib.util.module_from_spec(_specification)
sys.modules["estimators"] = estimators  # dataclasses look their module up
_specification.loader.exec_module(estimators)

H, USED = 128, 24
SHARD = 100_000
# Numbers of samples in files.
FULL = [100_000, 1_000_000, 10_000_000]
IN_MEMORY = [100_000, 1_000_000]
# Samples and processes of the padded sampler.
PADDED = [(10, 8), (1_001, 8), (1_001, 64)]


def ranges() -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of the smallest and largest sigma of every factor, each of shape (H,)."""
    centre = torch.cat([torch.linspace(-3.0, -0.3, USED), torch.full((H - USED,), -0.005)]).double()
    half = torch.cat([torch.linspace(0.9, 0.25, USED), torch.full((H - USED,), 0.005)]).double()
    return centre - half, centre + half


def truth() -> torch.Tensor:
    """I(X; Z_h) in nats, shape (H,)."""
    low, high = ranges()
    return -0.5 * (low + high)


def draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and log-variances in float32, both (count, H)."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (end.float() for end in ranges())
    log_sigma = low + (high - low) * torch.rand(count, H, generator=generator)
    mean = torch.randn(count, H, generator=generator).mul_((1 - (2 * log_sigma).exp()).clamp_min_(0).sqrt_())
    return mean, 2 * log_sigma


def write(folder: Path, samples: int, shard: int) -> None:
    for number in range(samples // shard):
        mean, log_variance = draw(shard, number)
        save_file({"mean": mean, "log_variance": log_variance}, folder / f"{number:04}.safetensors")


def measure(folder: Path, samples: int, shard: int, in_memory: bool) -> dict[str, Any]:
    """Count the first samples of a folder from this process, and return what it took."""
    torch.set_num_threads(1)
    vaemi.factor_information(torch.randn(50, 2), torch.zeros(50, 2))  # compiles
    files = sorted(folder.glob("*.safetensors"))[: samples // shard]
    # Loading the tensors counts as memory, not as time.
    before = estimators._resident_before()
    if in_memory:
        parts = [load_file(file) for file in files]
        mean, log_variance = (torch.cat([part[name] for part in parts]) for name in ("mean", "log_variance"))
        del parts
    cpu, wall = time.process_time(), time.perf_counter()
    if in_memory:
        found = vaemi.factor_information(mean, log_variance)
    else:
        found = vaemi.audit_files(files, progress=False).information
    wall = time.perf_counter() - wall
    cpu = time.process_time() - cpu
    peak = None if before is None else (estimators._highest_resident() - before) / 1e6
    error = (found.nats - truth()).abs()
    low, high = found.interval(0.95)
    return {
        "samples": samples,
        "in_memory": in_memory,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_megabytes": peak,
        "counted": found.n_samples,
        "total_nats": found.total,
        "largest_error_nats": float(error.max()),
        "largest_error_in_standard_errors": float((error / found.stderr).max()),
        "stderr_of_largest_error": float(found.stderr[error.argmax()]),
        "inside_95_percent_intervals": float(((low <= truth()) & (truth() <= high)).double().mean()),
    }


def measure_apart(folder: Path, samples: int, shard: int, in_memory: bool) -> dict[str, Any]:
    task = json.dumps([str(folder), samples, shard, in_memory])
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    command = [sys.executable, __file__, "--task", task]
    done = subprocess.run(command, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  {samples:,} samples, {'in memory' if in_memory else 'in files'}: {row['wall_seconds']:.1f} s, "
        f"{row['peak_megabytes'] or math.nan:.0f} MB, largest error {row['largest_error_nats']:.1e} nats",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return row


def padded(samples: int, processes: int) -> dict[str, Any]:
    """Return what repeated samples change, compared with every sample once."""
    mean, log_variance = draw(samples, seed=10**6)
    shares: list[list[int]] = [
        list(DistributedSampler(range(samples), num_replicas=processes, rank=rank, shuffle=False))  # type: ignore[arg-type]
        for rank in range(processes)
    ]
    rows = [index for share in shares for index in share]
    once = vaemi.factor_information(mean, log_variance)
    off = vaemi.factor_information(mean[rows], log_variance[rows]).nats - once.nats
    shared = [index for rank in range(processes) for index in ShareSampler(range(samples), rank, processes)]
    assert sorted(shared) == list(range(samples))
    return {
        "samples": samples,
        "processes": processes,
        "counted": len(rows),
        "largest_change_nats": float(off.abs().max()),
        "largest_change_in_standard_errors": float((off.abs() / once.stderr)[:USED].max()),
        "change_of_total_nats": float(off.sum()),
    }


def memory_over_files(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return time and memory of tensors in memory relative to files of as many samples."""
    in_files = {row["samples"]: row for row in rows if not row["in_memory"]}

    def over_files(row: dict[str, Any], name: str) -> float | None:
        of_files = in_files[row["samples"]][name]
        return row[name] / of_files if row[name] and of_files else None  # memory that was not measured

    names = ("cpu_seconds", "wall_seconds", "peak_megabytes")
    return {str(row["samples"]): {n: over_files(row, n) for n in names} for row in rows if row["in_memory"]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Posteriors in files, up to 10,000,000 samples.")
    parser.add_argument("--quick", action="store_true", help="tiny data: checks this file, not the speed")
    parser.add_argument("--folder", type=Path, help="folder for the files, instead of the temporary one")
    parser.add_argument("--json", type=Path, help="write rows, ratios and the machine to this file")
    parser.add_argument("--other-work", default="", metavar="WORDS", help="what else the machine does meanwhile")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        folder, *rest = json.loads(options.task)
        print(json.dumps(measure(Path(folder), *rest)))
        return
    shrink = 1000 if options.quick else 1
    cases = [(samples // shrink, False) for samples in FULL] + [(samples // shrink, True) for samples in IN_MEMORY]
    if options.quick:
        cases = [case for case in cases if case[0] <= 1000]
    shard = SHARD // shrink
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        largest = max(samples for samples, *_ in cases)
        write(Path(scratch), largest, shard)
        size = sum(file.stat().st_size for file in Path(scratch).iterdir())
        print(f"  {largest:,} samples written, {size / 1e9:.1f} GB", file=sys.stderr, flush=True)
        for samples, in_memory in cases:
            rows.append(measure_apart(Path(scratch), samples, shard, in_memory))
    result = {
        "quick": options.quick,
        "machine": estimators.machine(os.cpu_count() or 1) | {"other_work": options.other_work},
        "system": platform.platform(),
        "factors": H,
        "factors_used": USED,
        "samples_of_a_shard": shard,
        "gigabytes_of_the_largest": size / 1e9,
        "true_total_nats": float(truth().sum()),
        "rows": rows,
        "in_memory_over_files": memory_over_files(rows),
        "padded_sampler": [padded(samples, processes) for samples, processes in PADDED],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
