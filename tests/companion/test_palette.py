"""The figures' colours: told apart by colour-blind readers, and seen on a light and on a dark page."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from companion import figures

COLOURS = {name: getattr(figures, name) for name in ("BLUE", "ORANGE", "GREEN", "PURPLE")}
# Linear RGB as dichromats see it: projections along the axis of the missing cone, after Vienot, Brettel and Mollon
# (1999), Color Research and Application 24, 243-252.
SEEN = {
    "by all": np.eye(3),
    "without red cones": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "without green cones": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}
# Of sRGB's white: linear RGB to CIE XYZ, over XYZ of white.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB."""
    ratio = XYZ @ rgb.clip(0, 1) / (XYZ @ np.ones(3))
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def test_the_distance_on_a_known_case():
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    # A red and a green of the same lightness, which anybody who sees all colours tells apart.
    red, green = linear("#c0504d"), linear("#5f8a3a")
    assert np.linalg.norm(lab(red) - lab(green)) > 60
    assert np.linalg.norm(lab(SEEN["without green cones"] @ red) - lab(SEEN["without green cones"] @ green)) < 20


@pytest.mark.parametrize("seen", SEEN)
def test_colours_are_told_apart(seen):
    # Grey is left out: it draws axes and references, which have other lines and marks than the data.
    shown = {name: lab(SEEN[seen] @ linear(colour)) for name, colour in COLOURS.items()}
    distances = {pair: np.linalg.norm(shown[pair[0]] - shown[pair[1]]) for pair in itertools.combinations(shown, 2)}
    # The least noticeable difference is 2; neighbours in a figure should be ten times that apart.
    assert min(distances.values()) > 20, distances


@pytest.mark.parametrize("ground", ["#ffffff", "#121212"])
def test_colours_stand_out_from_a_light_and_a_dark_page(ground):
    # The contrast of WCAG 2: from 1, the same, to 21, black on white.
    for name, colour in {**COLOURS, "GREY": figures.GREY}.items():
        dark, light = sorted(float(XYZ[1] @ linear(one)) for one in (colour, ground))
        assert (light + 0.05) / (dark + 0.05) >= 3, name
