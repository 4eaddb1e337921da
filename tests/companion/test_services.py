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
MAKEFILE = (ROOT / "Makefile").read_text()
BINDER = ROOT / ".binder"


def steps(job):
    return WORKFLOW["jobs"][job]["steps"]


def step(job, action):
    (found,) = (each for each in steps(job) if each.get("uses", "").startswith(action))
    return found.get("with", {})


def test_the_workflow_builds_with_make_and_the_lock():
    commands = [each["run"] for each in steps("build") if "run" in each]
    assert commands == ["make book PROFILE=reference"]
    assert re.search(r"^book: \.venv/ready$", MAKEFILE, re.MULTILINE)
    assert re.search(r"^\.venv/ready: requirements\.lock\b", MAKEFILE, re.MULTILINE)
    assert (ROOT / "notebooks" / "profiles" / "reference.yaml").exists()
    assert step("build", "actions/setup-python")["cache-dependency-path"] == "requirements.lock"
    assert step("build", "actions/upload-pages-artifact")["path"] == "_build/html"
    assert "_build/html" in MAKEFILE


def test_only_the_publishing_job_may_write_and_only_pages():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in WORKFLOW["jobs"]["build"]
    publish = WORKFLOW["jobs"]["publish"]
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert publish["needs"] == "build"
    assert publish["environment"]["name"] == "github-pages"
    assert not step("build", "actions/checkout")["persist-credentials"]


def test_the_workflow_runs_for_main_alone_with_actions_of_one_version():
    # YAML 1.1 takes the key "on" for true.
    assert WORKFLOW[True]["push"] == {"branches": ["main"]}
    assert "pull_request" not in WORKFLOW[True]
    used = [each["uses"] for job in WORKFLOW["jobs"] for each in steps(job) if "uses" in each]
    assert len(used) == 6
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", action), action


def test_one_version_of_python_everywhere():
    assert step("build", "actions/setup-python")["python-version"] == LEAST_PYTHON
    assert (BINDER / "runtime.txt").read_text().strip() == f"python-{LEAST_PYTHON}"


def test_binder_installs_the_lock_and_the_package():
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    (requirement,) = (line for line in lines if line and not line.startswith("#"))
    flag, path = requirement.split()
    assert flag == "-r"
    assert (BINDER / path).resolve() == ROOT / "requirements.lock"
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!")
    subprocess.run(["sh", "-n", script], check=True)
    # The same installation of the package as make's.
    wanted = {"--no-deps", "--no-build-isolation", "--editable"}
    assert wanted <= set(script.read_text().split())
    assert wanted <= set(MAKEFILE.split())


def test_nothing_else_configures_binder():
    # repo2docker takes binder/ before .binder/, and a Dockerfile or environment.yml there before requirements.txt.
    assert not (ROOT / "binder").exists()
    assert sorted(path.name for path in BINDER.iterdir()) == ["postBuild", "requirements.txt", "runtime.txt"]


@pytest.mark.parametrize("path", [".github/workflows/pages.yml", ".binder/postBuild", ".binder/runtime.txt"])
def test_they_are_committed(path):
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode != 0
