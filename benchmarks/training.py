# ruff: noqa: E402 - torchvision imports only after its operators are declared
"""Training speed of vaemi against a plain PyTorch loop and pythae, on the published MNIST network.

    pip install --no-deps pythae==0.1.2 imageio
    python benchmarks/training.py --json benchmarks/training.json
    python benchmarks/training.py --before FOLDER  # also a clone with an earlier version of vaemi

All train the same network with Adam in batches of 100 on the same digits. They take turns for several rounds; the
results are ratios within a round, in CPU seconds of one thread, since other work on the machine changes these least.
vaemi is `train` with its defaults, start-up and last checkpoint included, with one record of the history; "vaemi,
float32" is the same where the machine has no fast bfloat16. The plain loop has torchvision's data set, a DataLoader,
torch's own layers and float32, as in tutorials. pythae is its BaseTrainer with a BetaVAE and torch's own layers. An
earlier version runs in a process of its own, with its import and a short training before the measured one.

The last part measures where the time goes, with clocks around the calls that each loop makes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from torch import nn

from vaemi._torchvision import declare_missing_operators

declare_missing_operators()

from torch.utils.data import DataLoader, Subset
from torch.utils.data.dataloader import _SingleProcessDataLoaderIter
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

import vaemi.training
from companion.data import mnist, sources
from vaemi.information import kl_to_prior
from vaemi.models import ConvVAE, as_float
from vaemi.objectives import BetaVAE
from vaemi.training import fastest_precision, train

BATCH = 100
BETA = 6.0
PARTS = ("data", "forward", "backward", "optimizer", "bookkeeping")
OURS = "vaemi"
FLOAT32 = "vaemi, float32"
PLAIN = "plain loop"
BEFORE = "vaemi before"


def ours(images: torch.Tensor, steps: int, precision: str = "auto") -> None:
    train(
        ConvVAE(), images, images[:1000], steps=steps, beta=BETA, batch_size=BATCH, records=1, precision=precision,
        progress=False,
    )  # fmt: skip


def torchs_network() -> ConvVAE:
    """Return the published network with torch's own layers."""
    model = ConvVAE()
    for layer in model.decoder:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.__class__ = nn.ConvTranspose2d
    return model


def plain_loss(model: ConvVAE, x: torch.Tensor) -> torch.Tensor:
    mean, log_variance = model.encode(x)
    reconstruction = model.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
    negative_log_likelihood = model.likelihood.negative_log_likelihood(x, reconstruction).mean()
    return negative_log_likelihood + BETA * kl_to_prior(mean, log_variance).sum(1).mean()


def plain_loop(images: torch.Tensor, steps: int, device: str = "cpu") -> None:
    digits = MNIST(str(sources.data_root()), train=True, transform=ToTensor())
    chosen = [10_000 + number % 50_000 for number in range(steps * BATCH)]  # more than an epoch takes digits again
    loader = DataLoader(Subset(digits, chosen), batch_size=BATCH, shuffle=True)
    model = torchs_network().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, _ in loader:
        loss = plain_loss(model, x.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def pythae(images: torch.Tensor, steps: int) -> None:
    from pythae.data.datasets import BaseDataset
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    network = torchs_network()

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network.encoder

        def forward(self, x: torch.Tensor) -> ModelOutput:
            mean, log_variance = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network.decoder

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    config = BetaVAEConfig(input_dim=(1, 28, 28), latent_dim=network.latent_dim, beta=BETA)
    chosen = as_float(images[: steps * BATCH])
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            model=BetaVAE(config, Encoder(), Decoder()),
            train_dataset=BaseDataset(chosen, torch.zeros(len(chosen))),
            training_config=BaseTrainerConfig(
                output_dir=folder, num_epochs=1, learning_rate=1e-3, per_device_train_batch_size=BATCH, no_cuda=True
            ),
        )
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(io.StringIO()):
            trainer.train()


# The same calls in every version of vaemi.
EARLIER = """
import sys, time, torch, vaemi
from vaemi.models import ConvVAE
from vaemi.training import train
images, steps = torch.load(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
for measured in (20, steps):
    start = time.process_time()
    train(ConvVAE(), images, images[:1000], steps=measured, beta=6.0, records=1, progress=False)
print(time.process_time() - start)
"""


def earlier_seconds(clone: Path, images: Path, steps: int) -> float:
    """Return the CPU seconds that the vaemi of another clone takes."""
    done = subprocess.run(
        [sys.executable, "-c", EARLIER, str(images), str(steps), str(torch.get_num_threads())],
        env={**os.environ, "PYTHONPATH": str(clone)}, cwd=clone, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


PEERS: dict[str, Callable[[torch.Tensor, int], None]] = {
    OURS: ours,
    FLOAT32: lambda images, steps: ours(images, steps, "32-true"),
    PLAIN: plain_loop,
    "pythae": pythae,
}


def seconds_of(peer: Callable[[torch.Tensor, int], None], images: torch.Tensor, steps: int) -> float:
    """Return the CPU seconds of a training."""
    start = time.process_time()
    peer(images, steps)
    return time.process_time() - start


# --- Where the time goes

# The calls of each loop that its parts consist of; what is left is bookkeeping.
_CALLS: dict[str, list[tuple[Any, str]]] = {
    "forward": [(BetaVAE, "__call__"), (sys.modules[__name__], "plain_loss")],
    "data": [(vaemi.training._Loss, "forward"), (_SingleProcessDataLoaderIter, "__next__")],
    "backward": [(torch.Tensor, "backward")],
    "optimizer": [(torch.optim.Adam, "step"), (torch.optim.Adam, "zero_grad")],
}


@contextlib.contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Yield the CPU seconds in each part of a training inside; a call within another counts for its own part only."""
    seconds = dict.fromkeys(_CALLS, 0.0)
    within: list[str] = []

    def clocked(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():  # a record of the history
                return function(*args, **kwargs)
            start = time.process_time()
            within.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                within.pop()
                spent = time.process_time() - start
                seconds[part] += spent
                if within:
                    seconds[within[-1]] -= spent

        return call

    with contextlib.ExitStack() as patches:
        for part, calls in _CALLS.items():
            for owner, name in calls:
                patches.enter_context(mock.patch.object(owner, name, clocked(part, getattr(owner, name))))
        yield seconds


def milliseconds_by_part(
    peer: Callable[[torch.Tensor, int], None], images: torch.Tensor, steps: int
) -> dict[str, float]:
    """Return the CPU milliseconds per step in each of `PARTS`."""
    with clocks() as seconds:
        total = seconds_of(peer, images, steps)
    seconds["bookkeeping"] = total - sum(seconds.values())
    return {part: 1000 * seconds[part] / steps for part in PARTS}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Training throughput against a plain loop and pythae.")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps a measurement (500 are an epoch)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--before", type=Path, help="clone with an earlier version of vaemi to measure too")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    images = mnist.load("auto").train.images
    measured: dict[str, Callable[[], float]] = {
        name: lambda peer=peer: seconds_of(peer, images, options.steps) for name, peer in PEERS.items()
    }
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in (OURS, FLOAT32, PLAIN)}
    with tempfile.TemporaryDirectory() as folder:
        if options.before:
            file = Path(folder) / "images.pt"
            torch.save(images, file)
            measured[BEFORE] = lambda: earlier_seconds(options.before, file, options.steps)
        for peer in PEERS.values():
            peer(images, 20)  # warm up
        seconds: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(options.rounds):
            for name, measure in measured.items():
                seconds[name].append(measure())
            for name in parts:
                parts[name].append(milliseconds_by_part(PEERS[name], images, options.steps))
    result = {
        "steps": options.steps,
        "precision": fastest_precision(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name") or platform.machine(),
        "cpu_milliseconds_per_step": {name: 1000 * median(values) / options.steps for name, values in seconds.items()},
        "times_as_fast_as": {
            own: {
                name: [other / mine for mine, other in zip(seconds[own], seconds[name], strict=True)]
                for name in seconds
                if name not in (OURS, FLOAT32) and (own, name) != (FLOAT32, BEFORE)  # which has bfloat16
            }
            for own in (OURS, FLOAT32)
        },
        "milliseconds_by_part": {
            name: {part: median(of[part] for of in measurements) for part in PARTS}
            for name, measurements in parts.items()
        },
    }
    for name, value in result["cpu_milliseconds_per_step"].items():
        print(f"{name:15} {value:6.1f} ms per step   CPU seconds: {', '.join(f'{v:.1f}' for v in seconds[name])}")
    for own, others in result["times_as_fast_as"].items():
        for name, ratios in others.items():
            print(f"{own} is {median(ratios):.2f} times as fast as {name} ({min(ratios):.2f} to {max(ratios):.2f})")
    for name, by_part in result["milliseconds_by_part"].items():
        print(f"{name:15} " + ", ".join(f"{part} {value:.1f}" for part, value in by_part.items()))
    print(f"{result['processor']}, threads: {result['threads']}, {result['precision']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
