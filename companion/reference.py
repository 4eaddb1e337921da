"""The models of the reference run, ready to use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from companion import runs, weights
from companion.claims import REFERENCE
from companion.errors import RunError
from vaemi.information import FactorInformation
from vaemi.models import VAE, build

__all__ = ["Reference", "load_reference"]


@dataclass(frozen=True)
class Reference:
    """A model of the reference run and what was measured on it.

    Attributes
    ----------
    model : VAE
        In eval mode, on the CPU.
    information : FactorInformation
        Information of its factors, from the samples that the run held out.
    result : dict
        Result of the run: data, values, claims, manifest.
    """

    model: VAE
    information: FactorInformation
    result: dict[str, Any]


def load_reference(experiment: str, root: Path | str | None = None) -> Reference:
    """Load a trained model of the reference run with the information of its factors.

    Parameters
    ----------
    experiment : {"mnist", "celeba", "deap"}
        `result["data"]["stand_in"]` is True if it was trained on a substitute.
    root : path, optional
        A clone of the project. Default is the one that contains the working folder.

    Returns
    -------
    Reference

    Raises
    ------
    RunError
        If there is no clone, the reference run has no such model, or a file is damaged or missing.

    Examples
    --------
    >>> import torch
    >>> from companion.reference import load_reference
    >>> reference = load_reference("mnist")
    >>> reference.model.decode(torch.zeros(1, 128)).shape
    torch.Size([1, 1, 28, 28])
    """
    folder = (Path(root) if root is not None else runs.project_root()) / "results" / REFERENCE
    path = folder / f"{experiment}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        values, file = result["values"], result["manifest"]["weights"]
        information = FactorInformation(
            nats=torch.tensor(values["information_nats"], dtype=torch.float64),
            stderr=torch.tensor(values["information_stderr_nats"], dtype=torch.float64),
            marginal_std=torch.tensor(values["sigma_star"], dtype=torch.float64),
            n_samples=values["information_samples"],
            method="mixture",
            leave_one_out=torch.tensor(values["information_leave_one_out_nats"], dtype=torch.float64),
        )
    except FileNotFoundError:
        there = sorted(other.stem for other in folder.glob("*.json"))
        raise RunError(
            f"{folder} has no run of {experiment!r}: "
            + (f"choose one of {', '.join(there)}." if there else "make one with `make reference`.")
        ) from None
    except KeyError as error:
        raise RunError(f"{path} has no {error}: no model of this experiment was stored.") from None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}): fetch it again.") from None
    held = weights.load(folder / "weights" / file)
    model = build(held.about["hyperparameters"])
    held.put_into(model)
    return Reference(model.eval(), information, result)
