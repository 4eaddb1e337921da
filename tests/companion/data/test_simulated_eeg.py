"""Simulated EEG: its likeness to DEAP's recordings, the emotion planted in it, and its files."""

import json
import pickle

import numpy as np
import pytest

from companion.data import DataError, deap, eeg_frames, simulated_eeg
from companion.data.deap import BANDS, EEG_CHANNELS

TRIALS = 6


@pytest.fixture(scope="module")
def people():
    """Two subjects of few trials."""
    return list(simulated_eeg.simulate(subjects=2, trials=TRIALS))


@pytest.fixture(scope="module")
def planted():
    return simulated_eeg.planted()


def test_recordings_are_like_deaps(people):
    assert [person.subject for person in people] == ["s01", "s02"]
    eeg = np.concatenate([person.eeg for person in people]).astype(float)
    assert eeg.shape == (2 * TRIALS, 32, 8064)
    std = eeg.std(-1)
    assert 2.3 < np.median(std.min(1)) < 3.1
    assert 4.3 < np.median(std.max(1)) < 5.5
    assert 25 < np.median(np.abs(eeg).max((1, 2))) < 42
    # The reference is the average of the electrodes.
    assert np.abs(eeg.sum(1)).max() < 1e-4
    power, frequencies = (np.abs(np.fft.rfft(eeg)) ** 2).mean((0, 1)), np.fft.rfftfreq(8064, 1 / 128)
    for (low, high), share in zip(BANDS.values(), (0.31, 0.32, 0.31, 0.055), strict=True):
        inside = (frequencies >= low) & (frequencies < high)
        assert power[inside].sum() / power.sum() == pytest.approx(share, abs=0.05 if share > 0.1 else 0.015)
    assert power[(frequencies < 3) | (frequencies > 50)].sum() < 0.01 * power.sum()


NUMBERS = {
    "mean": [-0.29412, -0.14258, -0.15311, -0.1391],
    "std": [0.9524, 0.88485, 0.71215, 0.55816],
    "ratings": [3.04742, 5.14614, 1.70148, 3.29378],
}


def test_numbers_of_a_seed_stay_the_same(people):
    """Weights of the reference run are found by the likeness of their data."""
    power = eeg_frames.band_power(people[0].eeg)
    assert power.mean((0, 1, 3)) == pytest.approx(NUMBERS["mean"], abs=1e-4)
    assert power.std((0, 1, 3)) == pytest.approx(NUMBERS["std"], abs=1e-4)
    assert people[1].ratings[0] == pytest.approx(NUMBERS["ratings"], abs=1e-5)


def test_a_subjects_data_depend_on_the_seed_and_its_number_alone(people):
    (alone,) = simulated_eeg.simulate(subjects=1, trials=TRIALS)
    assert np.array_equal(alone.eeg, people[0].eeg)
    (other,) = simulated_eeg.simulate(subjects=1, trials=TRIALS, seed=1)
    signals = [person.eeg.ravel() for person in (*people, other)]
    assert np.abs(np.corrcoef(signals)[0, 1:]).max() < 0.1


def test_ratings_of_many_people_have_deaps_statistics_and_go_with_the_states():
    generator = np.random.default_rng(0)
    people = [simulated_eeg._draw_ratings(40, generator) for _ in range(500)]
    ratings, states = (np.concatenate(part) for part in zip(*people, strict=True))
    assert ratings.mean(0) == pytest.approx([5.25, 5.16, 5.38, 5.52], abs=0.1)
    assert (ratings > 5).mean(0) == pytest.approx([0.553, 0.576, 0.609, 0.665], abs=0.02)
    assert 1 <= ratings.min() <= ratings.max() <= 9
    assert np.corrcoef(ratings.T)[0] == pytest.approx([1, 0.1, 0.3, 0.58], abs=0.05)
    assert states.std(0) == pytest.approx(1, abs=0.02)
    assert [np.corrcoef(ratings[:, k], states[:, k])[0, 1] for k in range(4)] == pytest.approx([0.52] * 4, abs=0.03)


def test_the_planted_topographies(planted):
    in_band = {
        (rating, band): dict(zip(EEG_CHANNELS, values, strict=True))
        for rating, topography in planted.items()
        for band, values in zip(BANDS, topography, strict=True)
    }
    valence, beta, alpha = (in_band[cell] for cell in (("valence", "alpha"), ("arousal", "beta"), ("arousal", "alpha")))
    for left, right in (("F3", "F4"), ("F7", "F8"), ("FC5", "FC6")):
        assert valence[left] < -0.05
        assert valence[right] > 0.05
    assert min(beta[electrode] for electrode in ("F3", "F4", "Fz", "C3", "Cz", "C4")) > 0.05
    assert max(alpha[electrode] for electrode in ("P3", "Pz", "P4")) < -0.05
    for (_, band), values in in_band.items():
        assert band in ("alpha", "beta") or not any(values.values())
    assert not any(topography.any() for topography in simulated_eeg.planted(effect=0).values())


def test_the_effect_is_what_is_planted_and_only_in_the_trial(planted):
    slopes = []
    pairs = (simulated_eeg.simulate(2, effect, trials=8) for effect in (0.0, 1.0))
    for without, with_it in zip(*pairs, strict=True):
        assert np.array_equal(without.ratings, with_it.ratings)
        # The filter reaches back from the trial's start, by less than a second.
        assert np.allclose(without.eeg[..., :256], with_it.eeg[..., :256], atol=1e-4)
        assert not np.allclose(without.eeg[:, :, 400:], with_it.eeg[:, :, 400:], atol=1)
        moved = (eeg_frames.band_power(with_it.eeg) - eeg_frames.band_power(without.eeg)).mean(1)
        standardized = (without.ratings - without.ratings.mean(0)) / without.ratings.std(0)
        design = np.column_stack([standardized[:, :2], np.ones(8)])
        slopes.append(np.linalg.lstsq(design, moved.reshape(8, -1), rcond=None)[0][:2])
    for found, topography in zip(np.mean(slopes, 0), planted.values(), strict=True):
        truth = topography.ravel()
        assert np.corrcoef(found, truth)[0, 1] > 0.9
        assert 0.5 < found @ truth / (truth**2).sum() < 1.5


def test_files_are_written_on_request_and_read_as_deaps(tmp_path, planted):
    simulated_eeg.write(tmp_path, subjects=2, trials=2)
    assert {path.name for path in tmp_path.iterdir()} == {"s01.dat", "s02.dat", "planted.json"}
    for person in simulated_eeg.simulate(subjects=2, trials=2):
        recording = deap.read_subject(tmp_path / f"{person.subject}.dat")
        assert np.array_equal(recording.eeg, person.eeg)
        assert np.array_equal(recording.ratings, person.ratings)
    with (tmp_path / "s01.dat").open("rb") as file:
        content = pickle.load(file)
    assert content["data"].shape == (2, 40, 8064)
    assert [(name, array.dtype) for name, array in content.items()] == [("data", np.float64), ("labels", np.float64)]
    truth = json.loads((tmp_path / "planted.json").read_text())
    assert np.allclose(truth["topography"]["arousal"], planted["arousal"])
    with pytest.raises(DataError, match="contains recordings, which are not overwritten"):
        simulated_eeg.write(tmp_path, subjects=1, trials=2)


@pytest.mark.parametrize("settings", [{"subjects": 0}, {"trials": 0}, {"seed": -1}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=r"give 1 or more|non-negative"):
        next(simulated_eeg.simulate(**settings))
