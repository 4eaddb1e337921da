"""Simulated signals of one person: activity of the dipoles, background, blinks, and the filters behind them."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.signal import butter, fftconvolve, lfilter, sosfiltfilt

from companion.data._eeg_dipoles import (
    BACKGROUND_VARIANCE,
    NETWORK_BURST,
    NETWORK_CHANGE,
    NETWORK_DRIFT,
    OUTERMOST_RADIUS,
    OWN_BURST,
    OWN_DRIFT,
    PASS_BAND,
    RHYTHMS,
    SENSOR_STD,
    Dipoles,
    Head,
    background_density,
    persons_dipoles,
    unit,
)
from companion.data._eeg_ratings import draw_ratings
from companion.data.deap import BASELINE_SAMPLES, CHANNELS, EEG_CHANNELS, RATINGS, SAMPLE_RATE, SAMPLES

# Standard deviations over people: size of an effect and scale of the recording, both relative to their means, log gain
# of an electrode, and peak of alpha (Hz).
EFFECT_STD = 0.15
_SCALE_STD = 0.06
_GAIN_STD = 0.04
_ALPHA_PEAK_STD = 0.4

BURST_SECONDS = 0.5  # time constant of the autocorrelation of log power
_ENVELOPE_STEP = 16  # samples between the points at which log power is drawn
_BLINKS_PER_SECOND = 0.2
_BLINK_RESIDUE = 12.0  # uV at Fp1 and Fp2: what is left of blinks after their removal
_TRIALS_AT_ONCE = 8  # limits the memory


def simulate_person(
    head: Head, average: Dipoles, trials: int, effect: float, seed: np.random.SeedSequence, peripheral: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate one person's recordings and ratings.

    Parameters
    ----------
    head : Head
    average : Dipoles
        From `average_dipoles`.
    trials : int
    effect : float
        Factor of the changes by emotional states. What is drawn does not depend on it.
    seed : SeedSequence
    peripheral : bool
        Whether to simulate the eight other channels, too.

    Returns
    -------
    recordings : ndarray, float32, shape (trials, 32 or 40, 8064)
        From 3 s before the start of the trial.
    ratings : ndarray, float32, shape (trials, 4)
    """
    anatomy, feelings, activity, rest = (np.random.default_rng(child) for child in seed.spawn(4))
    dipoles = persons_dipoles(head, average, anatomy)
    peaks = np.array([rhythm.peak for rhythm in RHYTHMS.values()])
    peaks[1] += _ALPHA_PEAK_STD * anatomy.standard_normal()
    gain = np.exp(_GAIN_STD * anatomy.standard_normal(len(EEG_CHANNELS)))
    scale = 1 + _SCALE_STD * anatomy.standard_normal()
    ratings, states = draw_ratings(trials, feelings)
    strength = 1 + EFFECT_STD * feelings.standard_normal(len(RATINGS))
    shift = effect * (states * strength) @ NETWORK_CHANGE

    blinks = _blinks(trials, rest)
    eyes = (_BLINK_RESIDUE * _eye_potentials(head)).astype(np.float32)
    recordings = np.empty((trials, len(CHANNELS) if peripheral else len(EEG_CHANNELS), SAMPLES), np.float32)
    for first in range(0, trials, _TRIALS_AT_ONCE):
        part = slice(first, min(first + _TRIALS_AT_ONCE, trials))
        signals = dipoles.mixing.astype(np.float32) @ _band_activity(dipoles, peaks, shift[part], activity)
        signals += _background(dipoles, len(signals), activity)
        signals += eyes[:, None] * blinks[part, None]
        signals *= (scale * gain).astype(np.float32)[:, None]
        recordings[part, : len(EEG_CHANNELS)] = _preprocessed(signals)
    if peripheral:
        recordings[:, len(EEG_CHANNELS) :] = _peripheral(blinks, rest)
    return recordings, ratings.astype(np.float32)


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
    widths = np.array([rhythm.width for rhythm in RHYTHMS.values()])
    densities = np.exp(-(((frequencies - peaks[:, None]) / widths[:, None]) ** 2) / 2)
    waves = coloured_noise(densities[dipoles.band], len(shift), generator)
    return waves * _envelopes(dipoles, shift, generator)


def coloured_noise(densities: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw Gaussian noise of variance 1 with given power spectra.

    Parameters
    ----------
    densities : ndarray, shape (signals, 4033)
        Relative power at the frequencies of a real Fourier transform of 8064 samples.
    trials : int
    generator : Generator

    Returns
    -------
    ndarray, float32, shape (trials, signals, 8064)
    """
    amplitudes = SAMPLES / 2 * np.sqrt(densities / densities.sum(-1, keepdims=True))
    shape = (trials, *densities.shape)
    spectra = np.empty(shape, np.complex64)
    spectra.real = generator.standard_normal(shape, np.float32)
    spectra.imag = generator.standard_normal(shape, np.float32)
    spectra *= amplitudes.astype(np.float32)
    return scipy.fft.irfft(spectra, SAMPLES, axis=-1, overwrite_x=True)


def _envelopes(dipoles: Dipoles, shift: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the amplitudes of the dipoles relative to their median, float32, shape (trials, S, 8064)."""
    trials = len(shift)
    shared = fluctuations(NETWORK_BURST, NETWORK_DRIFT, trials, generator)
    # The point at the start of the trial still belongs to the baseline, which ends there.
    shared[:, :, BASELINE_SAMPLES // _ENVELOPE_STEP + 1 :] += shift[:, :, None]
    of_each = np.ones(len(dipoles.names))
    log_power = dipoles.loading @ shared + fluctuations(OWN_BURST * of_each, OWN_DRIFT * of_each, trials, generator)
    amplitude = np.exp(log_power / 2).astype(np.float32)
    # Linear interpolation between the points.
    between = (np.arange(_ENVELOPE_STEP) / _ENVELOPE_STEP).astype(np.float32)
    steps = amplitude[..., :-1, None] + np.diff(amplitude, axis=-1)[..., None] * between
    return steps.reshape(trials, len(dipoles.names), SAMPLES)


def fluctuations(bursts: np.ndarray, drifts: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw log power that is a stationary AR(1) process over seconds around a level for each trial.

    Parameters
    ----------
    bursts, drifts : ndarray, shape (n,)
        Standard deviations over seconds and over trials.
    trials : int
    generator : Generator

    Returns
    -------
    ndarray, shape (trials, n, 505)
        At every 16th sample.
    """
    persistence = np.exp(-_ENVELOPE_STEP / SAMPLE_RATE / BURST_SECONDS)
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
    noise = coloured_noise(np.tile(density, (len(EEG_CHANNELS), 1)), trials, generator)
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


def _peripheral(blinks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the channels of `PERIPHERAL_CHANNELS`, shape (trials, 8, 8064); they do not depend on the ratings."""
    seconds = np.arange(SAMPLES) / SAMPLE_RATE
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)
    slow, eye = (np.where(frequencies > 0, (corner + frequencies) ** -2, 0.0) for corner in (0.02, 0.5))
    muscle = np.where((frequencies > 4) & (frequencies < 60), 1.0, 0.0)
    densities = np.array([eye, eye, muscle, muscle, slow, slow, slow, slow])
    horizontal, vertical, zygomaticus, trapezius, skin, breath, pulse, warmth = np.moveaxis(
        coloured_noise(densities, len(blinks), generator), 1, 0
    )
    # The rates of breathing and of the heart wander.
    breath_phase = 2 * np.pi * (0.25 * seconds + 0.2 * breath + generator.random((len(blinks), 1)))
    pulse_phase = 2 * np.pi * (1.15 * seconds + 0.3 * pulse)
    channels = [
        60 * horizontal,
        60 * vertical + 250 * blinks,
        12 * zygomaticus,
        15 * trapezius,
        800 * skin,
        900 * np.sin(breath_phase),
        1500 * (np.sin(pulse_phase) + 0.4 * np.sin(2 * pulse_phase + 1)),
        0.05 * warmth,
    ]
    return np.stack(channels, axis=1)
