"""The `vaemi` command: `audit`, and the companion's commands where the clone is there.

Modules are imported when a command runs: `vaemi --help` imports neither torch nor numpy.
"""

import importlib
import importlib.util
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from vaemi._version import __version__
from vaemi.errors import VaemiError

try:
    import typer
    from typer.core import TyperGroup
except ModuleNotFoundError:
    sys.exit("vaemi: typer is not installed: pip install 'vaemi[audit]'.")


class _Commands(TyperGroup):
    """Commands whose foreseeable errors end in one sentence on standard error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # As if SIGPIPE had ended the process; what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except VaemiError as error:
            message, status = str(error), 1
        except OSError as error:
            message, status = f"{error.filename or 'a file'}: {error.strerror or error}.", 1
        except KeyboardInterrupt:
            # A notebook's client would still complain that its kernel died.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            message, status = "interrupted; earlier results are unchanged.", 130
        print(f"vaemi: {message}", file=sys.stderr)
        raise typer.Exit(status)


app = typer.Typer(
    cls=_Commands,
    help="Which latent factors of a VAE matter, how much, and for what.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process if left out.

    Returns
    -------
    int
        0; 1 after an error that is explained on standard error; 2 after a malformed command; 3 after an audit with
        remarks, if it is strict; 130 after Ctrl-C; 141 if standard output was closed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 lacks letters such as sigma
    try:
        app(arguments, prog_name="vaemi")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vaemi {__version__}")
        raise typer.Exit


@app.callback()
def _vaemi(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: vaemi audit 'shards/*.safetensors' --state counted.safetensors --html report.html")
def audit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:NAME|MODULE:NAME|POSTERIORS",
            help="A function of a batch or a model with a method encode; or posteriors: a file, a folder, a pattern.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Argument(help="Inputs: .npy, .npz, .pt or .safetensors files, or folders of them; or more posteriors."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="NATS", min=0, help="Information above which a factor counts as influential.")
    ] = 0.1,
    scale: Annotated[
        Literal["log_variance", "variance", "std", "log_std"] | None,
        typer.Option(help="What the second output of the encoder is (log_variance if left out)."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs encoded at a time.")] = 256,
    device: Annotated[str | None, typer.Option(help="Such as cuda; that of the model's weights if left out.")] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Save the sums over files of posteriors here (.safetensors), and continue from them. States made on "
            "other machines can be named among the files.",
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Count files of posteriors on the workers of this Dask scheduler."),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="A decoder, to measure what each factor does to the output; found automatically in "
            "models of known libraries.",
        ),
    ] = None,
    no_decode: Annotated[bool, typer.Option("--no-decode", help="Do not measure effects on the output.")] = False,
    channel_axis: Annotated[
        int | None, typer.Option(help="Axis of the encoder's answers that counts the channels; 1 if left out.")
    ] = None,
    kl: Annotated[
        float | None,
        typer.Option(
            metavar="NATS",
            min=0,
            help="The KL term that the training logged, per input, not multiplied by beta: shows whether the "
            "scale is right.",
        ),
    ] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest size of the sums in memory.")] = 2**31,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 3 if there are remarks.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="REPORT.html", help="Also write a report of one page.")] = None,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write everything as JSON; - prints only that."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write all criteria as CSV; - prints only that."),
    ] = None,
) -> None:
    """Measure which latent factors of a VAE matter.

    Reads an encoder and inputs, or posteriors in files. The Python file with the encoder is run, and may do anything
    you may do.

    Posteriors are arrays mean and log_variance (or variance, std, log_std) in .safetensors or .npz files, or pairs of
    .npy files such as mean-0.npy and log_variance-0.npy. All but .npz are read in parts, and may be larger than memory.
    """
    from vaemi.auditing.command import STANDARD_OUTPUT, as_csv, as_json, audit_target, check_writable, write_text

    if json == csv == STANDARD_OUTPUT:
        raise VaemiError("--json - and --csv - both print to standard output: name a file for one of them.")
    check_writable(html, json, csv, None if state is None else Path(state))

    found, about = audit_target(
        target,
        data or [],
        scale=scale,
        threshold=threshold,
        batch_size=batch_size,
        device=device,
        state=state,
        dask=dask,
        decode=decode,
        no_decode=no_decode,
        channel_axis=channel_axis,
        kl=kl,
        max_bytes=max_bytes,
    )
    # What one reads goes to standard error where standard output is for a program.
    stream = sys.stderr if STANDARD_OUTPUT in (json, csv) else sys.stdout
    print(found.to_frame().to_string(index=False, float_format=lambda value: f"{value:.4f}"), file=stream)
    print(found, file=stream)
    if html:
        from vaemi.auditing import report  # imports matplotlib, which takes seconds

        print(f"Report: {report.write(found, html, about)}", file=stream)
    if json:
        write_text(as_json(found, about), json)
    if csv:
        write_text(as_csv(found), csv)
    if strict and found.remarks:
        raise typer.Exit(3)


def _needs_the_companion(ctx: typer.Context) -> None:
    raise VaemiError(
        f"vaemi {ctx.info_name} needs a clone of the project: clone it, and run pip install -e '.[companion]' in it."
    )


# By name, as the library must not depend on the companion.
if importlib.util.find_spec("companion") is not None:
    for command in importlib.import_module("companion.cli").COMMANDS:
        app.command()(command)
else:
    for name in ("run", "sweep", "data", "claims"):
        app.command(
            name,
            help="Needs a clone of the project.",
            hidden=True,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )(_needs_the_companion)
