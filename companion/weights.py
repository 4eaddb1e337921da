"""Trained weights that can be passed on: one small safetensors file a training, in half precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from companion.errors import RunError
from vaemi._files import written_whole

if TYPE_CHECKING:
    from vaemi.models import VAE
    from vaemi.training import Training

_FORMAT = "vaemi.weights/1"


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes
    ----------
    path : Path
        The file.
    state_dict : dict of str to Tensor
        The model's, float32.
    history : dict of str to Tensor
        Columns of the training's history.
    about : dict
        How the training came about, as JSON holds it; `hyperparameters` are the model's.
    """

    path: Path
    state_dict: dict[str, Tensor]
    history: dict[str, Tensor]
    about: dict[str, Any]

    def put_into(self, model: nn.Module) -> None:
        """Give a model these weights.

        Raises
        ------
        RunError
            If they are of another model, or not finite.
        """
        theirs = {name: value.shape for name, value in self.state_dict.items()}
        whole = all(value.isfinite().all() for value in self.state_dict.values())
        if not whole or theirs != {name: value.shape for name, value in model.state_dict().items()}:
            raise RunError(f"{self.path} holds weights of another model: fetch it again, or train anew.")
        model.load_state_dict(self.state_dict)


def rounded(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a file has them, float32: matrices and kernels rounded to half precision, the rest as it is."""
    return {name: value.float() for name, value in _as_kept(state_dict).items()}


def _as_kept(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half() if value.ndim > 1 else value.float() for name, value in state_dict.items()}


def save(path: Path, model: nn.Module, history: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    model : Module
        Its matrices and kernels lose all but 11 binary digits; biases and scalars, of which there are few, keep all.
    history, about
        As in `Weights`.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        If a weight is too large for half precision (above 65,504).
    """
    import safetensors.torch

    tensors = {f"model.{name}": value.cpu().contiguous() for name, value in _as_kept(model.state_dict()).items()}
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} does not fit into half precision: it is not finite there.")
    tensors |= {f"history.{name}": value.cpu().contiguous() for name, value in history.items()}
    content = safetensors.torch.save(tensors, {"format": _FORMAT, "about": json.dumps(dict(about), sort_keys=True)})
    with written_whole(path) as scratch:
        scratch.write_bytes(content)


def load(path: Path) -> Weights:
    """Read a file that `save` wrote.

    Raises
    ------
    RunError
        If it cannot be read or is another file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise RunError(f"{path} holds no weights of this version: fetch it again, or train anew.")
            about = json.loads(metadata["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RunError(f"{path} cannot be read ({reason}): fetch it again, or train anew.") from None
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "history": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value.float() if part == "model" else value
    return Weights(path, parts["model"], parts["history"], about)


def likeness(samples: Tensor) -> dict[str, Any]:
    """What tells data apart, and is the same for the same data drawn on another machine to within rounding.

    Parameters
    ----------
    samples : Tensor, shape (N, ...)

    Returns
    -------
    dict
        `shape`, and `mean` and `std` of the first thousand samples, in units of theirs.
    """
    first = samples[:1000].float()
    return {"shape": list(samples.shape), "mean": float(first.mean()), "std": float(first.std(correction=0))}


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two descriptions by `likeness` can be of the same data."""
    scale = max(abs(one["mean"]), one["std"])
    same = all(abs(one[name] - other[name]) <= 1e-3 * scale for name in ("mean", "std"))
    return list(one["shape"]) == list(other["shape"]) and same


def train_or_load(
    model: VAE,
    samples: Tensor,
    held_out: Tensor,
    *,
    checkpoints: Path,
    fresh: bool = False,
    weights: Path | str | None = None,
    trained_only: bool = False,
    label: str = "",
    **settings: Any,
) -> Training:
    """Train a model, or take its weights from a folder of weights that are committed.

    Parameters
    ----------
    model, samples, held_out, **settings
        See `vaemi.training.train`.
    checkpoints : Path
        Folder of the training's checkpoints.
    fresh : bool
        Train anew.
    weights : path, optional
        Folder of committed weights: those of a training with these settings are taken from it; otherwise the trained
        ones, rounded to half precision, are put there.
    trained_only : bool
        Raise an error where there are no such weights, instead of training.
    label : str
        Begins the name of the weights' file.
    """
    from vaemi.training import train

    return train(
        model,
        samples,
        held_out,
        checkpoints=checkpoints,
        fresh=fresh,
        weights=weights,
        trained_only=trained_only,
        label=label,
        **settings,
    )
