"""Run one notebook over a grid of parameters, and tabulate the results.

Snakemake runs the grid, here or on a cluster, with a file per run:
`results/<profile>/sweeps/<name>/beta~2.0/seed~0.json`. The tables are `results/<profile>/sweeps/<name>.csv` with a row
per run, and `<name>-summary.csv` and `.md` with means and intervals over the seeds. The same command resumes a sweep.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion import runs
from companion.errors import RunError
from vaemi._files import atomic_write, exclusive_lock

if TYPE_CHECKING:
    import pandas as pd

# The sweeps of the reference run, which the book shows: arguments of `vaemi sweep` by name of the tables.
REFERENCE_SWEEPS = {"mnist-seeds": "mnist -g beta=6 -g seed=0..2", "mnist-beta": "mnist -g beta=2,6,18 -g seed=0"}
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sweep:
    """A checked grid of runs.

    Attributes
    ----------
    notebook, profile : str
        Names of the notebook and the profile.
    grid : dict of str to list
        Values of the parameters that vary.
    settings : dict
        Parameters that are the same in all runs, those of the profile included.
    over : str
        Parameter whose values repeat a point of the grid; intervals are over these.
    folder : Path
        Folder with the runs, next to the tables.
    """

    notebook: str
    profile: str
    grid: dict[str, list[Any]]
    settings: dict[str, Any]
    over: str
    folder: Path

    @property
    def points(self) -> list[dict[str, Any]]:
        """Parameters of each run; the last parameter varies fastest."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    @property
    def data_sources(self) -> set[tuple[str, str]]:
        """Data set and source of the runs, without stand-ins that are asked for by name."""
        notebook = runs.find_notebook(runs.project_root(), self.notebook)
        varied = {name: values for name, values in self.grid.items() if name.endswith("_source")}
        combinations = (dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values()))
        return {pair for each in combinations for pair in runs.data_sources(notebook, self.settings | each).items()}

    @property
    def common(self) -> str:
        """What all runs have in common, as `settings.json` keeps it. Other settings or data make all runs again."""
        from companion.data import reader  # imports torch

        data = {f"{name} from {wanted}": reader(name).signature(wanted) for name, wanted in sorted(self.data_sources)}
        common = {"notebook": self.notebook, "profile": self.profile, "parameters": self.settings, "data": data}
        return json.dumps(common, indent=1)

    @property
    def missing(self) -> list[dict[str, Any]]:
        """Points of the grid that have no result of these settings and data."""
        kept = self.folder / "settings.json"
        if kept.exists() and kept.read_text(encoding="utf-8") != self.common:
            return self.points
        since = kept.stat().st_mtime if kept.exists() else 0.0  # as Snakemake decides
        results = [self.result(point) for point in self.points]
        return [
            point
            for point, result in zip(self.points, results, strict=True)
            if not (result.is_file() and result.stat().st_mtime >= since)
        ]

    def file(self, ending: str) -> Path:
        """Return the path of a table: ".csv", "-summary.csv" or "-summary.md"."""
        return self.folder.with_name(self.folder.name + ending)

    def result(self, point: Mapping[str, Any]) -> Path:
        """Return the path of the result at a point of the grid."""
        return self.folder / ("/".join(f"{name}~{value}" for name, value in point.items()) + ".json")


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Parse texts such as ``"beta=1,2,4"`` and ``"seed=0..4"``; a range includes both ends.

    Raises
    ------
    RunError
        If a text has another form, or a range is empty.

    Examples
    --------
    >>> from companion.sweep import parse_grid
    >>> parse_grid(["beta=1,2", "seed=0..2"])
    {'beta': ['1', '2'], 'seed': [0, 1, 2]}
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise RunError(f"{text!r} is not of the form NAME=VALUES: write -g beta=1,2,4 or -g seed=0..4.")
        for value in values.split(","):
            ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", value.strip())
            if ends and int(ends[1]) > int(ends[2]):
                raise RunError(f"The range {value.strip()} of {name} is empty: write the lower end first.")
            grid.setdefault(name, []).extend(range(int(ends[1]), int(ends[2]) + 1) if ends else [value.strip()])
    return grid


def plan(
    notebook: str,
    grid: Mapping[str, Sequence[Any]],
    profile: str = "quick",
    fixed: Mapping[str, Any] | None = None,
    name: str | None = None,
    over: str = "seed",
) -> Sweep:
    """Check a grid of runs; nothing is started or written.

    Parameters
    ----------
    notebook, grid, profile, over
        See `Sweep`.
    fixed : mapping, optional
        Parameters that are the same in all runs and override the profile.
    name : str, optional
        Name of the tables; the notebook's and the grid's names by default.

    Raises
    ------
    RunError
        If a name or value is wrong, or the grid is empty.

    Examples
    --------
    >>> from companion import sweep
    >>> planned = sweep.plan("mnist", {"seed": [0, 1, 2]}, "smoke")
    >>> len(planned.points)
    3
    """
    root = runs.project_root()
    source = runs.find_notebook(root, notebook)
    given = runs.read_profile(root, profile).parameters.get(notebook, {})
    settings = runs.checked_parameters(source, {**given, **(fixed or {})})
    if not grid or not all(grid.values()):
        raise RunError("A sweep needs parameters that vary: add -g seed=0..4, for example.")
    if both := grid.keys() & (fixed or {}):
        raise RunError(f"The parameter {min(both)} is fixed with -p and varied with -g: use one of them.")
    if over != "seed" and over not in grid:
        raise RunError(f"The parameter {over} of --over does not vary: give its values with -g {over}=0..4.")
    checked = {}
    known = runs.parameters_of(source)
    for parameter, values in grid.items():
        typed = [runs.checked_parameter(source, known, parameter, value) for value in values]
        if bad := [value for value in typed if not re.fullmatch(r"[^/\\]+", str(value))]:
            raise RunError(f"The value {bad[0]!r} of {parameter} cannot be a file name, which a sweep needs.")
        checked[parameter] = list(dict.fromkeys(typed))
    folder = root / "results" / profile / "sweeps" / (name or "-".join([notebook, *grid]))
    return Sweep(notebook, profile, checked, settings, over, folder)


def make(
    sweep: Sweep, jobs: int | None = None, threads: int = 1, force: bool = False, cluster: Path | None = None
) -> bool:
    """Make the missing runs of a sweep with Snakemake in the foreground, then write the tables.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    jobs : int, optional
        Runs at a time; as many as there are processor cores, or as the cluster's profile says, by default.
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
        If a file cannot be written.
    """
    settings, config = sweep.folder / "settings.json", sweep.folder / "grid.json"
    if ("mnist", "auto") in sweep.data_sources:
        from companion.data import mnist

        mnist.fetch()  # otherwise the first run would change the data of the others
    common = sweep.common
    grid = {"settings": str(settings), "points": sweep.points, "threads": threads, "force": force}
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(sweep.folder / ".lock", f"vaemi: another process makes {sweep.folder}; waiting for it."):
            # Snakemake makes the runs again when this file is newer, so it is touched only by a change.
            if not settings.exists() or settings.read_text(encoding="utf-8") != common:
                settings.write_text(common, encoding="utf-8")
            config.write_text(json.dumps(grid, indent=1), encoding="utf-8")
            status = _snakemake(config, jobs, threads, force, cluster)
            write_tables(sweep)
    except OSError as error:
        raise RunError(f"{error.filename or sweep.folder} cannot be written ({error.strerror}).") from None
    return status == 0


def _snakemake(config: Path, jobs: int | None, threads: int, force: bool, cluster: Path | None) -> int:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).with_suffix(".smk"))]
    command += ["--directory", str(runs.project_root()), "--configfile", str(config), "--rerun-triggers", "mtime"]
    command += ["--nolock", "--keep-going", "--rerun-incomplete", "--quiet", "rules", "host"]
    if force:
        command += ["--forceall"]
    if cluster:
        command += ["--profile", str(cluster), *(["--jobs", str(jobs)] if jobs else [])]
    else:
        command += ["--cores", str(jobs * threads) if jobs else "all"]
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # Snakemake got Ctrl-C, too, and is ending its runs
        raise


def table(sweep: Sweep) -> pd.DataFrame:
    """Return a row per run that has a result.

    Columns are the parameters (those of the grid first), every number among the run's values, `C1_holds` (by its last
    rule) and `C1_value` of each claim, `duration_seconds` and `training_seconds`. A mapping of keys to numbers has a
    column `<name>[<key>]` per key. A value with the name of a parameter is called `values.<name>`.
    """
    import pandas as pd

    return pd.DataFrame([_row(sweep, point) for point in sweep.points if sweep.result(point).is_file()])


def _row(sweep: Sweep, point: Mapping[str, Any]) -> dict[str, Any]:
    result = json.loads(sweep.result(point).read_text(encoding="utf-8"))
    row = {**point, **result["manifest"]["parameters"]}
    for name, value in result["values"].items():
        numbers = {f"{name}[{key}]": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        for column, number in numbers.items():
            if isinstance(number, int | float):
                row[f"values.{column}" if column in row else column] = number
    for claim in result["claims"]:
        met = claim["rules"][-1]["verdict"] in ("holds", "passes")
        row |= {f"{claim['id']}_holds": met, f"{claim['id']}_value": claim["value"]}
    return row | {name: result["manifest"][name] for name in ("duration_seconds", "training_seconds")}


def summary(sweep: Sweep, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return mean, standard deviation and 95 % interval of every quantity at every point of the grid.

    `rows` is what `table` returns for the sweep, where it is at hand.

    The interval is Student's, mean ± t(0.975, n - 1) std / sqrt(n). Truth values have a mean, the share that is true,
    but no std and no interval; nor has a single run.

    Returns
    -------
    DataFrame
        Columns: the grid's parameters except `over`, quantity, n, mean, std, low, high.
    """
    import numpy as np
    from scipy import stats

    rows = table(sweep) if rows is None else rows
    by = [name for name in sweep.grid if name != sweep.over]
    quantities = [column for column in rows if column not in {*sweep.grid, *sweep.settings}]
    long = rows.melt(by, quantities, "quantity", ignore_index=False).dropna(subset="value").astype({"value": float})
    groups = long.sort_index(kind="stable").groupby([*by, "quantity"], sort=False)["value"]
    short = groups.agg(n="count", mean="mean", std="std").reset_index()
    short["std"] = short["std"].mask(short.quantity.isin(rows.select_dtypes(bool).columns))
    half = stats.t.ppf((1 + _CONFIDENCE) / 2, short.n - 1) * short["std"] / np.sqrt(short.n)
    return short.assign(low=short["mean"] - half, high=short["mean"] + half)


def _readable(short: pd.DataFrame) -> str:
    """Return a summary in Markdown, without quantities that have a key, of which there can be hundreds."""
    shown = short[~short.quantity.str.contains("[", regex=False)]
    low, high = (shown[end].map("{:.4g}".format) for end in ("low", "high"))
    text = shown.drop(columns=["low", "high"]).assign(
        mean=shown["mean"].map("{:.4g}".format),
        std=shown["std"].map("{:.3g}".format).replace("nan", ""),
        interval=(low + " to " + high).replace("nan to nan", ""),
    )
    headers = {"n": "runs", "interval": "95 % interval"}
    return text.rename(columns=headers).to_markdown(index=False, disable_numparse=True)


def write_tables(sweep: Sweep) -> None:
    """Write the tables of the runs that have a result, if any."""
    if (rows := table(sweep)).empty:
        return
    short = summary(sweep, rows)
    texts = {".csv": rows.to_csv(index=False), "-summary.csv": short.to_csv(index=False)}
    for ending, text in (texts | {"-summary.md": _readable(short) + "\n"}).items():
        with atomic_write(sweep.file(ending)) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="")


def main(arguments: Sequence[str]) -> None:
    """Make one run of a sweep, as a job of Snakemake."""
    settings, point, *options, result = arguments
    told = json.loads(Path(settings).read_text(encoding="utf-8"))
    parameters = {**told["parameters"], **json.loads(point)}
    try:
        runs.run(told["notebook"], told["profile"], parameters, force=options == ["--force"], result=Path(result))
    except RunError as error:
        sys.exit(f"vaemi: {told['notebook']} with {point}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
