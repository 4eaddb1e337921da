"""The `vaemi` command. What a user can cause ends in one sentence on standard error and exit status 1."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from vaemi import __version__, claims, runs
from vaemi.auditing import SCALES, AuditError
from vaemi.data import DataError, celeba, data_root, eeg_frames, mnist

# Each has SOURCES, load(source), status() and check().
DATA_SETS: dict[str, Any] = {"mnist": mnist, "celeba": celeba, "deap": eeg_frames}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (DataError, runs.RunError, claims.ClaimsError, AuditError) as error:
        print(f"vaemi: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
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
        description="Which latent factors of any VAE matter, from its encoder and inputs or from posteriors in a file. "
        "The Python file that holds the encoder is run, and may do anything you may do.",
    )  # fmt: skip
    audit.add_argument(
        "target", metavar="FILE.py:NAME | MODULE:NAME | POSTERIORS",
        help="a function of a batch, or a model with a method encode; or a file with arrays mean and log_variance",
    )  # fmt: skip
    audit.add_argument(
        "data", nargs="?", metavar="DATA", help="inputs: .npy, .npz, .pt, .safetensors, or a folder of them"
    )
    audit.add_argument("--threshold", type=float, default=0.1, metavar="NATS", help="from where a factor counts (0.1)")
    audit.add_argument("--scale", choices=SCALES, help="what the second output is (log_variance)")
    audit.add_argument("--batch-size", type=int, default=256, help="inputs encoded at a time (256)")
    audit.add_argument("--device", help="such as cuda; where the model's weights are, if left out")
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
    from vaemi._audit_command import audited

    found, about = audited(
        options.target,
        options.data,
        scale=options.scale,
        threshold=options.threshold,
        batch_size=options.batch_size,
        device=options.device,
    )
    print(found.to_frame().to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    print(found)
    if options.html:
        from vaemi import report  # brings matplotlib, which takes seconds

        print(f"Report: {report.write(found, options.html, about)}")
