"""The commands `vaemi run`, `sweep`, `data` and `claims`. What they need is imported when they run."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from companion.errors import DataError, RunError

_Notebook = Annotated[str, typer.Argument(metavar="NOTEBOOK", help="Name of a notebook in notebooks/, such as mnist.")]
_Profile = Annotated[
    str, typer.Option(metavar="NAME", help="Profile in notebooks/profiles: smoke, quick, paper or reference.")
]
_Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", metavar="NAME=VALUE", help="Set a parameter of the notebook; may be given several times."),
]


def run(
    notebook: _Notebook,
    profile: _Profile = "quick",
    parameters: _Parameters = None,
    force: Annotated[bool, typer.Option("--force", help="Train again instead of loading a finished training.")] = False,
) -> None:
    """Run an experiment's notebook and keep its results."""
    from companion import runs

    # Papermill repeats a notebook's progress bars as warnings; they are shown without a prefix.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    result = runs.run(notebook, profile, _assignments(parameters), force)
    print(f"The run of {notebook} at profile {profile} is done: {result}")


def sweep(
    notebook: _Notebook,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "-g",
            metavar="NAME=VALUES",
            help="A parameter that varies: values between commas (beta=1,2,4) or a range of whole numbers with its "
            "ends (seed=0..4); may be given several times.",
        ),
    ] = None,
    parameters: _Parameters = None,
    profile: _Profile = "quick",
    name: Annotated[str | None, typer.Option(help="Name of the tables; NOTEBOOK-PARAMETER-... if left out.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one per core if left out.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Make all runs again, training included.")] = False,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Snakemake profile of a cluster to run on, such as workflow/profiles/slurm."
        ),
    ] = None,
    over: Annotated[
        str,
        typer.Option(metavar="NAME", help="Parameter that repeats a run; intervals are over it."),
    ] = "seed",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask about more than 1,000 runs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and start none.")] = False,
) -> None:
    """Run a notebook over a grid of parameters and make tables.

    Writes results/PROFILE/sweeps/NAME.csv with one row per run, and NAME-summary.csv and NAME-summary.md with means,
    standard deviations and 95 % intervals over the seeds. Runs that exist are not made again, so the same command
    continues an interrupted sweep. The latest run of the notebook, which the site shows, is unchanged.

    Example: vaemi sweep mnist -g beta=1,2,4,8 -g seed=0..4
    """
    from companion import sweep as sweeps

    planned = sweeps.plan(notebook, sweeps.parse_grid(grid or []), profile, _assignments(parameters), name, over)
    points, missing = planned.points, planned.missing
    if dry_run:
        for point in points:
            words = ", ".join(f"{name} = {value}" for name, value in point.items())
            print(f"{words}: {'to be made' if point in missing else 'exists'}")
        print(f"{len(points)} runs, {len(missing)} to be made.")
        return
    if len(points) > 1000 and not yes:
        typer.confirm(f"The grid has {len(points):,} runs. Make them all (--yes does not ask)?", abort=True)
    complete = sweeps.make(planned, jobs, threads, force, cluster)
    tables = [planned.file(ending) for ending in (".csv", "-summary.csv", "-summary.md")]
    if tables[-1].exists():
        print(tables[-1].read_text(encoding="utf-8"))
        print("Tables: " + ", ".join(map(str, tables)))
    if not complete:
        raise RunError(f"{len(planned.missing)} of {len(points)} runs failed: run the same command to try them again.")


def data(
    action: Annotated[Literal["status", "get", "check"], typer.Argument(help="What to do.")],
    data_set: Annotated[
        Literal["mnist", "celeba", "deap"] | None, typer.Argument(help="The data set; all of them if left out.")
    ] = None,
    source: Annotated[str, typer.Option(help="Where to get it from, such as folder or embedded.")] = "auto",
) -> None:
    """Show which data are there, fetch them, or check them."""
    from companion.data import DATA_SETS, data_root, reader
    from vaemi.information.words import counted

    print(f"Data root: {data_root()}")
    problems: list[str] = []
    for name in [data_set] if data_set else DATA_SETS:
        module = reader(name)
        if action == "get":
            module.load(source)
            for sentence in module.unused_files():
                print(sentence)
            continue
        try:
            sentences, unused = module.status(), module.unused_files()
            if action == "check":
                found = unused + module.check()
                sentences.append(f"{counted(len(found), 'problem')} found." if found else "No problem found.")
                problems += found
            else:
                sentences += unused
        except DataError as error:
            sentences = [str(error)]
            problems += sentences
        print(f"{name}: {' '.join(sentences)}")
    if problems:
        raise DataError(" ".join(problems))


def claims(profile: _Profile = "quick") -> None:
    """Print the claims with the published and the measured numbers."""
    from companion import claims as judged
    from companion.runs import project_root

    results = project_root() / "results"
    rows = judged.load(profile, results)
    print(judged.table(rows, judged.load_reference(profile, results)).to_string(index=False))
    for source in sorted({row["data"]["source"] for row in rows}):
        print(f"Data: {source}.")


#: What the companion adds to `vaemi`.
COMMANDS: tuple[Callable[..., None], ...] = (run, sweep, data, claims)


def _assignments(texts: Sequence[str] | None) -> dict[str, str]:
    """Return the parameters in texts such as ``"beta=4"``; the notebook's types decide what the values mean."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE, such as beta=4.")
        found[name] = value
    return found
