"""Let torchvision be imported next to a torch build that it was not compiled for.

torchvision's wheels for Linux are compiled against the CUDA build of torch. Next to a CPU build its compiled part does
not load, and `import torchvision` fails with "operator torchvision::nms does not exist". torchmetrics and Lightning
import torchvision if it is installed, and fail as well. They need only its Python part, which can be imported once the
two operators that it mentions are declared.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

import torch

# This reference keeps the declarations: a torch.library.Library withdraws them when it is collected.
_library: torch.library.Library | None = None


def declare_missing_operators() -> None:
    """Declare torchvision's operators if torchvision is installed and its compiled part does not load."""
    global _library
    spec = importlib.util.find_spec("torchvision")
    if _library is not None or spec is None or spec.origin is None:
        return
    for compiled in Path(spec.origin).parent.glob("_C*"):
        with suppress(OSError, RuntimeError):
            torch.ops.load_library(str(compiled))
    if not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
