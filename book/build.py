"""Build the site: stage the pages with the executed notebooks of a profile, run Jupyter Book, put the result in place.

    python book/build.py --profile quick [--student]

The site takes its place as _build/html only when it is whole. The build fails on a notebook with an error, on a missing
number, on any warning of Sphinx, and on what checks.py finds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import accessible
import checks
import claims_table
import deviations
import exercises
import explorer
import limits
import many_runs
import nbformat
import pandas as pd
import runbox
import scale
import side_by_side
import yaml

from companion import claims, figures, runs
from companion.experiments.pages import used_factor_nats
from vaemi._files import only_one

ROOT = Path(__file__).resolve().parent.parent
# Pictures that a page other than their notebook shows, by the figure's name in the cell metadata.
SHARED_FIGURES = {"mnist": ["fig-mnist-spectrum"]}


class BuildError(Exception):
    """A site that cannot be built; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the site from a profile's results.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="where the site goes, as html/ in it")
    parser.add_argument("--student", action="store_true", help="leave out the solutions of the exercises")
    options = parser.parse_args(arguments)
    try:
        site = build(options.profile, options.results, options.build, options.student)
    except (BuildError, exercises.ExerciseError, runbox.RunBoxError, runs.RunError) as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk or a folder that cannot be written to; the site is as it was.
        print(
            f"book: {error.filename or options.build}: {error.strerror or error}; the site is as it was.",
            file=sys.stderr,
        )
        return 1
    print(f"The site is {site / 'index.html'}.")
    return 0


def build(profile: str, results: Path, target: Path, student: bool = False) -> Path:
    """Build the site of a profile into `target/html` and return that folder."""
    target.mkdir(parents=True, exist_ok=True)
    with only_one(target / ".build.lock", lambda: _say_waiting(target)):
        return _build_alone(profile, results, target, student)


def _say_waiting(target: Path) -> None:
    print(f"book: another process builds the site in {target}; waiting for it.", file=sys.stderr)


def _build_alone(profile: str, results: Path, target: Path, student: bool) -> Path:
    source, work, site = target / "source", target / "work", target / "html"
    _bring_back(site)
    for folder in (source, work):
        shutil.rmtree(folder, ignore_errors=True)
    stage(profile, results, source, student)
    built = subprocess.run(
        # By this interpreter, whatever is on the PATH.
        [
            *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
            *("build", str(source), "--path-output", str(work), "-W", "-n", "--keep-going"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    made = work / "_build" / "html"
    faults = [f"Jupyter Book failed:\n{built.stderr.strip() or built.stdout[-3000:]}"] if built.returncode else []
    if (made / "index.html").exists():  # with a warning, too: whoever mends a page wants to know of all its faults
        _without_what_no_page_can_use(made)
        accessible.mend(made)
        faults += checks.problems(source, made)
    if faults:
        raise BuildError("\n".join(faults))
    put_in_place(made, site)
    return site


def put_in_place(made: Path, site: Path) -> None:
    """Make a folder the site; a kill at any moment leaves the new one, or the old one for the next build to bring back.

    A folder cannot be renamed onto one that is full, so that for a moment there is no site under its name.
    """
    _bring_back(site)
    if site.exists():
        site.rename(_replaced(site))
    made.rename(site)
    shutil.rmtree(_replaced(site), ignore_errors=True)


def _replaced(site: Path) -> Path:
    return site.with_name(f".{site.name}.replaced")


def _bring_back(site: Path) -> None:
    """Undo or finish what a killed `put_in_place` had begun."""
    if not site.exists() and _replaced(site).exists():
        _replaced(site).rename(site)
    shutil.rmtree(_replaced(site), ignore_errors=True)


def stage(profile: str, results: Path, source: Path, student: bool = False) -> None:
    """Put everything that Jupyter Book reads into one folder."""
    notebooks = [page.removeprefix("notebooks/") for page in pages(ROOT) if page.startswith("notebooks/")]
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    shutil.copytree(ROOT / "book", source / "book", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (source / "_static").mkdir()
    for asset in (source / "book" / "_static").iterdir():
        if asset.suffix in (".css", ".js"):
            shutil.copy(asset, source / "_static")
    shutil.copy(ROOT / "_toc.yml", source)
    generated = source / "book" / "_generated"
    generated.mkdir()
    (source / "notebooks").mkdir()

    numbers: dict[str, Any] = {
        "profiles": _profiles(),
        "idea": _idea(generated),
        "benchmark": _benchmark(generated),
        "limits": limits.stage(generated),
        "scale": scale.stage(generated),
    }
    for name in notebooks:
        numbers[name] = _stage_notebook(name, results / profile, source / "notebooks", generated, config["repository"])
    numbers["many"] = many_runs.stage(profile, results / profile, generated)
    deviations.stage(results / claims.REFERENCE, generated)
    _stage_claims(profile, results, notebooks, generated)
    _stage_changelog(generated)
    numbers["exercises"] = exercises.stage(source, student)
    config["sphinx"]["config"]["myst_substitutions"] = numbers
    (source / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True))
    _stage_mathjax(source / "extra" / "_static" / "mathjax")


def pages(root: Path) -> list[str]:
    """Every page of the table of contents in a folder, in its order, without its ending."""
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *(page["file"] for one in chapters for page in [one, *one.get("sections", [])])]


def _stage_notebook(
    name: str, results: Path, notebooks: Path, generated: Path, repository: Mapping[str, str]
) -> dict[str, Any]:
    """Copy an executed notebook and what other pages show of it; return the numbers that pages may name."""
    try:
        notebook = nbformat.read(results / f"{name}.ipynb", as_version=4)
        result = json.loads((results / f"{name}.json").read_text())
    except OSError:
        raise BuildError(
            f"{results} has no run of {name}: run `vaemi run {name} --profile {results.name}` first."
        ) from None
    for index, output in runs.errors_in(notebook):
        raise BuildError(f"The notebook {name} ends in {output.ename} in cell {index}: run it again.")
    if name in explorer.SUBJECTS:
        assets = notebooks.parent / "extra" / "_static" / "explorer"
        explorer.place(name, notebook, result, results / f"{name}.safetensors", assets)
    claims_table.mark_conclusion(notebook, result)
    committed, downloads = ROOT / "notebooks" / f"{name}.ipynb", notebooks.parent / "downloads"
    side_by_side.place(notebook, result, _defaults(name), results.parent)
    runbox.place(notebook, result, committed, downloads, results.parent, repository)
    nbformat.write(notebook, notebooks / f"{name}.ipynb")
    for figure in SHARED_FIGURES.get(name, []):
        (generated / f"{figure}.svg").write_text(_picture(notebook, name, figure))
    about = {part: result[part] for part in ("profile", "data", "manifest")}
    about["whole_seconds"] = runs.whole_seconds(result["manifest"])
    return result["values"] | about | {"parameters": _defaults(name) | result["manifest"]["parameters"]}


def _stage_claims(profile: str, results: Path, notebooks: Sequence[str], generated: Path) -> None:
    """The table of the landing page, the rules behind its verdicts, and what stands in for what."""
    rows, reference = claims.load(profile, results), claims.load_reference(profile, results)
    (generated / "claims.md").write_text(claims_table.table(rows, reference, notebooks))
    (generated / "claims-rules.md").write_text(claims_table.rules(rows))
    (generated / "claims-notes.md").write_text(claims_table.notes([*rows, *reference]))


def _stage_changelog(generated: Path) -> None:
    """The changelog without its title, which the page has of its own."""
    _, _, changes = (ROOT / "CHANGELOG.md").read_text().partition("\n")
    (generated / "changelog.md").write_text(changes.lstrip())


@cache
def _defaults(name: str) -> dict[str, Any]:
    return runs.defaults_of(ROOT / "notebooks" / f"{name}.ipynb")


def figures_of(notebook: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """What is said of each figure of an executed notebook, and its SVG."""
    for cell in notebook.cells:
        about = cell.metadata.get("mystnb", {})
        if "figure" in about:
            for output in cell.get("outputs", []):
                if svg := output.get("data", {}).get("image/svg+xml"):
                    yield about, svg


def _picture(notebook: Any, name: str, figure: str) -> str:
    for about, svg in figures_of(notebook):
        if about["figure"].get("name") == figure:
            return svg
    raise BuildError(f"The notebook {name} shows no vector graphic named {figure}.")


def _profiles() -> dict[str, Any]:
    """Every profile's parameters of every notebook, the notebook's own included."""
    profiles = {}
    for path in (ROOT / "notebooks" / "profiles").glob("*.yaml"):
        given = runs.read_profile(ROOT, path.stem).parameters
        profiles[path.stem] = {name: _defaults(name) | parameters for name, parameters in given.items()}
    return profiles


def _idea(generated: Path) -> dict[str, float]:
    figures.used_and_ignored_factor().savefig(generated / "fig-idea.svg", metadata={"Date": None})
    return {"used_nats": used_factor_nats()}


def _benchmark(generated: Path) -> dict[str, Any]:
    """Table and figure of the committed benchmark of estimators, and the numbers that pages name."""
    measured = json.loads((ROOT / "benchmarks" / "estimators.json").read_text())
    short = {"fixed bins, 100 on [-4, 4]": "fixed bins", "Monte-Carlo log-sum-exp": "log-sum-exp"}
    rows = pd.DataFrame(measured["rows"]).replace({"estimator": short})
    rows = rows[rows.failed.isna()].rename(columns={"cpu_seconds_one_thread": "cpu_seconds"})
    figure = figures.cost_and_error(rows[(rows.m == 10_000) & (rows.scale == 1)])
    figure.savefig(generated / "fig-estimators-cost.svg", metadata={"Date": None})
    shown = rows[rows.scale == 1].sort_values(["m", "cpu_seconds"])
    table = pd.DataFrame(
        {
            "estimator": shown.estimator,
            "samples": [f"{m:,}" for m in shown.m],
            "CPU seconds, one thread": [
                (f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}") + "*" * projected
                for seconds, projected in zip(shown.cpu_seconds, shown.projected, strict=True)
            ],
            "peak memory (MB)": [f"{megabytes:.0f}" for megabytes in shown.peak_megabytes],
            "largest error (nats)": [f"{error:.1g}" for error in shown.largest_error],
        }
    )
    markdown = table.to_markdown(index=False, disable_numparse=True)
    (generated / "benchmark-estimators.md").write_text(markdown.replace("*", r"\*") + "\n")
    seconds = rows[rows.scale == 1].set_index(["estimator", "m"]).cpu_seconds
    rescaled = rows[rows.scale == 10].set_index("estimator").largest_error
    return {
        "machine": measured["machine"],
        "cpu_seconds": {str(m): float(value) for m, value in seconds["vaemi"].items()},
        "fixed_bins_cpu_seconds": float(seconds["fixed bins", 50_000]),
        "times_faster_than_fixed_bins": float(seconds["fixed bins", 50_000] / seconds["vaemi", 50_000]),
        "times_faster_than_log_sum_exp": float(seconds["log-sum-exp", 50_000] / seconds["vaemi", 50_000]),
        "fixed_bins_error_when_rescaled": float(rescaled["fixed bins"]),
    }


def _stage_mathjax(target: Path) -> None:
    """The two parts of MathJax that the pages need, from the package that carries it whole (24 MB)."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise BuildError("The package sphinx-mathjax-offline is not installed: install vaemi with its extra docs.")
    mathjax = Path(spec.origin).parent / "static" / "mathjax"
    fonts = Path("output") / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(mathjax / fonts, target / fonts)
    shutil.copy(mathjax / "tex-chtml.js", target)


# What the theme puts on every page and no page here can use: font preloads, which a page opened from a file refuses
# with an error (the fonts load without), twice over the script of a service that runs code elsewhere, and a script of
# 1.5 MB that draws the icons a second time (the fonts draw them too).
_NOT_WANTED = re.compile(
    r"""<link\ rel="preload"\ as="font"[^>]*> | <link\ rel="preload"\ as="script"[^>]*fontawesome[^>]*>
      | <script[^>]*fontawesome[^>]*></script> | <script>const\ THEBE_JS_URL.*?</script>
      | <script[^>]*sphinx-thebe\.js[^>]*></script> | <link[^>]*sphinx-thebe\.css[^>]*>""",
    re.VERBOSE | re.DOTALL,
)


# On the page of results it marks what was found; on all others it would go on doing so from page to page.
_MARKS_OF_A_SEARCH = re.compile(r"<script[^>]*sphinx_highlight\.js[^>]*></script>")


def _without_what_no_page_can_use(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = _NOT_WANTED.sub("", page.read_text())
        page.write_text(text if page.name == "search.html" else _MARKS_OF_A_SEARCH.sub("", text))


if __name__ == "__main__":
    sys.exit(main())
