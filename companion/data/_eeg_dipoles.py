"""Sources of simulated EEG: dipoles in a spherical head, and the networks whose power emotion changes.

Each dipole is active in one band. Its log power fluctuates on its own and with the network it belongs to. Emotion
shifts two of the networks during a trial, by less than their own fluctuations, so log band power varies along the
topographies of emotion all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from companion.data.deap import BANDS, EEG_CHANNELS, RATINGS, SAMPLE_RATE

PASS_BAND = (4.0, 45.0)  # Hz


@dataclass(frozen=True)
class Rhythm:
    """Activity in one band: a Gaussian power spectrum.

    Attributes
    ----------
    peak, width : float
        Mean and standard deviation of the spectrum in Hz.
    variance : float
        Of all dipoles of the band together, averaged over the electrodes, in uV^2.
    """

    peak: float
    width: float
    variance: float


RHYTHMS = {
    "theta": Rhythm(6.0, 1.1, 3.8),
    "alpha": Rhythm(10.2, 1.2, 3.6),
    "beta": Rhythm(20.0, 4.0, 3.6),
    "gamma": Rhythm(36.0, 4.0, 0.55),
}


@dataclass(frozen=True)
class Network:
    """Fluctuation of log power that a network of dipoles shares.

    Attributes
    ----------
    burst : float
        Standard deviation over seconds.
    drift : float
        Standard deviation over trials; the same in the baseline as in the trial that follows it.
    rating : str or None
        Rating whose emotional state shifts this network during trials.
    change : float
        Change of log power by one standard deviation of that state.
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
NETWORK_BURST = np.array([network.burst for network in NETWORKS.values()])
NETWORK_DRIFT = np.array([network.drift for network in NETWORKS.values()])
# Change of each network's log power by one standard deviation of each state, shape (4 ratings, networks).
NETWORK_CHANGE = np.array(
    [[network.change if network.rating == rating else 0.0 for network in NETWORKS.values()] for rating in RATINGS]
)


@dataclass(frozen=True)
class _Group:
    """Dipoles of one kind, one below each electrode.

    `power` is relative to the other groups of the band; `loading` multiplies the network's fluctuation.
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

# In m. The electrodes of MNE's biosemi32 lie on a sphere of 95 mm, of which the brain fills 85.5 mm.
SOURCE_RADIUS = 0.074
OUTERMOST_RADIUS = 0.080
_INNERMOST_RADIUS = 0.030
_BACKGROUND_DIPOLES = 300
# Standard deviations over people: log power of a dipole, its direction from the centre and its orientation (rad).
_POWER_STD = 0.25
_DIRECTION_STD = 0.06
_ORIENTATION_STD = 0.2

# Standard deviations of a single dipole's log power over seconds and over trials, besides its network's.
OWN_BURST = 0.6
OWN_DRIFT = 0.45

BACKGROUND_VARIANCE = 2.6  # uV^2 between 4 and 45 Hz, averaged over the electrodes
_BACKGROUND_EXPONENT = 1.5
SENSOR_STD = 0.15  # uV


class Head:
    """A spherical head with DEAP's 32 electrodes, and the potentials of dipoles in it.

    Attributes
    ----------
    centre : ndarray, shape (3,)
        Of the sphere, in m, in MNE's head coordinates.
    directions : ndarray, shape (32, 3)
        Unit vectors from the centre to the electrodes.
    """

    def __init__(self) -> None:
        import mne

        self._info = mne.create_info(list(EEG_CHANNELS), SAMPLE_RATE, "eeg", verbose="ERROR")
        self._info.set_montage("biosemi32", verbose="ERROR")
        self._sphere = mne.make_sphere_model("auto", "auto", self._info, verbose="ERROR")
        self.centre: np.ndarray = np.asarray(self._sphere["r0"])
        self.directions: np.ndarray = unit(
            np.array([channel["loc"][:3] for channel in self._info["chs"]]) - self.centre
        )

    def lead_field(self, directions: np.ndarray, radii: np.ndarray | float, moments: np.ndarray) -> np.ndarray:
        """Return the potentials of dipoles at the electrodes against the average reference.

        Parameters
        ----------
        directions : ndarray, shape (n, 3)
            Unit vectors from the centre to the dipoles.
        radii : float or ndarray, shape (n,)
            Distance from the centre in m.
        moments : ndarray, shape (n, 3)
            In nAm.

        Returns
        -------
        ndarray, shape (32, n)
            In uV.
        """
        import mne

        positions = self.centre + directions * np.reshape(radii, (-1, 1))
        # MNE requires orientations here but returns all three directions in space.
        space = mne.setup_volume_source_space(pos={"rr": positions, "nn": directions}, verbose="ERROR")
        solution = mne.make_forward_solution(
            self._info, trans=None, src=space, bem=self._sphere, meg=False, mindist=0.0, verbose="ERROR"
        )
        potentials = solution["sol"]["data"].reshape(len(EEG_CHANNELS), -1, 3)
        microvolts = 1e-3 * np.einsum("esk,sk->es", potentials, moments)
        return microvolts - microvolts.mean(0)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1 along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Dipoles:
    """The S dipoles of a person, in the order of the groups.

    Attributes
    ----------
    names : tuple of str
        Group and electrode above, such as "left frontal alpha at F3".
    band : ndarray of int, shape (S,)
        Index into `deap.BANDS`.
    loading : ndarray, shape (S, networks)
        A dipole's log power is `loading` times the networks' fluctuations, plus its own.
    directions : ndarray, shape (S, 3)
        Unit vectors from the head's centre.
    moments : ndarray, shape (S,)
        In nAm, at median power.
    mixing : ndarray, shape (32, S)
        Potentials in uV at the electrodes, at median power.
    background : ndarray, shape (32, 32)
        Mixing matrix of the background, of variance 1 on average: 32 independent signals with the covariance over
        electrodes of many random dipoles.
    """

    names: tuple[str, ...]
    band: np.ndarray
    loading: np.ndarray
    directions: np.ndarray
    moments: np.ndarray
    mixing: np.ndarray
    background: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """Change of each dipole's log power by one standard deviation of each state, shape (4 ratings, S)."""
        return NETWORK_CHANGE @ self.loading.T

    def topographies(self) -> np.ndarray:
        """Compute the expected change of log band power at the electrodes by one standard deviation of each state.

        It is what the state does to each dipole, times the dipole's share of the power at the electrode, averaged
        over fluctuations of log power.

        Returns
        -------
        ndarray, shape (4 ratings, 4 bands, 32)
        """
        generator = np.random.default_rng(0)
        draws = 2_000
        fluctuation = generator.standard_normal((draws, len(NETWORKS))) * np.hypot(NETWORK_BURST, NETWORK_DRIFT)
        own = np.hypot(OWN_BURST, OWN_DRIFT) * generator.standard_normal((draws, len(self.names)))
        power = np.exp(fluctuation @ self.loading.T + own)[:, None, :] * self.mixing**2
        result = np.zeros((len(RATINGS), len(BANDS), len(EEG_CHANNELS)))
        frequencies = np.linspace(*PASS_BAND, 1_000)
        background = background_density(frequencies)
        for b, (low, high) in enumerate(BANDS.values()):
            here = self.band == b
            inside = (frequencies >= low) & (frequencies < high)
            rest = (BACKGROUND_VARIANCE * background[inside].sum() / background.sum()) * (self.background**2).sum(1)
            rest += SENSOR_STD**2 * (high - low) / (SAMPLE_RATE / 2)
            share = (power[:, :, here] / (power[:, :, here].sum(-1) + rest)[:, :, None]).mean(0)
            result[:, b] = self.change[:, here] @ share.T
        return result


def average_dipoles(head: Head) -> Dipoles:
    """Return the dipoles of the average person, around whom people vary."""
    bands = list(BANDS)
    placed = [(group, EEG_CHANNELS.index(name)) for group in _GROUPS for name in group.electrodes.split()]
    groups = [group for group, _ in placed]
    directions = head.directions[[electrode for _, electrode in placed]]
    loading = np.array([[group.loading if group.network == name else 0.0 for name in NETWORKS] for group in groups])
    band = np.array([bands.index(group.band) for group in groups])
    relative = np.array([group.power for group in groups])
    potentials = head.lead_field(directions, SOURCE_RADIUS, directions)
    power = relative / (potentials**2).mean(0)
    for b, name in enumerate(bands):
        power[band == b] *= RHYTHMS[name].variance / relative[band == b].sum()
    log_variance = loading**2 @ np.hypot(NETWORK_BURST, NETWORK_DRIFT) ** 2 + np.hypot(OWN_BURST, OWN_DRIFT) ** 2
    moments = np.sqrt(power / np.exp(log_variance / 2))  # from mean to median power of a log-normal variable
    return Dipoles(
        names=tuple(f"{group.name} at {EEG_CHANNELS[electrode]}" for group, electrode in placed),
        band=band,
        loading=loading,
        directions=directions,
        moments=moments,
        mixing=potentials * moments,
        background=_background_mixing(head, np.random.default_rng(0)),
    )


def persons_dipoles(head: Head, average: Dipoles, generator: np.random.Generator) -> Dipoles:
    """Draw one person's dipoles: positions, orientations, powers and background vary around the average."""
    directions = average.directions
    moved = unit(directions + _DIRECTION_STD * generator.standard_normal(directions.shape))
    turned = unit(moved + _ORIENTATION_STD * generator.standard_normal(directions.shape))
    moments = average.moments * np.exp(_POWER_STD / 2 * generator.standard_normal(len(turned)))
    return replace(
        average,
        directions=moved,
        moments=moments,
        mixing=head.lead_field(moved, SOURCE_RADIUS, turned * moments[:, None]),
        background=_background_mixing(head, generator),
    )


def _background_mixing(head: Head, generator: np.random.Generator) -> np.ndarray:
    directions = unit(generator.standard_normal((_BACKGROUND_DIPOLES, 3)))
    moments = generator.standard_normal((_BACKGROUND_DIPOLES, 3))
    radii = generator.uniform(_INNERMOST_RADIUS, OUTERMOST_RADIUS, _BACKGROUND_DIPOLES)
    potentials = head.lead_field(directions, radii, moments)
    left, values, _ = np.linalg.svd(potentials, full_matrices=False)
    return left * values / np.sqrt((potentials**2).sum(1).mean())


def background_density(frequencies: np.ndarray) -> np.ndarray:
    """Return relative power per Hz of the background: 1/f^1.5 down to 0.5 Hz, slow drift included, and 0 below."""
    return np.where(frequencies >= 0.5, np.maximum(frequencies, 0.5) ** -_BACKGROUND_EXPONENT, 0.0)
