"""Band power against known signals, maps of the head, and what is loaded and cached."""

import os
import pickle

import numpy as np
import pytest
import torch

from companion.data import DataError, deap, eeg_frames, simulated_eeg
from companion.data.deap import BANDS

SECONDS = np.arange(8064) / 128


@pytest.fixture
def deap_folder(own_data_root):
    """Three files in DEAP's format, each of its own seed; trials and electrodes differ by amplitude and course."""
    deap.folder().mkdir(parents=True)
    for seed, name in enumerate(("s01.dat", "s02.dat", "s04.dat")):
        generator = np.random.default_rng(seed)
        course = 1 + 0.3 * np.sin(2 * np.pi * SECONDS / 20 + generator.uniform(0, 6, (2, 1, 1)))
        content = {"data": generator.normal(0, 4, (2, 32, 8064)) * course, "labels": generator.uniform(1, 9, (2, 4))}
        (deap.folder() / name).write_bytes(pickle.dumps(content, 4))
    return deap.folder()


@pytest.mark.parametrize(("frequency", "band"), [(6, "theta"), (10, "alpha"), (21, "beta"), (37, "gamma")])
@pytest.mark.parametrize("window_seconds", [1, 2])
def test_band_power_is_the_log_ratio_to_the_mean_of_the_baseline(frequency, band, window_seconds):
    eeg = np.tile(np.sin(2 * np.pi * frequency * SECONDS + 0.7), (2, 32, 1))
    eeg[0, :, : 128 * window_seconds] *= 3
    eeg[1, 5, 384 + 12 * 128 :] *= 2
    power = eeg_frames.band_power(eeg, window_seconds)
    expected = np.zeros((2, 60 // window_seconds, 4, 32))
    expected[0, :, list(BANDS).index(band)] = -np.log(9 if window_seconds == 2 else (9 + 1 + 1) / 3)
    expected[1, 12 // window_seconds :, list(BANDS).index(band), 5] = np.log(4)
    assert power == pytest.approx(expected, abs=1e-3)


def test_a_dead_electrode_is_finite():
    eeg = np.random.default_rng(0).normal(0, 4, (2, 32, 8064))
    eeg[:, 3] = 0
    power = eeg_frames.band_power(eeg)
    assert (power[..., 3] == 0).all()
    assert np.isfinite(power).all()


@pytest.mark.parametrize("seconds", [0.2, 3.1, float("nan")])
def test_windows_must_hold_a_frequency_and_fit_the_baseline(seconds):
    with pytest.raises(ValueError, match=r"give 0\.25 to 3"):
        eeg_frames.load("simulated", window_seconds=seconds)


def test_electrodes_are_where_the_ten_twenty_system_puts_them():
    position = dict(zip(deap.EEG_CHANNELS, eeg_frames.electrode_positions(), strict=True))
    assert position["Cz"] == pytest.approx([0, 0], abs=1e-6)
    assert position["T8"] == pytest.approx([1, 0], abs=1e-6)
    # Equidistant: the angle from the vertex is the radius, and Fz is at 46 of 92 degrees.
    assert position["Fz"] == pytest.approx([0, 0.5], abs=1e-3)
    for left, right in (("Fp1", "Fp2"), ("C3", "C4"), ("PO3", "PO4")):
        assert position[left] == pytest.approx(position[right] * [-1, 1], abs=1e-6)


def test_frames_show_constants_and_slopes_with_the_nose_at_the_top():
    x, y = eeg_frames.electrode_positions().T
    frames = eeg_frames.to_frames(torch.from_numpy(np.stack([np.ones(32), x, y])[None])).float()
    assert frames.shape == (1, 3, 32, 32)
    across, down = np.meshgrid((np.arange(32) + 0.5) / 16 - 1, (np.arange(32) + 0.5) / 16 - 1)
    expected = np.stack([np.ones((32, 32)), across, -down]) * (np.hypot(across, down) <= 1)
    assert frames[0].numpy() == pytest.approx(expected, abs=1e-3)


def test_frames_lead_back_to_the_electrodes():
    power = torch.randn(10, 4, 32, generator=torch.Generator().manual_seed(0))
    frames = eeg_frames.to_frames(power)
    assert torch.allclose(eeg_frames.at_electrodes(frames), power, atol=5e-3)
    # A pattern that no electrode can show hardly matters.
    checkered = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)
    assert torch.allclose(eeg_frames.at_electrodes(frames + checkered), power, atol=0.3)


def test_deaps_files_come_first_and_are_assembled_in_order(deap_folder):
    frames = eeg_frames.load()
    second = deap.read_subject(deap_folder / "s02.dat")
    assert frames.subjects == ("s01", "s02", "s04")
    assert frames.frames.shape == (360, 4, 32, 32)
    assert frames.subject.tolist() == [0] * 120 + [1] * 120 + [2] * 120
    assert frames.trial.tolist() == [trial for trial in range(6) for _ in range(60)]
    assert frames.trial_subject.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(frames.ratings[2:4].numpy(), second.ratings)
    assert np.array_equal(frames.first_trial, deap.read_subject(deap_folder / "s01.dat").eeg[0])
    assert frames.planted == {}
    assert not frames.provenance.stand_in
    assert frames.provenance.source == "DEAP, 3 of 32 subjects under the data root"
    # Standardized within the subject and band alone.
    raw = eeg_frames.band_power(second.eeg).reshape(120, 4, 32)
    mean, std = raw.mean((0, 2)), raw.std((0, 2))
    assert frames.std[1].numpy() == pytest.approx(std, abs=1e-5)
    expected = np.clip((raw - mean[:, None]) / std[:, None], -5, 5)
    assert frames.power[120:240].numpy() == pytest.approx(expected, abs=1e-4)


def test_artefacts_are_clipped_and_files_that_cannot_be_used_are_named(deap_folder):
    content = pickle.loads((deap_folder / "s01.dat").read_bytes())
    content["data"][0, 7, 5000:5100] *= 1e4
    (deap_folder / "s01.dat").write_bytes(pickle.dumps(content, 2))
    (deap_folder / "s02.dat").write_bytes(b"junk")
    for _ in range(2):  # computed, and from the cache
        frames = eeg_frames.load()
        assert frames.power.max() == 5
        assert frames.subjects == ("s01", "s04")
        (problem,) = frames.problems
        assert "s02.dat" in problem


def test_features_are_computed_once_for_the_same_files_and_settings(deap_folder, monkeypatch):
    first = eeg_frames.load()
    with monkeypatch.context() as patch:
        patch.setattr(deap, "read_subject", lambda path: pytest.fail(f"read {path}"))
        second = eeg_frames.load()
        assert second.provenance == first.provenance
        assert torch.equal(second.first_trial, first.first_trial)
    assert len(eeg_frames.load(window_seconds=2).power) == 180
    os.utime(deap_folder / "s04.dat", ns=(1, 1))
    eeg_frames.load()
    assert len(list(deap_folder.glob(".features-*.pt"))) == 3


def test_damaged_features_are_named(deap_folder):
    eeg_frames.load()
    (path,) = deap_folder.glob(".features-*.pt")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"features-.*\.pt is damaged: delete it"):
        eeg_frames.load()


def test_a_folder_that_cannot_be_written_to_is_enough(deap_folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert eeg_frames.load().subjects == ("s01", "s02", "s04")
    assert not list(deap_folder.glob(".features*"))


def test_without_deap_simulated_eeg_stands_in_and_leaves_features_only(own_data_root, monkeypatch):
    simulate, asked = simulated_eeg.simulate, []

    def short(subjects, effect, seed):
        recordings = simulate(subjects, effect, seed, trials=2)
        asked.append((yield from recordings))

    monkeypatch.setattr(simulated_eeg, "simulate", short)
    for source in ("auto", "simulated"):
        frames = eeg_frames.load(source, simulated_subjects=2, effect=0.5, seed=7)
    assert len(asked) == 1
    assert frames.subjects == ("s01", "s02")
    assert frames.provenance.n == 240
    assert frames.provenance.stand_in
    assert "2 simulated subjects (effect 0.5, seed 7)" in frames.provenance.source
    assert np.array_equal(frames.planted["valence"], simulated_eeg.planted(0.5)["valence"])
    assert sum(path.stat().st_size for path in own_data_root.rglob("*") if path.is_file()) < 3e6
    assert len(eeg_frames.load("simulated", simulated_subjects=1, effect=0.5, seed=7).subjects) == 1


def test_a_source_asked_for_is_not_replaced(own_data_root):
    with pytest.raises(DataError, match="signed agreement"):
        eeg_frames.load("folder")
    with pytest.raises(DataError, match="choose auto, folder or simulated"):
        eeg_frames.load("kaggle")
    deap.folder().mkdir(parents=True)
    (deap.folder() / "s01.dat").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"None of the 1 recordings can be used. The first problem: .*s01\.dat"):
        eeg_frames.load("auto")
    assert not list(deap.folder().glob("*.pt"))
