"""Training throughput of vaemi against the plainest loop and against pythae, on the published MNIST network.

    .venv/bin/pip install --no-deps pythae==0.1.2 imageio
    .venv/bin/python benchmarks/training.py

All three train the same encoder and decoder with Adam in batches of 100 on the same digits, in turn, several rounds
in one process; what counts is the ratio within a round, since the speed of a machine drifts. vaemi is measured as
users meet it (`train` at its defaults, start-up and last checkpoint included; the spectrum is recorded only once),
the plain loop as tutorials write it (torchvision's data set with ToTensor, a DataLoader, float32), pythae with its
BaseTrainer on a BetaVAE.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

# isort: off
import companion  # noqa: F401 - first: it declares the operators without which torchvision does not import

# isort: on
import torch
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


PEERS: dict[str, Callable[[torch.Tensor, int], None]] = {"vaemi": ours, "plain loop": plain_loop, "pythae": pythae}


def main() -> None:
    parser = argparse.ArgumentParser(description="Training throughput against a plain loop and pythae.")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps a measurement (500 are an epoch)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    images = mnist.load("auto").train.images
    seconds: dict[str, list[float]] = {name: [] for name in PEERS}
    for peer in PEERS.values():
        peer(images, 20)  # warm up
    for _ in range(options.rounds):
        for name, peer in PEERS.items():
            start = time.perf_counter()
            peer(images, options.steps)
            seconds[name].append(time.perf_counter() - start)
    result = {
        "steps": options.steps,
        "precision": fastest_precision(),
        "threads": torch.get_num_threads(),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "digits_per_second": {name: options.steps * BATCH / median(values) for name, values in seconds.items()},
        "times_as_fast_as": {
            name: [other / own for own, other in zip(seconds["vaemi"], seconds[name], strict=True)]
            for name in PEERS
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
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
