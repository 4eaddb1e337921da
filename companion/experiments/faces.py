"""Steps of the chapter on faces: factors that deserve a name, and what the influential ones suffice for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.sparse.csgraph import connected_components
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor
from torch.special import entr

from vaemi import factor_information
from vaemi.influence import LabelInformation
from vaemi.information import fano_accuracy_bound_exact

# Share of a label's entropy that a factor must carry to be named after the label, as in the rule of claim C8.
LEAST_SHARE = 0.1


def largest_shares(tables: Sequence[LabelInformation], factors: Tensor) -> dict[str, tuple[str | None, float]]:
    """Return the label of which each factor carries the largest share of the entropy, and that share.

    Parameters
    ----------
    tables : sequence of LabelInformation
        Of the same factors. Cells that are not significant do not count.
    factors : Tensor of integers
        Factors to look up.

    Returns
    -------
    dict of factor to label and share
        No label and a share of 0 for a factor without a significant one.
    """
    names = [name for table in tables for name in table.names]
    shares = torch.cat([torch.where(table.significant(), table.normalized, 0.0) for table in tables], dim=1)
    largest, label = shares[factors].max(dim=1)
    return {
        str(factor): (names[best] if share else None, share)
        for factor, best, share in zip(factors.tolist(), label.tolist(), largest.tolist(), strict=True)
    }


def gain_kept_percent(accuracy: Tensor, of_all: Tensor) -> Tensor:
    """Return how much of what all factors gain over chance some of them keep, in per cent, shape (...).

    Gains are summed over the attributes before they are divided: a mean of ratios would be dominated by attributes that
    no factor predicts. If all factors gain nothing, nothing is kept.

    Parameters
    ----------
    accuracy, of_all : Tensor, shape (..., A)
        Balanced accuracy of each attribute from some of the factors and from all.
    """
    gain, gain_of_all = ((balanced - 0.5).sum(-1) for balanced in (accuracy, of_all))
    return torch.where(gain_of_all > 0, 100 * gain / gain_of_all, 0.0)


def pixel_variance(pictures: Tensor, weights: Tensor) -> Tensor:
    """Return the variance of the pixels of weighted pictures, summed over the pixels, for each row of weights.

    Parameters
    ----------
    pictures : Tensor, shape (N, ...)
    weights : Tensor, shape (R, N)
        Each row sums to 1.

    Returns
    -------
    Tensor of float64, shape (R,)
    """
    pixels = pictures.flatten(1)
    centred = pixels - pixels.mean(0)
    # Single precision halves the time of the largest product; the mean of a resample is close to 0 after centring.
    means = weights.float() @ centred
    variance = weights @ centred.square().sum(1, dtype=torch.float64) - means.double().square().sum(1)
    return variance.clamp_min(0)


def fano_percent(mean: Tensor, log_variance: Tensor, labels: Tensor) -> float:
    """Return the largest balanced accuracy that Fano's inequality allows, averaged over attributes, in per cent.

    Both classes get the same weight: then their entropy is log 2, and accuracy is balanced accuracy.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (M, H)
        Posteriors of the factors that a classifier sees, of which there may be none.
    labels : Tensor of 0 and 1, shape (M, A)
    """
    bounds = []
    for label in labels.T:
        nats = 0.0
        if mean.shape[1]:
            nats = factor_information(mean, log_variance, weight=compute_sample_weight("balanced", label)).total
        bounds.append(float(fano_accuracy_bound_exact(nats, math.log(2), 2)))
    return 100 * sum(bounds) / len(bounds)


def prediction_diversity(probabilities: Tensor) -> float:
    r"""Return the information between predicted attributes and the picture they are predicted from, in nats.

    :math:`\sum_a h_b(\bar p_a) - \overline{h_b(p_a)}`, bars for means over the pictures and :math:`h_b` for the binary
    entropy. It is 0 where all pictures get the same predictions, and A log 2 where each attribute is certain in half of
    the pictures and certainly absent in the others. For one attribute it is the logarithm of the inception score
    (Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016).

    Parameters
    ----------
    probabilities : Tensor, shape (N, A)
        Predicted probability that a picture has an attribute.
    """
    p = torch.as_tensor(probabilities).double()
    entropy_of_mean = entr(p.mean(0)) + entr(1 - p.mean(0))
    mean_entropy = (entr(p) + entr(1 - p)).mean(0)
    return float((entropy_of_mean - mean_entropy).sum().clamp_min(0))


def correlated_groups(labels: Tensor, names: Sequence[str], least: float = 0.5) -> list[list[str]]:
    """Return groups of correlated labels: a factor that carries one of them seems to carry the others.

    Two labels are linked if their absolute phi coefficient is at least `least`; a group is what links connect, directly
    or through others. Labels without a link are in no group.

    Parameters
    ----------
    labels : Tensor of 0 and 1, shape (M, A)
    names : sequence of str, length A
    least : float
        Between 0 and 1.
    """
    phi = torch.corrcoef(labels.T.double())
    _, group = connected_components((phi.abs() >= least).numpy(), directed=False)
    members: dict[int, list[str]] = {}
    for name, g in zip(names, group.tolist(), strict=True):
        members.setdefault(g, []).append(name)
    return [together for together in members.values() if len(together) > 1]
