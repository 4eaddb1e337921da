"""Committed weights: a small file per training, found by its settings and taken instead of training again."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from companion.errors import RunError
from vaemi._checkpoints import fingerprint
from vaemi._files import atomic_write

if TYPE_CHECKING:
    from vaemi.models import VAE
    from vaemi.training import Training

__all__ = ["Weights", "load", "save", "train_or_load"]

_FORMAT = "vaemi.weights/1"


@dataclass(frozen=True)
class Weights:
    """Content of a weights file.

    Attributes
    ----------
    path : Path
    state_dict : dict of str to Tensor
        Weights of the model, float32.
    history : dict of str to Tensor
        Columns of the training's history.
    about : dict
        JSON values: the model's `hyperparameters`, the `settings` of the training, a summary of its `samples`, and
        `seconds`, `precision` and `device`.
    """

    path: Path
    state_dict: dict[str, Tensor]
    history: dict[str, Tensor]
    about: dict[str, Any]

    def put_into(self, model: nn.Module) -> None:
        """Load the weights into a model.

        Raises
        ------
        RunError
            If they belong to another model or are not finite.
        """
        shapes = {name: value.shape for name, value in self.state_dict.items()}
        finite = all(value.isfinite().all() for value in self.state_dict.values())
        if not finite or shapes != {name: value.shape for name, value in model.state_dict().items()}:
            raise RunError(f"{self.path} holds weights of another model: fetch it again, or train again.")
        model.load_state_dict(self.state_dict)


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
    """Train a model, or load the weights that a training with the same settings has left in a folder.

    Parameters
    ----------
    model, samples, held_out, **settings
        See `vaemi.training.train`.
    checkpoints : Path
        Folder of the training's checkpoints.
    fresh : bool
        Train anew.
    weights : path, optional
        Folder of committed weights. Weights of a training with these settings and similar samples are loaded from it;
        otherwise the trained ones are saved there. Both are rounded to half precision.
    trained_only : bool
        Raise an error instead of training.
    label : str
        Prefix of the file's name; distinguishes trainings that differ in their samples only.

    Returns
    -------
    Training

    Raises
    ------
    RunError
        If a file cannot be read or written, or `trained_only` and there is none.
    TrainingError
        See `vaemi.training.train`.
    """
    from vaemi.training import train

    if weights is None:
        return train(model, samples, held_out, checkpoints=checkpoints, fresh=fresh, **settings)
    identity = _portable_settings(model, label, settings)
    path = Path(weights) / f"{label or identity['model'].lower()}-{fingerprint(identity)}.safetensors"
    summary = _summary(samples)
    if not fresh and path.exists() and _similar((held := load(path)).about["samples"], summary):
        return _as_training(held, model)
    if trained_only:
        raise RunError(
            f"{weights} holds no weights of this training ({label or identity['model']}) on these samples: use the "
            "parameters and data of the training that made them, or train again (vaemi run --profile paper)."
        )
    made = train(model, samples, held_out, checkpoints=checkpoints, fresh=fresh, **settings)
    model.load_state_dict({name: value.float() for name, value in _rounded(model).items()})
    about = {
        "hyperparameters": model.hyperparameters,
        "settings": identity,
        "samples": summary,
        "seconds": made.seconds,
        "precision": made.precision,
        "device": made.device,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, model, made.history.to_columns(), about)
    except (OSError, ValueError) as error:
        raise RunError(f"The weights {path} cannot be saved: {error}") from None
    return dataclasses.replace(made, weights=path)


def load(path: Path) -> Weights:
    """Read a file that `save` wrote; RunError if it cannot be read or is another file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise RunError(f"{path} holds no weights of this version: fetch it again, or train again.")
            about = json.loads(metadata["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RunError(f"{path} cannot be read ({reason}): fetch it again, or train again.") from None
    return Weights(
        path,
        state_dict={name: value.float() for name, value in _with_prefix(tensors, "model.").items()},
        history=_with_prefix(tensors, "history."),
        about=about,
    )


def save(path: Path, model: nn.Module, history: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a weights file.

    Matrices and kernels of the model are rounded to half precision (11 binary digits), biases and scalars are not. A
    weight above 65,504 is a ValueError. See `Weights` for `history` and `about`.
    """
    import safetensors.torch

    tensors = {f"model.{name}": value.cpu().contiguous() for name, value in _rounded(model).items()}
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} does not fit into half precision.")
    tensors |= {f"history.{name}": value.cpu().contiguous() for name, value in history.items()}
    content = safetensors.torch.save(tensors, {"format": _FORMAT, "about": json.dumps(dict(about), sort_keys=True)})
    with atomic_write(path) as scratch:
        scratch.write_bytes(content)


def _portable_settings(model: VAE, label: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that identify a training on any machine.

    Precision is not among them, nor are samples and initial weights, whose last bits differ between machines.
    """
    from vaemi.training import Settings, train

    bound = inspect.signature(train).bind(model, None, None, **arguments)
    bound.apply_defaults()
    chosen = Settings(**{field.name: bound.arguments[field.name] for field in dataclasses.fields(Settings)})
    return chosen.to_dict(model) | {"label": label}


def _as_training(held: Weights, model: VAE) -> Training:
    from vaemi.training import History, Training

    held.put_into(model)
    return Training(
        model=model.to("cpu").eval(),
        history=History.from_columns(held.history),
        steps=held.about["settings"]["steps"],
        seconds=held.about["seconds"],
        precision=held.about["precision"],
        device=held.about["device"],
        weights=held.path,
    )


def _rounded(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights with matrices and kernels in half precision and the others in float32."""
    return {name: value.half() if value.ndim > 1 else value.float() for name, value in model.state_dict().items()}


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _summary(samples: Tensor) -> dict[str, Any]:
    """Return the shape of samples, and mean and standard deviation of the first thousand."""
    first = samples[:1000].float()
    return {"shape": list(samples.shape), "mean": float(first.mean()), "std": float(first.std(correction=0))}


def _similar(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two summaries can be of the same data, drawn on machines that round differently."""
    scale = max(abs(one["mean"]), one["std"])
    close = all(abs(one[name] - other[name]) <= 1e-3 * scale for name in ("mean", "std"))
    return one["shape"] == other["shape"] and close
