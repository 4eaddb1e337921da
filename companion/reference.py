"""The models of the reference run, ready to use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from companion import runs
from companion import weights as trained_weights
from companion.claims import REFERENCE
from companion.errors import RunError
from vaemi import models
from vaemi.information import FactorInformation


@dataclass(frozen=True)
class Reference:
    """A model of the reference run and what was measured on it.

    Attributes
    ----------
    model : VAE
        In eval mode, on the CPU.
    information : FactorInformation
        Of its factors, on the samples that the run held out.
    result : dict
        All that the run left: data, values, claims, manifest.
    """

    model: models.VAE
    information: FactorInformation
    result: dict[str, Any]


def load_reference(experiment: str, root: Path | str | None = None) -> Reference:
    """A trained model of the reference run with the information of its factors.

    Parameters
    ----------
    experiment : {"mnist", "celeba", "deap"}
        On MNIST, on faces or on EEG; `result["data"]` says whether on a stand-in.
    root : path, optional
        A clone of the project; found from the working folder upwards if left out.

    Returns
    -------
    Reference

    Raises
    ------
    RunError
        If the reference run has no model of this name, or a file is damaged or missing.
    RunError
        If there is no clone.

    Examples
    --------
    >>> reference = companion.reference.load_reference("mnist")  # doctest: +SKIP
    >>> picture = reference.model.decode(torch.zeros(1, 128))  # doctest: +SKIP
    """
    folder = (Path(root) if root is not None else runs.project_root()) / "results" / REFERENCE
    path = folder / f"{experiment}.json"
    try:
        result = json.loads(path.read_text())
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
        raise RunError(f"{path} says nothing of {error}: no model was kept of this experiment.") from None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}): fetch it again.") from None
    held = trained_weights.load(folder / "weights" / file)
    model = models.build(held.about["hyperparameters"])
    held.put_into(model)
    return Reference(model.eval(), information, result)
