"""Train a VAE with one loop on Lightning Fabric.

The batch and the noise of a step depend on the seed and the step only. A training that was interrupted and resumed
therefore ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaemi._checkpoints import fingerprint, load, save, sole_process
from vaemi._torchvision import declare_missing_operators
from vaemi.errors import TrainingError, import_extra
from vaemi.information.checks import checksum
from vaemi.information.gaussian import gaussian_information
from vaemi.models import VAE, as_float
from vaemi.objectives import OBJECTIVES, BetaVAE, Draw, Objective

__all__ = ["History", "Training", "objective_on", "train"]

# Raise this number whenever the same settings begin to give another model: older trainings are then not found.
_RECIPE = 1
_RECORDED_SAMPLES = 1000
_ADAM_EPSILON = 1e-8  # PyTorch's


@dataclass(frozen=True)
class History:
    """Measurements of the model on held-out samples after T of the optimizer steps.

    Attributes
    ----------
    step : Tensor, shape (T,)
        Number of optimizer steps taken.
    negative_log_likelihood : Tensor, shape (T,)
        First term of the negative ELBO, in nats per sample.
    kl : Tensor, shape (T,)
        KL(q(z|x) || p(z)), in nats per sample.
    objective : Tensor, shape (T,)
        The minimized objective at the full beta, in nats per sample.
    sigma : Tensor, shape (T,)
        Standard deviation of the likelihood, in units of x.
    information : Tensor, shape (T, H)
        Information of each factor by the paper's Gaussian estimate, in nats.
    extra : dict of str to Tensor
        Terms that the objective adds to the ELBO, each of shape (T,); see `vaemi.objectives`.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.training import train
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> training = train(model, x[:100], x[100:], steps=20, records=2, progress=False)
    >>> training.history.information.shape
    torch.Size([3, 2])
    """

    step: Tensor
    negative_log_likelihood: Tensor
    kl: Tensor
    objective: Tensor
    sigma: Tensor
    information: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def from_columns(cls, columns: dict[str, Tensor]) -> History:
        """Build a history from its columns, those of `extra` among the others."""
        extra = {name: values for name, values in columns.items() if name not in cls.__annotations__}
        return cls(**{name: columns[name] for name in columns.keys() - extra.keys()}, extra=extra)

    def to_columns(self) -> dict[str, Tensor]:
        """Return all columns in one dict; the inverse of `from_columns`."""
        columns = dict(vars(self))
        return columns | columns.pop("extra")


@dataclass(frozen=True)
class Training:
    """A trained model and how it was trained.

    Attributes
    ----------
    model : VAE
        In eval mode, on the CPU.
    history : History
    steps : int
    seconds : float
        Wall-clock time of the training, those of interrupted runs included.
    precision, device : str
        In Lightning's words and torch's.
    weights : Path, optional
        File of committed weights that holds this model.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.training import train
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> training = train(model, x[:100], x[100:], steps=20, records=2, progress=False)
    >>> training.history.step.tolist()
    [0, 10, 20]
    """

    model: VAE
    history: History
    steps: int
    seconds: float
    precision: str
    device: str
    weights: Path | None = None


@dataclass(frozen=True)
class Settings:
    """Checked settings of a training; the arguments of `train` describe them."""

    steps: int
    objective: Objective
    beta: float
    beta_warmup: float
    batch_size: int
    learning_rate: float
    adam_epsilon: float
    schedule: str
    seed: int
    records: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "adam_epsilon", "records"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name} is {getattr(self, name)}: give a number > 0.")
        if not self.beta >= 0:
            raise TrainingError(f"beta is {self.beta}: give a number >= 0.")
        if not 0 <= self.beta_warmup <= 1:
            raise TrainingError(f"beta_warmup is {self.beta_warmup}: give a share of the steps, from 0 to 1.")
        if self.schedule not in ("constant", "cosine", "one-cycle"):
            raise TrainingError(f"schedule is {self.schedule!r}: choose constant, cosine or one-cycle.")
        if isinstance(self.objective, str):
            if self.objective not in OBJECTIVES:
                raise TrainingError(f"objective is {self.objective!r}: choose one of {', '.join(OBJECTIVES)}.")
            object.__setattr__(self, "objective", OBJECTIVES[self.objective]())

    def to_dict(self, model: VAE) -> dict[str, Any]:
        """Return the settings and the model's hyperparameters as JSON values."""
        chosen = {name: value for name, value in vars(self).items() if name != "objective"}
        for name in ("beta", "beta_warmup", "learning_rate"):
            chosen[name] = float(chosen[name])
        # Defaults are left out: names of trainings from before there were others stay the same.
        if self.adam_epsilon == _ADAM_EPSILON:
            del chosen["adam_epsilon"]
        if self.objective != BetaVAE():
            chosen["objective"] = {"name": self.objective.name, **asdict(self.objective)}
        return {"recipe": _RECIPE, **model.hyperparameters, **chosen}


def train(
    model: VAE,
    samples: Tensor,
    held_out: Tensor,
    *,
    steps: int,
    objective: str | Objective = "beta-vae",
    beta: float = 1.0,
    beta_warmup: float = 0.0,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    adam_epsilon: float = _ADAM_EPSILON,
    schedule: str = "constant",
    seed: int = 0,
    precision: str = "auto",
    records: int = 60,
    checkpoints: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    fresh: bool = False,
    devices: int | list[int] | str = "auto",
    progress: bool = True,
) -> Training:
    """Minimize -log p(x|z) + beta KL(q(z|x) || p(z)), or another objective, with Adam.

    Parameters
    ----------
    model : VAE
        Trained in place.
    samples, held_out : Tensor, shape (N, ...)
        Training samples, and samples for the history (the first 1,000 are used). uint8 images are scaled to [0, 1].
    steps : int
        Number of optimizer steps.
    objective : {"beta-vae", "beta-tcvae", "factor-vae", "info-vae", "avae"} or Objective
        A name stands for the objective with its default parameters; see `vaemi.objectives`.
    beta : float
        Weight of the KL term; for "beta-tcvae" of the total correlation only.
    beta_warmup : float
        Fraction of the steps, from 0 to 1, over which the weight grows linearly from 0 to `beta`, so that factors
        become useful before they are penalized.
    batch_size : int
        Samples per step, over all devices together.
    learning_rate : float
        Highest learning rate of Adam.
    adam_epsilon : float
        Adam's epsilon. The default is PyTorch's; Keras's is 1e-7.
    schedule : {"constant", "cosine", "one-cycle"}
        "cosine" lowers the learning rate to zero over the steps; "one-cycle" first raises it over 30 % of them.
    seed : int
        Decides batches and noise. Two trainings with the same seed, model and machine are identical.
    precision : {"auto", "32-true", "bf16-mixed", "16-mixed"}
        As in Lightning. "auto" is bf16-mixed on hardware with fast bfloat16 (a recent GPU, a CPU with avx512_bf16 or
        AMX), otherwise 32-true.
    records : int
        Number of measurements for the history.
    checkpoints : path, optional
        Folder of checkpoints, named by all settings: the same call resumes an interrupted training and loads a
        finished one.
    checkpoint_seconds : float
        Time between two checkpoints.
    fresh : bool
        Ignore an existing checkpoint.
    devices : int, list or "auto"
        As in Lightning. On several devices the training is data-parallel with one process per device (gloo on CPUs,
        NCCL on GPUs), each on its share of every batch. The objectives that are means over samples ("beta-vae",
        "avae") give the same model on any number of devices up to rounding; the others compare the samples of a share.
        Each process runs the whole script: call `train` under ``if __name__ == "__main__":``. In a notebook the
        processes are forks of the kernel.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Training

    Raises
    ------
    TrainingError
        If a setting is invalid, there are too few samples, a checkpoint cannot be read or written, a batch does not
        fit into memory, or the objective is not finite.
    MissingExtraError
        If Lightning is not installed.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.training import train
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> training = train(model, x[:100], x[100:], steps=20, progress=False)
    >>> training.model is model
    True
    """
    settings = Settings(
        steps, objective, beta, beta_warmup, batch_size, learning_rate, adam_epsilon, schedule, seed, records  # type: ignore[arg-type]
    )  # fmt: skip
    if len(samples) < batch_size:
        raise TrainingError(f"There are {len(samples)} samples, fewer than one batch of {batch_size}.")
    held_out = held_out[:_RECORDED_SAMPLES]
    fabric = _fabric(devices, fastest_precision() if precision == "auto" else precision)
    precision = fabric.strategy.precision.precision
    identity = settings.to_dict(model) | {
        "samples": checksum(samples),
        "held_out": checksum(held_out),
        "weights": checksum(*model.state_dict().values()),
        "precision": precision,
    }
    name = f"{model.hyperparameters['model'].lower()}-{fingerprint(identity)}.pt"
    caller = os.getpid()
    with tempfile.TemporaryDirectory() as scratch, _out_of_memory_in_one_sentence(batch_size):
        path = Path(checkpoints or scratch) / name

        def fit(fabric: Any) -> dict[str, Any] | None:
            if forked := os.getpid() != caller:
                torch.set_num_threads(1)  # a fork inherits torch's thread pool without its threads, and would hang
            with sole_process(path, fresh) if fabric.is_global_zero else nullcontext():
                state = _loop(fabric, model, samples, held_out, settings, path, checkpoint_seconds, progress)
            return None if forked else state

        state = fabric.launch(fit) or load(path)  # forks leave the model in the file only
    model.load_state_dict(state["model"])
    columns = {name: torch.stack([row[name] for row in state["history"]]) for name in state["history"][0]}
    return Training(
        model=model.to("cpu").eval(),
        history=History.from_columns(columns),
        steps=state["step"],
        seconds=state["seconds"],
        precision=precision,
        device=str(fabric.device),
    )


def _loop(
    fabric: Any,
    model: VAE,
    samples: Tensor,
    held_out: Tensor,
    settings: Settings,
    path: Path,
    checkpoint_seconds: float,
    progress: bool,
) -> dict[str, Any]:
    """Train from the last checkpoint, or from the first step, and return the final state."""
    module = _Loss(model, samples, settings, fabric.strategy.precision.precision).to(fabric.device)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _adam(module, settings)
    scheduler = _scheduler(optimizer, settings)
    parallel_module, scaled_optimizer = fabric.setup(module, optimizer)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "precision": fabric.strategy.precision}
    if module.discriminator is not None:
        parts["discriminator"] = module.discriminator

    # The first process decides whether there is a checkpoint: only its machine need have the folder.
    state = fabric.broadcast(load(path) if fabric.is_global_zero and path.exists() else None)
    if state is None:
        state = {"step": 0, "seconds": 0.0, "history": [_measure(module, held_out, settings, 0)]}
    else:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    first_step, history = state["step"], state["history"]

    saved = time.monotonic()
    started = saved - state["seconds"]
    share = slice(fabric.global_rank, settings.batch_size, fabric.world_size)
    batches = _batches(len(samples), settings, first_step)
    record_after = set(torch.linspace(0, settings.steps, settings.records + 1).round().int().tolist())
    show_every = max(1, settings.steps // 40)  # where the output is not a terminal, each refresh is a line
    bar = import_extra("tqdm", "train").tqdm(
        total=settings.steps, initial=first_step, desc="training", unit="step", mininterval=0, miniters=show_every,
        disable=not (progress and fabric.is_global_zero),
    )  # fmt: skip
    with bar:
        for step in range(first_step, settings.steps):
            rows = next(batches)[share]
            beta = settings.beta * min(1.0, (step + 1) / max(1.0, settings.beta_warmup * settings.steps))
            # All processes draw the noise of the whole batch and take the rows of their share.
            generator = torch.Generator(fabric.device).manual_seed(_seed(settings.seed, step, 0))

            loss = parallel_module(rows, generator, beta, share)
            if step % 50 == 0:
                _check_finite(loss, step, settings)
            scaled_optimizer.zero_grad()
            # Gradients are averaged over the processes; shares of unequal size count by their size.
            fabric.backward(loss * (len(rows) * fabric.world_size / settings.batch_size))
            scaled_optimizer.step()
            scheduler.step()

            done = step + 1
            if done % show_every == 0 or done == settings.steps:
                bar.set_postfix(objective=f"{loss.item():.1f}", refresh=False)
                bar.update(done - bar.n)
            if done in record_after:
                history.append(_measure(module, held_out, settings, done))
            if done == settings.steps or time.monotonic() - saved >= checkpoint_seconds:
                state = {"step": done, "seconds": time.monotonic() - started, "history": history}
                state |= {name: part.state_dict() for name, part in parts.items()}
                # torch 2.2 keeps a method in a scheduler's state, which a safe load refuses.
                state["scheduler"] = {key: value for key, value in state["scheduler"].items() if not callable(value)}
                if fabric.is_global_zero:
                    save(state, path)
                saved = time.monotonic()
    return state


class _Loss(nn.Module):
    """The objective as a module, with the parameters of the model and of the discriminator if there is one."""

    def __init__(self, model: VAE, samples: Tensor, settings: Settings, precision: str) -> None:
        super().__init__()
        self.model = model
        self.samples = samples
        self.objective = settings.objective
        self.mixed = precision.endswith("mixed")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(settings.seed))
            self.discriminator = settings.objective.discriminator(model.latent_dim)

    def forward(self, rows: Tensor, generator: torch.Generator, beta: float, share: slice) -> Tensor:
        # Fabric would round the samples to bfloat16 if they were the argument.
        x = _channels_last(as_float(self.samples[rows].to(generator.device)))
        if self.mixed:
            # A cached 16-bit copy of a weight that is used twice, as in AVAE, would add up its gradients in 16 bits.
            torch.set_autocast_cache_enabled(False)  # until Fabric leaves its autocast
        return self.evaluate(x, generator, beta, share)[0]

    def evaluate(
        self, x: Tensor, generator: torch.Generator, beta: float, share: slice | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective(
            self.model, x, generator,
            beta=beta, n_samples=len(self.samples), discriminator=self.discriminator, share=share,
        )  # fmt: skip


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _adam(module: _Loss, settings: Settings) -> torch.optim.Adam:
    groups: list[dict[str, Any]] = [{"params": list(module.model.parameters())}]
    if module.discriminator is not None:
        # Adam treats each parameter by itself, so that a group with its own settings is an optimizer of its own.
        discriminator = {"params": list(module.discriminator.parameters())}
        groups.append(discriminator | settings.objective.discriminator_adam())
    chosen: dict[str, Any] = {"lr": settings.learning_rate, "eps": settings.adam_epsilon}
    try:
        return torch.optim.Adam(groups, **chosen, fused=True)
    except RuntimeError:  # torch before 2.4 fuses on GPUs only, and has noted the wish in each group
        return torch.optim.Adam([group | {"fused": False} for group in groups], **chosen)


def _scheduler(optimizer: torch.optim.Adam, settings: Settings) -> torch.optim.lr_scheduler.LRScheduler:
    schedulers = torch.optim.lr_scheduler
    if settings.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=settings.steps)
    if settings.schedule == "one-cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        return schedulers.OneCycleLR(optimizer, highest, total_steps=settings.steps + 1, cycle_momentum=False)
    return schedulers.ConstantLR(optimizer, factor=1.0)


def _batches(n_samples: int, settings: Settings, first_step: int) -> Iterator[Tensor]:
    """Yield the indices of the batch of each step: a new permutation every epoch, without an incomplete last batch."""
    epoch, position = divmod(first_step, n_samples // settings.batch_size)
    while True:
        generator = torch.Generator().manual_seed(_seed(settings.seed, epoch))
        batches = torch.randperm(n_samples, generator=generator).split(settings.batch_size)
        yield from batches[position : n_samples // settings.batch_size]
        epoch, position = epoch + 1, 0


@torch.no_grad()
def _measure(module: _Loss, held_out: Tensor, settings: Settings, step: int) -> dict[str, Tensor]:
    """Return a row of the history."""
    model = module.model
    device = model.likelihood.log_sigma.device
    x = _channels_last(as_float(held_out.to(device)))
    generator = torch.Generator(device).manual_seed(0)
    draw = Draw.of(model, x, generator, beta=settings.beta)
    objective, terms = draw.negative_elbo, draw.elbo_terms
    if not isinstance(settings.objective, BetaVAE):
        # In batches of training's size, on which some objectives depend.
        size = min(settings.batch_size, len(x))
        parts = [module.evaluate(batch, generator, settings.beta) for batch in x.split(size) if len(batch) == size]
        objective = torch.stack([loss for loss, _ in parts]).mean()
        own_terms = {name: torch.stack([part[name] for _, part in parts]).mean() for name in parts[0][1]}
        terms = own_terms | terms
    _check_finite(objective, step, settings)
    information, *_ = gaussian_information(draw.mean.cpu().double(), draw.log_variance.cpu().double())
    row = {
        "step": torch.tensor(step),
        "objective": objective,
        "sigma": model.likelihood.log_sigma.exp(),
        "information": information,
        **terms,
    }
    return {name: value.cpu() for name, value in row.items()}


@torch.inference_mode()
def objective_on(model: VAE, samples: Tensor, *, beta: float = 1.0, seed: int = 0) -> float:
    """Return -log p(x|z) + beta KL(q(z|x) || p(z)) as a mean over samples, with one draw of z per sample.

    On the samples that a history of "beta-vae" is measured on, this is the history's `objective` of the same model.

    Parameters
    ----------
    model : VAE
    samples : Tensor, shape (N, ...)
        uint8 images are scaled to [0, 1].
    beta : float
        Weight of the KL term.
    seed : int
        Seed of the draws; a history's is 0.

    Returns
    -------
    float
        In nats per sample.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.training import objective_on
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> objective_on(model, torch.randn(100, 3), beta=4.0) > 0
    True
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    total = 0.0
    for batch in samples.split(_RECORDED_SAMPLES):
        objective, _ = BetaVAE()(model, as_float(batch.to(device)), generator, beta=beta)
        total += len(batch) * objective.item()
    return total / len(samples)


def _fabric(devices: int | list[int] | str, precision: str) -> Any:
    declare_missing_operators()
    fabric = import_extra("lightning.fabric", "train")
    for part in ("fabric", "pytorch"):  # one of them announces precision and processes
        logging.getLogger(f"lightning.{part}.utilities.rank_zero").setLevel(logging.WARNING)
    return fabric.Fabric(devices=devices, precision=precision)


@contextmanager
def _out_of_memory_in_one_sentence(batch_size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # On a CPU torch raises a plain RuntimeError.
        if not isinstance(error, torch.cuda.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise TrainingError(
            f"There is not enough memory for a batch_size of {batch_size}: try a smaller batch_size or model. The last "
            "checkpoint is kept."
        ) from None


def _check_finite(objective: Tensor, step: int, settings: Settings) -> None:
    if not objective.isfinite():
        raise TrainingError(
            f"Training diverged: the objective is {objective.item()} at step {step}. Try a learning rate under "
            f"{settings.learning_rate:g}, or check that the samples lie in [0, 1]."
        )


def _seed(*parts: int) -> int:
    """Combine numbers into a 64-bit seed; different numbers give unrelated streams."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def fastest_precision() -> str:
    """Return the precision in which this machine trains fastest, "bf16-mixed" or "32-true"."""
    if torch.cuda.is_available():
        fast = torch.cuda.get_device_capability() >= (8, 0) or torch.version.hip is not None
    else:
        # torch before 2.6 cannot tell.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return "bf16-mixed" if fast else "32-true"
