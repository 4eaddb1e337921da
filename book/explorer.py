"""The factor explorer: the decoder of a run, reduced so that it runs in the reader's browser.

Only the factors that a reader can move are inputs in the browser. The contribution of all others to the first layer is
constant and goes into its bias, one for each start picture.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from templates import ROOT, render
from torch import Tensor, nn

from companion.claims import THRESHOLD
from vaemi.models import VAE, build

_ASSETS = ROOT / "book" / "_explorer"
_TAG = "explorer"
# Shown even if fewer factors are influential.
_FEWEST_SHOWN = 3


class Subject(NamedTuple):
    """What the pictures of an experiment show, and how its page describes them."""

    noun: str
    first: int  # number of the first start picture
    start: int  # index of the picture shown when the page opens
    thumbnails: bool  # whether a start picture is chosen by its thumbnail instead of its number
    licence: str = ""  # sentence for data that are not a stand-in


SUBJECTS = {
    "mnist": Subject("digit", 0, 3, False),
    "celeba": Subject(
        "face",
        1,
        0,
        True,
        "The decoder was trained on CelebA's photographs, which must not be redistributed: do not publish this page.",
    ),
}


class Layer(NamedTuple):
    """One layer of a decoder and its activation: max(x, slope x), then a sigmoid if it has one.

    The weight of a dense layer has shape (outputs, inputs), that of a transposed 4x4 convolution with stride 2
    ("upsample") shape (inputs, outputs, 4, 4). The bias of the first layer has shape (pictures, outputs), all others
    (outputs,).
    """

    kind: str
    weight: Tensor
    bias: Tensor
    slope: float = 1.0
    sigmoid: bool = False


class Kept(NamedTuple):
    """A run's model, and the posterior means (pictures, H) and descriptions of the start pictures."""

    model: VAE
    mean: Tensor
    described: list[str]


def place(name: str, notebook: Any, result: Mapping[str, Any], tensors: Path, target: Path) -> None:
    """Fill the cell of an executed notebook with the tag `explorer`, and write the explorer's files to a folder.

    Parameters
    ----------
    name : str
        Experiment, one of `SUBJECTS`.
    notebook : NotebookNode
    result : mapping
        Result of the run.
    tensors : Path
        File of the run's tensors. If it is missing, the cell names the command that makes it.
    target : Path
        Folder shared by the explorers of several pages.
    """
    cell = next(cell for cell in notebook.cells if _TAG in cell.metadata.get("tags", []))
    if not tensors.exists():
        cell.source = (
            f"*The run behind this page kept no decoder, so its factors cannot be moved here; `vaemi run {name}` keeps "
            "one.*"
        )
        return
    cell.source = text(name, result)
    shutil.copytree(_ASSETS, target, dirs_exist_ok=True)
    (target / f"{name}.js").write_text(script(name, load(tensors), result["values"]), encoding="utf-8")


def text(name: str, result: Mapping[str, Any]) -> str:
    """Return the Markdown of the explorer for the page of an experiment."""
    subject, values = SUBJECTS[name], result["values"]
    return render(
        "explorer.md",
        name=name,
        noun=subject.noun,
        labelled=any(_label(values, h) for h in shown_factors(values["information_nats"])),
        licence=f" {subject.licence}" if subject.licence and not result["data"]["stand_in"] else "",
    )


def load(tensors: Path) -> Kept:
    """Load the tensors that a run kept for the explorer."""
    with safetensors.safe_open(tensors, framework="pt") as file:
        settings = json.loads(file.metadata()["about"])
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is not a mapping
    described = settings.pop("described", [])
    model, mean = build(settings).eval(), kept.pop("mean")
    model.decoder.load_state_dict({name.removeprefix("decoder."): weights for name, weights in kept.items()})
    return Kept(model, mean, described)


def script(name: str, kept: Kept, values: Mapping[str, Any]) -> str:
    """Return the JavaScript that passes the reduced decoder and the facts about its factors to `explorer.js`."""
    subject = SUBJECTS[name]
    nats, sigma = values["information_nats"], torch.tensor(values["sigma_star"])
    factors = shown_factors(nats)
    passed = {
        "noun": subject.noun,
        "thumbnails": subject.thumbnails,
        "names": [str(subject.first + index) for index in range(len(kept.mean))],
        "described": kept.described or [""] * len(kept.mean),
        "start": subject.start,
        "shape": kept.model.hyperparameters["image_shape"],
        "factors": [
            {"index": h, "nats": nats[h], "ignored": nats[h] <= THRESHOLD, "label": _label(values, h)} for h in factors
        ],
        "threshold": THRESHOLD,
        "positions": (kept.mean / sigma)[:, factors].tolist(),
        "layers": [
            layer._asdict() | {"weight": _encoded(layer.weight), "bias": _encoded(layer.bias)}
            for layer in fold(kept.model.decoder, kept.mean, factors, sigma)
        ],
    }
    return f"window.factorExplorer = {json.dumps(passed)};\n"


def shown_factors(nats: Sequence[float]) -> list[int]:
    """Return the influential factors, most informative first, and the least informative one."""
    ranking = sorted(range(len(nats)), key=lambda h: -nats[h])
    influential = sum(value > THRESHOLD for value in nats)
    return list(dict.fromkeys([*ranking[: max(influential, _FEWEST_SHOWN)], ranking[-1]]))


@torch.no_grad()
def fold(decoder: nn.Module, mean: Tensor, factors: Sequence[int], sigma: Tensor) -> list[Layer]:
    """Return the layers of a decoder whose inputs are the given factors only, in units of sigma*.

    Parameters
    ----------
    decoder : nn.Sequential
        Decoder of a `ConvVAE`.
    mean : Tensor, shape (D, H)
        Posterior means of the start pictures; all other factors stay there.
    factors : sequence of int
    sigma : Tensor, shape (H,)
        sigma* of every factor.

    Raises
    ------
    ValueError
        If `explorer.js` does not implement a layer.
    """
    layers: list[Layer] = []
    for module in decoder.children():
        if isinstance(module, nn.Linear):
            layers.append(Layer("dense", module.weight, module.bias))
        elif isinstance(module, nn.ConvTranspose2d) and module.bias is not None:
            layers.append(Layer("upsample", module.weight, module.bias))
        elif isinstance(module, nn.ReLU | nn.LeakyReLU):
            layers[-1] = layers[-1]._replace(slope=float(getattr(module, "negative_slope", 0.0)))
        elif isinstance(module, nn.Sigmoid):
            layers[-1] = layers[-1]._replace(sigmoid=True)
        elif not isinstance(module, nn.Unflatten | nn.Identity):
            raise ValueError(f"The explorer has no layer {type(module).__name__}.")
    first = layers[0]
    constant = mean.clone()
    constant[:, factors] = 0
    layers[0] = first._replace(
        weight=first.weight[:, factors] * sigma[factors], bias=first.bias + constant @ first.weight.T
    )
    return layers


def _label(values: Mapping[str, Any], factor: int) -> dict[str, Any] | None:
    """Return the label that a factor predicts best with its information, if the run has labels."""
    for name, nats in values.get("aligned_labels", {}).get(str(factor), {}).items():
        return {"name": name, "nats": nats}
    return None


def _encoded(weights: Tensor) -> str:
    """Encode weights in half precision, little-endian, in base64; pixels change by about a thousandth."""
    return base64.b64encode(weights.detach().half().numpy().astype("<f2").tobytes()).decode()
