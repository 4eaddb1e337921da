"""DEAP's files: what is read, what is refused, and that nothing a file says is run."""

import contextlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import scipy.io

from companion.data import DataError, deap, sources


@pytest.fixture
def short(monkeypatch):
    """Recordings of 64 samples, so that files are small."""
    monkeypatch.setattr(deap, "SAMPLES", 64)


def content(seed=0, trials=2, channels=40, samples=64):
    generator = np.random.default_rng(seed)
    return {
        "data": generator.normal(0, 4, (trials, channels, samples)),
        "labels": generator.uniform(1, 9, (trials, 4)),
    }


def python2_pickle(content):
    """The bytes that cPickle of Python 2 writes with protocol 2: all text is bytes, numpy goes by its old names."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def array(value, put):
        shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in value.shape) + b"t"
        dtype = b"cnumpy\ndtype\n" + text(b"f8") + b"K\x00K\x01\x87R" + bytes([0x71, put])
        dtype += b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        raw = value.astype("<f8").tobytes()
        head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
        return head + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"

    items = [text(key.encode()) + array(value, put) for put, (key, value) in enumerate(content.items(), 1)]
    return b"\x80\x02}(" + b"".join(items) + b"u."


def test_the_hand_made_python2_pickle_is_a_pickle():
    written = content()
    loaded = pickle.loads(python2_pickle(written), encoding="latin-1")
    assert np.array_equal(loaded["data"], written["data"])


WRITERS = {
    "Python 2": python2_pickle,
    **{f"protocol {n}": lambda content, n=n: pickle.dumps(content, n) for n in (2, 4, 5)},
    "in Fortran's order": lambda content: pickle.dumps({key: np.asfortranarray(content[key]) for key in content}, 4),
    "protocol 5, Fortran": lambda content: pickle.dumps({key: np.asfortranarray(content[key]) for key in content}, 5),
    "big endian": lambda content: pickle.dumps({key: content[key].astype(">f8") for key in content}, 2),
    "float32": lambda content: pickle.dumps({key: content[key].astype(np.float32) for key in content}, 2),
    "bytes as keys": lambda content: pickle.dumps({key.encode(): content[key] for key in content}, 2),
}


@pytest.mark.parametrize("channels", [40, 32])
@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_written_is_read(writer, channels, short, tmp_path):
    path, written = tmp_path / "s07.dat", content(channels=channels)
    path.write_bytes(WRITERS[writer](written))
    recording = deap.read_subject(path)
    assert recording.subject == "s07"
    assert recording.eeg.dtype == recording.ratings.dtype == np.float32
    assert np.array_equal(recording.eeg, written["data"][:, :32].astype(np.float32))
    assert np.array_equal(recording.ratings, written["labels"].astype(np.float32))


def test_matlab_files_are_read(short, own_data_root):
    folder = own_data_root / "DEAP" / "data_preprocessed_matlab"
    folder.mkdir(parents=True)
    for seed in range(2):
        scipy.io.savemat(folder / f"s0{seed + 1}.mat", content(seed), do_compression=bool(seed))
    problems = []
    recordings = list(deap.usable(problems))
    assert problems == []
    for seed, recording in enumerate(recordings):
        assert recording.subject == f"s0{seed + 1}"
        assert np.array_equal(recording.eeg, content(seed)["data"][:, :32].astype(np.float32))
        assert np.array_equal(recording.ratings, content(seed)["labels"].astype(np.float32))
    # The same people as pickles come first, and are not counted twice.
    (folder.parent / "s01.dat").write_bytes(python2_pickle(content()))
    assert [path.name for path in deap.subject_files()] == ["s01.dat"]


def test_damaged_matlab_files_are_refused_by_name(short, tmp_path):
    path = tmp_path / "s01.mat"
    scipy.io.savemat(path, content(), do_compression=True)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in generator.integers(300, size=3):
            damaged[place] ^= generator.integers(1, 256)
        path.write_bytes(damaged[: generator.integers(len(damaged))])
        with pytest.raises(DataError, match=r"s01\.mat is damaged, or not a file of DEAP"):
            deap.read_subject(path)
    scipy.io.savemat(path, {"data": np.ones((2, 40, 64), int), "labels": np.ones((2, 4))})
    with pytest.raises(DataError, match="values of type int64"):
        deap.read_subject(path)


def test_recordings_are_found_in_a_zip(short, own_data_root):
    (own_data_root / "deap").mkdir()
    with zipfile.ZipFile(own_data_root / "deap" / "data_preprocessed_python.zip", "w") as archive:
        archive.writestr("data_preprocessed_python/s04.dat", python2_pickle(content()))
    (recording,) = deap.usable([])
    assert recording.subject == "s04"
    assert sources.stamp(deap.subject_files()[0])
    assert deap.signature() != deap.signature("simulated")


def test_channels_and_numbers_are_those_of_deap():
    assert deap.EEG_CHANNELS[:4] == ("Fp1", "AF3", "F3", "F7")
    assert deap.EEG_CHANNELS[15:18] == ("Pz", "Fp2", "AF4")
    assert deap.SAMPLES == 8064


def changed(key, index, value):
    whole = content()
    whole[key][index] = value
    return whole


def replaced(key, change):
    whole = content()
    return {**whole, key: change(whole[key])}


UNSOUND = {
    "NaN": (changed("data", (1, 3, 5), np.nan), "EEG of up to nan uV"),
    "no EEG": (changed("data", (0, 31, 0), 2e6), r"EEG of up to 2e\+06 uV"),
    "flat": (changed("data", ..., 0), "EEG of up to 0 uV"),
    "a label of 12": (changed("labels", (1, 0), 12), "ratings that are not from 1 to 9"),
    "a label of NaN": (changed("labels", (0, 2), np.nan), "ratings that are not from 1 to 9"),
    "one channel short": (replaced("data", lambda data: data[:, :39]), r"shape \(2, 39, 64\)"),
    "other length": (replaced("data", lambda data: data[..., :63]), r"shape \(2, 40, 63\)"),
    "fewer labels": (replaced("labels", lambda labels: labels[:1]), r"shape \(2, 40, 64\) for 1 trials"),
    "three ratings": (replaced("labels", lambda labels: labels[:, :3]), r"labels of shape \(2, 3\)"),
    "integers": (replaced("data", lambda data: data.astype(int)), "type <i8, not float64"),
    "objects": (replaced("labels", lambda labels: labels.astype(object)), r"type \|O8"),
    "a list for an array": (replaced("labels", np.ndarray.tolist), "'list' object"),
    "a foreign list": ([1, 2, 3], "'list' object"),
    "no labels": ({"data": content()["data"]}, "'labels'"),
}


@pytest.mark.parametrize("fault", UNSOUND)
def test_unsound_recordings_are_refused_by_name(fault, short, tmp_path):
    unsound, words = UNSOUND[fault]
    (tmp_path / "s05.dat").write_bytes(pickle.dumps(unsound, 2))
    with pytest.raises(DataError, match=rf"s05\.dat .*{words}.*: replace it by a good copy"):
        deap.read_subject(tmp_path / "s05.dat")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def attacks(canary):
    """Pickles that make the file `canary` when Python loads them, and the global that each needs."""
    shell, code = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w').close()")
    system, get = b"cposix\nsystem\n", b"c__builtin__\ngetattr\n"
    module = b"c__builtin__\n__import__\n" + text("os") + b"\x85R"
    by_get = b"\x80\x02" + get + module + text("system") + b"\x86R" + shell + b"\x85R."
    dotted = b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + shell + b"\x85R."
    numpys = b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + code + b"}\x86R."
    return {
        "within the dict": (b"\x80\x02}(U\x04data" + system + shell + b"\x85RU\x06labelsNu.", r"posix\.system"),
        "by STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93" + shell + b"\x85R.", r"os\.system"),
        "eval": (b"\x80\x02c__builtin__\neval\n" + code + b"\x85R.", r"__builtin__\.eval"),
        "getattr": (by_get, r"__builtin__\.getattr"),
        "a dotted name": (dotted, r"shutil\.os\.system"),
        "a helper of numpy": (numpys, r"numpy\.testing\._private\.utils\.runstring"),
        "INST": (b"(" + f"S'touch {canary}'\n".encode() + b"iposix\nsystem\n.", r"posix\.system"),
        "state of an array": (b"\x80\x02cnumpy\nndarray\n}U\x01a" + system + shell + b"\x85Rsb.", r"posix\.system"),
    }


@pytest.mark.parametrize("attack", attacks(""))
def test_nothing_is_run_and_the_forbidden_global_is_named(attack, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "s09.dat"
    bad, words = attacks(canary)[attack]
    path.write_bytes(bad)
    with pytest.raises(DataError, match=rf"s09\.dat .*would run {words}"):
        deap.read_subject(path)
    assert not canary.exists()
    with contextlib.suppress(Exception):
        pickle.loads(bad)
    assert canary.exists(), "not an attack at all"


def array_pickle(shape, kind=b"f8"):
    """A dict whose arrays are said to be something else than their eight bytes."""
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    dtype = b"cnumpy\ndtype\nU" + bytes([len(kind)]) + kind + b"K\x00K\x01\x87R"
    dtype += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01" + dims + dtype
    array += b"\x89U\x0812345678tb"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + array + b"u."


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"<html>not found</html>",
        python2_pickle(content())[:-100],
        array_pickle((2**40, 2**20, 8)),
        array_pickle((-1, 1, 1)),
        array_pickle((1,), b"O8"),  # numpy itself would take the bytes for addresses of objects
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",  # bytes of exabytes
        b"\x80\x02\x82\xf0.",  # an extension code
        b"\x80\x02K\x01Q.",  # a persistent object
    ],
)
def test_what_is_not_a_pickle_or_lies_about_shapes_and_sizes_is_refused(bad, tmp_path):
    path = tmp_path / "s01.dat"
    path.write_bytes(bad)
    with pytest.raises(DataError, match=r"s01\.dat is damaged"):
        deap.read_subject(path)


def test_status_and_check_describe_the_folder(short, own_data_root):
    assert "signed agreement" in deap.status()[0]
    assert deap.check() == []
    folder = deap.folder() / "data_preprocessed_python"
    folder.mkdir(parents=True)
    (folder / "s01.bdf").write_bytes(b"")
    assert "contains data_preprocessed_python/s01.bdf but not recordings" in deap.unused_files()[0]
    for seed, name in enumerate(("subject 5 (1).dat", "S3.dat")):
        (folder / name).write_bytes(python2_pickle(content(seed)))
    assert deap.check() == []
    (folder / "s10.dat").write_bytes(b"junk")
    (folder / "s3 copy.dat").write_bytes((folder / "S3.dat").read_bytes())
    (folder / "._S3.dat").write_bytes(b"what another system leaves behind")
    (folder / "readme.txt").write_text("not a recording")
    assert deap.status() == [f"4 recordings in {folder}; DEAP has 32."]
    assert deap.unused_files() == []
    damaged, copy = deap.check()
    assert "s10.dat" in damaged
    assert "s3 copy.dat has the same ratings as S3.dat" in copy
