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

    Examples
    --------
    >>> import torch
    >>> from vaemi import FactorInformationMetric
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> metric = FactorInformationMetric(n_factors=2)
    >>> metric.update(mean, log_variance)
    >>> round(metric.compute().total, 2)
    1.26
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    keys: list[Tensor] | Tensor
    counts: Tensor

    def __init__(self, n_factors: int, precision: str = "default", as_total: bool = False, **settings: Any) -> None:
        # A process without new samples would answer from its cache, and leave the others waiting.
        super().__init__(**{"compute_with_cache": False, **settings})
        self.n_factors = n_factors
        self.precision = precision
        self.as_total = as_total
        state = InformationSketch(n_factors, precision).state_dict()
        self._names = [name for name in state if name != "counts"]
        # After a sync, the parts of all processes are concatenated; compute adds them.
        for name in self._names:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.add_state("counts", default=state["counts"], dist_reduce_fx=_total)

    def update(self, mean: Any, log_variance: Any = None, *, scale: str | None = None) -> None:
        """Add a batch; see `InformationSketch.update`."""
        sketch = self._sketch()
        sketch.update(mean, log_variance, scale=scale)
        self._keep(sketch)

    def sync(self, *arguments: Any, **settings: Any) -> None:
        """Sum the state over processes; the arguments are those of `torchmetrics.Metric.sync`."""
        if not len(self.keys):
            # An empty state must have the others' dtypes and dimensions.
            self._keep(self._sketch())
        super().sync(*arguments, **settings)

    def compute(self) -> FactorInformation | Tensor:
        """Return the information of every factor over all samples of all processes, or its total."""
        information = self._sketch().compute()
        return self.counts.new_tensor(information.total, dtype=torch.float32) if self.as_total else information

    def _sketch(self) -> InformationSketch:
        sketch = InformationSketch(self.n_factors, self.precision)
        if self.counts[0]:
            state = {name: dim_zero_cat(getattr(self, name)) for name in self._names}
            blocks = sorted_blocks(state["keys"], state["values"])
            sketch.load_state_dict({**state, "keys": blocks.keys, "values": blocks.values, "counts": self.counts})
        return sketch

    def _keep(self, sketch: InformationSketch) -> None:
        state = sketch.state_dict()
        for name in self._names:
            part = state[name].to(self.device)
            setattr(self, name, [part.double() if part.is_floating_point() else part])
        self.counts = state["counts"].to(self.device)


def _total(counts: Tensor) -> Tensor:
    """Return the counts of all processes, (P, 3): numbers of samples add up, strides do not."""
    return torch.cat([counts[:, :2].sum(0), counts[:, 2:].amax(0)])
