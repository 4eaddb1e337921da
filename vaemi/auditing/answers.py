"""Outputs of an encoder for one batch: find the mean, and what the second output is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaemi.errors import AuditError

#: What the second output of an encoder can be, and how to turn it into a log-variance.
TO_LOG_VARIANCE: dict[str, Callable[[Tensor], Tensor]] = {
    "log_variance": lambda second: second,
    "variance": torch.log,
    "std": lambda second: 2 * second.log(),
    "log_std": lambda second: 2 * second,
}
SCALES = tuple(TO_LOG_VARIANCE)

_MEAN_NAMES = ("mean", "mu", "loc", "embedding", "z_mean", "qz_m", "qzm")
_SECOND_NAMES = {
    "log_variance": ("log_variance", "logvar", "log_var", "log_covariance", "z_log_var"),
    "variance": ("variance", "var", "qz_v", "qzv"),
    "std": ("std", "scale", "sigma", "stddev"),
    "log_std": ("log_std", "log_scale", "log_sigma"),
}


@dataclass(frozen=True)
class Answer:
    """Posteriors of one batch.

    Attributes
    ----------
    mean, second : Tensor, shape (B, H) or (B, channels, ...)
    scale : str
        What `second` is, one of `SCALES`.
    named : bool
        True if the encoder's own name for `second` says what it is. The scale of a torch Normal does not count:
        whatever is passed to a Normal becomes its scale.
    scale_tril : Tensor, shape (B, H, H), optional
        Cholesky factor of the covariance of each posterior, if the factors of one are correlated.
    """

    mean: Tensor
    second: Tensor
    scale: str
    named: bool = False
    scale_tril: Tensor | None = None

    @property
    def log_variance(self) -> Tensor:
        """The second output as a log-variance."""
        return TO_LOG_VARIANCE[self.scale](self.second)


def read_answer(output: Any, scale: str | None, encoder: str) -> Answer:
    """Find the mean and the second output in anything that an encoder may return, or raise an AuditError.

    `scale` is what the second output is according to the user, and overrides what its name says; `encoder` is a name
    for messages.
    """
    if isinstance(output, torch.distributions.Independent):
        output = output.base_dist
    if isinstance(output, torch.distributions.Normal):
        return Answer(output.loc, output.scale, scale or "std")
    if isinstance(output, torch.distributions.Distribution):
        raise AuditError(
            f"{encoder} returns a {type(output).__name__}: only normal posteriors with independent factors can be "
            "audited; return a torch Normal, or an Independent of it."
        )
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        if len(output) == 1:
            return read_answer(output[0], scale, encoder)
        if len(output) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in output):
            return Answer(torch.as_tensor(output[0]), torch.as_tensor(output[1]), scale or "log_variance")
    for name in ("latent_dist", "qz"):
        if (distribution := _part(output, name)) is not None:
            return read_answer(distribution, scale, encoder)
    mean = _first_tensor(output, _MEAN_NAMES)
    for kind, names in _SECOND_NAMES.items():
        if mean is not None and (second := _first_tensor(output, names)) is not None:
            return Answer(mean, second, scale or kind, named=scale is None)
    keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise AuditError(
        f"{encoder} returns a {type(output).__name__}{keys}, in which no mean and log-variance are found: pass a "
        "function that returns the pair (mean, log_variance) or a torch Normal."
    )


def check_answer(answer: Answer, where: str, first_row: int = 0) -> None:
    """Raise an AuditError, whose message begins with `where`, unless an answer is well formed, finite and positive."""
    if answer.mean.ndim < 2 or answer.mean.shape != answer.second.shape or 0 in answer.mean.shape:
        raise AuditError(
            f"{where} a mean and a {answer.scale} of shapes {tuple(answer.mean.shape)} and "
            f"{tuple(answer.second.shape)}: both must be (inputs, factors), or (inputs, channels, ...), and not empty."
        )
    for part, values in (("the mean", answer.mean), (f"the {answer.scale}", answer.second)):
        bad = ~values.isfinite()
        if bad.any():
            row = first_row + int(bad.flatten(1).any(1).nonzero()[0])
            raise AuditError(
                f"{where} {int(bad.sum())} value(s) in {part} that are not finite, the first for input {row}: look at "
                "that input, or at the weights."
            )
    least = float(answer.second.min())
    if answer.scale in ("variance", "std") and least <= 0:
        raise AuditError(
            f"{where} a {answer.scale} of {least:.3g}, and it must be greater than 0: it is probably a logarithm "
            "(log_variance or log_std), or the encoder is deterministic and carries no finite information."
        )


def _first_tensor(output: Any, names: tuple[str, ...]) -> Tensor | None:
    return next((value for name in names if isinstance(value := _part(output, name), Tensor)), None)


def _part(output: Any, name: str) -> Any:
    if isinstance(output, Mapping):
        return output.get(name)
    # `mean` and `var` of a tensor are methods.
    return None if isinstance(output, Tensor) else getattr(output, name, None)
