"""Drawn faces: each factor changes what it should and nothing else, and the files have CelebA's layout."""

import colorsys
import csv

import numpy as np
import pytest
import torch
from PIL import Image

from companion.data import DataError, drawn_faces
from companion.data.drawn_faces import (
    ATTRIBUTE_FACTORS,
    ATTRIBUTE_NAMES,
    FACTOR_NAMES,
    FACTORS,
    attributes,
    render,
    sample_factors,
    write,
)

PLAIN = {
    "azimuth": 0, "pitch": 0, "face_width": 1, "skin_tone": 0.2, "hair_colour": 0.4, "hair_length": 0.5, "fringe": 0,
    "smile": 0.3, "mouth_open": 0.3, "eye_openness": 0.7, "glasses": 0, "beard": 0, "background_hue": 210,
    "light_direction": 0,
}  # fmt: skip


def faces(**values):
    """Factors of plain faces that differ in the values given, one face for each value."""
    n = max((len(value) for value in values.values()), default=1)
    columns = [torch.as_tensor(values.get(name, [PLAIN[name]]), dtype=torch.float32).expand(n) for name in FACTOR_NAMES]
    return torch.stack(columns, 1)


def column(name):
    return FACTOR_NAMES.index(name)


def box(left, right, top, bottom):
    """Mask of the pixels of CelebA's frame within these edges."""
    mask = torch.zeros(218, 178, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def change(**values):
    """Mean absolute difference over the colours between two faces, shape (218, 178)."""
    low, high = render(faces(**values), "celeba").short()
    return (high - low).abs().float().mean(0)


# Where each factor may change the plain face in CelebA's frame, and by how much on average it must there (of 255).
PERSON = box(15, 163, 36, 190)
REGIONS = {
    "azimuth": (PERSON, 20),
    "pitch": (PERSON, 10),
    "face_width": (box(26, 152, 42, 190), 10),
    "skin_tone": (box(38, 140, 70, 190), 40),
    "hair_colour": (box(28, 150, 42, 154), 20),
    "hair_length": (box(30, 148, 76, 192), 15),
    "fringe": (box(33, 145, 60, 129), 15),
    "smile": (box(48, 130, 116, 164), 4),
    "mouth_open": (box(70, 108, 140, 174), 10),
    "eye_openness": (box(52, 126, 89, 120), 10),
    "glasses": (box(44, 134, 97, 128), 12),
    "beard": (box(44, 134, 124, 174), 12),
    "background_hue": (box(0, 178, 0, 60) | box(0, 24, 0, 218) | box(154, 178, 0, 218) | box(24, 154, 60, 190), 10),
    "light_direction": (PERSON | box(0, 178, 160, 218), 10),
}


@pytest.mark.parametrize("name", FACTOR_NAMES)
def test_a_factor_changes_what_it_should_and_nothing_else(name):
    factor, (region, least) = FACTORS[column(name)], REGIONS[name]
    difference = change(**{name: [factor.low, factor.high]})
    assert difference[region].mean() > least
    assert not difference[~region].any()


@pytest.mark.parametrize("name", [factor.name for factor in FACTORS if factor.kind == "continuous"])
def test_a_continuous_factor_acts_all_along_its_range(name):
    factor = FACTORS[column(name)]
    pictures = render(faces(**{name: torch.linspace(factor.low, factor.high, 9)})).float()
    steps = pictures.diff(dim=0).abs().mean((1, 2, 3))
    assert steps.min() > 0.25 * steps.mean()
    assert steps.max() < 2.5 * steps.mean()


def test_the_eyes_and_the_mouth_lie_where_celeba_has_them():
    picture = render(faces(eye_openness=[1.0], mouth_open=[0.0]), "celeba")[0].float().mean(0)
    cheek = picture[130, 62]
    for x in (70, 108):
        assert picture[112:114, x - 1 : x + 1].mean() < 0.25 * cheek
    # The lower lip goes down farther than the upper lip goes up.
    assert centre(change(mouth_open=[0, 0.5])) == pytest.approx((88.5, 153), abs=3)


def centre(weight):
    """Centre of mass in pixels, x and y."""
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float32) for size in weight.shape), indexing="ij")
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


def test_heads_turn_the_way_they_say():
    def mouth(**pose):
        return change(mouth_open=[0, 1], **pose)

    straight, right, up = mouth(), mouth(azimuth=[30]), mouth(pitch=[15])
    assert centre(right)[0] > centre(straight)[0] + 2
    assert centre(up)[1] < centre(straight)[1] - 3
    # The eye that turned away is foreshortened.
    eyes = (change(eye_openness=[0, 1], azimuth=[30]) > 1).any(0)
    nose = round(centre(right)[0])
    assert eyes[nose:].sum() < 0.9 * eyes[:nose].sum()


def test_light_comes_from_the_side_it_says():
    left, right = render(faces(light_direction=[-60, 60]), "celeba").float().mean(1)
    brighter = right - left
    assert brighter[90:160, 110:125].mean() > 20
    assert brighter[90:160, 53:68].mean() < -20


def test_the_picture_of_a_mirrored_scene_is_the_mirrored_picture():
    scene = sample_factors(20, seed=3)
    mirrored = scene.clone()
    mirrored[:, [column("azimuth"), column("light_direction")]] *= -1
    difference = (render(mirrored).flip(3).short() - render(scene).short()).abs()
    assert difference.max() <= 1


def test_the_background_has_the_hue_it_says():
    degrees = [200.0, 240.0, 290.0, 330.0]
    corners = render(faces(background_hue=degrees))[:, :, 1, 1].double() / 255
    hues = [360 * colorsys.rgb_to_hsv(*colour)[0] for colour in corners.tolist()]
    assert hues == pytest.approx(degrees, abs=4)


def test_the_crop_is_the_middle_of_the_frame():
    scene = sample_factors(12, seed=4)
    crops = [
        np.asarray(Image.fromarray(picture).crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BOX))
        for picture in render(scene, "celeba").permute(0, 2, 3, 1).numpy()
    ]
    difference = np.abs(np.stack(crops).astype(float) - render(scene).permute(0, 2, 3, 1).numpy())
    assert difference.mean() < 2.5
    # Half a pixel off would be far more.
    shifted = np.abs(np.stack(crops)[:, :, 1:].astype(float) - render(scene).permute(0, 2, 3, 1).numpy()[:, :, :-1])
    assert shifted.mean() > 3 * difference.mean()


def test_factors_have_the_law_they_say():
    n = 20_000
    factors = sample_factors(n, seed=1)
    assert factors.dtype == torch.float32
    low, high = (torch.tensor([getattr(factor, end) for factor in FACTORS]) for end in ("low", "high"))
    binary = torch.tensor([factor.kind == "binary" for factor in FACTORS])
    scaled = ((factors - low) / (high - low)).double()
    assert torch.equal(scaled[:, binary].unique(), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    # Uniform, or a fair coin: mean 1/2 and variance 1/12 or 1/4; independent: no correlation.
    assert torch.allclose(scaled.mean(0), torch.full((14,), 0.5, dtype=torch.float64), atol=0.02)
    assert torch.allclose(scaled.var(0), torch.where(binary, 1 / 4, 1 / 12).double(), rtol=0.05)
    assert (torch.corrcoef(scaled.T) - torch.eye(14)).abs().max() < 5 / n**0.5


def test_the_seed_decides_and_more_faces_leave_the_first_ones_alone():
    assert torch.equal(sample_factors(7, seed=3), sample_factors(1000, seed=3)[:7])
    assert not torch.equal(sample_factors(7, seed=3), sample_factors(7, seed=4))


def test_threads_do_not_matter(monkeypatch):
    scene = sample_factors(150, seed=2)
    expected = torch.cat([render(scene[:70]), render(scene[70:])])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(render(scene), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: render(torch.full((2, 14), torch.nan)), "finite"),
        (lambda: render(faces(), "square"), "'square'"),
        (lambda: write("nowhere", 5, splits=(0.5, 0.1, 0.1)), "add up to 1"),
    ],
)
def test_impossible_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def has(factors):
    """The names of the attributes of each face."""
    return [{name for name, value in zip(ATTRIBUTE_NAMES, row, strict=True) if value} for row in attributes(factors)]


def test_attributes_are_celebas():
    assert len(ATTRIBUTE_NAMES) == 40
    assert ATTRIBUTE_NAMES[::13] == ("5_o_Clock_Shadow", "Chubby", "Pale_Skin", "Young")
    # The original is in the order of ASCII.
    assert list(ATTRIBUTE_NAMES) == sorted(ATTRIBUTE_NAMES)
    assert set(ATTRIBUTE_FACTORS) <= set(ATTRIBUTE_NAMES)
    assert {name for names in ATTRIBUTE_FACTORS.values() for name in names} <= set(FACTOR_NAMES)


def test_attributes_agree_with_the_factors():
    bare, full = has(
        faces(
            fringe=[0, 1], glasses=[0, 1], beard=[0, 1], smile=[-0.1, 0.1], mouth_open=[0.2, 0.4],
            eye_openness=[0.5, 0.3], skin_tone=[0.3, 0.1], face_width=[1, 1.1], hair_colour=[0.7, 0.9],
        )
    )  # fmt: skip
    assert bare == {"No_Beard"}
    assert full == {
        "Bangs", "Blond_Hair", "Chubby", "Eyeglasses", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "Pale_Skin",
        "Smiling",
    }  # fmt: skip
    hair = [names & {"Black_Hair", "Brown_Hair", "Blond_Hair"} for names in has(faces(hair_colour=[0.1, 0.4, 0.8]))]
    assert hair == [{"Black_Hair"}, {"Brown_Hair"}, {"Blond_Hair"}]


def test_attributes_depend_on_their_factors_and_on_no_others():
    scene = sample_factors(300, seed=5)
    before = attributes(scene)
    with_factor = torch.tensor([name in ATTRIBUTE_FACTORS for name in ATTRIBUTE_NAMES])
    assert before.any(0).equal(with_factor)
    for name in FACTOR_NAMES:
        changed = scene.clone()
        changed[:, column(name)] = scene[:, column(name)].roll(1)
        moved = (attributes(changed) != before).any(0)
        expected = torch.tensor([name in ATTRIBUTE_FACTORS.get(attribute, ()) for attribute in ATTRIBUTE_NAMES])
        assert torch.equal(moved, expected), name


def test_files_are_celebas(tmp_path):
    folder = tmp_path / "new" / "celeba"
    write(folder, 10, seed=6, splits=(0.6, 0.3, 0.1))
    factors = sample_factors(10, seed=6)
    names = [f"{number:06}.jpg" for number in range(1, 11)]
    assert {path.name for path in folder.iterdir()} == {
        "img_align_celeba", "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt",
        "generating_factors.csv",
    }  # fmt: skip
    assert sorted(path.name for path in (folder / "img_align_celeba").iterdir()) == names

    for name, expected in zip(names, render(factors, "celeba").permute(0, 2, 3, 1).numpy(), strict=True):
        with Image.open(folder / "img_align_celeba" / name) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (178, 218), "RGB")
            assert np.abs(np.asarray(picture).astype(float) - expected).mean() < 2

    count, header, *rows = (folder / "list_attr_celeba.txt").read_bytes().decode("ascii").split("\r\n")[:-1]
    assert count == "10"
    assert header == " ".join(ATTRIBUTE_NAMES) + " "
    assert [row.split()[0] for row in rows] == names
    values = torch.tensor([[int(value) for value in row.split()[1:]] for row in rows])
    assert torch.equal(values, torch.where(attributes(factors), 1, -1))
    # Columns of one width, as in the original.
    assert {len(row) for row in rows} == {len(names[0]) + 40 * 3}

    identities = [line.split() for line in (folder / "identity_CelebA.txt").read_text().splitlines()]
    assert identities == [[name, str(number)] for number, name in enumerate(names, 1)]
    parts = [line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines()]
    assert parts == [[name, part] for name, part in zip(names, "0000001112", strict=True)]

    with (folder / "generating_factors.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["image", *FACTOR_NAMES]
    assert [row[0] for row in rows] == names
    assert torch.equal(torch.tensor([[float(value) for value in row[1:]] for row in rows]), factors)


@pytest.mark.parametrize("present", ["img_align_celeba", "notes.txt"])
def test_what_is_there_is_left_alone(tmp_path, present):
    (tmp_path / present).write_text("mine")
    with pytest.raises(DataError, match="is not empty: choose another folder"):
        write(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "mine"


def test_what_a_killed_process_left_is_replaced_and_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "celeba"
    left = tmp_path / ".celeba.partial" / "img_align_celeba" / "000009.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a picture")
    save = Image.Image.save

    def interrupted(picture, path, **how):
        if path.name == "000002.jpg":
            raise KeyboardInterrupt
        save(picture, path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(folder, 2)
    assert [path.name for path in tmp_path.iterdir()] == [".celeba.lock"]
    folder.mkdir()
    write(folder, 2)
    assert len(list((folder / "img_align_celeba").iterdir())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".celeba.lock", "celeba"]


def test_a_strip_for_every_factor_shows_that_factor():
    strips = drawn_faces.strips(steps=4)
    assert tuple(strips) == FACTOR_NAMES
    middle = {f.name: [0.0 if f.kind == "binary" else (f.low + f.high) / 2] for f in FACTORS}
    for factor in FACTORS:
        ends = render(faces(**middle | {factor.name: [factor.low, factor.high]}))
        assert torch.equal(strips[factor.name][[0, -1]], ends), factor.name
        assert (strips[factor.name][1] != strips[factor.name][2]).any(), factor.name
