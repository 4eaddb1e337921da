"""Write the licences of the pinned packages, as they state them themselves, to LICENSES-third-party.md.

    python .ci/licences.py [--check]

With --check nothing is written, and the exit status is 1 if the file is not current.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "LICENSES-third-party.md"
HEAD = """\
# Licences of the packages that vaemi is run with

vaemi itself is under the licence in `LICENSE` and contains none of these packages: pip installs them, in the versions
of `requirements.lock`, from where their authors publish them. Made by `make licences` from what the packages say.

| package | licence |
|---|---|
"""


def main() -> int:
    """Entry point; returns the exit status."""
    try:
        text = table()
    except metadata.PackageNotFoundError as error:
        print(f"licences: {error.name} of requirements.lock is not installed: run make test once.", file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        if not current:
            print(f"licences: {TARGET.name} is not current: run make licences.", file=sys.stderr)
        return int(not current)
    TARGET.write_text(text, encoding="utf-8")
    print(f"The licences are in {TARGET}.")
    return 0


def table() -> str:
    """Return the whole file: a row per pinned package that this system needs."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    needed = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    rows = [f"| {pin.name} | {licence(metadata.metadata(pin.name))} |\n" for pin in needed]
    return HEAD + "".join(rows)


def licence(about: metadata.PackageMetadata) -> str:
    """In a few words: the expression if there is one, else the classifiers, else a short text."""
    if expression := about.get("License-Expression"):
        return expression
    classified = [
        line.rsplit(" :: ", 1)[-1]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    if classified:
        return "; ".join(sorted(set(classified)))
    # Some put the whole text here, of which the first line is the name.
    first, *_ = (about.get("License") or "").strip().splitlines() or [""]
    return short(first) or first_line_of_the_file(about["Name"]) or "not stated"


def first_line_of_the_file(name: str) -> str:
    """Return the first line of the licence that a package carries, its name in most."""
    for file in metadata.files(name) or []:
        if re.match(r"(?i)licen[cs]e|copying", file.name):
            return next((short(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()), "")
    return ""


def short(text: str) -> str:
    """Fit for the cell of a table."""
    return text.strip().replace("|", "/")[:80]


if __name__ == "__main__":
    sys.exit(main())
