"""Counts in sentences."""

from vaemi.information.words import counted


def test_a_single_one_is_not_in_the_plural():
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert [counted(n, "factor has", "factors have") for n in (1, 2)] == ["1 factor has", "2 factors have"]
