"""The examples in the docstrings of the public names: each name has one, and it prints what it shows."""

import doctest
import importlib
import inspect

import pytest

from vaemi._torchvision import declare_missing_operators

declare_missing_operators()  # the metric imports torchmetrics

# Where the names that the API pages list are defined, and what a module needs besides torch and numpy.
MODULES = {
    "vaemi.errors": (),
    "vaemi.information": (),
    "vaemi.information.metric": ("torchmetrics",),
    "vaemi.influence": ("sklearn", "tqdm"),
    "vaemi.auditing": ("tqdm", "safetensors", "anndata"),
    "vaemi.auditing.report": ("matplotlib", "pandas"),
    "vaemi.criteria": (),
    "vaemi.models": (),
    "vaemi.objectives": (),
    "vaemi.training": ("lightning", "tqdm"),
    "vaemi.callbacks": ("lightning",),
}


def public(name):
    """The documented classes and functions of a module."""
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None) or [
        one for one, value in vars(module).items() if getattr(value, "__module__", "") == name and one[0] != "_"
    ]
    found = {one: getattr(module, one) for one in names}
    return {one: value for one, value in found.items() if inspect.isclass(value) or inspect.isfunction(value)}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_an_example_that_is_right(name):
    for extra in MODULES[name]:
        pytest.importorskip(extra)
    found = public(name)
    assert found
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed = []
    for one, value in found.items():
        tests = [test for test in doctest.DocTestFinder().find(value, f"{name}.{one}", globs={}) if test.examples]
        assert tests, f"{name}.{one} has no example"
        said = []
        failed += [said for test in tests if runner.run(test, out=said.append).failed]
    assert failed == []
