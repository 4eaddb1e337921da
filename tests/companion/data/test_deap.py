"""DEAP's files: what is read, what is refused, and that nothing a file says is run."""

import contextlib
import pickle
import random
import struct
import weakref

import numpy as np
import pytest

from companion.data import DataError, deap


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
    **{f"protocol {n}": lambda content, n=n: pickle.dumps(content, n) for n in (0, 2, 4, 5)},
    "bytes as keys": lambda content: pickle.dumps({key.encode(): content[key] for key in content}, 2),
    "in Fortran's order": lambda content: pickle.dumps({key: np.asfortranarray(content[key]) for key in content}, 4),
    "in Fortran's order, protocol 5": lambda content: pickle.dumps(
        {key: np.asfortranarray(content[key]) for key in content}, 5
    ),
    "big endian": lambda content: pickle.dumps({key: content[key].astype(">f8") for key in content}, 2),
    "float32": lambda content: pickle.dumps({key: content[key].astype(np.float32) for key in content}, 2),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_written_is_read(writer, short, tmp_path):
    path, written = tmp_path / "s07.dat", content()
    path.write_bytes(WRITERS[writer](written))
    recording = deap.read_subject(path)
    assert recording.subject == "s07"
    assert recording.data.dtype == recording.ratings.dtype == np.float32
    assert np.array_equal(recording.data, written["data"].astype(np.float32))
    assert np.array_equal(recording.ratings, written["labels"].astype(np.float32))


@pytest.mark.parametrize(("channels", "samples"), [(40, 8064), (32, 8064)])
def test_recordings_of_full_length_are_read_with_and_without_the_other_channels(channels, samples, tmp_path):
    path = tmp_path / "s01.dat"
    path.write_bytes(python2_pickle(content(trials=3, channels=channels, samples=samples)))
    assert deap.read_subject(path).data.shape == (3, channels, samples)


def test_channels_and_numbers_are_those_of_deap():
    assert len(deap.CHANNELS) == 40
    assert deap.CHANNELS[:4] == ("Fp1", "AF3", "F3", "F7")
    assert deap.CHANNELS[15:18] == ("Pz", "Fp2", "AF4")
    assert deap.CHANNELS[31:34] == ("O2", "hEOG", "vEOG")
    assert deap.SAMPLES - deap.BASELINE_SAMPLES == 60 * deap.SAMPLE_RATE


def changed(key, change):
    def make():
        whole = content()
        return {**whole, key: change(whole[key])}

    return make


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


UNSOUND = {
    "NaN": (changed("data", put((1, 3, 5), np.nan)), "NaN or infinity in channel F7 of trial 2"),
    "infinity": (changed("data", put((0, 39, 0), -np.inf)), "NaN or infinity in channel temperature of trial 1"),
    "too large for float32": (changed("data", put((0, 0, 0), 1e300)), "NaN or infinity in channel Fp1"),
    "no EEG": (changed("data", put((0, 31, 0), 2e6)), r"2e\+06 uV in trial 1"),
    "a label of 12": (changed("labels", put((1, 0), 12)), "rates valence 12 in trial 2, not from 1 to 9"),
    "a label of NaN": (changed("labels", put((0, 2), np.nan)), "rates dominance nan"),
    "one channel short": (changed("data", lambda data: data[:, :39]), r"shape \(2, 39, 64\) .* 40 or 32"),
    "other length": (changed("data", lambda data: data[..., :63]), r"shape \(2, 40, 63\)"),
    "no dimension": (changed("data", lambda data: data[0, 0, 0:1].reshape(())), r"shape \(\)"),
    "fewer labels": (changed("labels", lambda labels: labels[:1]), r"shape \(2, 40, 64\) for 1 trials"),
    "three ratings": (changed("labels", lambda labels: labels[:, :3]), r"labels of shape \(2, 3\)"),
    "one trial": (lambda: content(trials=1), "two or more trials"),
    "integers": (changed("data", lambda data: data.astype(int)), "type 'i8', not float64"),
    "objects": (changed("labels", lambda labels: labels.astype(object)), "type 'O8'"),
    "a structure": (changed("labels", lambda labels: labels.view([("a", "f8")])), "type 'V8'"),
    "a list for an array": (
        changed("labels", lambda labels: [[5.0] * 4] * 2),
        "no array of floats under the key labels",
    ),
    "a foreign list": (lambda: [1, 2, 3], "something other than a dict"),
    "no labels": (lambda: {"data": np.zeros(3)}, "no array of floats under the key labels"),
}


@pytest.mark.parametrize("fault", UNSOUND)
def test_unsound_recordings_are_refused_by_name(fault, short, tmp_path):
    make, words = UNSOUND[fault]
    (tmp_path / "s05.dat").write_bytes(pickle.dumps(make(), 2))
    with pytest.raises(DataError, match=rf"s05\.dat .*{words}.*: replace it by a good copy"):
        deap.read_subject(tmp_path / "s05.dat")


@pytest.mark.parametrize("bad", [b"", b"<html>not found</html>", b"PK\x03\x04 a zip archive", b"\x80\x02"])
def test_files_that_are_not_pickles_are_refused_by_name(bad, tmp_path):
    path = tmp_path / "s01.dat"
    path.write_bytes(bad)
    with pytest.raises(DataError, match=r"s01\.dat is damaged or not a recording"):
        deap.read_subject(path)
    with pytest.raises(DataError, match=r"s02\.dat cannot be read"):
        deap.read_subject(tmp_path / "s02.dat")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def attacks(canary):
    """Pickles that make the file `canary` when Python loads them, and the global that each needs."""
    shell, code = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w').close()")
    system, get = b"cposix\nsystem\n", b"c__builtin__\ngetattr\n"
    module = b"c__builtin__\n__import__\n" + text("os") + b"\x85R"
    return {
        "os.system": (b"\x80\x02" + system + shell + b"\x85R.", r"posix\.system"),
        "within the dict": (b"\x80\x02}(U\x04data" + system + shell + b"\x85RU\x06labelsNu.", r"posix\.system"),
        "by STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93" + shell + b"\x85R.", r"os\.system"),
        "eval": (b"\x80\x02c__builtin__\neval\n" + code + b"\x85R.", r"__builtin__\.eval"),
        "getattr": (
            b"\x80\x02" + get + module + text("system") + b"\x86R" + shell + b"\x85R.",
            r"__builtin__\.getattr",
        ),
        "a dotted name": (
            b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + shell + b"\x85R.",
            r"shutil\.os\.system",
        ),
        "a helper of numpy": (
            b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + code + b"}\x86R.",
            r"numpy\.testing\._private\.utils\.runstring",
        ),
        "INST": (b"(" + f"S'touch {canary}'\n".encode() + b"iposix\nsystem\n.", r"posix\.system"),
        "state of an array": (b"\x80\x02cnumpy\nndarray\n}U\x01a" + system + shell + b"\x85Rsb.", r"posix\.system"),
    }


@pytest.mark.parametrize("attack", attacks(""))
def test_nothing_is_run_and_the_forbidden_global_is_named(attack, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "s09.dat"
    bad, words = attacks(canary)[attack]
    path.write_bytes(bad)
    with pytest.raises(DataError, match=rf"s09\.dat would run {words}"):
        deap.read_subject(path)
    assert not canary.exists()
    with contextlib.suppress(Exception):
        pickle.loads(bad)
    assert canary.exists(), "not an attack at all"


def array_pickle(shape, kind=b"f8", flags=b"K\x00"):
    """A dict whose arrays are said to be something else than their eight bytes."""
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    dtype = b"cnumpy\ndtype\nU" + bytes([len(kind)]) + kind + b"K\x00K\x01\x87R"
    dtype += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01" + dims + dtype
    array += b"\x89U\x0812345678tb"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + array + b"u."


@pytest.mark.parametrize(
    "bad",
    [
        array_pickle((2**40, 2**20, 8)),
        array_pickle((-1, 1, 1)),
        # With these flags numpy itself would take the bytes for addresses of objects.
        array_pickle((1,), b"O8"),
        array_pickle((1,), b"V999999999999"),
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",  # bytes of exabytes
        b"\x80\x02\x82\xf0.",  # an extension code
        b"\x80\x02K\x01Q.",  # a persistent object
    ],
)
def test_lies_about_shapes_and_sizes_are_refused(bad, tmp_path):
    path = tmp_path / "s01.dat"
    path.write_bytes(bad)
    with pytest.raises(DataError, match=r"s01\.dat (is damaged|holds)"):
        deap.read_subject(path)


@pytest.mark.parametrize("writer", ["Python 2", "protocol 2", "protocol 5"])
def test_damaged_files_are_refused_or_read_and_nothing_else(writer, short, tmp_path):
    """Seeded damage near both ends, where the structure is: truncations, flipped bits, bytes cut out."""
    chance = random.Random(writer)
    whole = WRITERS[writer](content(channels=32))
    places = [*range(300), *range(len(whole) - 600, len(whole))]
    truncated = [whole[:end] for end in chance.sample(range(len(whole)), 100)]
    damaged = [bytearray(whole) for _ in range(300)]
    for bad in damaged:
        place = chance.choice(places)
        if chance.random() < 0.5:
            bad[place] ^= 1 << chance.randrange(8)
        else:
            del bad[place : place + chance.randrange(1, 9)]
    path = tmp_path / "s01.dat"
    for bad in [*truncated, *damaged]:
        path.write_bytes(bad)
        recording, sentence = None, ""
        try:
            recording = deap.read_subject(path)
        except DataError as error:
            sentence = str(error)
        if recording is None:
            assert str(path) in sentence
            assert "\n" not in sentence
        else:
            assert bad not in truncated
            assert np.isfinite(recording.data).all()
            assert 1 <= recording.ratings.min() <= recording.ratings.max() <= 9


def test_odd_names_a_damaged_file_and_a_copy_leave_two_subjects(short, tmp_path):
    for seed, name in enumerate(("S3.dat", "subject 5 (1).DAT", "s10.dat")):
        (tmp_path / name).write_bytes(python2_pickle(content(seed)))
    damaged = tmp_path / "s10.dat"
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    (tmp_path / "s3 copy.dat").write_bytes((tmp_path / "S3.dat").read_bytes())
    (tmp_path / "._S3.dat").write_bytes(b"what another system leaves behind")
    (tmp_path / "readme.txt").write_text("not a recording")
    problems = []
    paths = deap.subject_files(tmp_path)
    subjects = [recording.subject for recording in deap.usable(paths, problems)]
    assert subjects == ["S3", "subject 5 (1)"]
    assert len(problems) == 2
    assert any("s3 copy.dat has the same ratings as S3.dat" in problem for problem in problems)
    assert any(str(damaged) in problem for problem in problems)


def test_subjects_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("s10.dat", "s2.dat", "S1.dat"):
        (tmp_path / name).touch()
    assert [path.name for path in deap.subject_files(tmp_path)] == ["S1.dat", "s2.dat", "s10.dat"]
    assert deap.subject_files(tmp_path / "nowhere") == []


def test_one_subject_is_in_memory_at_a_time(short, tmp_path):
    for seed in range(4):
        (tmp_path / f"s{seed}.dat").write_bytes(pickle.dumps(content(seed), 2))
    before = []
    for recording in deap.usable(deap.subject_files(tmp_path), []):
        assert not any(reference() is not None for reference in before)
        before.append(weakref.ref(recording.data))
        del recording
    assert len(before) == 4


def test_status_and_check_describe_the_folder(short, own_data_root):
    assert "signed agreement" in deap.status()[0]
    assert deap.check() == []
    deap.folder().mkdir(parents=True)
    (deap.folder() / "S3 (2).dat").write_bytes(pickle.dumps(content(), 2))
    (deap.folder() / "s32.dat").write_bytes(b"junk")
    (problem,) = deap.check()
    assert "s32.dat" in problem
    assert deap.status() == [f"2 recording(s) in {deap.folder()}; DEAP has 32."]
    (deap.folder() / "s32.dat").unlink()
    assert deap.check() == []
