"""Numbers as text for a reader."""

import pytest

from companion import words


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (3.14159, "3.14"), (-12.345, "-12.3"), (3.266e-9, "3.27 × 10⁻⁹"), (-1e-6, "-1 × 10⁻⁶"),
     (1e-12, "10⁻¹²"), (1234.5, "1234.5")],
)  # fmt: skip
def test_small_numbers_have_a_power_of_ten(value, text):
    assert words.number_in_words(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (4e-5, "below 0.01"), (-4e-5, "above -0.01"), (0.006, "0.01"), (-0.98, "-0.98"), (0.1234, "0.12"),
     (93.42, "93.4")],
)  # fmt: skip
def test_a_percentage_that_would_be_zero_is_below_a_hundredth(value, text):
    assert words.percentage_in_words(value) == text


@pytest.mark.parametrize(
    ("ends", "percent", "text"),
    [([-0.013, -1e-5], True, "-0.01 to 0"), ([-2e-6, 9e-5], True, ""), ([3.3090, 3.3096], False, ""), ([], False, ""),
     ([0.2796, 0.3985], False, "0.28 to 0.399"), ([3e-9, 4e-9], False, "3 × 10⁻⁹ to 4 × 10⁻⁹")],
)  # fmt: skip
def test_an_interval_whose_ends_look_alike_is_left_out(ends, percent, text):
    assert words.interval_in_words(ends, percent) == text
