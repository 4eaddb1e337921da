"""A callback for Lightning's Trainer: the information of every factor after each validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DistributedSampler

from vaemi._torchvision import declare_missing_operators
from vaemi.errors import import_extra
from vaemi.information import FactorInformation, InformationSketch, ShareSampler
from vaemi.information.answers import check_answer, read_answer

__all__ = ["SpectrumLogger"]

declare_missing_operators()
lightning = import_extra("lightning", "train")


class SpectrumLogger(lightning.Callback):  # type: ignore[name-defined]
    """Log the information of each factor at the end of each validation of any Lightning module.

    Logs `information/total`, `information/influential` (the number of factors above the threshold) and
    `information/z0` to `information/z{H-1}`, in nats, over the samples of all processes. Where there are several
    validation loaders, their samples are kept apart, and ``/dataloader_idx_0`` and so on is appended to the names, as
    Lightning does. A loader with fewer than two samples logs nothing. Warns if Lightning's distributed sampler repeats
    samples; with a `vaemi.information.ShareSampler` each sample is used once.

    Parameters
    ----------
    encode : callable, optional
        Takes a batch of the validation loader and returns posteriors in any form that `vaemi.audit` reads. The
        default is the module's `encode`, or its `model.encode`, of the batch or of the first element of a tuple or
        list.
    threshold : float
        Nats above which a factor counts as influential.
    scale : {"log_variance", "variance", "std", "log_std"}, optional
        What the second of a pair is; ``"log_variance"`` if left out.

    Attributes
    ----------
    by_loader : dict of int to FactorInformation
        Result of the last validation, by the number of the loader.

    Examples
    --------
    >>> from vaemi.callbacks import SpectrumLogger
    >>> callback = SpectrumLogger(threshold=0.1)  # for Trainer(callbacks=[callback])
    >>> callback.information is None  # before the first validation
    True
    """

    def __init__(
        self, encode: Callable[[Any], Any] | None = None, threshold: float = 0.1, scale: str | None = None
    ) -> None:
        self.encode = encode
        self.threshold = threshold
        self.scale = scale
        self.by_loader: dict[int, FactorInformation] = {}
        self._sketches: dict[int, InformationSketch] = {}

    @property
    def information(self) -> FactorInformation | None:
        """Result of the last validation, on the first loader."""
        return self.by_loader.get(0)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Discard the last validation and check the sampler."""
        self._sketches, self.by_loader = {}, {}
        if trainer.is_global_zero:
            _warn_about_repeated_samples(trainer.val_dataloaders)

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch."""
        if self.encode is not None:
            output = self.encode(batch)
        else:
            module = pl_module if hasattr(pl_module, "encode") else pl_module.model
            output = module.encode(batch[0] if isinstance(batch, tuple | list) else batch)
        answer = read_answer(output, self.scale)
        check_answer(answer, f"Validation batch {batch_idx + 1}: the encoder returned")
        mean, log_variance = answer.flat()
        if dataloader_idx not in self._sketches:
            self._sketches[dataloader_idx] = InformationSketch(mean.shape[1])
        self._sketches[dataloader_idx].update(mean, log_variance)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the information of all processes' batches."""
        n_loaders = len(trainer.num_val_batches)
        for loader in range(n_loaders):
            # A process without a batch does not know the number of factors, but must take part in the reduction.
            sketch = self._sketches.get(loader)
            here = torch.tensor(0 if sketch is None else sketch.n_factors, device=pl_module.device)
            if not (n_factors := int(trainer.strategy.reduce(here, reduce_op="max"))):
                continue
            sketch = (sketch or InformationSketch(n_factors)).all_gather()
            if sketch.n_samples < 2:  # carries no information; a validation must not end the training
                continue
            information = self.by_loader[loader] = sketch.compute()
            values = {
                "total": information.total,
                "influential": float(len(information.influential(self.threshold))),
                **{f"z{h}": nats for h, nats in enumerate(information.nats.tolist())},
            }
            end = f"/dataloader_idx_{loader}" if n_loaders > 1 else ""
            pl_module.log_dict(
                {f"information/{name}{end}": value for name, value in values.items()},
                add_dataloader_idx=False,  # a hook of the epoch has no loader
                rank_zero_only=True,
            )


def _warn_about_repeated_samples(loaders: Any) -> None:
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        sampler = getattr(loader, "sampler", None)
        if not isinstance(sampler, DistributedSampler) or isinstance(sampler, ShareSampler):
            continue
        used, there = sampler.total_size, len(sampler.dataset)  # type: ignore[arg-type]
        if used != there:
            warnings.warn(
                f"The validation sampler gives {used} samples of a data set of {there}, which biases the information: "
                "give the loader sampler=vaemi.information.ShareSampler(dataset).",
                stacklevel=2,
            )
