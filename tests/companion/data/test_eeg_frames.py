"""Band power against known signals, maps of the head, the cache, and splits by subject."""

import os
import pickle

import numpy as np
import pytest
import torch

from companion.data import DataError, deap, eeg_frames, simulated_eeg
from companion.data.deap import BANDS

SECONDS = np.arange(8064) / 128


def silent(sentence):
    pass


def recording(data, seed=0):
    ratings = np.random.default_rng(seed).uniform(1, 9, (len(data), 4)).astype(np.float32)
    return deap.Recording("s01", np.asarray(data, dtype=np.float32), ratings)


def noise(seed=0, trials=2, channels=32):
    generator = np.random.default_rng(seed)
    # One electrode differs from another by its amplitude, one trial from another by its course.
    course = 1 + 0.3 * np.sin(2 * np.pi * SECONDS / 20 + generator.uniform(0, 6, (trials, 1, 1)))
    return generator.normal(0, 4, (trials, channels, 8064)) * course


def write(folder, names, trials=2):
    """Files of DEAP's format, each of its own seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        labels = np.random.default_rng(seed + 100).uniform(1, 9, (trials, 4))
        (folder / name).write_bytes(pickle.dumps({"data": noise(seed, trials), "labels": labels}, 4))
    return folder


@pytest.fixture
def deap_folder(own_data_root):
    return write(deap.folder(), ("s01.dat", "s02.dat", "s04.dat"))


@pytest.mark.parametrize(("frequency", "band"), [(6, "theta"), (10, "alpha"), (21, "beta"), (37, "gamma")])
@pytest.mark.parametrize("window_seconds", [1.0, 1.5, 2.0])
def test_a_sinusoid_has_half_its_squared_amplitude_in_its_band(frequency, band, window_seconds):
    power = eeg_frames.absolute_band_power(3 * np.sin(2 * np.pi * frequency * SECONDS + 0.7), window_seconds)
    assert power.shape == (int(63 / window_seconds), 4)
    assert power[:, list(BANDS).index(band)] == pytest.approx(4.5, rel=1e-4)
    assert np.delete(power, list(BANDS).index(band), axis=1).max() < 1e-4


def test_white_noise_has_power_in_proportion_to_the_width_of_a_band():
    signals = np.random.default_rng(0).normal(0, 5, (200, 1280))
    power = eeg_frames.absolute_band_power(signals).mean((0, 1))
    # sigma^2 spread evenly over 0 to 64 Hz.
    assert power == pytest.approx([25 * (upper - lower) / 64 for lower, upper in BANDS.values()], rel=0.03)


def test_band_power_is_the_log_ratio_to_the_baseline():
    signal = np.sin(2 * np.pi * 10 * SECONDS)
    data = np.tile(signal, (2, 40, 1)) * 2
    # Electrode 5 of trial 2: twice the amplitude, from the 10th second of the video on.
    data[1, 5, 384 + 1280 :] *= 2
    power = eeg_frames.band_power(recording(data))
    assert power.shape == (2, 60, 4, 32)
    assert power.dtype == np.float32
    expected = np.zeros((2, 60, 32))
    expected[1, 10:, 5] = np.log(4)
    assert power[:, :, 1] == pytest.approx(expected, abs=1e-3)


def test_the_baseline_is_the_trials_own_mean_power():
    data = np.tile(np.sin(2 * np.pi * 20 * SECONDS), (2, 32, 1))
    data[0, :, :128] *= 3  # Mean of 9, 1 and 1 over the three seconds of trial 1.
    power = eeg_frames.band_power(recording(data))
    assert power[0, :, 2] == pytest.approx(-np.log(11 / 3), abs=1e-3)
    assert power[1, :, 2] == pytest.approx(0, abs=1e-3)


def test_the_other_channels_do_not_matter_and_a_dead_electrode_is_finite():
    data = noise(channels=40)
    data[:, 3] = 0
    alone = eeg_frames.band_power(recording(data[:, :32]))
    assert np.array_equal(alone, eeg_frames.band_power(recording(data)))
    assert (alone[..., 3] == 0).all()
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("seconds", [0, 0.2, 3.1, -1, float("nan"), float("inf")])
def test_windows_must_hold_a_frequency_and_fit_the_baseline(seconds):
    with pytest.raises(ValueError, match=r"give 0\.25 to 3"):
        eeg_frames.band_power(recording(noise()), seconds)


def test_electrodes_are_where_the_ten_twenty_system_puts_them():
    position = dict(zip(deap.EEG_CHANNELS, eeg_frames.electrode_positions(), strict=True))
    assert position["Cz"] == pytest.approx([0, 0], abs=1e-6)
    assert position["T8"] == pytest.approx([1, 0], abs=1e-6)
    assert position["Oz"] == pytest.approx([0, -1], abs=1e-6)
    # Equidistant: the angle from the vertex is the radius, and Fz is at 46 of 92 degrees.
    assert position["Fz"] == pytest.approx([0, 0.5], abs=1e-3)
    for left, right in (("Fp1", "Fp2"), ("C3", "C4"), ("PO3", "PO4"), ("FC5", "FC6"), ("O1", "O2")):
        assert position[left] == pytest.approx(position[right] * [-1, 1], abs=1e-6)
        assert position[left][0] < 0
    assert max(np.hypot(*position[name]) for name in position) == pytest.approx(1)


def test_the_map_gives_constants_and_slopes_back():
    matrix, mask = eeg_frames.interpolation_matrix(), eeg_frames.head_mask()
    assert matrix.shape == (1024, 32)
    assert matrix.dtype == np.float32
    inside = mask.ravel()
    assert (matrix[~inside] == 0).all()
    assert (matrix @ np.ones(32))[inside] == pytest.approx(1, abs=1e-5)
    x, y = eeg_frames.electrode_positions().T
    centres = (np.arange(32) + 0.5) / 16 - 1
    # To the right of a row is the right of the head, and the first row is at the nose.
    assert (matrix @ x).reshape(32, 32)[mask] == pytest.approx(np.tile(centres, (32, 1))[mask], abs=1e-5)
    assert (matrix @ y).reshape(32, 32)[mask] == pytest.approx(np.tile(-centres[:, None], (1, 32))[mask], abs=1e-5)


def test_the_map_is_smooth_and_close_to_a_smooth_surface():
    x, y = eeg_frames.electrode_positions().T
    size = 129
    picture = (eeg_frames.interpolation_matrix(size) @ (np.cos(2 * x) * np.sin(1.5 * y + 0.5))).reshape(size, size)
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    truth = np.cos(2 * centres[None]) * np.sin(1.5 * -centres[:, None] + 0.5)
    assert np.abs(picture - truth)[eeg_frames.head_mask(size)].max() < 0.1


def test_the_mask_is_a_disc():
    mask = eeg_frames.head_mask()
    assert mask.shape == (32, 32)
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert np.array_equal(mask, mask.T)
    with pytest.raises(ValueError, match="give 8 or more"):
        eeg_frames.interpolation_matrix(7)
    assert eeg_frames.interpolation_matrix(8).shape == (64, 32)


@pytest.mark.parametrize("size", [8, 32])
def test_there_and_back_again(size):
    power = torch.randn(10, 4, 32, generator=torch.Generator().manual_seed(0))
    frames = eeg_frames.to_frames(power, size)
    assert frames.shape == (10, 4, size, size)
    assert frames.dtype == torch.float16
    assert (frames.flatten(2)[..., ~eeg_frames.head_mask(size).ravel()] == 0).all()
    assert torch.allclose(eeg_frames.at_electrodes(frames), power, atol=5e-3)


def test_at_electrodes_is_not_disturbed_by_what_no_electrode_shows():
    frames = eeg_frames.to_frames(torch.ones(1, 1, 32)).float()
    checkered = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)
    assert torch.allclose(eeg_frames.at_electrodes(frames + checkered), torch.ones(1, 1, 32), atol=0.3)


def test_deaps_folder_comes_first_and_is_assembled_in_order(deap_folder):
    said = []
    frames = eeg_frames.load(say=said.append)
    first = deap.read_subject(deap_folder / "s01.dat")
    assert np.array_equal(frames.first_trial, first.data[0, :32])
    assert frames.subjects == ("s01", "s02", "s04")
    assert frames.power.shape == (360, 4, 32)
    assert frames.power.dtype == torch.float32
    assert frames.frames.shape == (360, 4, 32, 32)
    assert frames.frames is frames.frames
    assert frames.subject.tolist() == [0] * 120 + [1] * 120 + [2] * 120
    assert frames.trial.tolist() == [trial for trial in range(6) for _ in range(60)]
    assert frames.window.tolist() == list(range(60)) * 6
    assert frames.trial_subject.tolist() == [0, 0, 1, 1, 2, 2]
    labels = np.random.default_rng(101).uniform(1, 9, (2, 4)).astype(np.float32)
    assert np.array_equal(frames.ratings[2:4].numpy(), labels)
    assert frames.planted is None
    assert not frames.provenance.stand_in
    assert frames.provenance.n == 360
    assert said == ["EEG: DEAP, 3 of 32 subjects under the data root, 360 windows of 1 s in 6 trials."]


def test_standardized_by_subject_and_band_alone(deap_folder):
    frames = eeg_frames.load(say=silent)
    raw = eeg_frames.band_power(deap.read_subject(deap_folder / "s02.dat"))
    ours = raw.reshape(120, 4, 32)
    mean, std = ours.mean((0, 2)), ours.std((0, 2))
    assert frames.mean[1].numpy() == pytest.approx(mean, abs=1e-5)
    assert frames.std[1].numpy() == pytest.approx(std, abs=1e-5)
    expected = np.clip((ours - mean[:, None]) / std[:, None], -5, 5)
    assert frames.power[120:240].numpy() == pytest.approx(expected, abs=1e-4)
    for name in ("s01.dat", "s04.dat"):
        (deap_folder / name).unlink()
    assert torch.equal(eeg_frames.load(say=silent).power, frames.power[120:240])


def test_artefacts_are_clipped(deap_folder):
    content = pickle.loads((deap_folder / "s01.dat").read_bytes())
    content["data"][0, 7, 5000:5100] *= 1e4
    (deap_folder / "s01.dat").write_bytes(pickle.dumps(content, 2))
    assert eeg_frames.load(say=silent).power.max() == 5


def test_files_that_cannot_be_used_are_named_and_the_rest_is_used(deap_folder):
    (deap_folder / "s02.dat").write_bytes((deap_folder / "s02.dat").read_bytes()[:1000])
    flat = {"data": np.zeros((2, 40, 8064)), "labels": np.full((2, 4), 5.0)}
    (deap_folder / "s03.dat").write_bytes(pickle.dumps(flat, 2))
    for _ in range(2):  # computed, and from the cache
        said = []
        frames = eeg_frames.load(say=said.append)
        assert frames.subjects == ("s01", "s04")
        assert ["s02.dat" in frames.problems[0], "s03 shows no change" in frames.problems[1]] == [True, True]
        assert said[:2] == [f"Left out: {problem}" for problem in frames.problems]


def test_nothing_usable_is_an_error(own_data_root):
    deap.folder().mkdir(parents=True)
    (deap.folder() / "s01.dat").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"None of the 1 recordings can be used. The first: .*s01\.dat"):
        eeg_frames.load(say=silent)
    assert not list(deap.folder().glob("*.safetensors"))


def test_features_are_computed_once_for_the_same_files_and_settings(deap_folder, monkeypatch):
    first = eeg_frames.load(say=silent)
    assert eeg_frames.load(window_seconds=2, say=silent).power.shape == (180, 4, 32)
    (deap_folder / "s02.dat").rename(deap_folder / "s02 renamed.dat")
    assert eeg_frames.load(say=silent).subjects == ("s01", "s02 renamed", "s04")
    (deap_folder / "s02 renamed.dat").rename(deap_folder / "s02.dat")
    os.utime(deap_folder / "s04.dat", ns=(1, 1))
    assert len(list(deap_folder.glob(".features-*.safetensors"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(deap, "read_subject", lambda path: pytest.fail(f"read {path}"))
        with pytest.raises(pytest.fail.Exception):
            eeg_frames.load(say=silent)
    eeg_frames.load(say=silent)
    monkeypatch.setattr(deap, "read_subject", lambda path: pytest.fail(f"read {path}"))
    second = eeg_frames.load(say=silent)
    assert second.provenance == first.provenance
    assert torch.equal(second.first_trial, first.first_trial)


def test_a_cache_that_cannot_be_read_is_made_again(deap_folder):
    first = eeg_frames.load(say=silent)
    (cache,) = deap_folder.glob(".features-*.safetensors")
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-100])
    assert eeg_frames.load(say=silent).provenance == first.provenance
    assert len(cache.read_bytes()) == len(whole)


def test_a_folder_that_cannot_be_written_to_is_enough(deap_folder, monkeypatch):
    def refuse(path):
        raise DataError("read-only")

    monkeypatch.setattr(eeg_frames, "writable_folder", refuse)
    said = []
    assert eeg_frames.load(say=said.append).subjects == ("s01", "s02", "s04")
    assert "cannot be written to" in said[0]
    assert not list(deap_folder.glob(".features-*"))


@pytest.fixture
def short_simulation(monkeypatch):
    """Two trials for each simulated subject instead of 40; returns what was asked for."""
    asked = []

    def simulate(subjects, effect, seed, simulate=simulated_eeg.simulate):
        asked.append((subjects, effect, seed))
        return simulate(subjects, effect, seed, trials=2)

    monkeypatch.setattr(simulated_eeg, "simulate", simulate)
    return asked


def test_without_deap_simulated_eeg_stands_in_and_leaves_features_only(own_data_root, short_simulation):
    said = []
    frames = eeg_frames.load(simulated_subjects=2, effect=0.5, seed=7, say=said.append)
    assert frames.power.shape == (240, 4, 32)
    assert frames.subjects == ("s01", "s02")
    assert frames.provenance.stand_in
    assert "2 simulated subjects (effect 0.5, seed 7)" in frames.provenance.source
    assert (frames.planted.effect, frames.planted.seed) == (0.5, 7)
    assert "signed agreement" in said[0]
    assert eeg_frames.load("simulated", simulated_subjects=2, effect=0.5, seed=7, say=silent).provenance.n == 240
    assert short_simulation == [(2, 0.5, 7)]
    made = [path for path in own_data_root.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in made) < 3e6
    eeg_frames.load("simulated", simulated_subjects=1, effect=0.5, seed=7, say=silent)
    assert short_simulation[-1] == (1, 0.5, 7)


def test_a_source_asked_for_is_not_replaced(own_data_root, short_simulation):
    with pytest.raises(DataError, match=r"holds no \.dat file.*signed agreement"):
        eeg_frames.load("folder")
    with pytest.raises(DataError, match="choose auto, folder, simulated"):
        eeg_frames.load("kaggle")
    with pytest.raises(ValueError, match="window_seconds is 9"):
        eeg_frames.load("simulated", window_seconds=9)
    with pytest.raises(ValueError, match="size is 2"):
        eeg_frames.load("simulated", size=2)
    assert short_simulation == []


def test_splits_share_no_subject(deap_folder):
    frames = eeg_frames.load(say=silent)
    split = eeg_frames.split_by_subject(frames, ["s04"], ["s01"])
    assert [frames.subject[part].unique().tolist() for part in split] == [[1], [0], [2]]
    assert sorted(torch.cat(split).tolist()) == list(range(360))
    without_validation = eeg_frames.split_by_subject(frames, ["s04"])
    assert [len(part) for part in without_validation] == [240, 0, 120]


def test_impossible_splits_are_refused(deap_folder):
    frames = eeg_frames.load(say=silent)
    with pytest.raises(ValueError, match="no subject s99: choose from s01, s02, s04"):
        eeg_frames.split_by_subject(frames, ["s99"])
    with pytest.raises(ValueError, match="s01 cannot be in"):
        eeg_frames.split_by_subject(frames, ["s01"], ["s01"])
    with pytest.raises(ValueError, match="leave one for training"):
        eeg_frames.split_by_subject(frames, ["s01", "s02"], ["s04"])
