"""The published numbers: each block says where it is from."""

import pytest

from companion import claims


def numbers_in(block):
    """All numbers in nested dicts and lists."""
    if isinstance(block, dict | list):
        inner = block.values() if isinstance(block, dict) else block
        return [number for part in inner for number in numbers_in(part)]
    return [block] if isinstance(block, int | float) else []


@pytest.mark.parametrize("name", [name for name, block in claims.published().items() if not isinstance(block, str)])
def test_every_block_has_a_source(name):
    assert claims.published()[name]["source"].strip()


def test_no_number_is_outside_a_block():
    published = claims.published()
    assert numbers_in([block for block in published.values() if not isinstance(block, dict)]) == []
    assert len(numbers_in(published)) > 50


def test_numbers_of_the_authors_notebook_are_not_said_to_be_the_papers():
    assert claims.published()["mnist"]["source"].startswith("the authors' MNIST notebook")
    assert "Figure 1" in claims.published()["mnist_figure_1"]["source"]
