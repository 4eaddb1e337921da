"""Encoders of known information as tasks of the `bmi` benchmark (Czyz et al., Beyond Normal, NeurIPS 2023).

    .venv/bin/python benchmarks/bmi_tasks.py FOLDER                          (samples and metadata; needs no bmi)
    .venv/bin/python benchmarks/bmi_tasks.py FOLDER --samples 1000 5000 --seeds 3

Anyone can then test an estimator of mutual information without vaemi. FOLDER has a subfolder for each task, as in the
workflows of `bmi`: `metadata.yaml`, and a file `SAMPLES-SEED.csv` for each sample, with columns X0, ..., Y0, ...

X is what distinguishes the posteriors q(z|x): their mean, or their log-variance where all means are equal. Y is a draw
z from q(z|x). Y depends on the input only through X, so I(X; Y) is I(X; Z), known in closed form or by an integral in
one dimension. The parameter `x` of a task says whether X is continuous or has two values; many estimators expect the
first.

Where `bmi` is installed (`pip install benchmark-mi`, with jax), `as_bmi_tasks()` returns `bmi.Task` objects, for
example to run its estimators on them. The samples are the same: they come from numpy, not from jax.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from companion.data import encoders
from companion.data.encoders import SimulatedEncoder

SIGMAS = (0.5, 0.1)
LINEAR_DIMENSIONS = (2, 10, 30)
LINEAR_NATS = 3.0


@dataclass(frozen=True)
class EncoderSampler:
    """A distribution P(X, Y) with the interface of `bmi.interface.ISampler`.

    Attributes
    ----------
    posterior : callable
        Maps a generator and a number of points to means and standard deviations of shape (points, dim_y).
    information : callable
        Returns I(X; Y) in nats.
    dim_y : int
        Number of factors, of Y and of X.
    by_width : bool
        Whether X is the log-variances rather than the means.
    """

    posterior: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    information: Callable[[], float]
    dim_y: int = 1
    by_width: bool = False

    @property
    def dim_x(self) -> int:
        return self.dim_y

    @property
    def dim_total(self) -> int:
        return self.dim_x + self.dim_y

    def sample(self, n_points: int, rng: int) -> tuple[np.ndarray, np.ndarray]:
        """Return X and Y, both of shape (n_points, dim_y), for an integer seed."""
        generator = np.random.default_rng(rng)
        mean, std = self.posterior(generator, n_points)
        z = mean + std * generator.standard_normal(mean.shape)
        return (2 * np.log(std) if self.by_width else mean), z

    def mutual_information(self) -> float:
        return self.information()


@dataclass(frozen=True)
class EncoderTask:
    """A named sampler, as `bmi.Task` is."""

    sampler: EncoderSampler
    task_id: str
    task_name: str
    task_params: dict[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        return {
            "task_id": self.task_id,
            "task_name": self.task_name,
            "dim_x": self.sampler.dim_x,
            "dim_y": self.sampler.dim_y,
            "mi_true": self.sampler.mutual_information(),
            "task_params": self.task_params,
        }

    def save(self, folder: Path, samples: Sequence[int], seeds: Sequence[int]) -> None:
        """Write the metadata and one file for each number of samples and each seed to a subfolder named as the task."""
        own = folder / self.task_id
        own.mkdir(parents=True, exist_ok=True)
        (own / "metadata.yaml").write_text(yaml.safe_dump(self.metadata, allow_unicode=True), encoding="utf-8")
        for n_points in samples:
            for seed in seeds:
                x, y = self.sampler.sample(n_points, seed)
                columns = [f"X{i}" for i in range(x.shape[1])] + [f"Y{i}" for i in range(y.shape[1])]
                table = pd.DataFrame(np.hstack([x, y]), columns=columns)
                table.to_csv(own / f"{n_points}-{seed}.csv", index=False)


# --- tasks -----------------------------------------------------------------------------------------------------------


def all_tasks() -> list[EncoderTask]:
    """Return a task for every kind of encoder of known information."""
    kinds: list[tuple[str, Callable[[float], SimulatedEncoder], str]] = [
        ("gaussian", encoders.gaussian, "continuous"),
        ("uniform", encoders.uniform, "continuous"),
        ("skewed", encoders.skewed, "continuous"),
        ("two-groups", encoders.bimodal, "two values"),
    ]
    tasks = [
        factor_task(f"encoder-{name}-{sigma}", make(sigma), sigma=sigma, x=x)
        for name, make, x in kinds
        for sigma in SIGMAS
    ]
    rare = encoders.bimodal(0.1, share=0.1)
    tasks.append(factor_task("encoder-rare-group-0.1", rare, sigma=0.1, share=0.1, x="two values"))
    tasks.append(
        factor_task("encoder-two-widths-0.1", encoders.two_widths(0.1), by_width=True, sigma=0.1, x="two values")
    )
    return tasks + [linear_task(dimension) for dimension in LINEAR_DIMENSIONS]


def factor_task(task_id: str, encoder: SimulatedEncoder, by_width: bool = False, **parameters: Any) -> EncoderTask:
    """Return the task of one factor."""
    sampler = EncoderSampler(
        lambda generator, points: encoder.sample(generator, (points, 1)),
        functools.cache(lambda: encoder.information),
        by_width=by_width,
    )
    name = f"VAE factor, {encoder.name} (sigma={parameters['sigma']})"
    return EncoderTask(sampler, task_id, name, parameters)


def linear_task(dimension: int) -> EncoderTask:
    """Return the task of all factors of a linear-Gaussian encoder, with `LINEAR_NATS` whatever the dimension."""
    spread, turn = linear_encoder(dimension, LINEAR_NATS)

    def posterior(generator: np.random.Generator, points: int) -> tuple[np.ndarray, np.ndarray]:
        mean = generator.standard_normal((points, dimension)) * spread @ turn.T
        return mean, np.ones_like(mean)

    sampler = EncoderSampler(posterior, lambda: LINEAR_NATS, dim_y=dimension)
    name = f"linear-Gaussian encoder, {dimension} factors"
    return EncoderTask(sampler, f"encoder-linear-{dimension}", name, {"nats": LINEAR_NATS, "x": "continuous"})


def linear_encoder(dimension: int, nats: float) -> tuple[np.ndarray, np.ndarray]:
    """Return principal standard deviations and directions of Gaussian means such that I(X; Z) is `nats` at unit sigma.

    The information grows linearly over the directions, and these are turned at random, so that factors are correlated:
    I(X; Z) = 1/2 log det(1 + C) with C the covariance of the means.

    Parameters
    ----------
    dimension : int
        Number of factors.
    nats : float
        I(X; Z) of all factors together.

    Returns
    -------
    spread : array, shape (dimension,)
        Standard deviations of the means in the principal directions.
    turn : array, shape (dimension, dimension)
        Orthogonal matrix with the principal directions in its columns.
    """
    of_direction = np.arange(1, dimension + 1) / (dimension * (dimension + 1) / 2) * nats
    turn = np.linalg.qr(np.random.default_rng(1000).standard_normal((dimension, dimension)))[0]
    return np.sqrt(np.expm1(2 * of_direction)), turn


def as_bmi_tasks() -> list[Any]:
    """Return the tasks as `bmi.Task` objects; needs the package `benchmark-mi`."""
    import bmi

    return [bmi.Task(task.sampler, task.task_id, task.task_name, task.task_params) for task in all_tasks()]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write encoders of known information in the file format of bmi.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--seeds", type=int, default=3, help="number of samples of each size")
    options = parser.parse_args(arguments)
    tasks = all_tasks()
    for task in tasks:
        task.save(options.folder, options.samples, range(options.seeds))
    columns = ["task_id", "dim_x", "dim_y", "mi_true"]
    print(pd.DataFrame([task.metadata for task in tasks])[columns].to_markdown(index=False, floatfmt=".4f"))


if __name__ == "__main__":
    main()
