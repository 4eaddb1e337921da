"""Nothing that is read can run, nothing that is given reaches a shell, and what is installed is known."""

import ast
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import threading

import pytest
from conftest import ROOT

FOLDERS = ("vaemi", "companion", "book", "workflow", ".ci", "benchmarks")
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {
    "os.system", "os.popen", "eval", "exec", "pickle.load", "pickle.loads", "joblib.load", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive",
}  # fmt: skip
SNAKEMAKE = [shutil.which("snakemake", path=str(ROOT / ".venv" / "bin")) or shutil.which("snakemake") or "snakemake"]


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
        # book/checks.py has a loader of its own, which is a safe one.
        safe_yaml = name == "yaml.load" and "Loader" in [k.arg for k in node.keywords if dotted(k.value) == "_LOADER"]
        bad = (
            (name in FORBIDDEN and not safe_yaml)
            or name.endswith((".extractall", ".extract"))
            or ("shell" in given and given["shell"] is not False)
            or (name == "torch.load" and given.get("weights_only") is not True)
            or given.get("weights_only", True) is not True
            or given.get("allow_pickle", False) is not False
        )
        if bad:
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_or_given_can_run(path):
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    assert [fault for fault in faults_of(path.read_text()) if fault.split(": ")[1] not in allowed] == []


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


INJECTIONS = ["x; touch pwned", "quick; touch pwned", "$(touch pwned)", "`touch pwned`", "quick smoke", "%", "../quick"]


def test_make_refuses_what_is_no_profile(tmp_path):
    """As make reads it, without anything being made: an unknown name ends it before a shell begins."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks" / "profiles", tmp_path / "notebooks" / "profiles")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "ready").touch()
    for target in ("book", "figures"):
        for name in INJECTIONS:
            given = name.replace("$", "$$")
            done = subprocess.run(["make", target, f"PROFILE={given}"], cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode != 0
            assert done.stderr.count("\n") == 1
            known = "choose one of paper quick reference smoke"
            assert f'There is no profile "{name}" in notebooks/profiles: {known}' in done.stderr
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("variable", ["CORES", "PORT"])
def test_what_make_is_given_is_no_part_of_a_command(variable, tmp_path):
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "notebooks" / "profiles" / "quick.yaml").touch()
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "ready").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    python.chmod(0o755)
    evil = "1; touch pwned"
    target = {"CORES": "book", "PORT": "serve"}[variable]
    done = subprocess.run(["make", target, f"{variable}={evil}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"<{evil}>" in done.stdout
    assert not (tmp_path / "pwned").exists()


def test_snakemake_refuses_what_is_no_profile():
    evil = "x; touch pwned"
    done = subprocess.run(
        [*SNAKEMAKE, "--dry-run", "--nolock", "--cores", "1", "--config", f"profile={evil}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
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


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_licences_is_current():
    licences = script("licences")
    assert licences.TARGET.read_text() == licences.table(), "run make licences"
    assert "| numpy | " in licences.table()
    assert "not stated" not in licences.table()


class _Answer(http.server.BaseHTTPRequestHandler):
    """A database of vulnerabilities that knows one fault, of torch."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        known = self.server.known
        results = [{"vulns": [{"id": known}]} if q["package"]["name"] == "torch" and known else {} for q in asked]
        content = json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("known", "status"), [("PYSEC-1", 1), (None, 0)])
def test_known_faults_of_pinned_packages_are_found(known, status, capsys, monkeypatch):
    audit = script("audit_dependencies")
    with http.server.HTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.known = known
        threading.Thread(target=server.serve_forever, daemon=True).start()
        service = f"http://127.0.0.1:{server.server_port}/"
        assert audit.main(service) == status
        out = capsys.readouterr().out
        assert ("torch 2.13.0: PYSEC-1" in out) == bool(known)
        if known:
            monkeypatch.setitem(audit.ACCEPTED, known, "does not concern us")
            assert audit.main(service) == 0
        server.shutdown()


class _Gateway(_Answer):
    """Something that is no database of vulnerabilities."""

    def do_POST(self):
        self.wfile.write(self.server.said)


@pytest.mark.parametrize(
    "said",
    [b"", b"no HTTP\n", *(b"HTTP/1.0 200 OK\r\n\r\n" + c for c in (b"<html>", b"{}", b"[]", b'{"results": [1]}'))],
)
def test_an_answer_of_something_else_is_no_audit(said, capsys):
    audit = script("audit_dependencies")
    with http.server.HTTPServer(("127.0.0.1", 0), _Gateway) as server:
        server.said = said
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert audit.main(f"http://127.0.0.1:{server.server_port}/") == 0
        server.shutdown()
    assert capsys.readouterr().out.startswith("The dependencies were not audited")


@pytest.mark.parametrize(("fault", "failing", "status"), [(0, 0, 0), (1, 0, 1), (1, 1, 2), (0, 1, 2)])
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


def test_without_a_network_the_audit_says_so_in_one_sentence(capsys):
    audit = script("audit_dependencies")
    assert audit.main("http://127.0.0.1:9/") == 0
    out = capsys.readouterr().out
    assert out.startswith("The dependencies were not audited")
    assert out.count("\n") == 1
