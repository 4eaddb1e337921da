"""Run Snakemake for `make book` under an exclusive lock that is released when the process dies.

    python book/make.py ARGUMENTS OF SNAKEMAKE

Snakemake's own lock outlives a killed process, and the next build then refuses to start.
"""

import sys
from pathlib import Path

from snakemake.cli import main  # type: ignore[import-untyped]

from vaemi._files import exclusive_lock

if __name__ == "__main__":
    build = Path(__file__).resolve().parent.parent / "_build"
    try:
        build.mkdir(exist_ok=True)
        with exclusive_lock(build / ".make.lock", f"book: another make book is running in {build.parent}; waiting."):
            main(["--nolock", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"book: {error.filename or build}: {error.strerror or error}.")
