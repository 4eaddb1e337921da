"""Hierarchical posteriors: layers of latents, each given the layers above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import checked_clusters, checked_posterior
from .factors import factor_information
from .result import FactorInformation, standard_error


@dataclass(frozen=True)
class LayerInformation:
    """Information of the factors of one layer, given the layers above.

    Attributes
    ----------
    with_above : FactorInformation
        I(X, Z_above; Z_h), what a factor carries about the input and the draws of the layers above together: an upper
        bound on I(X; Z_h). For the top layer it is I(X; Z_h).
    upper, upper_stderr : Tensor, shape (H,), or None
        E KL(q(z_h|x, z_above) || p(z_h|z_above)) in nats: an upper bound on I(X; Z_h | Z_above), what the factor adds
        to the layers above. None if the layer came without its prior.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import hierarchical_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> below = mean, log_variance, torch.zeros(2), torch.zeros(2)
    >>> layer = hierarchical_information([below])[0]
    >>> [round(nats, 2) for nats in layer.upper.tolist()]
    [1.37, 0.0]
    """

    with_above: FactorInformation
    upper: Tensor | None
    upper_stderr: Tensor | None


def hierarchical_information(layers: Sequence[Sequence[Any]], *, clusters: Any = None) -> list[LayerInformation]:
    r"""Measure each layer of a hierarchical encoder, given one draw of the layers above it.

    Parameters
    ----------
    layers : sequence
        The top layer first. Each is (mean, log_variance) of q(z_l|x, z_above), or those two and (prior_mean,
        prior_log_variance) of p(z_l|z_above), all of shape (M, H_l) or broadcast to it, at one draw of z_above from the
        encoder for each sample.
    clusters : array or tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    list of LayerInformation
        One entry per layer, in the order of `layers`.

    Raises
    ------
    ValueError, TypeError
        As in `factor_information`, or if a layer has neither two nor four parts.

    Notes
    -----
    I(X; Z_h | Z_above) itself needs the aggregated posterior among the inputs that share a z_above, which no two inputs
    of a sample do. By the chain rule the sum over the factors of all layers of `upper` bounds I(X; Z) of the code,
    if the factors of a layer are independent given the layers above and the input.

    References
    ----------
    Sønderby et al., Ladder Variational Autoencoders, NeurIPS 2016.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import hierarchical_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> top = mean[:, :1], log_variance[:, :1]
    >>> prior = torch.zeros(1), torch.zeros(1)
    >>> below = mean[:, 1:], log_variance[:, 1:], *prior  # ignored: it follows its prior
    >>> found = hierarchical_information([top, below])
    >>> round(found[0].with_above.total, 2), round(float(found[1].upper), 2)
    (1.26, 0.0)
    """
    found = []
    for number, layer in enumerate(layers):
        if len(layer) not in (2, 4):
            raise ValueError(
                f"layer {number} has {len(layer)} parts: give (mean, log_variance), or these and (prior_mean, "
                "prior_log_variance)."
            )
        mean, log_variance = checked_posterior(*layer[:2])
        information = factor_information(mean, log_variance, clusters=clusters)
        if len(layer) == 2:
            found.append(LayerInformation(information, None, None))
            continue
        prior_mean, prior_log_variance = (torch.as_tensor(part).detach().expand_as(mean) for part in layer[2:])
        prior = checked_posterior(prior_mean, prior_log_variance)
        divergence = _kl(*(part.double() for part in (mean, log_variance, *prior)))
        stderr = standard_error(divergence, None, checked_clusters(clusters, mean))
        found.append(LayerInformation(information, divergence.mean(0).cpu(), stderr.cpu()))
    return found


def _kl(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, ...) || N(prior_mean, ...)) of every factor."""
    excess = log_variance - prior_log_variance
    return 0.5 * (excess.exp() + (mean - prior_mean).square() * (-prior_log_variance).exp() - 1 - excess)
