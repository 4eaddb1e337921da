"""EEG as pictures: log band power of every second against the trial's baseline, interpolated over a map of the head.

DEAP and the simulated EEG that stands in for it take the same way. What is kept is band power at the electrodes; a
picture is a matrix product away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import scipy.fft
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from tqdm import tqdm

from companion.data import deap, simulated_eeg
from companion.data.deap import BANDS, BASELINE_SAMPLES, EEG_CHANNELS, SAMPLE_RATE, Recording
from companion.data.deap import check as check
from companion.data.deap import status as status
from companion.data.simulated_eeg import Planted
from companion.data.sources import DataError, Provenance, checksum, data_root, writable_folder
from vaemi._files import atomic_write, exclusive_lock

SOURCES = ("folder", "simulated")
LIMIT = 5.0  # standardized band power beyond this is an artefact and is clipped

_RECIPE = 3  # to be raised when the same settings give other features, so that older caches are not used
_FLOOR = 1e-6  # (1 nV)^2, far below the noise of any amplifier: keeps the logarithm of a dead electrode finite
_BATCH = 4096
_SMALLEST_SIZE = 8


@dataclass(frozen=True, eq=False)
class EEGFrames:
    """N windows of T trials of S subjects.

    Attributes
    ----------
    power : Tensor, float32, shape (N, 4, 32)
        Standardized log band power against baseline: (log ratio - `mean`) / `std` of the window's subject and band,
        clipped to [-5, 5]. Mean and standard deviation are over the subject's windows and all electrodes at once,
        which keeps the shape of the map; they use nothing of other subjects, nor any rating.
    mean, std : Tensor, float32, shape (S, 4)
        In nats (natural logarithm of a ratio of powers).
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
    first_trial : Tensor, float32, shape (32, 8064)
        EEG of the first trial in uV, to look at.
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
    first_trial: Tensor
    size: int
    provenance: Provenance
    problems: tuple[str, ...]
    planted: Planted | None

    @cached_property
    def frames(self) -> Tensor:
        """All windows as pictures, float16, shape (N, 4, size, size); made on first use, 8 kB for each window."""
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
    """Load what there is of DEAP under the data root, or simulate EEG.

    Band powers are cached in one file under the data root, keyed by the settings and, for DEAP, by names, sizes and
    times of the recordings.

    Parameters
    ----------
    source : {"auto", "folder", "simulated"}
        ``"auto"`` takes DEAP's folder if it holds any .dat file.
    window_seconds : float
        Length of a window, from 0.25 s to the baseline's 3 s.
    size : int
        Height and width of a frame.
    simulated_subjects, effect, seed : int, float, int
        See `simulated_eeg.simulate`.
    say : callable
        Receives sentences about what was used and what was left out.

    Raises
    ------
    DataError
        If the source is unknown or none of its files can be used.
    ValueError
        If a setting is out of range.
    """
    if source not in ("auto", *SOURCES):
        raise DataError(f"EEG has no source {source!r}: choose auto, {', '.join(SOURCES)}.")
    length = _window_length(window_seconds)
    interpolation_matrix(size)  # refuses a size that is too small
    if source == "auto":
        source = "folder" if deap.subject_files() else "simulated"
        if source == "simulated":
            say(deap.how_to_get())
    if source == "folder":
        features, planted = _of_deap(length, say), None
        words = f"DEAP, {len(features.subjects)} of {deap.SUBJECTS} subjects under the data root"
    else:
        features = _simulated(simulated_subjects, effect, seed, length, say)
        planted = simulated_eeg.planted(effect, seed)
        words = f"{simulated_subjects} simulated subjects (effect {effect:g}, seed {seed}), in place of DEAP"
    frames = _assembled(features, size, words, planted)
    say(f"EEG: {words}, {len(frames.power):,} windows of {window_seconds:g} s in {len(frames.ratings):,} trials.")
    return frames


def split_by_subject(
    frames: EEGFrames, test_subjects: Sequence[str], validation_subjects: Sequence[str] = ()
) -> SubjectSplit:
    """Split windows by the subject's name into training, validation and test; training gets all that are not named.

    Raises
    ------
    ValueError
        If a name is unknown or in both lists, or no subject is left for training.
    """
    test, validation = set(test_subjects), set(validation_subjects)
    if unknown := sorted((test | validation) - {*frames.subjects}):
        raise ValueError(f"There is no subject {', '.join(unknown)}: choose from {', '.join(frames.subjects)}.")
    if both := sorted(test & validation):
        raise ValueError(f"{', '.join(both)} cannot be in the test and the validation set.")
    train = {*frames.subjects} - test - validation
    if not train:
        raise ValueError("All subjects are in the test or the validation set: leave one for training.")

    def windows_of(names: set[str]) -> Tensor:
        numbers = torch.tensor([frames.subjects.index(name) for name in names], dtype=torch.int64)
        return torch.isin(frames.subject, numbers).nonzero()[:, 0]

    return SubjectSplit(windows_of(train), windows_of(validation), windows_of(test))


def band_power(recording: Recording, window_seconds: float = 1.0) -> np.ndarray:
    """Compute log band power of every window of a trial against that trial's baseline.

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
        Natural logarithm of band power minus that of the mean power over the windows of the 3 s before the trial, for
        the bands of `deap.BANDS` and each electrode. Power is that of `absolute_band_power`, plus (1 nV)^2.

    Raises
    ------
    ValueError
        If windows are too short for a band or longer than the baseline.
    """
    eeg = recording.data[:, : len(EEG_CHANNELS)]
    baseline = absolute_band_power(eeg[..., :BASELINE_SAMPLES], window_seconds).mean(axis=2, keepdims=True)
    trial = absolute_band_power(eeg[..., BASELINE_SAMPLES:], window_seconds)
    log_ratio = np.log(trial + _FLOOR) - np.log(baseline + _FLOOR)
    return np.ascontiguousarray(log_ratio.transpose(0, 2, 3, 1))


def absolute_band_power(signals: np.ndarray, window_seconds: float = 1.0) -> np.ndarray:
    """Compute the power in each band of consecutive windows; a sinusoid of amplitude a within a band has a^2 / 2.

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
    length = _window_length(window_seconds)
    count = signals.shape[-1] // length
    windows = signals[..., : count * length].reshape(*signals.shape[:-1], count, length)
    taper = np.hanning(length + 1)[:-1].astype(np.float32)
    spectrum = scipy.fft.rfft(windows.astype(np.float32, copy=False) * taper)
    density = (spectrum.real**2 + spectrum.imag**2) * np.float32(2 / (length * (taper**2).sum()))
    frequencies = scipy.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    edges = np.array(list(BANDS.values()))
    in_band = (frequencies[:, None] >= edges[:, 0]) & (frequencies[:, None] < edges[:, 1])
    return density @ in_band.astype(np.float32)


def _window_length(seconds: float) -> int:
    length = round(seconds * SAMPLE_RATE) if 0 < seconds < np.inf else 0
    narrowest = min(upper - lower for lower, upper in BANDS.values())
    if not SAMPLE_RATE / narrowest <= length <= BASELINE_SAMPLES:
        raise ValueError(
            f"window_seconds is {seconds}: give {1 / narrowest:g} to {BASELINE_SAMPLES / SAMPLE_RATE:g}, so that each "
            f"band has a frequency and the baseline a window."
        )
    return length


@lru_cache(maxsize=1)
def _electrode_positions() -> np.ndarray:
    import mne  # takes a second

    with mne.utils.use_log_level("ERROR"):
        montage = mne.channels.make_standard_montage("biosemi32").get_positions()["ch_pos"]
    x, y, z = np.array([montage[name] for name in EEG_CHANNELS]).T
    angle = np.arctan2(np.hypot(x, y), z)
    azimuth = np.arctan2(y, x)
    radius = angle / angle.max()
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=1)


def electrode_positions() -> np.ndarray:
    """Return the azimuthal equidistant projection of the electrodes of `deap.EEG_CHANNELS`, shape (32, 2).

    Seen from above, x to the right ear, y to the nose, Cz at (0, 0). Radius 1, the edge of the disc, is where the
    outermost electrodes are: 92 degrees from the vertex on MNE's biosemi32 montage.
    """
    return _electrode_positions().copy()


def _grid(size: int) -> np.ndarray:
    """Return the centres of the pixels, shape (size^2, 2): row by row from the nose backwards, left to right."""
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def head_mask(size: int = 32) -> np.ndarray:
    """Return which pixels are at most 1 from the centre, bool, shape (size, size). Row 0 is at the nose."""
    return (np.hypot(*_grid(size).T) <= 1).reshape(size, size)


@lru_cache(maxsize=4)
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the interpolation matrix and its pseudo-inverse, shapes (size^2, 32) and (32, size^2)."""
    if size < _SMALLEST_SIZE:
        raise ValueError(f"size is {size}: give {_SMALLEST_SIZE} or more, so that a frame can hold the electrodes.")
    spline = RBFInterpolator(_electrode_positions(), np.eye(len(EEG_CHANNELS)), kernel="thin_plate_spline", degree=1)
    matrix = spline(_grid(size)) * head_mask(size).reshape(-1, 1)
    return matrix.astype(np.float32), np.linalg.pinv(matrix).astype(np.float32)


def interpolation_matrix(size: int = 32) -> np.ndarray:
    """Return the matrix from the 32 electrodes to the pixels of a frame, float32, shape (size^2, 32); 0 off the head.

    It is a thin-plate spline over `electrode_positions` (Duchon 1977), the surface through the values at the
    electrodes that bends least. It is linear in the values and reproduces constants and slopes.

    Raises
    ------
    ValueError
        If the frame has hardly more pixels on the head than there are electrodes.
    """
    return _matrices(size)[0].copy()


def to_frames(power: Tensor, size: int = 32) -> Tensor:
    """Interpolate values at the electrodes, shape (N, bands, 32), to frames, float16, shape (N, bands, size, size)."""
    matrix = torch.from_numpy(interpolation_matrix(size)).T
    frames = torch.empty((*power.shape[:-1], size, size), dtype=torch.float16)
    # In batches: float32 pictures of all windows at once would take twice the memory of the result.
    for part, into in zip(power.split(_BATCH), frames.split(_BATCH), strict=True):
        into.copy_((part.float() @ matrix).unflatten(-1, (size, size)))
    return frames


def at_electrodes(frames: Tensor) -> Tensor:
    """Fit values at the electrodes, float32, shape (N, bands, 32), to frames, shape (N, bands, size, size).

    The fit is by least squares. It is exact for an output of `to_frames`; for a frame that a network made it gives the
    nearest map that electrodes can show.
    """
    return frames.float().flatten(-2) @ torch.from_numpy(_matrices(frames.shape[-1])[1]).T


class _Features(NamedTuple):
    """Band power against baseline (T, windows, 4, 32), not standardized, ratings (T, 4) and subjects of T trials."""

    power: Tensor
    ratings: Tensor
    trial_subject: Tensor
    first_trial: Tensor
    subjects: tuple[str, ...]
    problems: tuple[str, ...] = ()


def _of_deap(length: int, say: Callable[[str], None]) -> _Features:
    paths = deap.subject_files()
    if not paths:
        raise DataError(f"{deap.folder()} holds no .dat file. {deap.how_to_get()}")
    stats = [path.stat() for path in paths]
    files = [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in zip(paths, stats, strict=True)]
    problems: list[str] = []
    features = _cached(
        deap.folder(),
        {"files": files, "window": length},
        lambda: _computed(deap.usable(paths, problems), length, len(paths), problems),
        say,
    )
    for problem in features.problems:
        say(f"Left out: {problem}")
    return features


def _simulated(subjects: int, effect: float, seed: int, length: int, say: Callable[[str], None]) -> _Features:
    return _cached(
        data_root() / "simulated_eeg",
        {"subjects": subjects, "effect": float(effect), "seed": seed, "window": length},
        lambda: _computed(simulated_eeg.simulate(subjects, effect, seed), length, subjects, []),
        say,
    )


def _computed(recordings: Iterable[Recording], length: int, count: int, problems: list[str]) -> _Features:
    """Compute the features of recordings that come one by one; `problems` takes those that are left out."""
    power, ratings, subjects, first_trial = [], [], [], None
    for recording in tqdm(recordings, "EEG band power", count, unit="subject", mininterval=2):
        own = band_power(recording, length / SAMPLE_RATE)
        spread = own.std(axis=(0, 1, 3))
        if not spread.min() > 0:
            flat = list(BANDS)[int(spread.argmin())]
            problems.append(f"{recording.subject} shows no change in {flat} power: replace its file by a good copy.")
            continue
        power.append(own)
        ratings.append(recording.ratings)
        subjects.append(recording.subject)
        if first_trial is None:
            first_trial = recording.data[0, : len(EEG_CHANNELS)].copy()
        del recording  # before the next one is made
    if first_trial is None:
        raise DataError(f"None of the {count} recordings can be used. The first: {problems[0]}")
    return _Features(
        power=torch.from_numpy(np.concatenate(power)),
        ratings=torch.from_numpy(np.concatenate(ratings)),
        trial_subject=torch.arange(len(power)).repeat_interleave(torch.tensor([len(own) for own in power])),
        first_trial=torch.from_numpy(first_trial),
        subjects=tuple(subjects),
        problems=tuple(problems),
    )


def _cached(
    folder: Path, key: dict[str, object], compute: Callable[[], _Features], say: Callable[[str], None]
) -> _Features:
    """Return features from their file in the folder, or compute and write them."""
    settings = json.dumps({**key, "recipe": _RECIPE, "bands": BANDS, "floor": _FLOOR})
    path = folder / f".features-{hashlib.blake2b(settings.encode(), digest_size=8).hexdigest()}.safetensors"
    if (features := _read(path)) is not None:
        return features
    try:
        writable_folder(folder)
    except DataError:
        say(f"{folder} cannot be written to, so band powers will be computed again next time.")
        return compute()
    with exclusive_lock(
        folder / ".features.lock", f"Waiting for another process that computes band powers in {folder}."
    ):
        if (features := _read(path)) is None:
            features = compute()
            _write(path, features)
    return features


def _read(path: Path) -> _Features | None:
    """Return the features in a file, or None if it is absent or unreadable."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError):
        return None
    return _Features(**tensors, subjects=tuple(about["subjects"]), problems=tuple(about["problems"]))


def _write(path: Path, features: _Features) -> None:
    tensors = {name: value for name, value in features._asdict().items() if isinstance(value, Tensor)}
    about = json.dumps({"subjects": features.subjects, "problems": features.problems})
    with atomic_write(path) as scratch:
        scratch.write_bytes(safetensors.torch.save(tensors, {"about": about}))


def _assembled(features: _Features, size: int, words: str, planted: Planted | None) -> EEGFrames:
    by_subject = [features.power[features.trial_subject == s] for s in range(len(features.subjects))]
    standardized, means, stds = zip(*map(_standardized, by_subject), strict=True)
    trials, windows = features.power.shape[:2]
    trial = torch.arange(trials).repeat_interleave(windows)
    power = torch.cat(standardized)
    return EEGFrames(
        power=power,
        mean=torch.stack(means),
        std=torch.stack(stds),
        subject=features.trial_subject[trial],
        trial=trial,
        window=torch.arange(windows).repeat(trials),
        ratings=features.ratings,
        trial_subject=features.trial_subject,
        subjects=features.subjects,
        first_trial=features.first_trial,
        size=size,
        provenance=Provenance(
            source=words, stand_in=planted is not None, n=len(power), checksum=checksum(power, features.ratings)
        ),
        problems=features.problems,
        planted=planted,
    )


def _standardized(power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flatten (T, windows, 4, 32) to standardized windows (N, 4, 32); return also mean and standard deviation (4,)."""
    flat = power.flatten(0, 1)
    mean, std = flat.mean((0, 2)), flat.std((0, 2), correction=0)
    return ((flat - mean[:, None]) / std[:, None]).clamp_(-LIMIT, LIMIT), mean, std
