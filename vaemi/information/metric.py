"""`InformationSketch` as a metric of torchmetrics, which sums its state over processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from .result import FactorInformation
from .sketch import InformationSketch
from .spreading import sorted_blocks


class FactorInformationMetric(Metric):
    """`InformationSketch` as a `torchmetrics.Metric`.

    `update(mean, log_variance)` adds a batch, or `update(answer)` what an encoder returned; `compute()` returns the
    `FactorInformation` of all samples of all processes. Use `ShareSampler`: a sampler that repeats samples to even out
    the processes counts them twice. A process may have no samples.

    Parameters
    ----------
    n_factors : int
        Number of latent factors, H.
    precision : {"default", "high"}
        See `InformationSketch`.
    as_total : bool
        Return `FactorInformation.total` from `compute`, a scalar tensor in nats. Use this with ``self.log(name,
        metric)`` of Lightning, which takes scalars only; `vaemi.callbacks.SpectrumLogger` logs every factor.
    **settings
        Settings of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    keys: list[Tensor] | Tensor
    values: list[Tensor] | Tensor
    n_samples: Tensor

    def __init__(self, n_factors: int, precision: str = "default", as_total: bool = False, **settings: Any) -> None:
        # A process without new samples would answer from its cache, and leave the others waiting.
        super().__init__(**{"compute_with_cache": False, **settings})
        self.n_factors = n_factors
        self.precision = precision
        self.as_total = as_total
        InformationSketch(n_factors, precision)  # checks both
        # After a sync, blocks of the same key from several processes are concatenated; compute adds them.
        self.add_state("keys", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.add_state("n_samples", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, mean: Any, log_variance: Any = None, *, scale: str | None = None) -> None:
        """Add a batch; see `InformationSketch.update`."""
        sketch = self._sketch()
        sketch.update(mean, log_variance, scale=scale)
        self._keep(sketch)

    def sync(self, *arguments: Any, **settings: Any) -> None:
        """Sum the state over processes; the arguments are those of `torchmetrics.Metric.sync`."""
        if not len(self.keys):
            # An empty state must have the others' dtypes and dimensions.
            sketch = self._sketch()
            sketch.blocks = sketch.blocks.to(self.device)
            self._keep(sketch)
        super().sync(*arguments, **settings)

    def compute(self) -> FactorInformation | Tensor:
        """Return the information of every factor over all samples of all processes, or its total."""
        information = self._sketch().compute()
        return self.n_samples.new_tensor(information.total, dtype=torch.float32) if self.as_total else information

    def _sketch(self) -> InformationSketch:
        sketch = InformationSketch(self.n_factors, self.precision)
        if len(self.keys):
            sketch.blocks = sorted_blocks(dim_zero_cat(self.keys), dim_zero_cat(self.values))
            sketch.n_samples = int(self.n_samples)
        return sketch

    def _keep(self, sketch: InformationSketch) -> None:
        self.keys, self.values = [sketch.blocks.keys], [sketch.blocks.values]
        self.n_samples = self.n_samples.new_tensor(sketch.n_samples)
