"""Read DEAP: EEG of 32 people who watched music videos, and how they rated them.

The files are Python pickles, which can run code when they are loaded. `read_subject` admits only what arrays of floats
need, and replaces even those globals by stand-ins that cannot do anything else.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from companion.data.sources import DataError, data_root

EEG_CHANNELS = (
    *("Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7", "PO3", "O1", "Oz", "Pz"),
    *("Fp2", "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz", "C4", "T8", "CP6", "CP2", "P4", "P8", "PO4", "O2"),
)
PERIPHERAL_CHANNELS = ("hEOG", "vEOG", "zEMG", "tEMG", "GSR", "respiration", "plethysmograph", "temperature")
CHANNELS = (*EEG_CHANNELS, *PERIPHERAL_CHANNELS)
RATINGS = ("valence", "arousal", "dominance", "liking")
SUBJECTS = 32
SAMPLE_RATE = 128  # Hz
BASELINE_SAMPLES = 3 * SAMPLE_RATE
SAMPLES = BASELINE_SAMPLES + 60 * SAMPLE_RATE
BANDS = {"theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 45)}  # Hz

_LARGEST_EEG = 1e6  # uV; a thousand times what an electrode on a head can show


@dataclass(frozen=True)
class Recording:
    """One subject's recording.

    Attributes
    ----------
    subject : str
        Name of the file without its suffix.
    data : ndarray, float32, shape (T, C, 8064)
        T trials (40 in DEAP) of 63 s at 128 Hz, the first 3 s before the video starts. C is 40, in the order of
        `CHANNELS`, or 32 if the file holds the EEG alone. The EEG is in uV.
    ratings : ndarray, float32, shape (T, 4)
        From 1 to 9, columns as in `RATINGS`.
    """

    subject: str
    data: np.ndarray
    ratings: np.ndarray


def folder() -> Path:
    """Return the folder in which DEAP's files are looked for."""
    return data_root() / "deap" / "data_preprocessed_python"


def how_to_get() -> str:
    """Return a sentence that says how to obtain DEAP."""
    return (
        f"DEAP cannot be fetched: its providers ask for a signed agreement "
        f"(https://www.eecs.qmul.ac.uk/mmv/datasets/deap/); put the files s01.dat to s32.dat of "
        f"data_preprocessed_python into {folder()}, and until then simulated EEG is used."
    )


def status() -> list[str]:
    """Describe what the folder holds, in sentences, without opening a file."""
    count = len(subject_files())
    return [f"{count} recording(s) in {folder()}; DEAP has {SUBJECTS}."] if count else [how_to_get()]


def check() -> list[str]:
    """Read every file of the folder and return a sentence for each that cannot be used."""
    problems: list[str] = []
    for _ in usable(subject_files(), problems):
        pass
    return problems


def subject_files(place: Path | None = None) -> list[Path]:
    """Return the .dat files of a folder (DEAP's if None), whatever they are called, s2 before s10."""
    place = folder() if place is None else place
    paths = [path for path in place.glob("*") if path.suffix.lower() == ".dat" and not path.name.startswith(".")]
    return sorted(paths, key=lambda path: [(len(part), part) for part in re.findall(r"\d+|\D+", path.name.lower())])


def usable(paths: Sequence[Path], problems: list[str]) -> Iterator[Recording]:
    """Read files one after the other, so that one recording is in memory at a time.

    Parameters
    ----------
    paths : sequence of Path
    problems : list of str
        A sentence is appended for each file that is left out because it is damaged or repeats a subject.
    """
    first_with: dict[bytes, str] = {}
    for path in paths:
        try:
            recording = read_subject(path)
            # A copy under another name would put one person on both sides of a split.
            first = first_with.setdefault(recording.ratings.tobytes(), path.name)
            if first != path.name:
                raise DataError(f"{path} has the same ratings as {first}: remove the copy.")
        except DataError as error:
            problems.append(str(error))
            continue
        yield recording
        del recording  # before the next one is read


def read_subject(path: Path) -> Recording:
    """Read a file in DEAP's format: a pickle of a dict with the keys data and labels, as str or bytes.

    Accepted are two or more trials, 40 channels or the 32 of the EEG, 8064 samples, in float64 or float32.

    Raises
    ------
    DataError
        If the file is missing or damaged, names a global that arrays do not need, has other shapes, holds NaN,
        infinity, an EEG beyond 1 V or ratings outside 1 to 9. The message names the file; nothing in it was executed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        data, ratings = _arrays(content)
        _check_shapes(data, ratings)
        return Recording(path.stem, _checked_data(data), _checked_ratings(ratings))
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except _RefusedError as error:
        reason = str(error)
    except Exception as error:  # unpickling arbitrary bytes may raise anything
        detail = "".join(letter for letter in str(error)[:80] if letter.isprintable())
        reason = f"is damaged or not a recording ({detail or type(error).__name__})"
    raise DataError(f"{path} {reason}: replace it by a good copy.")


class _RefusedError(Exception):
    """What is wrong with a file, as the rest of a sentence that starts with its name."""


class _FloatType:
    """Stands in for `numpy.dtype` and admits float32 and float64 only."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self._code = _text(code)
        if self._code not in ("f4", "f8"):
            raise _RefusedError(f"holds values of type {self._code[:20]!r}, not float64 or float32")
        self._order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = _text(state[1])

    def to_numpy(self) -> np.dtype:
        return np.dtype(self._order + self._code)


class _Array:
    """Stands in for `numpy.ndarray` and the function that reconstructs one."""

    values: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _FloatType):
            raise _RefusedError("holds an array of an unknown type")
        self.values = np.frombuffer(content, dtype.to_numpy()).reshape(shape, order="F" if fortran else "C")


class _BufferArray(_Array):
    """Stands in for the function that makes an array of a buffer, which protocol 5 uses."""

    def __init__(self, content: bytes, dtype: _FloatType, shape: tuple[int, ...], order: str) -> None:
        self.__setstate__((1, shape, dtype, order == "F", content))


# numpy itself is not called: the state of a dtype or an array can make it read memory that is not its own.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _FloatType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _BufferArray,
    ("_codecs", "encode"): str.encode,  # for bytes, as Python 3 writes them for Python 2
}


class _Unpickler(pickle.Unpickler):
    """Unpickle arrays of floats, and refuse every global that they do not need."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module.replace("numpy._core.", "numpy.core.", 1), name]
        except KeyError:
            shown = "".join(letter for letter in f"{module}.{name}"[:80] if letter.isprintable())
            raise _RefusedError(f"would run {shown}, which arrays do not need (it was not run)") from None


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _arrays(content: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(content, dict):
        raise _RefusedError("is a pickle of something other than a dict with data and labels")
    named = {_text(key): value for key, value in content.items()}
    for key in ("data", "labels"):
        if not isinstance(named.get(key), _Array) or named[key].values is None:
            raise _RefusedError(f"has no array of floats under the key {key}")
    return named["data"].values, named["labels"].values


def _check_shapes(data: np.ndarray, ratings: np.ndarray) -> None:
    trials = len(ratings) if ratings.ndim else 0
    if data.shape not in [(trials, channels, SAMPLES) for channels in (len(CHANNELS), len(EEG_CHANNELS))]:
        expected = f"({trials}, {len(CHANNELS)} or {len(EEG_CHANNELS)}, {SAMPLES})"
        raise _RefusedError(f"holds data of shape {data.shape} for {trials} trials with labels, not {expected}")
    if ratings.shape != (trials, len(RATINGS)) or trials < 2:
        raise _RefusedError(f"holds labels of shape {ratings.shape}, not two or more trials of {len(RATINGS)} ratings")


def _checked_data(data: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = np.ascontiguousarray(data, dtype=np.float32)
    for trial, signals in enumerate(narrow, start=1):
        if not np.isfinite(signals).all():
            channel = CHANNELS[int(np.argmin(np.isfinite(signals).all(1)))]
            raise _RefusedError(f"holds NaN or infinity in channel {channel} of trial {trial}")
        largest = np.abs(signals[: len(EEG_CHANNELS)]).max()
        if largest > _LARGEST_EEG:
            raise _RefusedError(f"holds {largest:.3g} uV in trial {trial}, which is not EEG")
    return narrow


def _checked_ratings(ratings: np.ndarray) -> np.ndarray:
    good = (ratings >= 1) & (ratings <= 9)  # NaN fails this
    if not good.all():
        trial, column = np.argwhere(~good)[0]
        value = ratings[trial, column]
        raise _RefusedError(f"rates {RATINGS[column]} {value:g} in trial {trial + 1}, not from 1 to 9")
    return np.ascontiguousarray(ratings, dtype=np.float32)
