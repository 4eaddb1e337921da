"""The factor explorer of the MNIST page: the decoder of the run, made small enough to run in the reader's browser.

Only the factors that a reader may move are variables in the browser. What all others add to the first layer is the same
whatever the reader does, and goes into its bias, one for each digit to start from.
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

from vaemi.claims import THRESHOLD
from vaemi.models import ConvVAE

_SOURCES = Path(__file__).resolve().parent / "_explorer"
_TAG = "explorer"
_NO_DECODER = (
    "*The run behind this page kept no decoder, so its factors cannot be moved here; `vaemi run mnist` keeps one.*"
)
# A run that learned nothing has no influential factors; a few are shown all the same, and what they are is said.
_FEWEST_SHOWN = 3


class Layer(NamedTuple):
    """One layer of a decoder and its activation, max(x, slope x): slope 0 is a ReLU, 1 is none.

    A dense layer's weight is (outputs, inputs), that of a transposed convolution, 4x4 with stride 2 ("upsample"),
    (inputs, outputs, 4, 4). The bias of the first layer is (digits, outputs), of all others (outputs,).
    """

    kind: str
    weight: Tensor
    bias: Tensor
    slope: float


def place(notebook: Any, result: Mapping[str, Any], tensors: Path, target: Path) -> None:
    """Put the explorer into the executed notebook where a cell has the tag `explorer`, and its files into a folder.

    If the run kept no tensors, a sentence says so: there, or at the end of a notebook without such a cell.
    """
    cells = [cell for cell in notebook.cells if _TAG in cell.metadata.get("tags", [])]
    if not cells:
        cells = [nbformat.v4.new_markdown_cell()]
        notebook.cells += cells
    if not tensors.exists():
        cells[0].source = _NO_DECODER
        return
    cells[0].source = (_SOURCES / "explorer.md").read_text()
    target.mkdir(parents=True)
    for name in ("explorer.js", "explorer.css"):
        shutil.copy(_SOURCES / name, target)
    model, mean = load(tensors)
    (target / "mnist.js").write_text(script(model, mean, result["values"]))


def load(tensors: Path) -> tuple[ConvVAE, Tensor]:
    """The model that a run kept, its decoder as trained, and the posterior means (digits, H) to start from."""
    with safetensors.safe_open(tensors, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        kept = {name: file.get_tensor(name) for name in sorted(file.keys())}
    about.pop("model")
    model = ConvVAE(**about).eval()
    mean = kept.pop("mean")
    model.decoder.load_state_dict({name.removeprefix("decoder."): weights for name, weights in kept.items()})
    return model, mean


def script(model: ConvVAE, mean: Tensor, values: Mapping[str, Any]) -> str:
    """The JavaScript that hands the folded decoder and what is known of its factors to `explorer.js`."""
    nats, sigma = values["information_nats"], torch.tensor(values["sigma_star"])
    factors = shown_factors(nats)
    handed = {
        "shape": model.hyperparameters["image_shape"][1:],
        "factors": [{"index": h, "nats": nats[h], "ignored": nats[h] <= THRESHOLD} for h in factors],
        "threshold": THRESHOLD,
        "positions": (mean / sigma)[:, factors].tolist(),
        "layers": [
            layer._asdict() | {"weight": _encoded(layer.weight), "bias": _encoded(layer.bias)}
            for layer in fold(model.decoder, mean, factors, sigma)
        ],
    }
    return f"window.factorExplorer = {json.dumps(handed)};\n"


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
        Posterior means of the digits to start from; factors that are not given stay there.
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
            layers.append(Layer("dense", module.weight, module.bias, 1.0))
        elif isinstance(module, nn.ConvTranspose2d):
            layers.append(Layer("upsample", module.weight, module.bias, 1.0))
        elif isinstance(module, nn.ReLU | nn.LeakyReLU):
            layers[-1] = layers[-1]._replace(slope=float(getattr(module, "negative_slope", 0.0)))
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
