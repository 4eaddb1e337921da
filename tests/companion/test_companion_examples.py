"""The examples in the docstrings of the companion's functions that the API pages list: each has one, and it is right.

Figures are called in the notebooks, where the code is beside each figure.
"""

import doctest
import importlib
import re

import pytest
from conftest import ROOT

PAGES = "\n".join((ROOT / "book" / "api" / f"{page}.md").read_text() for page in ("data", "runs", "models"))
FUNCTIONS = re.findall(r"^\.\. autofunction:: (companion[\w.]+)", PAGES, re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_an_example_that_is_right(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("VAEMI_DATA", str(tmp_path))
    module, _, function = name.rpartition(".")
    (test,) = doctest.DocTestFinder().find(getattr(importlib.import_module(module), function), name, globs={})
    assert test.examples
    said = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
