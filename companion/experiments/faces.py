"""Steps of the chapter on faces: which labels go together, and how varied generated faces are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.sparse.csgraph import connected_components
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor
from torch.special import entr

from vaemi import factor_information
from vaemi.information import fano_accuracy_bound_exact


def fano_percent(mean: Tensor, log_variance: Tensor, labels: Tensor) -> float:
    """Return the largest balanced accuracy that Fano's inequality allows, averaged over attributes, in per cent.

    Both classes get the same weight: then their entropy is log 2, and accuracy is balanced accuracy.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (M, H)
        Posteriors of the factors that a classifier sees.
    labels : Tensor of 0 and 1, shape (M, A)
    """
    bounds = []
    for label in labels.T:
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
