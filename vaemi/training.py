"""Train a VAE with one loop on Lightning Fabric.

The batch and the noise of a step depend on the seed and the step only. A training that was interrupted and resumed
therefore ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaemi._checkpoints import checksum, fingerprint, load, save, sole_process
from vaemi._torchvision import declare_missing_operators
from vaemi.errors import TrainingError, import_extra
from vaemi.information.gaussian import gaussian_information
from vaemi.models import VAE, as_float
from vaemi.objectives import BetaVAE, Objective, elbo_terms, objective_named

# Raise this number whenever the same settings begin to give another model: older trainings are then not found.
_RECIPE = 1
_RECORDED_SAMPLES = 1000
_SCHEDULES = ("constant", "cosine", "one-cycle")
_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


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
        common = {column.name for column in fields(cls)}
        extra = {name: values for name, values in columns.items() if name not in common}
        return cls(**{name: values for name, values in columns.items() if name in common}, extra=extra)

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
    schedule: str
    seed: int
    records: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "records"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name} is {getattr(self, name)}: give a number > 0.")
        if not self.beta >= 0:
            raise TrainingError(f"beta is {self.beta}: give a number >= 0.")
        if not 0 <= self.beta_warmup <= 1:
            raise TrainingError(f"beta_warmup is {self.beta_warmup}: give a share of the steps, from 0 to 1.")
        if self.schedule not in _SCHEDULES:
            raise TrainingError(f"schedule is {self.schedule!r}: choose {' or '.join(_SCHEDULES)}.")
        try:
            object.__setattr__(self, "objective", objective_named(self.objective))
        except ValueError as error:
            raise TrainingError(str(error)) from None

    def to_dict(self, model: VAE) -> dict[str, Any]:
        """Return the settings and the model's hyperparameters as JSON values."""
        chosen = {name: value for name, value in vars(self).items() if name != "objective"}
        for name in ("beta", "beta_warmup", "learning_rate"):
            chosen[name] = float(chosen[name])
        # The default objective is left out: names of trainings from before there were others stay the same.
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
    schedule: str = "constant",
    seed: int = 0,
    precision: str = "auto",
    records: int = 60,
    checkpoints: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    fresh: bool = False,
    devices: Any = "auto",
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
        A name stands for the objective with its default parameters. For others pass an instance, such as
        ``objective=FactorVAE(weight=35)``; see `vaemi.objectives`.
    beta : float
        Weight of the KL term; for "beta-tcvae" of the total correlation only.
    beta_warmup : float
        Fraction of the steps, from 0 to 1, over which the weight grows linearly from 0 to `beta`. A model then finds
        factors that are too expensive for fresh weights, and drops those that are not worth their price.
    batch_size : int
        Samples per step, over all devices together.
    learning_rate : float
        Highest learning rate of Adam.
    schedule : {"constant", "cosine", "one-cycle"}
        "cosine" lowers the learning rate to zero over the steps; "one-cycle" first raises it over 30 % of them.
    seed : int
        Decides batches and noise. Two trainings with the same seed, model and machine are identical.
    precision : {"auto", "32-true", "bf16-mixed", "16-mixed"}
        As in Lightning. "auto" is bf16-mixed on hardware with fast bfloat16 (a recent GPU, a CPU with avx512_bf16 or
        AMX), otherwise 32-true.
    records : int
        Number of measurements for the history, evenly spaced over the steps.
    checkpoints : path, optional
        Folder of checkpoints. Their names depend on all settings: an interrupted training is resumed by the same call,
        and a finished one is loaded.
    checkpoint_seconds : float
        Time between two checkpoints.
    fresh : bool
        Ignore an existing checkpoint.
    devices : int, list or "auto"
        As in Lightning. On several devices the training is data-parallel with one process per device (gloo on CPUs,
        NCCL on GPUs). Each process takes its share of a batch with the noise that the whole batch would get. The
        objectives that are means over samples ("beta-vae", "avae") give the same model on any number of devices up to
        rounding; the others compare the samples of a share. Each process runs the whole script: call `train` under
        ``if __name__ == "__main__":``. In a notebook the processes are forks of the kernel.
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
    KeyboardInterrupt
        On Ctrl-C; the same call resumes from the last checkpoint.
    """
    settings = Settings(
        steps, objective, beta, beta_warmup, batch_size, learning_rate, schedule, seed, records  # type: ignore[arg-type]
    )  # fmt: skip
    if precision not in _PRECISIONS:
        raise TrainingError(f"precision is {precision!r}: choose {' or '.join(_PRECISIONS)}.")
    if precision == "auto":
        precision = fastest_precision()
    held_out = held_out[:_RECORDED_SAMPLES]
    identity = settings.to_dict(model) | {
        "samples": checksum(samples),
        "held_out": checksum(held_out),
        "weights": checksum(*model.state_dict().values()),
        "precision": precision,
    }
    name = f"{model.hyperparameters['model'].lower()}-{fingerprint(identity)}.pt"
    finished: dict[str, Any] = {}
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(_out_of_memory_in_one_sentence(batch_size))
        fabric = stack.enter_context(_quiet_fabric(devices, precision))
        _check_samples(settings, len(samples), len(held_out), fabric.world_size)
        path = Path(checkpoints or scratch) / name
        caller = os.getpid()

        def fit(fabric: Any) -> None:
            if os.getpid() != caller:
                # A fork of a notebook's kernel inherits torch's thread pool without its threads, and would hang.
                torch.set_num_threads(1)
            with sole_process(path, fresh) if fabric.is_global_zero else nullcontext():
                finished.update(_loop(fabric, model, samples, held_out, settings, path, checkpoint_seconds, progress))

        fabric.launch(fit)
        state = finished or load(path)  # forked processes leave the model in the file only
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
    module = _Loss(model, samples, settings).to(fabric.device)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _adam(module, settings)
    scheduler = _scheduler(optimizer, settings)
    parallel_module, scaled_optimizer = fabric.setup(module, optimizer)
    precision = fabric.strategy.precision
    history: list[dict[str, Tensor]] = []
    record_after = set(torch.linspace(0, settings.steps, settings.records + 1).round().int().tolist())
    first_step, seconds_before = 0, 0.0

    # The first process decides whether there is a checkpoint: only its machine need have the folder.
    state = fabric.broadcast(load(path) if fabric.is_global_zero and path.exists() else None)
    if state is None:
        history.append(_measure(module, held_out, settings, 0, len(samples)))
    else:
        model.load_state_dict(state["model"])
        if module.discriminator is not None:
            module.discriminator.load_state_dict(state["discriminator"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        precision.load_state_dict(state["precision"])
        history, first_step, seconds_before = state["history"], state["step"], state["seconds"]

    def current_state(step: int) -> dict[str, Any]:
        return {
            "name": path.name,
            "model": model.state_dict(),
            "discriminator": module.discriminator.state_dict() if module.discriminator is not None else {},
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "precision": precision.state_dict(),
            "history": history,
            "step": step,
            "seconds": seconds_before + time.monotonic() - started,
        }

    started = saved = time.monotonic()
    share = slice(fabric.global_rank, settings.batch_size, fabric.world_size)
    batch_indices = _batch_indices(len(samples), settings, first_step)
    with _progress_bar(settings.steps, first_step, progress and fabric.is_global_zero) as show:
        for step in range(first_step, settings.steps):
            rows = next(batch_indices)[share]
            beta = settings.beta * min(1.0, (step + 1) / max(1.0, settings.beta_warmup * settings.steps))
            # All processes draw the noise of the whole batch and take the rows of their share.
            generator = torch.Generator(fabric.device).manual_seed(_seed(settings.seed, step, 0))

            loss = parallel_module(rows, generator, beta, share)
            if step % 50 == 0:
                _check_finite(loss, step, settings.learning_rate)
            scaled_optimizer.zero_grad()
            # Gradients are averaged over the processes; shares of unequal size count by their size.
            fabric.backward(loss * (len(rows) * fabric.world_size / settings.batch_size))
            scaled_optimizer.step()
            scheduler.step()

            done = step + 1
            show(done, loss)
            if done in record_after:
                history.append(_measure(module, held_out, settings, done, len(samples)))
            due = done == settings.steps or time.monotonic() - saved >= checkpoint_seconds
            if due:
                state = current_state(done)
                if fabric.is_global_zero:
                    save(state, path)
                saved = time.monotonic()
    return state


class _Loss(nn.Module):
    """The objective as a module, with the parameters of the model and of the discriminator if there is one."""

    def __init__(self, model: VAE, samples: Tensor, settings: Settings) -> None:
        super().__init__()
        self.model = model
        self.samples = samples
        self.objective = settings.objective
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(settings.seed))
            self.discriminator = settings.objective.discriminator(model.latent_dim)

    def forward(self, rows: Tensor, generator: torch.Generator, beta: float, share: slice) -> Tensor:
        # Fabric would round the samples to bfloat16 if they were the argument.
        x = as_float(self.samples[rows].to(generator.device))
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with _uncached_autocast():
            terms = self.objective(
                self.model, x, generator,
                beta=beta, n_samples=len(self.samples), discriminator=self.discriminator, share=share,
            )  # fmt: skip
        return terms.loss


@contextmanager
def _uncached_autocast() -> Iterator[None]:
    """Add up the gradients of weights that are used twice, as in AVAE, in float32 under autocast."""
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)


def _adam(module: _Loss, settings: Settings) -> torch.optim.Adam:
    groups: list[dict[str, Any]] = [{"params": list(module.model.parameters())}]
    if module.discriminator is not None:
        # Adam treats each parameter by itself, so that a group with its own settings is an optimizer of its own.
        discriminator = {"params": list(module.discriminator.parameters())}
        groups.append(discriminator | settings.objective.discriminator_adam())
    try:
        return torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)
    except RuntimeError:  # torch before 2.4 fuses on GPUs only
        return torch.optim.Adam(groups, lr=settings.learning_rate)


def _scheduler(optimizer: torch.optim.Adam, settings: Settings) -> torch.optim.lr_scheduler.LRScheduler:
    schedulers = torch.optim.lr_scheduler
    if settings.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=settings.steps)
    if settings.schedule == "one-cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        return schedulers.OneCycleLR(optimizer, highest, total_steps=settings.steps + 1, cycle_momentum=False)
    return schedulers.ConstantLR(optimizer, factor=1.0)


def _batch_indices(n_samples: int, settings: Settings, first_step: int) -> Iterator[Tensor]:
    """Yield the indices of the batch of each step: a new permutation every epoch, without an incomplete last batch."""
    epoch, position = divmod(first_step, n_samples // settings.batch_size)
    while True:
        generator = torch.Generator().manual_seed(_seed(settings.seed, epoch))
        batches = torch.randperm(n_samples, generator=generator).split(settings.batch_size)
        yield from batches[position : n_samples // settings.batch_size]
        epoch, position = epoch + 1, 0


@torch.no_grad()
def _measure(module: _Loss, held_out: Tensor, settings: Settings, step: int, n_samples: int) -> dict[str, Tensor]:
    """Return a row of the history."""
    likelihood = module.model.likelihood
    device = likelihood.log_sigma.device
    x = as_float(held_out.to(device))
    generator = torch.Generator(device).manual_seed(0)
    negative_log_likelihood, kl, posterior = elbo_terms(module.model, x, generator)
    objective = negative_log_likelihood + settings.beta * kl
    extra: dict[str, Tensor] = {}
    if not isinstance(settings.objective, BetaVAE):
        # In batches of training's size, on which some objectives depend.
        size = min(settings.batch_size, len(x))
        parts = [
            settings.objective(
                module.model, batch, generator,
                beta=settings.beta, n_samples=n_samples, discriminator=module.discriminator,
            )
            for batch in x.split(size)
            if len(batch) == size
        ]  # fmt: skip
        objective = torch.stack([part.loss for part in parts]).mean()
        extra = {name: torch.stack([part.extra[name] for part in parts]).mean() for name in parts[0].extra}
    _check_finite(objective, step, settings.learning_rate)
    information, *_ = gaussian_information(*(part.cpu().double() for part in posterior))
    row = {
        "step": torch.tensor(step),
        "negative_log_likelihood": negative_log_likelihood,
        "kl": kl,
        "objective": objective,
        "sigma": likelihood.log_sigma.exp(),
        "information": information,
        **extra,
    }
    return {name: value.cpu() for name, value in row.items()}


@contextmanager
def _progress_bar(steps: int, first_step: int, shown: bool) -> Iterator[Callable[[int, Tensor], None]]:
    # Where the output is not a terminal, as in a notebook that papermill runs, each refresh is a line.
    every = max(1, steps // 40)
    tqdm = import_extra("tqdm", "train").tqdm
    with tqdm(total=steps, initial=first_step, desc="training", unit="step", mininterval=0, miniters=every,
              disable=not shown) as bar:  # fmt: skip

        def show(done: int, loss: Tensor) -> None:
            if shown and (done % every == 0 or done == steps):
                bar.set_postfix(objective=f"{float(loss.detach()):.1f}", refresh=False)
                bar.update(done - bar.n)

        yield show


@contextmanager
def _quiet_fabric(devices: Any, precision: str) -> Iterator[Any]:
    """Yield a Fabric that does not announce its precision and processes."""
    declare_missing_operators()
    fabric = import_extra("lightning.fabric", "train")
    loggers = [logging.getLogger(f"lightning.{part}.utilities.rank_zero") for part in ("fabric", "pytorch")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        yield fabric.Fabric(devices=devices, precision=precision)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _out_of_memory_in_one_sentence(batch_size: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        # On a CPU torch raises a plain RuntimeError.
        if not (on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        raise TrainingError(
            f"The {'GPU' if on_gpu else 'machine'} ran out of memory at a batch_size of {batch_size}: try a smaller "
            "batch_size or a smaller model. The last checkpoint is kept."
        ) from None


def _check_finite(objective: Tensor, step: int, learning_rate: float) -> None:
    if not objective.isfinite():
        raise TrainingError(
            f"Training diverged: the objective is {objective.item()} at step {step}. Try a learning rate under "
            f"{learning_rate:g}, or check that the samples lie in [0, 1]."
        )


def _check_samples(settings: Settings, n_samples: int, n_held_out: int, processes: int) -> None:
    name, least = settings.objective.name, settings.objective.least_batch
    if n_samples < settings.batch_size:
        raise TrainingError(f"There are {n_samples} samples, fewer than one batch of {settings.batch_size}.")
    if settings.batch_size // processes < least:
        raise TrainingError(
            f"batch_size is {settings.batch_size} over {processes} process{'es' * (processes > 1)}: {name} compares "
            f"samples of a batch, so give {least * processes} or more."
        )
    if n_held_out < least:
        raise TrainingError(f"There is {n_held_out} held-out sample: {name} compares samples, so give {least} or more.")


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


def minimize(
    module: nn.Module,
    loss: Callable[[nn.Module, Tensor, float], Tensor],
    samples: Tensor,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Train any module with Adam and a one-cycle learning rate, without checkpoints.

    torch's global random state is restored afterwards.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode afterwards.
    loss : callable
        Takes the module, a batch and the share of the steps that is done, from 0 to 1; returns a scalar.
    samples : Tensor, shape (N, ...)
        Batches are drawn from it with replacement.
    steps : int
    batch_size : int
    learning_rate : float
        Highest learning rate.
    seed : int
        Decides the batches and the module's own draws.

    Returns
    -------
    float
        Duration in seconds.

    Raises
    ------
    TrainingError
        If the loss is not finite.
    """
    started = time.monotonic()
    optimizer = torch.optim.Adam(module.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    module.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(steps):
            value = loss(module, samples[torch.randint(len(samples), (batch_size,))], step / steps)
            _check_finite(value, step + 1, learning_rate)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    module.eval()
    return time.monotonic() - started
