"""Run one notebook over a grid of parameters, and tabulate the results.

Snakemake runs the grid, here or on a cluster, with a file per run:
`results/<profile>/sweeps/<name>/beta~2.0/seed~0.json`. The tables are `results/<profile>/sweeps/<name>.csv` with a row
per run, and `<name>-summary.csv` and `.md` with means and intervals over the seeds. The same command resumes a sweep.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from companion import runs
from companion.errors import RunError
from vaemi._files import atomic_write, exclusive_lock

if TYPE_CHECKING:
    import pandas as pd

MANY = 1000
# The sweeps of the reference run, which the book shows: arguments of `vaemi sweep` by name of the tables.
REFERENCE_SWEEPS = {"mnist-seeds": "mnist -g beta=6 -g seed=0..2", "mnist-beta": "mnist -g beta=2,6,18 -g seed=0"}
_RANGE = re.compile(r"([+-]?\d+)\.\.([+-]?\d+)")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sweep:
    """A checked grid of runs.

    Attributes
    ----------
    notebook, profile : str
        Names of the notebook and the profile.
    name : str
        Name of the tables.
    grid : dict of str to list
        Values of the parameters that vary.
    fixed : dict
        Parameters that are the same in all runs and override the profile.
    over : str
        Parameter whose values repeat a point of the grid; intervals are over these.
    root : Path
        The clone.
    """

    notebook: str
    profile: str
    name: str
    grid: dict[str, list[Any]]
    fixed: dict[str, Any]
    over: str
    root: Path

    @property
    def points(self) -> list[dict[str, Any]]:
        """Parameters of each run; the last parameter varies fastest."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    @property
    def folder(self) -> Path:
        """Folder with the runs of this sweep, next to its tables."""
        return (self.root / "results").resolve() / self.profile / "sweeps" / self.name

    def file(self, ending: str) -> Path:
        """Return the path of a table: ".csv", "-summary.csv" or "-summary.md"."""
        return self.folder.with_name(self.name + ending)

    def result(self, point: Mapping[str, Any]) -> Path:
        """Return the path of the result at a point of the grid."""
        return self.folder / ("/".join(f"{name}~{value}" for name, value in point.items()) + ".json")

    @property
    def missing(self) -> list[dict[str, Any]]:
        """Points of the grid that have no result."""
        return [point for point in self.points if not self.result(point).is_file()]


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Parse texts such as ``"beta=1,2,4"`` and ``"seed=0..4"``; values are YAML, a range includes both ends.

    Raises
    ------
    RunError
        If a text has another form, or a parameter comes twice.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name.isidentifier() or not values.strip():
            raise RunError(f"{text!r} is not of the form NAME=VALUES: write -g beta=1,2,4 or -g seed=0..4.")
        if name in grid:
            raise RunError(f"The parameter {name} has two -g: write all its values in one.")
        try:
            listed = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError:
            raise RunError(f"The values of {text!r} are not YAML: separate them by commas, and quote texts.") from None
        grid[name] = [one for value in listed for one in _expanded(value)]
    return grid


def _expanded(value: Any) -> list[Any]:
    """Return the numbers of a range, or the value itself."""
    if not isinstance(value, str):
        return [value]
    if ends := _RANGE.fullmatch(value):
        first, last = int(ends[1]), int(ends[2])
        if not 0 <= last - first < 1_000_000:
            raise RunError(f"The range {value} runs backwards or is too long: write, for example, 0..4.")
        return list(range(first, last + 1))
    if re.fullmatch(r"[+-]?\d+(\.\d*)?e[+-]?\d+", value, re.IGNORECASE):
        return [float(value)]  # YAML 1.1 reads 1e-3 as a text
    return [value]


def plan(
    notebook: str,
    grid: Mapping[str, Sequence[Any]],
    profile: str = "quick",
    fixed: Mapping[str, Any] | None = None,
    name: str | None = None,
    over: str = "seed",
    many: bool = False,
    root: Path | None = None,
) -> Sweep:
    """Check a grid of runs; nothing is started or written.

    Parameters
    ----------
    notebook, profile : str
        Names of the notebook and the profile.
    grid : mapping of str to sequence
        Values of the parameters that vary.
    fixed : mapping, optional
        Parameters that are the same in all runs and override the profile.
    name : str, optional
        Name of the tables; the notebook's and the grid's names by default.
    over : str
        Parameter whose values repeat a point of the grid.
    many : bool
        Allow more than 1,000 runs.
    root : Path, optional
        The clone; found from the working folder upwards by default.

    Raises
    ------
    RunError
        If a name or value is wrong, or the grid is empty or too large.
    """
    root = (root or runs.project_root()).resolve()
    source = runs.find_notebook(root, notebook)
    runs.read_profile(root, profile)
    fixed = runs.checked_parameters(source, fixed or {})
    name = name or "-".join([notebook, *grid])
    if not grid:
        raise RunError("A sweep needs a parameter that varies: add -g seed=0..4, for example.")
    if both := fixed.keys() & grid.keys():
        raise RunError(f"The parameter {both.pop()} is fixed with -p and varied with -g: use one of them.")
    if over != "seed" and over not in grid:
        raise RunError(f"The parameter {over} of --over does not vary: give its values with -g {over}=0..4.")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise RunError(f"{name!r} cannot name a table: use letters, digits, dots, hyphens and underscores.")
    count = math.prod(map(len, grid.values()))
    if count > MANY and not many:
        raise RunError(f"The grid has {count:,} runs, more than {MANY:,}: add --yes to run them all.")
    checked = {}
    for parameter, values in grid.items():
        typed = [runs.checked_parameters(source, {parameter: value})[parameter] for value in values]
        if bad := [value for value in typed if not str(value) or {*"/\\\0"} & {*str(value)}]:
            raise RunError(f"The value {bad[0]!r} of {parameter} cannot be a file name, which a sweep needs.")
        checked[parameter] = list(dict.fromkeys(typed))
    return Sweep(notebook, profile, name, checked, fixed, over, root)


def make(
    sweep: Sweep, jobs: int | None = None, threads: int = 1, force: bool = False, cluster: Path | None = None
) -> bool:
    """Make the missing runs of a sweep with Snakemake in the foreground, then write the tables.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    jobs : int, optional
        Runs at a time; one per processor core by default.
    threads : int
        Threads per run.
    force : bool
        Make all runs again, training included.
    cluster : Path, optional
        Folder of a Snakemake profile, to run elsewhere.

    Returns
    -------
    bool
        Whether all runs succeeded. The tables contain those that did.

    Raises
    ------
    RunError
        If the Snakemake profile does not exist or a file cannot be written.
    """
    if cluster is not None and not list(cluster.glob("config*.yaml")):
        raise RunError(f"{cluster} is not a Snakemake profile (no config.yaml): use workflow/profiles/slurm, say.")
    told = {"notebook": sweep.notebook, "profile": sweep.profile, "fixed": sweep.fixed, "root": str(sweep.root)}
    grid = {"folder": str(sweep.folder), "points": sweep.points, "threads": threads, "force": force}
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(sweep.folder / ".lock", f"vaemi: another process makes the sweep {sweep.name}; waiting."):
            settings = sweep.folder / "settings.json"
            text = json.dumps(told, indent=1)
            # Snakemake makes the runs again when this file is newer, so it is touched only by a change.
            if not settings.exists() or settings.read_text(encoding="utf-8") != text:
                _write(settings, text)
            config = sweep.folder / "grid.json"
            _write(config, json.dumps({**told, **grid, "settings": str(settings), "config": str(config)}, indent=1))
            status = _snakemake(sweep, config, jobs or max(1, _cores() // threads), threads, force, cluster)
            write_tables(sweep)
    except OSError as error:
        raise RunError(f"{error.filename or sweep.folder} cannot be written ({error.strerror or error}).") from None
    return status == 0


def _snakemake(sweep: Sweep, config: Path, jobs: int, threads: int, force: bool, cluster: Path | None) -> int:
    where = ["--profile", str(cluster), "--jobs", str(jobs)] if cluster else ["--cores", str(jobs * threads)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).with_suffix(".smk"))),
            *("--directory", str(sweep.root), "--configfile", str(config), "--rerun-triggers", "mtime"),
            *("--nolock", "--keep-going", "--rerun-incomplete", "--quiet", "rules", "host"),
            *(["--forceall"] if force else []),
            *where,
        ]
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # Snakemake got Ctrl-C, too, and is ending its runs
        raise


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def table(sweep: Sweep) -> pd.DataFrame:
    """Return a row per run that has a result.

    Columns are the parameters (those of the grid first), every number among the run's values, `C1_holds` and
    `C1_value` of each claim, `duration_seconds` and `training_seconds`. A mapping of keys to numbers has a column
    `<name>[<key>]` per key. A value with the name of a parameter is called `values.<name>`.
    """
    import pandas as pd

    missing = sweep.missing
    return pd.DataFrame([_row(sweep, point) for point in sweep.points if point not in missing])


def _row(sweep: Sweep, point: Mapping[str, Any]) -> dict[str, Any]:
    result = json.loads(sweep.result(point).read_text(encoding="utf-8"))
    row = {**point, **result["manifest"]["parameters"]}
    for name, value in result["values"].items():
        numbers = {f"{name}[{key}]": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        for column, number in numbers.items():
            if isinstance(number, int | float):
                row[f"values.{column}" if column in row else column] = number
    for claim in result["claims"]:
        row[f"{claim['id']}_holds"] = claim["holds"]
        if isinstance(claim.get("value"), int | float):
            row[f"{claim['id']}_value"] = claim["value"]
    return row | {name: result["manifest"][name] for name in ("duration_seconds", "training_seconds")}


def summary(sweep: Sweep, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return mean, standard deviation and 95 % interval of every quantity at every point of the grid.

    The interval is Student's, mean ± t(0.975, n - 1) std / sqrt(n). Truth values have a mean, the share that is true,
    but no std and no interval; nor has a single run.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    rows : DataFrame, optional
        From `table`, which is called by default.

    Returns
    -------
    DataFrame
        Columns: the grid's parameters except `over`, quantity, n, mean, std, low, high.
    """
    import numpy as np
    import pandas as pd
    from scipy import stats

    rows = table(sweep) if rows is None else rows
    by = [name for name in sweep.grid if name != sweep.over]
    settings = {name for point in sweep.points for name in point} | _settings(sweep)
    quantities = [column for column in rows if column not in settings]
    truth = np.array([set(map(type, rows[column].dropna())) <= {bool, np.bool_} for column in quantities])
    parts = []
    for point, group in rows.groupby(by, sort=False) if by else [((), rows)]:
        numbers = group[quantities].astype(float)
        n, mean = numbers.count(), numbers.mean()
        std = numbers.std().mask(truth)
        half = stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * std / np.sqrt(n)
        part = pd.DataFrame({"n": n, "mean": mean, "std": std, "low": mean - half, "high": mean + half})
        part = part[part.n > 0].rename_axis("quantity").reset_index()
        for position, (name, value) in enumerate(zip(by, point, strict=True)):
            part.insert(position, name, value)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _settings(sweep: Sweep) -> set[str]:
    profile = runs.read_profile(sweep.root, sweep.profile)
    return {*sweep.fixed, *profile.parameters.get(sweep.notebook, {})}


def in_words(sweep: Sweep, short: pd.DataFrame, style: str = "simple") -> str:
    """Return the summary as a table to read, without quantities that have a key, of which there can be hundreds.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    short : DataFrame
        From `summary`.
    style : str
        Table format of `tabulate`; "pipe" is Markdown.
    """
    shown = short[~short.quantity.str.contains("[", regex=False)]
    intervals = [
        "" if math.isnan(low) else f"{low:.4g} to {high:.4g}" for low, high in zip(shown.low, shown.high, strict=True)
    ]
    text = shown.drop(columns=["low", "high"]).assign(
        mean=shown["mean"].map("{:.4g}".format),
        std=["" if math.isnan(std) else f"{std:.3g}" for std in shown["std"]],
        interval=intervals,
    )
    headers = {"n": "runs", "interval": "95 % interval"}
    return text.rename(columns=headers).to_markdown(index=False, tablefmt=style, disable_numparse=True)


def write_tables(sweep: Sweep) -> None:
    """Write the tables of the runs that have a result, if any."""
    rows = table(sweep)
    if rows.empty:
        return
    short = summary(sweep, rows)
    _write(sweep.file(".csv"), rows.to_csv(index=False, lineterminator="\n"))
    _write(sweep.file("-summary.csv"), short.to_csv(index=False, lineterminator="\n"))
    _write(sweep.file("-summary.md"), in_words(sweep, short, "pipe") + "\n")


def main(arguments: Sequence[str]) -> int:
    """Make one run of a sweep, as a job of Snakemake; return the exit status."""
    config, point, result = arguments
    told = json.loads(Path(config).read_text(encoding="utf-8"))
    parameters = {**told["fixed"], **json.loads(point)}
    try:
        runs.run(told["notebook"], told["profile"], parameters, told["force"], Path(told["root"]), result=Path(result))
    except RunError as error:
        print(f"vaemi: {told['notebook']} with {point}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
