"""Render an audit as one HTML page that needs no other file: figure, table, remarks and provenance."""

from __future__ import annotations

import html
import io
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vaemi._files import atomic_write
from vaemi._version import __version__
from vaemi.auditing.result import place_name
from vaemi.criteria import CRITERIA
from vaemi.errors import import_extra

if TYPE_CHECKING:
    from vaemi.auditing.result import Audit

# `Audit.to_frame` and the command's table have all rows.
_MOST_ROWS = 200
_MOST_LISTED = 12
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0; } figure svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { figure svg { filter: brightness(1.12); } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #70767c; }
table.text td:not(:nth-child(3)), table.text th:not(:nth-child(3)) { text-align: left; }
dt { font-weight: bold; } dd { overflow-wrap: anywhere; }
.remarks { border-left: .3rem solid #d9661f; padding-left: 1rem; }
"""


def write(audit: Audit, path: Path | str, about: Mapping[str, str] | None = None) -> Path:
    """Write the page of an audit as an HTML file, and return its path; an existing file is replaced.

    Parameters
    ----------
    audit : Audit
    path : path
    about : mapping, optional
        More entries for the provenance, such as the names of files.

    Examples
    --------
    >>> import tempfile, torch, vaemi
    >>> from vaemi.auditing import report
    >>> x = torch.linspace(-2, 2, 200)[:, None]
    >>> audit = vaemi.audit(lambda x: (2 * x, torch.zeros(len(x), 1)), x, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report.write(audit, f"{folder}/report.html").read_text("utf-8")
    >>> "<svg" in page
    True
    """
    path = Path(path)
    with atomic_write(path) as scratch:
        scratch.write_text(_page(audit, about or {}), encoding="utf-8")
    return path


def _page(audit: Audit, about: Mapping[str, str]) -> str:
    title = html.escape(f"Audit of {audit.source}")
    remarks = "".join(f"<li>{html.escape(remark)}</li>\n" for remark in audit.remarks)
    warned = (
        f'<section class="remarks" aria-labelledby="remarks"><h2 id="remarks">Read this first</h2>\n'
        f"<p>Something may have made the numbers wrong.</p>\n<ul>\n{remarks}</ul></section>"
        if remarks
        else "<p>None of the known mistakes was noticed.</p>"
    )
    effect = "" if audit.effects is None else " Effects on the output are shares of that of all factors together."
    frame = audit.to_frame().rename(columns=lambda name: name.replace("_", " "))
    shown = f", the first {_MOST_ROWS} of {len(frame)}" if len(frame) > _MOST_ROWS else ""
    table = frame.head(_MOST_ROWS).to_html(index=False, border=0, float_format="{:.3f}".format)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p><strong>{html.escape(audit.summary)}</strong></p>
{warned}
{_notes(audit)}
<h2>Spectrum</h2>
{_figure(audit)}
<h2>Criteria</h2>
{_criteria(audit)}
{_redundancy(audit)}
<h2>{"Channels" if audit.is_spatial else "Factors"}</h2>
<p>Information in nats, the most informative first{shown}.{effect}</p>
<div class="scroll" role="region" aria-label="Table" tabindex="0">{table}</div>
<h2>Where the numbers come from</h2>
{_provenance(audit, about)}
</main>
</body>
</html>
"""


def _notes(audit: Audit) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>\n" for note in audit.notes)
    return f"<h2>What else to know</h2>\n<ul>\n{items}</ul>" if items else ""


def _criteria(audit: Audit) -> str:
    """Return the number of factors that each criterion counts as used, and those that it judges otherwise."""
    found = audit.criteria
    others = found.disagreements()
    rows = []
    for name, count in found.n_used.items():
        criterion = CRITERIA[name]
        differing = others.get(name, torch.empty(0)).tolist()
        names = [place_name(h, audit.latent_shape) for h in differing[:_MOST_LISTED]]
        listed = "; ".join(names) or ("none" if name in others else "")
        more = f" and {len(differing) - _MOST_LISTED} more" if len(differing) > _MOST_LISTED else ""
        cells = [criterion.title, criterion.used_if(found.thresholds[name]), str(count), listed + more]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return (
        "<p>How many factors count as used by each of the criteria that people use, at the line of its source. Where "
        "latents are spatial, a factor is a channel at a place.</p>\n"
        '<div class="scroll" role="region" aria-label="Criteria" tabindex="0"><table class="text">\n'
        "<thead><tr><th>criterion</th><th>used if</th><th>used</th><th>judged otherwise than by the information</th>"
        f"</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _redundancy(audit: Audit) -> str:
    """Return how much the influential factors repeat each other, with the pairs that share most."""
    found = audit.redundancy
    if found is None:
        return ""
    low, high = found.counted_twice
    frame = found.to_frame().head(_MOST_LISTED)
    rows = [
        f"<tr><td>{place_name(row.factor, audit.latent_shape)}</td><td>{place_name(row.other, audit.latent_shape)}</td>"
        f"<td>{row.nats:.3f}</td><td>{row.stderr:.3f}</td><td>{row.lower:.3f}</td><td>{row.upper:.3f}</td>"
        f"<td>{100 * row.share:.0f} %</td></tr>"
        for row in frame.itertuples()
    ]
    return (
        "<h2>Redundancy</h2>\n"
        f"<p>Of the {found.nats.trace():.2f} nats that the {len(found)} most informative factors carry in sum, between "
        f"{low:.2f} and {high:.2f} are counted more than once, from {found.n_samples:,} inputs. The pairs that share "
        "most, with the share that the first repeats of the second:</p>\n"
        '<div class="scroll" role="region" aria-label="Redundancy" tabindex="0"><table>\n'
        "<thead><tr><th>factor</th><th>other</th><th>nats</th><th>stderr</th><th>lower</th><th>upper</th><th>share</th>"
        f"</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _figure(audit: Audit) -> str:
    """Draw a map per channel of spatial latents, otherwise the spectrum above sigma*."""
    matplotlib = import_extra("matplotlib", "audit")
    from matplotlib.figure import Figure

    from vaemi.auditing import figures

    with matplotlib.rc_context(figures.STYLE):  # the caller's figures keep their style
        figure = Figure(figsize=(figures.WIDTH, 3.4), layout="constrained")
        if audit.is_spatial and len(audit.latent_shape) <= 3:
            figures.draw_information_maps(figure, audit.maps)
            what = "Heat maps of the information of each channel at every place"
        else:
            figures.draw_spectrum_and_deviations(figure, audit.information, audit.threshold)
            what = "Stems show the information of every factor, ranked, with 95 % error bars; dots below its sigma*"
        stored = io.StringIO()
        figure.savefig(stored, format="svg", metadata={"Date": None})
    best = float(audit.information.nats.max())
    alt = html.escape(f"{what}. {audit.summary} The most informative factor carries {best:.2f} nats.")
    # An XML declaration has no place inside HTML.
    svg = stored.getvalue().partition("<svg ")[2]
    return f'<figure>\n<svg role="img" aria-label="{alt}" {svg}\n<figcaption>{what}.</figcaption>\n</figure>'


def _provenance(audit: Audit, about: Mapping[str, str]) -> str:
    entries = {
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
    body = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in entries.items())
    return f"<dl>\n{body}\n</dl>"
