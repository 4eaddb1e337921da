"""A model of EEG under emotion: dipoles in a spherical head, their activity, and what ratings have to do with it.

Dipoles under the electrodes are active in one band each. The logarithm of a dipole's power wanders: each has a course of
its own, and dipoles of one network share another. Emotion shifts the shared course of two networks by a small part of its
range, from the start of a trial on. Log band power therefore varies along the topographies of emotion all the time, mostly
for reasons that have nothing to do with emotion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from scipy.signal import butter, fftconvolve, lfilter, sosfiltfilt
from scipy.special import ndtr, ndtri

from vaemi.data._eeg_channels import EEG_CHANNELS

SAMPLING_RATE = 128
BASELINE_SAMPLES = 3 * SAMPLING_RATE
TRIAL_SAMPLES = 60 * SAMPLING_RATE
SAMPLES = BASELINE_SAMPLES + TRIAL_SAMPLES
PASS_BAND = (4.0, 45.0)

RATINGS = ("valence", "arousal", "dominance", "liking")


@dataclass(frozen=True)
class Band:
    """A frequency band and the activity in it.

    Attributes
    ----------
    name : str
    edges : (float, float)
        Hz.
    peak, width : float
        Mean and standard deviation in Hz of the Gaussian that the power spectrum of a dipole's activity is.
    variance : float
        Of the dipoles of this band together, averaged over the electrodes, in square microvolts.
    """

    name: str
    edges: tuple[float, float]
    peak: float
    width: float
    variance: float


BANDS = (
    Band("theta", (4, 8), 6.0, 1.1, 4.0),
    Band("alpha", (8, 13), 10.2, 1.2, 3.6),
    Band("beta", (13, 30), 20.0, 4.0, 3.3),
    Band("gamma", (30, 45), 36.0, 4.0, 0.5),
)
_BAND_OF_NAME = {band.name: band for band in BANDS}


@dataclass(frozen=True)
class Network:
    """What dipoles share: the course of their log power.

    Attributes
    ----------
    burst : float
        Standard deviation over seconds.
    drift : float
        Standard deviation over trials; the same in the baseline as in the trial that follows it.
    rating : str or None
        The rating that tells of the emotional state that moves this network during trials.
    change : float
        By how much the log power changes when that state changes by its standard deviation.
    """

    burst: float
    drift: float = 0.0
    rating: str | None = None
    change: float = 0.0


NETWORKS = {
    "valence": Network(burst=0.8, drift=0.25, rating="valence", change=0.5),
    "arousal": Network(burst=0.8, drift=0.25, rating="arousal", change=0.5),
    "occipital alpha": Network(burst=0.8, drift=0.3),
    "sensorimotor": Network(burst=0.6),
    "midline theta": Network(burst=0.8, drift=0.2),
    "muscles": Network(burst=0.8, drift=0.3),
}


@dataclass(frozen=True)
class _Group:
    """Dipoles of one kind, one under each of some electrodes.

    `power` is that of each dipole, relative to the other groups of the band; `sign` is the sense in which the
    network's course moves it.
    """

    name: str
    band: str
    electrodes: str
    power: float
    network: str | None = None
    sign: int = 1


_GROUPS = (
    _Group("midline theta", "theta", "Fz FC1 FC2 AF3 AF4", 1.0, "midline theta"),
    _Group("temporal theta", "theta", "T7 T8 P7 P8", 0.8),
    _Group("posterior theta", "theta", "Pz O1 O2 CP1 CP2", 0.8),
    _Group("left frontal alpha", "alpha", "F3 F7 FC5", 1.0, "valence", -1),
    _Group("right frontal alpha", "alpha", "F4 F8 FC6", 1.0, "valence"),
    _Group("parietal alpha", "alpha", "P3 Pz P4", 1.2, "arousal", -1),
    _Group("occipital alpha", "alpha", "O1 Oz O2", 1.6, "occipital alpha"),
    _Group("central alpha", "alpha", "C3 C4", 0.7, "sensorimotor"),
    _Group("temporal alpha", "alpha", "T7 T8", 0.6),
    _Group("frontal and central beta", "beta", "F3 F4 Fz FC1 FC2 C3 Cz C4", 1.0, "arousal"),
    _Group("temporal beta", "beta", "T7 T8 P7 P8", 0.7),
    _Group("posterior beta", "beta", "Pz O1 O2", 0.7),
    _Group("temporal gamma", "gamma", "T7 T8 F7 F8", 1.0, "muscles"),
    _Group("central gamma", "gamma", "Cz Pz Fz Oz", 0.5),
)

# The head of MNE's biosemi32 positions is a sphere of 95 mm, of which the brain fills 85.5 mm.
_SOURCE_RADIUS = 0.074
_BACKGROUND_RADII = (0.030, 0.080)
_N_BACKGROUND = 300
# Correlation of a rating with the emotional state it tells of: what is missing to 1 is noise of the label.
LABEL_CORRELATION = 0.5
# Standard deviations of what differs between people: the size of an effect and the scale of the recording relative to
# their means, log power of a dipole, its direction from the centre and its orientation (rad), gain of an electrode
# (log), and the peak of alpha (Hz).
EFFECT_STD = 0.2
_SCALE_STD = 0.06
_POWER_STD = 0.25
_DIRECTION_STD = 0.06
_ORIENTATION_STD = 0.2
_GAIN_STD = 0.04
_ALPHA_PEAK_STD = 0.4

_OWN_BURST = 0.5
_OWN_DRIFT = 0.35
_OWN_SPREAD = float(np.hypot(_OWN_BURST, _OWN_DRIFT))
_BURST_SECONDS = 0.7
_ENVELOPE_STEP = 16  # samples between the points at which a course of log power is drawn

_BACKGROUND_VARIANCE = 2.6  # between 4 and 45 Hz, averaged over the electrodes, in square microvolts
_BACKGROUND_EXPONENT = 1.5
_SENSOR_STD = 0.15
_BLINKS_A_SECOND = 0.2
_BLINK_RESIDUE = 12.0  # microvolts at Fp1 and Fp2: what the removal of eye movements left
_TRIALS_AT_ONCE = 8


class Head:
    """The sphere under the electrodes, and the potentials at them of dipoles in it."""

    def __init__(self) -> None:
        import mne

        self._info = mne.create_info(list(EEG_CHANNELS), SAMPLING_RATE, "eeg", verbose="ERROR")
        self._info.set_montage("biosemi32", verbose="ERROR")
        self._sphere = mne.make_sphere_model("auto", "auto", self._info, verbose="ERROR")
        self.centre: np.ndarray = np.asarray(self._sphere["r0"])
        outward = np.array([channel["loc"][:3] for channel in self._info["chs"]]) - self.centre
        self.directions: np.ndarray = _unit(outward)

    def lead_field(self, directions: np.ndarray, radii: np.ndarray | float, moments: np.ndarray) -> np.ndarray:
        """Potentials of dipoles at the electrodes against their average.

        Parameters
        ----------
        directions : array, shape (n, 3)
            Unit vectors from the sphere's centre to the dipoles.
        radii : float or array, shape (n,)
            Distance from the centre in m.
        moments : array, shape (n, 3)
            In nAm.

        Returns
        -------
        array, shape (32, n)
            In microvolts.
        """
        import mne

        positions = self.centre + directions * np.reshape(radii, (-1, 1))
        # Orientations must be given, but are not used: the solution holds the three directions in space.
        space = mne.setup_volume_source_space(pos={"rr": positions, "nn": directions}, verbose="ERROR")
        solution = mne.make_forward_solution(
            self._info, trans=None, src=space, bem=self._sphere, meg=False, mindist=0.0, verbose="ERROR"
        )
        potentials = solution["sol"]["data"].reshape(len(EEG_CHANNELS), -1, 3)
        microvolts = 1e-3 * np.einsum("esk,sk->es", potentials, moments)
        return microvolts - microvolts.mean(0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Dipoles:
    """All dipoles with activity in a band, in the order of the groups: S of them.

    Attributes
    ----------
    names : tuple of str
        Group and electrode above, such as "left frontal alpha at F3".
    band : array of int, shape (S,)
        Place in `BANDS`.
    loading : array, shape (S, networks)
        What the courses of the networks are multiplied by before they add up to the dipole's log power.
    positions : array, shape (S, 3)
        In m, in MNE's head coordinates.
    mixing : array, shape (32, S)
        Potentials in microvolts at the electrodes when the activity has its median power.
    background : array, shape (32, 32)
        Mixing matrix of the background: 32 independent signals stand for the many dipoles of which it is the sum,
        with the same covariance between electrodes. Variance 1 on average.
    """

    names: tuple[str, ...]
    band: np.ndarray
    loading: np.ndarray
    positions: np.ndarray
    mixing: np.ndarray
    background: np.ndarray

    @cached_property
    def change(self) -> np.ndarray:
        """Change of each dipole's log power by one standard deviation of an emotional state, shape (4 ratings, S)."""
        return _changes() @ self.loading.T

    def topographies(self) -> np.ndarray:
        """Expected change of log band power at the electrodes by one standard deviation of an emotional state.

        What the state does to a dipole, times the dipole's share of the power at the electrode, averaged over the
        courses of log power.

        Returns
        -------
        array, shape (4 ratings, 4 bands, 32)
        """
        generator = np.random.default_rng(0)
        draws = 2_000
        courses = generator.standard_normal((draws, len(NETWORKS))) * _spread_of_networks()
        log_power = courses @ self.loading.T + _OWN_SPREAD * generator.standard_normal((draws, len(self.names)))
        power = np.exp(log_power)[:, None, :] * self.mixing**2
        result = np.zeros((len(RATINGS), len(BANDS), len(EEG_CHANNELS)))
        frequencies = np.linspace(*PASS_BAND, 1_000)
        background = _background_density(frequencies)
        for b, band in enumerate(BANDS):
            here = self.band == b
            inside = (frequencies >= band.edges[0]) & (frequencies < band.edges[1])
            rest = (_BACKGROUND_VARIANCE * background[inside].sum() / background.sum()) * (self.background**2).sum(1)
            rest += _SENSOR_STD**2 * (band.edges[1] - band.edges[0]) / (SAMPLING_RATE / 2)
            share = (power[:, :, here] / (power[:, :, here].sum(-1) + rest)[:, :, None]).mean(0)
            result[:, b] = self.change[:, here] @ share.T
        return result


def _changes() -> np.ndarray:
    """Change of the networks' log power by one standard deviation of the emotional states, shape (4, networks)."""
    return np.array([[n.change if n.rating == rating else 0.0 for n in NETWORKS.values()] for rating in RATINGS])


def _spread_of_networks() -> np.ndarray:
    return np.array([np.hypot(network.burst, network.drift) for network in NETWORKS.values()])


def average_dipoles(head: Head) -> Dipoles:
    """The dipoles of a person like whom nobody is, but around whom all are."""
    places = [(group, EEG_CHANNELS.index(name)) for group in _GROUPS for name in group.electrodes.split()]
    directions = head.directions[[electrode for _, electrode in places]]
    loading = np.array([[group.sign * float(group.network == network) for network in NETWORKS] for group, _ in places])
    band = np.array([[band.name for band in BANDS].index(group.band) for group, _ in places])
    potentials = head.lead_field(directions, _SOURCE_RADIUS, directions)
    # exp of a Gaussian variable has mean exp(variance / 2).
    mean_over_median = np.exp((loading**2 @ _spread_of_networks() ** 2 + _OWN_SPREAD**2) / 2)
    power = np.array([group.power for group, _ in places]) / (potentials**2).mean(0)
    for b, description in enumerate(BANDS):
        power[band == b] *= description.variance / np.sum([group.power for group, _ in places], where=band == b)
    return Dipoles(
        names=tuple(f"{group.name} at {EEG_CHANNELS[electrode]}" for group, electrode in places),
        band=band,
        loading=loading,
        positions=head.centre + directions * _SOURCE_RADIUS,
        mixing=potentials * np.sqrt(power / mean_over_median),
        background=_background_mixing(head, np.random.default_rng(0)),
    )


def persons_dipoles(head: Head, average: Dipoles, generator: np.random.Generator) -> Dipoles:
    """The average person's dipoles, with places, orientations, powers and background of one person."""
    directions = _unit(average.positions - head.centre)
    # The power at the electrodes that a dipole under an electrode has is set for the average person; moments follow.
    moments = np.linalg.norm(average.mixing, axis=0) / np.linalg.norm(
        head.lead_field(directions, _SOURCE_RADIUS, directions), axis=0
    )
    moved = _unit(directions + _DIRECTION_STD * generator.standard_normal(directions.shape))
    turned = _unit(moved + _ORIENTATION_STD * generator.standard_normal(directions.shape))
    moments *= np.exp(_POWER_STD / 2 * generator.standard_normal(len(moments)))
    return replace(
        average,
        positions=head.centre + moved * _SOURCE_RADIUS,
        mixing=head.lead_field(moved, _SOURCE_RADIUS, turned * moments[:, None]),
        background=_background_mixing(head, generator),
    )


def _background_mixing(head: Head, generator: np.random.Generator) -> np.ndarray:
    directions = _unit(generator.standard_normal((_N_BACKGROUND, 3)))
    moments = generator.standard_normal((_N_BACKGROUND, 3))
    potentials = head.lead_field(directions, generator.uniform(*_BACKGROUND_RADII, _N_BACKGROUND), moments)
    left, values, _ = np.linalg.svd(potentials, full_matrices=False)
    return left * values / np.sqrt((potentials**2).sum(1).mean())


# Ratings.
# Correlations of the latent ratings, in the order of RATINGS, roughly as people's ratings are correlated.
_RATING_CORRELATION = np.array(
    [[1.0, 0.1, 0.3, 0.6], [0.1, 1.0, 0.25, 0.2], [0.3, 0.25, 1.0, 0.3], [0.6, 0.2, 0.3, 1.0]]
)
_RATING_MEAN = np.array([5.25, 5.16, 5.38, 5.52])
_RATING_ABOVE_5 = np.array([0.553, 0.576, 0.609, 0.665])
# How far below 5 a rating below 5 is on average, as a part of the 4 that are possible.
_MEAN_DEPTH = 0.46
_PERSON_STD = 0.25


def ratings_of_latent(latent: np.ndarray) -> np.ndarray:
    """Ratings from 1 to 9 of standard normal variables, increasing in each; shape (..., 4).

    The part of the normal distribution that makes ratings above 5 has the probability that it has in DEAP. On either
    side of 5 a rating is a power of a uniform variable, with the exponents that make the means DEAP's.
    """
    probability = ndtr(latent)
    below = 1 - _RATING_ABOVE_5
    mean_height = (_RATING_MEAN - 5 + 4 * below * _MEAN_DEPTH) / (4 * _RATING_ABOVE_5)
    # The mean of u^k for u uniform on (0, 1) is 1 / (k + 1).
    height = np.clip((probability - below) / _RATING_ABOVE_5, 0, 1) ** (1 / mean_height - 1)
    depth = np.clip((below - probability) / below, 0, 1) ** (1 / _MEAN_DEPTH - 1)
    return 5 + 4 * (height - depth)


def draw_ratings(trials: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One person's ratings, and the emotional states they tell of.

    The noise of the labels, what the states do not share with the ratings, is uncorrelated with all ratings within the
    person, not only on average over people: few trials could otherwise hide or double an effect.

    Returns
    -------
    ratings : array, shape (trials, 4)
        From 1 to 9.
    states : array, shape (trials, 4)
        Of variance 1, correlated `LABEL_CORRELATION` with the latent variables of the ratings.
    """
    root = np.linalg.cholesky(_RATING_CORRELATION)
    person = root @ generator.standard_normal(len(RATINGS))
    latent = generator.standard_normal((trials, len(RATINGS))) @ root.T
    noise = _residual(generator.standard_normal((trials, len(RATINGS))), latent)
    states = LABEL_CORRELATION * latent + np.sqrt(1 - LABEL_CORRELATION**2) * noise
    return ratings_of_latent(_PERSON_STD * person + np.sqrt(1 - _PERSON_STD**2) * latent), states


def _residual(noise: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What a linear regression on `known` leaves of white noise, with the variance that the noise had."""
    explaining = np.column_stack([known, np.ones(len(known))])
    left = noise - explaining @ (np.linalg.pinv(explaining) @ noise)
    return left * np.sqrt(len(noise) / max(1, len(noise) - explaining.shape[1]))


# Signals.
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
    shift = effect * (states * strength) @ _changes()

    blinks = _blinks(trials, rest)
    recordings = np.empty((trials, len(EEG_CHANNELS) + 8, SAMPLES))
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
    log_power = dipoles.loading @ courses + _wandering(_OWN_BURST * of_each, _OWN_DRIFT * of_each, trials, generator)
    amplitude = np.exp(log_power / 2).astype(np.float32)
    between = (np.arange(_ENVELOPE_STEP) / _ENVELOPE_STEP).astype(np.float32)
    steps = amplitude[..., :-1, None] + np.diff(amplitude, axis=-1)[..., None] * between
    return steps.reshape(trials, len(dipoles.names), SAMPLES)


def _wandering(bursts: np.ndarray, drifts: np.ndarray, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Courses with these standard deviations over seconds and over trials, shape (trials, len(bursts), points).

    Over seconds they are first-order autoregressive and stationary.
    """
    persistence = np.exp(-_ENVELOPE_STEP / SAMPLING_RATE / _BURST_SECONDS)
    innovation = np.sqrt(1 - persistence**2)
    white = generator.standard_normal((trials, len(bursts), SAMPLES // _ENVELOPE_STEP + 1))
    white[..., 0] /= innovation
    courses = bursts[:, None] * lfilter([innovation], [1, -persistence], white, axis=-1)
    return courses + (drifts * generator.standard_normal((trials, len(bursts))))[:, :, None]


def _background_density(frequencies: np.ndarray) -> np.ndarray:
    """1/f^k down to 0.5 Hz, the slow drift included, and nothing below; relative power per Hz."""
    return np.where(frequencies >= 0.5, np.maximum(frequencies, 0.5) ** -_BACKGROUND_EXPONENT, 0.0)


def _background(dipoles: Dipoles, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Background and noise of the sensors, shape (trials, 32, 8064), float32."""
    frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLING_RATE)
    density = _background_density(frequencies)
    passed = density[(frequencies >= PASS_BAND[0]) & (frequencies <= PASS_BAND[1])].sum()
    noise = _coloured_noise(np.tile(density, (len(EEG_CHANNELS), 1)), trials, generator)
    std = np.sqrt(_BACKGROUND_VARIANCE * density.sum() / passed)
    result = (std * dipoles.background).astype(np.float32) @ noise
    return result + np.float32(_SENSOR_STD) * generator.standard_normal(result.shape, np.float32)


def _eye_potentials(head: Head) -> np.ndarray:
    """Potentials of dipoles behind the eyes, 1 at the electrode where they are largest, shape (32,)."""
    fronts = head.directions[[EEG_CHANNELS.index("Fp1"), EEG_CHANNELS.index("Fp2")]]
    below = _unit(fronts + np.array([0.0, 0.0, -0.5]))
    potentials = head.lead_field(below, _BACKGROUND_RADII[1], below).sum(1)
    return potentials / potentials.max()


def _blinks(trials: int, generator: np.random.Generator) -> np.ndarray:
    """Blinks of height 1, shape (trials, 8064), float32."""
    begins = (generator.random((trials, SAMPLES)) < _BLINKS_A_SECOND / SAMPLING_RATE).astype(np.float32)
    seconds = np.arange(-32, 33, dtype=np.float32) / SAMPLING_RATE
    return fftconvolve(begins, np.exp(-((seconds / 0.06) ** 2) / 2)[None], mode="same", axes=-1)


def _peripheral(blinks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The eight other channels, in the order of `PERIPHERAL_CHANNELS`, shape (trials, 8, 8064)."""
    trials = len(blinks)
    seconds = np.arange(SAMPLES) / SAMPLING_RATE

    def draw(*densities: Any) -> np.ndarray:
        frequencies = scipy.fft.rfftfreq(SAMPLES, 1 / SAMPLING_RATE)
        return _coloured_noise(np.array([density(frequencies) for density in densities]), trials, generator)

    slow, eye, muscle = (
        lambda f: np.where(f > 0, 1 / (0.02 + f) ** 2, 0.0),
        lambda f: np.where(f > 0, 1 / (0.5 + f) ** 2, 0.0),
        lambda f: np.where((f > 4) & (f < 60), 1.0, 0.0),
    )
    noise = draw(eye, eye, muscle, muscle, slow, slow, slow, slow)
    breath = 2 * np.pi * (0.25 * seconds + 0.2 * noise[:, 5])
    pulse = 2 * np.pi * (1.15 * seconds + 0.3 * noise[:, 6])
    return np.stack(
        [
            60 * noise[:, 0],
            60 * noise[:, 1] + 250 * blinks,
            12 * noise[:, 2],
            15 * noise[:, 3],
            800 * noise[:, 4],
            900 * np.sin(breath + generator.uniform(0, 2 * np.pi, (trials, 1))),
            1500 * (np.sin(pulse) + 0.4 * np.sin(2 * pulse + 1)),
            0.05 * noise[:, 7],
        ],
        axis=1,
    )
