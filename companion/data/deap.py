"""Read DEAP: EEG of 32 people who watched music videos, and how they rated them.

The files are Python pickles or MATLAB files. Pickles can run code when they are loaded: `read_subject` admits only the
globals that arrays need, and replaces them by a class that does nothing. MATLAB files cannot.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from companion.data.sources import File, data_folder, packed_files, stamp, unpacked_files, unused
from companion.errors import DataError
from vaemi.information.words import counted

EEG_CHANNELS = (
    *("Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7", "PO3", "O1", "Oz", "Pz"),
    *("Fp2", "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz", "C4", "T8", "CP6", "CP2", "P4", "P8", "PO4", "O2"),
)
CHANNELS = 40  # the EEG and eight others, such as skin conductance, which are not used here
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
    eeg : ndarray, float32, shape (T, 32, 8064)
        T trials (40 in DEAP) of 63 s at 128 Hz, in uV. The first 3 s, the baseline, are before the video starts.
    ratings : ndarray, float32, shape (T, 4)
        From 1 to 9, columns as in `RATINGS`.
    """

    subject: str
    eeg: np.ndarray
    ratings: np.ndarray


def folder() -> Path:
    """Return the folder in which DEAP's files are looked for."""
    return data_folder("deap")


def how_to_get() -> str:
    """Return a sentence that says how to obtain DEAP."""
    return (
        f"DEAP cannot be fetched, because its providers ask for a signed agreement "
        f"(https://www.eecs.qmul.ac.uk/mmv/datasets/deap/). Put the files s01.dat to s32.dat of "
        f"data_preprocessed_python into {folder() / 'data_preprocessed_python'}. Until then simulated EEG is used."
    )


def status() -> list[str]:
    """Describe what the folder holds, in sentences, without opening a file."""
    if files := subject_files():
        return [f"{counted(len(files), 'recording')} in {files[0].parent}; DEAP has {SUBJECTS}."]
    return [how_to_get()]


def check() -> list[str]:
    """Read every file of the folder and return a sentence for each that cannot be used."""
    problems: list[str] = []
    for _ in usable(problems):
        pass
    return problems


def subject_files() -> list[File]:
    """Return the recordings anywhere in the folder, by name: all .dat files, or if there are none, all .mat files.

    Zips are opened if there are neither.

    Raises
    ------
    DataError
        If a zip is damaged.
    """
    unpacked = unpacked_files(folder())
    return _recordings(unpacked) or _recordings(packed_files(unpacked))


def _recordings(files: Sequence[File]) -> list[File]:
    return [file for file in files if file.suffix == ".dat"] or [file for file in files if file.suffix == ".mat"]


def unused_files() -> list[str]:
    """Return a sentence on the files that are there, if none of them is a recording."""
    wanted = "recordings such as s01.dat or s01.mat"
    return [] if subject_files() else unused(folder(), unpacked_files(folder()), wanted)


def signature(source: str = "auto") -> str:
    """Return a text that changes when other recordings would be used; empty for simulated ones."""
    return "" if source == "simulated" else " ".join(f"{file.name} {stamp(file)}" for file in subject_files())


def usable(problems: list[str]) -> Iterator[Recording]:
    """Read the files of the folder one after the other.

    A sentence is appended to `problems` for each file that is left out because it is damaged or repeats a subject.
    """
    first_with: dict[bytes, str] = {}
    for path in subject_files():
        try:
            recording = read_subject(path)
        except DataError as error:
            problems.append(str(error))
            continue
        # A copy under another name would put one person on both sides of a split.
        first = first_with.setdefault(recording.ratings.tobytes(), path.name)
        if first != path.name:
            problems.append(f"{path} has the same ratings as {first}: remove the copy.")
            continue
        yield recording


def read_subject(path: File) -> Recording:
    """Read a file in DEAP's format: data and labels, in a pickled dict (.dat) or as MATLAB's variables (.mat).

    Accepted are trials of 40 channels, or of the 32 of the EEG alone, with 8064 samples in float64 or float32.

    Raises
    ------
    DataError
        If the file is missing or damaged, names a global that arrays do not need, has other shapes, or holds EEG that
        is flat, not finite or beyond 1 V, or ratings outside 1 to 9. Nothing in it was executed.
    """
    try:
        data, ratings = _read_matlab(path) if path.suffix == ".mat" else _read_pickle(path)
        trials = len(ratings)
        if data.shape not in [(trials, channels, SAMPLES) for channels in (CHANNELS, len(EEG_CHANNELS))]:
            raise ValueError(f"data of shape {data.shape} for {trials} trials")
        if ratings.shape != (trials, len(RATINGS)):
            raise ValueError(f"labels of shape {ratings.shape}")
        eeg = np.ascontiguousarray(data[:, : len(EEG_CHANNELS)], dtype=np.float32)
        # These comparisons are false for NaN, too.
        if not 0 < (largest := np.abs(eeg).max()) < _LARGEST_EEG:
            raise ValueError(f"EEG of up to {largest:.3g} uV")
        if not ((ratings >= 1) & (ratings <= 9)).all():
            raise ValueError("ratings that are not from 1 to 9")
    except Exception as error:  # unpickling arbitrary bytes may raise anything
        detail = "".join(letter for letter in str(error)[:200] if letter.isprintable())
        reason = detail or type(error).__name__
        raise DataError(f"{path} is damaged, or not a file of DEAP ({reason}): replace it by a good copy.") from None
    return Recording(path.stem, eeg, np.ascontiguousarray(ratings, dtype=np.float32))


def _read_pickle(path: File) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        content = {_text(key): value for key, value in _Unpickler(file, encoding="bytes").load().items()}
    return _array(content["data"]), _array(content["labels"])


def _read_matlab(path: File) -> tuple[np.ndarray, np.ndarray]:
    content = scipy.io.loadmat(io.BytesIO(path.read_bytes()), variable_names=["data", "labels"])
    data, ratings = content["data"], content["labels"]
    for array in (data, ratings):
        if array.dtype.kind != "f":
            raise ValueError(f"values of type {array.dtype}, not float64 or float32")
    return data, ratings


class _StandIn:
    """Stands in for numpy's types and for the functions that rebuild arrays: keeps arguments and state.

    numpy itself is not called: the state of a dtype or an array can make it read memory that is not its own.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _StandIn,
    ("numpy", "ndarray"): _StandIn,
    ("numpy.core.multiarray", "_reconstruct"): _StandIn,
    ("numpy.core.numeric", "_frombuffer"): _StandIn,  # protocol 5
    ("_codecs", "encode"): str.encode,  # for bytes, as Python 3 writes them for Python 2
}


class _Unpickler(pickle.Unpickler):
    """Unpickle arrays as stand-ins, and refuse every other global."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module.replace("numpy._core.", "numpy.core.", 1), name]
        except KeyError:
            raise ValueError(f"it would run {module}.{name}, which was not run") from None


def _array(stand_in: Any) -> np.ndarray:
    """Return the array of floats behind a stand-in."""
    if stand_in.state is None:
        content, dtype, shape, order = stand_in.arguments
    else:
        _, shape, dtype, fortran, content = stand_in.state
        order = "F" if fortran else "C"
    code = _text(dtype.state[1]) + _text(dtype.arguments[0])
    if code not in ("<f4", "<f8", ">f4", ">f8"):
        raise ValueError(f"values of type {code}, not float64 or float32")
    return np.frombuffer(content, code).reshape(shape, order=order)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
