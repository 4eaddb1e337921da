"""The walls of the house: what may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import vaemi

PACKAGE = Path(vaemi.__file__).parent


def imported(path):
    """Yield the dotted names of the modules that a file imports, relative ones resolved."""
    package = ["vaemi", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_the_library_does_not_import_the_companion():
    for path in PACKAGE.rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "companion"], path


def test_information_imports_nothing_of_the_package():
    for path in (PACKAGE / "information").rglob("*.py"):
        own = [name for name in imported(path) if name.split(".")[0] == "vaemi"]
        assert not [name for name in own if not name.startswith("vaemi.information")], path


def test_information_needs_torch_only(tmp_path):
    (tmp_path / "information").symlink_to(PACKAGE / "information")
    blocked = ["numpy", "numba", "pandas", "safetensors", "torchmetrics", "vaemi"]
    code = (
        "import torch, sys\n"
        f"sys.modules.update(dict.fromkeys({blocked}))\n"
        "import information\n"
        "print(information.factor_information(torch.zeros(9, 2), torch.zeros(9, 2)).nats.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0.0, 0.0]"
