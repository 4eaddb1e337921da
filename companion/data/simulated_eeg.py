"""Simulate EEG with a planted effect of emotion, as a stand-in for DEAP.

Recordings are made in memory, one person after the other. `write` puts them into files of DEAP's format on request.

Higher valence lowers alpha power over the left of the forehead and raises it over the right. Higher arousal raises beta
power over frontal and central electrodes and lowers alpha over parietal ones.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.fft
from scipy.signal import butter, fftconvolve, lfilter, sosfiltfilt
from scipy.special import ndtr

from companion.data._eeg_dipoles import (
    BACKGROUND_VARIANCE,
    NETWORK_BURST,
    NETWORK_CHANGE,
    NETWORK_DRIFT,
    OUTERMOST_RADIUS,
    OWN_BURST,
    OWN_DRIFT,
    PASS_BAND,
    RHYTHM_PEAK,
    RHYTHM_WIDTH,
    SENSOR_STD,
    Dipoles,
    Head,
    average_dipoles,
    background_density,
    persons_dipoles,
    unit,
)
from companion.data.deap import (
    BANDS,
    BASELINE_SAMPLES,
    CHANNELS,
    EEG_CHANNELS,
    RATINGS,
    SAMPLE_RATE,
    SAMPLES,
    Recording,
)
from companion.data.sources import writable_folder
from companion.errors import DataError
from vaemi._files import atomic_write

# Standard deviations over people: size of an effect and scale of the recording, both relative to their means, log gain
# of an electrode, and peak of alpha (Hz).
_EFFECT_STD = 0.15
_SCALE_STD = 0.06
_GAIN_STD = 0.04
_ALPHA_PEAK_STD = 0.4

_BURST_SECONDS = 0.5  # time constant of the autocorrelation of log power
_ENVELOPE_STEP = 16  # samples between the points at which log power is drawn
_BLINKS_PER_SECOND = 0.2
_BLINK_RESIDUE = 12.0  # uV at Fp1 and Fp2: what is left of blinks after their removal
_TRIALS_AT_ONCE = 8  # limits the memory

_LABEL_CORRELATION = 0.54  # of a rating with its emotional state; the rest of the rating is noise
# Ratings have DEAP's means and shares above 5; the correlations of the latent variables behind them are rough ones.
_RATING_MEAN = np.array([5.25, 5.16, 5.38, 5.52])
_RATING_ABOVE_5 = np.array([0.553, 0.576, 0.609, 0.665])
_RATING_CORRELATION = np.array(
    [[1.0, 0.1, 0.3, 0.6], [0.1, 1.0, 0.25, 0.2], [0.3, 0.25, 1.0, 0.3], [0.6, 0.2, 0.3, 1.0]]
)
_MEAN_DEPTH = 0.46  # how far below 5 a rating below 5 is on average, as a fraction of the 4 that are possible
_PERSON_STD = 0.25  # of a person's mean latent variable, where all latent variables have standard deviation 1


def simulate(subjects: int = 8, effect: float = 1.0, seed: int = 0, trials: int = 40) -> Iterator[Recording]:
    """Simulate recordings, one subject after the other; each takes about 3 CPU-s and 160 MB.

    Parameters
    ----------
    subjects : int
    effect : float
        Factor of the effects of valence and arousal. At 1 the best single band power separates high from low ratings
        of a subject with an area under the ROC curve of about 0.67.
    seed : int
        A subject's data depend on it and on the subject's number only.
    trials : int
        Trials of each subject; DEAP has 40.

    Yields
    ------
    Recording
        Of s01, s02, ...

    Raises
    ------
    ValueError
        If a number is below 1, or the seed below 0.

    Examples
    --------
    >>> from companion.data import simulated_eeg
    >>> (recording,) = simulated_eeg.simulate(subjects=1, trials=2)
    >>> recording.eeg.shape
    (2, 32, 8064)
    """
    if subjects < 1 or trials < 1:
        raise ValueError(f"subjects is {subjects}, trials {trials}: give 1 or more.")
    head = Head()
    average = average_dipoles(head)
    for number in range(1, subjects + 1):
        source = np.random.SeedSequence([seed, number])
        yield _simulate_subject(f"s{number:02}", head, average, trials, effect, source)


def planted(effect: float = 1.0) -> dict[str, np.ndarray]:
    """Return what `simulate` plants: for valence and arousal a topography, shape (4, 32).

    It is the expected change of log band power (natural logarithm) between trials whose standardized ratings differ by
    one, for the bands of `deap.BANDS` and each electrode.

    Examples
    --------
    >>> from companion.data import simulated_eeg
    >>> simulated_eeg.planted()["valence"].shape
    (4, 32)
    """
    topographies = effect * _LABEL_CORRELATION * average_dipoles(Head()).topographies()
    return {rating: topographies[RATINGS.index(rating)] for rating in ("valence", "arousal")}


def write(
    folder: str | os.PathLike[str], subjects: int = 8, effect: float = 1.0, seed: int = 0, trials: int = 40
) -> None:
    """Write simulated recordings as files s01.dat, s02.dat, ... in DEAP's format, and planted.json beside them.

    A file takes 103 MB. The eight channels that are not EEG are zero. Parameters are those of `simulate`.

    Raises
    ------
    ValueError
        If a setting is out of range.
    DataError
        If the folder cannot be written to or holds recordings.
    """
    folder = writable_folder(Path(folder))
    if any(folder.glob("*.dat")):
        raise DataError(f"{folder} contains recordings, which are not overwritten: choose another folder.")
    for recording in simulate(subjects, effect, seed, trials):
        data = np.zeros((trials, CHANNELS, SAMPLES))
        data[:, : len(EEG_CHANNELS)] = recording.eeg
        with atomic_write(folder / f"{recording.subject}.dat") as scratch, scratch.open("wb") as file:
            pickle.dump({"data": data, "labels": recording.ratings.astype(np.float64)}, file, protocol=4)
    topography = {rating: changes.tolist() for rating, changes in planted(effect).items()}
    truth = {"effect": effect, "seed": seed, "bands": list(BANDS), "electrodes": EEG_CHANNELS, "topography": topography}
    with atomic_write(folder / "planted.json") as scratch:
        scratch.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


def _simulate_subject(
    name: str, head: Head, average: Dipoles, trials: int, effect: float, seed: np.random.SeedSequence
) -> Recording:
    """Simulate one person's recording; what is drawn does not depend on the effect."""
    anatomy, feelings, activity, rest = (np.random.default_rng(child) for child in seed.spawn(4))
    dipoles = persons_dipoles(head, average, anatomy)
    peaks = RHYTHM_PEAK.copy()
    peaks[1] += _ALPHA_PEAK_STD * anatomy.standard_normal()
    gain = np.exp(_GAIN_STD * anatomy.standard_normal(len(EEG_CHANNELS)))
    scale = 1 + _SCALE_STD * anatomy.standard_normal()
    ratings, states = _draw_ratings(trials, feelings)
    strength = 1 + _EFFECT_STD * feelings.standard_normal(len(RATINGS))
    shift = effect * (states * strength) @ NETWORK_CHANGE

    blinks = _blinks(trials, rest)
    eyes = (_BLINK_RESIDUE * _eye_potentials(head)).astype(np.float32)
    eeg = np.empty((trials, len(EEG_CHANNELS), SAMPLES), np.float32)
    for first in range(0, trials, _TRIALS_AT_ONCE):
        part = slice(first, first + _TRIALS_AT_ONCE)
        signals = dipoles.mixing.astype(np.float32) @ _band_activity(dipoles, peaks, shift[part], activity)
        signals += _background(dipoles, len(signals), activity)
        signals += eyes[:, None] * blinks[part, None]
        signals *= (scale * gain).astype(np.float32)[:, None]
        eeg[part] = _preprocessed(signals)
    return Recording(name, eeg, ratings.astype(np.float32))


def _draw_ratings(trials: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one person's ratings and the emotional states of variance 1 behind them, both of shape (trials, 4)."""
    root = np.linalg.cholesky(_RATING_CORRELATION)
    person = root @ generator.standard_normal(len(RATINGS))
    latent = generator.standard_normal((trials, len(RATINGS))) @ root.T
    noise = generator.standard_normal((trials, len(RATINGS)))
    # Made uncorrelated with the ratings: in few trials the noise could otherwise hide or double an effect.
    design = np.column_stack([latent, np.ones(trials)])
    noise = noise - design @ (np.linalg.pinv(design) @ noise)
    noise *= np.sqrt(trials / max(1, trials - design.shape[1]))
    states = _LABEL_CORRELATION * latent + np.sqrt(1 - _LABEL_CORRELATION**2) * noise
    return _ratings_of_latent(_PERSON_STD * person + np.sqrt(1 - _PERSON_STD**2) * latent), states


def _ratings_of_latent(latent: np.ndarray) -> np.ndarray:
    """Map standard normal variables, shape (..., 4), monotonically to ratings from 1 to 9.

    On either side of 5 a rating is a power of a uniform variable, whose mean is 1 / (1 + the exponent).
    """
    probability = ndtr(latent)
    below = 1 - _RATING_ABOVE_5
    mean_height = (_RATING_MEAN - 5 + 4 * below * _MEAN_DEPTH) / (4 * _RATING_ABOVE_5)
    height = np.clip((probability - below) / _RATING_ABOVE_5, 0, 1) ** (1 / mean_height - 1)
    depth = np.clip((below - probability) / below, 0, 1) ** (1 / _MEAN_DEPTH - 1)
    return 5 + 4 * (height - depth)


def _preprocessed(signals: np.ndarray) -> np.ndarray:
    """Apply DEAP's preprocessing: a zero-phase band-pass and the average reference."""
    sections = butter(4, PASS_BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
    passed = sosfiltfilt(sections, signals.astype(np.float64), axis=-1)
    return passed - passed.mean(-2, keepdims=True)


def _band_activity(
    dipoles: Dipoles, peaks: np.ndarray, shift: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw the activity of the dipoles, of median power 1, float32, shape (trials, S, 8064).

    `shift` is the change of the networks' log power in each trial, shape (trials, networks).
    """
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)
    densities = np.exp(-(((frequencies - peaks[:, None]) / RHYTHM_WIDTH[:, None]) ** 2) / 2)
    waves = _coloured_noise(densities[dipoles.band], len(shift), generator)
    return waves * _envelopes(dipoles, shift, generator)


def _coloured_noise(densities: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw Gaussian noise of variance 1 with power spectra (signals, 4033), float32, shape (trials, signals, 8064)."""
    amplitudes = SAMPLES / 2 * np.sqrt(densities / densities.sum(-1, keepdims=True))
    shape = (trials, *densities.shape)
    spectra = np.empty(shape, np.complex64)
    spectra.real = generator.standard_normal(shape, np.float32)
    spectra.imag = generator.standard_normal(shape, np.float32)
    spectra *= amplitudes.astype(np.float32)
    return scipy.fft.irfft(spectra, SAMPLES, axis=-1, overwrite_x=True)


def _envelopes(dipoles: Dipoles, shift: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the amplitudes of the dipoles relative to their median, float32, shape (trials, S, 8064)."""
    trials, count = len(shift), len(dipoles.band)
    shared = _fluctuations(NETWORK_BURST, NETWORK_DRIFT, trials, generator)
    # The point at the start of the trial still belongs to the baseline, which ends there.
    shared[:, :, BASELINE_SAMPLES // _ENVELOPE_STEP + 1 :] += shift[:, :, None]
    own = _fluctuations(np.full(count, OWN_BURST), np.full(count, OWN_DRIFT), trials, generator)
    amplitude = np.exp((dipoles.loading @ shared + own) / 2).astype(np.float32)
    # Linear interpolation between the points.
    between = (np.arange(_ENVELOPE_STEP) / _ENVELOPE_STEP).astype(np.float32)
    steps = amplitude[..., :-1, None] + np.diff(amplitude, axis=-1)[..., None] * between
    return steps.reshape(trials, count, SAMPLES)


def _fluctuations(bursts: np.ndarray, drifts: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw log power at every 16th sample, shape (trials, n, 505): an AR(1) process around a level for each trial.

    `bursts` and `drifts` are its standard deviations over seconds and over trials, shape (n,).
    """
    persistence = np.exp(-_ENVELOPE_STEP / SAMPLE_RATE / _BURST_SECONDS)
    innovation = np.sqrt(1 - persistence**2)
    white = generator.standard_normal((trials, len(bursts), SAMPLES // _ENVELOPE_STEP + 1))
    white[..., 0] /= innovation
    process = bursts[:, None] * lfilter([innovation], [1, -persistence], white, axis=-1)
    return process + (drifts * generator.standard_normal((trials, len(bursts))))[:, :, None]


def _background(dipoles: Dipoles, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw background activity and sensor noise, float32, shape (trials, 32, 8064)."""
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)
    density = background_density(frequencies)
    passed = density[(frequencies >= PASS_BAND[0]) & (frequencies <= PASS_BAND[1])].sum()
    noise = _coloured_noise(np.tile(density, (len(EEG_CHANNELS), 1)), trials, generator)
    std = np.sqrt(BACKGROUND_VARIANCE * density.sum() / passed)
    result = (std * dipoles.background).astype(np.float32) @ noise
    return result + np.float32(SENSOR_STD) * generator.standard_normal(result.shape, np.float32)


def _eye_potentials(head: Head) -> np.ndarray:
    """Return the potentials of dipoles behind the eyes, shape (32,), 1 at the electrode where they are largest."""
    fronts = head.directions[[EEG_CHANNELS.index("Fp1"), EEG_CHANNELS.index("Fp2")]]
    below = unit(fronts + np.array([0.0, 0.0, -0.5]))
    potentials = head.lead_field(below, OUTERMOST_RADIUS, below).sum(1)
    return potentials / potentials.max()


def _blinks(trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw blinks of height 1, float32, shape (trials, 8064)."""
    begins = (generator.random((trials, SAMPLES)) < _BLINKS_PER_SECOND / SAMPLE_RATE).astype(np.float32)
    seconds = np.arange(-32, 33, dtype=np.float32) / SAMPLE_RATE
    return fftconvolve(begins, np.exp(-((seconds / 0.06) ** 2) / 2)[None], mode="same", axes=-1)
