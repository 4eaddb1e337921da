"""EEG as pictures: log band power of every second against the trial's baseline, spread over a map of the head.

The same files and reader serve DEAP and the simulated EEG that stands in for it. What is kept is band power at the
electrodes; a picture is a matrix product away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import scipy.fft
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from tqdm import tqdm

from companion.data import deap
from companion.data.deap import BASELINE_SAMPLES, EEG_CHANNELS, SAMPLE_RATE, Recording
from companion.data.deap import check as check
from companion.data.deap import status as status
from companion.data.sources import DataError, Provenance, checksum, data_root, writable_folder
from vaemi._files import written_whole

if TYPE_CHECKING:
    from companion.data.simulated_eeg import Planted

BANDS = {"theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 45)}
SOURCES = ("folder", "simulated")
# Standardized band power beyond this is an artefact.
LIMIT = 5.0

# Raised when the same file and settings give other band powers than before: older caches are then left alone.
_RECIPE = 1
# (1 nV)^2, far below any amplifier's noise: keeps the logarithm of a dead electrode finite.
_FLOOR = 1e-6
_BATCH = 4096
_SMALLEST_SIZE = 8


@dataclass(frozen=True, eq=False)
class EEGFrames:
    """N windows of T trials of S subjects.

    Attributes
    ----------
    power : Tensor, float32, shape (N, 4, 32)
        Standardized log band power against baseline: (log ratio - `mean`) / `std` of the window's subject and band,
        clipped to [-5, 5]. Mean and standard deviation are over the subject's windows and all electrodes at once, so
        that the map's shape stays; they use nothing of other subjects, nor any rating.
    mean : Tensor, float32, shape (S, 4)
        In nats (natural logarithm of a ratio of powers).
    std : Tensor, float32, shape (S, 4)
        In nats.
    subject : Tensor, int64, shape (N,)
        Index into `subjects`.
    trial : Tensor, int64, shape (N,)
        Index into `ratings`.
    window : Tensor, int64, shape (N,)
        Number of the window in its trial.
    ratings : Tensor, float32, shape (T, 4)
        From 1 to 9, columns as in `deap.RATINGS`.
    trial_subject : Tensor, int64, shape (T,)
        Index into `subjects`.
    subjects : tuple of str, length S
    paths : tuple of Path, length S
        Of the subjects' recordings.
    size : int
        Height and width of a frame.
    provenance : Provenance
    problems : tuple of str
        A sentence for each file that was left out.
    planted : Planted or None
        What the simulation planted; None for DEAP.
    """

    power: Tensor
    mean: Tensor
    std: Tensor
    subject: Tensor
    trial: Tensor
    window: Tensor
    ratings: Tensor
    trial_subject: Tensor
    subjects: tuple[str, ...]
    paths: tuple[Path, ...]
    size: int
    provenance: Provenance
    problems: tuple[str, ...]
    planted: Planted | None

    @cached_property
    def frames(self) -> Tensor:
        """Every window as a picture, float16, shape (N, 4, size, size), made when first asked for (8 kB a window)."""
        return to_frames(self.power, self.size)


class SubjectSplit(NamedTuple):
    """Indices of windows, int64; no subject has windows in two of the three."""

    train: Tensor
    validation: Tensor
    test: Tensor


def load(
    source: str = "auto",
    window_seconds: float = 1.0,
    size: int = 32,
    simulated_subjects: int = 16,
    effect: float = 1.0,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> EEGFrames:
    """DEAP as far as it lies under the data root, or simulated EEG.

    Band powers are kept beside the recordings, a file a subject, and used again while a recording and the settings stay
    the same; so an interrupted call goes on where it was.

    Parameters
    ----------
    source : {"auto", "folder", "simulated"}
        ``"auto"`` takes DEAP's folder if it holds any .dat file.
    window_seconds : float
        Length of a window, from 0.25 s to the baseline's 3 s.
    size : int
        Height and width of a frame.
    simulated_subjects, effect, seed : int, float, int
        Settings of `simulated_eeg.simulate`.
    say : callable
        Told in a sentence what was used and what was left out.

    Raises
    ------
    DataError
        If the source is unknown or none of its files can be used.
    ValueError
        If a setting makes no sense.
    """
    if source not in ("auto", *SOURCES):
        raise DataError(f"EEG has no source {source!r}: choose auto, {', '.join(SOURCES)}.")
    length = _window_length(window_seconds)
    interpolation_matrix(size)
    if source == "auto":
        source = "folder" if deap.subject_files(deap.folder()) else "simulated"
        if source == "simulated":
            say(deap.how_to_get())
    planted = None
    if source == "folder":
        paths = deap.files_there()
    else:
        paths, planted = _simulated(simulated_subjects, effect, seed, say)
    problems: list[str] = []
    features = _all_features(paths, length, say, problems)
    if planted is None:
        words = f"DEAP, {len(features)} of {deap.SUBJECTS} subjects under the data root"
    else:
        words = (
            f"{len(features)} simulated subjects (effect {effect:g}, seed {seed}) in DEAP's format, in place of DEAP"
        )
    frames = _assembled(features, size, words, tuple(problems), planted)
    say(f"EEG: {words}, {len(frames.power):,} windows of {window_seconds:g} s in {len(frames.ratings):,} trials.")
    return frames


def split_by_subject(
    frames: EEGFrames, test_subjects: Sequence[str], validation_subjects: Sequence[str] = ()
) -> SubjectSplit:
    """Windows for training, validation and test, split by the subject's name; training gets all that are not named.

    Raises
    ------
    ValueError
        If a name is unknown or in both lists, or nobody is left for training.
    """
    unknown = sorted({*test_subjects, *validation_subjects} - {*frames.subjects})
    if unknown:
        raise ValueError(f"There is no subject {', '.join(unknown)}: choose from {', '.join(frames.subjects)}.")
    if both := sorted({*test_subjects} & {*validation_subjects}):
        raise ValueError(f"{', '.join(both)} cannot be in the test and the validation set.")
    rest = [name for name in frames.subjects if name not in {*test_subjects, *validation_subjects}]
    if not rest:
        raise ValueError("All subjects are in the test or the validation set: leave one for training.")
    chosen = (rest, validation_subjects, test_subjects)
    return SubjectSplit(*(_windows_of(frames, names) for names in chosen))


def leave_one_subject_out(frames: EEGFrames) -> Iterator[SubjectSplit]:
    """For each subject in turn: that one for the test, the next one (cyclically) for validation, the rest to train.

    Raises
    ------
    ValueError
        If there are fewer than three subjects.
    """
    if len(frames.subjects) < 3:
        raise ValueError(f"There are {len(frames.subjects)} subjects: leaving one out needs three or more.")
    for number, name in enumerate(frames.subjects):
        yield split_by_subject(frames, [name], [frames.subjects[(number + 1) % len(frames.subjects)]])


def _windows_of(frames: EEGFrames, names: Sequence[str]) -> Tensor:
    numbers = torch.tensor([frames.subjects.index(name) for name in names], dtype=torch.int64)
    return torch.isin(frames.subject, numbers).nonzero()[:, 0]


def band_power(recording: Recording, window_seconds: float = 1.0) -> np.ndarray:
    """Log band power of every window of a trial against that trial's baseline.

    Parameters
    ----------
    recording : Recording
        Its first 32 channels are used.
    window_seconds : float
        From 0.25 to 3. Windows follow each other without gap or overlap; what is left at the end is dropped. The
        taper blurs frequencies by 2 / window_seconds to either side, so windows below 1 s mix neighbouring bands.

    Returns
    -------
    ndarray, float32, shape (trials, windows, 4, 32)
        Natural logarithm of band power minus that of the mean power of the windows of the 3 s before the trial,
        for each electrode and the bands of `BANDS`. Power is that of `absolute_band_power`, plus (1 nV)^2.

    Raises
    ------
    ValueError
        If windows are too short for a band or longer than the baseline.
    """
    return _relative_power(recording, _window_length(window_seconds))


def absolute_band_power(signals: np.ndarray, window_seconds: float = 1.0) -> np.ndarray:
    """Power in each band of consecutive windows; a sinusoid of amplitude a within a band has a^2 / 2.

    Parameters
    ----------
    signals : ndarray, shape (..., samples)
        In uV at 128 Hz.
    window_seconds : float

    Returns
    -------
    ndarray, float32, shape (..., windows, 4)
        In uV^2: the one-sided periodogram of the window under a Hann taper, summed over lower edge <= f < upper edge.
    """
    return _power(signals, _window_length(window_seconds))


def _window_length(seconds: float) -> int:
    length = round(seconds * SAMPLE_RATE) if 0 < seconds < np.inf else 0
    narrowest = min(upper - lower for lower, upper in BANDS.values())
    if not SAMPLE_RATE / narrowest <= length <= BASELINE_SAMPLES:
        raise ValueError(
            f"window_seconds is {seconds}: give {1 / narrowest:g} to {BASELINE_SAMPLES / SAMPLE_RATE:g}, so that each "
            f"band has a frequency and the baseline a window."
        )
    return length


def _relative_power(recording: Recording, length: int) -> np.ndarray:
    eeg = recording.data[:, : len(EEG_CHANNELS)]
    baseline = _power(eeg[..., :BASELINE_SAMPLES], length).mean(axis=2, keepdims=True)
    trial = _power(eeg[..., BASELINE_SAMPLES:], length)
    log_ratio = np.log(trial + _FLOOR) - np.log(baseline + _FLOOR)
    return np.ascontiguousarray(log_ratio.transpose(0, 2, 3, 1))


def _power(signals: np.ndarray, length: int) -> np.ndarray:
    count = signals.shape[-1] // length
    windows = signals[..., : count * length].reshape(*signals.shape[:-1], count, length)
    taper = np.hanning(length + 1)[:-1].astype(np.float32)
    spectrum = scipy.fft.rfft(windows.astype(np.float32, copy=False) * taper)
    density = (spectrum.real**2 + spectrum.imag**2) * np.float32(2 / (length * (taper**2).sum()))
    frequencies = scipy.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    edges = np.array(list(BANDS.values()))
    in_band = (frequencies[:, None] >= edges[:, 0]) & (frequencies[:, None] < edges[:, 1])
    return density @ in_band.astype(np.float32)


@lru_cache(maxsize=1)
def _electrode_positions() -> np.ndarray:
    # Here because importing it takes a second.
    import mne

    with mne.utils.use_log_level("ERROR"):
        montage = mne.channels.make_standard_montage("biosemi32").get_positions()["ch_pos"]
    x, y, z = np.array([montage[name] for name in EEG_CHANNELS]).T
    angle = np.arctan2(np.hypot(x, y), z)
    azimuth = np.arctan2(y, x)
    radius = angle / angle.max()
    positions = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=1)
    positions.flags.writeable = False
    return positions


def electrode_positions() -> np.ndarray:
    """Azimuthal equidistant projection of the electrodes of `deap.EEG_CHANNELS`, shape (32, 2).

    Seen from above, x to the right ear, y to the nose, Cz at (0, 0). Radius 1, the edge of the disc, is where the
    outermost electrodes are: 92 degrees from the vertex on MNE's biosemi32 montage.
    """
    return _electrode_positions().copy()


def _grid(size: int) -> np.ndarray:
    """Centres of the pixels, shape (size^2, 2): row by row from the nose to the back of the head, left to right."""
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def head_mask(size: int = 32) -> np.ndarray:
    """Which pixels lie on the head, bool, shape (size, size): those at most 1 from the centre. Row 0 is at the nose."""
    return (np.hypot(*_grid(size).T) <= 1).reshape(size, size)


@lru_cache(maxsize=4)
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The interpolation matrix and its pseudo-inverse, shapes (size^2, 32) and (32, size^2)."""
    spline = RBFInterpolator(_electrode_positions(), np.eye(len(EEG_CHANNELS)), kernel="thin_plate_spline", degree=1)
    matrix = spline(_grid(size)) * head_mask(size).reshape(-1, 1)
    return matrix.astype(np.float32), np.linalg.pinv(matrix).astype(np.float32)


def interpolation_matrix(size: int = 32) -> np.ndarray:
    """From the 32 electrodes to the pixels of a frame, float32, shape (size^2, 32); pixels off the head are 0.

    A thin-plate spline over `electrode_positions` (Duchon 1977): of all surfaces through the values at the electrodes
    the one that bends least. It is linear in the values, and gives constants and slopes back as they are.

    Raises
    ------
    ValueError
        If the frame has hardly more pixels on the head than there are electrodes.
    """
    if size < _SMALLEST_SIZE:
        raise ValueError(f"size is {size}: give {_SMALLEST_SIZE} or more, so that a frame can hold the electrodes.")
    return _matrices(size)[0].copy()


def to_frames(power: Tensor, size: int = 32) -> Tensor:
    """Frames, float16, shape (N, bands, size, size), of values at the electrodes, shape (N, bands, 32)."""
    matrix = torch.from_numpy(interpolation_matrix(size)).T
    frames = torch.empty((*power.shape[:-1], size, size), dtype=torch.float16)
    # In parts: float32 pictures of all windows at once would take twice the memory of the result.
    for part, into in zip(power.split(_BATCH), frames.split(_BATCH), strict=True):
        into.copy_((part.float() @ matrix).unflatten(-1, (size, size)))
    return frames


def at_electrodes(frames: Tensor) -> Tensor:
    """Values at the electrodes, float32, shape (N, bands, 32), of frames, shape (N, bands, size, size).

    Those whose frames come closest in the sense of least squares: the exact ones for an output of `to_frames`, and for
    a frame that a network made the ones of the nearest map that electrodes can show.
    """
    size = frames.shape[-1]
    interpolation_matrix(size)
    return frames.float().flatten(-2) @ torch.from_numpy(_matrices(size)[1]).T


class _Features(NamedTuple):
    """One subject's band power against baseline (T, windows, 4, 32), not standardized, and ratings (T, 4)."""

    path: Path
    power: np.ndarray
    ratings: np.ndarray


def _simulated(subjects: int, effect: float, seed: int, say: Callable[[str], None]) -> tuple[list[Path], Planted]:
    from companion.data import simulated_eeg

    # Without the number of subjects: more of them can be added to a folder.
    settings = f"effect-{effect:g}-seed-{seed}"
    folder = data_root() / "simulated_eeg" / settings / "data_preprocessed_python"
    simulated_eeg.simulate(folder, subjects=subjects, effect=effect, seed=seed, say=say)
    return deap.subject_files(folder)[:subjects], simulated_eeg.load_planted(folder)


def _all_features(paths: list[Path], length: int, say: Callable[[str], None], problems: list[str]) -> list[_Features]:
    cache = _Cache(paths[0].parent, length, say)
    read = partial(_features, length=length, cache=cache)
    with tqdm(total=len(paths), desc="EEG band power", unit="subject", mininterval=2) as bar:

        def counted(path: Path) -> _Features:
            try:
                return read(path)
            finally:
                bar.update()

        return list(deap.each_subject(paths, counted, say, problems))


def _features(path: Path, length: int, cache: _Cache) -> _Features:
    """From the cache, or computed and put there."""
    if (cached := cache.get(path)) is not None:
        return cached
    # Before the recording is read: if the file changes meanwhile, the cache will not match it.
    key = cache.key(path)
    recording = deap.read_subject(path)
    features = _Features(path, _relative_power(recording, length), recording.ratings)
    spread = features.power.std(axis=(0, 1, 3))
    if not spread.min() > 0:
        raise DataError(
            f"{path} shows no change in {list(BANDS)[int(spread.argmin())]} power: put a good copy in its place."
        )
    cache.put(path, key, features)
    return features


class _Cache:
    """Features on disk beside the recordings, in a folder for the settings, which git ignores."""

    def __init__(self, folder: Path, length: int, say: Callable[[str], None]) -> None:
        settings = json.dumps({"recipe": _RECIPE, "window": length, "bands": BANDS, "floor": _FLOOR})
        self._folder = folder / f".frames-{hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()}"
        self._say, self._writable = say, True

    @staticmethod
    def key(path: Path) -> dict[str, str]:
        """What tells that a recording is another than before."""
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}): put a good copy in its place.") from None
        return {"file": path.name, "size": str(status.st_size), "mtime_ns": str(status.st_mtime_ns)}

    def get(self, path: Path) -> _Features | None:
        """The features of a recording; None if they are absent, of another state of the recording, or damaged."""
        try:
            with safetensors.safe_open(self._path(path), framework="pt") as file:
                stored = file.metadata() or {}
                power, ratings = file.get_tensor("power"), file.get_tensor("ratings")
        except (OSError, safetensors.SafetensorError):
            return None
        if stored != {**self.key(path), "checksum": checksum(power, ratings)}:
            return None
        return _Features(path, power.numpy(), ratings.numpy())

    def put(self, path: Path, key: dict[str, str], features: _Features) -> None:
        """Keep features; if that is impossible, say so once."""
        if not self._writable:
            return
        tensors = {"power": torch.from_numpy(features.power), "ratings": torch.from_numpy(features.ratings.copy())}
        content = safetensors.torch.save(tensors, {**key, "checksum": checksum(*tensors.values())})
        try:
            ignored = writable_folder(self._folder) / ".gitignore"
            if not ignored.exists():
                self._write(ignored, b"*\n")
            self._write(self._path(path), content)
        except (DataError, OSError):
            self._writable = False
            self._say(f"{self._folder} cannot be written to, so band powers will be computed anew each time.")

    def _path(self, path: Path) -> Path:
        return self._folder / f"{path.name}.safetensors"

    def _write(self, path: Path, content: bytes) -> None:
        with written_whole(path) as scratch:
            scratch.write_bytes(content)


def _assembled(
    features: list[_Features], size: int, words: str, problems: tuple[str, ...], planted: Planted | None
) -> EEGFrames:
    standardized, means, stds = zip(*(_standardized(each.power) for each in features), strict=True)
    trials = [each.power.shape[0] for each in features]
    windows = features[0].power.shape[1]
    trial_subject = torch.arange(len(features)).repeat_interleave(torch.tensor(trials))
    trial = torch.arange(sum(trials)).repeat_interleave(windows)
    power = torch.cat(standardized)
    ratings = torch.from_numpy(np.concatenate([each.ratings for each in features]))
    return EEGFrames(
        power=power,
        mean=torch.stack(means),
        std=torch.stack(stds),
        subject=trial_subject[trial],
        trial=trial,
        window=torch.arange(windows).repeat(sum(trials)),
        ratings=ratings,
        trial_subject=trial_subject,
        subjects=tuple(each.path.stem for each in features),
        paths=tuple(each.path for each in features),
        size=size,
        provenance=Provenance(
            source=words, stand_in=planted is not None, n=len(power), checksum=checksum(power, ratings)
        ),
        problems=problems,
        planted=planted,
    )


def _standardized(power: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """(T, windows, 4, 32) to windows (N, 4, 32), and the mean and standard deviation (4,) that it had."""
    flat = torch.from_numpy(power).flatten(0, 1)
    mean, std = flat.mean((0, 2)), flat.std((0, 2), correction=0)
    return ((flat - mean[:, None]) / std[:, None]).clamp_(-LIMIT, LIMIT), mean, std
