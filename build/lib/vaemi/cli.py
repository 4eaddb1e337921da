"""The `vaemi` command. What a user can cause ends in one sentence on standard error and exit status 1."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from companion import claims, runs
from companion.data import DataError, celeba, data_root, eeg_frames, mnist
from vaemi import __version__
from vaemi.auditing.encoder import SCALES, AuditError

# Each has SOURCES, load(source), status() and check().
DATA_SETS: dict[str, Any] = {"mnist": mnist, "celeba": celeba, "deap": eeg_frames}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (DataError, runs.RunError, AuditError) as error:
        print(f"vaemi: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # What waited for the notebook's process would still complain that it died.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        print("vaemi: interrupted; earlier results are untouched, and the same command goes on.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"vaemi: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vaemi", description="Which latent factors of a VAE matter, how much, and for what."
    )
    parser.add_argument("--version", action="version", version=f"vaemi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run an experiment's notebook and keep its results")
    run.add_argument("notebook", help="name of a notebook in notebooks/, such as mnist")
    run.add_argument("--profile", default="quick", help="smoke, quick (default) or paper: how long it may train")
    run.add_argument(
        "-p", dest="parameters", action="append", default=[], type=_assignment, metavar="NAME=VALUE",
        help="override a parameter of the notebook; may be given several times",
    )  # fmt: skip
    run.add_argument("--force", action="store_true", help="run again, training included, even if nothing changed")
    run.set_defaults(command=_run)

    sweep = commands.add_parser(
        "sweep",
        help="run a notebook over a grid of parameters and make one table of it",
        description="Run a notebook with every combination of some parameters' values, several runs at a time, "
        "and make tables of what they found: results/PROFILE/sweeps/NAME.csv with a row for each run, NAME-summary.csv "
        "and NAME-summary.md with means, standard deviations and 95 % intervals over the seeds. A run that was made "
        "before is taken as it is, so the same command goes on where an earlier one was stopped. The latest run of the "
        "notebook, which the site shows, stays what it is.",
        epilog="Example: vaemi sweep mnist -g beta=1,2,4,8 -g seed=0..4",
    )
    sweep.add_argument("notebook", help="name of a notebook in notebooks/, such as mnist")
    sweep.add_argument(
        "-g", dest="grid", action="append", default=[], metavar="NAME=VALUES",
        help="a parameter that varies: values between commas (beta=1,2,4), a range of whole numbers with its ends "
        "(seed=0..4), texts with a comma in quotes (label='\"a,b\",c'); may be given several times",
    )  # fmt: skip
    sweep.add_argument(
        "-p", dest="parameters", action="append", default=[], type=_assignment, metavar="NAME=VALUE",
        help="override a parameter of the notebook in all runs; may be given several times",
    )  # fmt: skip
    sweep.add_argument("--profile", default="quick", help="smoke, quick (default) or paper: how long each may train")
    sweep.add_argument("--name", help="of the tables; NOTEBOOK-PARAMETER-... if left out, as in mnist-beta-seed")
    sweep.add_argument("--over", default="seed", metavar="NAME", help="what the intervals are over (default: seed)")
    sweep.add_argument(
        "--jobs", default="auto", type=_count_or_auto, metavar="N|auto",
        help="runs at a time; auto (default) is one for each processor core",
    )  # fmt: skip
    sweep.add_argument("--threads", default=1, type=_count, metavar="N", help="threads of each run (default: 1)")
    sweep.add_argument("--force", action="store_true", help="make all runs again, training included")
    sweep.add_argument("--dry-run", action="store_true", help="say which runs there are, and start none")
    sweep.add_argument("--yes", action="store_true", help="do not ask about more than 1,000 runs")
    sweep.add_argument(
        "--cluster", type=Path, metavar="FOLDER",
        help="make the runs where this Snakemake profile says, such as workflow/profiles/slurm",
    )  # fmt: skip
    sweep.set_defaults(command=_sweep)

    data = commands.add_parser("data", help="say what data there are, fetch them, check them")
    data.add_argument("action", choices=("status", "get", "check"))
    data.add_argument("data_set", nargs="?", choices=tuple(DATA_SETS), help="all of them if left out")
    sources = dict.fromkeys(source for module in DATA_SETS.values() for source in module.SOURCES)
    data.add_argument("--source", default="auto", choices=("auto", *sources), help="where to get it from")
    data.set_defaults(command=_data)

    table = commands.add_parser("claims", help="the table claim - published - reference run - this run - verdict")
    table.add_argument("--profile", default="quick")
    table.set_defaults(command=_claims)

    audit = commands.add_parser(
        "audit", help="which latent factors of any VAE matter",
        description="Which latent factors of any VAE matter, from its encoder and inputs or from posteriors in files. "
        "The Python file that holds the encoder is run, and may do anything you may do. Posteriors are arrays mean and "
        "log_variance (or variance, std, log_std) in .npz, .safetensors or .pt files, or pairs such as mean-0.npy and "
        "log_variance-0.npy; they are read a part at a time, so that they may be larger than memory.",
        epilog="Example: vaemi audit 'shards/*.safetensors' --state counted.safetensors --processes 4",
    )  # fmt: skip
    audit.add_argument(
        "target", metavar="FILE.py:NAME | MODULE:NAME | POSTERIORS",
        help="a function of a batch, or a model with a method encode; or files of posteriors, a folder or a pattern",
    )  # fmt: skip
    audit.add_argument(
        "data", nargs="*", metavar="DATA",
        help="inputs: .npy, .npz, .pt, .safetensors, or folders of them; or more files of posteriors",
    )  # fmt: skip
    audit.add_argument("--threshold", type=float, default=0.1, metavar="NATS", help="from where a factor counts (0.1)")
    audit.add_argument("--scale", choices=SCALES, help="what the second output is (log_variance)")
    audit.add_argument("--batch-size", type=int, default=256, help="inputs encoded at a time (256)")
    audit.add_argument("--device", help="such as cuda; where the model's weights are, if left out")
    audit.add_argument(
        "--state", metavar="FILE",
        help="keep what was gathered of files of posteriors here (.safetensors), and go on from it; states of other "
        "machines can be named among the files",
    )  # fmt: skip
    audit.add_argument(
        "--processes", default=1, type=_count, metavar="N", help="share files of posteriors among so many (1)"
    )
    audit.add_argument("--html", metavar="REPORT.html", help="write a report of one page as well")
    audit.set_defaults(command=_audit)
    return parser


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, _number(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"the value in {text!r} is not readable") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _count_or_auto(text: str) -> int | None:
    return None if text == "auto" else _count(text)


def _number(value: str) -> Any:
    # YAML 1.1 takes 1e-3 for a word; float does not, and leaves true words to YAML.
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return yaml.safe_load(value)


def _run(options: argparse.Namespace) -> None:
    # Papermill repeats what the notebook writes to standard error, its progress bars, as warnings.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    outcome = runs.run(options.notebook, options.profile, dict(options.parameters), options.force)
    how = "was made before (--force runs it again)" if outcome.made_before else "is done"
    print(f"The run of {options.notebook} at profile {options.profile} {how}: {outcome.result}")


def _sweep(options: argparse.Namespace) -> None:
    from companion import sweep

    grid: dict[str, list[Any]] = {}
    for text in options.grid:
        name, equals, values = text.partition("=")
        if not equals or not name.isidentifier():
            raise sweep.SweepError(f"{text!r} is not of the form NAME=VALUES: write -g beta=1,2,4 or -g seed=0..4.")
        if name in grid:
            raise sweep.SweepError(f"The parameter {name} is varied twice: write all its values in one -g.")
        grid[name] = sweep.values_of(values, _readable)
    planned = sweep.plan(
        options.notebook, grid, options.profile, dict(options.parameters), options.name, options.over, options.yes
    )
    if options.dry_run:
        for run in planned.runs:
            print(f"{planned.in_words(run)}: {'was made before' if run.made_before else 'to be made'}")
        made = sum(run.made_before for run in planned.runs)
        print(f"{len(planned.runs)} runs, {made} of them made before.")
        return
    failed = sweep.make(planned, options.jobs, options.threads, options.force, options.cluster)
    if short := sweep.summary(planned):
        print(sweep.in_words(planned, short))
        print(f"Tables: {planned.table}, {planned.summary} and {planned.page}")
    if failed:
        raise sweep.SweepError(
            f"{len(failed)} of {len(planned.runs)} runs failed, named above; the same command tries these again."
        )


def _readable(text: str) -> Any:
    try:
        return _number(text)
    except yaml.YAMLError:
        raise runs.RunError(f"The value {text!r} is not readable: quote a text with signs of YAML in it.") from None


def _data(options: argparse.Namespace) -> None:
    names = [options.data_set] if options.data_set else list(DATA_SETS)
    problems: list[str] = []
    print(f"Data root: {data_root()}")
    for name in names:
        module = DATA_SETS[name]
        if options.action == "get":
            module.load(options.source)
            continue
        found = module.check() if options.action == "check" else []
        problems += found
        sentences = module.status()
        if options.action == "check":
            sentences.append(f"{len(found)} problem(s) found." if found else "What is there is good.")
        print(f"{name}: {' '.join(sentences)}")
    if problems:
        raise DataError(" ".join(problems))


def _claims(options: argparse.Namespace) -> None:
    results = runs.project_root() / "results"
    rows = claims.load(options.profile, results)
    print(claims.table(rows, claims.load_reference(options.profile, results)).to_string(index=False))
    for source in sorted({row["data"]["source"] for row in rows}):
        print(f"Data: {source}.")


def _audit(options: argparse.Namespace) -> None:
    from vaemi.auditing.command import audited

    found, about = audited(
        options.target,
        options.data,
        scale=options.scale,
        threshold=options.threshold,
        batch_size=options.batch_size,
        device=options.device,
        state=options.state,
        processes=options.processes,
    )
    print(found.to_frame().to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    print(found)
    if options.html:
        from vaemi.auditing import report  # brings matplotlib, which takes seconds

        print(f"Report: {report.write(found, options.html, about)}")
