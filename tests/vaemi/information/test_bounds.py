"""The bounds against cases that can be counted or worked out."""

import math

import pytest
import torch

from vaemi.information import fano_accuracy_bound, fano_accuracy_bound_exact, reconstruction_bound
from vaemi.information.bounds import entropy_of_labels, reverse_water_filling


def test_entropy_of_balanced_and_constant_labels():
    assert entropy_of_labels(torch.arange(10).repeat(7)) == pytest.approx(math.log(10))
    assert entropy_of_labels([3, 3, 3]) == 0


def test_no_information_and_full_information():
    nothing, everything = fano_accuracy_bound([0.0, math.log(10)], math.log(10), 10).tolist()
    assert nothing == pytest.approx(math.log(2) / math.log(10))
    assert everything == 1


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_the_exact_bound_is_met_by_the_symmetric_channel(n):
    error = torch.linspace(0, 1 - 1 / n, 41, dtype=torch.float64)
    conditional = torch.special.entr(1 - error) + torch.special.entr(error) + error * math.log(n - 1)
    bound = fano_accuracy_bound_exact((math.log(n) - conditional).clamp_min(0), math.log(n), n)
    # Near chance the information of the last guess's rounding is its square.
    torch.testing.assert_close(bound[:-1], 1 - error[:-1], atol=1e-11, rtol=0)
    assert float(bound[0]) == 1


def test_the_exact_bound_at_its_ends_and_for_two_classes():
    for n in (2, 7):
        assert float(fano_accuracy_bound_exact(0.0, math.log(n), n)) == pytest.approx(1 / n, abs=1e-12)
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    nothing, half, everything, more = fano_accuracy_bound_exact([0.0, entropy / 2, entropy, 9], entropy, 2).tolist()
    # Without information the better guess is the commoner class.
    assert nothing == pytest.approx(0.8, abs=1e-12)
    assert -(half * math.log(half) + (1 - half) * math.log(1 - half)) == pytest.approx(entropy / 2, abs=1e-12)
    assert everything == more == 1


@pytest.mark.parametrize("n", [2, 5, 100])
def test_the_exact_bound_is_never_above_the_relaxed_one(n):
    for entropy in (0.3 * math.log(n), math.log(n)):
        nats = torch.linspace(0, 1.2 * math.log(n), 200, dtype=torch.float64)
        exact, relaxed = fano_accuracy_bound_exact(nats, entropy, n), fano_accuracy_bound(nats, entropy, n)
        assert (exact <= relaxed + 1e-12).all()
        assert (exact.diff() >= 0).all()
        assert (relaxed.diff() >= 0).all()


@pytest.mark.parametrize("bound", [fano_accuracy_bound, fano_accuracy_bound_exact])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [((-0.1, 1.0, 10), "negative"), ((0.1, 3.0, 10), "label_entropy"), ((0.1, 0.0, 1), "n_classes")],
)
def test_impossible_arguments(bound, arguments, words):
    with pytest.raises(ValueError, match=words):
        bound(*arguments)


EIGENVALUES = torch.tensor([1.69, 2.5, 0.47, 0.6, 1.12, 2.1]).double()
ENTROPY = float(0.5 * (2 * math.pi * math.e * EIGENVALUES).log().sum())


def gaussian_code(eigenvalues, water_level):
    """Error and information of Z_i = X_i + noise with the noise of the best test channel, from covariances alone."""
    kept = eigenvalues[eigenvalues > water_level]
    noise = kept * water_level / (kept - water_level)
    error = (kept - kept**2 / (kept + noise)).sum() + eigenvalues[eigenvalues <= water_level].sum()
    information = 0.5 * torch.logdet(torch.eye(len(kept)) + (kept / noise).diag())
    return error / len(eigenvalues), information


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_the_reconstruction_bound_is_met_where_all_components_are_active(share):
    error, information = gaussian_code(EIGENVALUES, share * EIGENVALUES.min())
    bound = reconstruction_bound(information, ENTROPY, len(EIGENVALUES))
    assert float(error) == pytest.approx(float(bound), rel=1e-12)
    assert float(bound) == pytest.approx(share * float(EIGENVALUES.min()), rel=1e-12)
    with pytest.raises(ValueError, match="negative"):
        reconstruction_bound(-share, ENTROPY, len(EIGENVALUES))


@pytest.mark.parametrize("seed", range(3))
def test_no_linear_code_of_a_gaussian_passes_the_reconstruction_bound(seed):
    covariance = EIGENVALUES.diag()
    encoder = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    noisy = encoder @ covariance @ encoder.T + torch.eye(6)
    best = covariance - covariance @ encoder.T @ torch.linalg.solve(noisy, encoder @ covariance)
    assert best.trace() / 6 >= reconstruction_bound(0.5 * torch.logdet(noisy), ENTROPY, 6)


def test_water_filling_is_the_gaussian_code():
    levels = torch.linspace(0.05, 4, 30)
    information, distortion = reverse_water_filling(EIGENVALUES, levels)
    assert information.shape == distortion.shape == (30, 6)
    for level, nats, errors in zip(levels, information, distortion, strict=True):
        error, total = gaussian_code(EIGENVALUES, level)
        assert float(nats.sum()) == pytest.approx(float(total), abs=1e-12)
        assert float(errors.mean()) == pytest.approx(float(error), abs=1e-12)
