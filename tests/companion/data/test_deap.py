"""DEAP's files: what is read, what is refused, and that nothing a file says is ever run."""

import copyreg
import io
import os
import pickle
import pickletools
import random
import struct
import tracemalloc
import warnings
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


WRITERS = {
    "Python 2": python2_pickle,
    **{f"protocol {n}": lambda content, n=n: pickle.dumps(content, n) for n in (0, 1, 2, 3, 4, 5)},
    "bytes as keys, protocol 2": lambda content: pickle.dumps({key.encode(): content[key] for key in content}, 2),
    "bytes as keys, protocol 4": lambda content: pickle.dumps({key.encode(): content[key] for key in content}, 4),
    "in Fortran's order": lambda content: pickle.dumps({key: np.asfortranarray(content[key]) for key in content}, 4),
    "in Fortran's order, protocol 5": lambda content: pickle.dumps(
        {key: np.asfortranarray(content[key]) for key in content}, 5
    ),
    "big endian": lambda content: pickle.dumps({key: content[key].astype(">f8") for key in content}, 2),
    "float32": lambda content: pickle.dumps({key: content[key].astype(np.float32) for key in content}, 2),
    "with something more in the dict": lambda content: pickle.dumps({**content, "rate": np.float64(128)}, 2),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_written_is_read(writer, short, monkeypatch, tmp_path):
    # Text pickles of whole recordings are refused; small ones show that the records mean the same.
    monkeypatch.setattr(deap, "_LONGEST_LINE", 10**6)
    path, written = tmp_path / "s07.dat", content()
    path.write_bytes(WRITERS[writer](written))
    recording = deap.read_subject(path)
    assert recording.subject == "s07"
    assert recording.data.dtype == recording.ratings.dtype == np.float32
    assert np.array_equal(recording.data, written["data"].astype(np.float32))
    assert np.array_equal(recording.ratings, written["labels"].astype(np.float32))


def test_the_hand_made_python2_pickle_is_a_pickle():
    written = content()
    loaded = pickle.loads(python2_pickle(written), encoding="latin-1")
    assert np.array_equal(loaded["data"], written["data"])


def test_the_real_shape_is_read(tmp_path):
    path, written = tmp_path / "s01.dat", content(trials=3, samples=8064)
    path.write_bytes(python2_pickle(written))
    assert deap.read_subject(path).data.shape == (3, 40, 8064)


def test_the_eeg_alone_is_read(short, tmp_path):
    (tmp_path / "s01.dat").write_bytes(pickle.dumps(content(channels=32), 2))
    assert deap.read_subject(tmp_path / "s01.dat").data.shape == (2, 32, 64)


def test_channels_and_numbers_are_those_of_deap():
    assert len(deap.CHANNELS) == 40
    assert deap.CHANNELS[:4] == ("Fp1", "AF3", "F3", "F7")
    assert deap.EEG_CHANNELS[15:18] == ("Pz", "Fp2", "AF4")
    assert deap.EEG_CHANNELS[31] == "O2"
    assert deap.CHANNELS[32:34] == ("hEOG", "vEOG")
    assert deap.SAMPLES - deap.BASELINE_SAMPLES == 60 * deap.SAMPLE_RATE
    assert deap._BYTES == 103_219_200


def changed(key, change):
    def change_content():
        changed_content = content()
        changed_content[key] = change(changed_content[key])
        return changed_content

    return change_content


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


UNSOUND = {
    "NaN": (changed("data", put((1, 3, 5), np.nan)), "NaN or infinity in channel F7 of trial 2"),
    "a signalling NaN": (
        changed("data", put((0, 2, 0), np.frombuffer(b"\x01\0\0\0\0\0\xf0\x7f", "<f8")[0])),
        "NaN or infinity in channel F3 of trial 1",
    ),
    "infinity": (changed("data", put((0, 39, 0), -np.inf)), "NaN or infinity in channel temperature of trial 1"),
    "too large for float32": (changed("data", put((0, 0, 0), 1e300)), "NaN or infinity in channel Fp1"),
    "no EEG": (changed("data", put((0, 31, 0), 2e6)), r"2e\+06 uV in trial 1"),
    "a label of 12": (changed("labels", put((1, 0), 12)), "rates valence 12 in trial 2, not from 1 to 9"),
    "a label of 0.5": (changed("labels", put((0, 3), 0.5)), r"rates liking 0\.5 in trial 1, not from 1 to 9"),
    "a label of NaN": (changed("labels", put((0, 2), np.nan)), "rates dominance nan"),
    "one channel short": (changed("data", lambda data: data[:, :39]), r"shape \(2, 39, 64\), not trials x 40 channels"),
    "other length": (changed("data", lambda data: data[..., :63]), r"shape \(2, 40, 63\).*64 samples"),
    "two dimensions": (changed("data", lambda data: data[0]), r"shape \(40, 64\)"),
    "no dimension": (changed("data", lambda data: data[0, 0, 0:1].reshape(())), r"shape \(\)"),
    "another number of labels": (
        changed("labels", lambda labels: labels[:1]),
        r"data of shape \(2, 40, 64\) and labels of shape \(1, 4\)",
    ),
    "three ratings": (changed("labels", lambda labels: labels[:, :3]), r"labels of shape \(2, 3\)"),
    "one trial": (lambda: content(trials=1), "two or more trials"),
    "integers": (changed("data", lambda data: data.astype(int)), "data of type i8, not float64"),
    "complex": (changed("data", lambda data: data + 0j), "data of type c16"),
    "objects": (changed("labels", lambda labels: labels.astype(object)), "labels of type O8"),
    "text": (changed("labels", lambda labels: labels.astype(str)), "labels of type U32"),
    "a structure": (changed("labels", lambda labels: labels.view([("a", "f8")])), "labels of type V8"),
    "a list for an array": (changed("labels", lambda labels: [[5.0] * 4] * 2), "labels that are a list"),
    "a number for an array": (changed("data", lambda data: np.float64(1)), "data that are no plain array"),
    "a foreign list": (lambda: [1, 2, 3], "a pickle of a list, not of a dict"),
    "a foreign dict": (lambda: {"weights": 1}, "a dict without data and labels"),
    "no labels": (lambda: {"data": np.zeros(3)}, "a dict without labels"),
    "a foreign number": (lambda: 3.5, "a pickle of a float"),
    "an array alone": (lambda: np.zeros(3), "a pickle of an object"),
    "many things": (lambda: list(range(2000)), "something larger than two arrays"),
}


@pytest.mark.parametrize("fault", UNSOUND)
def test_unsound_recordings_are_refused_by_name(fault, short, tmp_path):
    make, words = UNSOUND[fault]
    (tmp_path / "s05.dat").write_bytes(pickle.dumps(make(), 2))
    with pytest.raises(DataError, match=rf"s05\.dat .*{words}.*: put a good copy"):
        deap.read_subject(tmp_path / "s05.dat")


def test_no_pickles_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "s01.dat"
    for bad, words in {
        b"": "is empty",
        b"<html>not found</html>": "is damaged or no recording",
        b"not a recording at all": "damaged or no recording|truncated",
        b"PK\x03\x04 a zip archive": "truncated or no recording|damaged",
        b"V" + b"x" * 5000: "text form",
        b"\x80\x02": "ends too early",
        b"S'an escape \\q that Python warns of'\n.": "a pickle of a bytes",
    }.items():
        path.write_bytes(bad)
        with pytest.raises(DataError, match=rf"s01\.dat.*({words})"):
            deap.read_subject(path)
    with pytest.raises(DataError, match=r"s02\.dat does not exist"):
        deap.read_subject(tmp_path / "s02.dat")
    (tmp_path / "s03.dat").mkdir()
    with pytest.raises(DataError, match=r"s03\.dat is no file"):
        deap.read_subject(tmp_path / "s03.dat")
    os.mkfifo(tmp_path / "s04.dat")
    with pytest.raises(DataError, match=r"s04\.dat is no file"):
        deap.read_subject(tmp_path / "s04.dat")
    with path.open("wb") as file:
        file.truncate(3 * 103_219_200)
    with pytest.raises(DataError, match="has 309,657,600 bytes where a subject has about 103,219,200"):
        deap.read_subject(path)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def attacks(canary):
    """Pickles that make the file `canary` when Python loads them."""
    shell, code = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w').close()")
    line = f"S'touch {canary}'\n".encode()
    system, evaluate = b"cposix\nsystem\n", b"c__builtin__\neval\n"
    get = b"c__builtin__\ngetattr\n"
    module = b"c__builtin__\n__import__\n" + text("os") + b"\x85R"
    lend = b"cnumpy.core.multiarray\n_reconstruct\n"
    return {
        "os.system": (b"\x80\x02" + system + shell + b"\x85R.", r"posix\.system"),
        "within the dict": (b"\x80\x02}(U\x04data" + system + shell + b"\x85RU\x06labelsNu.", r"posix\.system"),
        "by STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93" + shell + b"\x85R.", r"os\.system"),
        "eval": (b"\x80\x02" + evaluate + code + b"\x85R.", r"__builtin__\.eval"),
        "exec": (b"\x80\x04cbuiltins\nexec\n" + code + b"\x85R.", r"builtins\.exec"),
        "getattr": (
            b"\x80\x02" + get + module + text("system") + b"\x86R" + shell + b"\x85R.",
            r"__builtin__\.getattr",
        ),
        "a dotted name": (
            b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + shell + b"\x85R.",
            r"shutil\.os\.system",
        ),
        "runstring": (
            b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + code + b"}\x86R.",
            r"numpy\.testing\._private\.utils\.runstring",
        ),
        "INST": (b"(" + line + b"iposix\nsystem\n.", r"posix\.system"),
        "OBJ": (b"(" + system + line + b"o.", r"posix\.system"),
        "Popen by NEWOBJ": (
            b"\x80\x02csubprocess\nPopen\n" + text("touch") + text(str(canary)) + b"\x86\x85\x81.",
            r"subprocess\.Popen",
        ),
        "map by _reconstructor": (
            b"\x80\x02ccopy_reg\n_reconstructor\n" + system + system + shell + b"\x87R.",
            r"copy_reg\._reconstructor",
        ),
        "a class for _reconstruct": (b"\x80\x02" + lend + b"csubprocess\nPopen\nK\x00\x85U\x01b\x87R.", "Popen"),
        "state for a class": (b"\x80\x02cnumpy\nndarray\n}U\x01a" + system + shell + b"\x85Rsb.", r"posix\.system"),
        "an extension code": (b"\x80\x02\x82\xf0" + shell + b"\x85R.", "opcode EXT1"),
    }


HARMLESS_WHEN_LOADED = ("Popen by NEWOBJ", "map by _reconstructor", "a class for _reconstruct")


@pytest.fixture
def extension():
    """os.system as an extension, and in Python's cache of those, which no find_class is asked about."""
    copyreg.add_extension("posix", "system", 0xF0)
    assert pickle.loads(b"\x80\x02\x82\xf0.") is os.system
    yield
    copyreg.remove_extension("posix", "system", 0xF0)


@pytest.mark.parametrize("attack", attacks(""))
def test_nothing_is_run(attack, extension, tmp_path):
    canary = tmp_path / "canary"
    bad, words = attacks(canary)[attack]
    path = tmp_path / "s09.dat"
    path.write_bytes(bad)
    with pytest.raises(DataError, match=rf"s09\.dat .*{words}"):
        deap.read_subject(path)
    assert not canary.exists()
    if attack not in HARMLESS_WHEN_LOADED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pickle.loads(bad)
            except Exception:
                assert canary.exists()
        assert canary.exists(), "no attack at all"


def test_the_admitted_globals_do_nothing():
    """Whatever a file calls them with and whatever state it gives them, records come out and nothing else changes."""
    unpickle = lambda pickled: deap._unpickled(bounded(pickled))  # noqa: E731
    huge = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n\x8a\x06" + b"\xff" * 5 + b"\x00\x85U\x01dtR."
    )
    assert isinstance(unpickle(huge), deap._Record)
    encode_other = b"\x80\x02c_codecs\nencode\n" + text("x") + text("zip") + b"\x86R."
    with pytest.raises(deap._UnusableError, match="encodes something other"):
        unpickle(encode_other)
    # State as (None, attributes) is set attribute by attribute where an object has no __setstate__.
    renamed = b"\x80\x02cnumpy\nndarray\n" + b"N}U\x07_nameX\x03\x00\x00\x00xyzs\x86b."
    with pytest.raises(deap._UnusableError):
        unpickle(renamed)
    assert isinstance(unpickle(b"\x80\x02cnumpy\nndarray\n."), deap._Global)
    assert unpickle(b"\x80\x02cnumpy\nndarray\n.") is not unpickle(b"\x80\x02cnumpy\nndarray\n.")


def bounded(pickled):
    return deap._Bounded(io.BytesIO(pickled), len(pickled))


def lying(shape=(2, 40, 64), kind=b"f8", order=b"<"):
    """A dict whose arrays say they are something else than their eight bytes."""
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\nU"
        + bytes([len(kind)])
        + kind
        + b"K\x00K\x01\x87R(K\x03U\x01"
        + order
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01" + dims + dtype
    array += b"\x89U\x0812345678tb"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + array + b"u."


def laughs(levels):
    """Tuples of two references to the tuple before, as the key of a dict: hashing it visits 2^levels leaves."""
    return b"\x80\x02}K\x00q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(levels)) + b"K\x01s."


BOMBS = {
    "a huge shape": (lying((2**40, 2**20, 2**3)), "shape makes no sense"),
    "a shape larger than the values": (lying((2, 2, 2)), r"of shape \(2, 2, 2\), but holds 8 bytes"),
    "a negative shape": (lying((-1, 1, 1)), "shape makes no sense"),
    "many dimensions": (lying((1,) * 70), "shape makes no sense"),
    "a huge item": (lying((1, 1, 1), b"V999999999999"), "of type V999999999999"),
    "objects in bytes": (lying((1, 1, 1), b"O8"), "of type O8"),
    "no byte order": (lying((1, 1, 1), order=b"|"), "of type f8"),
    "a memo of gigabytes": (b"\x80\x02}r\xff\xff\xff\x7f.", "larger than two arrays"),
    "bytes of exabytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.", "ends too early"),
    "an array of exabytes": (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.", "damaged|ends too early"),
    "text of gigabytes": (b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x.", "ends too early"),
    "a frame of exabytes": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.", "ends too early"),
    "a number of gigabytes": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", "ends too early"),
    "a call with a huge argument": (
        b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + b"\xff" * 5 + b"\x00\x85R.",
        "bytearray",
    ),
    "a billion laughs": (laughs(60), "larger than two arrays"),
    "a billion laughs by DUP": (b"\x80\x02}K\x00" + b"2\x86" * 60 + b"K\x01s.", "larger than two arrays"),
    "a deep nest": (b"\x80\x02}K\x00" + b"\x85" * 100_000 + b"K\x01s.", "larger than two arrays"),
    "a persistent id": (b"Pid\n.", "opcode PERSID"),
    "a persistent object": (b"\x80\x02K\x01Q.", "opcode BINPERSID"),
    "a buffer from outside": (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_cost_no_memory(bomb, tmp_path):
    bad, words = BOMBS[bomb]
    path = tmp_path / "s01.dat"
    path.write_bytes(bad)
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"s01\.dat .*({words})"):
        deap.read_subject(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def outcome(path, damaged):
    """Whether the bytes are read; anything but a recording or a DataError fails the test."""
    path.write_bytes(damaged)
    try:
        recording = deap.read_subject(path)
    except DataError as error:
        sentence = str(error)
    else:
        sentence = ""
    if sentence:
        assert str(path) in sentence
        assert "\n" not in sentence
        assert len(sentence) < 500
        return False
    assert np.isfinite(recording.data).all()
    assert recording.ratings.min() >= 1
    assert recording.ratings.max() <= 9
    return True


FUZZED = ("Python 2", "protocol 0", "protocol 2", "protocol 4", "protocol 5", "bytes as keys, protocol 2")


@pytest.mark.parametrize("writer", FUZZED)
def test_truncated_files_are_refused_wherever_they_end(writer, short, tmp_path):
    whole = WRITERS[writer](content())
    ends = [*range(1, 320), *range(320, len(whole) - 300, 4999), *range(len(whole) - 300, len(whole))]
    assert not any(outcome(tmp_path / "s01.dat", whole[:end]) for end in ends)


@pytest.mark.parametrize("writer", FUZZED)
def test_damaged_files_are_read_or_refused(writer, short, monkeypatch, tmp_path):
    """400 seeded changes, nearly all of them where the structure is: bytes flipped, put in, cut out, moved."""
    monkeypatch.setattr(deap, "_LONGEST_LINE", 10**5)
    chance = random.Random(writer)
    whole = WRITERS[writer](content(channels=32))
    opcodes = bytes(ord(opcode.code) for opcode in pickletools.opcodes)
    places = [*range(300), *range(len(whole) - 600, len(whole))]
    good = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            place, kind = chance.choice(places), chance.randrange(5)
            if kind == 0:
                damaged[place % len(damaged)] ^= 1 << chance.randrange(8)
            elif kind == 1:
                damaged[place % len(damaged)] = chance.choice(opcodes)
            elif kind == 2:
                damaged[place:place] = bytes([chance.choice(opcodes)])
            elif kind == 3:
                del damaged[place : place + chance.randrange(1, 9)]
            else:
                damaged[place:place] = damaged[(start := chance.choice(places)) : start + chance.randrange(1, 40)]
        good += outcome(tmp_path / "s01.dat", bytes(damaged))
    assert good < 400


def test_noise_is_refused(short, tmp_path):
    chance = random.Random(0)
    assert not any(outcome(tmp_path / "s01.dat", chance.randbytes(chance.randrange(1, 200))) for _ in range(500))


def test_odd_names_and_a_damaged_file_give_two_subjects_and_one_sentence(short, tmp_path):
    for seed, name in enumerate(("S3.dat", "subject 5 (1).DAT", "s10.dat")):
        (tmp_path / name).write_bytes(python2_pickle(content(seed)))
    damaged = tmp_path / "s10.dat"
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    (tmp_path / "._S3.dat").write_bytes(b"what another system leaves behind")
    (tmp_path / "readme.txt").write_text("not a recording")
    said, problems = [], []
    subjects = [recording.subject for recording in deap.recordings(tmp_path, said.append, problems)]
    assert subjects == ["S3", "subject 5 (1)"]
    assert len(problems) == 1
    assert said == [f"Left out: {problems[0]}", "DEAP: 2 of 32 subjects can be used."]
    assert str(damaged) in problems[0]
    assert "\n" not in problems[0]


def test_a_copy_of_a_subject_is_left_out(short, tmp_path):
    for name, seed in {"s02.dat": 1, "s03.dat": 2, "s02 copy.dat": 1}.items():
        (tmp_path / name).write_bytes(pickle.dumps(content(seed), 2))
    problems = []
    assert len(list(deap.recordings(tmp_path, lambda sentence: None, problems))) == 2
    assert "holds the same ratings as" in problems[0]


def test_subjects_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("s10.dat", "s2.dat", "S1.dat"):
        (tmp_path / name).touch()
    assert [path.name for path in deap.subject_files(tmp_path)] == ["S1.dat", "s2.dat", "s10.dat"]


def test_one_subject_is_in_memory_at_a_time(short, monkeypatch, tmp_path):
    for seed in range(6):
        (tmp_path / f"s{seed}.dat").write_bytes(pickle.dumps(content(seed), 2))
    before = []

    def watched(path, read_subject=deap.read_subject):
        assert not any(reference() is not None for reference in before), "the one before is still there"
        recording = read_subject(path)
        before.append(weakref.ref(recording.data))
        return recording

    monkeypatch.setattr(deap, "read_subject", watched)
    for recording in deap.recordings(tmp_path, lambda sentence: None):
        del recording
    assert len(before) == 6


def test_nothing_usable_is_an_error(tmp_path, own_data_root):
    with pytest.raises(DataError, match=r"holds no \.dat file.*signed agreement"):
        list(deap.recordings())
    with pytest.raises(DataError, match=r"holds no \.dat file"):
        list(deap.recordings(tmp_path / "nowhere"))
    (tmp_path / "s01.dat").write_bytes(b"junk")
    (tmp_path / "s02.dat").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"None of the 2 files .* the first: .*s01\.dat"):
        list(deap.recordings(tmp_path, lambda sentence: None))


def test_what_is_missing_and_what_is_bad_is_told(short, own_data_root):
    assert len(deap.missing_files()) == 32
    deap.folder().mkdir(parents=True)
    (deap.folder() / "S3 (2).dat").write_bytes(pickle.dumps(content(), 2))
    (deap.folder() / "s32.dat").write_bytes(b"junk")
    missing = deap.missing_files()
    assert len(missing) == 30
    assert "s03.dat" not in missing
    assert "s32.dat" not in missing
    (problem,) = deap.check()
    assert "s32.dat" in problem
    assert str(deap.folder()) in deap.how_to_get()
