"""Nothing that is read can run, nothing that is given reaches a shell, and what is installed is known."""

import ast
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import audit_dependencies
import pytest
from conftest import ROOT

FOLDERS = ("vaemi", "companion", "book", "workflow", ".ci", "benchmarks")
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {
    "os.system", "os.popen", "eval", "exec", "pickle.load", "pickle.loads", "joblib.load", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive",
}  # fmt: skip
# What runs code on purpose: the book's own solutions, of which the answers are computed.
ALLOWED = {"book/exercises.py": {"exec", "eval"}}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults_of(text):
    """Calls in a source that can run what they are given, with their lines."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        bad = (
            name in FORBIDDEN
            or name.endswith((".extractall", ".extract"))
            or ("shell" in given and given["shell"] is not False)
            or (name == "torch.load" and given.get("weights_only") is not True)
            or given.get("weights_only", True) is not True
            or given.get("allow_pickle", False) is not False
        )
        if bad:
            found.append(f"line {node.lineno}: {name}")
    return found


def test_nothing_that_is_read_or_given_can_run():
    for path in CODE:
        allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
        faults = [fault for fault in faults_of(path.read_text()) if fault.split(": ")[1] not in allowed]
        assert faults == [], path


@pytest.mark.parametrize(
    "line",
    [
        "os.system(command)", "subprocess.run(command, shell=True)", "subprocess.run(command, shell=switch)",
        "torch.load(path)", "torch.load(path, weights_only=False)", "trainer.fit(module, weights_only=False)",
        "np.load(path, allow_pickle=True)", "tar.extractall(folder)", "pickle.loads(content)", "yaml.load(text)",
    ],
)  # fmt: skip
def test_the_test_finds_what_it_looks_for(line):
    assert faults_of(line)


@pytest.fixture
def project(tmp_path):
    """A project with the Makefile and a Python that prints its arguments."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks" / "profiles", tmp_path / "notebooks" / "profiles")
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "ready").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    python.chmod(0o755)
    return tmp_path


def make(project, *arguments):
    done = subprocess.run(["make", *arguments], cwd=project, capture_output=True, text=True)
    assert not (project / "pwned").exists()
    return done


@pytest.mark.parametrize("name", ["quick; touch pwned", "$(touch pwned)", "`touch pwned`", "quick smoke", "%"])
@pytest.mark.parametrize("target", ["book", "figures"])
def test_make_refuses_what_is_not_a_profile(project, target, name):
    done = make(project, target, f"PROFILE={name.replace('$', '$$')}")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert f'There is no profile "{name}" in notebooks/profiles: choose one of paper' in done.stderr


@pytest.mark.parametrize(("variable", "target"), [("CORES", "book"), ("PORT", "serve")])
def test_what_make_is_given_is_not_part_of_a_command(project, variable, target):
    evil = "1; touch pwned"
    done = make(project, target, f"{variable}={evil}")
    assert done.returncode == 0, done.stderr
    assert f"<{evil}>" in done.stdout


def test_snakemake_refuses_what_is_no_profile():
    evil = "x; touch pwned"
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nolock", "--cores", "1", "--config"]
    done = subprocess.run([*command, f"profile={evil}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"There is no profile {evil!r} in notebooks/profiles" in done.stderr + done.stdout


def test_every_name_in_a_command_of_the_snakefile_is_quoted():
    text = (ROOT / "Snakefile").read_text()
    commands = [part.split("\n\n")[0] for part in text.split("shell:")[1:]]
    assert commands
    for command in commands:
        for name in re.findall(r"\{((?:wildcards|params)\.\w+|PROFILE|output[\w.]*)\}", command):
            # A literal of the Snakefile, which is nothing or a switch.
            assert name == "params.edition"


class _Answer(http.server.BaseHTTPRequestHandler):
    """A database of vulnerabilities that knows one fault, of torch, or something else that answers."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        vulnerable = {"vulns": [{"id": self.server.known}]} if self.server.known else {}
        results = [vulnerable if query["package"]["name"] == "torch" else {} for query in asked]
        content = self.server.other or json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def audited():
    """A function that asks a database, given by what it knows or says, and returns the exit status."""

    def ask(known=None, other=None):
        with http.server.HTTPServer(("127.0.0.1", 0), _Answer) as server:
            server.known, server.other = known, other
            threading.Thread(target=server.serve_forever, daemon=True).start()
            status = audit_dependencies.main(f"http://127.0.0.1:{server.server_port}/")
            server.shutdown()
        return status

    return ask


def test_known_faults_of_pinned_packages_are_found(audited, capsys, monkeypatch):
    assert audited() == 0
    assert audited("PYSEC-1") == 1
    assert "torch 2.13.0: PYSEC-1" in capsys.readouterr().out
    monkeypatch.setitem(audit_dependencies.ACCEPTED, "PYSEC-1", "does not concern us")
    assert audited("PYSEC-1") == 0


@pytest.mark.parametrize("other", [b"<html>", b'{"results": [1]}'])
def test_an_answer_of_something_else_is_not_an_audit(audited, other, capsys):
    assert audited(other=other) == 0
    assert capsys.readouterr().out.startswith("The dependencies were not audited")


def test_without_a_network_the_audit_says_so_in_one_sentence(capsys):
    assert audit_dependencies.main("http://127.0.0.1:9/") == 0
    out = capsys.readouterr().out
    assert out.startswith("The dependencies were not audited")
    assert out.count("\n") == 1


@pytest.mark.parametrize(("fault", "failing", "status"), [(0, 0, 0), (1, 0, 1), (1, 1, 2)])
def test_a_known_fault_fails_the_integration_after_the_tests(tmp_path, fault, failing, status):
    """The script with a make of our own, which says what it was asked for."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "bin").mkdir()
    for name, words in {
        "make": f'case "$*" in *audit*) echo audited; exit {fault};; *) echo "$2 passed"; exit {2 * failing};; esac',
        "chromium": "true",
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{words}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, env=environment, timeout=60)
    targets = ["check-lock", "lint", "test", "test-slow"]
    assert done.stdout.splitlines() == ["audited", *(f"{target} passed" for target in targets)]
    assert bool(done.returncode) == bool(status)
