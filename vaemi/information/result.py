"""The result of an estimator, and standard errors."""

from __future__ import annotations

from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .checks import checked_clusters, checked_weight

if TYPE_CHECKING:
    import pandas as pd

#: Least share of the other samples that is divided by, where one sample has all the weight.
LEAST_REST = 2**-40


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
        ``"mixture"`` or ``"dense"`` (exact), or ``"gaussian"`` (the paper's); ``"discrete"`` (exact), ``"density"`` or
        ``"draws"`` for other posteriors.
    leave_one_out : Tensor, shape (H,), or None
        Mean of KL(q(z_h|x_m) || q(z_h) without x_m); None for the paper's method. Over draws of samples the expectation
        of `nats` lies below the information of the population, and that of the exact leave-one-out value above.
        Where ``"mixture"`` spreads samples (above 2,000 samples, in factors that carry little or have very narrow
        posteriors, and without numba), it approximates the distance from `nats`: up to a quarter too small where many
        samples have no other sample within a few sigma, up to a half too large where sigma varies by more than an
        octave, and with a mean weight removed in place of each sample's own. It shows where samples are too few, but
        is not a strict bound: where all of a few hundred samples are alone, the distance stops growing at 10 to 13 nats
        (sigma below 1e-6 of the marginal's width). ``"dense"`` has no such error.

    Examples
    --------
    >>> import torch
    >>> from vaemi import factor_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = factor_information(mean, log_variance)
    >>> found.influential(threshold=0.1).tolist(), round(found.total, 2)
    ([0], 1.26)
    >>> found.ranking.tolist()
    [0, 1]
    """

    # Not a dataclass: torchmetrics would squeeze the tensors of one that holds a single factor.
    def __init__(
        self,
        nats: Tensor,
        stderr: Tensor,
        marginal_std: Tensor,
        n_samples: int,
        method: str,
        leave_one_out: Tensor | None = None,
    ) -> None:
        self.nats = nats
        self.stderr = stderr
        self.marginal_std = marginal_std
        self.n_samples = n_samples
        self.method = method
        self.leave_one_out = leave_one_out

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return the ends of confidence intervals for the information of the population, each of shape (H,).

        Normal intervals around `nats`, never below 0. Where `leave_one_out` is further above `nats` than a standard
        error, there are too few samples to see how the posteriors overlap, and the upper end starts from there.

        Raises
        ------
        ValueError
            If the confidence is not between 0 and 1.
        """
        half = normal_quantile(confidence) * self.stderr
        top = self.nats
        if self.leave_one_out is not None:
            top = torch.where(self.leave_one_out - self.nats > self.stderr, self.leave_one_out, self.nats)
        return (self.nats - half).clamp_min(0), top + half

    @cached_property
    def ranking(self) -> Tensor:
        """Factors from most to least informative, shape (H,); ties keep the encoder's order."""
        return self.nats.argsort(descending=True, stable=True)

    def influential(self, threshold: float = 0.1) -> Tensor:
        """Return the factors with more than `threshold` nats, most informative first."""
        return self.ranking[self.nats[self.ranking] > threshold]

    @property
    def total(self) -> float:
        """Sum of all factors' information in nats.

        An upper bound on I(X; Z) if the factors of each posterior are independent, but not if they are correlated.
        """
        return float(self.nats.sum())

    def to_frame(self) -> pd.DataFrame:
        """Return one row per factor, the most informative first, with the columns of this class and `share`."""
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


def normal_quantile(confidence: float) -> float:
    """Return half the width of a normal confidence interval in standard errors; a ValueError unless within 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def standard_error(influence: Tensor, weight: Any = None, clusters: Any = None) -> Tensor:
    r"""Return the standard error of a mean over samples, or of an estimate with this influence function.

    Parameters
    ----------
    influence : Tensor, shape (M, H)
        Value of each sample, up to a constant; for the information, `InformationSketch.divergences`.
    weight, clusters : array or tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    Tensor of float64, shape (H,)
        For independent samples :math:`\sqrt{\sum_m w_m^2 d_m^2} / W`, for clusters
        :math:`\sqrt{\sum_g (\sum_{m \in g} w_m d_m)^2} / W`, with d the deviation from the weighted mean and W the sum
        of the weights; times :math:`1 / \sqrt{1 - \sum w^2 / W^2}` and :math:`\sqrt{G / (G - 1)}` for the degree of
        freedom that the mean takes.

    Raises
    ------
    ValueError, TypeError
        As in `factor_information`.

    References
    ----------
    Liang and Zeger, Longitudinal data analysis using generalized linear models, Biometrika 73 (1986) 13-22.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import standard_error
    >>> values = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    >>> round(float(standard_error(values)), 4)
    0.6455
    """
    influence = influence.double()
    weight, labels = checked_weight(weight, influence), checked_clusters(clusters, influence)
    share = (influence.new_ones(len(influence)) if weight is None else weight)[:, None]
    share = share / share.sum()
    deviation = share * (influence - (share * influence).sum(0))
    if labels is None:
        return (deviation.square().sum(0) / (1 - share.square().sum()).clamp_min(LEAST_REST)).sqrt()
    groups = int(labels.max()) + 1
    sums = deviation.new_zeros(groups, influence.shape[1]).index_add_(0, labels, deviation)
    return (sums.square().sum(0) * groups / (groups - 1)).sqrt()
