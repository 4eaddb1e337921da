"""The reader of encoder answers: find the posterior means, and what the second output is, in whatever was returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)

#: What the second output of an encoder can be, and how to turn it into a log-variance.
TO_LOG_VARIANCE: dict[str, Callable[[Tensor], Tensor]] = {
    "log_variance": lambda second: second,
    "variance": torch.log,
    "std": lambda second: 2 * second.log(),
    "log_std": lambda second: 2 * second,
}
SCALES = tuple(TO_LOG_VARIANCE)

MEAN_NAMES = (
    "mean", "mu", "loc", "embedding", "z_mean", "z_mu", "z_loc", "mu_z", "qz_m", "qzm", "latent_mean", "means",
)  # fmt: skip
SECOND_NAMES = {
    "log_variance": (
        "log_variance", "logvar", "log_var", "log_covariance", "logvariance", "z_log_var", "z_logvar", "logvar_z",
        "log_var_z", "log_sigma2", "latent_logvar", "logvars",
    ),
    "variance": ("variance", "var", "qz_v", "qzv", "z_var", "sigma2"),
    "std": ("std", "scale", "sigma", "stddev", "z_std", "z_scale", "z_sigma"),
    "log_std": ("log_std", "logstd", "log_scale", "logscale", "log_sigma", "logsigma", "z_log_std"),
}  # fmt: skip
#: Distributions over classes, or relaxed ones.
DISCRETE = (Bernoulli, Categorical, OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical)
# Draws per factor from which their squared departures from the mean are compared with the variances.
_DRAWS_TO_CHECK = 30
_DISTRIBUTION_NAMES = ("latent_dist", "qz", "q_z", "qz_x", "posterior")


@dataclass(frozen=True)
class Answer:
    """Normal posteriors of one batch, as the encoder returned them.

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
    scale: str = "log_variance"
    named: bool = False
    scale_tril: Tensor | None = None

    @property
    def log_variance(self) -> Tensor:
        """The second output as a log-variance."""
        return TO_LOG_VARIANCE[self.scale](self.second)

    def with_channels_first(self, axis: int) -> Answer:
        """Return the answer with this axis of the tensors moved behind that of the inputs."""
        if not -self.mean.ndim < axis < self.mean.ndim or axis == 0:
            raise ValueError(f"channel_axis is {axis}, and answers have the shape {tuple(self.mean.shape)}.")
        return replace(self, mean=self.mean.movedim(axis, 1), second=self.second.movedim(axis, 1))

    def flat(self) -> tuple[Tensor, Tensor]:
        """Return means and log-variances of shape (B, H); in maps, every channel at every place is a factor."""
        return self.mean.flatten(1), self.log_variance.flatten(1)


def read_answer(output: Any, scale: str | None = None, encoder: str = "The encoder") -> Answer:
    """Find the mean and the second output in anything that an encoder may return.

    Parameters
    ----------
    output : object
        A pair (mean, second) of tensors or arrays, or (mean, second, z) with a draw z; a torch Normal, or an
        Independent of one; a MultivariateNormal or LowRankMultivariateNormal, read by its marginals; a mapping or an
        object in which the parts have usual names (`MEAN_NAMES`, `SECOND_NAMES`) or that holds such a distribution; or
        any of these as the only entry of a tuple or list, or as the first entry before entries of other kinds.
    scale : str, optional
        What the second output is, one of `SCALES`; overrides its name.
    encoder : str
        Name of the encoder, for messages.

    Returns
    -------
    Answer
        Its parts are not checked; see `check_answer`.

    Raises
    ------
    ValueError
        If no posteriors are found, or they are not normal.
    """
    if scale is not None and scale not in SCALES:
        raise ValueError(f"scale is {scale!r}: choose one of {', '.join(map(repr, SCALES))}.")
    output = without_independent(output)
    if isinstance(output, Distribution):
        return _of_distribution(output, scale, encoder)
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return _of_sequence(output, scale, encoder)
    for name in _DISTRIBUTION_NAMES:
        if (distribution := _part(output, name)) is not None:
            return read_answer(distribution, scale, encoder)
    mean = _first_array(output, MEAN_NAMES)
    for kind, names in SECOND_NAMES.items():
        if mean is not None and (second := _first_array(output, names)) is not None:
            return Answer(mean, second, scale or kind, named=scale is None)
    raise _not_understood(output, encoder)


def without_independent(output: Any) -> Any:
    """Return the distribution inside `Independent`; anything else as it is."""
    while isinstance(output, Independent):
        output = output.base_dist
    return output


def check_answer(answer: Answer, where: str, first_row: int = 0) -> None:
    """Raise a ValueError, whose message begins with `where`, unless an answer is well formed, finite and positive."""
    if answer.mean.ndim < 2 or answer.mean.shape != answer.second.shape or 0 in answer.mean.shape:
        raise ValueError(
            f"{where} a mean and a {answer.scale} of shapes {tuple(answer.mean.shape)} and "
            f"{tuple(answer.second.shape)}: both must be (inputs, factors), or (inputs, channels, ...), and not empty."
        )
    if not (answer.mean.is_floating_point() and answer.second.is_floating_point()):
        raise ValueError(
            f"{where} a mean and a {answer.scale} of {answer.mean.dtype} and {answer.second.dtype}: both must be "
            "floating-point numbers."
        )
    for part, values in (("the mean", answer.mean), (f"the {answer.scale}", answer.second)):
        bad = ~values.isfinite()
        if bad.any():
            row = first_row + int(bad.flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"{where} values of {part} that are not finite ({int(bad.sum())} in all), the first for input {row}: "
                "look at that input, or at the weights."
            )
    least = float(answer.second.min())
    if answer.scale in ("variance", "std") and least <= 0:
        raise ValueError(
            f"{where} a {answer.scale} of {least:.3g}, and it must be greater than 0: it is probably a logarithm "
            "(log_variance or log_std), or the encoder is deterministic and carries no finite information."
        )


def described(output: Any) -> str:
    """Return what something is, in words: its type, with the shapes of tensors and the names of entries."""
    if is_array(output):
        return f"a {type(output).__name__} of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(str, output)) or 'no entries'}"
    if isinstance(output, tuple | list):
        if fields := getattr(output, "_fields", ()):
            return f"a {type(output).__name__} with {', '.join(fields)}"
        if not output:
            return f"an empty {type(output).__name__}"
        more = ", ..." if len(output) > 4 else ""
        return f"a {type(output).__name__} of {', '.join(map(described, output[:4]))}{more}"
    names = [name for name in getattr(output, "__dict__", ()) if not name.startswith("_")]
    return f"a {type(output).__name__}" + (f" with {', '.join(names)}" if names else "")


def _of_distribution(posterior: Distribution, scale: str | None, encoder: str) -> Answer:
    if isinstance(posterior, Normal):
        return Answer(posterior.loc, posterior.scale, scale or "std")
    if isinstance(posterior, MultivariateNormal | LowRankMultivariateNormal):
        covariance = posterior.covariance_matrix
        independent = torch.equal(covariance, covariance.diagonal(dim1=-2, dim2=-1).diag_embed())
        scale_tril = None if independent else torch.linalg.cholesky(covariance)
        return Answer(posterior.mean, posterior.stddev, "std", named=True, scale_tril=scale_tril)
    name = type(posterior).__name__
    if isinstance(posterior, DISCRETE):
        raise ValueError(f"{encoder} returns a {name}, whose latents are classes: use vaemi.auditing.audit_codes.")
    raise ValueError(
        f"{encoder} returns a {name}: only normal posteriors can be read. vaemi.information.density_information "
        "measures the latents of any torch distribution with a density."
    )


def _of_sequence(output: Sequence[Any], scale: str | None, encoder: str) -> Answer:
    arrays = [part for part in output if is_array(part)]
    if len(output) == 1 and not arrays:
        return read_answer(output[0], scale, encoder)
    if len(arrays) == len(output) and len(output) in (2, 3):
        answer = Answer(as_tensor(output[0]), as_tensor(output[1]), scale or "log_variance")
        if len(output) == 3 and not _is_draw(as_tensor(output[2]), answer):
            raise ValueError(
                f"{encoder} returns {described(output)}, which is not (mean, {answer.scale}, z) with a draw z from "
                "these posteriors: return the mean and the log-variance only."
            )
        return answer
    if output and not arrays and not any(_holds_arrays(part) for part in output[1:]):
        return read_answer(output[0], scale, encoder)
    raise _not_understood(output, encoder)


def _is_draw(z: Tensor, answer: Answer) -> bool:
    """Return True if z is the mean, or departs from it by about one standard deviation in every factor."""
    if not z.shape == answer.mean.shape == answer.second.shape or z.ndim < 2:
        return False
    if torch.equal(z, answer.mean) or len(z) < _DRAWS_TO_CHECK:
        return True
    departure = (z - answer.mean).double().square() / answer.log_variance.double().exp()
    # A mean of n squares of normal numbers has the standard error sqrt(2 / n).
    return bool(((departure.mean(0) - 1).abs() < 8 * (2 / len(z)) ** 0.5 + 0.1).all())


def _not_understood(output: Any, encoder: str) -> ValueError:
    advice = "pass a function that returns the pair (mean, log_variance) or a torch Normal."
    if is_array(output) and len(output.shape) >= 2 and output.shape[1] % 2 == 0:
        advice = f"if its halves are mean and log-variance, return output.chunk(2, 1); otherwise {advice}"
    return ValueError(f"{encoder} returns {described(output)}, in which no mean and log-variance are found: {advice}")


def _holds_arrays(part: Any) -> bool:
    values = part.values() if isinstance(part, Mapping) else part if isinstance(part, tuple | list) else ()
    return is_array(part) or isinstance(part, Distribution) or any(map(_holds_arrays, values))


def is_array(value: Any) -> bool:
    """Tell whether something is a tensor, or an array of any library."""
    return isinstance(value, Tensor) or (hasattr(value, "__array__") and hasattr(value, "shape"))


def as_tensor(array: Any) -> Tensor:
    """Return a tensor of what `is_array` recognizes."""
    if isinstance(array, Tensor):
        return array
    try:
        # Copied, as torch warns of arrays that are read-only, such as those of JAX.
        return torch.tensor(array.__array__())
    except TypeError:
        raise TypeError(f"An array of {array.dtype} cannot be read: pass real numbers.") from None


def _first_array(output: Any, names: tuple[str, ...]) -> Tensor | None:
    return next((as_tensor(value) for name in names if is_array(value := _part(output, name))), None)


def _part(output: Any, name: str) -> Any:
    if isinstance(output, Mapping):
        return output.get(name)
    # `mean` and `var` of an array are methods.
    return None if is_array(output) else getattr(output, name, None)
