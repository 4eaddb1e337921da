"""Disentanglement scores, for data with known generating factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .association import LabelInformation

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DisentanglementScores:
    """Scores between 0 and 1 of H factors against A generating factors.

    Attributes
    ----------
    mig : float
        Mutual information gap: the mean of `gap`.
    dci_disentanglement : float
        1 if each factor represents one generating factor only.
    dci_completeness : float
        1 if each generating factor is represented by one factor only.
    sap : float or None
        Separated attribute predictability: the mean of `predictability_gap`; None if no values were given.
    captured, captured_by : Tensor, shape (A,)
        The largest share of the entropy of a generating factor that one factor has, and that factor.
    gap : Tensor, shape (A,)
        `captured` less the second largest share.
    predictability_gap : Tensor, shape (A,), or None
        Difference between the two factors that predict the generating factor best.
    names : tuple of str, length A
        Names of the generating factors.
    """

    mig: float
    dci_disentanglement: float
    dci_completeness: float
    sap: float | None
    captured: Tensor
    captured_by: Tensor
    gap: Tensor
    predictability_gap: Tensor | None
    names: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per generating factor: name, captured, captured_by, gap, predictability_gap."""
        import pandas as pd

        columns = {
            "name": list(self.names),
            "captured": self.captured.numpy(),
            "captured_by": self.captured_by.numpy(),
            "gap": self.gap.numpy(),
        }
        if self.predictability_gap is not None:
            columns["predictability_gap"] = self.predictability_gap.numpy()
        return pd.DataFrame(columns)


def disentanglement_scores(
    information: LabelInformation, values: Any = None, mean: Any = None
) -> DisentanglementScores:
    r"""Score factors against generating factors: MIG, DCI and SAP.

    MIG is the mean over generating factors of the difference between the two largest
    :math:`I(Z_h; Y_a) / H(Y_a)` (Chen et al. 2018). For DCI (Eastwood and Williams 2018) the importance of a factor for
    a generating factor is its share of the entropy above chance, :math:`R_{ha} = \max(0, I - I_0) / H(Y_a)` with
    :math:`I_0` the mean of the permutations, instead of a regressor's weight. Disentanglement is 1 less the entropy of
    :math:`R_{ha} / \sum_a R_{ha}` in units of log A, completeness 1 less that of :math:`R_{ha} / \sum_h R_{ha}` in
    units of log H, both averaged with the sums as weights. SAP (Kumar et al. 2018) is the mean difference between the
    two best predictions from one factor: the coefficient of determination of a line for numbers, and 2 b - 1 for two
    classes, with b the balanced accuracy of the best threshold.

    Parameters
    ----------
    information : LabelInformation
        Information on the generating factors, continuous ones cut by `discretized`.
    values : array or tensor, shape (M, A), optional
        The generating factors as numbers, not cut. A column of two values is treated as two classes.
    mean : array or tensor, shape (M, H), optional
        Posterior means. SAP needs values and mean.

    Returns
    -------
    DisentanglementScores

    Raises
    ------
    ValueError
        If a generating factor is constant, if only one of values and mean is given, or if they are not finite or do not
        fit the shape of the information.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in VAEs, NeurIPS 2018. Eastwood and Williams, A Framework for
    the Quantitative Evaluation of Disentangled Representations, ICLR 2018. Kumar et al., Variational Inference of
    Disentangled Latent Concepts from Unlabeled Observations, ICLR 2018.
    """
    _refuse_constant(information.names, information.entropy <= 0)
    share = information.normalized
    importance = information.excess.clamp_min(0) / information.entropy
    captured, captured_by = share.max(dim=0)
    gap = _gap(share)
    predictability_gap = None
    if values is not None or mean is not None:
        predictability_gap = _gap(_predictability(*_checked_values(information, values, mean), information.names))
    return DisentanglementScores(
        mig=float(gap.mean()),
        dci_disentanglement=_concentration(importance),
        dci_completeness=_concentration(importance.T),
        sap=None if predictability_gap is None else float(predictability_gap.mean()),
        captured=captured,
        captured_by=captured_by,
        gap=gap,
        predictability_gap=predictability_gap,
        names=information.names,
    )


def _gap(score: Tensor) -> Tensor:
    """Return the difference of the two largest scores (H, A) over the factors, shape (A,)."""
    best = score.sort(dim=0, descending=True).values
    return best[0] - best[1] if len(best) > 1 else best[0]


def _concentration(importance: Tensor) -> float:
    """Return 1 less the normalized entropy of each row's shares, averaged with the rows' sums as weights."""
    of_row = importance.sum(1)
    if of_row.sum() == 0:
        return 0.0
    held = of_row > 0
    entropy = torch.special.entr(importance[held] / of_row[held, None]).sum(1)
    # The entropy of a single column is 0 in any unit.
    concentrated = 1 - entropy / math.log(max(2, importance.shape[1]))
    return float((concentrated * of_row[held]).sum() / of_row.sum())


def _predictability(values: Tensor, mean: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return how well each generating factor (M, A) is predicted from each factor (M, H) alone, shape (H, A)."""
    _refuse_constant(names, values.amax(0) == values.amin(0))
    ascending, order = mean.sort(dim=0)
    # A threshold cannot separate equal numbers.
    tied = torch.cat([ascending.diff(dim=0) == 0, torch.zeros(1, mean.shape[1], dtype=torch.bool)])
    columns = []
    for column in values.T:
        levels = column.unique()
        if len(levels) == 2:
            columns.append(_best_threshold(column == levels[1], order, tied))
        else:
            columns.append(_determination(column, mean))
    return torch.stack(columns, dim=1)


def _best_threshold(positive: Tensor, order: Tensor, tied: Tensor) -> Tensor:
    """Return the largest difference between two classes' distribution functions over each factor, 2 b - 1, (H,)."""
    below = torch.stack([(chosen[order].double() / chosen.sum()).cumsum(0) for chosen in (positive, ~positive)])
    return (below[0] - below[1]).abs().masked_fill(tied, 0).amax(0)


def _determination(column: Tensor, mean: Tensor) -> Tensor:
    """Return the squared correlation of a vector (M,) with each factor (M, H), shape (H,); 0 for a constant factor."""
    x, y = mean - mean.mean(0), column - column.mean()
    power = x.square().sum(0)
    return torch.where(power > 0, (y @ x).square() / (power * y.square().sum()), 0.0)


def _checked_values(information: LabelInformation, values: Any, mean: Any) -> tuple[Tensor, Tensor]:
    if values is None or mean is None:
        raise ValueError("SAP compares values with mean: give both or neither.")
    values, mean = torch.as_tensor(values).cpu().double(), torch.as_tensor(mean).cpu().double()
    n_factors, n_labels = information.nats.shape
    if values.shape != (len(values), n_labels) or mean.shape != (len(values), n_factors):
        raise ValueError(
            f"values has shape {tuple(values.shape)} and mean {tuple(mean.shape)}: the information needs "
            f"(M, {n_labels}) and (M, {n_factors})."
        )
    if not (values.isfinite().all() and mean.isfinite().all()):
        raise ValueError("values or mean holds a number that is not finite: leave that row out.")
    return values, mean


def _refuse_constant(names: tuple[str, ...], constant: Tensor) -> None:
    if constant.any():
        which = ", ".join(name for name, flag in zip(names, constant.tolist(), strict=True) if flag)
        raise ValueError(f"{which} does not vary in these samples: leave it out.")
