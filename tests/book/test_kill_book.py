"""`make book` that is killed holds up nobody: the same command finishes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

NOT_COPIED = shutil.ignore_patterns(".venv", ".git", "_build", ".snakemake", "results", "__pycache__", ".*_cache")
# The Makefile's command, for one run instead of the site.
COMMAND = [sys.executable, "book/make.py", "--profile", "smoke", "--cores", "2", "results/smoke/theory.json"]


@pytest.mark.slow
def test_a_killed_make_book_finishes_the_next_time(tmp_path):
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=NOT_COPIED)
    (project / "bin").mkdir()
    command = project / "bin" / "vaemi"
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom vaemi.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project)}
    results = project / "results" / "smoke"

    process = subprocess.Popen(COMMAND, cwd=project, env=environment, start_new_session=True)
    until = time.monotonic() + 240
    while not list(results.glob(".theory.*/")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (results / "theory.json").exists()

    subprocess.run(COMMAND, cwd=project, env=environment, check=True, timeout=300)
    assert json.loads((results / "theory.json").read_text())["claims"]
    assert [path.name for path in results.glob(".*") if path.is_dir()] == []
