"""Standard errors from influence functions."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .checks import checked_clusters, checked_weight


def standard_error(influence: Tensor, weight: Any = None, clusters: Any = None) -> Tensor:
    r"""Standard error of a mean over samples, or of an estimate with this influence function.

    Parameters
    ----------
    influence : Tensor, shape (M, H)
        Value of every sample, up to a constant: of `InformationSketch.divergences` for the information.
    weight : array or tensor, shape (M,), optional
        Of each sample; one if left out.
    clusters : array or tensor, shape (M,), optional
        A label for each sample; samples of one cluster may depend on each other, clusters may not.

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
        If there is not one weight >= 0 or label for each sample, or only one cluster.

    References
    ----------
    Liang and Zeger, Longitudinal data analysis using generalized linear models, Biometrika 73 (1986) 13-22.
    """
    influence = influence.double()
    weight, labels = checked_weight(weight, influence), checked_clusters(clusters, influence)
    share = (influence.new_ones(len(influence)) if weight is None else weight)[:, None]
    share = share / share.sum()
    deviation = share * (influence - (share * influence).sum(0))
    if labels is None:
        return (deviation.square().sum(0) / (1 - share.square().sum())).sqrt()
    groups = int(labels.max()) + 1
    sums = deviation.new_zeros(groups, influence.shape[1]).index_add_(0, labels, deviation)
    return (sums.square().sum(0) * groups / (groups - 1)).sqrt()
