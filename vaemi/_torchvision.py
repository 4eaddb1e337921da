"""Let torchvision be imported next to a torch build that it was not compiled for.

torchvision's wheels for Linux are compiled against the CUDA build of torch. Next to a CPU build its compiled part does
not load, and `import torchvision` fails with "operator torchvision::nms does not exist". So do torchmetrics and
Lightning, which import torchvision if it is installed. They need only its Python part, which can be imported once the
two operators that it mentions are declared.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# This reference keeps the declarations: a torch.library.Library withdraws them when it is collected.
_library: torch.library.Library | None = None


def declare_missing_operators() -> bool:
    """Declare torchvision's operators if its compiled part does not load.

    Returns
    -------
    bool
        True if operators were declared; False without torchvision, with a matching build, and in a second call.
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
