"""A run that is killed leaves the earlier result, and the same command then succeeds."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import VAEMI, project_with_a_notebook

BODY = """\
import time
from pathlib import Path
from companion.data.sources import Provenance
from companion.runs import Run

Run("tiny").finish(data=Provenance("none", True, 0, "0"), values={"beta": beta}, seed=0)
Path("begun").touch()
time.sleep(seconds)
"""
COMMAND = [*VAEMI, "run", "tiny"]


@pytest.mark.slow
def test_a_killed_run_leaves_the_earlier_result(tmp_path):
    project = project_with_a_notebook(tmp_path, "beta: float = 6.0\nseconds: float = 0.0", BODY, "")
    folder = project / "results" / "quick"
    subprocess.run(COMMAND, cwd=project, check=True)
    before = {path.name: path.read_bytes() for path in folder.glob("tiny.*")}
    (project / "begun").unlink()

    arguments = ["-p", "beta=4", "-p", "seconds=60"]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=project, start_new_session=True)
    until = time.monotonic() + 120
    while not (project / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert {path.name: path.read_bytes() for path in folder.glob("tiny.*")} == before

    subprocess.run([*COMMAND, "-p", "beta=4"], cwd=project, check=True)
    assert json.loads((folder / "tiny.json").read_text())["values"] == {"beta": 4.0}
    assert sorted(path.name for path in folder.iterdir()) == [".tiny.lock", "tiny.ipynb", "tiny.json"]
