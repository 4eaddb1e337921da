"""Training a VAE with Lightning, and watching its information while it trains.

What happens at a step is a function of the seed and the step alone: the batch, and the noise of the
reparameterization. So a run that was killed and resumed from its checkpoint ends where an undisturbed one ends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DistributedSampler
from tqdm import tqdm

from companion import weights as trained_weights
from companion.data.sources import checksum
from vaemi._files import only_one, remove_leftovers, written_whole
from vaemi.errors import TrainingError
from vaemi.information import FactorInformation, InformationSketch, ShareSampler
from vaemi.information.gaussian import gaussian_information
from vaemi.models import VAE, as_float
from vaemi.objectives import BetaVAE, Objective, elbo_terms, objective_named

# Raised whenever a change here makes another model of the same settings: older checkpoints are then left alone.
_RECIPE = 1
_RECORDED_SAMPLES = 1000
_SCHEDULES = ("constant", "cosine", "one-cycle")
_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class History:
    """The model as it was at T of the optimizer steps, measured on held-out samples.

    Attributes
    ----------
    step : Tensor, shape (T,)
        Optimizer steps taken.
    negative_log_likelihood : Tensor, shape (T,)
        First term of the negative ELBO, in nats a sample.
    kl : Tensor, shape (T,)
        KL(q(z|x) || p(z)) in nats a sample.
    objective : Tensor, shape (T,)
        What is minimized, in nats a sample: negative_log_likelihood + beta kl, or another objective.
    sigma : Tensor, shape (T,)
        Standard deviation of the likelihood, in units of x.
    information : Tensor, shape (T, H)
        Information of every factor in nats by the paper's Gaussian estimate.
    extra : dict of str to Tensor
        Terms of the objective that the ELBO does not have, each of shape (T,): see `vaemi.objectives`.
    """

    step: Tensor
    negative_log_likelihood: Tensor
    kl: Tensor
    objective: Tensor
    sigma: Tensor
    information: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """A trained model (in eval mode, on the CPU) and how it came about; the file of its weights if it is passed on."""

    model: VAE
    history: History
    steps: int
    seconds: float
    precision: str
    device: str
    weights: Path | None = None


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
    weights: Path | str | None = None,
    label: str = "",
    trained_only: bool = False,
) -> Training:
    """Minimize -log p(x|z) + beta KL(q(z|x) || p(z)), or another objective, with Adam for a number of optimizer steps.

    Parameters
    ----------
    model : VAE
        Trained in place.
    samples, held_out : Tensor, shape (N, ...)
        Training samples, and those that the history is measured on (the first 1,000 are used). uint8 pictures are
        scaled to [0, 1] batch by batch.
    steps : int
        Budget in optimizer steps.
    objective : {"beta-vae", "beta-tcvae", "factor-vae", "info-vae", "avae"} or Objective
        What is minimized. A name stands for the objective of that name with its defaults; for other parameters give
        the objective itself, as in ``objective=FactorVAE(weight=35)``: see `vaemi.objectives`.
    beta : float
        Weight of the KL term; with "beta-tcvae" of the total correlation alone.
    beta_warmup : float
        Share of the steps, from 0 to 1, over which the weight grows evenly from 0 to `beta`. Factors that a model with
        fresh weights would never try at the full price are found, and dropped again if they are not worth it.
    batch_size : int
        Samples a step, over all devices together.
    learning_rate : float
        Adam's, at its highest.
    schedule : {"constant", "cosine", "one-cycle"}
        Cosine takes the learning rate down to zero over the budget; one-cycle first takes it up over 30 % of it.
    seed : int
        Decides batches and noise. Two runs with the same seed, model and machine are identical.
    precision : {"auto", "32-true", "bf16-mixed", "16-mixed"}
        In Lightning's words. ``"auto"`` is bf16-mixed where the device computes faster in bfloat16 (a CPU with
        avx512_bf16 or AMX, a recent GPU), else 32-true.
    records : int
        How many times the history is measured, evenly over the budget.
    checkpoints : path, optional
        Folder in which the run keeps its state under a name made of its settings, and from which the same run goes
        on, or is taken as it is if it had ended.
    checkpoint_seconds : float
        How often the state is saved.
    fresh : bool
        Start over even if there is a checkpoint.
    devices : int, list or "auto"
        Lightning's; several train data-parallel, one process for each, with gloo on CPUs and NCCL on GPUs. Every batch
        is shared out over them with the draws it has in one process, so that objectives which are means over samples
        (``"beta-vae"``, ``"avae"``) train the same model on any number of devices up to rounding, and a run goes on
        on another number of them. The others compare the samples of a process's share. From a script, start under
        ``if __name__ == "__main__":``, as every process runs it; in a notebook the processes are forks of the kernel.
    progress : bool
        Show a progress bar.
    weights : path, optional
        Folder of weights to be passed on. Those of a training with these settings and such samples are taken from
        there, and nothing is trained; where there are none, the trained ones are put there. Either way the returned
        model's matrices and kernels are rounded to half precision, so that it is the one which others will read.
    label : str
        Begins the name of the weights' file, and tells trainings apart that differ in nothing but the samples.
    trained_only : bool
        Raise where there are no such weights, instead of training.

    Returns
    -------
    Training

    Raises
    ------
    TrainingError
        If a setting is out of range or a name unknown, there are fewer samples than one batch or the objective needs,
        a checkpoint or weights cannot be used or written, weights are asked for and not there, the memory is too small
        for a batch, or the objective is no longer finite (with the step).
    KeyboardInterrupt
        On Ctrl-C; the same call goes on from the state saved last.
    """
    _check_settings(len(samples), steps, beta, beta_warmup, batch_size, learning_rate, schedule, precision, records)
    try:
        objective = objective_named(objective)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    if precision == "auto":
        precision = fastest_precision()
    settings = {
        "recipe": _RECIPE,
        **model.hyperparameters,
        "samples": checksum(samples),
        "held_out": checksum(held_out[:_RECORDED_SAMPLES]),
        "steps": steps,
        "beta": float(beta),
        "beta_warmup": float(beta_warmup),
        "batch_size": batch_size,
        "learning_rate": float(learning_rate),
        "schedule": schedule,
        "seed": seed,
        "precision": precision,
        "records": records,
        "weights": checksum(*model.state_dict().values()),
        # Not where it is the usual one, so that trainings from before there were others are still found.
        **({} if objective == BetaVAE() else {"objective": {"name": objective.name, **asdict(objective)}}),
    }
    kept = _KeptWeights(Path(weights), label, settings, samples) if weights is not None else None
    if kept and not fresh and (found := kept.found(model)):
        return found
    if trained_only:
        raise TrainingError(
            f"{weights} holds no weights of this training ({label or settings['model']}) on these samples: "
            "bring back the parameters and data that they were made with, or train (vaemi run --profile paper)."
        )
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        name = f"{model.hyperparameters['model'].lower()}-{_fingerprint(settings)}"
        path = _checkpoint_path(Path(scratch if checkpoints is None else checkpoints), name, fresh)
        stack.enter_context(_alone(path))
        module = _LightningVAE(
            model, samples, objective, beta, beta_warmup, batch_size, learning_rate, schedule, steps, seed, path
        )
        # Conv weights only; a no-op for the others.
        module.to(memory_format=torch.channels_last)
        with _quiet_lightning(), _interruptible(), _memory_in_words(batch_size):
            trainer = lightning.Trainer(
                max_steps=steps,
                max_epochs=-1,
                precision=precision,  # type: ignore[arg-type]
                devices=devices,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                plugins=_AtomicCheckpointIO(),
                callbacks=[
                    _HistoryRecorder(held_out[:_RECORDED_SAMPLES], beta, steps, records),
                    # After the recorder, so that what it saves at a step holds the record of that step.
                    ModelCheckpoint(
                        dirpath=path.parent,
                        filename=path.stem,
                        train_time_interval=timedelta(seconds=checkpoint_seconds),
                        enable_version_counter=False,
                    ),
                    *([_Progress(steps)] if progress else []),
                ],
            )
            _check_samples(objective, batch_size, trainer.world_size, len(held_out))
            if resuming := _as_first_process(path.exists(), trainer.world_size):
                _refuse_foreign(_load(path), path, model)  # before Lightning meets it
            trainer.fit(
                module,
                train_dataloaders=range(steps),
                ckpt_path=path if resuming else None,
                weights_only=True,
            )
        # From the file where nothing was trained here: before, or in processes that were forked from this one.
        state = module.final or _load(path)
    module.load_state_dict(state["state_dict"])
    model.to("cpu").eval()
    made = Training(
        model=model,
        history=_as_history(state["callbacks"][_HistoryRecorder.__qualname__]),
        steps=state["global_step"],
        seconds=state["seconds"],
        precision=precision,
        device=str(trainer.strategy.root_device),
        weights=kept.path if kept else None,
    )
    if kept:
        kept.keep(made)
    return made


def minimize(
    module: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Tensor, float], Tensor],
    samples: Tensor,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Train a module that is none of this package's: a plain loop of Adam, without checkpoints.

    The learning rate rises and falls once (one cycle). Nothing is written, and torch's random state is as it was.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode afterwards.
    loss : callable
        Of the module, a batch, and the part of the steps that is done, from 0 to 1; a scalar.
    samples : Tensor, shape (N, ...)
        Batches are drawn from it at random, with replacement.
    steps : int
    batch_size : int
    learning_rate : float
        Its highest value.
    seed : int
        Of the batches and of the noise of the posteriors.

    Returns
    -------
    float
        Seconds that it took.

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
            _refuse_if_not_finite(value, step + 1, learning_rate)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    module.eval()
    return time.monotonic() - started


def fastest_precision() -> str:
    """Lightning's name of the precision in which this machine trains fastest: "bf16-mixed" or "32-true"."""
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        fast = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return "bf16-mixed" if fast else "32-true"


class _LightningVAE(lightning.LightningModule):
    """One optimizer step of `train`."""

    def __init__(
        self,
        model: VAE,
        samples: Tensor,
        objective: Objective,
        beta: float,
        beta_warmup: float,
        batch_size: int,
        learning_rate: float,
        schedule: str,
        steps: int,
        seed: int,
        checkpoint: Path,
    ) -> None:
        super().__init__()
        self.model = model
        self.samples = samples
        self.objective = objective
        self.beta = beta
        self.warmup_steps = beta_warmup * steps
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.steps = steps
        self.seed = seed
        self.checkpoint = checkpoint
        self.batches = _Batches(len(samples), batch_size, seed)
        # Its weights are drawn by the seed, and leave the caller's random numbers as they are.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(seed))
            self.discriminator = objective.discriminator(model.latent_dim)
        self.final: dict[str, Any] = {}
        self.seconds_before = 0.0
        self.started = 0.0

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters())}]
        if self.discriminator is not None:
            # Adam treats every parameter by itself: a group with settings of its own is an optimizer of its own, and
            # one that checkpoints, mixed precision and several processes need not be told of.
            groups.append({"params": list(self.discriminator.parameters()), **self.objective.discriminator_adam()})
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, fused=True)
        if self.schedule == "constant":
            return optimizer
        schedulers = torch.optim.lr_scheduler
        scheduler = (
            schedulers.CosineAnnealingLR(optimizer, T_max=self.steps)
            if self.schedule == "cosine"
            # Adam's momentum stays as it is.
            else schedulers.OneCycleLR(
                optimizer,
                [group["lr"] for group in optimizer.param_groups],
                total_steps=self.steps + 1,
                cycle_momentum=False,
            )
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        # Not `batch`: after a resume Lightning counts its batches anew, the optimizer's steps go on.
        step, processes = self.global_step, self.trainer.world_size
        share = slice(self.global_rank, self.batches.batch_size, processes)
        x = as_float(self.samples[self.batches.at(step)[share]].to(self.device))
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        # The same in all processes, and each takes its rows of the draws: however many there are, it is one training.
        generator = torch.Generator(self.device).manual_seed(_seed(self.seed, step, 0))
        beta = self.beta * min(1.0, (step + 1) / max(1.0, self.warmup_steps))
        terms = self.objective(
            self.model, x, generator,
            beta=beta, n_samples=len(self.samples), discriminator=self.discriminator, share=share,
        )  # fmt: skip
        if step % 50 == 0:
            _refuse_if_not_finite(terms.loss, step, self.learning_rate)
        # The processes' gradients are averaged as if their shares were of one size.
        return terms.loss * (len(x) * processes / self.batches.batch_size)

    def setup(self, stage: str) -> None:
        # A fork of a notebook's kernel has inherited a pool of threads without the threads, and would wait for them.
        if getattr(self.trainer.strategy, "_start_method", None) == "fork":
            torch.set_num_threads(1)

    def on_train_start(self) -> None:
        self.started = time.monotonic()

    def on_train_end(self) -> None:
        self.trainer.save_checkpoint(self.checkpoint)
        # The file is the first process's, on whose machine alone its folder may be.
        self.final = self.trainer.strategy.broadcast(_load(self.checkpoint) if self.global_rank == 0 else {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.checkpoint.stem
        checkpoint["seconds"] = self.seconds_before + time.monotonic() - self.started

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds_before = checkpoint["seconds"]


class _Batches:
    """Indices of the batch at any optimizer step: a new permutation every epoch, without an incomplete last batch."""

    def __init__(self, n_samples: int, batch_size: int, seed: int) -> None:
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = -1
        self.order = torch.empty(0, dtype=torch.long)

    def at(self, step: int) -> Tensor:
        epoch, position = divmod(step, self.n_samples // self.batch_size)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(_seed(self.seed, epoch))
            self.order = torch.randperm(self.n_samples, generator=generator)
            self.epoch = epoch
        return self.order[position * self.batch_size : (position + 1) * self.batch_size]


class SpectrumLogger(Callback):
    """Logs the information of every factor at the end of each validation of any Lightning module.

    What is logged is `information/total`, `information/influential` (the number of factors above the threshold) and
    `information/z0` to `information/z{H-1}`, in nats, over the samples of all processes. Where Lightning's sampler
    repeats samples to give all processes as many, a warning says so; a loader with a `vaemi.information.ShareSampler`
    has every sample once.

    Parameters
    ----------
    encode : callable, optional
        Takes a batch of the validation loader and returns posterior mean and log-variance, both (B, H). If left out, it
        is the module's `encode`, or its `model.encode`, of the batch, or of its first element if it is a tuple or list.
    threshold : float
        Nats above which a factor counts as influential.

    Attributes
    ----------
    information : FactorInformation or None
        Of the last validation.
    """

    def __init__(self, encode: Callable[[Any], tuple[Tensor, Tensor]] | None = None, threshold: float = 0.1) -> None:
        self.encode = encode
        self.threshold = threshold
        self.information: FactorInformation | None = None
        self._sketch: InformationSketch | None = None

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget the last validation."""
        self._sketch = None
        if trainer.is_global_zero:
            _warn_of_repetition(trainer.val_dataloaders)

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Gather the batch."""
        if self.encode is not None:
            mean, log_variance = self.encode(batch)
        else:
            module = pl_module if hasattr(pl_module, "encode") else pl_module.model
            mean, log_variance = module.encode(batch[0] if isinstance(batch, tuple | list) else batch)
        if self._sketch is None:
            self._sketch = InformationSketch(mean.shape[1])
        self._sketch.update(mean, log_variance)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the information."""
        # A process without a batch does not know how many factors there are, and is waited for by the others.
        here = torch.tensor(0 if self._sketch is None else self._sketch.n_factors, device=pl_module.device)
        if not (n_factors := int(trainer.strategy.reduce(here, reduce_op="max"))):
            return
        self.information = (self._sketch or InformationSketch(n_factors)).all_gather().compute()
        pl_module.log_dict(
            {
                "information/total": self.information.total,
                "information/influential": float(len(self.information.influential(self.threshold))),
                **{f"information/z{h}": nats for h, nats in enumerate(self.information.nats.tolist())},
            },
            rank_zero_only=True,
        )


def _warn_of_repetition(loaders: Any) -> None:
    """Lightning gives every loader of an evaluation in several processes a sampler that may repeat samples."""
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        sampler = getattr(loader, "sampler", None)
        if not isinstance(sampler, DistributedSampler) or isinstance(sampler, ShareSampler):
            continue
        repeated = sampler.total_size - len(sampler.dataset)  # type: ignore[arg-type]
        if repeated:
            warnings.warn(
                f"The validation sampler {f'repeats {repeated}' if repeated > 0 else f'drops {-repeated}'} of "
                f"{len(sampler.dataset)} samples to give every process as many, and the information is then that of "  # type: ignore[arg-type]
                "other data: give the loader sampler=vaemi.information.ShareSampler(dataset).",
                stacklevel=2,
            )


class _Progress(Callback):
    """A progress bar on standard error; Lightning's writes to standard output, among the results of a notebook."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        # Each refresh is a line where the output is no terminal, as in a notebook that papermill runs.
        self.every = max(1, steps // 40)
        self.bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar = tqdm(
            total=self.steps,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            mininterval=0,
            miniters=self.every,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == self.steps:
            self.bar.set_postfix(objective=f"{float(outputs['loss']):.1f}", refresh=False)
            self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.close()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.close()


class _HistoryRecorder(Callback):
    """Measures the model on held-out samples at evenly spaced steps."""

    def __init__(self, held_out: Tensor, beta: float, steps: int, records: int) -> None:
        self.held_out = held_out
        self.beta = beta
        self.when = set(torch.linspace(0, steps, records + 1).round().int().tolist())
        self.rows: list[dict[str, Tensor]] = []

    @property
    def state_key(self) -> str:
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        return {name: torch.stack([row[name] for row in self.rows]) for name in self.rows[0]} if self.rows else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        columns = zip(*state_dict.values(), strict=True)
        self.rows = [dict(zip(state_dict, values, strict=True)) for values in columns]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.global_step == 0:
            self._record(trainer, pl_module)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        if trainer.global_step in self.when:
            self._record(trainer, pl_module)

    @torch.no_grad()
    def _record(self, trainer: lightning.Trainer, module: Any) -> None:
        x = as_float(self.held_out.to(module.device))
        generator = torch.Generator(module.device).manual_seed(0)
        negative_log_likelihood, kl, posterior = elbo_terms(module.model, x, generator)
        objective = negative_log_likelihood + self.beta * kl
        extra: dict[str, Tensor] = {}
        if not isinstance(module.objective, BetaVAE):
            objective, extra = self._objective(module, x, generator)
        _refuse_if_not_finite(objective, trainer.global_step, module.learning_rate)
        information, *_ = gaussian_information(*(part.cpu().double() for part in posterior))
        row = {
            "step": torch.tensor(trainer.global_step),
            "negative_log_likelihood": negative_log_likelihood,
            "kl": kl,
            "objective": objective,
            "sigma": module.model.likelihood.log_sigma.exp(),
            "information": information,
            **extra,
        }
        self.rows.append({name: value.detach().cpu() for name, value in row.items()})

    def _objective(self, module: Any, x: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective and its extra terms as in training, in batches of the same size: some depend on it."""
        size = min(module.batches.batch_size, len(x))
        parts = [
            module.objective(
                module.model,
                batch,
                generator,
                beta=self.beta,
                n_samples=len(module.samples),
                discriminator=module.discriminator,
            )
            for batch in x.split(size)
            if len(batch) == size
        ]
        means = {name: torch.stack([part.extra[name] for part in parts]).mean() for name in parts[0].extra}
        return torch.stack([part.loss for part in parts]).mean(), means


class _KeptWeights:
    """The file of a training's weights in a folder of those that are passed on.

    Its name says the settings, without what depends on the machine: the precision that is fastest there, and the last
    bits of drawn samples and of first weights.
    """

    def __init__(self, folder: Path, label: str, settings: dict[str, Any], samples: Tensor) -> None:
        machine = {"samples", "held_out", "weights", "precision"}
        chosen = {name: value for name, value in settings.items() if name not in machine} | {"label": label}
        self.path = folder / f"{label or settings['model'].lower()}-{_fingerprint(chosen)}.safetensors"
        self.settings = chosen
        self.samples = samples

    def found(self, model: VAE) -> Training | None:
        """The training as its file tells it, with the weights put into the model; None if there is no such file."""
        if not self.path.exists():
            return None
        try:
            held = trained_weights.load(self.path)
            if not trained_weights.alike(held.about["samples"], trained_weights.likeness(self.samples)):
                return None
            held.put_into(model)
        except trained_weights.RunError as error:
            raise TrainingError(str(error)) from None
        about = held.about
        return Training(
            model=model.to("cpu").eval(),
            history=_as_history(held.history),
            steps=about["settings"]["steps"],
            seconds=about["seconds"],
            precision=about["precision"],
            device=about["device"],
            weights=self.path,
        )

    def keep(self, made: Training) -> None:
        """Put the weights into the file, and into the model what the file has."""
        made.model.load_state_dict(trained_weights.rounded(made.model.state_dict()))
        about = {
            "hyperparameters": made.model.hyperparameters,
            "settings": self.settings,
            "samples": trained_weights.likeness(self.samples),
            "seconds": made.seconds,
            "precision": made.precision,
            "device": made.device,
        }
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            trained_weights.save(self.path, made.model, _as_columns(made.history), about)
        except (OSError, ValueError) as error:
            raise TrainingError(f"The weights {self.path} cannot be kept: {error}") from None


def _as_columns(history: History) -> dict[str, Tensor]:
    """The opposite of `_as_history`."""
    common = {column.name: getattr(history, column.name) for column in fields(History) if column.name != "extra"}
    return common | history.extra


def _as_history(columns: dict[str, Tensor]) -> History:
    common = {column.name for column in fields(History)}
    return History(
        **{name: values for name, values in columns.items() if name in common},
        extra={name: values for name, values in columns.items() if name not in common},
    )


def _refuse_if_not_finite(objective: Tensor, step: int, learning_rate: float) -> None:
    if not objective.isfinite():
        raise TrainingError(
            f"Training diverged: the objective is {objective.item()} at step {step}; try a learning rate under "
            f"{learning_rate:g}, or check that the samples lie in [0, 1]."
        )


class _AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning writes into the system's temporary folder and moves, which across file systems is a copy."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            with written_whole(Path(path)) as scratch:
                torch.save(checkpoint, scratch)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise TrainingError(
                f"The checkpoint {path} cannot be written: {error}; make room or choose another folder, and the same "
                "call goes on from what was saved before."
            ) from None


def _checkpoint_path(folder: Path, name: str, fresh: bool) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"The checkpoint folder {folder} cannot be made ({error.strerror}).") from None
    path = folder / f"{name}.ckpt"
    if fresh:
        path.unlink(missing_ok=True)
    remove_leftovers(path)
    return path


@contextmanager
def _alone(checkpoint: Path) -> Iterator[None]:
    """Not while another process makes the same training; what that has made is then taken as it is."""

    def say_waiting() -> None:
        print(f"training: another process makes {checkpoint}; waiting for it.", file=sys.stderr)

    # The processes of one data-parallel training wait for each other elsewhere.
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(only_one(checkpoint.with_name(f".{checkpoint.name}.lock"), say_waiting))
        except OSError as error:
            raise TrainingError(
                f"The checkpoint folder {checkpoint.parent} cannot be written to ({error.strerror}): choose another, "
                "or make it writable."
            ) from None
        yield


def _as_first_process(there: bool, processes: int) -> bool:
    """What the first process says: the others may have looked before it had waited for a training of the same name."""
    # Before the first training of several processes the first starts the others, which then look later.
    if processes == 1 or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return there
    said = [there]
    torch.distributed.broadcast_object_list(said, src=0)
    return said[0]


def _refuse_foreign(state: Any, path: Path, model: VAE) -> None:
    """Raise if a checkpoint is not of the training that its name says."""
    try:
        theirs = {name: value.shape for name, value in state["state_dict"].items() if name.startswith("model.")}
        ours = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
        foreign = theirs != ours or "seconds" not in state or state.get("run", path.stem) != path.stem
    except (AttributeError, KeyError, TypeError):
        foreign = True
    if foreign:
        raise TrainingError(
            f"The checkpoint {path} is of another model or training than its name says: move it away, or start over "
            "(vaemi run --force)."
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        raise TrainingError(
            f"The checkpoint {path} is damaged: move it away, or start over (vaemi run --force)."
        ) from None


def _fingerprint(settings: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def _seed(*parts: int) -> int:
    """A 64-bit seed from several numbers; different numbers give unrelated streams."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _check_settings(
    n_samples: int,
    steps: int,
    beta: float,
    beta_warmup: float,
    batch_size: int,
    learning_rate: float,
    schedule: str,
    precision: str,
    records: int,
) -> None:
    positive = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "records": records}
    for name, value in positive.items():
        if not value > 0:
            raise TrainingError(f"{name} is {value}: give a number > 0.")
    if not beta >= 0:
        raise TrainingError(f"beta is {beta}: give a number >= 0.")
    if not 0 <= beta_warmup <= 1:
        raise TrainingError(f"beta_warmup is {beta_warmup}: give a share of the steps, from 0 to 1.")
    for name, chosen, choices in (("schedule", schedule, _SCHEDULES), ("precision", precision, _PRECISIONS)):
        if chosen not in choices:
            raise TrainingError(f"{name} is {chosen!r}: choose {' or '.join(choices)}.")
    if n_samples < batch_size:
        raise TrainingError(f"There are {n_samples} samples, fewer than one batch of {batch_size}.")


def _check_samples(objective: Objective, batch_size: int, processes: int, n_held_out: int) -> None:
    least = objective.least_batch
    if batch_size // processes < least:
        raise TrainingError(
            f"batch_size is {batch_size} over {processes} process{'es' * (processes > 1)}: {objective.name} compares "
            f"samples of a batch, so give {least * processes} or more."
        )
    if n_held_out < least:
        raise TrainingError(
            f"There is {n_held_out} held-out sample: {objective.name} compares samples, so give {least} or more."
        )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks on hardware and on settings that are chosen on purpose here."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _memory_in_words(batch_size: int) -> Iterator[None]:
    """A batch that does not fit into memory as one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError, of a GPU, is a RuntimeError
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        # What torch says of a CPU's memory has no type of its own.
        if not (on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        raise TrainingError(
            f"The {'GPU ran' if on_gpu else 'machine ran'} out of memory at a batch_size of {batch_size}: try a "
            "smaller batch_size, or a smaller model; what was saved before stays."
        ) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C as KeyboardInterrupt: Lightning would end the process and ignore the signal from then on."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
