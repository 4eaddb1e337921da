"""CelebA's reader on whole, partial and damaged copies, and the cache of its pictures."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from functools import lru_cache
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from companion.data import DataError, celeba, drawn_faces

NAMES = [f"{i:06d}.jpg" for i in range(1, 31)]
ATTRIBUTES = ("Smiling", "Bald", "Male")
TABLES = ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt")


@lru_cache
def jpeg(colour, width=178, height=218):
    content = BytesIO()
    Image.new("RGB", (width, height), colour).save(content, "JPEG", quality=95)
    return content.getvalue()


def colour(i):
    return (8 * i, 255 - 8 * i, 40)


# Smiling for every other picture, nobody bald, Male for two of three.
ATTRIBUTE_ROWS = [f"{name} {1 if i % 2 else -1:2d}  -1 {1 if i % 3 else -1:2d}" for i, name in enumerate(NAMES)]


def write_text(path, lines, end="\n"):
    path.write_bytes((end.join(lines) + end).encode())


@pytest.fixture
def folder(own_data_root, monkeypatch):
    """Thirty pictures in CelebA's layout; the parts are scattered over the list."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_data_root / "user-cache"))
    folder = own_data_root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (folder / "img_align_celeba" / name).write_bytes(jpeg(colour(i)))
    write_text(folder / "list_attr_celeba.txt", ["30", " ".join(ATTRIBUTES) + " ", *ATTRIBUTE_ROWS])
    write_text(folder / "identity_CelebA.txt", [f"{name} {1000 + i}" for i, name in enumerate(NAMES)])
    write_text(folder / "list_eval_partition.txt", [f"{name} {(0, 0, 1, 0, 2)[i % 5]}" for i, name in enumerate(NAMES)])
    return folder


def load(source="folder", **settings):
    return celeba.load(source, say=lambda sentence: None, **settings)


def parts_of(faces):
    return (faces.train, faces.validation, faces.test)


def indices(part):
    """Which of the thirty pictures these are, from their colours."""
    return (part.images[:, 0].double().mean((1, 2)) / 8).round().int().tolist()


def all_indices(faces):
    return [i for part in parts_of(faces) for i in indices(part)]


def caches(folder):
    return sorted((folder / ".cache").glob("*.npy"))


def pack(folder):
    """Replace the folder of pictures by a zip, with what macOS adds."""
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("img_align_celeba")
        for path in sorted((folder / "img_align_celeba").iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
        archive.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"not a picture")
        archive.writestr("img_align_celeba/._000001.jpg", b"not a picture")
    shutil.rmtree(folder / "img_align_celeba")
    return folder / "img_align_celeba.zip"


# --- what is read ----------------------------------------------------------------------------------------------------


def test_pictures_labels_and_official_split(folder):
    faces = load()
    assert indices(faces.train) == [i for i in range(30) if i % 5 in (0, 1, 3)]
    assert indices(faces.validation) == [i for i in range(30) if i % 5 == 2]
    assert indices(faces.test) == [i for i in range(30) if i % 5 == 4]
    for part in parts_of(faces):
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
    assert faces.varying_attributes() == [0, 2]
    assert faces.varying_attributes(least=0.45) == [0]
    # The first picture alone, or the first two of the test (4 and 9): both are male, one smiles.
    assert faces.varying_attributes(train=1) == []
    assert faces.varying_attributes(held_out=2) == [0]
    with pytest.raises(DataError, match=r"Only 2 of 3 attributes vary .* but 3 are needed: put list_attr_celeba\.txt"):
        faces.varying_attributes(fewest=3)
    assert not faces.provenance.stand_in
    assert faces.provenance.source == "CelebA, a part of it: 30 of 202,599 pictures"
    assert faces.provenance.n == 30
    assert faces.remarks == ("30 pictures found, 30 listed: 18 for training, 6 for validation, 6 for testing.",)
    assert celeba.check() == []


def test_middle_square_with_antialiasing():
    noise = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    stripes = (np.indices((218, 178)).sum(0) % 2 * 255).astype(np.uint8)
    noisy, striped = BytesIO(), BytesIO()
    Image.fromarray(noise).save(noisy, "JPEG", quality=100)
    Image.fromarray(stripes).save(striped, "JPEG", quality=100)
    decoded = np.asarray(Image.open(noisy)).transpose(2, 0, 1)
    assert np.array_equal(celeba.picture(noisy.getvalue(), size=148), decoded[:, 35:183, 15:163])
    assert np.array_equal(celeba.picture(noisy.getvalue(), size=178, crop=178), decoded[:, 20:198, :])
    # Stripes finer than the pixels become grey; this JPEG is also in greyscale.
    assert celeba.picture(striped.getvalue()).std() < 8


def test_zip_and_folder_give_the_same(folder):
    unpacked = load()
    pack(folder)
    packed = load()
    assert packed.provenance == unpacked.provenance
    assert packed.remarks == unpacked.remarks
    assert torch.equal(packed.test.images, unpacked.test.images)
    assert celeba.check() == []


def test_line_ends_and_runs_of_spaces(folder):
    expected = load()
    for name in TABLES:
        lines = [f"  {line.replace(' ', '   ')}  " for line in (folder / name).read_text().splitlines()]
        write_text(folder / name, [*lines, "", " "], "\r\n")
    assert load().provenance == expected.provenance


def test_kaggles_tables_and_folders(folder):
    expected = load()
    (folder / "identity_CelebA.txt").unlink()
    (folder / "list_attr_celeba.txt").unlink()
    rows = [",".join(row.split()) for row in ATTRIBUTE_ROWS]
    write_text(folder / "list_attr_celeba.csv", [",".join(("image_id", *ATTRIBUTES)), *rows])
    partition = (folder / "list_eval_partition.txt").read_text().replace(" ", ",").splitlines()
    write_text(folder / "list_eval_partition.csv", ["image_id,partition", *partition])
    (folder / "list_eval_partition.txt").unlink()
    (folder / "img_align_celeba").rename(folder / "inner")
    (folder / "img_align_celeba").mkdir()
    (folder / "inner").rename(folder / "img_align_celeba" / "img_align_celeba")
    faces = load()
    assert all_indices(faces) == all_indices(expected)
    assert torch.equal(faces.test.attributes, expected.test.attributes)
    assert faces.attribute_names == ATTRIBUTES


LAYOUTS = {
    "as the authors have it": ("Anno/", "Img/img_align_celeba/", "Eval/"),
    "without folders": ("", "", ""),
    "Kaggle's": ("", "img_align_celeba/img_align_celeba/", ""),
    "a folder more": ("CelebA/", "CelebA/Img/img_align_celeba/", "CelebA/"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_are_found_in_any_folder_and_in_a_zip(layout, packed, folder, own_data_root):
    expected = load()
    tables, pictures, partition = LAYOUTS[layout]
    moved = own_data_root / "moved"
    for place in LAYOUTS[layout]:
        (moved / place).mkdir(parents=True, exist_ok=True)
    for path in (folder / "img_align_celeba").iterdir():
        path.rename(moved / pictures / path.name)
    for place, name in ((tables, TABLES[0]), (tables, TABLES[1]), (partition, TABLES[2])):
        (folder / name).rename(moved / place / name)
    # Pictures of another folder, before alignment, are not mixed with these.
    (moved / "img_celeba").mkdir()
    (moved / "img_celeba" / "000001.jpg").write_bytes(jpeg((0, 0, 0), 400, 300))
    shutil.rmtree(folder)
    folder = own_data_root / "CelebA"
    folder.mkdir()
    if packed:
        shutil.make_archive(folder / "archive", "zip", moved)
    else:
        moved.rename(folder / "inner")
    faces = load("auto")
    assert faces.provenance == expected.provenance
    assert torch.equal(faces.test.images, expected.test.images)
    assert celeba.check() == celeba.unused_files() == []
    if packed:
        assert celeba.status()[0] == f"30 of 202,599 pictures in {folder / 'archive.zip'}."


def test_what_is_not_recognized_is_named(own_data_root):
    (own_data_root / "celeba").mkdir()
    for name in ("img_align_celeba_png.7z", "000001.png"):
        (own_data_root / "celeba" / name).write_bytes(b"")
    assert load("auto", drawn=12).provenance.stand_in
    (sentence,) = celeba.unused_files()
    assert "contains 000001.png, img_align_celeba_png.7z but not img_align_celeba.zip or" in sentence
    with pytest.raises(DataError, match=r"contains 000001\.png, .* or a stand-in is used"):
        load()


def test_tables_may_be_missing(folder):
    for name in TABLES:
        (folder / name).unlink()
    faces = load()
    assert [indices(part) for part in parts_of(faces)] == [
        list(range(24)), list(range(24, 27)), list(range(27, 30)),
    ]  # fmt: skip
    assert faces.train.attributes.shape == (24, 0)
    assert faces.attribute_names == ()
    assert faces.train.identities is None
    words = " ".join(faces.remarks)
    assert all(name in words for name in TABLES)
    assert "split by position" in words
    assert faces.varying_attributes() == []
    with pytest.raises(DataError, match="0 of 0 attributes vary"):
        faces.varying_attributes(fewest=2)


def test_a_part_of_the_split_that_would_be_empty(folder):
    # As in a copy of the first thousand pictures, which all belong to the training part.
    write_text(folder / "list_eval_partition.txt", [f"{name} 0" for name in NAMES])
    faces = load()
    assert [len(part.images) for part in parts_of(faces)] == [24, 3, 3]
    assert any("no picture found for validation and test" in sentence for sentence in faces.remarks)


def test_missing_and_unlisted_pictures_are_counted(folder):
    pictures = folder / "img_align_celeba"
    (pictures / NAMES[0]).unlink()
    (pictures / NAMES[7]).unlink()
    (pictures / "mine.jpg").write_bytes(jpeg((1, 2, 3)))
    (pictures / "notes.txt").write_text("not a picture")
    # Picture 30 is in two tables of three.
    write_text(folder / "identity_CelebA.txt", [f"{name} 5" for name in NAMES[:29]])
    faces = load()
    assert sorted(all_indices(faces)) == [i for i in range(29) if i not in (0, 7)]
    assert faces.remarks[0].startswith("29 pictures found, 29 listed")
    assert "2 pictures are listed but not there." in faces.remarks
    assert "2 pictures are there but not listed, and not used." in faces.remarks


def test_more_rows_than_line_1_says_are_all_used(folder):
    path = folder / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("30", "20", 1))
    faces = load()
    assert faces.provenance.n == 30
    assert any("says in line 1 that it has 20 rows and has 30" in sentence for sentence in faces.remarks)


@pytest.mark.parametrize(("complete", "says_so"), [(30, True), (31, False)])
def test_a_complete_table_is_compared_with_the_official_md5(complete, says_so, folder, monkeypatch):
    monkeypatch.setattr(celeba.layout, "COMPLETE", complete)
    faces = load()
    assert any("another MD5" in sentence for sentence in faces.remarks) == says_so
    assert ("complete" in faces.provenance.source) == says_so


# --- tables that are refused -----------------------------------------------------------------------------------------

ATTRIBUTE_TABLE, IDENTITIES, PARTITION = TABLES


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (ATTRIBUTE_TABLE, b"30\nBald\n1.jpg 1\n", r"has 1 rows, but line 1 says 30: the file was cut"),
        (ATTRIBUTE_TABLE, b"2\nBald Male\n1.jpg 1 1\n2.jpg 1\n", "line 4, should be .* 2 values of -1 or 1"),
        (ATTRIBUTE_TABLE, b"2\nBald Male\n1.jpg 1 1\n2.jpg 1 1 1\n", "line 4, should be"),
        (ATTRIBUTE_TABLE, b"2\nBald\n1.jpg 1\n1.jpg 1\n", "line 4, should be .* listed once"),
        (ATTRIBUTE_TABLE, b"Bald\n1.jpg 1\n", "line 1, should be the number"),
        (IDENTITIES, b"1.jpg 5\n2.jpg 1.5\n", "line 2, should be .* a whole number"),
        (IDENTITIES, b"\xff\xd8\xff\xe0", "cannot be read"),
        (PARTITION, b"1.jpg 0\n2.jpg 3\n", r"line 2, should be .* 0 \(train\), 1"),
        (PARTITION, b"", "has no rows"),
        ("generating_factors.csv", b"name,smile\n1.jpg,0.5\n2.jpg,nan\n", "line 3, should be"),
    ],
)
def test_bad_tables_are_named_and_left_alone(name, content, words, folder):
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as raised:
        load()
    assert str(raised.value).startswith(str(path))
    assert path.read_bytes() == content
    assert celeba.check() == [str(raised.value)]


def test_names_that_do_not_agree(folder):
    write_text(folder / "list_eval_partition.txt", [f"{name.upper()} 0" for name in NAMES])
    with pytest.raises(DataError, match="check that the names agree exactly"):
        load()


# --- corrupt pictures ------------------------------------------------------------------------------------------------

DAMAGE = {
    "truncated": (lambda content: content[: len(content) // 2], "truncated"),
    "empty": (lambda content: b"", "empty"),
    "text": (lambda content: b"<html>quota exceeded</html>", "not a JPEG"),
    "another size": (lambda content: jpeg((9, 9, 9), 200, 200), "200x200, not 178x218"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt_pictures_are_named_and_skipped(damage, folder):
    spoil, words = DAMAGE[damage]
    victims = [8, 14, 20]  # train, test, train
    for i in victims:
        path = folder / "img_align_celeba" / NAMES[i]
        path.write_bytes(spoil(path.read_bytes()))
    for _ in range(2):  # decoded, then from the cache
        faces = load()
        assert sorted(all_indices(faces)) == [i for i in range(30) if i not in victims]
        assert [len(part.images) for part in parts_of(faces)] == [16, 6, 5]
        for part in parts_of(faces):
            assert torch.equal(part.identities, 1000 + torch.tensor(indices(part)))
        (corrupt,) = (sentence for sentence in faces.remarks if "3 pictures are skipped as corrupt: " in sentence)
        assert all(NAMES[i] in corrupt for i in victims)
        assert corrupt.count(words) == 3
        assert faces.provenance.n == 27
    (problem,) = celeba.check()
    assert "3 pictures are corrupt" in problem
    assert NAMES[8] in problem


def test_too_many_corrupt_pictures_stop_the_run(folder):
    for name in NAMES[:11]:
        (folder / "img_align_celeba" / name).write_bytes(b"")
    words = r"11 pictures are corrupt in .*, but at most 10 may be \(max_corrupt\): 000001.jpg \(empty\), .* and 6 more"
    with pytest.raises(DataError, match=words):
        load()
    assert caches(folder) == []
    assert len(load(max_corrupt=11).train.images) == 11
    with pytest.raises(DataError, match="at most 10 may be"):
        load()  # although the cache is there


def test_a_damaged_member_of_the_zip_is_a_corrupt_picture(folder):
    path = pack(folder)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.getinfo(f"img_align_celeba/{NAMES[4]}").header_offset + 150] ^= 1
    path.write_bytes(content)
    assert f"1 picture is skipped as corrupt: {NAMES[4]}" in " ".join(load().remarks)


def test_a_damaged_zip(folder):
    pack(folder).write_bytes(b"PK\x03\x04 the beginning of a zip")
    with pytest.raises(DataError, match=r"img_align_celeba.zip is not a complete zip"):
        load()


def test_no_pictures(folder):
    with zipfile.ZipFile(pack(folder), "w") as archive:
        archive.writestr("holiday/1.jpg", jpeg((1, 2, 3)))
    with pytest.raises(DataError, match="Only 0 of the 1 pictures found are among the 30"):
        load()
    (folder / "img_align_celeba.zip").unlink()
    with pytest.raises(DataError, match="has no pictures: put img_align_celeba"):
        load("auto")


# --- the cache -------------------------------------------------------------------------------------------------------


def test_pictures_are_decoded_once_and_the_file_never_changes(folder, monkeypatch):
    first = load()
    (cache,) = caches(folder)
    before = cache.read_bytes()
    assert np.array_equal(np.load(cache), np.concatenate([part.images.numpy() for part in parts_of(first)]))
    first.train.images.zero_()
    monkeypatch.setattr(celeba, "picture", lambda *_: pytest.fail("decoded again"))
    again = load()
    assert again.provenance == first.provenance
    assert again.train.images.any()
    assert cache.read_bytes() == before


def test_a_change_makes_another_cache(folder):
    load()
    path = folder / "img_align_celeba" / NAMES[3]
    # Possibly with other content of the same length.
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    load()
    assert load(size=32).train.images.shape[-1] == 32
    load(crop=178)
    path.unlink()
    assert load().provenance.n == 29
    assert len(caches(folder)) == 5
    assert any("(5 settings); you may delete it" in sentence for sentence in celeba.status())


def test_a_damaged_cache_is_named(folder, monkeypatch):
    monkeypatch.setattr("companion.data._picture_cache._BLOCK", 10)
    load()
    assert celeba.check() == []
    (cache,) = caches(folder)
    content = bytearray(cache.read_bytes())
    content[-5000] ^= 1
    cache.write_bytes(content)
    (problem,) = celeba.check()
    assert problem == f"The picture cache {cache} was changed: delete it; the next run builds it again."
    cache.write_bytes(content[:1000])
    with pytest.raises(DataError, match=r"\.npy is damaged: delete it"):
        load()


BUILD_AND_DIE = """
import os, signal, sys
from companion.data import _picture_cache, celeba, sources
sources.set_data_root(sys.argv[1])
_picture_cache._BLOCK = 10
picture, calls = celeba.picture, []
def deadly(*arguments):
    calls.append(1)
    if len(calls) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return picture(*arguments)
celeba.picture = deadly
celeba.load("folder")
"""


@pytest.mark.slow
def test_after_a_kill_the_cache_is_built_again(folder, own_data_root):
    killed = subprocess.run([sys.executable, "-c", BUILD_AND_DIE, own_data_root], capture_output=True, check=False)
    assert killed.returncode == -9
    assert caches(folder) == []
    assert sorted(all_indices(load())) == list(range(30))
    assert celeba.check() == []
    assert list((folder / ".cache").glob("*.partial")) == []


@pytest.mark.slow
def test_a_second_process_waits_for_the_cache(folder, own_data_root):
    program = (
        "import sys, time; from companion.data import celeba, sources; sources.set_data_root(sys.argv[1]);"
        "picture = celeba.picture; celeba.picture = lambda *all: time.sleep(0.1) or picture(*all);"
        "print(celeba.load('folder', threads=1, say=lambda sentence: None).provenance.checksum)"
    )
    first = subprocess.Popen([sys.executable, "-c", program, own_data_root], stdout=subprocess.PIPE, text=True)
    while not list((folder / ".cache").glob("*.partial")):
        assert first.poll() is None
        time.sleep(0.02)
    decoded, picture = [], celeba.picture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celeba, "picture", lambda *all: decoded.append(1) or picture(*all))
        second = load()
    assert first.communicate()[0].strip() == second.provenance.checksum
    assert decoded == []


def test_nowhere_to_write(folder, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith(str(folder)))
    first = load()
    assert not caches(folder)
    monkeypatch.setattr(celeba, "picture", lambda *_: pytest.fail("decoded again"))
    assert load().provenance == first.provenance  # from the user's cache folder
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(DataError, match="cannot be written to: choose another data root"):
        load(size=32)


def test_a_full_disk(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): free disk space"):
        load()
    assert caches(folder) == []


def test_git_takes_no_picture(folder, own_data_root):
    subprocess.run(["git", "init", "--quiet"], cwd=own_data_root, check=True)
    load()
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    untracked = subprocess.run(status, cwd=own_data_root, capture_output=True, text=True, check=True).stdout
    assert "img_align_celeba/000001.jpg" in untracked
    assert ".cache" not in untracked


# --- where it comes from ---------------------------------------------------------------------------------------------


def test_without_celeba(own_data_root):
    with pytest.raises(DataError, match="non-commercial research only and not passed on") as raised:
        load("folder")
    assert str(own_data_root / "celeba") in str(raised.value)
    assert celeba.check() == []
    assert celeba.status() == [celeba.how_to_get()]


def test_status(folder):
    (folder / "identity_CelebA.txt").unlink()
    place = folder / "img_align_celeba"
    assert celeba.status() == [f"30 of 202,599 pictures in {place}.", "There is no identity_CelebA.txt."]
    shutil.rmtree(place)
    assert "has no pictures" in celeba.status()[0]


def test_settings_out_of_range(folder):
    with pytest.raises(DataError, match="no source 'web'"):
        load("web")
    with pytest.raises(DataError, match="drawn is 3: at least 12"):
        load("drawn", drawn=3)


def test_drawn_faces_stand_in(own_data_root, monkeypatch):
    said = []
    faces = celeba.load("auto", drawn=36, seed=5, say=said.append)
    (sentence,) = said
    assert sentence.startswith("36 drawn faces, computer-generated from known factors, a stand-in for CelebA.")
    assert [len(part.images) for part in parts_of(faces)] == [30, 3, 3]
    factors = drawn_faces.sample_factors(36, 5)
    assert torch.equal(torch.cat([part.factors for part in parts_of(faces)]), factors)
    assert torch.equal(faces.test.images, drawn_faces.render(factors[33:]))
    assert torch.equal(faces.validation.attributes, drawn_faces.attributes(factors[30:33]))
    assert faces.factor_names == drawn_faces.FACTOR_NAMES
    assert faces.attribute_names == drawn_faces.ATTRIBUTE_NAMES
    assert faces.train.identities is None
    assert faces.provenance.stand_in
    assert load("drawn", drawn=36, seed=6).provenance.checksum != faces.provenance.checksum
    assert celeba.check() == []
    # A changed drawing makes another cache.
    render = drawn_faces.render
    monkeypatch.setattr(drawn_faces, "render", lambda *some, **how: 255 - render(*some, **how))
    assert torch.equal(load("drawn", drawn=36, seed=5).train.images, 255 - faces.train.images)


def test_drawn_faces_written_to_disk_are_read_as_celeba_is(own_data_root):
    drawn_faces.write(own_data_root / "celeba", 24, seed=5)
    faces = load("auto")
    assert [len(part.images) for part in parts_of(faces)] == [19, 3, 2]
    factors = drawn_faces.sample_factors(24, 5)
    assert torch.equal(faces.validation.factors, factors[19:22])
    assert torch.equal(faces.train.attributes, drawn_faces.attributes(factors[:19]))
    # Drawn small, or drawn large and resized: they differ in sharpness only.
    difference = faces.train.images.float() - drawn_faces.render(factors[:19]).float()
    assert difference.abs().mean() < 5
    assert faces.provenance.stand_in
    assert "drawn faces" in faces.provenance.source
    assert celeba.check() == []
