"""The factor explorer: the decoder of a run, made small enough to run in the reader's browser.

Only the factors that a reader may move are variables in the browser. What all others add to the first layer is the same
whatever the reader does, and goes into its bias, one for each picture to start from.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import safetensors
import torch
from torch import Tensor, nn

from companion.claims import THRESHOLD
from vaemi.models import ConvVAE

_SOURCES = Path(__file__).resolve().parent / "_explorer"
_TAG = "explorer"
_NO_DECODER = (
    "*The run behind this page kept no decoder, so its factors cannot be moved here; `vaemi run {name}` keeps one.*"
)
# A run that learned nothing has no influential factors; a few are shown all the same, and what they are is said.
_FEWEST_SHOWN = 3


class Subject(NamedTuple):
    """What the pictures of an experiment show, and how its page speaks of them."""

    noun: str
    # Number of the first picture to start from, and the picture that is there when the page opens.
    first: int
    start: int
    # Of a picture whose number does not say what it shows, the reader chooses by a small one.
    thumbnails: bool
    # Said where the data are no stand-in.
    licence: str


SUBJECTS = {
    "mnist": Subject("digit", 0, 3, False, ""),
    "celeba": Subject(
        "face",
        1,
        0,
        True,
        "The decoder was learned from CelebA's photographs, which may not be passed on: keep this page to yourself.",
    ),
}


class Layer(NamedTuple):
    """One layer of a decoder and its activation, max(x, slope x), then a sigmoid if it has one.

    A slope of 0 is a ReLU, one of 1 is none. A dense layer's weight is (outputs, inputs), that of a transposed
    convolution, 4x4 with stride 2 ("upsample"), (inputs, outputs, 4, 4). The bias of the first layer is
    (pictures, outputs), of all others (outputs,).
    """

    kind: str
    weight: Tensor
    bias: Tensor
    slope: float = 1.0
    sigmoid: bool = False


class Kept(NamedTuple):
    """What a run kept: the model, its decoder as trained, and the pictures to start from.

    `mean` are their posterior means, (pictures, H); `described` says what each shows, empty if the run did not.
    """

    model: ConvVAE
    mean: Tensor
    described: list[str]


def place(name: str, notebook: Any, result: Mapping[str, Any], tensors: Path, target: Path) -> None:
    """Put the explorer into the executed notebook where a cell has the tag `explorer`, and its files into a folder.

    If the run kept no tensors, a sentence says so: there, or at the end of a notebook without such a cell.

    Parameters
    ----------
    name : str
        Of the experiment, one of `SUBJECTS`.
    notebook : notebook node
    result : mapping
        What the run recorded.
    tensors : Path
        The file of tensors that it kept, which need not exist.
    target : Path
        A folder, which explorers of several pages share.
    """
    cells = [cell for cell in notebook.cells if _TAG in cell.metadata.get("tags", [])]
    if not cells:
        cells = [nbformat.v4.new_markdown_cell()]
        notebook.cells += cells
    if not tensors.exists():
        cells[0].source = _NO_DECODER.format(name=name)
        return
    cells[0].source = text(name, result)
    target.mkdir(parents=True, exist_ok=True)
    for source in ("explorer.js", "explorer.css"):
        shutil.copy(_SOURCES / source, target)
    (target / f"{name}.js").write_text(script(name, load(tensors), result["values"]))


def text(name: str, result: Mapping[str, Any]) -> str:
    """The Markdown that stands in the page of an experiment."""
    subject = SUBJECTS[name]
    labelled = any(_label(result["values"], h) for h in shown_factors(result["values"]["information_nats"]))
    words = {
        "name": name,
        "noun": subject.noun,
        "labels": ", and how much of it is on the label that it tells most of" if labelled else "",
        "licence": f" {subject.licence}" if subject.licence and not result["data"]["stand_in"] else "",
    }
    return (_SOURCES / "explorer.md").read_text() % words


def load(tensors: Path) -> Kept:
    """What a run kept for the explorer."""
    with safetensors.safe_open(tensors, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        kept = {name: file.get_tensor(name) for name in sorted(file.keys())}
    about.pop("model")
    described = about.pop("described", [])
    model = ConvVAE(**about).eval()
    mean = kept.pop("mean")
    model.decoder.load_state_dict({name.removeprefix("decoder."): weights for name, weights in kept.items()})
    return Kept(model, mean, described)


def script(name: str, kept: Kept, values: Mapping[str, Any]) -> str:
    """The JavaScript that hands the folded decoder and what is known of its factors to `explorer.js`."""
    subject = SUBJECTS[name]
    nats, sigma = values["information_nats"], torch.tensor(values["sigma_star"])
    factors = shown_factors(nats)
    handed = {
        "noun": subject.noun,
        "thumbnails": subject.thumbnails,
        "names": [str(subject.first + place) for place in range(len(kept.mean))],
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
    return f"window.factorExplorer = {json.dumps(handed)};\n"


def _label(values: Mapping[str, Any], factor: int) -> dict[str, Any] | None:
    """The label that a factor tells most of, and how many nats of it, where the run knows such labels."""
    for name, nats in values.get("aligned_labels", {}).get(str(factor), {}).items():
        return {"name": name, "nats": nats}
    return None


def shown_factors(nats: Sequence[float]) -> list[int]:
    """The influential factors, most informative first, and the least informative one."""
    ranking = sorted(range(len(nats)), key=lambda h: -nats[h])
    influential = sum(value > THRESHOLD for value in nats)
    return list(dict.fromkeys([*ranking[: max(influential, _FEWEST_SHOWN)], ranking[-1]]))


@torch.no_grad()
def fold(decoder: nn.Module, mean: Tensor, factors: Sequence[int], sigma: Tensor) -> list[Layer]:
    """The layers of a decoder whose inputs are the given factors alone, in units of sigma*.

    Parameters
    ----------
    decoder : nn.Sequential
        That of a `ConvVAE`.
    mean : Tensor, shape (D, H)
        Posterior means of the pictures to start from; factors that are not given stay there.
    factors : sequence of int
    sigma : Tensor, shape (H,)
        sigma* of every factor.

    Raises
    ------
    ValueError
        If a layer is none that `explorer.js` knows.
    """
    layers: list[Layer] = []
    for module in decoder.children():
        if isinstance(module, nn.Linear):
            layers.append(Layer("dense", module.weight, module.bias))
        elif isinstance(module, nn.ConvTranspose2d):
            layers.append(Layer("upsample", module.weight, module.bias))
        elif isinstance(module, nn.ReLU | nn.LeakyReLU):
            layers[-1] = layers[-1]._replace(slope=float(getattr(module, "negative_slope", 0.0)))
        elif isinstance(module, nn.Sigmoid):
            layers[-1] = layers[-1]._replace(sigmoid=True)
        elif not isinstance(module, nn.Unflatten | nn.Identity):
            raise ValueError(f"The explorer knows no layer {type(module).__name__}.")
    first = layers[0]
    others = mean.clone()
    others[:, factors] = 0
    layers[0] = first._replace(
        weight=first.weight[:, factors] * sigma[factors], bias=first.bias + others @ first.weight.T
    )
    return layers


def _encoded(weights: Tensor) -> str:
    """Half precision, little-endian, in base64: a picture's pixels stay within a thousandth or so, in half the size."""
    return base64.b64encode(weights.detach().half().numpy().astype("<f2").tobytes()).decode()
