"""vaemi on a graphics card: one command, meant to take at most eight minutes.

    .venv/bin/python benchmarks/gpu.py --json benchmarks/gpu.json
    .venv/bin/python benchmarks/gpu.py --device cpu       # all of it, small, to see that it runs

- The estimator on the card and on the same machine's CPU: time, and the largest difference of a factor.
- `InformationSketch.update` in a training loop: time of a step with and without it.
- Training of the published MNIST network: steps per second in bfloat16 and float32, and those of a plain loop with a
  DataLoader in float32.
- Highest memory that torch allocated on the card in each of these.
- The chapter on MNIST with the published setting of the training and a shorter classifier: time and verdicts.
- Two processes that share each batch, over NCCL if there are two cards, and over gloo with --device cpu.

What is compared takes turns for several rounds; times are medians. A clock is read after `torch.cuda.synchronize`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import vaemi
from companion import runs
from companion.data import mnist
from vaemi.models import ConvVAE, as_float
from vaemi.objectives import BetaVAE
from vaemi.training import train

ROOT = Path(__file__).resolve().parent.parent
BATCH = 100
BETA = 6.0
EQUAL_NATS = 1e-9


@dataclass(frozen=True)
class Size:
    """How much is measured: samples and factors of the estimator, steps of a training, and the chapter's run."""

    samples: int
    factors: int
    steps: int
    rounds: int
    profile: str
    # Most of the chapter's time is the classifier's, which runs on the CPU.
    parameters: dict[str, Any]


SIZES = {
    "cuda": Size(50_000, 128, 500, 3, "paper", {"precision": "auto", "classifier_epochs": 2, "classifiers": 2}),
    "cpu": Size(500, 8, 3, 1, "smoke", {}),
}

TWO_PROCESSES = """
import json, sys, torch
from vaemi.models import ConvVAE
from vaemi.training import train

if __name__ == "__main__":
    images = torch.load(sys.argv[1])
    torch.manual_seed(0)
    made = train(
        ConvVAE(), images, images[:1000], steps=int(sys.argv[2]), beta=6.0, records=1, precision="32-true",
        devices=int(sys.argv[3]), progress=False,
    )
    distributed = torch.distributed.is_initialized()
    if not distributed or torch.distributed.get_rank() == 0:
        backend = torch.distributed.get_backend() if distributed else "none"
        print(json.dumps([made.steps / made.seconds, float(made.history.objective[-1]), backend]))
"""


class Card:
    """Clock and highest memory of a device."""

    def __init__(self, kind: str) -> None:
        self.is_gpu = kind == "cuda"
        self.device = torch.device(kind)
        self.megabytes: dict[str, float] = {}

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name() if self.is_gpu else "no card: the CPU"

    def seconds(self, function: Callable[[], Any]) -> float:
        """Return the wall-clock time of a call, the work that it left to the card included."""
        self._synchronize()
        start = time.perf_counter()
        function()
        self._synchronize()
        return time.perf_counter() - start

    @contextlib.contextmanager
    def memory(self, name: str) -> Iterator[None]:
        """Note the highest memory that is allocated inside, in MB."""
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        yield
        if self.is_gpu:
            self._synchronize()
            self.megabytes[name] = torch.cuda.max_memory_allocated() / 1e6

    def _synchronize(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()


def medians(card: Card, calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of calls that take turns, after one round that is not measured."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(card.seconds(call))
    return {name: median(values) for name, values in seconds.items()}


def posteriors(size: Size) -> tuple[Tensor, Tensor]:
    """Return means and log-variances of Gaussian marginals with 0 to 3 nats, both (samples, factors)."""
    generator = torch.Generator().manual_seed(0)
    log_sigma = -torch.linspace(0.0, 3.0, size.factors)
    mean = torch.randn(size.samples, size.factors, generator=generator) * (1 - (2 * log_sigma).exp()).sqrt()
    return mean, (2 * log_sigma).expand_as(mean).contiguous()


def estimator(card: Card, size: Size) -> dict[str, Any]:
    on_cpu = posteriors(size)
    on_card = tuple(part.to(card.device) for part in on_cpu)
    with card.memory("estimator"):
        nats = vaemi.factor_information(*on_card).nats
    difference = float((nats.cpu() - vaemi.factor_information(*on_cpu).nats).abs().max())
    seconds = medians(
        card,
        {"card": lambda: vaemi.factor_information(*on_card), "cpu": lambda: vaemi.factor_information(*on_cpu)},
        size.rounds,
    )
    return {
        "samples": size.samples,
        "factors": size.factors,
        "seconds": seconds,
        "largest_difference_nats": difference,
        "equal": difference <= EQUAL_NATS,
    }


def sketch_in_a_loop(card: Card, size: Size, images: Tensor) -> dict[str, Any]:
    def loop(with_sketch: bool) -> None:
        model = ConvVAE().to(card.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        sketch = vaemi.InformationSketch(model.latent_dim)
        generator = torch.Generator(card.device).manual_seed(0)
        for step in range(size.steps):
            start = step * BATCH % (len(images) - BATCH)
            x = as_float(images[start : start + BATCH].to(card.device))
            loss, _ = BetaVAE()(model, x, generator, beta=BETA)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if with_sketch:
                with torch.no_grad():
                    sketch.update(*model.encode(x))

    with card.memory("training loop with a sketch"):
        loop(True)
    seconds = medians(card, {"with": lambda: loop(True), "without": lambda: loop(False)}, size.rounds)
    return {
        "milliseconds_per_step": {name: 1000 * value / size.steps for name, value in seconds.items()},
        "overhead_percent": 100 * (seconds["with"] / seconds["without"] - 1),
    }


def plain_loop(card: Card, images: Tensor, steps: int) -> None:
    loader = DataLoader(TensorDataset(as_float(images)), batch_size=BATCH, shuffle=True, drop_last=True)
    model = ConvVAE().to(card.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator(card.device).manual_seed(0)
    done = 0
    while done < steps:
        for (x,) in loader:
            loss, _ = BetaVAE()(model, x.to(card.device), generator, beta=BETA)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                break


def training(card: Card, size: Size, images: Tensor) -> dict[str, Any]:
    def ours(precision: str) -> None:
        train(
            ConvVAE(), images, images[:1000], steps=size.steps, beta=BETA, batch_size=BATCH, records=1,
            precision=precision, devices=1, progress=False,
        )  # fmt: skip

    calls: dict[str, Callable[[], Any]] = {
        "vaemi, bf16-mixed": lambda: ours("bf16-mixed"),
        "vaemi, 32-true": lambda: ours("32-true"),
        "plain loop, float32": lambda: plain_loop(card, images, size.steps),
    }
    for name, call in calls.items():
        with card.memory(name):
            call()
    seconds = medians(card, calls, size.rounds)
    return {"steps_per_second": {name: size.steps / value for name, value in seconds.items()}}


def chapter(size: Size, folder: Path) -> dict[str, Any]:
    """Run the chapter on MNIST as profile quick, which takes no committed weights, with the parameters of another."""
    parameters = runs.read_profile(ROOT, size.profile).parameters["mnist"] | size.parameters
    start = time.perf_counter()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(sys.stderr):
        path = runs.run("mnist", "quick", parameters, force=True, result=folder / "mnist.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    return {
        "parameters": parameters,
        "data": result["data"]["source"],
        "seconds": time.perf_counter() - start,
        "training_seconds": result["manifest"]["training_seconds"],
        "device": result["manifest"]["device"],
        "verdicts": {claim["id"]: claim["verdict"] for claim in result["claims"]},
    }


def two_processes(card: Card, size: Size, images: Tensor, folder: Path) -> dict[str, Any] | None:
    """Return steps per second and the last objective of one process and of two; None if there is one card only."""
    if card.is_gpu and torch.cuda.device_count() < 2:
        return None
    script, file = folder / "two_processes.py", folder / "images.pt"
    script.write_text(TWO_PROCESSES, encoding="utf-8")
    torch.save(images, file)
    measured = {}
    for processes in (1, 2):
        done = subprocess.run(
            [sys.executable, str(script), str(file), str(size.steps), str(processes)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        measured[processes] = json.loads(done.stdout.splitlines()[-1])
    return {
        "steps_per_second": {str(processes): rate for processes, (rate, _, _) in measured.items()},
        "objective": {str(processes): objective for processes, (_, objective, _) in measured.items()},
        "backend": measured[2][2],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The estimator, sketches and trainings on a graphics card.")
    parser.add_argument("--device", choices=SIZES, default="cuda", help="cpu: all of it, small")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also for the processes that this one starts
    elif not torch.cuda.is_available():
        parser.error("torch finds no CUDA device on this machine: run with --device cpu to try the program.")
    card, size = Card(options.device), SIZES[options.device]
    start = time.perf_counter()
    images = mnist.load("auto", say=lambda sentence: None).train.images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "card": card.name,
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
            },
            "estimator": estimator(card, size),
            "sketch": sketch_in_a_loop(card, size, images),
            "training": training(card, size, images),
            "chapter": chapter(size, folder),
            "two_processes": two_processes(card, size, images, folder),
            "peak_megabytes": card.megabytes,
            "minutes": 0.0,
        }
    result["minutes"] = (time.perf_counter() - start) / 60
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
