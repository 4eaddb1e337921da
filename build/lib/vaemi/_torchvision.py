"""Let torchvision be imported beside a torch build that it was not compiled for.

The registry's torchvision for Linux is compiled against the CUDA build of torch. Beside a CPU build its compiled
part does not load, and `import torchvision` stops with «operator torchvision::nms does not exist» - and so do
torchmetrics and Lightning, which import torchvision wherever they find it. The pure-Python part (data sets,
transforms) is all that vaemi and they need here; it imports once the two operators it mentions are declared.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A torch.library.Library withdraws its declarations when it is collected: this reference keeps them.
_library: torch.library.Library | None = None


def declare_missing_operators() -> bool:
    """Declare torchvision's operators if its compiled part cannot.

    Returns
    -------
    bool
        True if operators were declared, False if nothing had to be (no torchvision, a matching build, or a
        second call).
    """
    global _library
    if _library is not None or _compiled_part_loads():
        return False
    _library = torch.library.Library("torchvision", "DEF")
    for schema in _OPERATORS.values():
        _library.define(schema)
    return True


def _compiled_part_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for compiled in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(compiled))
        except (OSError, RuntimeError):
            return False
    return all(hasattr(torch.ops.torchvision, name) for name in _OPERATORS)
