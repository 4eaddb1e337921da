"""`factor_information`: posterior means and log-variances in, FactorInformation out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .checks import checked_choice, checked_clusters, checked_posterior, checked_weight
from .dense import dense_information
from .direct import evaluations
from .gaussian import gaussian_information
from .lattice import LATTICES, Lattice
from .result import FactorInformation, standard_error
from .spreading import Samples, factor_groups, rows_of_factors


def factor_information(
    mean: Any,
    log_variance: Any,
    method: str = "mixture",
    *,
    precision: str = "default",
    weight: Any = None,
    clusters: Any = None,
) -> FactorInformation:
    r"""Estimate the mutual information between the input and each latent factor of an encoder.

    For an encoder :math:`q(z_h|x) = N(\mu_h(x), \sigma_h(x)^2)` and samples :math:`x_1..x_M`, estimate
    :math:`I(X; Z_h) = \frac{1}{M} \sum_m KL(q(z_h|x_m) \| q(z_h))` with the aggregated posterior
    :math:`q(z_h) = \frac{1}{M} \sum_m q(z_h|x_m)`.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances (``log(sigma**2)``, natural logarithm) of M samples and H factors, in any
        floating type, on any device. All arithmetic is in float64.
    method : {"mixture", "dense", "gaussian"}
        ``"mixture"`` integrates the aggregated posterior, a mixture of M Gaussians, with no assumption on its shape; it
        is an `InformationSketch` of one batch. ``"dense"`` is the same by plain quadrature on a grid: slow, to read and
        to test against. ``"gaussian"`` is the paper's estimator, which replaces the aggregated posterior by
        N(0, sigma*_h^2): an upper bound, exact only where the marginal is that Gaussian.
    precision : {"default", "high"}
        Numerical error of `nats` with ``"mixture"``: below 1e-6 nats, or below 1e-9 nats in two to three times the
        time.
    weight : array or tensor, shape (M,), optional
        Weight of each sample, 0 or more; one by default.
    clusters : array or tensor, shape (M,), optional
        A label for each sample. Samples of one cluster (windows of one recording, frames of one video) may depend on
        each other, clusters may not; the standard errors are then those of a draw of clusters.

    Returns
    -------
    FactorInformation
        Nats and standard error of every factor, on the CPU.

    Raises
    ------
    ValueError
        If the shapes differ or are not (M, H) with M >= 2, if a value is NaN or infinite, if a log-variance is
        beyond +-200 (a standard deviation outside 1e-43..1e43), if weights are negative, if there are fewer than two
        clusters, or if the method or the precision is unknown.
    TypeError
        If the inputs are not real numbers.

    Notes
    -----
    The standard error is SD_m(KL_m) / sqrt(M), since KL_m - I is the influence function of I. It measures how far the
    estimate may be from the information under the distribution that the samples were drawn from. It holds for
    independent samples (else give `clusters`), for M in the hundreds or more, and while the estimate is well below its
    limit log M: near that, M samples are too few to see how the posteriors overlap, and `leave_one_out` is far above
    `nats`. If the samples are the whole population, the estimate is exact and its error zero.

    A standard deviation below 6e-11 of its mean's absolute value is raised to that, since float64 cannot resolve finer
    means; so a collapsed sigma gives at most log M, the entropy of the sample, not infinity.

    References
    ----------
    Liu et al., Discovering Influential Factors in Variational Autoencoders, Pattern Recognition 100 (2020) 107166.

    Examples
    --------
    >>> import torch
    >>> from vaemi import factor_information
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = factor_information(mean, log_variance)
    >>> [round(nats, 2) for nats in found.nats.tolist()]
    [1.26, 0.0]
    """
    checked_choice("method", method, ("mixture", "dense", "gaussian"))
    lattice = LATTICES[checked_choice("precision", precision, LATTICES)]
    mean, log_variance = checked_posterior(mean, log_variance)
    weight, labels = checked_weight(weight, mean), checked_clusters(clusters, mean)
    if method == "gaussian":
        parts: Iterator[tuple[Tensor, ...]] = _gaussian_parts(mean, log_variance, weight, labels)
    elif method == "dense":
        columns = zip(mean.double().T, log_variance.double().T, strict=True)
        parts = (dense_information(*column, weight, labels) for column in columns)
    else:
        parts = _mixture_parts(mean, log_variance, weight, labels, lattice)
    nats, stderr, sigma_star, *leave_one_out = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return FactorInformation(
        nats=nats,
        stderr=stderr,
        marginal_std=sigma_star,
        n_samples=len(mean),
        method=method,
        leave_one_out=leave_one_out[0] if leave_one_out else None,
    )


def _gaussian_parts(
    mean: Tensor, log_variance: Tensor, weight: Tensor | None, labels: Tensor | None
) -> Iterator[tuple[Tensor, ...]]:
    for first, last in factor_groups([len(mean)] * mean.shape[1], mean.device):
        means, log_variances = (rows_of_factors(part[:, first:last]).T for part in (mean, log_variance))
        yield gaussian_information(means, log_variances, weight, labels)


def _mixture_parts(
    mean: Tensor, log_variance: Tensor, weight: Tensor | None, labels: Tensor | None, lattice: Lattice
) -> Iterator[tuple[Tensor, ...]]:
    for first, found in evaluations(Samples.of(mean, log_variance, weight), lattice):
        stderr = found.stderr
        if labels is not None:
            stderr = standard_error(found.divergence_of(first, mean, log_variance, lattice), weight, labels)
        yield found.nats, stderr, found.marginal_std, found.leave_one_out
