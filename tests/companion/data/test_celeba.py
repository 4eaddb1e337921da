"""CelebA's reader: what it makes of whole, partial and damaged copies, and a memory map that survives a kill."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from companion.data import DataError, celeba, drawn_faces, sources
from companion.data import _celeba_layout as layout
from companion.data import _picture_cache as cache
from vaemi import _files

NAMES = [f"{i:06d}.jpg" for i in range(1, 31)]
ATTRIBUTES = ("Smiling", "Bald", "Male")


@lru_cache
def jpeg(colour, width=178, height=218):
    content = BytesIO()
    Image.new("RGB", (width, height), colour).save(content, "JPEG", quality=95)
    return content.getvalue()


def colour(i):
    return (8 * i, 255 - 8 * i, 40)


def attribute_rows(n=30):
    """Smiling for every other picture, no one bald, Male for every third."""
    return [f"{NAMES[i]} {1 if i % 2 else -1:2d}  -1 {1 if i % 3 else -1:2d}" for i in range(n)]


def write_text(path, lines, end="\n"):
    path.write_bytes((end.join(lines) + end).encode())


def write_attributes(folder, rows=None, count=None, end="\n"):
    rows = attribute_rows() if rows is None else rows
    lines = [str(len(rows) if count is None else count), " ".join(ATTRIBUTES) + " ", *rows]
    write_text(folder / "list_attr_celeba.txt", lines, end)


def write_layout(root):
    """Thirty pictures in CelebA's layout."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (folder / "img_align_celeba" / name).write_bytes(jpeg(colour(i)))
    write_attributes(folder)
    write_text(folder / "identity_CelebA.txt", [f"{name} {1000 + i}" for i, name in enumerate(NAMES)])
    # The parts are scattered over the list; officially they are not.
    write_text(folder / "list_eval_partition.txt", [f"{name} {(0, 0, 1, 0, 2)[i % 5]}" for i, name in enumerate(NAMES)])
    return folder


@pytest.fixture
def folder(own_data_root):
    return write_layout(own_data_root)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "CHUNK", 7)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


def load(source="folder", **settings):
    return celeba.load(source, say=lambda sentence: None, **settings)


def indices(part):
    """Which of the thirty pictures these are, seen from their colours."""
    return (part.images[:, 0].double().mean((1, 2)) / 8).round().int().tolist()


def all_indices(faces):
    return indices(faces.train) + indices(faces.validation) + indices(faces.test)


def caches(folder):
    return sorted(path for path in (folder / ".cache").iterdir() if path.is_dir())


# --- what is read ----------------------------------------------------------------------------------------------------


def test_pictures_labels_and_official_split(folder):
    faces = load()
    assert indices(faces.train) == [i for i in range(30) if i % 5 in (0, 1, 3)]
    assert indices(faces.validation) == [i for i in range(30) if i % 5 == 2]
    assert indices(faces.test) == [i for i in range(30) if i % 5 == 4]
    for part in (faces.train, faces.validation, faces.test):
        i = torch.tensor(indices(part))
        assert part.images.shape == (len(i), 3, 64, 64)
        assert part.images.dtype == torch.uint8
        expected = torch.tensor([colour(k) for k in i.tolist()])
        assert (part.images[:, :, 32, 32].int() - expected).abs().max() <= 3
        assert torch.equal(part.attributes, torch.stack([i % 2 == 1, i < 0, i % 3 != 0], 1))
        assert torch.equal(part.identities, 1000 + i)
        assert part.factors is None
    assert faces.attribute_names == ATTRIBUTES
    assert faces.factor_names == ()
    assert not faces.provenance.stand_in
    assert faces.provenance.source == "CelebA, a part of it: 30 of 202,599 pictures"
    assert faces.provenance.n == 30
    assert faces.report == celeba.Report(30, 30, 0, 0, (), 18, 6, 6)
    assert celeba.missing_files() == []
    assert celeba.check() == []


def test_middle_square():
    noise = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(noise).save(content, "JPEG", quality=100)
    decoded = np.asarray(Image.open(content)).transpose(2, 0, 1)
    assert np.array_equal(celeba.picture(content.getvalue(), size=148), decoded[:, 35:183, 15:163])
    assert np.array_equal(celeba.picture(content.getvalue(), size=178, crop=178), decoded[:, 20:198, :])


def test_antialiased():
    fine = np.indices((218, 178)).sum(0) % 2 * 255
    content = BytesIO()
    Image.fromarray(fine.astype(np.uint8)).save(content, "JPEG", quality=100)
    # Stripes finer than the result can show are a grey; every second pixel alone would show them.
    assert celeba.picture(content.getvalue()).std() < 8


def test_grey_jpegs_are_pictures_as_well():
    content = BytesIO()
    Image.new("L", (178, 218), 77).save(content, "JPEG")
    assert (celeba.picture(content.getvalue()) == 77).all()


def test_zip_and_folder_give_the_same(folder):
    unpacked = load()
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("img_align_celeba")
        for name in NAMES:
            archive.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
        archive.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"not a picture")
        archive.writestr("img_align_celeba/._000001.jpg", b"not a picture")
    said = []
    celeba.load("folder", say=said.append)
    assert any("Both" in sentence and "the folder is used" in sentence for sentence in said)
    shutil.rmtree(folder / "img_align_celeba")
    packed = load()
    assert packed.provenance == unpacked.provenance
    assert all_indices(packed) == all_indices(unpacked)
    assert packed.report == unpacked.report
    assert len({(made / "images.u8").read_bytes() for made in caches(folder)}) == 1
    assert len(caches(folder)) == 2
    assert celeba.missing_files() == []
    assert celeba.check() == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_runs_of_spaces(end, folder):
    expected = load()
    write_attributes(folder, [f"  {row.replace(' ', '   ')}  " for row in attribute_rows()], "  30 ", end)
    for name in ("identity_CelebA.txt", "list_eval_partition.txt"):
        write_text(folder / name, (folder / name).read_text().splitlines(), end)
    assert load().provenance == expected.provenance


def test_optional_files_may_be_missing(folder):
    for name in ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"):
        (folder / name).unlink()
    faces = load()
    # By position: 80, 10 and 10 %.
    assert [indices(part) for part in (faces.train, faces.validation, faces.test)] == [
        list(range(24)), list(range(24, 27)), list(range(27, 30)),
    ]  # fmt: skip
    assert faces.train.attributes.shape == (24, 0)
    assert faces.attribute_names == ()
    assert faces.train.identities is None
    words = " ".join(faces.report.sentences())
    for name in ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"):
        assert name in words
    assert "split by position" in words
    assert faces.varying_attributes() == []
    assert celeba.missing_files() == ["list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"]


def test_a_part_of_the_split_that_would_be_empty(folder):
    # As in a copy of the first thousand pictures, which all belong to the training part.
    write_text(folder / "list_eval_partition.txt", [f"{name} 0" for name in NAMES])
    faces = load()
    assert (len(faces.train.images), len(faces.validation.images), len(faces.test.images)) == (24, 3, 3)
    assert any("no picture found for validation and test" in sentence for sentence in faces.report.sentences())


def test_missing_and_unlisted_pictures_are_counted(folder):
    pictures = folder / "img_align_celeba"
    (pictures / NAMES[0]).unlink()
    (pictures / NAMES[7]).unlink()
    (pictures / "mine.jpg").write_bytes(jpeg((1, 2, 3)))
    (pictures / "000002.JPG").write_bytes(jpeg((1, 2, 3)))
    (pictures / "notes.txt").write_text("not a picture")
    # Listed by two files of three.
    write_text(folder / "identity_CelebA.txt", [f"{name} 5" for name in NAMES[:29]])
    faces = load()
    assert sorted(all_indices(faces)) == [i for i in range(29) if i not in (0, 7)]
    report = faces.report
    assert (report.listed, report.found, report.missing, report.unlisted) == (29, 29, 2, 2)
    assert "2 pictures are listed but not there." in report.sentences()
    assert "2 pictures are there but not listed, and not used." in report.sentences()


def test_a_cut_list_that_says_so_is_fine(folder):
    write_attributes(folder, attribute_rows(12))
    assert load().report.listed == 12


def test_more_rows_than_the_count_are_used_and_said(folder):
    write_attributes(folder, count=20)
    faces = load()
    assert faces.report.train + faces.report.validation + faces.report.test == 30
    assert any("says in line 1 that it has 20 rows and has 30" in sentence for sentence in faces.report.sentences())


@pytest.mark.parametrize(("full", "words"), [(30, True), (31, False)])
def test_md5_is_compared_where_the_file_claims_to_be_complete(full, words, folder, monkeypatch):
    monkeypatch.setattr(layout, "COMPLETE", full)
    faces = load()
    assert any("another MD5" in sentence for sentence in faces.report.sentences()) == words
    assert ("complete" in faces.provenance.source) == words


def test_the_table_of_files_is_celebas():
    assert layout.COMPLETE == 162_770 + 19_867 + 19_962
    assert set(layout.MD5) == {"list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"}


def test_varying_attributes(folder):
    assert load().varying_attributes() == [0, 2]
    # Smiling: never in the test part, which holds the pictures 4, 9, ...
    rows = [row if i % 5 != 4 else row.replace(" 1 ", " -1 ", 1) for i, row in enumerate(attribute_rows())]
    write_attributes(folder, rows)
    assert load().varying_attributes() == [2]
    assert load().varying_attributes(least=0.45) == []


def test_generating_factors_beside_the_pictures(folder):
    write_text(
        folder / "generating_factors.csv", ["name,smile,hue", *(f"{name},{i / 4},2" for i, name in enumerate(NAMES))]
    )
    faces = load()
    assert faces.factor_names == ("smile", "hue")
    assert torch.equal(faces.train.factors[:, 0], torch.tensor(indices(faces.train)) / 4)
    assert faces.provenance.stand_in
    assert "computer-generated" in faces.provenance.source


# --- text files that are refused -------------------------------------------------------------------------------------


def cut(lines, row):
    return [*lines[:row], lines[row].rsplit(maxsplit=1)[0]]


ATTRIBUTE_FAULTS = {
    "fewer rows than the count": (lambda rows: ["30", " ".join(ATTRIBUTES), *rows[:20]], "has 20: it was cut off"),
    "last row cut": (lambda rows: ["30", " ".join(ATTRIBUTES), *cut(rows, 19)], "line 22, has 2 values"),
    "short row": (lambda rows: ["30", " ".join(ATTRIBUTES), *cut(rows, 4), *rows[5:]], "line 7, has 2 values"),
    "empty line": (lambda rows: ["30", " ".join(ATTRIBUTES), *rows[:4], "", *rows[4:]], "line 7, has 0 values"),
    "zero": (lambda rows: ["30", " ".join(ATTRIBUTES), rows[0].replace("-1", "0"), *rows[1:]], "line 3, holds '0'"),
    "half a number": (lambda rows: ["30", " ".join(ATTRIBUTES), *rows[:29], rows[29][:-2] + "-"], "line 32, holds '-'"),
    "no count": (lambda rows: [" ".join(ATTRIBUTES), *rows], "line 1, is 'Smiling"),
    "no names": (lambda rows: ["30", "", *rows], "line 2, should be the names"),
    "a name twice": (lambda rows: ["30", "Bald Bald Male", *rows], "line 2, should be the names"),
    "a picture twice": (lambda rows: ["30", " ".join(ATTRIBUTES), *rows[:29], rows[3]], "lists '000004.jpg' a sec"),
    "empty": (lambda rows: [], "has 0 lines"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ATTRIBUTE_FAULTS)
def test_bad_attribute_files_are_named(fault, folder):
    damage, words = ATTRIBUTE_FAULTS[fault]
    path = folder / "list_attr_celeba.txt"
    write_text(path, damage(attribute_rows()))
    before = path.read_bytes()
    with pytest.raises(DataError, match=words) as raised:
        load()
    assert str(raised.value).startswith(str(path))
    assert path.read_bytes() == before
    assert [str(raised.value)] == celeba.check()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("identity_CelebA.txt", b"000001.jpg 5\n000002.jpg\n", "line 2, is '000002.jpg': it should be"),
        ("identity_CelebA.txt", b"000001.jpg five\n", "line 1, is '000001.jpg five'"),
        ("identity_CelebA.txt", b"000001.jpg 5\n000002.jpg 1", "ends in the middle of line 2"),
        ("identity_CelebA.txt", b"000001.jpg 99999999999999999999\n", "line 1"),
        ("identity_CelebA.txt", b"\xff\xd8\xff\xe0", "is no text file"),
        ("list_eval_partition.txt", b"000001.jpg 0\n000002.jpg 3\n", "line 2, holds 3 where only 0"),
        ("list_eval_partition.txt", b"000001.jpg -1\n", "line 1"),
        ("generating_factors.csv", b"name,smile\n000001.jpg,0.5\n000002.jpg,nan\n", "line 3, should be"),
        ("generating_factors.csv", b"name,smile\n000001.jpg\n", "line 2, should be"),
    ],
)
def test_other_bad_text_files_are_named(name, content, words, folder):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as raised:
        load()
    assert str(folder / name) in str(raised.value)


def test_names_that_do_not_agree(folder):
    write_text(folder / "list_eval_partition.txt", [f"{name.upper()} 0" for name in NAMES])
    with pytest.raises(DataError, match="names must agree exactly"):
        load()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


TOKENS = st.sampled_from(
    ["a.jpg", "b.jpg", "1", "-1", "0", "2", "3", " ", "  ", "\n", "\r\n", ",", '"', "nan", "é", "\x00"]
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.lists(TOKENS, max_size=25).map(lambda tokens: "".join(tokens).encode()))
@example(b"1\nBald\na.jpg 1\n")
@example(b"1" * 5000 + b"\nBald\n")
@example(b'name,x\n"a\n')
def test_any_text_is_read_or_refused(scratch, content):
    scratch.write_bytes(content)
    for read in (lambda path: layout.read_attributes(path, []), layout.read_partition, layout.read_factors):
        try:
            table = read(scratch)
        except DataError:
            continue
        assert table.values.shape == (len(table.row_of), len(table.columns))


# --- corrupt pictures ------------------------------------------------------------------------------------------------

DAMAGE = {
    "truncated": (lambda content: content[: len(content) // 2], "truncated"),
    "empty": (lambda content: b"", "empty"),
    "text": (lambda content: b"<html>quota exceeded</html>", "no JPEG"),
    "another size": (lambda content: jpeg((9, 9, 9), 200, 200), "200x200, not 178x218"),
    "zeros": (lambda content: bytes(len(content)), "no JPEG"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt_pictures_are_named_and_skipped(damage, packed, folder):
    spoil, words = DAMAGE[damage]
    victims = [8, 14, 20]  # train, test, train
    for i in victims:
        path = folder / "img_align_celeba" / NAMES[i]
        path.write_bytes(spoil(path.read_bytes()))
    if packed:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for name in NAMES:
                archive.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
        shutil.rmtree(folder / "img_align_celeba")
    for _ in range(2):  # made, and taken as it is
        faces = load()
        assert sorted(all_indices(faces)) == [i for i in range(30) if i not in victims]
        assert [len(part.images) for part in (faces.train, faces.validation, faces.test)] == [16, 6, 5]
        for part in (faces.train, faces.validation, faces.test):
            assert torch.equal(part.identities, 1000 + torch.tensor(indices(part)))
        assert {name.split()[0] for name in faces.report.corrupt} == {NAMES[i] for i in victims}
        assert all(words in name for name in faces.report.corrupt)
        assert faces.provenance.n == 27
    assert any("3 pictures are skipped as corrupt: " in sentence for sentence in faces.report.sentences())
    (problem,) = celeba.check()
    assert NAMES[8] in problem


def test_too_many_corrupt_pictures_stop_the_run(folder):
    for name in NAMES[:11]:
        (folder / "img_align_celeba" / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"11 pictures are corrupt in .*, and 10 may be \(max_corrupt\): 000001.jpg"
    ) as raised:
        load()
    assert "000001.jpg (empty), " in str(raised.value)
    assert " and 6 more" in str(raised.value)
    assert len(load(max_corrupt=11).train.images) == 11
    with pytest.raises(DataError, match="and 10 may be"):
        load()  # although the memory map is there


def test_a_damaged_member_of_the_zip_is_a_corrupt_picture(folder):
    path = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
    shutil.rmtree(folder / "img_align_celeba")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.getinfo(f"img_align_celeba/{NAMES[4]}").header_offset + 700] ^= 1
    path.write_bytes(content)
    (corrupt,) = load().report.corrupt
    assert corrupt.startswith(f"{NAMES[4]} (damaged in the zip")


def test_a_bomb_in_the_zip_is_a_corrupt_picture(folder, monkeypatch):
    path = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
    shutil.rmtree(folder / "img_align_celeba")
    monkeypatch.setattr(layout, "_LARGEST_PICTURE", 100)
    with pytest.raises(DataError, match=r"bytes in the zip, more than a picture has"):
        load()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 the beginning of a zip"])
def test_a_zip_that_is_none(content, folder):
    shutil.rmtree(folder / "img_align_celeba")
    (folder / "img_align_celeba.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"img_align_celeba.zip is no whole zip"):
        load()


def test_a_zip_of_something_else(folder):
    shutil.rmtree(folder / "img_align_celeba")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.writestr("holiday/1.jpg", jpeg((1, 2, 3)))
    with pytest.raises(DataError, match=r"holds no img_align_celeba/\*\.jpg"):
        load()


def test_labels_without_pictures(folder):
    shutil.rmtree(folder / "img_align_celeba")
    with pytest.raises(DataError, match="has no pictures: put img_align_celeba"):
        load("auto")
    assert celeba.missing_files() == ["img_align_celeba.zip"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 5000))
def test_any_damage_to_a_jpeg_is_a_picture_or_a_bad_picture(changes, length):
    content = bytearray(jpeg((90, 120, 30))[: max(length, 100)])
    for place, value in changes:
        content[place % len(content)] = value
    with suppress(layout.BadPictureError):
        assert celeba.picture(bytes(content)).shape == (3, 64, 64)


# --- the memory map --------------------------------------------------------------------------------------------------


def test_what_a_reader_writes_stays_out_of_the_file(folder):
    faces = load()
    (made,) = caches(folder)
    before = (made / "images.u8").read_bytes()
    faces.train.images.zero_()
    assert (made / "images.u8").read_bytes() == before
    assert load().train.images.any()


def test_the_parts_share_one_map(folder):
    faces = load()
    parts = (faces.train, faces.validation, faces.test)
    assert len({part.images.untyped_storage().data_ptr() for part in parts}) == 1
    assert (
        np.concatenate([part.images.numpy() for part in parts]).tobytes()
        == (caches(folder)[0] / "images.u8").read_bytes()
    )


def test_pictures_are_decoded_once(folder, monkeypatch):
    first = load()
    monkeypatch.setattr(celeba, "picture", lambda *_: pytest.fail("decoded again"))
    assert load().provenance == first.provenance


@pytest.mark.parametrize("change", ["new", "vanished", "written again", "other size", "other crop"])
def test_a_change_makes_another_map(change, folder):
    load()
    (old,) = caches(folder)
    before = (old / "images.u8").read_bytes()
    path = folder / "img_align_celeba" / NAMES[3]
    if change == "new":
        path.with_name("000031.jpg").write_bytes(jpeg((250, 1, 1)))
        write_attributes(folder, [*attribute_rows(), "000031.jpg 1 1 1"])
        for name in ("identity_CelebA.txt", "list_eval_partition.txt"):
            (folder / name).write_text((folder / name).read_text() + "000031.jpg 1\n")
    elif change == "vanished":
        path.unlink()
    elif change == "written again":  # possibly with other content of the same length
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    said = []
    faces = celeba.load(
        "folder",
        size=32 if change == "other size" else 64,
        crop=178 if change == "other crop" else 148,
        say=said.append,
    )
    assert faces.provenance.n == {"new": 31, "vanished": 29}.get(change, 30)
    assert faces.train.images.shape[-1] == (32 if change == "other size" else 64)
    assert len(caches(folder)) == 2
    assert (old / "images.u8").read_bytes() == before
    assert any(old.name in sentence and "may be deleted" in sentence for sentence in said)


def test_an_older_format_is_not_used(folder, monkeypatch):
    load()
    monkeypatch.setattr(cache, "_FORMAT", 99)
    load()
    assert len(caches(folder)) == 2


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda made: os.truncate(made / "images.u8", 1000), "another size"),
        (lambda made: (made / "images.u8").unlink(), "cannot be mapped"),
        (lambda made: (made / "manifest.json").write_text("{"), "missing or damaged"),
        (lambda made: (made / "manifest.json").write_text('{"settings": {}, "chunks": []}'), "settings are others"),
        (lambda made: (made / "manifest.json").unlink(), "missing or damaged"),
    ],
)
def test_a_damaged_map_is_made_again(spoil, words, folder):
    provenance = load().provenance
    (made,) = caches(folder)
    spoil(made)
    said = []
    again = celeba.load("folder", say=said.append)
    assert any(words in sentence and "made again" in sentence for sentence in said)
    assert again.provenance == provenance
    assert sorted(all_indices(again)) == list(range(30))


def test_check_finds_a_changed_byte_in_the_map(folder):
    load()
    (made,) = caches(folder)
    flip(made / "images.u8")
    (problem,) = celeba.check()
    assert str(made) in problem
    assert "chunk 2 of 5" in problem


KILLED = """
import os, signal, sys
from companion.data import celeba, _picture_cache as cache

def kill_at(call, owner, name):
    original, calls = getattr(owner, name), []
    def deadly(*arguments):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    setattr(owner, name, deadly)

cache.CHUNK = 7
for root, owner, name, call in zip(*[iter(sys.argv[1:])] * 4):
    child = os.fork()
    if child == 0:
        kill_at(int(call), cache._Record if owner == "record" else cache, name)
        sources.set_data_root(root)
        celeba.load("folder")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""

KILLS = {
    "made, not written": ("module", "_checksum", 3),
    "written, not in the journal": ("record", "to_list", 3),
    "complete, not renamed": ("module", "_finish", 1),
}
WHOLE_CHUNKS = {"made, not written": 2, "written, not in the journal": 2, "complete, not renamed": 5}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Data roots in which a process was killed while it made the memory map."""
    roots = {moment: tmp_path_factory.mktemp("killed") for moment in KILLS}
    for root in roots.values():
        write_layout(root)
    arguments = [str(part) for moment, kill in KILLS.items() for part in (roots[moment], *kill)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return roots


@pytest.mark.parametrize("moment", KILLS)
def test_after_a_kill_the_same_call_goes_on(moment, killed, own_data_root, monkeypatch):
    folder = killed[moment] / "celeba"
    (partial,) = caches(folder)
    assert partial.suffix == ".partial"
    if moment == "made, not written":
        # As after a power cut: half a line, and half a chunk.
        with (partial / "journal.jsonl").open("a") as journal, (partial / "images.u8").open("ab") as images:
            journal.write('[7, "ab')
            images.write(b"half a chunk")
    shutil.copytree(folder, own_data_root / "celeba", ignore=shutil.ignore_patterns(".cache"))  # with times of change
    undisturbed = load()
    (twin,) = caches(own_data_root / "celeba")
    decoded = []
    picture = celeba.picture
    monkeypatch.setattr(celeba, "picture", lambda *arguments: decoded.append(1) or picture(*arguments))
    sources.set_data_root(folder.parent)
    resumed = load()
    (made,) = caches(folder)
    assert len(decoded) == 30 - min(7 * WHOLE_CHUNKS[moment], 30)
    assert made.name == twin.name
    for name in ("images.u8", "manifest.json"):
        assert (made / name).read_bytes() == (twin / name).read_bytes()
    assert sorted(path.name for path in made.iterdir()) == ["images.u8", "manifest.json"]
    assert resumed.provenance == undisturbed.provenance


def test_a_damaged_partial_map_is_used_up_to_the_damage(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load()
    (partial,) = caches(folder)
    flip(partial / "images.u8")  # in the third of five chunks
    decoded = []
    picture = celeba.picture
    monkeypatch.setattr(celeba, "picture", lambda *arguments: decoded.append(1) or picture(*arguments))
    faces = load()
    assert len(decoded) == 30 - 14
    assert sorted(all_indices(faces)) == list(range(30))
    assert celeba.check() == []


def test_two_at_once_make_it_once(folder, monkeypatch):
    decoded = []
    picture = celeba.picture
    monkeypatch.setattr(celeba, "picture", lambda *arguments: decoded.append(1) or picture(*arguments))
    with ThreadPoolExecutor(3) as pool:
        checksums = {faces.provenance.checksum for faces in pool.map(lambda _: load(), range(3))}
    assert len(checksums) == 1
    assert len(decoded) == 30


def test_who_comes_second_waits_and_says_so(folder):
    load()
    (made,) = caches(folder)
    shutil.move(made, made.parent.parent / "elsewhere")
    said, waiting = [], threading.Event()

    def say(sentence):
        said.append(sentence)
        if "waiting for it" in sentence:
            waiting.set()

    with (made.parent / f"{made.name}.lock").open("a") as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = pool.submit(celeba.load, "folder", say=say)
        try:
            assert waiting.wait(30)
            assert not second.done()
            assert caches(folder) == []
            # The first one finishes.
            shutil.move(made.parent.parent / "elsewhere", made)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
        assert second.result().provenance.n == 30


def test_without_locks_every_process_has_its_own(folder, monkeypatch):
    monkeypatch.setattr(_files, "fcntl", None)
    first = load()
    assert len(caches(folder)) == 1
    # Another process is faster.
    (made,) = caches(folder)
    shutil.copytree(made, made.with_suffix(".partial-7"))
    cache._finish(made.with_suffix(".partial-7"), made)
    assert caches(folder) == [made]
    assert load().provenance == first.provenance


def test_a_read_only_folder_sends_the_map_to_the_users_cache(folder, own_data_root, monkeypatch, tmp_path):
    writable = cache.writable_folder

    def read_only(path):
        if path.is_relative_to(folder):
            raise DataError(f"The folder {path} cannot be written to")
        return writable(path)

    monkeypatch.setattr(cache, "writable_folder", read_only)
    said = []
    faces = celeba.load("folder", say=said.append)
    assert any("cannot be written to: the picture cache goes to" in sentence for sentence in said)
    assert not (folder / ".cache").exists()
    assert len(list((tmp_path / "user-cache" / "vaemi" / "celeba" / ".cache").glob("*/images.u8"))) == 1
    monkeypatch.setattr(celeba, "picture", lambda *_: pytest.fail("decoded again"))
    assert load().provenance == faces.provenance


def test_nowhere_to_write(folder, monkeypatch):
    monkeypatch.setattr(sources.os, "access", lambda *_: False)
    with pytest.raises(DataError, match="cannot be written to: choose another data root"):
        load()


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(DataError, match=r"cannot be written \(.* are needed\): make room"):
            load()
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): make room"):
            load()
    monkeypatch.setattr(celeba, "picture", lambda *_: pytest.fail("decoded again"))
    assert sorted(all_indices(load())) == list(range(30))


def test_few_chunks_are_in_memory(folder):
    made, asked = [], threading.Event()

    def make(start, stop):
        made.append(start)
        if len(made) == 3:
            asked.set()
        return cache.Chunk(np.zeros((stop - start, 3, 2, 2), np.uint8), {})

    chunks = cache._in_order(cache.Recipe("test", {}, 7 * 50, 2, make), 0, threads=2)
    next(chunks)
    assert asked.wait(30)
    # One was handed out; two threads and the one that waits to be written.
    assert len(made) <= 4
    assert sum(len(chunk.pictures) for chunk in chunks) == 7 * 49
    assert sorted(made) == list(range(0, 350, 7))


def test_git_takes_no_picture(folder, own_data_root):
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=own_data_root, capture_output=True, text=True, check=False)

    git("init", "--quiet")
    load()
    (made,) = caches(folder)
    assert git("check-ignore", made / "images.u8").returncode == 0
    untracked = git("status", "--porcelain", "--untracked-files=all").stdout
    assert "img_align_celeba/000001.jpg" in untracked  # what the user put there is the user's
    assert ".cache" not in untracked


# --- where it comes from ---------------------------------------------------------------------------------------------


def test_celeba_cannot_be_fetched(own_data_root):
    with pytest.raises(DataError, match="non-commercial research only and not passed on") as raised:
        load("folder")
    assert str(own_data_root / "celeba") in str(raised.value)
    assert celeba.check() == []
    assert celeba.missing_files()[0] == "img_align_celeba.zip"
    assert celeba.status() == [celeba.how_to_get()]


def test_status(folder):
    (folder / "identity_CelebA.txt").unlink()
    place = folder / "img_align_celeba"
    assert celeba.status() == [f"30 of 202,599 pictures in {place}.", "There is no identity_CelebA.txt."]
    shutil.rmtree(place)
    assert "has no pictures" in celeba.status()[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "web"}, "no source 'web'"),
        ({"crop": 179}, "crop is 179"),
        ({"size": 0}, "size is 0"),
        ({"max_corrupt": -1}, "max_corrupt -1"),
        ({"source": "drawn", "drawn": 3}, "drawn is 3: at least 12"),
    ],
)
def test_settings_out_of_range(settings, words, folder):
    with pytest.raises(DataError, match=re.escape(words)):
        load(**settings)


def test_drawn_faces(own_data_root):
    said = []
    faces = celeba.load("auto", drawn=36, seed=5, say=said.append)
    assert "drawn faces are used" in said[0]
    assert [len(part.images) for part in (faces.train, faces.validation, faces.test)] == [30, 3, 3]
    factors = drawn_faces.sample_factors(36, 5)
    assert torch.equal(torch.cat([faces.train.factors, faces.validation.factors, faces.test.factors]), factors)
    assert torch.equal(faces.test.images, drawn_faces.render(factors[33:]))
    assert torch.equal(faces.validation.attributes, drawn_faces.attributes(factors[30:33]))
    assert faces.factor_names == drawn_faces.FACTOR_NAMES
    assert faces.attribute_names == drawn_faces.ATTRIBUTE_NAMES
    assert faces.train.identities is None
    assert faces.provenance.stand_in
    assert faces.provenance.source.startswith("36 drawn faces, computer-generated from known factors, a stand-in for")
    assert faces.report == celeba.Report(36, 36, 0, 0, (), 30, 3, 3)
    assert celeba.check() == []


def test_drawn_faces_are_drawn_once_and_anew_when_the_drawing_changes(own_data_root, monkeypatch):
    first = load("drawn", drawn=30)
    drawn, render = [], drawn_faces.render
    monkeypatch.setattr(drawn_faces, "render", lambda *some, **how: drawn.append(len(some[0])) or render(*some, **how))
    assert load("drawn", drawn=30).provenance == first.provenance
    assert drawn == [12]
    with monkeypatch.context() as patch:
        patch.setattr(drawn_faces, "render", lambda *some, **how: 255 - render(*some, **how))
        assert torch.equal(load("drawn", drawn=30).train.images, 255 - first.train.images)
    assert load("drawn", drawn=30, seed=1).provenance.checksum != first.provenance.checksum


def test_drawn_faces_written_to_disk_are_read_as_celeba_is(own_data_root):
    drawn_faces.write(own_data_root / "celeba", 24, seed=5)
    faces = load("auto")
    assert (len(faces.train.images), len(faces.validation.images), len(faces.test.images)) == (19, 3, 2)
    factors = drawn_faces.sample_factors(24, 5)
    assert torch.equal(faces.validation.factors, factors[19:22])
    assert torch.equal(faces.train.attributes, drawn_faces.attributes(factors[:19]))
    # Drawn small, or drawn large and made smaller: the same but for sharpness.
    difference = faces.train.images.float() - drawn_faces.render(factors[:19]).float()
    assert difference.abs().mean() < 5
    assert faces.provenance.stand_in
    assert "drawn faces" in faces.provenance.source
    assert celeba.check() == []
    assert celeba.missing_files() == []
