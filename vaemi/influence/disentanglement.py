"""Disentanglement scores, for data with known generating factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaemi.errors import import_extra

from .labels import LabelInformation

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

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import disentanglement_scores, label_information
    >>> truth = torch.stack([torch.arange(400) % 4, torch.arange(400) // 4 % 4], 1)
    >>> code = truth.double(), torch.full((400, 2), -6.0)
    >>> information = label_information(*code, truth, permutations=20)
    >>> scores = disentanglement_scores(information)
    >>> scores.captured_by.tolist()
    [0, 1]
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
        columns: dict[str, Any] = {
            "name": list(self.names),
            "captured": self.captured.numpy(),
            "captured_by": self.captured_by.numpy(),
            "gap": self.gap.numpy(),
        }
        if self.predictability_gap is not None:
            columns["predictability_gap"] = self.predictability_gap.numpy()
        return import_extra("pandas", "audit").DataFrame(columns)


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
        If a generating factor is constant or a number, if only one of values and mean is given, or if they do not fit
        the shape of the information.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in VAEs, NeurIPS 2018. Eastwood and Williams, A Framework for
    the Quantitative Evaluation of Disentangled Representations, ICLR 2018. Kumar et al., Variational Inference of
    Disentangled Latent Concepts from Unlabeled Observations, ICLR 2018.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import disentanglement_scores, label_information
    >>> truth = torch.stack([torch.arange(400) % 4, torch.arange(400) // 4 % 4], 1)
    >>> code = truth.double(), torch.full((400, 2), -6.0)  # one factor for each
    >>> scores = disentanglement_scores(label_information(*code, truth, permutations=20))
    >>> round(scores.mig, 2), round(scores.dci_disentanglement, 2)
    (1.0, 1.0)
    """
    if information.entropy.isinf().any():
        raise ValueError("The scores divide by the entropy of classes: cut numbers with `discretized` first.")
    if (information.entropy <= 0).any():
        constant = information.names[int(information.entropy.argmin())]
        raise ValueError(f"{constant} does not vary in these samples: leave it out.")
    if (values is None) != (mean is None):
        raise ValueError("SAP compares values with mean: give both or neither.")
    share = information.normalized
    importance = information.excess.clamp_min(0) / information.entropy
    captured, captured_by = share.max(dim=0)
    gap = _gap(share)
    predictability_gap = None if values is None else _gap(_predictability(information, values, mean))
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


def _predictability(information: LabelInformation, values: Any, mean: Any) -> Tensor:
    """Return how well each generating factor is predicted from each factor alone, shape (H, A)."""
    stats = import_extra("scipy.stats", "influence")
    values, mean = torch.as_tensor(values).double().numpy(), torch.as_tensor(mean).double().numpy()
    n_factors, n_labels = information.nats.shape
    if values.shape != (len(values), n_labels) or mean.shape != (len(values), n_factors):
        raise ValueError(
            f"values has shape {values.shape} and mean {mean.shape}: the information needs (M, {n_labels}) and "
            f"(M, {n_factors})."
        )
    score = torch.zeros(n_factors, n_labels, dtype=torch.float64)
    for a, column in enumerate(values.T):
        high = column == column.max()
        of_two_classes = high.sum() + (column == column.min()).sum() == len(column)
        for h, factor in enumerate(mean.T):
            if of_two_classes:
                # The largest distance between the classes' distribution functions is 2 b - 1.
                score[h, a] = float(stats.ks_2samp(factor[high], factor[~high], method="asymp").statistic)
            elif factor.std() > 0:
                score[h, a] = float(np.corrcoef(factor, column)[0, 1]) ** 2
    return score
