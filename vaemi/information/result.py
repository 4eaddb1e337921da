"""What an estimator says of the factors of a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
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
    """

    nats: Tensor
    stderr: Tensor
    marginal_std: Tensor
    n_samples: int
    method: str

    def __post_init__(self) -> None:
        if not self.nats.shape == self.stderr.shape == self.marginal_std.shape or self.nats.ndim != 1:
            raise ValueError(
                f"nats, stderr and marginal_std must all have shape (H,), not {tuple(self.nats.shape)}, "
                f"{tuple(self.stderr.shape)} and {tuple(self.marginal_std.shape)}."
            )

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
        """A row a factor, the most informative first: factor, nats, stderr, marginal_std, share of the total."""
        import pandas as pd

        order = self.ranking
        nats = self.nats[order].numpy()
        return pd.DataFrame(
            {
                "factor": order.numpy(),
                "nats": nats,
                "stderr": self.stderr[order].numpy(),
                "marginal_std": self.marginal_std[order].numpy(),
                "share": nats / self.total if self.total > 0 else nats * 0.0,
            }
        )

    def __len__(self) -> int:
        return len(self.nats)

    def __repr__(self) -> str:
        top = ", ".join(f"z{h}: {self.nats[h]:.2f}" for h in self.ranking[:3].tolist())
        return (
            f"FactorInformation({len(self)} factors, {len(self.influential())} above 0.1 nats, total "
            f"{self.total:.2f} nats; {top}{', ...' if len(self) > 3 else ''}; {self.method}, M = {self.n_samples})"
        )
