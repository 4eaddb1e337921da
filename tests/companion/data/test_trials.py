"""Trials of known verdict: every stated number against draws or another integral, every verdict against its rule."""

import math

import numpy as np
import pytest
import torch

import vaemi
from companion.data import trials
from vaemi.influence import decoder_effects

TRIALS = {trial.name: trial for trial in trials.all_trials()}
M = 40_000
# Closed forms by hand.
INFORMATION = {
    "plain used": math.log(5),
    "plain unused": 0.0,
    "constant mean": 0.0,
    "constant narrow width": 0.0,
    "tiny means, less noise": 0.5 * math.log(101),
    "means below the noise": 0.5 * math.log(1.011),
    "used, times 30": math.log(5),
    "used, divided by 30": math.log(5),
    "two far groups": math.log(2),
    "few recordings": -math.log(0.3),
    "ignored by the decoder": math.log(5),
    "noise, amplified": 0.0,
    "copy of another factor": math.log(4),
}


def integrated(weights, means, stds):
    """I(X; Z) of groups of inputs by an adaptive sum of its own: midpoints between sorted dense nodes of each group."""
    nodes = np.unique(np.concatenate([m + s * np.linspace(-12, 12, 40_001) for m, s in zip(means, stds, strict=True)]))
    z, step = 0.5 * (nodes[1:] + nodes[:-1]), np.diff(nodes)
    q, inner = np.zeros_like(z), 0.0
    for w, m, s in zip(weights, means, stds, strict=True):
        q += w * np.exp(-0.5 * ((z - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
        inner += w * 0.5 * math.log(2 * math.pi * math.e * s**2)
    return float(-(q * np.log(np.maximum(q, 1e-300)) * step).sum() - inner)


def draws(trial, seed=3):
    """Means, deviations and draws of all factors of M independent inputs, recordings of one window each."""
    if trial.recordings:
        trial = trials.few_recordings(M)
    mean, log_variance = trial.draw(M, seed)
    std = np.exp(log_variance / 2)
    return mean, std, mean + std * np.random.default_rng(seed + 1).standard_normal(mean.shape)


@pytest.mark.parametrize("name", INFORMATION)
def test_closed_forms(name):
    assert TRIALS[name].information == pytest.approx(INFORMATION[name], abs=2e-6)


@pytest.mark.parametrize(
    ("name", "weights", "means", "stds"),
    [
        ("two far groups", [0.5, 0.5], [-1, 1], [0.01, 0.01]),
        ("width only", [0.5, 0.5], [0, 0], [0.1, 1]),
        ("rare detector", [0.02, 0.98], [4, 0], [1, 1]),
        ("copy of another factor", [0.25] * 4, [-3, -1, 1, 3], [0.2] * 4),
    ],
)
def test_integrals(name, weights, means, stds):
    assert TRIALS[name].information == pytest.approx(integrated(weights, means, stds), abs=1e-7)


def test_the_integral_of_heavy_tails():
    # h(q) of the two Gaussians that the draws are from, less the entropy of a posterior.
    both = integrated([0.98, 0.02], [0, 0], [math.hypot(0.1, 0.03), math.hypot(7, 0.03)])
    inner = 0.98 * math.log(math.hypot(0.1, 0.03)) + 0.02 * math.log(math.hypot(7, 0.03))
    assert TRIALS["heavy tails"].information == pytest.approx(both + inner - math.log(0.03), abs=1e-7)


@pytest.mark.parametrize("trial", TRIALS.values(), ids=lambda trial: trial.name)
def test_a_dense_quadrature_over_many_inputs_gives_the_stated_information(trial):
    mean, std, _ = draws(trial)
    mean, std = mean[:4000, :1], std[:4000, :1]
    found = vaemi.factor_information(mean, 2 * np.log(std), method="dense")
    assert float(found.nats[0]) == pytest.approx(trial.information, abs=5 * float(found.stderr[0]) + 0.01)


@pytest.mark.parametrize("trial", TRIALS.values(), ids=lambda trial: trial.name)
def test_the_best_guess_is_right_as_often_as_stated(trial):
    mean, std, z = (part[:, 0] for part in draws(trial))
    group, guess = trial.group(mean, std), trial.guess(z)
    found = 0.5 * (guess[group].mean() + (~guess[~group]).mean())
    error = 0.5 * math.sqrt(sum(0.25 / part.sum() for part in (group, ~group)))
    assert found == pytest.approx(trial.accuracy, abs=4 * error)
    # No other guess from intervals of z is better by more than what chance gives to so many of them.
    edges = np.quantile(z, np.linspace(0, 1, 41)[1:-1])
    shares = [np.bincount(np.searchsorted(edges, z[part]), minlength=40) / part.sum() for part in (group, ~group)]
    assert 0.5 * (1 + 0.5 * np.abs(shares[0] - shares[1]).sum()) < trial.accuracy + 20 * error


@pytest.mark.parametrize("trial", TRIALS.values(), ids=lambda trial: trial.name)
def test_the_right_verdict_follows_from_the_rule_and_is_not_near_its_line(trial):
    if trial.question == "input":
        assert trial.accuracy > 0.85 if trial.used else trial.accuracy < 0.6
    elif trial.question == "output":
        mean, log_variance = map(torch.from_numpy, trial.draw(500))
        changes = decoder_effects(trial.decode, mean, log_variance, progress=False).effect
        assert (changes[0] > 1) == trial.used
        assert changes[1] > 0.5
    else:
        mean, _, z = draws(trial)
        right = trial.guess(z[:, 1]) == (mean[:, 1] > 0)
        assert right.mean() > 0.999  # with the other factor alone: nothing is left to gain
        assert not trial.used


def test_samplers_have_the_stated_moments():
    expected = {  # mean and variance of the means, mean of the variances
        "plain used": (0, 0.96, 0.04),
        "constant mean": (2, 0, 1),
        "constant narrow width": (0, 0, 0.01),
        "tiny means, less noise": (0, 0.015**2, 0.0015**2),
        "means below the noise": (0, 0.011, 1),
        "used, times 30": (0, 864, 36),
        "used, divided by 30": (0, 0.96 / 900, 0.04 / 900),
        "two far groups": (0, 1, 1e-4),
        "heavy tails": (0, 0.98 * 0.01 + 0.02 * 49, 9e-4),
        "width only": (0, 0, 0.505),
        "rare detector": (0.08, 0.02 * 0.98 * 16, 1),
        "few recordings": (0, 0.91, 0.09),
        "copy of another factor": (0, 5, 0.04),
    }
    for name, (centre, spread, width) in expected.items():
        mean, std, _ = draws(TRIALS[name])
        # The variance of rare, far means has the largest error.
        rare = name in ("heavy tails", "rare detector")
        assert mean[:, 0].mean() == pytest.approx(centre, abs=4 * math.sqrt(spread / M) + 1e-12), name
        assert mean[:, 0].var() == pytest.approx(spread, rel=0.15 if rare else 0.05), name
        assert (std[:, 0] ** 2).mean() == pytest.approx(width, rel=0.02), name


def test_two_copies_carry_together_what_the_stated_joint_information_is():
    trial = TRIALS["copy of another factor"]
    mean, log_variance = trial.draw(3000)
    found = vaemi.information.joint_information(mean, log_variance, seed=0)
    assert found.plug_in == pytest.approx(trial.joint_information, abs=4 * found.plug_in_stderr + 1e-3)
    assert found.leave_one_out == pytest.approx(trial.joint_information, abs=0.03)
    # Overlapping groups: the second copy is worth something, and less than the first.
    noisy = trials.copied(std=1.5)
    assert noisy.information + 0.1 < noisy.joint_information < 2 * noisy.information


def test_windows_of_a_recording_are_alike_and_numbered():
    trial = TRIALS["few recordings"]
    mean, _ = trial.draw(2000)
    number = trial.clusters(2000)
    assert np.unique(number, return_counts=True)[1].tolist() == [100] * 20
    within = np.mean([mean[number == one].std() for one in range(20)])
    assert within == pytest.approx(0.1, rel=0.1)
    assert mean.std() > 0.5
    assert TRIALS["plain used"].clusters(10) is None


def test_names_are_unique_and_the_draws_have_a_checksum():
    made = trials.provenance(TRIALS.values(), 50, seed=0)
    assert len(TRIALS) == len(trials.all_trials()) >= 12
    assert made.n == 50 * len(TRIALS)
    assert made.checksum != trials.provenance(TRIALS.values(), 50, seed=1).checksum
    assert {trial.question for trial in TRIALS.values()} == set(trials.QUESTIONS)
