"""What is pinned, said twice only where a tool needs it, and the same both times."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from conftest import ROOT

import vaemi
from vaemi import _torchvision

LOCK = {
    name.lower().replace("_", "-"): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirement_names(requirements):
    return {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in requirements}


def test_every_requirement_is_pinned():
    wanted = requirement_names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= requirement_names(extra)
    assert wanted <= set(LOCK)


def test_the_adapters_say_the_versions_that_are_pinned():
    for text in PROJECT["optional-dependencies"]["audit"]:
        name, _, version = text.partition("==")
        assert LOCK[name] == version
        for path in ("vaemi/_adapters.py", "tests/test_adapters.py"):
            assert text.replace("==", " ") in (ROOT / path).read_text().partition("\n\n\n")[0]


def test_conda_says_the_same_as_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    pins = dict(line.lower().replace("_", "-").split("==") for line in pip if "==" in line)
    assert pins == {name: version for name, version in LOCK.items() if name in pins}
    wanted = requirement_names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= requirement_names(extra)
    assert set(pins) == wanted


def test_the_pins_that_belong_together():
    assert (LOCK["torch"], LOCK["torchvision"]) == ("2.13.0", "0.28.0")
    assert LOCK["jupyter-book"].startswith("1.")


def test_the_lock_holds_nothing_of_this_machine():
    text = (ROOT / "requirements.lock").read_text()
    assert "file:" not in text
    assert "+cpu" not in text
    assert "nvidia" not in text


def test_what_is_installed_is_what_is_pinned_and_fits_together():
    # Whatever build it is: 2.13.0+cpu is 2.13.0.
    installed = {name: metadata.version(name).partition("+")[0] for name in LOCK}
    assert installed == {name: version.partition("+")[0] for name, version in LOCK.items()}, "delete .venv, make test"
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == vaemi.__version__
    assert citation["preferred-citation"]["title"] == "Discovering Influential Factors in Variational Autoencoders"
    assert f"## {vaemi.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_torchvision_torchmetrics_and_lightning_import_beside_any_torch():
    code = "import vaemi, torchvision, torchmetrics, lightning; from torchvision.datasets import MNIST"
    subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(("loads", "declared"), [(True, False), (False, True)])
def test_operators_are_declared_only_where_they_are_missing(monkeypatch, loads, declared):
    made = []

    class Library:
        def __init__(self, *names):
            made.append(names)

        def define(self, schema):
            made.append(schema.split("(")[0])

    monkeypatch.setattr(_torchvision, "_library", None)
    monkeypatch.setattr(_torchvision, "_compiled_part_loads", lambda: loads)
    monkeypatch.setattr(_torchvision.torch.library, "Library", Library)
    assert _torchvision.declare_missing_operators() is declared
    assert made == ([("torchvision", "DEF"), "nms", "qnms"] if declared else [])
    assert _torchvision.declare_missing_operators() is False


def test_the_package_and_its_command_do_without_the_libraries_that_they_can_audit():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pythae', 'diffusers', 'scvi', 'anndata']))\n"
        "import vaemi, vaemi.cli, vaemi.auditing.report, vaemi.training\n"
        "import companion.figures, companion.data.gene_programs"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    code = (
        "import sys, vaemi, vaemi.cli, vaemi.training\n"
        "assert not {'pythae', 'diffusers', 'scvi', 'anndata'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_git_ignores_what_a_run_makes():
    made = [
        "results/quick/mnist.json",
        "_build/html/index.html",
        ".venv/x",
        ".snakemake/x",
        "x.ckpt",
    ]
    done = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.split() == made


def test_information_can_be_lifted_and_needs_nothing_but_torch(tmp_path):
    folder = shutil.copytree(ROOT / "vaemi" / "information", tmp_path / "lifted")
    code = (
        "import sys, importlib.util, pathlib; folder = pathlib.Path(sys.argv[1])\n"
        "sys.modules['numba'] = sys.modules['torchmetrics'] = sys.modules['safetensors'] = None\n"
        "spec = importlib.util.spec_from_file_location('information', folder / '__init__.py',"
        " submodule_search_locations=[str(folder)])\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['information'] = module\n"
        "spec.loader.exec_module(module)\n"
        "import torch; print(module.factor_information(torch.zeros(4, 2), torch.zeros(4, 2)).total)\n"
        "heavy = {'lightning', 'pandas', 'sklearn', 'matplotlib', 'vaemi', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-12


GROUND = {"models", "information", "data", "runs", "claims", "selfcheck", "weights"}
TOP = {"training", "influence", "auditing", "figures"}
# On the stairs: what training minimizes is made of models and information.
STAIRS = {"objectives"}
# Beside the top floor: they join what stands there.
JOINING = {"cli", "report", "reference", "shards", "_audit_command"}


def imported_at_run_time(path):
    """Names of vaemi's modules that a module imports, those for type checkers left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vaemi."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "vaemi":
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "vaemi").rglob("*.py")), ids=lambda path: path.name)
def test_no_floor_imports_its_neighbours(path):
    module = path.relative_to(ROOT / "vaemi").parts[0].removesuffix(".py")
    imported = imported_at_run_time(path) - {module}
    if module in GROUND:
        assert not imported & (GROUND | STAIRS | TOP | JOINING)
    elif module in STAIRS:
        assert imported <= {"information", "models"}
    elif module in TOP:
        assert not imported & (TOP | JOINING | {"runs"})
    elif module == "sweep":
        assert imported == {"runs", "_files"}
