"""Renew requirements.lock from pyproject.toml, or check that it resolves on every system and Python that README names.

`python .ci/lock.py` renews it and keeps versions that still fit. With `--check` nothing is written, and the exit status
is 1 where a pinned version has no wheel. Both ask the package index that pip is configured for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
EXTRAS = ("companion", "test", "docs", "libraries")
# The pair that belongs together. pyproject.toml accepts other versions of torch; the clone is tested with this one.
PINS = "torch==2.13.0\ntorchvision==0.28.0\n"
# torch's own wheel names the GPU libraries that it needs; a CPU build needs none.
GPU_LIBRARIES = ("nvidia-", "cuda-", "triton")
# Pure Python, published without wheels.
WITHOUT_WHEELS = ("connection-pool", "docrep")
PYTHONS = ("3.11.0", "3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc")
HEAD = """\
# Exact versions of everything that `make` installs, for Linux, macOS and Windows. Made from pyproject.toml by
# `python .ci/lock.py`.
"""


def main() -> int:
    """Entry point; returns the exit status."""
    return check() if "--check" in sys.argv[1:] else renew()


def compile_lock(*arguments: str, pins: str = "") -> subprocess.CompletedProcess[str]:
    """Run `uv pip compile` without downloading other Pythons."""
    return subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", *arguments],
        cwd=ROOT,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        input=pins,
        capture_output=True,
        text=True,
        check=False,
    )


def renew() -> int:
    """Resolve anew, preferring the versions that are pinned."""
    extras = [argument for extra in EXTRAS for argument in ("--extra", extra)]
    universal = ("--universal", "--python-version", "3.11", "--output-file", str(LOCK))
    done = compile_lock(*universal, *extras, "pyproject.toml", "-", pins=PINS)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    lines = LOCK.read_text(encoding="utf-8").splitlines(keepends=True)
    LOCK.write_text(
        HEAD + "".join(line for line in lines if not line.startswith(("#", *GPU_LIBRARIES))), encoding="utf-8"
    )
    print(f"{LOCK.name} is renewed; run make licences.")
    return 0


def check() -> int:
    """Resolve the lock for every system and Python, wheels only."""
    sources = [argument for name in WITHOUT_WHEELS for argument in ("--no-binary", name)]
    failed = 0
    for platform in PLATFORMS:
        for python in PYTHONS:
            done = compile_lock(
                *("--no-deps", "--only-binary", ":all:", *sources, "--output-file", os.devnull),
                *("--python-version", python, "--python-platform", platform, LOCK.name),
            )
            if "Failed to fetch" in done.stderr:
                print("The lock was not checked: the package index does not answer.")
                return 0
            reason = next((line for line in done.stderr.splitlines() if "Because" in line), done.stderr.strip())
            print(f"{platform}, Python {python}: {f'fails: {reason}' if done.returncode else 'resolves'}")
            failed += done.returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
