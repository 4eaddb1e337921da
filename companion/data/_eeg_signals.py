"""One person's simulated recordings: the activity of the dipoles, background, blinks, and the filters behind them."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.signal import butter, fftconvolve, lfilter, sosfiltfilt

from companion.data._eeg_channels import EEG_CHANNELS, PERIPHERAL_CHANNELS
from companion.data._eeg_dipoles import (
    BACKGROUND_VARIANCE,
    BANDS,
    NETWORKS,
    OUTERMOST_RADIUS,
    OWN_BURST,
    OWN_DRIFT,
    PASS_BAND,
    SAMPLING_RATE,
    SENSOR_STD,
    Dipoles,
    Head,
    background_density,
    changes_of_networks,
    persons_dipoles,
    unit,
)
from companion.data._eeg_ratings import RATINGS, draw_ratings

BASELINE_SAMPLES = 3 * SAMPLING_RATE
SAMPLES = BASELINE_SAMPLES + 60 * SAMPLING_RATE

# Standard deviations of what differs between people: the size of an effect and the scale of the recording relative to
# their means, gain of an electrode (log), and the peak of alpha (Hz).
EFFECT_STD = 0.15
_SCALE_STD = 0.06
_GAIN_STD = 0.04
_ALPHA_PEAK_STD = 0.4

BURST_SECONDS = 0.5  # time in which the correlation of log power with itself falls to 1/e
_ENVELOPE_STEP = 16  # samples between the points at which a course of log power is drawn
_BLINKS_A_SECOND = 0.2
_BLINK_RESIDUE = 12.0  # microvolts at Fp1 and Fp2: what the removal of eye movements left
_TRIALS_AT_ONCE = 8  # limits the memory


def simulate_person(
    head: Head, average: Dipoles, trials: int, effect: float, seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    """One person's recordings and ratings.

    Parameters
    ----------
    head : Head
    average : Dipoles
        Of `average_dipoles`.
    trials : int
    effect : float
        What the changes by emotional states are multiplied by.
    seed : SeedSequence
        Decides everything. What is drawn does not depend on `effect`.

    Returns
    -------
    recordings : array, shape (trials, 40, 8064), float64
        The EEG and the peripheral channels, from 3 s before the trial's start.
    ratings : array, shape (trials, 4), float64
    """
    anatomy, feelings, activity, rest = (np.random.default_rng(child) for child in seed.spawn(4))
    dipoles = persons_dipoles(head, average, anatomy)
    peaks = np.array([band.peak for band in BANDS])
    peaks[1] += _ALPHA_PEAK_STD * anatomy.standard_normal()
    gain = np.exp(_GAIN_STD * anatomy.standard_normal(len(EEG_CHANNELS)))
    scale = 1 + _SCALE_STD * anatomy.standard_normal()
    ratings, states = draw_ratings(trials, feelings)
    strength = 1 + EFFECT_STD * feelings.standard_normal(len(RATINGS))
    shift = effect * (states * strength) @ changes_of_networks()

    blinks = _blinks(trials, rest)
    recordings = np.empty((trials, len(EEG_CHANNELS) + len(PERIPHERAL_CHANNELS), SAMPLES))
    eyes = _eye_potentials(head)
    for first in range(0, trials, _TRIALS_AT_ONCE):
        part = slice(first, min(first + _TRIALS_AT_ONCE, trials))
        signals = dipoles.mixing.astype(np.float32) @ _band_activity(dipoles, peaks, shift[part], activity)
        signals += _background(dipoles, len(signals), activity)
        signals += (_BLINK_RESIDUE * eyes).astype(np.float32)[:, None] * blinks[part, None]
        signals *= (scale * gain).astype(np.float32)[:, None]
        recordings[part, : len(EEG_CHANNELS)] = _as_preprocessed(signals)
    recordings[:, len(EEG_CHANNELS) :] = _peripheral(blinks, rest)
    return recordings, ratings


def _as_preprocessed(signals: np.ndarray) -> np.ndarray:
    """Band-passed without shift in time, against the average of the electrodes."""
    sections = butter(4, PASS_BAND, "bandpass", fs=SAMPLING_RATE, output="sos")
    passed = sosfiltfilt(sections, signals.astype(np.float64), axis=-1)
    return passed - passed.mean(-2, keepdims=True)


def _band_activity(
    dipoles: Dipoles, peaks: np.ndarray, shift: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Activity of the dipoles, of median power 1, shape (trials, S, 8064), float32; `shift` is (trials, networks)."""
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLING_RATE)
    widths = np.array([band.width for band in BANDS])
    densities = np.exp(-(((frequencies - peaks[:, None]) / widths[:, None]) ** 2) / 2)
    waves = _coloured_noise(densities[dipoles.band], len(shift), generator)
    return waves * _envelopes(dipoles, shift, generator)


def _coloured_noise(densities: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise of variance 1 with these power spectra, shape (trials, signals, 8064), float32."""
    amplitudes = SAMPLES / 2 * np.sqrt(densities / densities.sum(-1, keepdims=True))
    shape = (trials, *densities.shape)
    spectra = np.empty(shape, np.complex64)
    spectra.real = generator.standard_normal(shape, np.float32)
    spectra.imag = generator.standard_normal(shape, np.float32)
    spectra *= amplitudes.astype(np.float32)
    return scipy.fft.irfft(spectra, SAMPLES, axis=-1, overwrite_x=True)


def _envelopes(dipoles: Dipoles, shift: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Amplitudes of the dipoles relative to their median, shape (trials, S, 8064), float32."""
    trials = len(shift)
    bursts = np.array([network.burst for network in NETWORKS.values()])
    drifts = np.array([network.drift for network in NETWORKS.values()])
    courses = _wandering(bursts, drifts, trials, generator)
    # The point at the trial's start still belongs to the baseline, which ends there.
    courses[:, :, BASELINE_SAMPLES // _ENVELOPE_STEP + 1 :] += shift[:, :, None]
    of_each = np.ones(len(dipoles.names))
    log_power = dipoles.loading @ courses + _wandering(OWN_BURST * of_each, OWN_DRIFT * of_each, trials, generator)
    amplitude = np.exp(log_power / 2).astype(np.float32)
    between = (np.arange(_ENVELOPE_STEP) / _ENVELOPE_STEP).astype(np.float32)
    steps = amplitude[..., :-1, None] + np.diff(amplitude, axis=-1)[..., None] * between
    return steps.reshape(trials, len(dipoles.names), SAMPLES)


def _wandering(bursts: np.ndarray, drifts: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Courses with these standard deviations over seconds and over trials, shape (trials, len(bursts), points).

    Over seconds they are first-order autoregressive and stationary.
    """
    persistence = np.exp(-_ENVELOPE_STEP / SAMPLING_RATE / BURST_SECONDS)
    innovation = np.sqrt(1 - persistence**2)
    white = generator.standard_normal((trials, len(bursts), SAMPLES // _ENVELOPE_STEP + 1))
    white[..., 0] /= innovation
    courses = bursts[:, None] * lfilter([innovation], [1, -persistence], white, axis=-1)
    return courses + (drifts * generator.standard_normal((trials, len(bursts))))[:, :, None]


def _background(dipoles: Dipoles, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Background and noise of the sensors, shape (trials, 32, 8064), float32."""
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLING_RATE)
    density = background_density(frequencies)
    passed = density[(frequencies >= PASS_BAND[0]) & (frequencies <= PASS_BAND[1])].sum()
    noise = _coloured_noise(np.tile(density, (len(EEG_CHANNELS), 1)), trials, generator)
    std = np.sqrt(BACKGROUND_VARIANCE * density.sum() / passed)
    result = (std * dipoles.background).astype(np.float32) @ noise
    return result + np.float32(SENSOR_STD) * generator.standard_normal(result.shape, np.float32)


def _eye_potentials(head: Head) -> np.ndarray:
    """Potentials of dipoles behind the eyes, 1 at the electrode where they are largest, shape (32,)."""
    fronts = head.directions[[EEG_CHANNELS.index("Fp1"), EEG_CHANNELS.index("Fp2")]]
    below = unit(fronts + np.array([0.0, 0.0, -0.5]))
    potentials = head.lead_field(below, OUTERMOST_RADIUS, below).sum(1)
    return potentials / potentials.max()


def _blinks(trials: int, generator: np.random.Generator) -> np.ndarray:
    """Blinks of height 1, shape (trials, 8064), float32."""
    begins = (generator.random((trials, SAMPLES)) < _BLINKS_A_SECOND / SAMPLING_RATE).astype(np.float32)
    seconds = np.arange(-32, 33, dtype=np.float32) / SAMPLING_RATE
    return fftconvolve(begins, np.exp(-((seconds / 0.06) ** 2) / 2)[None], mode="same", axes=-1)


def _peripheral(blinks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The other channels, in the order of `PERIPHERAL_CHANNELS`, shape (trials, 8, 8064); ratings do not show there."""
    seconds = np.arange(SAMPLES) / SAMPLING_RATE
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLING_RATE)
    slow, eye = (np.where(frequencies > 0, (corner + frequencies) ** -2, 0.0) for corner in (0.02, 0.5))
    muscle = np.where((frequencies > 4) & (frequencies < 60), 1.0, 0.0)
    densities = np.array([eye, eye, muscle, muscle, slow, slow, slow, slow])
    horizontal, vertical, zygomaticus, trapezius, skin, breath, pulse, warmth = np.moveaxis(
        _coloured_noise(densities, len(blinks), generator), 1, 0
    )
    # Breaths and heart beats come at a rate that wanders.
    breath = 2 * np.pi * (0.25 * seconds + 0.2 * breath + generator.random((len(blinks), 1)))
    pulse = 2 * np.pi * (1.15 * seconds + 0.3 * pulse)
    channels = [
        60 * horizontal,
        60 * vertical + 250 * blinks,
        12 * zygomaticus,
        15 * trapezius,
        800 * skin,
        900 * np.sin(breath),
        1500 * (np.sin(pulse) + 0.4 * np.sin(2 * pulse + 1)),
        0.05 * warmth,
    ]
    return np.stack(channels, axis=1)
