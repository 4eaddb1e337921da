"""Entry point of the `vaemi` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vaemi.errors import MissingExtraError, import_extra


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process if left out.

    Returns
    -------
    int
        0; 1 after an error that is explained on standard error; 2 after a malformed command; 130 after Ctrl-C.
    """
    try:
        import_extra("typer", "audit")
    except MissingExtraError as error:
        print(f"vaemi: {error}", file=sys.stderr)
        return 1
    from vaemi.commands import app

    try:
        app(None if arguments is None else list(arguments), prog_name="vaemi")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
