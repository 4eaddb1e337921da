"""Sources of simulated EEG: dipoles in a spherical head, and the networks whose power emotion changes.

Each dipole is active in one band. Its log power fluctuates on its own and with the network it belongs to. Emotion
shifts two of the networks during a trial, by less than their own fluctuations, so log band power varies along the
topographies of emotion all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from companion.data.deap import BANDS, EEG_CHANNELS, RATINGS, SAMPLE_RATE

PASS_BAND = (4.0, 45.0)  # Hz

# For each band: mean and standard deviation of a Gaussian power spectrum in Hz, and the variance of all dipoles of the
# band together, averaged over the electrodes, in uV^2.
RHYTHM_PEAK = np.array([6.0, 10.2, 20.0, 36.0])
RHYTHM_WIDTH = np.array([1.1, 1.2, 4.0, 4.0])
_RHYTHM_VARIANCE = np.array([3.8, 3.6, 3.6, 0.55])

# Standard deviations of the log power that the dipoles of a network share: over seconds (burst), and over trials
# (drift), where a baseline has the same value as the trial that follows it.
_NETWORKS = ("valence", "arousal", "occipital alpha", "sensorimotor", "midline theta", "muscles")
NETWORK_BURST = np.array([0.72, 0.75, 0.8, 0.4, 0.8, 0.8])
NETWORK_DRIFT = np.array([0.5, 0.36, 0.3, 0.0, 0.2, 0.3])
# The same for the part of its log power that a dipole shares with no other.
OWN_BURST = 0.6
OWN_DRIFT = 0.45
# Change of each network's log power by one standard deviation of the state behind each rating.
NETWORK_CHANGE = np.zeros((len(RATINGS), len(_NETWORKS)))
NETWORK_CHANGE[RATINGS.index("valence"), _NETWORKS.index("valence")] = 0.64
NETWORK_CHANGE[RATINGS.index("arousal"), _NETWORKS.index("arousal")] = 0.46


class _Group(NamedTuple):
    """Dipoles of one kind, one below each electrode.

    `power` is relative to the other groups of the band; `loading` multiplies the network's fluctuation.
    """

    band: str
    electrodes: str
    power: float
    network: str | None = None
    loading: float = 1.0


_GROUPS = (
    _Group("theta", "Fz FC1 FC2 AF3 AF4", 1.0, "midline theta"),
    _Group("theta", "T7 T8 P7 P8", 0.8),
    _Group("theta", "Pz O1 O2 CP1 CP2", 0.8),
    _Group("alpha", "F3 F7 FC5", 1.0, "valence", -1),
    _Group("alpha", "F4 F8 FC6", 1.0, "valence"),
    _Group("alpha", "P3 Pz P4 CP1 CP2", 1.0, "arousal", -1.4),
    _Group("alpha", "O1 Oz O2", 1.6, "occipital alpha"),
    _Group("alpha", "C3 C4", 0.7, "sensorimotor"),
    _Group("alpha", "T7 T8", 0.6),
    _Group("beta", "F3 F4 Fz FC1 FC2 C3 Cz C4", 1.0, "arousal"),
    _Group("beta", "T7 T8 P7 P8", 0.7),
    _Group("beta", "Pz O1 O2", 0.7),
    _Group("gamma", "T7 T8 F7 F8", 1.0, "muscles"),
    _Group("gamma", "Cz Pz Fz Oz", 0.5),
)

# In m. The electrodes of MNE's biosemi32 lie on a sphere of 95 mm, of which the brain fills 85.5 mm.
_SOURCE_RADIUS = 0.074
OUTERMOST_RADIUS = 0.080
_INNERMOST_RADIUS = 0.030
_BACKGROUND_DIPOLES = 300
# Standard deviations over people: log power of a dipole, its direction from the centre and its orientation (rad).
_POWER_STD = 0.25
_DIRECTION_STD = 0.06
_ORIENTATION_STD = 0.2

BACKGROUND_VARIANCE = 2.6  # uV^2 between 4 and 45 Hz, averaged over the electrodes
SENSOR_STD = 0.15  # uV


class Head:
    """A spherical head with DEAP's 32 electrodes; `directions` (32, 3) are unit vectors from its centre to them."""

    def __init__(self) -> None:
        import mne  # takes a second

        with mne.use_log_level("ERROR"):
            self._info = mne.create_info(list(EEG_CHANNELS), SAMPLE_RATE, "eeg").set_montage("biosemi32")
            self._sphere = mne.make_sphere_model("auto", "auto", self._info)
        self._centre = np.asarray(self._sphere["r0"])
        self.directions = unit(np.array([channel["loc"][:3] for channel in self._info["chs"]]) - self._centre)

    def lead_field(self, directions: np.ndarray, radii: np.ndarray | float, moments: np.ndarray) -> np.ndarray:
        """Return the potentials of n dipoles at the electrodes against their average in uV, shape (32, n).

        Dipoles are given by unit vectors from the centre (n, 3), distances from it in m, and moments (n, 3) in nAm.
        """
        import mne

        positions = self._centre + directions * np.reshape(radii, (-1, 1))
        with mne.use_log_level("ERROR"):
            # MNE requires orientations here but returns all three directions in space.
            space = mne.setup_volume_source_space(pos={"rr": positions, "nn": directions})
            solution = mne.make_forward_solution(self._info, None, space, self._sphere, meg=False)
        potentials = solution["sol"]["data"].reshape(len(EEG_CHANNELS), -1, 3)
        microvolts = 1e-3 * np.einsum("esk,sk->es", potentials, moments)
        return microvolts - microvolts.mean(0)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1 along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Dipoles:
    """The S dipoles of a person, in the order of the groups."""

    #: Index into `deap.BANDS`, shape (S,).
    band: np.ndarray
    #: What multiplies the networks' fluctuations in a dipole's log power, shape (S, networks).
    loading: np.ndarray
    #: Unit vectors from the head's centre, shape (S, 3).
    directions: np.ndarray
    #: Moments in nAm at median power, shape (S,).
    moments: np.ndarray
    #: Potentials at the electrodes in uV at median power, shape (32, S).
    mixing: np.ndarray
    #: What makes 32 independent signals a background of variance 1, correlated over electrodes, shape (32, 32).
    background: np.ndarray

    def topographies(self) -> np.ndarray:
        """Compute the expected change of log band power by one standard deviation of each state, shape (4, 4, 32).

        It is what the state does to each dipole, times the dipole's share of the power at the electrode, averaged over
        fluctuations of log power. The axes are ratings, bands and electrodes.
        """
        generator = np.random.default_rng(0)
        draws = 2_000
        fluctuation = generator.standard_normal((draws, len(_NETWORKS))) * np.hypot(NETWORK_BURST, NETWORK_DRIFT)
        own = np.hypot(OWN_BURST, OWN_DRIFT) * generator.standard_normal((draws, len(self.band)))
        power = np.exp(fluctuation @ self.loading.T + own)[:, None, :] * self.mixing**2
        change = NETWORK_CHANGE @ self.loading.T
        result = np.zeros((len(RATINGS), len(BANDS), len(EEG_CHANNELS)))
        frequencies = np.linspace(*PASS_BAND, 1_000)
        background = background_density(frequencies)
        for b, (low, high) in enumerate(BANDS.values()):
            here = self.band == b
            inside = (frequencies >= low) & (frequencies < high)
            rest = (BACKGROUND_VARIANCE * background[inside].sum() / background.sum()) * (self.background**2).sum(1)
            rest += SENSOR_STD**2 * (high - low) / (SAMPLE_RATE / 2)
            share = (power[:, :, here] / (power[:, :, here].sum(-1) + rest)[:, :, None]).mean(0)
            result[:, b] = change[:, here] @ share.T
        return result


def average_dipoles(head: Head) -> Dipoles:
    """Return the dipoles of the average person, around whom people vary."""
    placed = [(group, EEG_CHANNELS.index(name)) for group in _GROUPS for name in group.electrodes.split()]
    groups = [group for group, _ in placed]
    directions = head.directions[[electrode for _, electrode in placed]]
    loading = np.array([[group.loading if group.network == name else 0.0 for name in _NETWORKS] for group in groups])
    band = np.array([list(BANDS).index(group.band) for group in groups])
    relative = np.array([group.power for group in groups])
    potentials = head.lead_field(directions, _SOURCE_RADIUS, directions)
    power = relative / (potentials**2).mean(0)
    for b, variance in enumerate(_RHYTHM_VARIANCE):
        power[band == b] *= variance / relative[band == b].sum()
    log_variance = loading**2 @ np.hypot(NETWORK_BURST, NETWORK_DRIFT) ** 2 + np.hypot(OWN_BURST, OWN_DRIFT) ** 2
    moments = np.sqrt(power / np.exp(log_variance / 2))  # from mean to median power of a log-normal variable
    background = _background_mixing(head, np.random.default_rng(0))
    return Dipoles(band, loading, directions, moments, potentials * moments, background)


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
        mixing=head.lead_field(moved, _SOURCE_RADIUS, turned * moments[:, None]),
        background=_background_mixing(head, generator),
    )


def _background_mixing(head: Head, generator: np.random.Generator) -> np.ndarray:
    """Return a square root of the covariance over electrodes of many random dipoles."""
    directions = unit(generator.standard_normal((_BACKGROUND_DIPOLES, 3)))
    moments = generator.standard_normal((_BACKGROUND_DIPOLES, 3))
    radii = generator.uniform(_INNERMOST_RADIUS, OUTERMOST_RADIUS, _BACKGROUND_DIPOLES)
    potentials = head.lead_field(directions, radii, moments)
    left, values, _ = np.linalg.svd(potentials, full_matrices=False)
    return left * values / np.sqrt((potentials**2).sum(1).mean())


def background_density(frequencies: np.ndarray) -> np.ndarray:
    """Return relative power per Hz of the background: 1/f^1.5 down to 0.5 Hz, slow drift included, and 0 below."""
    return np.where(frequencies >= 0.5, np.maximum(frequencies, 0.5) ** -1.5, 0.0)
