"""What an estimator says of the factors of a VAE."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


class FactorInformation:
    """Information I(X; Z_h) of each of H latent factors.

    Attributes
    ----------
    nats : Tensor, shape (H,)
        Information of every factor in nats, float64, in the order of the encoder.
    stderr : Tensor, shape (H,)
        Standard error of `nats` over the draw of the M samples.
    marginal_std : Tensor, shape (H,)
        The paper's sigma*_h, the root mean square of z_h under the aggregated posterior.
    n_samples : int
        M, the number of samples that the estimate rests on.
    method : str
        ``"mixture"`` (exact) or ``"gaussian"`` (the paper's).
    leave_one_out : Tensor, shape (H,), or None
        Mean of KL(q(z_h|x_m) || q(z_h) without x_m), of the mixture only. Over draws of samples the expectation of
        `nats` lies under the information of the population and that of `leave_one_out` over it.
    """

    def __init__(
        self,
        nats: Tensor,
        stderr: Tensor,
        marginal_std: Tensor,
        n_samples: int,
        method: str,
        leave_one_out: Tensor | None = None,
    ) -> None:
        arrays = {"nats": nats, "stderr": stderr, "marginal_std": marginal_std}
        if leave_one_out is not None:
            arrays["leave_one_out"] = leave_one_out
        if nats.ndim != 1 or any(array.shape != nats.shape for array in arrays.values()):
            shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())
            raise ValueError(f"All of a result's tensors must have shape (H,): {shapes}.")
        self.nats = nats
        self.stderr = stderr
        self.marginal_std = marginal_std
        self.n_samples = n_samples
        self.method = method
        self.leave_one_out = leave_one_out

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of confidence intervals for the information of the population, each of shape (H,).

        Normal intervals around `nats`, never below 0. Where `leave_one_out` is further above `nats` than a standard
        error, there are too few samples to see how the posteriors overlap, and the upper end is taken from there.

        Raises
        ------
        ValueError
            If the confidence is not between 0 and 1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95.")
        half = torch.special.ndtri(self.nats.new_tensor((1 + confidence) / 2)) * self.stderr
        top = self.nats
        if self.leave_one_out is not None:
            top = torch.where(self.leave_one_out - self.nats > self.stderr, self.leave_one_out, self.nats)
        return (self.nats - half).clamp_min(0), top + half

    @cached_property
    def ranking(self) -> Tensor:
        """Indices of the factors from most to least informative, shape (H,); ties keep the encoder's order."""
        return self.nats.argsort(descending=True, stable=True)

    def influential(self, threshold: float = 0.1) -> Tensor:
        """Indices of the factors with more than `threshold` nats, most informative first.

        Raises
        ------
        ValueError
            If the threshold is negative or not a number.
        """
        if not threshold >= 0:
            raise ValueError(f"threshold is {threshold}: give a number of nats >= 0.")
        return self.ranking[self.nats[self.ranking] > threshold]

    @property
    def total(self) -> float:
        """Sum of all factors' information in nats: an upper bound on I(X; Z), equal to it for independent factors."""
        return float(self.nats.sum())

    def to_frame(self) -> pd.DataFrame:
        """A row a factor, the most informative first: factor, nats, stderr, marginal_std, share, leave_one_out."""
        import pandas as pd

        order = self.ranking
        nats = self.nats[order].numpy()
        columns = {
            "factor": order.numpy(),
            "nats": nats,
            "stderr": self.stderr[order].numpy(),
            "marginal_std": self.marginal_std[order].numpy(),
            "share": nats / self.total if self.total > 0 else nats * 0.0,
        }
        if self.leave_one_out is not None:
            columns["leave_one_out"] = self.leave_one_out[order].numpy()
        return pd.DataFrame(columns)

    def __len__(self) -> int:
        return len(self.nats)

    def __repr__(self) -> str:
        top = ", ".join(f"z{h}: {self.nats[h]:.2f}" for h in self.ranking[:3].tolist())
        return (
            f"FactorInformation({len(self)} factors, {len(self.influential())} above 0.1 nats, total "
            f"{self.total:.2f} nats; {top}{', ...' if len(self) > 3 else ''}; {self.method}, M = {self.n_samples})"
        )
