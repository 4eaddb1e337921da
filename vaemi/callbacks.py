"""A callback for Lightning's Trainer: the information of every factor after each validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from vaemi._torchvision import declare_missing_operators
from vaemi.errors import import_extra
from vaemi.information import FactorInformation, InformationSketch, ShareSampler

__all__ = ["SpectrumLogger"]

declare_missing_operators()
lightning = import_extra("lightning", "train")


class SpectrumLogger(lightning.Callback):  # type: ignore[name-defined]
    """Log the information of each factor at the end of each validation of any Lightning module.

    Logs `information/total`, `information/influential` (the number of factors above the threshold) and
    `information/z0` to `information/z{H-1}`, in nats, over the samples of all processes. Warns if Lightning's
    distributed sampler repeats samples; with a `vaemi.information.ShareSampler` each sample is used once.

    Parameters
    ----------
    encode : callable, optional
        Takes a batch of the validation loader and returns the posterior mean and log-variance, both (B, H). The
        default is the module's `encode`, or its `model.encode`, of the batch or of the first element of a tuple or
        list.
    threshold : float
        Nats above which a factor counts as influential.

    Attributes
    ----------
    information : FactorInformation or None
        Result of the last validation.
    """

    def __init__(self, encode: Callable[[Any], tuple[Tensor, Tensor]] | None = None, threshold: float = 0.1) -> None:
        self.encode = encode
        self.threshold = threshold
        self.information: FactorInformation | None = None
        self._sketch: InformationSketch | None = None

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Discard the last validation and check the sampler."""
        self._sketch = None
        if trainer.is_global_zero:
            _warn_about_repeated_samples(trainer.val_dataloaders)

    @torch.no_grad()
    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Add a batch."""
        if self.encode is not None:
            mean, log_variance = self.encode(batch)
        else:
            module = pl_module if hasattr(pl_module, "encode") else pl_module.model
            mean, log_variance = module.encode(batch[0] if isinstance(batch, tuple | list) else batch)
        if self._sketch is None:
            self._sketch = InformationSketch(mean.shape[1])
        self._sketch.update(mean, log_variance)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the information of all processes' batches."""
        # A process without a batch does not know the number of factors, but must take part in the reduction.
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
