"""Render an audit as one HTML page that needs no other file: figure, table, remarks and provenance."""

from __future__ import annotations

import html
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vaemi._files import atomic_write
from vaemi._version import __version__
from vaemi.errors import import_extra

if TYPE_CHECKING:
    from vaemi.auditing.result import Audit

# `Audit.to_frame` and the command's table have all rows.
_MOST_ROWS = 200
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0; } figure svg { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #7d8389; }
td:only-of-type { text-align: left; overflow-wrap: anywhere; }
caption { text-align: left; padding-bottom: .5rem; }
.remarks { border-left: .3rem solid #d9661f; padding-left: 1rem; }
"""


def write(audit: Audit, path: Path | str, about: Mapping[str, str] | None = None) -> Path:
    """Write the page of an audit as an HTML file.

    Parameters
    ----------
    audit : Audit
    path : path
        The HTML file; an existing one is replaced.
    about : mapping, optional
        More rows for the table of provenance, such as the names of files.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    OSError
        If the file cannot be written; an existing one is then unchanged.
    """
    path = Path(path)
    with atomic_write(path) as scratch:
        scratch.write_text(page(audit, about), encoding="utf-8")
    return path


def page(audit: Audit, about: Mapping[str, str] | None = None) -> str:
    """Return the page of an audit as text, see `write`."""
    title = f"Audit of {audit.source}"
    remarks = "".join(f"<li>{html.escape(remark)}</li>\n" for remark in audit.remarks)
    warned = (
        f'<section class="remarks" aria-labelledby="remarks"><h2 id="remarks">Read this first</h2>\n'
        f"<p>Something may have made the numbers wrong.</p>\n<ul>\n{remarks}</ul></section>"
        if remarks
        else "<p>None of the known mistakes was noticed.</p>"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<p><strong>{html.escape(audit.summary)}</strong></p>
{warned}
<h2>Spectrum</h2>
{_drawn(audit)}
<h2>{"Channels" if audit.is_spatial else "Factors"}</h2>
{_table(audit)}
<h2>Where the numbers come from</h2>
{_provenance(audit, about or {})}
</main>
</body>
</html>
"""


def _drawn(audit: Audit) -> str:
    """Return the figure: a map per channel of spatial latents, otherwise the spectrum above sigma*."""
    plt = import_extra("matplotlib.pyplot", "audit")
    from vaemi.auditing import figures

    backend = plt.get_backend()
    with plt.rc_context():  # the caller's figures keep their style
        plt.switch_backend("agg")
        figures.use_style()
        if audit.is_spatial and len(audit.latent_shape) <= 3:
            drawn = figures.information_maps(audit.maps)
            what = "Heat maps of the information of each channel at every place"
        else:
            drawn = figures.spectrum_and_deviations(audit.information, audit.threshold)
            what = "Stems show the information of every factor, ranked, with 95 % error bars; dots below its sigma*"
        svg = figures.as_svg(drawn)
        plt.close(drawn)
    plt.switch_backend(backend)
    best = float(audit.information.nats.max())
    alt = html.escape(f"{what}. {audit.summary} The most informative factor carries {best:.2f} nats.")
    # An XML declaration has no place inside HTML.
    svg = svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
    return f"<figure>\n{svg}\n<figcaption>{what}.</figcaption>\n</figure>"


def _table(audit: Audit) -> str:
    frame = audit.to_frame()
    cells = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in frame.head(_MOST_ROWS).astype(object).itertuples(index=False)
    ]
    head = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in frame.columns)
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in cells
    )
    of = f" (the first {_MOST_ROWS} of {len(frame)})" if len(frame) > _MOST_ROWS else ""
    return (
        f'<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>\n<caption>Information in nats, the '
        f"most informative first{of}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        "</table></div>"
    )


def _provenance(audit: Audit, about: Mapping[str, str]) -> str:
    rows = {
        "encoder": audit.source,
        **about,
        "inputs": f"{audit.information.n_samples:,} in {audit.n_batches:,} batches",
        "second output read as": audit.scale,
        "threshold": f"{audit.threshold:g} nats",
        "latents of one input": " x ".join(map(str, audit.latent_shape)),
        "estimator": f"{audit.information.method}, vaemi {__version__}",
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC in {audit.seconds:.1f} s on {audit.device}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table>\n<tbody>\n{body}\n</tbody>\n</table>"
