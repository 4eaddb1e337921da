# ruff: noqa: E402 - torchvision imports only after its operators are declared
"""Training speed of vaemi against a plain PyTorch loop and pythae, on the published MNIST network.

    pip install --no-deps pythae==0.1.2 imageio
    python benchmarks/training.py
    python benchmarks/training.py --before FOLDER  # also a clone with an earlier version of vaemi

All train the same network with Adam in batches of 100 on the same digits. They take turns for several rounds; the
results are ratios within a round, which do not depend on how busy the machine is. vaemi is `train` with its defaults,
start-up and last checkpoint included, with one record of the history. The plain loop has torchvision's data set, a
DataLoader and float32, as in tutorials. pythae is its BaseTrainer with a BetaVAE. An earlier version runs in a process
of its own, with its import and a short training before the measured one.
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
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from vaemi._torchvision import declare_missing_operators

declare_missing_operators()

from pythae.data.datasets import BaseDataset
from pythae.models import BetaVAE, BetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from companion.data import mnist, sources
from vaemi.information import kl_to_prior
from vaemi.models import ConvVAE, as_float
from vaemi.training import fastest_precision, train

BATCH = 100
BETA = 6.0


def ours(images: torch.Tensor, steps: int) -> None:
    train(ConvVAE(), images, images[:1000], steps=steps, beta=BETA, records=1, progress=False)


def plain_loop(images: torch.Tensor, steps: int) -> None:
    digits = MNIST(str(sources.data_root()), train=True, transform=ToTensor())
    loader = DataLoader(Subset(digits, range(10_000, 10_000 + steps * BATCH)), batch_size=BATCH, shuffle=True)
    model = ConvVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, _ in loader:
        mean, log_variance = model.encode(x)
        reconstruction = model.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        negative_log_likelihood = model.likelihood.negative_log_likelihood(x, reconstruction).mean()
        loss = negative_log_likelihood + BETA * kl_to_prior(mean, log_variance).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Encoder(BaseEncoder):
    def __init__(self, model: ConvVAE) -> None:
        super().__init__()
        self.layers = model.encoder

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, model: ConvVAE) -> None:
        super().__init__()
        self.layers = model.decoder

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def pythae(images: torch.Tensor, steps: int) -> None:
    network = ConvVAE()
    config = BetaVAEConfig(input_dim=(1, 28, 28), latent_dim=network.latent_dim, beta=BETA)
    chosen = as_float(images[: steps * BATCH])
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            model=BetaVAE(config, Encoder(network), Decoder(network)),
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
for measured in (20, steps):
    start = time.perf_counter()
    train(ConvVAE(), images, images[:1000], steps=measured, beta=6.0, records=1, progress=False)
print(time.perf_counter() - start)
"""


def earlier_seconds(clone: Path, images: Path, steps: int) -> float:
    """Return the seconds that the vaemi of another clone takes."""
    done = subprocess.run(
        [sys.executable, "-c", EARLIER, str(images), str(steps)],
        env={**os.environ, "PYTHONPATH": str(clone)}, cwd=clone, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


PEERS: dict[str, Callable[[torch.Tensor, int], None]] = {"vaemi": ours, "plain loop": plain_loop, "pythae": pythae}


def seconds_of(peer: Callable[[torch.Tensor, int], None], images: torch.Tensor, steps: int) -> float:
    start = time.perf_counter()
    peer(images, steps)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Training throughput against a plain loop and pythae.")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps a measurement (500 are an epoch)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="clone with an earlier version of vaemi to measure too")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    images = mnist.load("auto").train.images
    measured: dict[str, Callable[[], float]] = {
        name: lambda peer=peer: seconds_of(peer, images, options.steps) for name, peer in PEERS.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        if options.before:
            file = Path(folder) / "images.pt"
            torch.save(images, file)
            measured["vaemi before"] = lambda: earlier_seconds(options.before, file, options.steps)
        for peer in PEERS.values():
            peer(images, 20)  # warm up
        seconds: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(options.rounds):
            for name, measure in measured.items():
                seconds[name].append(measure())
    result = {
        "steps": options.steps,
        "precision": fastest_precision(),
        "threads": torch.get_num_threads(),
        "processor": getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name") or platform.machine(),
        "digits_per_second": {name: options.steps * BATCH / median(values) for name, values in seconds.items()},
        "times_as_fast_as": {
            name: [other / own for own, other in zip(seconds["vaemi"], seconds[name], strict=True)]
            for name in seconds
            if name != "vaemi"
        },
    }
    for name, values in seconds.items():
        rate = result["digits_per_second"][name]
        print(f"{name:12} {rate:8.0f} digits/s   seconds: {', '.join(f'{v:.1f}' for v in values)}")
    for name, ratios in result["times_as_fast_as"].items():
        print(f"vaemi is {median(ratios):.2f} times as fast as {name} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{result['processor']}, {result['threads']} threads, {result['precision']}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
