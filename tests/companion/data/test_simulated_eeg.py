"""Simulated EEG: its likeness to DEAP's recordings, its files, and the emotion planted in it."""

import pickle
import pickletools
from dataclasses import fields

import numpy as np
import pytest
import scipy.fft
from scipy.special import ndtri

from companion import experiments
from companion.data import DataError, _eeg_ratings, _eeg_signals, simulated_eeg
from companion.data import _eeg_dipoles as dipoles
from companion.data._eeg_channels import EEG_CHANNELS, PERIPHERAL_CHANNELS

TRIALS = 6


def quiet(sentence):
    pass


def read(path):
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")


def spectrum(signals):
    """Power in every bin of the Fourier transform, averaged over all but the last axis, and the bins' frequencies."""
    power = (np.abs(np.fft.rfft(signals, axis=-1)) ** 2).reshape(-1, signals.shape[-1] // 2 + 1).mean(0)
    return power, np.fft.rfftfreq(signals.shape[-1], 1 / 128)


def log_band_power(recordings):
    """Mean over windows of 1 s of the logarithm of their power: (trials, 32, samples) becomes (trials, 4, 32)."""
    windows = recordings.astype(np.float32).reshape(*recordings.shape[:-1], -1, 128)
    windows *= np.hanning(128).astype(np.float32)
    power = np.abs(scipy.fft.rfft(windows, axis=-1)) ** 2
    bands = [power[..., low:high].sum(-1) for low, high in ((4, 8), (8, 13), (13, 30), (30, 45))]
    return np.log(np.stack(bands, 1)).mean(-1)


@pytest.fixture(scope="module")
def head():
    return dipoles.Head()


@pytest.fixture(scope="module")
def average(head):
    return dipoles.average_dipoles(head)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two subjects of few trials."""
    folder = tmp_path_factory.mktemp("simulated")
    simulated_eeg.simulate(folder, subjects=2, trials=TRIALS, say=quiet)
    return folder


@pytest.fixture(scope="module")
def eeg(folder):
    """EEG of both, (12, 32, 8064)."""
    return np.concatenate([read(folder / name)["data"][:, :32] for name in ("s01.dat", "s02.dat")])


# The recordings.


def test_the_files_are_deaps(folder):
    subject = read(folder / "s01.dat")
    assert set(subject) == {"data", "labels"}
    assert (subject["data"].shape, subject["data"].dtype) == ((TRIALS, 40, 8064), np.float64)
    assert (subject["labels"].shape, subject["labels"].dtype) == ((TRIALS, 4), np.float64)
    assert np.isfinite(subject["data"]).all()
    assert len(EEG_CHANNELS) + len(PERIPHERAL_CHANNELS) == 40


def test_a_file_is_a_pickle_of_two_arrays_and_of_nothing_else(folder):
    operations = list(pickletools.genops((folder / "s01.dat").read_bytes()))
    assert {argument for code, argument, _ in operations if code.name == "GLOBAL"} == {
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "numpy dtype",
    }
    assert not {code.name for code, _, _ in operations} & {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "EXT1", "PERSID"}
    assert max(code.proto for code, _, _ in operations) == 2


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
    assert np.abs(eeg.sum(1)).max() < 1e-9
    assert np.linalg.matrix_rank(eeg[0]) == 31


def test_peripheral_channels(folder):
    peripheral = read(folder / "s01.dat")["data"][:, 32:]
    assert (peripheral.std(-1) > 0).all()
    power, frequencies = spectrum(peripheral[:, 6])
    assert frequencies[power.argmax()] == pytest.approx(1.15, abs=0.1)  # 69 beats a minute


# The parts of the dipoles.


def test_lead_field(head):
    radial = head.lead_field(head.directions, 0.074, head.directions)
    assert np.allclose(radial.sum(0), 0, atol=1e-12)
    # The electrode above a radial dipole sees the largest and a positive potential; a shallower dipole more of it.
    assert (radial.argmax(0) == np.arange(32)).all()
    assert (head.lead_field(head.directions, 0.08, head.directions).max(0) > radial.max(0)).all()
    # A tangential one looks positive from one side and negative from the other: from front to back under Cz.
    tangential = head.lead_field(head.directions[[23]], 0.074, np.array([[0.0, 1.0, 0.0]]))[:, 0]
    assert tangential[EEG_CHANNELS.index("Fz")] > 0 > tangential[EEG_CHANNELS.index("Pz")]


def test_dipoles_have_the_variance_that_their_band_was_given(average):
    spread = average.loading**2 @ dipoles.spread_of_networks() ** 2 + dipoles.OWN_SPREAD**2
    variance = (average.mixing**2).mean(0) * np.exp(spread / 2)
    for b, band in enumerate(dipoles.BANDS):
        assert variance[average.band == b].sum() == pytest.approx(band.variance)


def test_people_differ_and_are_like_the_average(head, average):
    one, other = (dipoles.persons_dipoles(head, average, np.random.default_rng(seed)) for seed in (1, 2))
    for person in (one, other):
        likeness = [np.corrcoef(person.mixing[:, s], average.mixing[:, s])[0, 1] for s in range(len(average.names))]
        assert 0.85 < np.median(likeness) < 0.995
    assert not np.allclose(one.mixing, other.mixing, rtol=0.05)


def test_coloured_noise_has_variance_one_and_its_spectrum():
    frequencies = np.fft.rfftfreq(_eeg_signals.SAMPLES, 1 / 128)
    density = np.exp(-(((frequencies - 20) / 3) ** 2) / 2)
    noise = _eeg_signals._coloured_noise(density[None], 200, np.random.default_rng(0))
    assert noise.var() == pytest.approx(1, rel=0.01)
    power, _ = spectrum(noise)
    assert np.sqrt((power * (frequencies - 20) ** 2).sum() / power.sum()) == pytest.approx(3, rel=0.02)


def test_courses_of_log_power_wander_over_seconds_and_drift_over_trials():
    courses = _eeg_signals._wandering(np.array([0.8]), np.array([0.3]), 2_000, np.random.default_rng(0))[:, 0]
    assert courses.var() == pytest.approx(0.8**2 + 0.3**2, rel=0.03)
    assert (courses[:, 0] * courses[:, -1]).mean() == pytest.approx(0.3**2, rel=0.3)
    lag = 8  # points, at 8 a second: 1 s
    lagged = (courses[:, :-lag] * courses[:, lag:]).mean() - 0.3**2
    assert lagged == pytest.approx(0.8**2 * np.exp(-1 / _eeg_signals.BURST_SECONDS), rel=0.1)


def test_envelopes_are_straight_between_their_points(average):
    envelopes = _eeg_signals._envelopes(average, np.zeros((1, len(dipoles.NETWORKS))), np.random.default_rng(0))[0]
    slopes = np.diff(envelopes, axis=-1)[:, : -(_eeg_signals._ENVELOPE_STEP - 1)]
    slopes = slopes.reshape(len(envelopes), -1, _eeg_signals._ENVELOPE_STEP)
    assert np.ptp(slopes, axis=-1).max() < 1e-5
    assert np.log(envelopes).mean() == pytest.approx(0, abs=0.05)


def test_ratings_have_deaps_means_and_share_above_5():
    probability = (np.arange(20_000) + 0.5) / 20_000
    ratings = _eeg_ratings.ratings_of_latent(np.tile(ndtri(probability)[:, None], 4))
    assert ratings.mean(0) == pytest.approx([5.25, 5.16, 5.38, 5.52], abs=0.001)
    assert (ratings > 5).mean(0) == pytest.approx([0.553, 0.576, 0.609, 0.665], abs=0.001)
    assert (np.diff(ratings, axis=0) > 0).all()
    assert ratings.min() >= 1
    assert ratings.max() <= 9
    assert ratings.std(0) == pytest.approx(2.1, abs=0.2)


def test_ratings_are_correlated_with_each_other_and_less_with_the_states():
    ratings, states = _eeg_ratings.draw_ratings(20_000, np.random.default_rng(0))
    among = np.corrcoef(ratings.T)
    assert among[0, 3] == pytest.approx(0.58, abs=0.05)
    assert among[0, 1] == pytest.approx(0.1, abs=0.05)
    assert states.std(0) == pytest.approx(1, abs=0.02)
    with_states = [np.corrcoef(ratings[:, k], states[:, k])[0, 1] for k in range(4)]
    assert with_states == pytest.approx(np.full(4, _eeg_ratings.LABEL_CORRELATION), abs=0.04)


# What is planted.


def test_the_planted_topographies(folder):
    planted = simulated_eeg.load_planted(folder)
    assert planted.electrodes == EEG_CHANNELS
    valence = dict(zip(EEG_CHANNELS, planted.valence.topography[planted.bands.index("alpha")], strict=True))
    for left, right in (("F3", "F4"), ("F7", "F8"), ("FC5", "FC6")):
        assert valence[left] < -0.05
        assert valence[right] > 0.05
    beta, alpha = (
        dict(zip(EEG_CHANNELS, planted.arousal.topography[planted.bands.index(band)], strict=True))
        for band in ("beta", "alpha")
    )
    assert min(beta[electrode] for electrode in ("F3", "F4", "Fz", "C3", "Cz", "C4")) > 0.05
    assert max(alpha[electrode] for electrode in ("P3", "Pz", "P4")) < -0.05
    # The rest of the table: an electrode sees at most what its dipoles do, and other bands nothing.
    for effect in (planted.valence, planted.arousal):
        assert np.abs(effect.topography).max() < effect.label_correlation * np.abs(effect.source_changes).max()
        assert not effect.topography[planted.bands.index("gamma")].any()
        assert not effect.topography[planted.bands.index("theta")].any()


def test_what_is_planted_comes_back_from_its_files(folder, average):
    planted = simulated_eeg.load_planted(folder)
    expected = simulated_eeg._planted(average, 1.0, 0)
    assert (planted.effect, planted.seed, planted.bands) == (1.0, 0, ("theta", "alpha", "beta", "gamma"))
    for rating in ("valence", "arousal"):
        for field in fields(simulated_eeg.PlantedEffect):
            found, want = (getattr(getattr(side, rating), field.name) for side in (planted, expected))
            np.testing.assert_array_equal(found, want)
            assert type(found) is type(want)


def test_the_effect_is_what_is_planted_and_only_in_the_trial(head, average):
    def subject(number, effect):
        return _eeg_signals.simulate_person(head, average, 8, effect, np.random.SeedSequence([0, number]))

    slopes = []
    for number in (1, 2):
        (without, ratings), (with_it, same_ratings) = subject(number, 0.0), subject(number, 1.0)
        assert np.array_equal(ratings, same_ratings)
        # The filter reaches back from the trial's start, by less than a second.
        assert np.allclose(without[..., :256], with_it[..., :256], atol=1e-4)
        assert not np.allclose(without[:, :32, 400:], with_it[:, :32, 400:], atol=1)
        moved = log_band_power(with_it[:, :32, 384:]) - log_band_power(without[:, :32, 384:])
        standardized = (ratings - ratings.mean(0)) / ratings.std(0)
        design = np.column_stack([standardized[:, :2], np.ones(8)])
        slopes.append(np.linalg.lstsq(design, moved.reshape(8, -1), rcond=None)[0][:2])
    planted = simulated_eeg._planted(average, 1.0, 0)
    for found, effect in zip(np.mean(slopes, 0), (planted.valence, planted.arousal), strict=True):
        assert np.corrcoef(found, effect.topography.ravel())[0, 1] > 0.9
        assert 0.5 < found @ effect.topography.ravel() / (effect.topography**2).sum() < 1.5


def test_the_effect_is_no_giveaway(head, average):
    people = [_eeg_signals.simulate_person(head, average, 40, 1.0, np.random.SeedSequence([0, n])) for n in (1, 2)]
    ratings = np.concatenate([ratings for _, ratings in people])
    raw = np.concatenate([log_band_power(recordings[:, :32, 384:]) for recordings, _ in people])
    against_baseline = raw - np.concatenate([log_band_power(recordings[:, :32, :384]) for recordings, _ in people])
    planted = simulated_eeg._planted(average, 1.0, 0)
    for power in (raw, against_baseline):
        for column, effect in enumerate((planted.valence, planted.arousal)):
            areas = experiments.single_feature_auc(power, ratings[:, column], np.repeat([1, 2], 40))
            strong = np.abs(effect.topography) > 0.7 * np.abs(effect.topography).max()
            # Features are chosen by what was planted: the best of 128 would be good by chance with so few people.
            assert 0.58 < 0.5 + (np.sign(effect.topography) * (areas - 0.5))[strong].mean() < 0.7


def test_no_effect_is_planted_when_it_is_zero(average):
    planted = simulated_eeg._planted(average, 0.0, 0)
    for effect in (planted.valence, planted.arousal):
        assert not effect.topography.any()
        assert not effect.source_changes.any()


def test_a_subjects_data_depend_on_the_seed_and_its_number_alone(folder, tmp_path):
    simulated_eeg.simulate(tmp_path / "one", subjects=1, trials=TRIALS, say=quiet)
    assert (tmp_path / "one" / "s01.dat").read_bytes() == (folder / "s01.dat").read_bytes()
    simulated_eeg.simulate(tmp_path / "other", subjects=1, trials=TRIALS, seed=1, say=quiet)
    paths = [folder / "s01.dat", folder / "s02.dat", tmp_path / "other" / "s01.dat"]
    signals = [read(path)["data"][:, :32].ravel() for path in paths]
    assert np.abs(np.corrcoef(signals)[0, 1:]).max() < 0.1


@pytest.fixture
def fast(monkeypatch):
    """Subjects of small arrays; returns the list of the subjects simulated."""
    made = []

    def simulate_person(head, average, trials, effect, seed):
        made.append(seed.entropy[1])
        return np.full((trials, 1, 2), float(seed.entropy[1])), np.full((trials, 4), 5.0)

    monkeypatch.setattr(simulated_eeg, "simulate_person", simulate_person)
    return made


def test_an_interrupted_simulation_goes_on(fast, tmp_path, monkeypatch):
    one_person = simulated_eeg.simulate_person

    def interrupted(head, average, trials, effect, seed):
        if seed.entropy[1] == 2:
            raise KeyboardInterrupt
        return one_person(head, average, trials, effect, seed)

    with monkeypatch.context() as patch:
        patch.setattr(simulated_eeg, "simulate_person", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulated_eeg.simulate(tmp_path, subjects=2, trials=1, say=quiet)
    with pytest.raises(DataError, match="is missing"):
        simulated_eeg.load_planted(tmp_path)
    # What a kill while writing leaves.
    (tmp_path / ".s02.dat.part").write_bytes(b"half")
    sentences = []
    simulated_eeg.simulate(tmp_path, subjects=3, trials=1, say=sentences.append)
    assert fast == [1, 2, 3]
    assert "2 of them made now" in sentences[0]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("s01.dat", "s02.dat", "s03.dat", "manifest.json", "planted.json", "planted.safetensors")
    }
    (tmp_path / "s02.dat").unlink()
    simulated_eeg.simulate(tmp_path, subjects=2, trials=1, say=quiet)
    assert fast == [1, 2, 3, 2]
    assert read(tmp_path / "s02.dat")["data"].tolist() == [[[2.0, 2.0]]]


def test_a_file_has_its_name_only_when_it_is_whole_and_noted(fast, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(simulated_eeg, "_write_json", lambda path, content: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            simulated_eeg.simulate(tmp_path, subjects=1, trials=1, say=quiet)
    assert not list(tmp_path.iterdir())


def test_recordings_of_other_settings_are_left_alone(fast, tmp_path):
    simulated_eeg.simulate(tmp_path, subjects=1, trials=1, say=quiet)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for settings in ({"effect": 0.0}, {"seed": 1}, {"trials": 2}):
        with pytest.raises(DataError, match=r"manifest\.json says .* choose another folder"):
            simulated_eeg.simulate(tmp_path, **{"subjects": 2, "trials": 1, "say": quiet} | settings)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_that_are_not_as_they_were_written_are_named_and_left_alone(fast, tmp_path):
    simulated_eeg.simulate(tmp_path, subjects=1, trials=1, say=quiet)
    for name, message in (("s01.dat", r"s01\.dat is damaged"), ("s02.dat", r"s02\.dat was not written by the simul")):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(DataError, match=message):
            simulated_eeg.simulate(tmp_path, subjects=2, trials=1, say=quiet)
        assert (tmp_path / name).read_bytes() == b"something else"
        (tmp_path / name).unlink()
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match=r"manifest\.json is not what the simulation writes"):
        simulated_eeg.simulate(tmp_path, subjects=1, trials=1, say=quiet)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
        simulated_eeg.simulate(tmp_path, subjects=1, trials=1, say=quiet)


def test_damaged_notes_of_what_was_planted_are_named(fast, tmp_path):
    simulated_eeg.simulate(tmp_path, subjects=1, trials=1, say=quiet)
    arrays = (tmp_path / "planted.safetensors").read_bytes()
    (tmp_path / "planted.safetensors").write_bytes(arrays[:100])
    with pytest.raises(DataError, match=r"planted\.safetensors is damaged"):
        simulated_eeg.load_planted(tmp_path)
    (tmp_path / "planted.safetensors").write_bytes(arrays)
    (tmp_path / "planted.json").write_text("{}")
    with pytest.raises(DataError, match="do not fit together"):
        simulated_eeg.load_planted(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"subjects": 0}, {"subjects": 100}, {"trials": 0}, {"seed": -1}, {"effect": -1.0}]
)
def test_settings_that_make_no_sense(settings, tmp_path):
    with pytest.raises(ValueError, match="give"):
        simulated_eeg.simulate(tmp_path / "folder", say=quiet, **settings)
    assert not (tmp_path / "folder").exists()
