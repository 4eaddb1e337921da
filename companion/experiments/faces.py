"""Steps of the chapter on faces: what labels the factors predict, and how varied generated faces are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import one_hot

from vaemi import factor_information
from vaemi.influence import DisentanglementScores
from vaemi.information import fano_accuracy_bound_exact


def found_labels(scores: DisentanglementScores, told_percent: Sequence[float]) -> pd.DataFrame:
    """Return one row per label, the label that one factor captures best first.

    Parameters
    ----------
    scores : DisentanglementScores
    told_percent : sequence of float
        Balanced accuracy for each label from all influential factors, in per cent.
    """
    table = pd.DataFrame(
        {
            "label": scores.names,
            "known": scores.captured,
            "by": [f"z{factor}" for factor in scores.captured_by.tolist()],
            "more than the next": scores.gap,
            "told by all (%)": told_percent,
        }
    )
    return table.sort_values("known", ascending=False)


def lift_kept(accuracy: Tensor, full: Tensor) -> float:
    """Return the share of the gain over chance that is kept: sum_a (acc_a - 0.5) / sum_a (full_a - 0.5).

    A ratio of sums: a mean of ratios would be dominated by attributes that no factor predicts.

    Parameters
    ----------
    accuracy, full : Tensor, shape (A,)
        Balanced accuracies from some factors and from all.

    Raises
    ------
    ValueError
        If the shapes differ or all factors predict no better than chance.
    """
    if accuracy.shape != full.shape:
        raise ValueError(f"accuracy has shape {tuple(accuracy.shape)} and full {tuple(full.shape)}: give the same.")
    lift = float((full - 0.5).sum())
    if lift <= 0:
        raise ValueError("full is no better than chance, 0.5, on average: there is no gain to keep a share of.")
    return float((accuracy - 0.5).sum()) / lift


def balanced_weights(labels: Tensor) -> Tensor:
    """Return weights of samples (M,) with which all classes weigh the same, float64 of shape (M,), 1 on average.

    With them the entropy of two classes is log 2, accuracy is balanced accuracy, and `factor_information` gives the
    information that Fano's inequality needs.
    """
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    return len(labels) / (len(counts) * counts.double())[classes]


def fano_percent(mean: Tensor, log_variance: Tensor, labels: Tensor) -> float:
    """Return the largest balanced accuracy that Fano's inequality allows, averaged over attributes, in per cent.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (M, H)
        Posteriors of the factors that a classifier sees.
    labels : Tensor of 0 and 1, shape (M, A)
    """
    bounds = []
    for label in labels.T:
        nats = factor_information(mean, log_variance, weight=balanced_weights(label)).total
        bounds.append(float(fano_accuracy_bound_exact(nats, math.log(2), 2)))
    return 100 * sum(bounds) / len(bounds)


def prediction_diversity(probabilities: Any) -> float:
    r"""Return the information between predicted attributes and the picture they are predicted from, in nats.

    :math:`\sum_a h_b(\bar p_a) - \overline{h_b(p_a)}`, bars for means over the pictures and :math:`h_b` for the binary
    entropy. It is 0 where all pictures get the same predictions, and A log 2 where each attribute is certain in half of
    the pictures and certainly absent in the others. For one attribute it is the logarithm of the inception score
    (Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016).

    Parameters
    ----------
    probabilities : array or tensor, shape (N, A)
        Predicted probability that a picture has an attribute, as from a classifier.

    Raises
    ------
    ValueError
        If the shape is another or a value is not between 0 and 1.
    """
    probabilities = torch.as_tensor(probabilities).cpu().double()
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise ValueError(f"probabilities has shape {tuple(probabilities.shape)}: give (N, A), one row per picture.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities holds a number that is not between 0 and 1.")
    return float((_binary_entropy(probabilities.mean(0)) - _binary_entropy(probabilities).mean(0)).sum().clamp_min(0))


def _binary_entropy(probability: Tensor) -> Tensor:
    return torch.special.entr(probability) + torch.special.entr(1 - probability)


def correlated_groups(labels: Tensor, names: Sequence[str], least: float = 0.5) -> list[list[str]]:
    """Return groups of correlated labels: a factor that carries one of them seems to carry the others.

    Two labels are linked if their Cramér's V (for two classes each the absolute phi) is at least `least`; a group is
    what links connect, directly or through others. Labels without a link are in no group.

    Parameters
    ----------
    labels : Tensor of integers or booleans, shape (M, A)
    names : sequence of str, length A
    least : float
        Between 0 and 1.
    """
    _, group = connected_components(_cramers_v(labels).numpy() >= least, directed=False)
    members: dict[int, list[str]] = {}
    for name, g in zip(names, group.tolist(), strict=True):
        members.setdefault(g, []).append(name)
    return [together for together in members.values() if len(together) > 1]


def _cramers_v(labels: Tensor) -> Tensor:
    """Return Cramér's V of all pairs of labels (M, A), shape (A, A); 0 where one is constant."""
    indicators = [one_hot(label.unique(return_inverse=True)[1]).double() for label in labels.T]
    result = torch.zeros(len(indicators), len(indicators), dtype=torch.float64)
    for a, first in enumerate(indicators):
        for b, second in enumerate(indicators[:a]):
            expected = first.mean(0)[:, None] * second.mean(0)
            chi_squared = ((first.T @ second / len(labels)) ** 2 / expected).sum() - 1
            freedom = min(first.shape[1], second.shape[1]) - 1
            if freedom > 0:
                result[a, b] = result[b, a] = (chi_squared / freedom).clamp_min(0).sqrt()
    return result
