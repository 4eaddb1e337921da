"""Build the site: stage the pages with the executed notebooks of a profile, run Jupyter Book, check, put it in place.

    python book/build.py --profile quick [--student]

The site replaces _build/html only when it is complete. The build fails on a notebook with an error, a missing number,
a warning of Sphinx, and a fault that checks.py finds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import checks
import exercises
import explorer
import many_runs
import nbformat
import page_tables
import pandas as pd
import runbox
import scale
import yaml
from finish import finish
from templates import ROOT

from companion import claims, figures, runs
from companion.errors import CompanionError
from companion.experiments import pages as page_numbers
from vaemi._files import exclusive_lock

# Figures that another page than their notebook shows, by their name in the cell metadata.
SHARED_FIGURES = {"mnist": ["fig-mnist-spectrum"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Build the site from a profile's results.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="where html/ goes")
    parser.add_argument("--student", action="store_true", help="leave out the solutions of the exercises")
    options = parser.parse_args(arguments)
    try:
        site = build(options.profile, options.results, options.build, options.student)
    except CompanionError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = error.strerror or error
        print(f"book: {error.filename or options.build}: {reason}. The site is unchanged.", file=sys.stderr)
        return 1
    print(f"The site is {site / 'index.html'}.")
    return 0


def build(profile: str, results: Path, target: Path, student: bool = False) -> Path:
    """Build the site of a profile into `target/html` and return that folder.

    Raises
    ------
    CompanionError
        If a run is missing, or the site has a fault.
    """
    target.mkdir(parents=True, exist_ok=True)
    waiting = f"book: another process is building the site in {target}; waiting for it."
    with exclusive_lock(target / ".build.lock", waiting):
        source, work, site = target / "source", target / "work", target / "html"
        for folder in (source, work):
            shutil.rmtree(folder, ignore_errors=True)
        stage(profile, results, source, student)
        done = checks.jupyter_book(source, work, "-W", "-n", "--keep-going")
        made = work / "_build" / "html"
        faults = [f"Jupyter Book failed:\n{done.stderr.strip() or done.stdout[-3000:]}"] if done.returncode else []
        if (made / "index.html").exists():  # also after a warning, to report all faults at once
            finish(made)
            faults += checks.problems(source, made)
        if faults:
            raise CompanionError("\n".join(faults))
        put_in_place(made, site)
    return site


def put_in_place(made: Path, site: Path) -> None:
    """Replace the site by a new folder."""
    replaced = site.with_name(f".{site.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if site.exists():
        site.rename(replaced)  # a folder cannot be renamed onto one that has content
    made.rename(site)
    shutil.rmtree(replaced, ignore_errors=True)


def stage(profile: str, results: Path, source: Path, student: bool = False) -> None:
    """Write everything that Jupyter Book reads to one folder."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    notebooks = [page.removeprefix("notebooks/") for page in pages(ROOT) if page.startswith("notebooks/")]
    generated = source / "book" / "_generated"
    shutil.copytree(ROOT / "book", source / "book", ignore=shutil.ignore_patterns("*.py", "_templates", "__pycache__"))
    shutil.copy(ROOT / "_toc.yml", source)
    for folder in (source / "_static", source / "notebooks", generated):
        folder.mkdir()
    for asset in (*(ROOT / "book" / "_static").glob("*.css"), *(ROOT / "book" / "_static").glob("*.js")):
        shutil.copy(asset, source / "_static")

    numbers: dict[str, Any] = {
        name: _stage_notebook(name, results / profile, source, config["repository"]) for name in notebooks
    }
    numbers |= {
        "many": many_runs.stage(profile, results / profile, generated),
        "profiles": _profiles(),
        "idea": _idea(generated),
        "benchmark": _benchmark(generated),
        "limits": _limits(generated),
        "scale": scale.stage(generated),
    }
    rows, reference = claims.load(profile, results), claims.load_reference(profile, results)
    parts = {
        "claims": page_tables.claims_table(rows, reference, notebooks),
        "claims-rules": page_tables.rules(rows),
        "claims-notes": page_tables.notes([*rows, *reference]),
        "deviations": page_tables.deviations(results / claims.REFERENCE / "sweeps" / f"{many_runs.SEEDS}.csv"),
        # Without its title, as the page has its own.
        "changelog": (ROOT / "CHANGELOG.md").read_text().partition("\n")[2].lstrip(),
    }
    for name, text in parts.items():
        (generated / f"{name}.md").write_text(text)
    numbers["exercises"] = exercises.stage(source, student)  # last: it strips all staged pages
    config["sphinx"]["config"]["myst_substitutions"] = numbers
    (source / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True))
    stage_mathjax(source / "extra" / "_static" / "mathjax")


def pages(root: Path) -> list[str]:
    """Return every page of the table of contents in a folder, in order, without suffixes."""
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *(page["file"] for one in chapters for page in [one, *one.get("sections", [])])]


def figures_of(notebook: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the metadata and the SVG of each figure of an executed notebook."""
    for cell in notebook.cells:
        about = cell.metadata.get("mystnb", {})
        if "figure" in about:
            for output in cell.get("outputs", []):
                if svg := output.get("data", {}).get("image/svg+xml"):
                    yield about, svg


def stage_mathjax(target: Path) -> None:
    """Copy the two parts of MathJax that the pages need from the package that carries all of it (24 MB)."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise CompanionError("The package sphinx-mathjax-offline is not installed: pip install '.[docs]' in the clone.")
    mathjax = Path(spec.origin).parent / "static" / "mathjax"
    fonts = Path("output") / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(mathjax / fonts, target / fonts)
    shutil.copy(mathjax / "tex-chtml.js", target)


def _stage_notebook(name: str, results: Path, source: Path, repository: Mapping[str, str]) -> dict[str, Any]:
    """Stage an executed notebook and what other pages show of it; return the numbers that pages may name."""
    try:
        notebook = nbformat.read(results / f"{name}.ipynb", as_version=4)
        result = json.loads((results / f"{name}.json").read_text())
    except OSError:
        raise CompanionError(
            f"{results} has no run of {name}: run `vaemi run {name} --profile {results.name}` first."
        ) from None
    for index, output in runs.errors_in(notebook):
        raise CompanionError(f"The notebook {name} has a {output.ename} in cell {index}: run it again.")
    if name in explorer.SUBJECTS:
        assets = source / "extra" / "_static" / "explorer"
        explorer.place(name, notebook, result, results / f"{name}.safetensors", assets)
    page_tables.mark_conclusion(notebook, result)
    page_tables.compare_with_reference(notebook, result, _defaults(name), results.parent)
    committed = ROOT / "notebooks" / f"{name}.ipynb"
    runbox.place(notebook, result, committed, source / "downloads", results.parent, repository)
    nbformat.write(notebook, source / "notebooks" / f"{name}.ipynb")
    drawn = {about["figure"].get("name"): svg for about, svg in figures_of(notebook)}
    for figure in SHARED_FIGURES.get(name, []):
        if figure not in drawn:
            raise CompanionError(f"The notebook {name} has no vector graphic named {figure}.")
        (source / "book" / "_generated" / f"{figure}.svg").write_text(drawn[figure])
    return {
        **result["values"],
        **{part: result[part] for part in ("profile", "data", "manifest")},
        "whole_seconds": runs.whole_seconds(result["manifest"]),
        "parameters": _defaults(name) | result["manifest"]["parameters"],
    }


@cache
def _defaults(name: str) -> dict[str, Any]:
    return runs.defaults_of(ROOT / "notebooks" / f"{name}.ipynb")


def _profiles() -> dict[str, Any]:
    """Return the parameters of every notebook at every profile, defaults included."""
    return {
        path.stem: {
            name: _defaults(name) | parameters
            for name, parameters in runs.read_profile(ROOT, path.stem).parameters.items()
        }
        for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")
    }


def _idea(generated: Path) -> dict[str, float]:
    """Draw the figure of book/idea.md and return its numbers."""
    _save(figures.used_and_ignored_factor(), generated / "fig-idea.svg")
    return {"used_nats": page_numbers.used_factor_nats()}


def _limits(generated: Path) -> dict[str, Any]:
    """Draw the figure of book/beyond.md and return its numbers."""
    codes = page_numbers.rotated_codes()
    _save(figures.rotated_code(codes), generated / "fig-beyond-turned.svg")
    shares = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}
    return {
        "turned": page_numbers.rotated_numbers(codes),
        "flag_nats": {name: page_numbers.rare_flag(share) for name, share in shares.items()},
        "smallest_flag_percent": 100 * smallest_share(claims.THRESHOLD),
    }


def smallest_share(nats: float) -> float:
    """Return the share p < 1/2 of a group whose membership has an entropy of so many nats."""
    from scipy.optimize import brentq

    return float(brentq(lambda p: -p * math.log(p) - (1 - p) * math.log1p(-p) - nats, 1e-12, 0.5))


def _benchmark(generated: Path) -> dict[str, Any]:
    """Write the table and the figure of the committed benchmark of estimators, and return its numbers."""
    measured = json.loads((ROOT / "benchmarks" / "estimators.json").read_text())
    short = {"fixed bins, 100 on [-4, 4]": "fixed bins", "Monte-Carlo log-sum-exp": "log-sum-exp"}
    rows = pd.DataFrame(measured["rows"]).replace({"estimator": short})
    rows = rows[rows.failed.isna()].rename(columns={"cpu_seconds_one_thread": "cpu_seconds"})
    as_given = rows[rows.scale == 1]
    _save(figures.cost_and_error(as_given[as_given.m == 10_000]), generated / "fig-estimators-cost.svg")
    (generated / "benchmark-estimators.md").write_text(page_tables.benchmark_table(as_given))
    seconds = as_given.set_index(["estimator", "m"]).cpu_seconds
    rescaled = rows[rows.scale == 10].set_index("estimator").largest_error
    return {
        "machine": measured["machine"],
        "cpu_seconds": {str(m): float(value) for m, value in seconds["vaemi"].items()},
        "fixed_bins_cpu_seconds": float(seconds["fixed bins", 50_000]),
        "times_faster_than_fixed_bins": float(seconds["fixed bins", 50_000] / seconds["vaemi", 50_000]),
        "times_faster_than_log_sum_exp": float(seconds["log-sum-exp", 50_000] / seconds["vaemi", 50_000]),
        "fixed_bins_error_when_rescaled": float(rescaled["fixed bins"]),
    }


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
