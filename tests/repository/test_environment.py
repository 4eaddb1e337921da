"""What is installed: the lock, the extras, the wheel, and what the library does without."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest
import yaml
from conftest import ROOT, assert_ignored_by_git
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vaemi

LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run_python(code):
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_requirement_is_pinned_at_a_version_that_it_accepts():
    pinned = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in LOCK}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]:
        wanted = Requirement(text)
        if wanted.name != "vaemi":
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), text


def test_the_lock_names_no_machine_and_no_gpu_library():
    text = (ROOT / "requirements.lock").read_text()
    assert not [word for word in ("://", "+cpu", "nvidia", "index-url") if word in text]


def test_every_text_file_is_read_and_written_as_utf_8():
    """Without an encoding Python takes that of the system, which on Windows is not UTF-8."""
    without = []
    for path in (
        path for room in ("vaemi", "companion", "book", "workflow", ".ci") for path in ROOT.glob(f"{room}/**/*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = any(keyword.arg == "encoding" for keyword in node.keywords)
                if node.func.attr in ("read_text", "write_text") and not named:
                    without.append(f"{path}, line {node.lineno}")
    assert without == []


def test_the_core_is_torch_and_numpy():
    assert {Requirement(text).name for text in PROJECT["dependencies"]} == {"torch", "numpy"}


def test_what_is_installed_is_what_is_pinned_and_fits_together():
    needed = [pin for pin in LOCK if pin.marker is None or pin.marker.evaluate()]
    # Whatever build it is: 2.13.0+cpu is 2.13.0.
    installed = {pin.name: metadata.version(pin.name).partition("+")[0] for pin in needed}
    assert installed == {pin.name: str(pin.specifier)[2:] for pin in needed}, "delete .venv, make test"
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_licences_are_those_of_the_lock():
    subprocess.run([sys.executable, ".ci/licences.py", "--check"], cwd=ROOT, check=True, timeout=120)


def test_the_wheel_holds_the_library_only(tmp_path):
    for name in ("vaemi", "companion"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    arguments = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path, tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *arguments], check=True, timeout=120)
    (wheel,) = tmp_path.glob("vaemi-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"vaemi", f"vaemi-{vaemi.__version__}.dist-info"}
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vaemi").rglob("*.py")}
    assert source | {"vaemi/py.typed"} <= set(names)


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == vaemi.__version__
    assert citation["preferred-citation"]["title"] == "Discovering Influential Factors in Variational Autoencoders"
    assert f"## {vaemi.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_torchvision_torchmetrics_and_lightning_import_beside_any_torch():
    run_python("import companion.data, torchvision, torchmetrics, lightning; from torchvision.datasets import MNIST")


@pytest.mark.parametrize(
    "absent",
    [
        ["pythae", "diffusers", "scvi", "anndata"],
        ["numba", "pandas", "safetensors", "matplotlib", "lightning", "torchmetrics", "sklearn", "scipy", "tqdm"],
    ],
)
def test_the_library_measures_and_audits_without_optional_packages(absent):
    run_python(
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch, vaemi\n"
        "x = torch.randn(200, 3)\n"
        "encode = lambda x: (x, torch.full_like(x, -2.0))\n"
        "assert len(vaemi.factor_information(*encode(x))) == 3\n"
        "assert len(vaemi.audit(encode, [x]).information) == 3\n"
    )


def test_git_ignores_what_a_run_makes():
    assert_ignored_by_git(["results/quick/mnist.json", "_build/html/index.html", ".venv/x", ".snakemake/x", "x.ckpt"])
