"""EEG as pictures: log band power of every second against the trial's baseline, interpolated over a map of the head.

DEAP and the simulated EEG that stands in for it are processed in the same way. What is kept is band power at the
electrodes; a picture is a matrix product away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from tqdm import tqdm

from companion.data import deap, simulated_eeg
from companion.data.deap import BANDS, BASELINE_SAMPLES, EEG_CHANNELS, SAMPLE_RATE, Recording
from companion.data.deap import check as check
from companion.data.deap import signature as signature
from companion.data.deap import status as status
from companion.data.deap import unused_files as unused_files
from companion.data.sources import Provenance, checksum, data_root, stamp, writable_folder
from companion.errors import DataError
from vaemi._checkpoints import fingerprint
from vaemi._files import atomic_write, exclusive_lock

SIZE = 32  # height and width of a frame in pixels
LIMIT = 5.0  # standardized band power beyond this is an artefact and is clipped

_RECIPE = 4  # to be raised when the same settings give other features, so that older caches are not used
_FLOOR = 1e-6  # (1 nV)^2, far below the noise of any amplifier: keeps the logarithm of a dead electrode finite
_BATCH = 4096


@dataclass(frozen=True, eq=False)
class EEGFrames:
    """N windows of T trials of S subjects, in the order of the subjects and trials.

    Attributes
    ----------
    power : Tensor, float32, shape (N, 4, 32)
        Log band power against baseline, standardized by the mean and standard deviation of the subject and band and
        clipped to [-5, 5]. These are over the subject's windows and all electrodes at once, which keeps the shape of
        the map; they use nothing of other subjects, nor any rating.
    std : Tensor, float32, shape (S, 4)
        The standard deviations in nats (natural logarithm of a ratio of powers).
    trial : Tensor, int64, shape (N,)
        Index into `ratings`.
    subject : Tensor, int64, shape (N,)
        Index into `subjects`.
    ratings : Tensor, float32, shape (T, 4)
        From 1 to 9, columns as in `deap.RATINGS`.
    trial_subject : Tensor, int64, shape (T,)
        Index into `subjects`.
    subjects : tuple of str, length S
    first_trial : Tensor, float32, shape (32, 8064)
        EEG of the first trial in uV, to look at.
    provenance : Provenance
    problems : tuple of str
        A sentence for each file that was left out.
    planted : mapping of str to array, shape (4, 32)
        See `simulated_eeg.planted`; empty for DEAP.
    """

    power: Tensor
    std: Tensor
    trial: Tensor
    subject: Tensor
    ratings: Tensor
    trial_subject: Tensor
    subjects: tuple[str, ...]
    first_trial: Tensor
    provenance: Provenance
    problems: tuple[str, ...]
    planted: Mapping[str, np.ndarray]

    @cached_property
    def frames(self) -> Tensor:
        """All windows as pictures, float16, shape (N, 4, 32, 32); made on first use, 8 kB for each window."""
        return to_frames(self.power)


def load(
    source: str = "auto",
    window_seconds: float = 1.0,
    simulated_subjects: int = 16,
    effect: float = 1.0,
    seed: int = 0,
) -> EEGFrames:
    """Load what there is of DEAP under the data root, or simulate EEG.

    Band powers are cached in one file under the data root, keyed by the settings and, for DEAP, by names, sizes and
    times of the recordings.

    Parameters
    ----------
    source : {"auto", "folder", "simulated"}
        ``"auto"`` takes DEAP if `deap.subject_files` finds any.
    window_seconds : float
        Length of a window, from 0.25 s to the baseline's 3 s.
    simulated_subjects, effect, seed : int, float, int
        See `simulated_eeg.simulate`.

    Raises
    ------
    DataError
        If the source is unknown or none of its files can be used.
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> from companion.data import eeg_frames
    >>> eeg = eeg_frames.load("simulated", simulated_subjects=1)
    >>> len(eeg.frames)
    2400
    """
    if source not in ("auto", "folder", "simulated"):
        raise DataError(f"EEG has no source {source!r}: choose auto, folder or simulated.")
    length = _window_length(window_seconds)
    paths = deap.subject_files()
    if source == "folder" and not paths:
        raise DataError(" ".join([*unused_files(), deap.how_to_get()]))
    problems: list[str] = []
    from_deap = source != "simulated" and bool(paths)
    if from_deap:
        folder, count = deap.folder(), len(paths)
        recordings = deap.usable(problems)
        key: dict[str, object] = {"files": [(path.name, stamp(path)) for path in paths]}
    else:
        folder, count = data_root() / "simulated_eeg", simulated_subjects
        recordings = simulated_eeg.simulate(simulated_subjects, effect, seed)
        key = {"subjects": simulated_subjects, "effect": float(effect), "seed": seed}
    features = _cached(
        folder, {**key, "window": length}, lambda: _features(recordings, count, window_seconds, problems)
    )
    subjects, by_trial, trial_subject = (features[name] for name in ("subjects", "power", "trial_subject"))
    if from_deap:
        words = f"DEAP, {len(subjects)} of {deap.SUBJECTS} subjects under the data root"
    else:
        words = f"{simulated_subjects} simulated subjects (effect {effect:g}, seed {seed}), in place of DEAP"

    trials, windows = by_trial.shape[:2]
    by_subject = [by_trial[trial_subject == s].flatten(0, 1) for s in range(len(subjects))]
    mean = [own.mean((0, 2)) for own in by_subject]
    std = [own.std((0, 2), correction=0) for own in by_subject]
    standardized = [(own - m[:, None]) / s[:, None] for own, m, s in zip(by_subject, mean, std, strict=True)]
    power = torch.cat(standardized).clamp_(-LIMIT, LIMIT)
    trial = torch.arange(trials).repeat_interleave(windows)
    return EEGFrames(
        power=power,
        std=torch.stack(std),
        trial=trial,
        subject=trial_subject[trial],
        ratings=features["ratings"],
        trial_subject=trial_subject,
        subjects=tuple(subjects),
        first_trial=features["first_trial"],
        provenance=Provenance(
            words, stand_in=not from_deap, n=len(power), checksum=checksum(power, features["ratings"])
        ),
        problems=tuple(features["problems"]),
        planted={} if from_deap or not effect else simulated_eeg.planted(effect),
    )


def _features(
    recordings: Iterable[Recording], count: int, window_seconds: float, problems: list[str]
) -> dict[str, Any]:
    """Compute the features of recordings that come one by one; meanwhile `problems` grows by those left out."""
    power, ratings, subjects, first_trial = [], [], [], None
    for recording in tqdm(recordings, "EEG band power", count, unit="subject", mininterval=2):
        power.append(band_power(recording.eeg, window_seconds))
        ratings.append(recording.ratings)
        subjects.append(recording.subject)
        if first_trial is None:
            first_trial = recording.eeg[0]
    if first_trial is None:
        raise DataError(f"None of the {count} recordings can be used. The first problem: {problems[0]}")
    return {
        "power": torch.from_numpy(np.concatenate(power)),
        "ratings": torch.from_numpy(np.concatenate(ratings)),
        "trial_subject": torch.from_numpy(np.repeat(np.arange(len(power)), [len(own) for own in power])),
        "first_trial": torch.from_numpy(first_trial.copy()),
        "subjects": subjects,
        "problems": problems,
    }


def _cached(folder: Path, key: dict[str, object], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return features from their file in the folder, or compute and write them."""
    settings = {**key, "recipe": _RECIPE, "bands": BANDS, "floor": _FLOOR}
    path = folder / f".features-{fingerprint(settings)}.pt"
    if not path.exists():
        try:
            writable_folder(folder)
        except DataError:
            return compute()  # DEAP may lie in a shared folder
        waiting = f"Waiting for another process that computes band powers in {folder}."
        with exclusive_lock(folder / ".features.lock", waiting):
            if not path.exists():
                features = compute()
                with atomic_write(path) as scratch:
                    torch.save(features, scratch)
    try:
        return torch.load(path, weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file
        raise DataError(f"{path} is damaged: delete it; the next run computes it again.") from None


def band_power(eeg: np.ndarray, window_seconds: float = 1.0) -> np.ndarray:
    """Compute log band power of every window of a trial against that trial's baseline.

    Parameters
    ----------
    eeg : ndarray, shape (trials, electrodes, 8064)
        See `deap.Recording`.
    window_seconds : float
        From 0.25 to 3. Windows follow each other without gap or overlap; what is left at the end is dropped. The
        taper blurs frequencies by 2 / window_seconds to either side, so windows below 1 s mix neighbouring bands.

    Returns
    -------
    ndarray, float32, shape (trials, windows, 4, electrodes)
        Natural logarithm of band power plus (1 nV)^2, minus that of the mean over the windows of the 3 s before the
        trial, for the bands of `deap.BANDS`.

    Raises
    ------
    ValueError
        If windows are too short for a band or longer than the baseline.

    Examples
    --------
    >>> from companion.data import eeg_frames, simulated_eeg
    >>> (recording,) = simulated_eeg.simulate(subjects=1, trials=2)
    >>> eeg_frames.band_power(recording.eeg).shape
    (2, 60, 4, 32)
    """
    length = _window_length(window_seconds)
    baseline = _band_power(eeg[..., :BASELINE_SAMPLES], length).mean(axis=2, keepdims=True)
    trial = _band_power(eeg[..., BASELINE_SAMPLES:], length)
    log_ratio = np.log(trial + _FLOOR) - np.log(baseline + _FLOOR)
    return np.ascontiguousarray(log_ratio.transpose(0, 2, 3, 1))


def _band_power(signals: np.ndarray, length: int) -> np.ndarray:
    """Return power (..., windows, 4) of signals (..., samples): a sinusoid of amplitude a within a band has a^2 / 2.

    It is the one-sided periodogram of the window under a Hann taper, summed over lower edge <= f < upper edge.
    """
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
    if not 0.25 <= seconds <= 3:
        raise ValueError(
            f"window_seconds is {seconds}: give 0.25 to 3, so that each band contains a frequency and the baseline a "
            "window."
        )
    return round(seconds * SAMPLE_RATE)


@cache
def electrode_positions() -> np.ndarray:
    """Return the azimuthal equidistant projection of the electrodes of `deap.EEG_CHANNELS`, shape (32, 2).

    Seen from above, x to the right ear, y to the nose, Cz at (0, 0). Radius 1, the edge of the disc, is where the
    outermost electrodes are: 92 degrees from the vertex on MNE's biosemi32 montage.
    """
    import mne  # takes a second

    montage = mne.channels.make_standard_montage("biosemi32").get_positions()["ch_pos"]
    x, y, z = np.array([montage[name] for name in EEG_CHANNELS]).T
    angle = np.arctan2(np.hypot(x, y), z)
    azimuth = np.arctan2(y, x)
    radius = angle / angle.max()
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=1)


@cache
def _interpolation_matrix() -> np.ndarray:
    """Return the matrix from the 32 electrodes to the pixels of a frame, row by row from the nose, shape (1024, 32)."""
    centres = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    spline = RBFInterpolator(electrode_positions(), np.eye(len(EEG_CHANNELS)), kernel="thin_plate_spline", degree=1)
    return spline(pixels) * (np.hypot(*pixels.T) <= 1)[:, None]


def to_frames(power: Tensor) -> Tensor:
    """Interpolate values at the electrodes, shape (N, bands, 32), to frames, float16, shape (N, bands, 32, 32).

    The first row of a frame is at the nose; pixels off the head, the disc of radius 1, are 0. The others are those of a
    thin-plate spline over `electrode_positions` (Duchon 1977), the surface through the values that bends least.
    """
    matrix = torch.from_numpy(_interpolation_matrix()).float().T
    # In batches: float32 pictures of all windows at once would take twice the memory of the result.
    return torch.cat([(part.float() @ matrix).half() for part in power.split(_BATCH)]).unflatten(-1, (SIZE, SIZE))


def at_electrodes(frames: Tensor) -> Tensor:
    """Fit values at the electrodes, float32, shape (N, bands, 32), to frames, shape (N, bands, 32, 32).

    The fit is by least squares. It is exact for an output of `to_frames`; for a frame that a network made it gives the
    nearest map that electrodes can show.
    """
    return frames.float().flatten(-2) @ torch.from_numpy(np.linalg.pinv(_interpolation_matrix())).float().T
