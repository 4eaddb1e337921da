"""The API pages: every public name once, and properties whose first words are not taken for a type."""

import functools
import importlib
import inspect
import re
from collections import Counter

import pytest
from conftest import ROOT
from sphinx.ext.napoleon import Config, NumpyDocstring

from vaemi._torchvision import declare_missing_operators

declare_missing_operators()  # the metric imports torchmetrics
PAGES = "\n".join(path.read_text() for path in sorted((ROOT / "book" / "api").glob("*.md")))
# Module and options of each automodule, and the names of the other directives.
MODULES = re.findall(r"^\.\. automodule:: ([\w.]+)", PAGES, re.MULTILINE)
LISTED = Counter(re.findall(r"^\.\. auto(?:function|class):: ([\w.]+)", PAGES, re.MULTILINE))


@pytest.mark.parametrize("name", ["vaemi.information", "vaemi.influence", "vaemi.auditing", "companion.figures"])
def test_every_public_name_is_listed_once(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None) or [
        one for one, value in vars(module).items() if inspect.isfunction(value) or inspect.isclass(value)
    ]
    assert {one: number for one, number in LISTED.items() if one.rpartition(".")[0] == name} == {
        f"{name}.{one}": 1 for one in names
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_first_words_of_a_property_are_not_its_type(name):
    """Napoleon takes what stands before a colon in the first line of a property's docstring for its type."""
    for documented in vars(importlib.import_module(name)).values():
        if not inspect.isclass(documented):
            continue
        for one, value in vars(documented).items():
            if isinstance(value, property | functools.cached_property) and not one.startswith("_"):
                text = inspect.getdoc(value.fget if isinstance(value, property) else value.func) or ""
                rendered = str(NumpyDocstring(text, Config(), what="property", name=one))
                assert ":type:" not in rendered, f"{name}.{documented.__name__}.{one}: {text.splitlines()[0]}"
