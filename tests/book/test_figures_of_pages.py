"""What the pages' own figures say, against closed forms and against samples."""

import math

import numpy as np
import pytest
from matplotlib import pyplot as plt

import vaemi
from companion import figures
from companion.experiments import pages

MEANS, NOISE = (0.7, 0.2), (0.1, 0.4)


@pytest.mark.parametrize("degrees", [0, 20, 45, 77])
def test_turned_information_is_that_of_a_turned_encoder(degrees):
    """The covariances of the turned means and noise by linear algebra, and their samples by the estimator."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    of_means, of_noise = (np.diag(turn @ np.diag(variance) @ turn.T) for variance in (MEANS, NOISE))
    exact = pages.rotated_information(MEANS, NOISE, angle)
    np.testing.assert_allclose(exact, 0.5 * np.log(1 + of_means / of_noise), rtol=1e-12)
    means = np.random.default_rng(1).standard_normal((20_000, 2)) * np.sqrt(MEANS) @ turn.T
    found = vaemi.factor_information(means, np.tile(np.log(of_noise), (20_000, 1)))
    assert np.all(np.abs(found.nats.numpy() - exact) < 5 * found.stderr.numpy() + 1e-6)


def test_the_joint_information_does_not_turn_and_the_sum_does():
    numbers = pages.rotated_numbers(pages.rotated_codes())
    for name, means, noise in (("alike", (0.95, 0.15), (0.05, 0.05)), ("unlike", (0.99, 0.0), (0.01, 1.0))):
        for angle in (0.0, 0.4, math.pi / 4):
            turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            of_noise = turn @ np.diag(noise) @ turn.T
            both = of_noise + turn @ np.diag(means) @ turn.T
            joint = 0.5 * math.log(np.linalg.det(both) / np.linalg.det(of_noise))
            assert joint == pytest.approx(numbers[f"{name}_joint"], abs=1e-12)
    # A turn that leaves the noise diagonal can only make the sum larger than the joint information (theorem 2).
    assert numbers["alike_turned_sum"] == pytest.approx(math.log(1 + 0.55 / 0.05), abs=1e-12)
    assert numbers["alike_turned_sum"] > numbers["alike_joint"]
    # The other leaves the factorized encoders, and then the sum says nothing of the joint information.
    assert numbers["unlike_turned_sum"] == pytest.approx(math.log(2 / 1.01), abs=1e-12)
    assert numbers["unlike_turned_sum"] < numbers["unlike_joint"] == pytest.approx(math.log(10), abs=1e-12)


def test_estimates_agree_with_the_closed_form():
    codes = pages.rotated_codes().dropna()
    assert len(codes) == 14
    np.testing.assert_allclose(codes.estimated, codes.factor_1 + codes.factor_2, atol=0.03)
    plt.close(figures.rotated_code(codes))


def test_noisy_copies_together_hold_more_than_one_and_less_than_their_sum():
    copies = pages.noisy_copies(9.0)
    x = np.random.default_rng(0).standard_normal((100_000, 1)).repeat(2, 1)
    code = 3 * x, np.zeros_like(x)
    assert copies["joint"] == pytest.approx(vaemi.information.gaussian_joint_information(*code), abs=0.01)
    assert copies["sum"] == pytest.approx(vaemi.factor_information(*code).total, abs=0.02)
    assert copies["each"] < copies["joint"] < copies["sum"]


def test_damage_is_compared_among_influential_and_among_ignored_factors():
    found = pages.damage_correlation([3.0, 2.0, 1.0, 0.05, 0.04, 0.03], [9.0, 5.0, 4.0, 0.1, 0.2, 0.3])
    assert found == pytest.approx({"influential": 1.0, "ignored": -1.0})


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_flag_holds_the_entropy_of_its_group(share):
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert pages.rare_flag(share) == pytest.approx(entropy, abs=1e-6)
