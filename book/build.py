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
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import checks
import cite
import criteria_guide
import drop
import exercises
import explorer
import habits
import handout
import nbformat
import page_tables
import prose_pages
import runbox
import sliders
import slides
import yaml
from finish import PREVIEW_PICTURE, finish
from pictures import licence, pictures_of, to_png
from templates import ROOT

from companion import claims, figures, runs
from companion.errors import CompanionError
from vaemi._files import exclusive_lock

PREVIEW_WIDTH = 1200  # pixels, as messengers ask for


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
        print(f"book: {error.filename}: {error.strerror}. The site is unchanged.", file=sys.stderr)
        return 1
    print(f"The site is {site / 'index.html'}.")
    return 0


def build(profile: str, results: Path, target: Path, student: bool = False) -> Path:
    """Build the site of a profile into `target/html` and return that folder.

    The student edition goes to `target/student/html`, beside what else is handed out, and all of it to a zip file.

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
            faults += [*checks.problems(made), *habits.faults()]
        if faults:
            raise CompanionError("\n".join(faults))
        if student:
            handout.write_student_edition(made, source / "downloads", target / "student")
            return target / "student" / "html"
        shutil.rmtree(site, ignore_errors=True)
        made.rename(site)
    return site


def stage(profile: str, results: Path, source: Path, student: bool = False) -> None:
    """Write everything that Jupyter Book reads to one folder."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    notebooks = [page.removeprefix("notebooks/") for page in pages(ROOT) if page.startswith("notebooks/")]
    generated = source / "book" / "_generated"
    shutil.copytree(ROOT / "book", source / "book", ignore=shutil.ignore_patterns("*.py", "_templates", "__pycache__"))
    shutil.copytree(ROOT / "book" / "_static", source / "_static", ignore=shutil.ignore_patterns("*.svg"))
    shutil.copy(ROOT / "_toc.yml", source)
    for folder in (source / "notebooks", generated):
        folder.mkdir()
    stage_mathjax(source / "extra" / "_static" / "mathjax")
    drop.place(source / "extra" / "_static" / "drop")

    figures.use_style()
    numbers: dict[str, Any] = {
        name: _stage_notebook(name, results / profile, source, config["repository"]) for name in notebooks
    }
    numbers |= {
        "many": prose_pages.many_runs(results / profile, generated),
        "profiles": _profiles(),
        "idea": prose_pages.idea(generated),
        "benchmark": prose_pages.estimators(generated),
        "limits": prose_pages.limits(numbers["mnist"], generated),
        "scale": prose_pages.scale(generated),
        "training": prose_pages.training(generated),
        "families": prose_pages.families(generated),
        "remarks": prose_pages.remarks(generated),
    }
    prose_pages.landing(numbers["mnist"], results / profile / "mnist.safetensors", generated)
    if config["repository"]["url"]:  # only a page with an address can name its picture
        svg = (generated / "fig-landing.svg").read_text(encoding="utf-8")
        (source / "_static" / PREVIEW_PICTURE).write_bytes(to_png(svg, PREVIEW_WIDTH))
    criteria_guide.write(numbers, generated)
    sliders.place(numbers, results / claims.REFERENCE, source / "extra" / "_static" / "sliders", generated)
    sweeps = results / claims.REFERENCE / "sweeps"
    among_runs, numbers["among_runs"] = prose_pages.published_among_runs(sweeps / f"{prose_pages.START}.csv")
    rows = [claim for claim in claims.load(profile, results) if claim["experiment"] in notebooks]
    reference = claims.load_reference(profile, results)
    of_seeds = sweeps / f"{prose_pages.SEEDS}.csv"
    parts = {
        "claims": page_tables.claims_table(rows, reference),
        "verdicts": page_tables.verdicts(rows),
        "checks": page_tables.checks(rows),
        "claims-notes": page_tables.notes([*rows, *reference]),
        "deviations": prose_pages.deviations(of_seeds),
        "cite": cite.box(config["repository"]),
        "factor-counts": prose_pages.factor_counts(numbers["mnist"], of_seeds),
        "published-among-runs": among_runs,
        # Without its title, as the page has its own.
        "changelog": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2].lstrip(),
    }
    for name, text in parts.items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")
    numbers |= {"verdicts": claims.summary(rows), "checks": page_tables.checks_in_words(rows)}
    pictures = {picture.name: picture for picture in pictures_of(source, pages(ROOT), numbers)}
    lines = {
        name: licence(picture, results / profile, config["repository"]["url"]) for name, picture in pictures.items()
    }
    slides.place(pictures, lines, numbers, source / "extra" / "slides")
    numbers["exercises"] = exercises.stage(source, student)  # last: it strips all staged pages
    handout.write_notebooks(source / "downloads", numbers, config)
    config["sphinx"]["config"]["myst_substitutions"] = without_missing(numbers)
    link(config)
    (source / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def link(config: dict[str, Any]) -> None:
    """Add the links to the public repository to a configuration of Jupyter Book, if it names one."""
    for part, settings in runbox.public_links(config["repository"]).items():
        config[part] = config.get(part, {}) | settings


def without_missing(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out None, NaN and infinity, so that a page that names one of them is a fault that Sphinx reports."""
    return {
        name: without_missing(value) if isinstance(value, Mapping) else value
        for name, value in numbers.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }


def pages(root: Path) -> list[str]:
    """Return every page of the table of contents in a folder, in order, without suffixes."""
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *(page["file"] for one in chapters for page in [one, *one.get("sections", [])])]


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
    """Stage an executed notebook; return the numbers that pages may name."""
    try:
        notebook = nbformat.read(results / f"{name}.ipynb", as_version=4)
        result = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    except OSError:
        raise CompanionError(
            f"{results} has no run of {name}: run `vaemi run {name} --profile {results.name}` first."
        ) from None
    if name in explorer.SUBJECTS:
        assets = source / "extra" / "_static" / "explorer"
        explorer.place(name, notebook, result, results / f"{name}.safetensors", assets)
    page_tables.mark_conclusion(notebook, result)
    page_tables.compare_with_reference(notebook, result, _defaults(name), results.parent)
    committed = ROOT / "notebooks" / f"{name}.ipynb"
    runbox.place(notebook, result, committed, source / "downloads", results.parent, repository)
    nbformat.write(notebook, source / "notebooks" / f"{name}.ipynb")
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


if __name__ == "__main__":
    sys.exit(main())
