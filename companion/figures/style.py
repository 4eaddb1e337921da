"""The style of all figures, and how they are stored."""

from __future__ import annotations

import base64
import io
import re

from IPython import get_ipython
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

from vaemi.auditing.figures import STYLE

# JPEG quality at which no difference is visible at the size of a figure.
_QUALITY = 90


def use_style() -> None:
    """Set the style of all figures that follow, and the format in which a notebook stores them."""
    plt.rcParams.update(STYLE)
    set_matplotlib_formats("svg", metadata={"Date": None})
    if (shell := get_ipython()) is not None:
        shell.display_formatter.formatters["image/svg+xml"].for_type(Figure, as_svg)


def as_svg(figure: Figure) -> str:
    """Return the figure as an SVG whose pictures take few bytes; the same figure gives the same text.

    Matplotlib stores every picture as a PNG with an opacity per pixel. For photographs that takes four times the bytes
    of a JPEG that looks the same.
    """
    stored = io.StringIO()
    figure.savefig(stored, format="svg", bbox_inches="tight", metadata={"Date": None})
    return re.sub(r"data:image/png;base64,([\w+/=\s]+)", lambda found: _lighter(found[1]), stored.getvalue())


def _lighter(png: str) -> str:
    """Return a data URL for a PNG in base64: the smaller of a PNG, in one channel if it is grey, and a JPEG."""
    stored = Image.open(io.BytesIO(base64.b64decode(png)))
    if stored.mode == "RGBA" and min(stored.getchannel("A").tobytes()) < 255:
        return f"data:image/png;base64,{png}"
    picture = stored.convert("RGB")
    red, green, blue = picture.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        picture = red
    encoded = []
    for kind, settings in (("png", {}), ("jpeg", {"quality": _QUALITY, "subsampling": 0})):
        content = io.BytesIO()
        picture.save(content, kind, optimize=True, **settings)
        encoded.append(f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}")
    return min(encoded, key=len)
