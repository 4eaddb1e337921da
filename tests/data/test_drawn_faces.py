"""Drawn faces: every factor changes what it should and nothing else, and the files are CelebA's."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from vaemi.data import DataError, drawn_faces
from vaemi.data.drawn_faces import (
    ATTRIBUTE_FACTORS,
    ATTRIBUTE_NAMES,
    FACTOR_NAMES,
    FACTORS,
    attributes,
    draw,
    render,
    sample_factors,
    write,
)

PLAIN = {
    "azimuth": 0, "pitch": 0, "face_width": 1, "skin_tone": 0.2, "hair_colour": 0.4, "hair_length": 0.5, "fringe": 0,
    "smile": 0.3, "mouth_open": 0.3, "eye_openness": 0.7, "glasses": 0, "beard": 0, "background_hue": 210,
    "light_direction": -20,
}  # fmt: skip


def faces(**values):
    """Factors of plain faces that differ in the values given, one face for each value."""
    n = max((len(value) for value in values.values()), default=1)
    columns = [torch.as_tensor(values.get(name, [PLAIN[name]]), dtype=torch.float32).expand(n) for name in FACTOR_NAMES]
    return torch.stack(columns, 1)


def box(left, right, top, bottom):
    """Mask of the pixels of CelebA's frame within these edges."""
    mask = torch.zeros(218, 178, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


# Where each factor may change the plain face in CelebA's frame, and by how much on average it must there (of 255).
EVERYWHERE = box(0, 178, 0, 218)
UPPER_CORNERS = box(0, 178, 0, 30) | box(0, 20, 0, 160) | box(158, 178, 0, 160)
HEAD = ~UPPER_CORNERS
REGIONS = {
    "azimuth": (HEAD, 5),
    "pitch": (HEAD, 5),
    "face_width": (box(25, 153, 35, 218), 3),
    "skin_tone": (box(35, 143, 65, 195), 15),
    "hair_colour": (box(25, 153, 40, 185), 15),
    "hair_length": (box(28, 150, 90, 205), 10),
    "fringe": (box(38, 140, 60, 110), 15),
    "smile": (box(65, 113, 128, 168), 3),
    "mouth_open": (box(70, 108, 140, 168), 5),
    "eye_openness": (box(56, 122, 100, 122), 4),
    "glasses": (box(44, 134, 95, 128), 6),
    "beard": (box(40, 138, 120, 176), 10),
    "background_hue": (EVERYWHERE, 10),
    "light_direction": (HEAD, 3),
}


@pytest.mark.parametrize("name", FACTOR_NAMES)
def test_a_factor_changes_what_it_should_and_nothing_else(name):
    factor = FACTORS[FACTOR_NAMES.index(name)]
    low, high = render(faces(**{name: [factor.low, factor.high]}), "celeba").short()
    difference = (high - low).abs().float().mean(0)
    region, least = REGIONS[name]
    assert difference[region].mean() > least
    assert not difference[~region].any()


def test_prefix():
    assert torch.equal(sample_factors(10, 3), sample_factors(1000, 3)[:10])
