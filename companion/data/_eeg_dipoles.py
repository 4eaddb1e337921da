"""Where simulated EEG comes from: dipoles in a spherical head, and the networks that emotion moves.

Dipoles under the electrodes are active in one band each. The logarithm of a dipole's power wanders: each has a course
of its own, and dipoles of one network share another. Emotion shifts the shared course of two networks, from the start
of a trial on, by less than its range. Log band power therefore varies along the topographies of emotion all the time,
mostly for reasons that have nothing to do with what was rated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from companion.data._eeg_channels import EEG_CHANNELS
from companion.data._eeg_ratings import RATINGS

SAMPLING_RATE = 128
PASS_BAND = (4.0, 45.0)


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
    Band("theta", (4, 8), 6.0, 1.1, 3.8),
    Band("alpha", (8, 13), 10.2, 1.2, 3.6),
    Band("beta", (13, 30), 20.0, 4.0, 3.6),
    Band("gamma", (30, 45), 36.0, 4.0, 0.55),
)


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
    "valence": Network(burst=0.72, drift=0.5, rating="valence", change=0.64),
    "arousal": Network(burst=0.75, drift=0.36, rating="arousal", change=0.46),
    "occipital alpha": Network(burst=0.8, drift=0.3),
    "sensorimotor": Network(burst=0.4),
    "midline theta": Network(burst=0.8, drift=0.2),
    "muscles": Network(burst=0.8, drift=0.3),
}


@dataclass(frozen=True)
class _Group:
    """Dipoles of one kind, one under each of some electrodes.

    `power` is that of each dipole, relative to the other groups of the band; `loading` is what the course of the
    network is multiplied by to move the log power.
    """

    name: str
    band: str
    electrodes: str
    power: float
    network: str | None = None
    loading: float = 1.0


_GROUPS = (
    _Group("midline theta", "theta", "Fz FC1 FC2 AF3 AF4", 1.0, "midline theta"),
    _Group("temporal theta", "theta", "T7 T8 P7 P8", 0.8),
    _Group("posterior theta", "theta", "Pz O1 O2 CP1 CP2", 0.8),
    _Group("left frontal alpha", "alpha", "F3 F7 FC5", 1.0, "valence", -1),
    _Group("right frontal alpha", "alpha", "F4 F8 FC6", 1.0, "valence"),
    _Group("parietal alpha", "alpha", "P3 Pz P4 CP1 CP2", 1.0, "arousal", -1.4),
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
SOURCE_RADIUS = 0.074
OUTERMOST_RADIUS = 0.080
_INNERMOST_RADIUS = 0.030
_N_BACKGROUND = 300
# Standard deviations of what differs between people: log power of a dipole, its direction from the centre and its
# orientation (rad).
_POWER_STD = 0.25
_DIRECTION_STD = 0.06
_ORIENTATION_STD = 0.2

# Standard deviations of the log power of a single dipole, over seconds and over trials, beside what networks do to it.
OWN_BURST = 0.6
OWN_DRIFT = 0.45
OWN_SPREAD = float(np.hypot(OWN_BURST, OWN_DRIFT))

BACKGROUND_VARIANCE = 2.6  # between 4 and 45 Hz, averaged over the electrodes, in square microvolts
_BACKGROUND_EXPONENT = 1.5
SENSOR_STD = 0.15  # microvolts


class Head:
    """The sphere under the electrodes, and the potentials at them of dipoles in it."""

    def __init__(self) -> None:
        import mne

        self._info = mne.create_info(list(EEG_CHANNELS), SAMPLING_RATE, "eeg", verbose="ERROR")
        self._info.set_montage("biosemi32", verbose="ERROR")
        self._sphere = mne.make_sphere_model("auto", "auto", self._info, verbose="ERROR")
        self.centre: np.ndarray = np.asarray(self._sphere["r0"])
        outward = np.array([channel["loc"][:3] for channel in self._info["chs"]]) - self.centre
        self.directions: np.ndarray = unit(outward)

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


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 in the same directions, along the last axis."""
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
    moments : array, shape (S,)
        In nAm, when the activity has its median power.
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
    moments: np.ndarray
    mixing: np.ndarray
    background: np.ndarray

    @cached_property
    def change(self) -> np.ndarray:
        """Change of each dipole's log power by one standard deviation of an emotional state, shape (4 ratings, S)."""
        return changes_of_networks() @ self.loading.T

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
        courses = generator.standard_normal((draws, len(NETWORKS))) * spread_of_networks()
        log_power = courses @ self.loading.T + OWN_SPREAD * generator.standard_normal((draws, len(self.names)))
        power = np.exp(log_power)[:, None, :] * self.mixing**2
        result = np.zeros((len(RATINGS), len(BANDS), len(EEG_CHANNELS)))
        frequencies = np.linspace(*PASS_BAND, 1_000)
        background = background_density(frequencies)
        for b, band in enumerate(BANDS):
            here = self.band == b
            inside = (frequencies >= band.edges[0]) & (frequencies < band.edges[1])
            rest = (BACKGROUND_VARIANCE * background[inside].sum() / background.sum()) * (self.background**2).sum(1)
            rest += SENSOR_STD**2 * (band.edges[1] - band.edges[0]) / (SAMPLING_RATE / 2)
            share = (power[:, :, here] / (power[:, :, here].sum(-1) + rest)[:, :, None]).mean(0)
            result[:, b] = self.change[:, here] @ share.T
        return result


def changes_of_networks() -> np.ndarray:
    """Change of the networks' log power by one standard deviation of the emotional states, shape (4, networks)."""
    return np.array([[n.change if n.rating == rating else 0.0 for n in NETWORKS.values()] for rating in RATINGS])


def spread_of_networks() -> np.ndarray:
    """Standard deviation of the networks' log power over all windows of all trials, shape (networks,)."""
    return np.array([np.hypot(network.burst, network.drift) for network in NETWORKS.values()])


def average_dipoles(head: Head) -> Dipoles:
    """The dipoles of a person like whom nobody is, but around whom all are."""
    places = [(group, EEG_CHANNELS.index(name)) for group in _GROUPS for name in group.electrodes.split()]
    directions = head.directions[[electrode for _, electrode in places]]
    loading = np.array([[group.loading if group.network == name else 0.0 for name in NETWORKS] for group, _ in places])
    band = np.array([[band.name for band in BANDS].index(group.band) for group, _ in places])
    potentials = head.lead_field(directions, SOURCE_RADIUS, directions)
    # exp of a Gaussian variable has mean exp(variance / 2).
    mean_over_median = np.exp((loading**2 @ spread_of_networks() ** 2 + OWN_SPREAD**2) / 2)
    power = np.array([group.power for group, _ in places]) / (potentials**2).mean(0)
    for b, description in enumerate(BANDS):
        power[band == b] *= description.variance / np.sum([group.power for group, _ in places], where=band == b)
    moments = np.sqrt(power / mean_over_median)
    return Dipoles(
        names=tuple(f"{group.name} at {EEG_CHANNELS[electrode]}" for group, electrode in places),
        band=band,
        loading=loading,
        positions=head.centre + directions * SOURCE_RADIUS,
        moments=moments,
        mixing=potentials * moments,
        background=_background_mixing(head, np.random.default_rng(0)),
    )


def persons_dipoles(head: Head, average: Dipoles, generator: np.random.Generator) -> Dipoles:
    """The average person's dipoles, with places, orientations, powers and background of one person."""
    directions = unit(average.positions - head.centre)
    moved = unit(directions + _DIRECTION_STD * generator.standard_normal(directions.shape))
    turned = unit(moved + _ORIENTATION_STD * generator.standard_normal(directions.shape))
    moments = average.moments * np.exp(_POWER_STD / 2 * generator.standard_normal(len(turned)))
    return replace(
        average,
        positions=head.centre + moved * SOURCE_RADIUS,
        moments=moments,
        mixing=head.lead_field(moved, SOURCE_RADIUS, turned * moments[:, None]),
        background=_background_mixing(head, generator),
    )


def _background_mixing(head: Head, generator: np.random.Generator) -> np.ndarray:
    directions = unit(generator.standard_normal((_N_BACKGROUND, 3)))
    moments = generator.standard_normal((_N_BACKGROUND, 3))
    radii = generator.uniform(_INNERMOST_RADIUS, OUTERMOST_RADIUS, _N_BACKGROUND)
    potentials = head.lead_field(directions, radii, moments)
    left, values, _ = np.linalg.svd(potentials, full_matrices=False)
    return left * values / np.sqrt((potentials**2).sum(1).mean())


def background_density(frequencies: np.ndarray) -> np.ndarray:
    """1/f^k down to 0.5 Hz, the slow drift included, and nothing below; relative power per Hz."""
    return np.where(frequencies >= 0.5, np.maximum(frequencies, 0.5) ** -_BACKGROUND_EXPONENT, 0.0)
