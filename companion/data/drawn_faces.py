"""Faces drawn from known generating factors: the stand-in for CelebA, against which a VAE's factors can be scored.

Each picture is a function of 14 independent factors: pose, shape, colours, hair, expression, glasses, beard, background
and light. Pictures and attributes have CelebA's frame and names, in memory or as files in CelebA's layout.
"""

from __future__ import annotations

import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from companion.data import _celeba_layout as layout
from companion.data import _face_drawing
from companion.data.sources import writable_folder
from companion.errors import DataError
from vaemi._files import exclusive_lock

# Faces that a thread draws at a time, and that are in memory while files are written.
_CHUNK, _WRITTEN = 64, 512


@dataclass(frozen=True)
class Factor:
    """A generating factor, independent of the others.

    Attributes
    ----------
    name : str
    kind : {"continuous", "binary"}
        Continuous: uniform between `low` and `high`. Binary: 0 or 1, each with probability 1/2.
    low, high : float
        Smallest and largest value.
    words : str
        What changes from `low` to `high`, for the label of an axis.
    """

    name: str
    kind: Literal["continuous", "binary"]
    low: float
    high: float
    words: str


FACTORS: tuple[Factor, ...] = (
    Factor("azimuth", "continuous", -18, 18, "head turned left to right (degrees)"),
    Factor("pitch", "continuous", -9, 9, "head bent down to up (degrees)"),
    Factor("face_width", "continuous", 0.92, 1.08, "face narrow to wide"),
    Factor("skin_tone", "continuous", 0, 1, "skin pale to dark"),
    Factor("hair_colour", "continuous", 0, 1, "hair black to blond"),
    Factor("hair_length", "continuous", 0, 1, "hair short to shoulder-long"),
    Factor("fringe", "binary", 0, 1, "forehead bare or under a fringe"),
    Factor("smile", "continuous", -1, 1, "mouth sullen to smiling"),
    Factor("mouth_open", "continuous", 0, 1, "mouth shut to open"),
    Factor("eye_openness", "continuous", 0, 1, "eyes narrow to wide open"),
    Factor("glasses", "binary", 0, 1, "without or with glasses"),
    Factor("beard", "binary", 0, 1, "without or with beard"),
    Factor("background_hue", "continuous", 200, 330, "background blue to pink (degrees of hue)"),
    Factor("light_direction", "continuous", -60, 60, "light from left to right (degrees)"),
)
FACTOR_NAMES: tuple[str, ...] = tuple(factor.name for factor in FACTORS)

# CelebA's names in CelebA's order.
# fmt: off
ATTRIBUTE_NAMES: tuple[str, ...] = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)
# fmt: on

# An attribute is true if its factor is strictly between the two numbers; the others are false for all faces.
_RULES: dict[str, tuple[str, float, float]] = {
    "Bangs": ("fringe", 0.5, math.inf),
    "Black_Hair": ("hair_colour", -math.inf, 0.2),
    "Brown_Hair": ("hair_colour", 0.2, 0.65),
    "Blond_Hair": ("hair_colour", 0.75, math.inf),
    "Chubby": ("face_width", 1.04, math.inf),
    "Eyeglasses": ("glasses", 0.5, math.inf),
    "Mouth_Slightly_Open": ("mouth_open", 0.3, math.inf),
    "Mustache": ("beard", 0.5, math.inf),
    "Narrow_Eyes": ("eye_openness", -math.inf, 0.35),
    "No_Beard": ("beard", -math.inf, 0.5),
    "Pale_Skin": ("skin_tone", -math.inf, 0.2),
    "Smiling": ("smile", 0.0, math.inf),
}
ATTRIBUTE_FACTORS: dict[str, tuple[str, ...]] = {name: (rule[0],) for name, rule in _RULES.items()}

# sRGB, from the factor's low end to its high end, equally spaced.
_SKIN = [(243, 219, 203), (236, 200, 173), (218, 170, 134), (180, 128, 93), (132, 88, 62), (92, 61, 46)]
_HAIR = [(24, 20, 20), (52, 36, 28), (92, 58, 38), (140, 80, 44), (190, 136, 76), (230, 196, 136)]


def sample_factors(n: int, seed: int = 0) -> Tensor:
    """Draw all factors independently.

    Parameters
    ----------
    n : int
        Number of faces. The first k faces do not depend on n.
    seed : int

    Returns
    -------
    Tensor, shape (n, 14), float32
        In the order and units of `FACTORS`.

    Raises
    ------
    ValueError
        If `n` is negative.

    Examples
    --------
    >>> from companion.data import drawn_faces
    >>> drawn_faces.sample_factors(3).shape
    torch.Size([3, 14])
    """
    if n < 0:
        raise ValueError(f"n is {n}: give a number of faces >= 0.")
    uniform = np.random.default_rng(seed).random((n, len(FACTORS)))
    low, high = (np.array([getattr(factor, end) for factor in FACTORS]) for end in ("low", "high"))
    binary = np.array([factor.kind == "binary" for factor in FACTORS])
    values = np.where(binary, uniform >= 0.5, low + (high - low) * uniform)
    return torch.from_numpy(values.astype(np.float32))


def render(factors: Tensor, frame: Literal["crop", "celeba"] = "crop", size: int = 64) -> Tensor:
    """Draw faces.

    Parameters
    ----------
    factors : Tensor, shape (n, 14)
        In the order and units of `FACTORS`.
    frame : {"crop", "celeba"}
        ``"celeba"``: CelebA's aligned frame, 178 wide and 218 high, in which the eyes of a face that looks ahead are
        at (70, 112) and (108, 112). ``"crop"``: the square of 148 in its middle, at `size` x `size`.
    size : int
        Side of a cropped picture.

    Returns
    -------
    Tensor of uint8, shape (n, 3, size, size) or (n, 3, 218, 178)
        Does not depend on the number of threads, which is torch's.

    Raises
    ------
    ValueError
        If the factors are not 14 finite numbers per face, or `frame` or `size` is not valid.

    Examples
    --------
    >>> from companion.data import drawn_faces
    >>> drawn_faces.render(drawn_faces.sample_factors(3), size=32).shape
    torch.Size([3, 3, 32, 32])
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS) or not factors.isfinite().all():
        raise ValueError(f"factors has shape {tuple(factors.shape)}: give {len(FACTORS)} finite numbers for each face.")
    if frame not in ("crop", "celeba"):
        raise ValueError(f"frame is {frame!r}: choose 'crop' or 'celeba'.")
    if size < 1:
        raise ValueError(f"size is {size}: give a number of pixels >= 1.")
    left, top, side = (15.0, 35.0, 148 / size) if frame == "crop" else (0.0, 0.0, 1.0)
    corner = (left - _face_drawing.MIDDLE[0], top - _face_drawing.MIDDLE[1])
    pictures = torch.empty(len(factors), 3, *((size, size) if frame == "crop" else (218, 178)), dtype=torch.uint8)

    def part(first: int) -> None:
        faces = _faces(factors[first : first + _CHUNK])
        _face_drawing.draw(faces, corner, side, pictures[first : first + _CHUNK].numpy())

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(part, range(0, len(factors), _CHUNK)))
    return pictures


def strips(steps: int = 8) -> dict[str, Tensor]:
    """Vary one factor at a time, the others in the middle of their range or, if binary, 0.

    Returns
    -------
    dict of factor to Tensor of uint8, shape (steps, 3, 64, 64)
        From the factor's low to its high value.
    """
    middle = torch.tensor([0.0 if factor.kind == "binary" else (factor.low + factor.high) / 2 for factor in FACTORS])
    pictures = {}
    for column, factor in enumerate(FACTORS):
        factors = middle.repeat(steps, 1)
        values = torch.linspace(factor.low, factor.high, steps)
        factors[:, column] = values.round() if factor.kind == "binary" else values
        pictures[factor.name] = render(factors)
    return pictures


def attributes(factors: Tensor) -> Tensor:
    """Derive CelebA's attributes from the factors.

    True: Bangs with fringe; Black_Hair, Brown_Hair, Blond_Hair for a hair colour below 0.2, from 0.2 to 0.65, above
    0.75; Chubby for a face wider than 1.04; Eyeglasses with glasses; Mouth_Slightly_Open for a mouth open by more than
    0.3; Mustache with beard and No_Beard without; Narrow_Eyes for eyes open by less than 0.35; Pale_Skin for a skin
    tone below 0.2; Smiling for a smile above 0. All others are false for everybody.

    Parameters
    ----------
    factors : Tensor, shape (n, 14)

    Returns
    -------
    Tensor of bool, shape (n, 40)
        In the order of `ATTRIBUTE_NAMES`.

    Examples
    --------
    >>> from companion.data import drawn_faces
    >>> drawn_faces.attributes(drawn_faces.sample_factors(3)).shape
    torch.Size([3, 40])
    """
    result = torch.zeros(len(factors), len(ATTRIBUTE_NAMES), dtype=torch.bool)
    for name, (factor, above, below) in _RULES.items():
        value = factors[:, FACTOR_NAMES.index(factor)]
        result[:, ATTRIBUTE_NAMES.index(name)] = (value > above) & (value < below)
    return result


def write(
    folder: str | os.PathLike[str],
    n: int,
    seed: int = 0,
    splits: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> None:
    """Write random faces as files in CelebA's layout, and beside them `generating_factors.csv`.

    `img_align_celeba/000001.jpg` and so on, `list_attr_celeba.txt`, `identity_CelebA.txt` (each picture is another
    person) and `list_eval_partition.txt` (consecutive parts). The folder takes its name when all files are written.

    Parameters
    ----------
    folder : path
        Absent or empty.
    n, seed : int
        See `sample_factors`.
    splits : tuple of three floats
        Shares of train, valid and test, adding up to one.

    Raises
    ------
    DataError
        If the folder is not empty, or cannot be written.
    ValueError
        If there is no face to write, or the shares are not three that add up to one.
    """
    if n < 1:
        raise ValueError(f"n is {n}: give a number of faces >= 1.")
    if len(splits) != 3 or min(splits) < 0 or not math.isclose(sum(splits), 1):
        raise ValueError(f"splits is {splits}: give three shares, of train, valid and test, that add up to 1.")
    folder = Path(folder)
    factors = sample_factors(n, seed)
    names = [f"{number:06}.jpg" for number in range(1, n + 1)]
    ends = [round(n * splits[0]), round(n * (splits[0] + splits[1]))]
    parts = np.searchsorted(ends, np.arange(n), side="right")
    tables = {
        layout.ATTRIBUTES: _attribute_table(names, factors),
        layout.IDENTITIES: "".join(f"{name} {number}\n" for number, name in enumerate(names, 1)),
        layout.PARTITION: "".join(f"{name} {part}\n" for name, part in zip(names, parts, strict=True)),
        # Nine digits give a float32 back exactly.
        layout.FACTORS: pd.DataFrame(factors.numpy(), pd.Index(names, name="image"), FACTOR_NAMES).to_csv(
            float_format="%.9g", lineterminator="\n"
        ),
    }
    writable_folder(folder.parent)
    with exclusive_lock(folder.with_name(f".{folder.name}.lock"), f"Another process draws {folder}; waiting for it."):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} is not empty: choose another folder, or move its content away.")
        scratch = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        try:
            (scratch / layout.PICTURES).mkdir(parents=True)
            _write_pictures(scratch / layout.PICTURES, names, factors)
            for name, text in tables.items():
                (scratch / name).write_bytes(text.encode("ascii"))
            if folder.exists():
                folder.rmdir()
            scratch.rename(folder)
        except OSError as error:
            raise DataError(f"{folder} cannot be written ({error.strerror or error}): free disk space.") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _write_pictures(folder: Path, names: list[str], factors: Tensor) -> None:
    with tqdm(total=len(names), desc="drawing faces", unit="face", mininterval=2) as progress:
        for first in range(0, len(names), _WRITTEN):
            pictures = render(factors[first : first + _WRITTEN], "celeba").permute(0, 2, 3, 1).numpy()
            for name, picture in zip(names[first : first + _WRITTEN], pictures, strict=True):
                Image.fromarray(picture).save(folder / name, quality=95)
                progress.update()


def _attribute_table(names: list[str], factors: Tensor) -> str:
    """Return the attributes with CelebA's padding, trailing space and line ends."""
    lines = [str(len(names)), " ".join(ATTRIBUTE_NAMES) + " "]
    for name, row in zip(names, attributes(factors).tolist(), strict=True):
        lines.append(name + "".join("  1" if value else " -1" for value in row))
    return "".join(f"{line}\r\n" for line in lines)


# --- the factors of a face, as the drawing needs them ----------------------------------------------------------------


def _faces(factors: Tensor) -> np.ndarray:
    """Return the quantities that all pixels of a face share, from its factors."""
    value = dict(zip(FACTOR_NAMES, factors.double().numpy().T, strict=True))
    faces = np.zeros(len(factors), dtype=_face_drawing.FACE)
    sin_a, cos_a = _sin_cos(value["azimuth"])
    sin_p, cos_p = _sin_cos(value["pitch"])
    zero = np.zeros(len(factors))
    axes = {
        "right": (cos_a, zero, sin_a),
        "down": (sin_a * sin_p, cos_p, -cos_a * sin_p),
        "ahead": (-sin_a * cos_p, sin_p, cos_a * cos_p),
    }
    for name, axis in axes.items():
        faces[name] = np.stack(axis, 1)
    # CelebA's pictures are aligned by the eyes: a turned head is moved back by part of what its eyes move.
    faces["middle"] = np.stack([-20 * sin_a, 14 * sin_p], 1)
    # The eyes partly keep looking at the viewer.
    faces["gaze"] = np.stack([-2.5 * sin_a, 2.0 * sin_p], 1)
    faces["camera_light"], faces["light"], faces["halfway"] = _lights(value["light_direction"], faces)
    faces["half_width"] = 44 * value["face_width"]
    faces["skin"] = _path(_SKIN, value["skin_tone"])
    faces["hair"] = _path(_HAIR, value["hair_colour"])
    faces["hair_end"] = -4 + 76 * value["hair_length"]
    faces["background"] = _hue(value["background_hue"])
    for name in ("fringe", "smile", "mouth_open", "eye_openness", "glasses", "beard"):
        faces[name] = value[name]
    return faces


def _lights(direction: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return directions to the lamp in the camera's and the head's frame, and halfway to the viewer in the head's."""
    sin, cos = _sin_cos(direction)
    height = math.radians(32)
    lamp = np.stack([sin * math.cos(height), np.full(len(sin), -math.sin(height)), cos * math.cos(height)], 1)
    halfway = lamp + np.array([0, 0, 1])
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    axes = np.stack([faces[name] for name in ("right", "down", "ahead")], 1)
    return lamp, np.einsum("na,nah->nh", lamp, axes), np.einsum("na,nah->nh", halfway, axes)


def _sin_cos(degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))


def _path(colours: list[tuple[int, int, int]], place: np.ndarray) -> np.ndarray:
    """Return linear colours at places from 0 to 1 along a path of sRGB colours."""
    table = np.array(colours) / 255
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(place, stops, table[:, channel]) for channel in range(3)], 1) ** 2


def _hue(degrees: np.ndarray) -> np.ndarray:
    """Return linear colours of these hues, about equally bright and saturated."""
    turns = np.deg2rad(degrees)[:, None] - np.deg2rad([0, 120, 240])
    return (0.60 + 0.16 * np.cos(turns)) ** 2
