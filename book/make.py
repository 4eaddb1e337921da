"""Snakemake behind `make book`, with a lock that no dead process holds.

    python book/make.py ARGUMENTS OF SNAKEMAKE

Snakemake's own lock is a file that a killed process leaves, and the next one then refuses to begin.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vaemi._files import only_one

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Wait for another `make book` in this folder, then become Snakemake."""

    def say_waiting() -> None:
        print(f"book: another make book is at work in {ROOT}; waiting for it.", file=sys.stderr)

    folder = ROOT / "_build"
    try:
        folder.mkdir(exist_ok=True)
        # Never left: the system gives the lock back when the process that this one becomes has ended.
        with only_one(folder / ".make.lock", say_waiting, inherited=True) as locked:
            alone = ["--nolock"] if locked else []
            os.execvp("snakemake", ["snakemake", *alone, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"book: {error.filename or folder}: {error.strerror or error}.")


if __name__ == "__main__":
    main()
