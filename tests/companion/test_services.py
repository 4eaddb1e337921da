"""GitHub Pages and Binder: what can be known of them without the services."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT

LEAST_PYTHON = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())
BUILD, PUBLISH = WORKFLOW["jobs"]["build"], WORKFLOW["jobs"]["publish"]
MAKEFILE = (ROOT / "Makefile").read_text()
BINDER = ROOT / ".binder"


def options(action):
    (found,) = (step for step in BUILD["steps"] if step.get("uses", "").startswith(action))
    return found["with"]


def test_the_workflow_builds_with_make_and_the_lock():
    assert [step["run"] for step in BUILD["steps"] if "run" in step] == ["make book PROFILE=reference"]
    assert re.search(r"^\.venv/ready: requirements\.lock\b", MAKEFILE, re.MULTILINE)
    assert options("actions/setup-python")["cache-dependency-path"] == "requirements.lock"
    assert options("actions/setup-python")["python-version"] == LEAST_PYTHON
    assert options("actions/upload-pages-artifact")["path"] == "_build/html"


def test_the_workflow_runs_for_main_alone_and_only_the_publishing_job_may_write():
    # YAML 1.1 takes the key "on" for true.
    assert WORKFLOW[True]["push"] == {"branches": ["main"]}
    assert "pull_request" not in WORKFLOW[True]
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in BUILD
    assert PUBLISH["permissions"] == {"pages": "write", "id-token": "write"}
    assert PUBLISH["needs"] == "build"
    assert not options("actions/checkout")["persist-credentials"]
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v1"))


def test_binder_installs_the_lock_and_the_package_as_make_does():
    assert (BINDER / "runtime.txt").read_text().strip() == f"python-{LEAST_PYTHON}"
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["-r ../requirements.lock"]
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)
    wanted = {"--no-deps", "--no-build-isolation", "--editable"}
    assert wanted <= set(script.read_text().split())
    assert wanted <= set(MAKEFILE.split())
    # repo2docker takes binder/ before .binder/, and a Dockerfile or environment.yml there before requirements.txt.
    assert not (ROOT / "binder").exists()
    assert sorted(path.name for path in BINDER.iterdir()) == ["postBuild", "requirements.txt", "runtime.txt"]


@pytest.mark.parametrize("path", [".github/workflows/pages.yml", ".binder/postBuild", ".binder/runtime.txt"])
def test_they_are_committed(path):
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode != 0
