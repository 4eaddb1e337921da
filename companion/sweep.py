"""Many runs of one notebook, over a grid of its parameters, and one table of what they found.

Snakemake makes the runs, several at a time, here or on a cluster; each is `companion.runs.run`, which keeps it under
`results/<profile>/all/` and leaves the latest run, the one that the site shows, as it is. A run that was made before is
taken as it is, so the same command goes on where an earlier one was stopped. The tables are
`results/<profile>/sweeps/<name>.csv`, a row for each run, and `<name>-summary.csv` and `.md` with means and intervals
over the seeds.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from scipy import stats
from tabulate import tabulate

from companion import runs
from companion.runs import Planned, duration_in_words
from vaemi._files import only_one

MANY = 1000
_RANGE = re.compile(r"\s*([+-]?\d+)\s*\.\.\s*([+-]?\d+)\s*")
# A value in quotes, in which a quote is written twice, or anything up to the next comma.
_ENTRY = re.compile(r"""\s*(?:"((?:[^"]|"")*)"|'((?:[^']|'')*)'|([^,"']*))\s*(,|$)""")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LOOKS_EVERY = 0.3  # seconds
_CONFIDENCE = 0.95


class SweepError(runs.RunError):
    """A sweep that cannot be made, or some of whose runs failed; the message says which, and what to do."""


@dataclass(frozen=True)
class Sweep:
    """A grid of runs, checked.

    Attributes
    ----------
    notebook : str
        Name of the notebook.
    profile : str
        Name of the profile.
    name : str
        Of the tables.
    grid : dict of str to list
        The parameters that vary, with their values: as given, without duplicates, of the notebook's types.
    over : str
        The parameter whose values are repetitions of one point of the grid.
    runs : list of Planned
        One for each combination, the last parameter changing fastest.
    root : Path
        The project.
    """

    notebook: str
    profile: str
    name: str
    grid: dict[str, list[Any]]
    over: str
    runs: list[Planned]
    root: Path

    @property
    def folder(self) -> Path:
        """Folder of the tables."""
        return (self.root / "results").resolve() / self.profile / "sweeps"

    @property
    def table(self) -> Path:
        """The table with a row for each run."""
        return self.folder / f"{self.name}.csv"

    @property
    def summary(self) -> Path:
        """The table with means and intervals."""
        return self.folder / f"{self.name}-summary.csv"

    @property
    def page(self) -> Path:
        """The same in Markdown."""
        return self.folder / f"{self.name}-summary.md"

    def in_words(self, run: Planned) -> str:
        """Which run of the sweep it is."""
        return f"{self.notebook} with " + ", ".join(f"{name}={run.parameters[name]}" for name in self.grid)


def values_of(text: str, read: Callable[[str], Any] = str) -> list[Any]:
    """The values in `1,2,4`, `0..4` or `"a,b",c`, in order.

    Parameters
    ----------
    text : str
        Values between commas. A range of whole numbers includes its ends; a value in quotes is a text as it stands.
    read : callable
        Makes a value of a text that is neither.

    Returns
    -------
    list
        Of values, and of one `range` for each range, so that a long one takes no memory.

    Raises
    ------
    SweepError
        If a value is missing, a quote is not closed or a range runs backwards or is not of whole numbers.
    """
    found: list[Any] = []
    place = 0
    while True:
        entry = _ENTRY.match(text, place)
        if entry is None:
            raise SweepError(
                f'The values {text!r} cannot be read: quote a text with a comma or a quote in it, as in "a,b".'
            )
        double, single, bare, end = entry.groups()
        if double is not None or single is not None:
            found.append(double.replace('""', '"') if double is not None else single.replace("''", "'"))
        elif not bare.strip():
            raise SweepError(f"The values {text!r} lack one: write values between commas, such as 1,2,4 or 0..4.")
        elif ".." in bare:
            found.append(_range(bare))
        else:
            found.append(read(bare.strip()))
        if not end:
            return found
        place = entry.end()


def _range(text: str) -> range:
    ends = _RANGE.fullmatch(text)
    if ends is None:
        raise SweepError(
            f"The range {text.strip()!r} is not of whole numbers: write 0..4, or the values between commas."
        )
    first, last = int(ends[1]), int(ends[2])
    if first > last:
        raise SweepError(f"The range {text.strip()!r} runs backwards: write {last}..{first}.")
    return range(first, last + 1)


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
    """Check a grid and say which runs it consists of; nothing is started or written.

    Parameters
    ----------
    notebook : str
        Name of the notebook.
    grid : mapping of str to sequence
        Parameters that vary, with their values; a `range` among these stands for what is in it.
    profile : str
        Name of the profile.
    fixed : mapping, optional
        Parameters that are the same in all runs and not the profile's.
    name : str, optional
        Of the tables; the notebook's and the grid's names if left out.
    over : str
        The parameter whose values are repetitions; what intervals are over.
    many : bool
        Whether more than 1,000 runs are meant.
    root : Path, optional
        The project, found from the working folder upwards if left out.

    Returns
    -------
    Sweep

    Raises
    ------
    RunError
        If a name or a value is wrong.
    SweepError
        If the grid is empty, too large, or varies what is fixed.
    """
    root = root or runs.project_root()
    fixed = fixed or {}
    if not grid:
        raise SweepError("A sweep needs at least one parameter that varies: add -g seed=0..4, for example.")
    for parameter in grid:
        if parameter in fixed:
            raise SweepError(f"The parameter {parameter} is fixed with -p and varied with -g: leave one of them out.")
    if over != "seed" and over not in grid:
        raise SweepError(f"The parameter {over} of --over does not vary: give its values with -g {over}=0..4.")
    name = name or "-".join([notebook, *grid])
    if not _NAME.fullmatch(name):
        raise SweepError(f"{name!r} is no name for a table: take letters, digits, dots, hyphens and underscores.")
    # Before ranges are written out, so that a slip of the hand does not fill the memory.
    _refuse_many(math.prod(sum(_length(value) for value in values) for values in grid.values()), many)
    chosen: dict[str, list[Any]] = {}
    for parameter, values in grid.items():
        each = itertools.chain.from_iterable(value if isinstance(value, range) else [value] for value in values)
        checked = [runs.plan(notebook, profile, {**fixed, parameter: value}, root).parameters for value in each]
        # By type too: True is not 1, though Python holds them equal.
        chosen[parameter] = list({(type(one[parameter]), one[parameter]): one[parameter] for one in checked}.values())
        if not chosen[parameter]:
            raise SweepError(
                f"The parameter {parameter} has no values: write -g {parameter}=1,2 or -g {parameter}=0..4."
            )
    planned = [
        runs.plan(notebook, profile, {**fixed, **dict(zip(chosen, point, strict=True))}, root)
        for point in itertools.product(*chosen.values())
    ]
    return Sweep(notebook, profile, name, chosen, over, planned, root)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, range) else 1


def _refuse_many(count: int, many: bool) -> None:
    if count > MANY and not many:
        raise SweepError(f"That is {count:,} runs, more than {MANY:,}: add --yes if you mean it.")


def make(
    sweep: Sweep,
    jobs: int | None = None,
    threads: int = 1,
    force: bool = False,
    cluster: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> list[str]:
    """Make the runs of a sweep that were not made before, and write its tables.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    jobs : int, optional
        Runs at a time; as many as there are processor cores for if left out.
    threads : int
        Threads of each run.
    force : bool
        Make all runs again, training included.
    cluster : Path, optional
        Folder of a Snakemake profile that says where the runs are made, if not here.
    say : callable, optional
        Takes each sentence on the progress; standard error if left out.

    Returns
    -------
    list of str
        A sentence for each run that failed, said before; what the others found is in the tables.

    Raises
    ------
    SweepError
        If Snakemake is missing or stops before the first run, or a folder cannot be written.
    """
    say = say or _say
    if find_spec("snakemake") is None:
        raise SweepError("A sweep needs Snakemake: install it with pip install 'snakemake>=9.27,<10'.")
    if cluster is not None and not any((cluster / file).is_file() for file in ("config.yaml", "config.v9+.yaml")):
        raise SweepError(
            f"{cluster} is no Snakemake profile (no config.yaml): take workflow/profiles/slurm, for example."
        )
    sentences: list[str] = []
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
        # Of the notebook, not of the sweep: two grids may have runs in common.
        with only_one(sweep.folder / f".{sweep.notebook}.lock", lambda: _say_waiting(sweep, say)) as lock:
            todo = [run for run in sweep.runs if force or not _made(run)]
            if len(todo) < len(sweep.runs):
                made = len(sweep.runs) - len(todo)
                say(f"{made} of {len(sweep.runs)} runs were made before (--force makes them again).")
            if todo:
                say(f"{len(todo)} to be made. Ctrl-C stops; the same command goes on.")
                sentences = _conduct(sweep, todo, jobs, threads, force, cluster, say, lock)
            write_tables(sweep)
    except OSError as error:
        raise SweepError(
            f"{error.filename or sweep.folder} cannot be written ({error.strerror or error}): the runs that are done "
            "are kept, and the same command goes on."
        ) from None
    return sentences


def _say_waiting(sweep: Sweep, say: Callable[[str], None]) -> None:
    say(f"Another sweep of {sweep.notebook} is still under way: this one begins when it has ended.")


def _made(run: Planned) -> bool:
    return runs.is_whole(run.result)


def _conduct(
    sweep: Sweep,
    todo: Sequence[Planned],
    jobs: int | None,
    threads: int,
    force: bool,
    cluster: Path | None,
    say: Callable[[str], None],
    lock: IO[str] | None,
) -> list[str]:
    """Let Snakemake make these runs; returns a sentence for each that failed."""
    work = sweep.folder / f".{sweep.name}"
    work.mkdir(exist_ok=True)
    for stale in work.iterdir():
        stale.unlink()
    told = {
        "notebook": sweep.notebook,
        "profile": sweep.profile,
        "root": str(sweep.root),
        "kept": str(todo[0].result.parent),
        "threads": threads,
        "force": force,
        "runs": [
            {"fingerprint": _fingerprint(run), "result": str(run.result), "parameters": run.parameters} for run in todo
        ],
    }
    plan_file = work / "plan.json"
    runs.write_atomically(plan_file, json.dumps(told, indent=1))
    at_a_time = jobs or max(1, _cores() // threads)
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).with_suffix(".smk")),
        "--directory", str(sweep.root), "--config", f"plan={plan_file}",
        # Which runs there are to make is known; this one is held alone already, and a lock would outlive a kill.
        "--forceall", "--keep-going", "--nolock", "--rerun-incomplete",
        *(["--profile", str(cluster), *(["--jobs", str(jobs)] if jobs else [])] if cluster
          else ["--profile", "none", "--workflow-profile", "none", "--cores", str(at_a_time * threads)]),
    ]  # fmt: skip
    # With Snakemake goes the lock: were this process killed, the next sweep would wait for what is still running. A
    # group of its own, so that an interruption reaches Snakemake once, from here.
    with (work / "snakemake.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[lock.fileno()] if lock else [],
            start_new_session=True,
        )  # fmt: skip
    before = signal.signal(signal.SIGTERM, _interrupt) if _is_main_thread() else None
    try:
        failed = _watch(sweep, todo, work, process, say)
    except BaseException:
        _stop(process)
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return failed


def _watch(
    sweep: Sweep, todo: Sequence[Planned], work: Path, process: subprocess.Popen[bytes], say: Callable[[str], None]
) -> list[str]:
    """Say how each run ended, until all have; returns a sentence for each that failed."""
    failed: list[str] = []
    waiting = {_fingerprint(run): run for run in todo}
    started, seconds = time.monotonic(), 0.0
    ended = False
    while waiting and not ended:
        # First whether all is over, then what there is: what came in between is found in the last round.
        ended = process.poll() is not None
        for fingerprint, run in list(waiting.items()):
            state = work / f"{fingerprint}.state"
            if not state.is_file():
                continue
            del waiting[fingerprint]
            told = json.loads(state.read_text())
            seconds += told["seconds"]
            if told["error"]:
                failed.append(f"The run of {sweep.in_words(run)} failed: {told['error']}")
                say(failed[-1])
            say(_progress(len(todo) - len(waiting), len(todo), len(failed), time.monotonic() - started))
        if waiting and not ended:
            time.sleep(_LOOKS_EVERY)
    process.wait()
    in_sum, by_the_clock = map(duration_in_words, (seconds, time.monotonic() - started))
    say(f"The runs took {in_sum} in sum, {by_the_clock} by the clock.")
    if len(waiting) == len(todo) and not any(work.glob("[0-9a-f]*.log")):
        raise SweepError(
            f"Snakemake stopped before the first run ended: {_last_words(work)} (see {work}/snakemake.log)."
        )
    for fingerprint, run in waiting.items():
        log = work / f"{fingerprint}.log"
        if log.is_file():
            failed.append(
                f"The run of {sweep.in_words(run)} ended without a word, as one that was killed does (see {log})."
            )
            say(failed[-1])
    if not_begun := [run for fingerprint, run in waiting.items() if not (work / f"{fingerprint}.log").is_file()]:
        failed += [f"The run of {sweep.in_words(run)} was not begun." for run in not_begun]
        say(f"{len(not_begun)} runs were not begun, because Snakemake stopped: {_last_words(work)}.")
    return failed


def _last_words(work: Path) -> str:
    lines = (work / "snakemake.log").read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _progress(done: int, count: int, failed: int, seconds: float) -> str:
    words = f"{done} of {count} done" + (f", {failed} failed" if failed else "")
    if done == count:
        return f"{words} in {duration_in_words(seconds)}."
    return f"{words}, about {duration_in_words(seconds / done * (count - done))} left."


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _stop(process: subprocess.Popen[bytes], patience: float = 20) -> None:
    """Interrupt Snakemake and its runs, and do not come back before they have ended."""
    for number, seconds in ((signal.SIGINT, patience), (signal.SIGTERM, 5), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _cores() -> int:
    # Those that this process may use, where the system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fingerprint(run: Planned) -> str:
    return run.result.stem.rpartition("-")[2]


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """One row for each run of a sweep that is there, in the grid's order.

    Returns
    -------
    list of dict
        Columns: the grid's parameters, the others, every number of the run's values that is in no list, `C1_holds` and
        `C1_value` for each of its claims, `duration_seconds`, `training_seconds` and the `fingerprint` under which the
        run is kept. Of a mapping of keys to numbers each becomes a column `<name>[<key>]`. A value with the name of a
        parameter is called `values.<name>`.
    """
    found = []
    for run in sweep.runs:
        if not _made(run):
            continue
        result = json.loads(run.result.read_text())
        row: dict[str, Any] = {name: run.parameters[name] for name in sweep.grid}
        row |= run.parameters
        for name, value in result["values"].items():
            for column, number in _with_keys(name, value):
                if isinstance(number, int | float):
                    row[f"values.{column}" if column in row else column] = number
        for claim in result["claims"]:
            row[f"{claim['id']}_holds"] = claim["holds"]
            if isinstance(claim.get("value"), int | float):
                row[f"{claim['id']}_value"] = claim["value"]
        for name in ("duration_seconds", "training_seconds"):
            row[name] = result["manifest"][name]
        row["fingerprint"] = _fingerprint(run)
        found.append(row)
    return found


def _with_keys(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{name}[{key}]", one) for key, one in value.items()]
    return [(name, value)]


def summarized(
    table: Sequence[Mapping[str, Any]], by: Sequence[str], left_out: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Mean, standard deviation and 95 % interval of every quantity at every point of a grid.

    The interval is Student's, mean ± t(0.975, n - 1) std / sqrt(n), with the unbiased std. Of what is true or false
    the mean is the share that is true; std and interval, which would take it for Gaussian, are left out, as they are
    for one run.

    Parameters
    ----------
    table : sequence of mapping
        From `rows`.
    by : sequence of str
        The columns whose values make a point.
    left_out : collection of str
        Columns that are no quantities, such as the seed.

    Returns
    -------
    list of dict
        With the point's values, quantity, n, mean, std, low and high, in the units of the quantity; None where there is
        none.
    """
    points: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in table:
        points.setdefault(tuple(row[name] for name in by), []).append(row)
    found = []
    for point, members in points.items():
        # A quantity may be missing in some of the runs.
        for quantity in dict.fromkeys(name for row in members for name in row):
            if quantity not in by and quantity not in left_out:
                values = [row[quantity] for row in members if quantity in row]
                found.append({**dict(zip(by, point, strict=True)), "quantity": quantity, **_interval(values)})
    return found


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1 or all(isinstance(value, bool) for value in values):
        return {"n": n, "mean": mean, "std": None, "low": None, "high": None}
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n)
    return {"n": n, "mean": mean, "std": std, "low": mean - half, "high": mean + half}


def summary(sweep: Sweep, table: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """What `summarized` makes of the runs of a sweep that are there, over the seeds.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    table : sequence of mapping, optional
        From `rows`, which reads every run's files; read here if left out.

    Returns
    -------
    list of dict
    """
    settings = {name for run in sweep.runs for name in run.parameters} | {"fingerprint"}
    return summarized(
        rows(sweep) if table is None else table, [name for name in sweep.grid if name != sweep.over], settings
    )


def write_tables(sweep: Sweep) -> None:
    """Write the table of a sweep's runs that are there, and its summary as CSV and as Markdown; nothing if none is.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    """
    table = rows(sweep)
    if not table:
        return
    short = summary(sweep, table)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    runs.write_atomically(sweep.table, _csv(table))
    runs.write_atomically(sweep.summary, _csv(short))
    runs.write_atomically(sweep.page, in_words(sweep, short, "pipe") + "\n")


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in table for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def in_words(sweep: Sweep, short: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """The summary as a table to read: a row for each quantity of each point, with its interval.

    What has a key, such as an accuracy at each of ten ratios, is in the other tables only: it may be hundreds of rows.

    Parameters
    ----------
    sweep : Sweep
        From `plan`.
    short : sequence of mapping
        From `summary`.
    style : str
        A table format of `tabulate`; "pipe" is Markdown.

    Returns
    -------
    str
    """
    names = [name for name in sweep.grid if short and name in short[0]]
    headers = [*names, "quantity", "runs", "mean", "std", "95 % interval"]
    lines = []
    for row in (row for row in short if "[" not in row["quantity"]):
        interval = "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
        std = "" if row["std"] is None else f"{row['std']:.3g}"
        lines.append([*(row[name] for name in names), row["quantity"], row["n"], f"{row['mean']:.4g}", std, interval])
    return tabulate(lines, headers, style, disable_numparse=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one run of a plan, as Snakemake's jobs do, and leave word of how it ended; returns the exit status."""
    # When the job began, its imports included, in seconds since 1970.
    plan_file, fingerprint, began = arguments or sys.argv[1:]
    told = json.loads(Path(plan_file).read_text())
    (run,) = (run for run in told["runs"] if run["fingerprint"] == fingerprint)
    error = None
    try:
        made = runs.run(
            told["notebook"], told["profile"], run["parameters"], told["force"], Path(told["root"]), latest=False
        )
        if str(made.result) != run["result"]:
            error = "the notebook or the package was changed during the sweep: give the same command again."
    except runs.RunError as reason:
        error = str(reason)
    except Exception as reason:
        # Whatever it was, the others go on and the user is told.
        traceback.print_exc()
        error = f"it ended with {type(reason).__name__}: {reason}"
    if error:
        print(error, file=sys.stderr)
    state = {"error": error, "seconds": round(time.time() - float(began), 1)}
    runs.write_atomically(Path(plan_file).with_name(f"{fingerprint}.state"), json.dumps(state))
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
