"""Speed, memory and accuracy of I(X; Z_h) estimators, ours against peers, on a simulated encoder.

    .venv/bin/python benchmarks/estimators.py --json estimators.json

The rows of a peer that is missing say so. `benchmarks/peers.txt` lists the peers that vaemi does not depend on, and how
to install them beside an environment without changing it.

The encoder has 128 factors as a trained VAE has them: 24 used ones (bimodal, skewed, uniform or Gaussian means, sigma
between 0.03 and 0.5 that depends on x) and 104 ignored ones (mean about 0, sigma about 1). One data set is the same
encoder with z ten times as large, which changes no information.

Every measurement has a process of its own, which draws the data, makes one small call (compilation and lazy imports;
its time is a column of its own), and then times one call: CPU seconds on one thread, wall and CPU seconds on all
threads. Memory is the highest resident set during the call above the one before it. The order of the measurements
goes round, so that a machine that slows down hits all alike; of several rounds the median counts, and what took
longer than `REPEAT_BELOW` seconds is measured once.

What the estimators estimate:

- vaemi, fixed bins, log-sum-exp: I(X; Z_h) of the mixture of the M given posteriors.
- the paper's Gaussian: the same, if q(z_h) were Gaussian; an upper bound otherwise.
- KSG (k nearest neighbours), GMM-MI and MINE know no densities: I(mu_h; Z_h) from pairs of a mean and one z drawn from
  its posterior. It equals I(X; Z_h) where sigma is a function of mu, and they are judged on these factors and the
  ignored ones only.

Settings of the peers, as their documentation gives them:

- KSG: three neighbours in scikit-learn and four in infomeasure, the defaults.
- GMM-MI 0.8.2: all defaults, as in its README: three starts and two folds to choose the number of components, 50
  bootstrap fits, 1e5 draws for each integral. The estimate is the mean over the bootstrap.
- MINE of torch-mist 0.2.17: the network of its README (one hidden layer of 128) and the default of 5,000 iterations
  with batches of 128. The 1,000 iterations of the example in the README are too few here: a Gaussian factor of 3 nats
  came out as 2.2.

The error is that against the same mixture integrated in float64 on a dense grid, in nats; for peers that draw z it
holds the noise of the draws. Where a peer is too slow for all 128 factors or all samples it is measured on some of
them, its time scaled in proportion, and the row says "projected"; its memory is that of the part measured. GMM-MI and
MINE take part of a minute for each factor. They are measured on one thread, with M up to 10,000, and on few factors, of
which one is used; their first call is the import alone. GMM-MI sees 1,000 samples: with more samples it fits more
components, so that its real time is above the projected one. The time of MINE hardly depends on M.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

import vaemi

H = 128
# The used factors: every marginal with every kind and range of sigma; the others are ignored.
MARGINALS = ("bimodal", "skewed", "uniform", "Gaussian")
SIGMA_RANGES = ((0.03, 0.1), (0.1, 0.5), (0.03, 0.5))
USED = [
    (marginal, low, high, follows) for low, high in SIGMA_RANGES for marginal in MARGINALS for follows in (True, False)
]
# Factors on which I(mu; Z) is I(X; Z): sigma is a function of mu, or all posteriors are nearly the same.
FOLLOWING = [h for h, (*_, follows) in enumerate(USED) if follows] + list(range(len(USED), H))

REPEAT_BELOW = 20.0
# Samples of the small first call.
FIRST_CALL = 50
# Numbers in a block of peers and reference.
BLOCK = 2**22
BINS, BINS_REACH = 100, 4.0


# --- data ------------------------------------------------------------------------------------------------------------


def simulate(m: int, scale: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and log-variances in float32, shape (m, H); drawn in chunks, so that little more than them is held."""
    generator = np.random.default_rng(seed)
    mean, log_variance = torch.empty(m, H), torch.empty(m, H)
    for start in range(0, m, 10_000):
        rows = slice(start, min(start + 10_000, m))
        count = rows.stop - start
        mu = 0.02 * generator.standard_normal((count, H))
        sigma = generator.uniform(0.97, 1.0, (count, H))
        for h, (marginal, low, high, follows) in enumerate(USED):
            mu[:, h] = _marginal(marginal, generator, count)
            place = 0.5 + 0.5 * np.sin(3 * mu[:, h]) if follows else generator.uniform(0, 1, count)
            sigma[:, h] = low * (high / low) ** place
        mean[rows] = torch.from_numpy(scale * mu)
        log_variance[rows] = torch.from_numpy(2 * np.log(scale * sigma))
    return mean, log_variance


def _marginal(name: str, generator: np.random.Generator, count: int) -> np.ndarray:
    """Means of one used factor, of mean 0 and variance about 1, shape (count,)."""
    if name == "bimodal":
        return generator.choice([-0.95, 0.95], count) + 0.3 * generator.standard_normal(count)
    if name == "skewed":
        return generator.exponential(1, count) - 1
    if name == "uniform":
        return generator.uniform(-math.sqrt(3), math.sqrt(3), count)
    return generator.standard_normal(count)


def subset(count: int, among: list[int], used_factors: int | None = None) -> list[int]:
    """As many factors of `among`, three quarters or `used_factors` of them used, evenly spread over both sorts."""
    if count >= len(among):
        return among
    used = [h for h in among if h < len(USED)]
    ignored = [h for h in among if h >= len(USED)]
    from_used = min(len(used), count - count // 4 if used_factors is None else used_factors)
    spread = [(used, from_used), (ignored, count - from_used)]
    return [h for part, k in spread for h in np.asarray(part)[np.linspace(0, len(part) - 1, k).astype(int)].tolist()]


# --- estimators: (mean, log_variance, rows) -> nats of every factor --------------------------------------------------


def ours(mean: torch.Tensor, log_variance: torch.Tensor, rows: int) -> np.ndarray:
    return vaemi.factor_information(mean, log_variance).nats.numpy()


def papers(mean: torch.Tensor, log_variance: torch.Tensor, rows: int) -> np.ndarray:
    return vaemi.factor_information(mean, log_variance, method="gaussian").nats.numpy()


def fixed_bins(mean: torch.Tensor, log_variance: torch.Tensor, rows: int) -> np.ndarray:
    """q(z_h|x) on the centres of 100 bins of [-4, 4], normalized; the entropy of its mean less the mean of its."""
    edges = torch.linspace(-BINS_REACH, BINS_REACH, BINS + 1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    h = mean.shape[1]
    marginal, conditional = torch.zeros(h, BINS, dtype=torch.float64), torch.zeros(h, dtype=torch.float64)
    size = max(1, BLOCK // (BINS * h))
    for mu, log_var in zip(mean.split(size), log_variance.split(size), strict=True):
        exponent = (centres - mu[..., None]).square_().mul_(-0.5 * (-log_var[..., None]).exp())
        exponent -= exponent.amax(-1, keepdim=True)
        weight = exponent.exp()
        total = weight.sum(-1)
        conditional += (total.log() - (weight * exponent).sum(-1) / total).sum(0)
        marginal += (weight / total[..., None]).sum(0)
    marginal /= len(mean)
    return (-torch.xlogy(marginal, marginal).sum(1) - conditional / len(mean)).numpy()


def log_sum_exp(mean: torch.Tensor, log_variance: torch.Tensor, rows: int, seed: int = 1) -> np.ndarray:
    """Mean of log q(z|x_m) - log 1/M sum_j q(z|x_j) over one z from each of the first `rows` posteriors."""
    m, h = mean.shape
    noise = torch.randn(rows, h, generator=torch.Generator().manual_seed(seed))
    nats = np.zeros(h)
    for factor in range(h):
        # Contiguous copies, and 1/2 log 2 pi left out on both sides.
        mu, log_std = mean[:, factor].clone(), 0.5 * log_variance[:, factor]
        precision = (-log_std).exp()
        z = mu[:rows] + log_std[:rows].exp() * noise[:, factor]
        own = -0.5 * noise[:, factor].square() - log_std[:rows]
        total = 0.0
        for part, own_part in zip(z.split(max(1, BLOCK // m)), own.split(max(1, BLOCK // m)), strict=True):
            log_density = (part[:, None] - mu).mul_(precision).square_().mul_(-0.5).sub_(log_std)
            total += float((own_part - log_density.logsumexp(1) + math.log(m)).double().sum())
        nats[factor] = total / rows
    return nats


def drawn(mean: torch.Tensor, log_variance: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means and one z from every posterior in float64, each a list of factors, shape (H, M)."""
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    z = mean + (0.5 * log_variance).exp() * noise
    return np.ascontiguousarray(mean.double().numpy().T), np.ascontiguousarray(z.double().numpy().T)


def scikit_learn_pair(mu: np.ndarray, z: np.ndarray, seed: int = 0) -> float:
    """KSG; the seed is that of the noise that breaks ties. Negative values become 0."""
    from sklearn.feature_selection import mutual_info_regression

    return float(mutual_info_regression(mu[:, None], z, n_neighbors=3, random_state=seed)[0])


def infomeasure_pair(mu: np.ndarray, z: np.ndarray, seed: int = 0) -> float:
    """KSG of vectors or numbers; nothing in it depends on a seed but a noise of 1e-10."""
    import infomeasure

    return float(infomeasure.mutual_information(mu, z, approach="ksg"))


def gmm_mi_pair(mu: np.ndarray, z: np.ndarray, seed: int = 0) -> float:
    """GMM-MI, which fixes its own seeds; the one here orders the samples, hence other folds and another bootstrap."""
    from gmm_mi.mi import EstimateMI

    order = np.random.default_rng(seed).permutation(len(mu))
    with quiet():
        return float(EstimateMI().fit_estimate(np.stack([mu, z], 1)[order])[0])


def mine_pair(mu: np.ndarray, z: np.ndarray, seed: int = 0) -> float:
    """MINE of vectors or numbers; the seed is that of the network, the batches and the part held out."""
    import torch_mist

    pair = tuple(torch.from_numpy(values.reshape(len(values), -1)).float() for values in (mu, z))
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        return float(
            torch_mist.estimate_mi(data=pair, estimator="mine", hidden_dims=[128], verbose=False, logger=False)
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing printed and no warnings inside."""
    with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


def of_pairs(
    estimate: Callable[[np.ndarray, np.ndarray], float],
) -> Callable[[torch.Tensor, torch.Tensor, int], np.ndarray]:
    """The estimator of all factors that an estimator of one factor from means and draws gives."""

    def run(mean: torch.Tensor, log_variance: torch.Tensor, rows: int) -> np.ndarray:
        pairs = zip(*drawn(mean[:rows], log_variance[:rows]), strict=True)
        return np.array([estimate(mu, z) for mu, z in pairs])

    return run


scikit_learn_ksg, infomeasure_ksg = of_pairs(scikit_learn_pair), of_pairs(infomeasure_pair)
gmm_mi, mine = of_pairs(gmm_mi_pair), of_pairs(mine_pair)


@dataclass(frozen=True)
class Estimator:
    """One contestant.

    `judged` are the factors on which it estimates I(X; Z_h). At most `factors(M)` factors and `rows(M)` samples are
    measured, the rest is projected. `needs` is the module without which it is left out. `slow` ones are measured on one
    thread, on few samples and on one used factor, after no call but the import.
    """

    run: Callable[[torch.Tensor, torch.Tensor, int], np.ndarray]
    judged: list[int]
    factors: Callable[[int], int] = lambda m: H
    rows: Callable[[int], int] = lambda m: m
    needs: str = "vaemi"
    slow: bool = False


# Evaluations of a density on which log-sum-exp is measured, and pairs on which the KSG of infomeasure is.
LOG_SUM_EXP_BUDGET = 10**9
INFOMEASURE_BUDGET = 3 * 10**5
EVERY = list(range(H))
OURS = "vaemi"
ESTIMATORS = {
    OURS: Estimator(ours, EVERY),
    "the paper's Gaussian": Estimator(papers, EVERY),
    "fixed bins, 100 on [-4, 4]": Estimator(fixed_bins, EVERY),
    "Monte-Carlo log-sum-exp": Estimator(
        log_sum_exp,
        EVERY,
        factors=lambda m: max(4, min(H, LOG_SUM_EXP_BUDGET // m**2)),
        rows=lambda m: min(m, LOG_SUM_EXP_BUDGET // (4 * m)),
    ),
    "KSG, scikit-learn": Estimator(scikit_learn_ksg, FOLLOWING, needs="sklearn"),
    "KSG, infomeasure": Estimator(
        infomeasure_ksg, FOLLOWING, factors=lambda m: max(4, min(H, INFOMEASURE_BUDGET // m)), needs="infomeasure"
    ),
    # One used factor in five, as in the encoder: the others take GMM-MI a tenth of the time.
    "GMM-MI": Estimator(gmm_mi, FOLLOWING, factors=lambda m: 5, rows=lambda m: min(m, 1000), needs="gmm_mi", slow=True),
    "MINE, torch-mist": Estimator(mine, FOLLOWING, factors=lambda m: 2, needs="torch_mist", slow=True),
}
# Samples of the largest data on which slow ones are measured.
SLOW_UP_TO = 10_000


def measured_factors(estimator: Estimator, m: int) -> list[int]:
    count = estimator.factors(m)
    return EVERY if count >= H else subset(count, estimator.judged, 1 if estimator.slow else None)


def takes_part(name: str, m: int, scale: float) -> bool:
    """Whether an estimator is measured on a data set."""
    return not ESTIMATORS[name].slow or (m <= SLOW_UP_TO and scale == 1)


def missing(estimator: Estimator) -> str | None:
    """What keeps an estimator from running here, if anything."""
    if importlib.util.find_spec(estimator.needs) is None:
        return f"{estimator.needs} is not installed"
    if estimator.needs == "gmm_mi":
        from sklearn.base import BaseEstimator

        if not hasattr(BaseEstimator, "_validate_data"):
            return "gmm_mi 0.8.2 needs scikit-learn 1.6"
    return None


# --- reference -------------------------------------------------------------------------------------------------------


def reference(mean: torch.Tensor, log_variance: torch.Tensor, steps_per_sigma: int = 8) -> np.ndarray:
    """I of every factor of the mixture in nats by the trapezoidal rule in float64 on an even grid.

    The grid has `steps_per_sigma` steps in the narrowest sigma and reaches 10 sigma beyond every mean; for such smooth
    functions the rule converges exponentially in the number of steps. Every component is evaluated on every point.
    """
    nats = []
    for mu, log_var in zip(mean.double().T.contiguous(), log_variance.double().T.contiguous(), strict=True):
        sigma = (0.5 * log_var).exp()
        low, high = float((mu - 10 * sigma).min()), float((mu + 10 * sigma).max())
        points = math.ceil((high - low) / float(sigma.min()) * steps_per_sigma) + 1
        grid = torch.linspace(low, high, points, dtype=torch.float64)
        height = 1 / (math.sqrt(2 * math.pi) * sigma * len(mu))
        density = torch.empty_like(grid)
        size = max(1, BLOCK // len(mu))
        for part, values in zip(grid.split(size), density.split(size), strict=True):
            torch.mv((part[:, None] - mu).div_(sigma).square_().mul_(-0.5).exp_(), height, out=values)
        entropy = -float(torch.trapezoid(torch.xlogy(density, density), grid))
        nats.append(entropy - float((0.5 * (log_var + math.log(2 * math.pi * math.e))).mean()))
    return np.array(nats)


# --- one measurement -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What one process measures; the estimator "reference" gives the truth."""

    estimator: str
    m: int
    scale: float
    factors: list[int]
    rows: int
    threads: int


def measure(task: Task) -> dict[str, Any]:
    """Run a task in this process: nats, seconds and memory."""
    torch.set_num_threads(task.threads)
    mean, log_variance = simulate(task.m, task.scale)
    if len(task.factors) < H:
        mean, log_variance = mean[:, task.factors].contiguous(), log_variance[:, task.factors].contiguous()
    if task.estimator == "reference":
        return {"nats": reference(mean, log_variance).tolist()}
    estimator = ESTIMATORS[task.estimator]
    run = estimator.run
    first = time.perf_counter()
    if estimator.slow:
        importlib.import_module(estimator.needs)
    else:
        run(mean[:FIRST_CALL], log_variance[:FIRST_CALL], min(task.rows, FIRST_CALL))
    first = time.perf_counter() - first
    before = _resident_before()
    cpu, wall = time.process_time(), time.perf_counter()
    nats = run(mean, log_variance, task.rows)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "nats": nats.tolist(),
        "cpu": cpu,
        "wall": wall,
        "first_call": first,
        "peak_megabytes": None if before is None else max(0.0, _highest_resident() - before) / 1e6,
    }


def _resident_before() -> float | None:
    """Bytes resident now, after freed memory was given back and the high-water mark was set to it; None if it cannot.

    Without that the mark could be that of the drawing of the data, or even of the process that started this one.
    """
    if not sys.platform.startswith("linux"):
        return _highest_resident()
    with contextlib.suppress(AttributeError):  # other C libraries than glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return None
    return _highest_resident()


def _highest_resident() -> float:
    """High-water mark of the resident set in bytes."""
    if sys.platform.startswith("linux"):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource  # not on Windows

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def measure_apart(task: Task, limit: float | None) -> dict[str, Any]:
    """Run a task in a process of its own; {"failed": why} if it did not end well."""
    environment = dict(os.environ)
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        environment[f"{name}_NUM_THREADS"] = str(task.threads)
    command = [sys.executable, __file__, "--task", json.dumps(asdict(task))]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {limit:g} s"}
    if done.returncode != 0:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


# --- the whole run ---------------------------------------------------------------------------------------------------


def measure_all(
    cases: list[tuple[str, int, float]], run: Callable[[Task], dict[str, Any]], rounds: int, threads: int
) -> dict[tuple[str, int, float], dict[int, list[dict[str, Any]]]]:
    """Measurements of every case (estimator, M, scale) on one and on all threads, in an order that goes round."""
    measured: dict[tuple[str, int, float], dict[int, list[dict[str, Any]]]] = {
        case: {count: [] for count in ([1] if ESTIMATORS[case[0]].slow else sorted({1, threads}))} for case in cases
    }
    for turn in range(rounds):
        for position in range(len(cases)):
            case = cases[(position + turn) % len(cases)]
            name, m, scale = case
            estimator = ESTIMATORS[name]
            for count, results in measured[case].items():
                if reason := missing(estimator):
                    results[:] = [{"failed": reason}]
                if results and ("failed" in results[0] or results[0]["wall"] > REPEAT_BELOW):
                    continue
                task = Task(name, m, scale, measured_factors(estimator, m), estimator.rows(m), count)
                results.append(run(task))
                done = results[-1].get("failed") or f"{results[-1]['wall']:.2f} s"
                print(f"  {name}, M = {m:,}, z x {scale:g}, {count} thread(s): {done}", file=sys.stderr, flush=True)
    return measured


def make_row(
    case: tuple[str, int, float], measured: dict[int, list[dict[str, Any]]], truth: dict[int, float]
) -> dict[str, Any]:
    """A row of the table: medians over the rounds, times of parts scaled up, errors against the truth by factor."""
    name, m, scale = case
    estimator = ESTIMATORS[name]
    factors, rows = measured_factors(estimator, m), estimator.rows(m)
    row: dict[str, Any] = {"estimator": name, "m": m, "scale": scale, "rounds": min(map(len, measured.values()))}
    row |= {"factors_measured": len(factors), "rows_measured": rows, "projected": len(factors) < H or rows < m}
    failed = [result["failed"] for results in measured.values() for result in results if "failed" in result]
    row["failed"] = failed[0] if failed else None
    one, every = (measured[count] for count in (min(measured), max(measured)))
    on_every_thread = [] if estimator.slow else every
    projection = (H / len(factors)) * (m / rows)
    for key, results, quantity, factor in (
        ("cpu_seconds_one_thread", one, "cpu", projection),
        ("wall_seconds_all_threads", on_every_thread, "wall", projection),
        ("cpu_seconds_all_threads", on_every_thread, "cpu", projection),
        ("peak_megabytes", one, "peak_megabytes", 1),
        ("first_call_seconds", one, "first_call", 1),
    ):
        usable = [result[quantity] for result in results if result.get(quantity) is not None]
        row[key] = factor * median(usable) if usable else None
    usable = [result for result in one + every if "failed" not in result]
    if usable:
        nats = dict(zip(factors, usable[0]["nats"], strict=True))
        judged = [h for h in factors if h in truth and h in estimator.judged]
        errors = {h: abs(nats[h] - truth[h]) for h in judged}
        used = [errors[h] for h in judged if h < len(USED)]
        row |= {"largest_error": max(errors.values()), "mean_error_of_used": sum(used) / len(used)}
        row["factors_judged"] = len(judged)
    else:
        row |= {"largest_error": None, "mean_error_of_used": None, "factors_judged": 0}
    return row


def machine(threads: int) -> dict[str, Any]:
    """Where this was measured and with which versions."""
    versions: dict[str, str | None] = {}
    for package in ("torch", "numpy", "scipy", "scikit-learn", "numba", "infomeasure", "gmm-mi", "torch-mist"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name") or _processor(),
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "vaemi": vaemi.__version__,
        **versions,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; times in seconds, errors in nats."""
    table = pd.DataFrame(rows).assign(remarks=[remarks(row) for row in rows]).sort_values(["m", "scale"])
    left_out = ["rounds", "factors_measured", "rows_measured", "projected", "failed", "factors_judged"]
    return table.drop(columns=left_out).to_markdown(index=False, floatfmt=".3g", missingval="-")


def remarks(row: dict[str, Any]) -> str:
    """What limits a row: failures, projection, factors judged."""
    words = [row["failed"]] if row["failed"] else []
    if row["projected"] and not row["failed"]:
        part = f"{row['factors_measured']} factors"
        part += f" and {row['rows_measured']:,} samples" if row["rows_measured"] < row["m"] else ""
        words.append(f"projected from {part}")
    if 0 < row["factors_judged"] < H:
        words.append(f"error on {row['factors_judged']} factors")
    return "; ".join(words)


# Data sets (M, scale) for all estimators, and for ours alone.
FULL = ([(1_000, 1.0), (10_000, 1.0), (10_000, 10.0), (50_000, 1.0)], [(1_000_000, 1.0)])
QUICK = ([(120, 1.0)], [(120, 10.0)])
# Factors of the reference of our own data sets, which are large.
REFERENCE_FACTORS = 2


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Speed, memory and accuracy of I(X; Z_h) estimators.")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny data in one process on one thread: checks this file, says nothing on speed",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a measurement is stopped")
    parser.add_argument("--json", type=Path, help="write rows, ratios and the machine to this file")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        print(json.dumps(measure(Task(**json.loads(options.task)))))
        return
    threads = 1 if options.quick else os.cpu_count() or 1
    rows = measure_rows(options, threads)
    print(markdown(rows))
    about = machine(threads)
    print(f"\n{about['processor']}, {threads} threads")
    if options.json:
        date = datetime.now(UTC).date().isoformat()
        result = {
            "quick": options.quick,
            "date": date,
            "machine": about,
            "factors": H,
            "factors_used": len(USED),
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure_rows(options: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """Rows of all estimators."""
    shared, own = QUICK if options.quick else FULL

    def run(task: Task) -> dict[str, Any]:
        return measure(task) if options.quick else measure_apart(task, options.limit)

    truth = {}
    for m, scale in shared + own:
        factors = EVERY if (m, scale) in shared else subset(REFERENCE_FACTORS, EVERY)
        task = Task("reference", m, scale, factors, m, threads)
        result = measure(task) if options.quick else measure_apart(task, limit=None)
        if "failed" in result:
            sys.exit(f"the reference for M = {m}, z x {scale:g} failed: {result['failed']}")
        truth[m, scale] = dict(zip(factors, result["nats"], strict=True))
        print(f"  reference, M = {m:,}, z x {scale:g}: {len(factors)} factors", file=sys.stderr, flush=True)
    cases = [(name, m, scale) for m, scale in shared for name in ESTIMATORS if takes_part(name, m, scale)]
    cases += [(OURS, *data) for data in own]
    measured = measure_all(cases, run, 1 if options.quick else options.rounds, threads)
    return [make_row(case, measured[case], truth[case[1:]]) for case in cases]


if __name__ == "__main__":
    main()
