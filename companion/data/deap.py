"""DEAP: EEG of 32 people watching music videos, and how they rated them, read without running what a file says.

The recordings are Python pickles, and a pickle can run code when it is loaded. Here nothing that a file names is
called: its globals become inert records, and arrays are built from those records after every number was checked.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np

from companion.data._eeg_channels import EEG_CHANNELS, PERIPHERAL_CHANNELS
from companion.data.sources import DataError, data_root

CHANNELS = (*EEG_CHANNELS, *PERIPHERAL_CHANNELS)
RATINGS = ("valence", "arousal", "dominance", "liking")
SUBJECTS = 32
SAMPLE_RATE = 128
BASELINE_SAMPLES = 384
SAMPLES = 8064

_TRIALS = 40
_LOWEST_RATING, _HIGHEST_RATING = 1.0, 9.0
# A volt: a thousand times what any electrode on a head can show, and still far from where squares overflow.
_LARGEST_EEG = 1e6
_BYTES = _TRIALS * len(CHANNELS) * SAMPLES * 8
# Python 3 writes a byte as one or two when it writes for Python 2.
_MOST_BYTES = 2 * _BYTES + 10_000
# Names and small numbers; the values of an array come in lines only in text pickles (protocol 0).
_LONGEST_LINE = 1000

# Two arrays take about 100 opcodes, a dozen of them fetches from the memo. The bounds keep a file from filling the
# memory with a memo, and from nesting tuples so that hashing them takes for ever: n fetches make at most 2^n leaves.
_MOST_OPCODES = 1000
_MOST_FETCHES = 20
_STORES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_FETCHES = frozenset({"GET", "BINGET", "LONG_BINGET", "DUP"})
# Extension codes are looked up in a table of the process, past find_class; the others ask for objects from outside.
_FORBIDDEN_OPCODES = frozenset(
    {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"},
)

_RECONSTRUCT = "numpy.core.multiarray._reconstruct"
_FROM_BUFFER = "numpy.core.numeric._frombuffer"
_DTYPE = "numpy.dtype"
_ENCODE = "_codecs.encode"
_ADMITTED = frozenset(
    {_RECONSTRUCT, _FROM_BUFFER, _DTYPE, _ENCODE, "numpy.ndarray", "numpy.core.multiarray.scalar"},
)
_FLOATS = {"f8": 8, "f4": 4}
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Recording:
    """One subject's recording.

    Attributes
    ----------
    subject : str
        Name of the file without its ending.
    data : ndarray, float32, shape (T, C, 8064)
        T trials (40 in DEAP) of 63 s at 128 Hz, the first 3 s before the video starts. C is 40, in the order of
        `CHANNELS`, or 32 where a file holds the EEG alone. The EEG is in uV.
    ratings : ndarray, float32, shape (T, 4)
        From 1 to 9, columns as in `RATINGS`.
    """

    subject: str
    data: np.ndarray
    ratings: np.ndarray


class _Rated(Protocol):
    @property
    def ratings(self) -> np.ndarray: ...


_Subject = TypeVar("_Subject", bound=_Rated)


def folder() -> Path:
    """Where the subjects' files lie."""
    return data_root() / "deap" / "data_preprocessed_python"


def missing_files() -> list[str]:
    """Official names (s01.dat to s32.dat) of the subjects for whom the folder holds no file."""
    numbers = (re.search(r"\d+", path.stem) for path in subject_files(folder()))
    present = {int(number[0]) for number in numbers if number}
    return [f"s{number:02d}.dat" for number in range(1, SUBJECTS + 1) if number not in present]


def check() -> list[str]:
    """What is wrong with the files that are there, a sentence each; an empty list if nothing is."""
    problems: list[str] = []
    for path in subject_files(folder()):
        try:
            read_subject(path)
        except DataError as error:
            problems.append(str(error))
    return problems


def status() -> list[str]:
    """What is there, in sentences, without opening a recording."""
    there = len(subject_files(folder()))
    return [f"{there} recording(s) in {folder()}; DEAP has {SUBJECTS}."] if there else [how_to_get()]


def how_to_get() -> str:
    """A sentence for who asks to fetch DEAP, which cannot be fetched."""
    return (
        f"DEAP cannot be fetched: its providers ask for a signed agreement "
        f"(https://www.eecs.qmul.ac.uk/mmv/datasets/deap/); put the files s01.dat to s32.dat of "
        f"data_preprocessed_python into {folder()}, and until then simulated EEG is used."
    )


def subject_files(place: Path) -> list[Path]:
    """All files of the folder that end in .dat, whatever they are called, s2 before s10; hidden ones are left out."""
    try:
        names = [path for path in place.iterdir() if path.suffix.lower() == ".dat" and not path.name.startswith(".")]
    except OSError:
        return []
    return sorted(names, key=lambda path: [(len(part), part) for part in re.findall(r"\d+|\D+", path.name.lower())])


def recordings(
    folder: Path | None = None, say: Callable[[str], None] = print, problems: list[str] | None = None
) -> Iterator[Recording]:
    """The subjects' recordings, one after the other, so that one is in memory at a time.

    Parameters
    ----------
    folder : Path, optional
        Holds the files; where DEAP lies under the data root if left out.
    say : callable
        Told in a sentence which file was left out and why, and at the end how many subjects there were.
    problems : list of str, optional
        The sentences about files left out are appended.

    Raises
    ------
    DataError
        If there is no file or none can be used.
    """
    count = 0
    for recording in each_subject(files_there(folder), read_subject, say, [] if problems is None else problems):
        count += 1
        yield recording
        del recording  # Else it would still be in memory while the next one is read.
    say(f"DEAP: {count} of {SUBJECTS} subjects can be used.")


def files_there(place: Path | None = None) -> list[Path]:
    """The .dat files of a folder (DEAP's if None).

    Raises
    ------
    DataError
        If there are none.
    """
    place = folder() if place is None else place
    paths = subject_files(place)
    if not paths:
        raise DataError(f"{place} holds no .dat file. {how_to_get()}")
    return paths


def each_subject(
    paths: Sequence[Path], read: Callable[[Path], _Subject], say: Callable[[str], None], problems: list[str]
) -> Iterator[_Subject]:
    """What `read` makes of each file.

    A file that cannot be used, or that repeats a subject, is left out; that is said and appended to `problems`.

    Raises
    ------
    DataError
        If none can be used.
    """
    names: dict[bytes, str] = {}
    for path in paths:
        try:
            subject = read(path)
            # A copy under another name would put one person on both sides of a split.
            if (first := names.setdefault(subject.ratings.tobytes(), path.name)) != path.name:
                raise DataError(f"{path} holds the same ratings as {first}, so it is a copy of it: remove one of them.")
        except DataError as error:
            problems.append(str(error))
            say(f"Left out: {error}")
            continue
        yield subject
        del subject
    if not names:
        first_problem = problems[-len(paths)]
        raise DataError(f"None of the {len(paths)} files in {paths[0].parent} can be used; the first: {first_problem}")


def read_subject(path: Path) -> Recording:
    """The recording in a file of DEAP's format (a pickle of protocol 1 to 5), if it is one and sound.

    Accepted are two or more trials, 40 channels or the EEG's 32, 8064 samples, in float64 or float32.

    Raises
    ------
    DataError
        Naming the file, if it is truncated, no pickle, another pickle, names a global that no array needs, has other
        shapes, holds NaN or infinities, an EEG beyond 1 V, or ratings outside 1 to 9. Nothing in it was executed.
    """
    path = Path(path)
    try:
        data, ratings = _content(path)
        _check_shapes(data, ratings)
        return Recording(path.stem, _checked_data(data), _checked_ratings(ratings))
    except _UnusableError as error:
        raise DataError(f"{path} {error}: put a good copy in its place.") from None


class _UnusableError(Exception):
    """What is wrong with a file, as the rest of a sentence that starts with its name."""


def _check_shapes(data: np.ndarray, ratings: np.ndarray) -> None:
    trials = data.shape[0] if data.ndim else 0
    if data.shape != (trials, len(CHANNELS), SAMPLES) and data.shape != (trials, len(EEG_CHANNELS), SAMPLES):
        expected = f"trials x {len(CHANNELS)} channels (or the EEG's {len(EEG_CHANNELS)}) x {SAMPLES} samples"
        raise _UnusableError(f"holds data of shape {data.shape}, not {expected}")
    if ratings.shape != (trials, len(RATINGS)) or trials < 2:
        raise _UnusableError(
            f"holds data of shape {data.shape} and labels of shape {ratings.shape}, "
            f"not the same two or more trials and {len(RATINGS)} ratings each"
        )


def _checked_data(data: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = np.ascontiguousarray(data, dtype=np.float32)
    for trial, recorded in enumerate(narrow):
        if not np.isfinite(recorded).all():
            channel = int(np.argmin(np.isfinite(recorded).all(1)))
            raise _UnusableError(f"holds NaN or infinity in channel {CHANNELS[channel]} of trial {trial + 1}")
        if (largest := np.abs(recorded[: len(EEG_CHANNELS)]).max()) > _LARGEST_EEG:
            raise _UnusableError(f"holds {largest:.3g} uV in trial {trial + 1}, which is no EEG")
    return narrow


def _checked_ratings(ratings: np.ndarray) -> np.ndarray:
    # Written so that NaN fails it.
    good = (ratings >= _LOWEST_RATING) & (ratings <= _HIGHEST_RATING)
    if not good.all():
        trial, column = np.argwhere(~good)[0]
        raise _UnusableError(
            f"rates {RATINGS[column]} {ratings[trial, column]:g} in trial {trial + 1}, "
            f"not from {_LOWEST_RATING:g} to {_HIGHEST_RATING:g}"
        )
    return np.ascontiguousarray(ratings, dtype=np.float32)


def _content(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Data and labels as the file has them."""
    try:
        if not path.is_file():
            raise _UnusableError("is no file" if path.exists() else "does not exist")
        with path.open("rb") as file:
            tree = _unpickled(_Bounded(file, path.stat().st_size))
    except OSError as error:
        raise _UnusableError(f"cannot be read ({error.strerror})") from None
    if not isinstance(tree, dict):
        kind = "an object" if isinstance(tree, _Record | _Global) else f"a {type(tree).__name__}"
        raise _UnusableError(f"is a pickle of {kind}, not of a dict with data and labels")
    # Python 2 wrote the keys as bytes, Python 3 as text.
    content = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in tree.items()}
    absent = [key for key in ("data", "labels") if key not in content]
    if absent:
        raise _UnusableError(f"is a pickle of a dict without {' and '.join(absent)}")
    return _array("data", content["data"]), _array("labels", content["labels"])


def _unpickled(file: _Bounded) -> Any:
    """What the pickle holds: plain values, and records where it names a global."""
    if file.size == 0:
        raise _UnusableError("is empty")
    if file.size > _MOST_BYTES:
        raise _UnusableError(f"has {file.size:,} bytes where a subject has about {_BYTES:,}")
    try:
        with warnings.catch_warnings():
            # The parser of text pickles warns of odd escape sequences.
            warnings.simplefilter("ignore")
            _survey(file)
            file.rewind()
            return _Unpickler(file, encoding="bytes").load()
    except _UnusableError:
        raise
    except EOFError:
        raise _UnusableError("is truncated or no recording: it ends too early") from None
    except Exception as error:  # Unpickling arbitrary bytes may raise anything, by its documentation.
        raise _UnusableError(f"is damaged or no recording ({_shown(str(error) or type(error).__name__)})") from None


class _Bounded:
    """A file from which no more can be asked for than it holds, since a length in a pickle may say anything."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size

    def read(self, count: int) -> bytes:
        if count > self.size - self._file.tell():
            raise EOFError
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE:
            raise _UnusableError("is no pickle of arrays, or one in text form (protocol 0)")
        return line

    def tell(self) -> int:
        return self._file.tell()

    def rewind(self) -> None:
        self._file.seek(0)


def _survey(file: _Bounded) -> None:
    """Walk through the opcodes without following them, and refuse what would cost memory or time, or evade us."""
    fetches = 0
    # The declared stub wants a file; read, readline and tell are all that is used.
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if opcode.name in _FORBIDDEN_OPCODES:
            raise _UnusableError(f"uses the pickle opcode {opcode.name}, which no array needs")
        fetches += opcode.name in _FETCHES
        stored_at = (argument or 0) if opcode.name in _STORES else 0
        if count >= _MOST_OPCODES or fetches > _MOST_FETCHES or stored_at >= _MOST_OPCODES:
            raise _UnusableError("is a pickle of something larger than two arrays")


class _Record:
    """An object as a pickle describes it: what was called, with what, and the state given to it afterwards."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Global:
    """Stands for a global of numpy's. Calling it makes a record and no more."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: Any) -> Any:
        # Python 3 writes bytes this way under Python 2's protocols, also those that are keys of a dict.
        if self._name == _ENCODE:
            text, encoding = arguments
            if encoding not in ("latin1", "latin-1", b"latin1", b"latin-1") or not isinstance(text, str):
                raise _UnusableError("encodes something other than bytes")
            return text.encode("latin-1")
        return _Record(self._name, arguments)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed the module.
        admitted = f"{module.replace('numpy._core.', 'numpy.core.', 1)}.{name}"
        if admitted not in _ADMITTED:
            raise _UnusableError(f"would run {_shown(f'{module}.{name}')}, which no array needs (nothing was run)")
        return _Global(admitted)

    def persistent_load(self, pid: Any) -> Any:
        raise _UnusableError("refers to an object outside the file")


def _array(key: str, record: Any) -> np.ndarray:
    """The float array that a record describes, in memory of the file's content."""
    if not isinstance(record, _Record):
        raise _UnusableError(f"holds {key} that are a {type(record).__name__}, not an array")
    shape, dtype, fortran, content = _array_parts(key, record)
    kind, byte_order = _float_type(key, dtype)
    if isinstance(content, str):
        content = content.encode("latin-1", errors="replace")
    if not isinstance(content, bytes | bytearray):
        raise _UnusableError(f"holds {key} whose values are no bytes")
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(n) is int and 0 <= n <= len(content) for n in shape)
    ):
        raise _UnusableError(f"holds {key} whose shape makes no sense")
    if math.prod(shape) * _FLOATS[kind] != len(content):
        raise _UnusableError(f"says its {key} are of shape {shape}, but holds {len(content):,} bytes of them")
    return np.frombuffer(content, byte_order + kind).reshape(shape, order="F" if fortran else "C")


def _array_parts(key: str, record: _Record) -> tuple[Any, Any, bool, Any]:
    """Shape, dtype, whether the first index runs fastest, and the values."""
    if record.name == _RECONSTRUCT and isinstance(record.state, tuple) and len(record.state) == 5:
        _, shape, dtype, fortran, content = record.state
        return shape, dtype, fortran == 1, content
    if record.name == _FROM_BUFFER and len(record.arguments) == 4 and record.arguments[3] in ("C", "F"):
        content, dtype, shape, order = record.arguments
        return shape, dtype, order == "F", content
    raise _UnusableError(f"holds {key} that are no plain array")


def _float_type(key: str, dtype: Any) -> tuple[str, str]:
    """Type code and byte order, such as f8 and <."""
    if isinstance(dtype, _Record) and dtype.name == _DTYPE and dtype.arguments and isinstance(dtype.state, tuple):
        kind, byte_order = _text(dtype.arguments[0]), _text(dtype.state[1]) if len(dtype.state) > 1 else ""
        if kind in _FLOATS and byte_order in ("<", ">"):
            return kind, byte_order
        raise _UnusableError(f"holds {key} of type {_shown(kind)}, not float64 or float32")
    raise _UnusableError(f"holds {key} of an unknown type")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _shown(text: str) -> str:
    """A text out of a file, fit for a sentence."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:80])
