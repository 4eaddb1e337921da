"""How fast faces are read: made from JPEGs, taken from the memory map, and trained on, against plain peers.

    .venv/bin/python benchmarks/faces.py --json faces.json

Pictures of CelebA's size are generated in a temporary folder; all readers find them in the system's file cache. Each of
several rounds makes all measurements in one process. Ratios are taken within a round, since the speed of a machine
drifts.

- made from JPEGs: `celeba.load` on a copy without a picture cache, everything included, with one thread and with all;
  compared with torchvision's `pil_loader` and transforms in a plain loop into an array in memory.
- random batches of 64, as float32: from the memory map, from the same pictures in memory, and from the JPEGs by
  `pil_loader` and transforms.
- training: `train` on a network for 64x64 pictures, from the memory map and from memory. The map is in the file cache,
  so that the disk is not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

# isort: off
import companion  # noqa: F401 - first: it declares the operators without which torchvision does not import

# isort: on
import numpy as np
import torch
from PIL import Image
from torchvision.datasets.folder import pil_loader
from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from companion.data import celeba, sources
from vaemi.models import ConvVAE, as_float
from vaemi.training import fastest_precision, train

BATCH = 64
TRANSFORMS = Compose([CenterCrop(148), Resize(64, InterpolationMode.LANCZOS, antialias=True), PILToTensor()])


@dataclass(frozen=True)
class Measurement:
    """A measurement: the number of pictures in a call of `run`, and the row it is compared with."""

    work: str
    reader: str
    pictures: int
    run: Callable[[], None]
    against: str


def write_pictures(folder: Path, n: int) -> None:
    """Write n JPEGs of about 7 kB, the mean size of CelebA's, in CelebA's layout."""
    generator = np.random.default_rng(0)
    (folder / "img_align_celeba").mkdir(parents=True)
    for name in names(n):
        coarse = generator.integers(0, 256, (14, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC)
        noise = generator.normal(0, 4, (218, 178, 1))
        noisy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "img_align_celeba" / name, quality=75)


def names(n: int) -> list[str]:
    return [f"{i:06d}.jpg" for i in range(1, n + 1)]


@contextlib.contextmanager
def data_root(path: Path) -> Iterator[None]:
    sources.set_data_root(path)
    try:
        yield
    finally:
        sources.set_data_root(None)


def load(threads: int | None = None) -> celeba.Faces:
    with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
        return celeba.load("folder", say=lambda sentence: None, threads=threads)


def plan(root: Path, n: int, batches: int, steps: int) -> list[Measurement]:
    """Return all measurements on the n pictures under a data root."""
    folder = root / "celeba" / "img_align_celeba"
    # Without a partition the order is that of the names, so that both readers see the same pictures.
    mapped = load().train.images
    in_memory = mapped.clone()
    order = torch.randint(len(mapped), (batches, BATCH), generator=torch.Generator().manual_seed(0))

    def make(threads: int | None) -> None:
        shutil.rmtree(root / "celeba" / ".cache")
        load(threads)

    def plain_loop() -> None:
        pictures = np.empty((n, 3, 64, 64), np.uint8)
        for i, name in enumerate(names(n)):
            pictures[i] = TRANSFORMS(pil_loader(str(folder / name)))

    def batches_from(pictures: torch.Tensor) -> None:
        for indices in order:
            as_float(pictures[indices])

    def batches_from_jpegs() -> None:
        files = names(n)
        for indices in order:
            as_float(torch.stack([TRANSFORMS(pil_loader(str(folder / files[i]))) for i in indices.tolist()]))

    def training_on(pictures: torch.Tensor) -> None:
        model = ConvVAE((3, 64, 64), 64, channels=(32, 32, 64, 64))
        train(model, pictures, pictures[:BATCH], steps=steps, batch_size=BATCH, records=1, progress=False)

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    every = f"vaemi, {processors} threads"
    made, batch, training = "made from JPEGs", f"random batches of {BATCH}", f"training, batches of {BATCH}"
    loop, jpegs = "plain loop of torchvision", "JPEGs by torchvision"
    return [
        Measurement(made, "vaemi, 1 thread", n, lambda: make(1), loop),
        Measurement(made, every, n, lambda: make(None), loop),
        Measurement(made, loop, n, plain_loop, loop),
        Measurement(batch, "vaemi's memory map", order.numel(), lambda: batches_from(mapped), jpegs),
        Measurement(batch, "memory", order.numel(), lambda: batches_from(in_memory), jpegs),
        Measurement(batch, jpegs, order.numel(), batches_from_jpegs, jpegs),
        Measurement(training, "vaemi's memory map", steps * BATCH, lambda: training_on(mapped), "memory"),
        Measurement(training, "memory", steps * BATCH, lambda: training_on(in_memory), "memory"),
    ]


def measure(measurements: list[Measurement], rounds: int) -> list[dict[str, Any]]:
    """Return a row per measurement: its speed, and how many times as fast it is as the row it is compared with."""
    seconds: list[list[float]] = [[] for _ in measurements]
    for _ in range(rounds):
        for measurement, values in zip(measurements, seconds, strict=True):
            start = time.perf_counter()
            measurement.run()
            values.append(time.perf_counter() - start)
    of_reader = {(m.work, m.reader): values for m, values in zip(measurements, seconds, strict=True)}
    rows = []
    for measurement, values in zip(measurements, seconds, strict=True):
        other = of_reader[measurement.work, measurement.against]
        ratios = [theirs / own for own, theirs in zip(values, other, strict=True)]
        rows.append(
            {
                "work": measurement.work,
                "reader": measurement.reader,
                "pictures": measurement.pictures,
                "pictures_per_second": measurement.pictures / median(values),
                "seconds": values,
                "against": measurement.against,
                "times_as_fast": median(ratios),
                "times_as_fast_in_rounds": ratios,
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Format the rows as a Markdown table."""
    lines = ["| work | reader | pictures/s | times as fast as |", "|---|---|---|---|"]
    for row in rows:
        low, high = min(row["times_as_fast_in_rounds"]), max(row["times_as_fast_in_rounds"])
        ratio = "" if row["reader"] == row["against"] else f"{row['times_as_fast']:.2f} ({low:.2f} to {high:.2f}) "
        against = row["against"] if ratio else "-"
        lines.append(f"| {row['work']} | {row['reader']} | {row['pictures_per_second']:,.0f} | {ratio}{against} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How fast faces are read and trained on.")
    parser.add_argument("--pictures", type=int, default=4000, help="JPEGs that are generated")
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch, data_root(Path(scratch)):
        write_pictures(celeba.folder(), options.pictures)
        measurements = plan(Path(scratch), options.pictures, options.batches, options.steps)
        sizes = [path.stat().st_size for path in (celeba.folder() / "img_align_celeba").iterdir()]
        rows = measure(measurements, options.rounds)
    result = {
        "pictures": options.pictures,
        "mean_bytes": sum(sizes) / len(sizes),
        "precision": fastest_precision(),
        "threads": torch.get_num_threads(),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "rows": rows,
    }
    print(markdown(rows))
    print(
        f"\n{options.pictures:,} JPEGs of {result['mean_bytes'] / 1000:.1f} kB on average; {result['processor']}, "
        f"{result['threads']} threads, {result['precision']}"
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
