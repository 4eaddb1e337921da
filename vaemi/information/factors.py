"""The front door: checked posterior means and log-variances in, FactorInformation out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .gaussian import gaussian_information, marginal_std
from .mixture import mixture_information
from .result import FactorInformation

# exp(log_variance) and mean**2 stay far inside float64 below these.
_LOG_VARIANCE_LIMIT = 200.0
_MEAN_LIMIT = 1e100

_METHODS = {"mixture": mixture_information, "gaussian": gaussian_information}


def factor_information(mean: Any, log_variance: Any, method: str = "mixture") -> FactorInformation:
    r"""Mutual information between the input and each latent factor of an encoder.

    For an encoder :math:`q(z_h|x) = N(\mu_h(x), \sigma_h(x)^2)` and samples :math:`x_1..x_M`, estimate
    :math:`I(X; Z_h) = \frac{1}{M} \sum_m KL(q(z_h|x_m) \| q(z_h))` with the aggregated posterior
    :math:`q(z_h) = \frac{1}{M} \sum_m q(z_h|x_m)`.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances (``log(sigma**2)``, natural logarithm) of M samples and H factors, in any
        floating type, on any device. All arithmetic is in float64.
    method : {"mixture", "gaussian"}
        ``"mixture"`` integrates the aggregated posterior, a mixture of M Gaussians, by quadrature: no assumption on
        its shape, numerical error below 1e-9 nats. ``"gaussian"`` is the paper's estimator, which takes it for
        N(0, sigma*_h^2): an upper bound, exact only where the marginal is that Gaussian.

    Returns
    -------
    FactorInformation
        Nats and standard error of every factor, on the CPU.

    Raises
    ------
    ValueError
        If the shapes differ or are not (M, H) with M >= 2, if a value is NaN or infinite, if a log-variance is
        beyond +-200 (a standard deviation outside 1e-43..1e43), or if the method is unknown.
    TypeError
        If the inputs are not real numbers.

    Notes
    -----
    With M samples no estimate can exceed log M. Standard deviations under 1e-10 of a factor's range are raised to
    that before integrating, since finer means cannot be told apart in float64; so a collapsed sigma gives at most
    log M, the entropy of the sample, not infinity.

    References
    ----------
    Liu et al., Discovering Influential Factors in Variational Autoencoders, Pattern Recognition 100 (2020) 107166.
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}: choose one of {', '.join(map(repr, _METHODS))}.")
    mean, log_variance = _checked_posterior(mean, log_variance)
    nats, stderr = _METHODS[method](mean, log_variance)
    return FactorInformation(
        nats=nats.cpu(),
        stderr=stderr.cpu(),
        marginal_std=marginal_std(mean, log_variance).cpu(),
        n_samples=len(mean),
        method=method,
    )


def _checked_posterior(mean: Any, log_variance: Any) -> tuple[Tensor, Tensor]:
    """Both inputs as finite float64 (M, H) tensors on one device."""
    mean, log_variance = _as_float64("mean", mean), _as_float64("log_variance", log_variance)
    if mean.shape != log_variance.shape:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} and log_variance {tuple(log_variance.shape)}: both must be (M, H), "
            "samples by factors."
        )
    if mean.ndim != 2 or mean.shape[1] == 0:
        raise ValueError(
            f"mean and log_variance have shape {tuple(mean.shape)}: give (M, H), M samples by H >= 1 factors."
        )
    if len(mean) < 2:
        raise ValueError(
            f"mean and log_variance hold {len(mean)} sample(s): information about the input needs two or more, and "
            "thousands for a good estimate."
        )
    _refuse("mean", mean, ~mean.isfinite(), "every value must be a finite number; check the encoder's output")
    _refuse(
        "log_variance",
        log_variance,
        ~log_variance.isfinite(),
        "every value must be finite; clamp the standard deviation from below before its logarithm is taken",
    )
    _refuse("mean", mean, mean.abs() > _MEAN_LIMIT, f"beyond +-{_MEAN_LIMIT:g} its square leaves float64")
    _refuse(
        "log_variance",
        log_variance,
        log_variance.abs() > _LOG_VARIANCE_LIMIT,
        f"beyond +-{_LOG_VARIANCE_LIMIT:g} it is no log-variance of a trained encoder; pass log(sigma**2), not "
        "sigma**2",
    )
    return mean, log_variance.to(mean.device)


def _as_float64(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is no array of numbers: {error}") from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} holds {tensor.dtype}: give real numbers.")
    if tensor.device.type == "mps":  # has no float64
        tensor = tensor.cpu()
    return tensor.detach().to(torch.float64)


def _refuse(name: str, values: Tensor, bad: Tensor, why: str) -> None:
    if bad.any():
        sample, factor = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name} holds {values[sample, factor].item():g} at sample {sample}, factor {factor} "
            f"({int(bad.sum())} such value(s)): {why}."
        )
