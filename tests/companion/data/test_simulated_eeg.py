"""Simulated EEG: its likeness to DEAP's recordings, the emotion planted in it, and its files."""

import json
import pickle

import numpy as np
import pytest
from scipy.special import ndtri

from companion import experiments
from companion.data import DataError, _eeg_ratings, _eeg_signals, deap, eeg_frames, simulated_eeg
from companion.data import _eeg_dipoles as dipoles
from companion.data.deap import EEG_CHANNELS

TRIALS = 6


def spectrum(signals):
    """Power in every bin of the Fourier transform, averaged over all but the last axis, and the bins' frequencies."""
    power = (np.abs(np.fft.rfft(signals, axis=-1)) ** 2).reshape(-1, signals.shape[-1] // 2 + 1).mean(0)
    return power, np.fft.rfftfreq(signals.shape[-1], 1 / 128)


@pytest.fixture(scope="module")
def head():
    return dipoles.Head()


@pytest.fixture(scope="module")
def average(head):
    return dipoles.average_dipoles(head)


@pytest.fixture(scope="module")
def people():
    """Two subjects of few trials, with all channels."""
    return list(simulated_eeg.simulate(subjects=2, trials=TRIALS, peripheral=True))


@pytest.fixture(scope="module")
def eeg(people):
    """EEG of both, (12, 32, 8064)."""
    return np.concatenate([person.data[:, :32] for person in people]).astype(float)


@pytest.fixture(scope="module")
def planted():
    return simulated_eeg.planted()


def test_recordings_have_deaps_shapes(people):
    assert [person.subject for person in people] == ["s01", "s02"]
    for person in people:
        assert (person.data.shape, person.data.dtype) == ((TRIALS, 40, 8064), np.float32)
        assert (person.ratings.shape, person.ratings.dtype) == ((TRIALS, 4), np.float32)
        assert np.isfinite(person.data).all()
        assert (person.data[:, 32:].std(-1) > 0).all()


def test_share_of_power_in_each_band(eeg):
    power, frequencies = spectrum(eeg)
    for low, high, share in ((4, 8, 0.31), (8, 13, 0.32), (13, 30, 0.31), (30, 45, 0.055)):
        inside = (frequencies >= low) & (frequencies < high)
        assert power[inside].sum() / power.sum() == pytest.approx(share, abs=0.05 if share > 0.1 else 0.015)
    assert power[(frequencies < 3) | (frequencies > 50)].sum() < 0.01 * power.sum()


def test_amplitudes(eeg):
    std = eeg.std(-1)
    assert 2.3 < np.median(std.min(1)) < 3.1
    assert 4.3 < np.median(std.max(1)) < 5.5
    assert 25 < np.median(np.abs(eeg).max((1, 2))) < 42


def test_the_reference_is_the_average_of_the_electrodes(eeg):
    assert np.abs(eeg.sum(1)).max() < 1e-4


def test_the_heart_beats_69_times_a_minute(people):
    power, frequencies = spectrum(people[0].data[:, 38])
    assert frequencies[power.argmax()] == pytest.approx(1.15, abs=0.1)


NUMBERS = {
    "mean": [-0.29412, -0.14258, -0.15311, -0.1391],
    "std": [0.9524, 0.88485, 0.71215, 0.55816],
    "ratings": [3.04742, 5.14614, 1.70148, 3.29378],
}


def test_numbers_of_a_seed_stay_the_same(people):
    """Weights of the reference run are found by the likeness of their data."""
    power = eeg_frames.band_power(people[0])
    assert power.mean((0, 1, 3)) == pytest.approx(NUMBERS["mean"], abs=1e-4)
    assert power.std((0, 1, 3)) == pytest.approx(NUMBERS["std"], abs=1e-4)
    assert people[1].ratings[0] == pytest.approx(NUMBERS["ratings"], abs=1e-5)


def test_lead_field(head):
    radial = head.lead_field(head.directions, 0.074, head.directions)
    assert np.allclose(radial.sum(0), 0, atol=1e-12)
    # The electrode above a radial dipole sees the largest and a positive potential; a shallower dipole more of it.
    assert (radial.argmax(0) == np.arange(32)).all()
    assert (head.lead_field(head.directions, 0.08, head.directions).max(0) > radial.max(0)).all()
    # A tangential one looks positive from one side and negative from the other: from front to back under Cz.
    tangential = head.lead_field(head.directions[[23]], 0.074, np.array([[0.0, 1.0, 0.0]]))[:, 0]
    assert tangential[EEG_CHANNELS.index("Fz")] > 0 > tangential[EEG_CHANNELS.index("Pz")]


def test_people_differ_and_are_like_the_average(head, average):
    one, other = (dipoles.persons_dipoles(head, average, np.random.default_rng(seed)) for seed in (1, 2))
    for person in (one, other):
        likeness = [np.corrcoef(person.mixing[:, s], average.mixing[:, s])[0, 1] for s in range(len(average.names))]
        assert 0.85 < np.median(likeness) < 0.995
    assert not np.allclose(one.mixing, other.mixing, rtol=0.05)


def test_coloured_noise_has_variance_one_and_its_spectrum():
    frequencies = np.fft.rfftfreq(deap.SAMPLES, 1 / 128)
    density = np.exp(-(((frequencies - 20) / 3) ** 2) / 2)
    noise = _eeg_signals.coloured_noise(density[None], 200, np.random.default_rng(0))
    assert noise.var() == pytest.approx(1, rel=0.01)
    power, _ = spectrum(noise)
    assert np.sqrt((power * (frequencies - 20) ** 2).sum() / power.sum()) == pytest.approx(3, rel=0.02)


def test_log_power_fluctuates_over_seconds_and_drifts_over_trials():
    courses = _eeg_signals.fluctuations(np.array([0.8]), np.array([0.3]), 2_000, np.random.default_rng(0))[:, 0]
    assert courses.var() == pytest.approx(0.8**2 + 0.3**2, rel=0.03)
    assert (courses[:, 0] * courses[:, -1]).mean() == pytest.approx(0.3**2, rel=0.3)
    lag = 8  # points, at 8 a second: 1 s
    lagged = (courses[:, :-lag] * courses[:, lag:]).mean() - 0.3**2
    assert lagged == pytest.approx(0.8**2 * np.exp(-1 / _eeg_signals.BURST_SECONDS), rel=0.1)


def test_ratings_have_deaps_means_and_share_above_5():
    probability = (np.arange(20_000) + 0.5) / 20_000
    ratings = _eeg_ratings.ratings_of_latent(np.tile(ndtri(probability)[:, None], 4))
    assert ratings.mean(0) == pytest.approx([5.25, 5.16, 5.38, 5.52], abs=0.001)
    assert (ratings > 5).mean(0) == pytest.approx([0.553, 0.576, 0.609, 0.665], abs=0.001)
    assert (np.diff(ratings, axis=0) > 0).all()
    assert 1 <= ratings.min() <= ratings.max() <= 9
    assert ratings.std(0) == pytest.approx(2.1, abs=0.2)


def test_ratings_are_correlated_with_each_other_and_less_with_the_states():
    ratings, states = _eeg_ratings.draw_ratings(20_000, np.random.default_rng(0))
    among = np.corrcoef(ratings.T)
    assert among[0, 3] == pytest.approx(0.58, abs=0.05)
    assert among[0, 1] == pytest.approx(0.1, abs=0.05)
    assert states.std(0) == pytest.approx(1, abs=0.02)
    with_states = [np.corrcoef(ratings[:, k], states[:, k])[0, 1] for k in range(4)]
    assert with_states == pytest.approx(np.full(4, _eeg_ratings.LABEL_CORRELATION), abs=0.04)


def test_the_planted_topographies(planted):
    assert planted.electrodes == EEG_CHANNELS
    valence = dict(zip(EEG_CHANNELS, planted.topography["valence"][planted.bands.index("alpha")], strict=True))
    for left, right in (("F3", "F4"), ("F7", "F8"), ("FC5", "FC6")):
        assert valence[left] < -0.05
        assert valence[right] > 0.05
    beta, alpha = (
        dict(zip(EEG_CHANNELS, planted.topography["arousal"][planted.bands.index(band)], strict=True))
        for band in ("beta", "alpha")
    )
    assert min(beta[electrode] for electrode in ("F3", "F4", "Fz", "C3", "Cz", "C4")) > 0.05
    assert max(alpha[electrode] for electrode in ("P3", "Pz", "P4")) < -0.05
    # An electrode sees at most what its dipoles do, and other bands nothing.
    for rating, topography in planted.topography.items():
        largest = max(map(abs, planted.source_changes[rating].values()))
        assert np.abs(topography).max() < planted.label_correlation * largest
        assert not topography[planted.bands.index("gamma")].any()
        assert not topography[planted.bands.index("theta")].any()


def test_no_effect_is_planted_when_it_is_zero():
    planted = simulated_eeg.planted(effect=0.0)
    for rating in ("valence", "arousal"):
        assert not planted.topography[rating].any()
        assert not any(planted.source_changes[rating].values())


def test_the_effect_is_what_is_planted_and_only_in_the_trial(planted):
    slopes = []
    pairs = (simulated_eeg.simulate(2, effect, trials=8) for effect in (0.0, 1.0))
    for without, with_it in zip(*pairs, strict=True):
        assert np.array_equal(without.ratings, with_it.ratings)
        # The filter reaches back from the trial's start, by less than a second.
        assert np.allclose(without.data[..., :256], with_it.data[..., :256], atol=1e-4)
        assert not np.allclose(without.data[:, :, 400:], with_it.data[:, :, 400:], atol=1)
        moved = (eeg_frames.band_power(with_it) - eeg_frames.band_power(without)).mean(1)
        standardized = (without.ratings - without.ratings.mean(0)) / without.ratings.std(0)
        design = np.column_stack([standardized[:, :2], np.ones(8)])
        slopes.append(np.linalg.lstsq(design, moved.reshape(8, -1), rcond=None)[0][:2])
    for found, rating in zip(np.mean(slopes, 0), ("valence", "arousal"), strict=True):
        truth = planted.topography[rating].ravel()
        assert np.corrcoef(found, truth)[0, 1] > 0.9
        assert 0.5 < found @ truth / (truth**2).sum() < 1.5


@pytest.mark.slow
def test_the_effect_is_not_a_giveaway(planted):
    people = list(simulated_eeg.simulate(2))
    ratings = np.concatenate([person.ratings for person in people])
    power = np.concatenate([eeg_frames.band_power(person).mean(1) for person in people])
    for column, rating in enumerate(("valence", "arousal")):
        areas = experiments.single_feature_auc(power, ratings[:, column], np.repeat([1, 2], 40))
        truth = planted.topography[rating]
        strong = np.abs(truth) > 0.7 * np.abs(truth).max()
        # Features are chosen by what was planted: the best of 128 would be good by chance with so few people.
        assert 0.58 < 0.5 + (np.sign(truth) * (areas - 0.5))[strong].mean() < 0.7


def test_a_subjects_data_depend_on_the_seed_and_its_number_alone(people):
    (alone,) = simulated_eeg.simulate(subjects=1, trials=TRIALS)
    assert np.array_equal(alone.data, people[0].data[:, :32])
    (other,) = simulated_eeg.simulate(subjects=1, trials=TRIALS, seed=1)
    signals = [person.data[:, :32].ravel() for person in (*people, other)]
    assert np.abs(np.corrcoef(signals)[0, 1:]).max() < 0.1


def test_files_are_written_on_request_and_read_as_deaps(tmp_path, planted):
    simulated_eeg.write(tmp_path, subjects=2, trials=2)
    assert {path.name for path in tmp_path.iterdir()} == {"s01.dat", "s02.dat", "planted.json"}
    written = list(simulated_eeg.simulate(subjects=2, trials=2, peripheral=True))
    for path, person in zip(deap.subject_files(tmp_path), written, strict=True):
        recording = deap.read_subject(path)
        assert np.array_equal(recording.data, person.data)
        assert np.array_equal(recording.ratings, person.ratings)
    with (tmp_path / "s01.dat").open("rb") as file:
        content = pickle.load(file, encoding="latin1")
    assert [(name, array.dtype) for name, array in content.items()] == [("data", np.float64), ("labels", np.float64)]
    truth = json.loads((tmp_path / "planted.json").read_text())
    assert np.allclose(truth["topography"]["arousal"], planted.topography["arousal"])
    with pytest.raises(DataError, match="holds recordings, which are not overwritten"):
        simulated_eeg.write(tmp_path, subjects=1, trials=2)


@pytest.mark.parametrize(
    "settings", [{"subjects": 0}, {"subjects": 100}, {"trials": 0}, {"seed": -1}, {"effect": -1.0}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="give"):
        next(simulated_eeg.simulate(**settings))
