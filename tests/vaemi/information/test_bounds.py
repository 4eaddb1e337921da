"""The bounds against cases that can be counted or worked out."""

import math

import pytest
import torch

from vaemi.information.bounds import (
    entropy_of_labels,
    fano_accuracy_bound,
    fano_accuracy_bound_exact,
    gaussian_entropy,
    gaussian_entropy_from_samples,
    reconstruction_bound,
    reverse_water_filling,
    water_level,
)


def test_entropy_of_balanced_and_constant_labels():
    assert entropy_of_labels(torch.arange(10).repeat(7)) == pytest.approx(math.log(10))
    assert entropy_of_labels([3, 3, 3]) == 0
    with pytest.raises(ValueError, match="empty"):
        entropy_of_labels([])


def test_nothing_known_and_everything_known():
    nothing, everything = fano_accuracy_bound([0.0, math.log(10)], math.log(10), 10).tolist()
    assert nothing == pytest.approx(math.log(2) / math.log(10))
    assert everything == 1


def test_a_channel_with_known_error():
    # Y uniform over 10, told right with probability 1 - e, else one of the nine others: the best guess errs with e.
    n, error = 10, 0.3
    conditional_entropy = -(1 - error) * math.log(1 - error) - error * math.log(error / (n - 1))
    bound = float(fano_accuracy_bound(math.log(n) - conditional_entropy, math.log(n), n))
    assert 1 - error <= bound <= 1
    # The weak form of the inequality gives away at most log 2 / log n.
    assert bound - (1 - error) <= math.log(2) / math.log(n)


def test_more_information_never_lowers_the_bound():
    bounds = fano_accuracy_bound(torch.linspace(0, 4, 50), 2.0, 10)
    assert (bounds.diff() >= 0).all()
    assert ((bounds >= 0) & (bounds <= 1)).all()


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
    # A binary channel that errs with 0.11 carries log 2 - h_b(0.11), half a bit to three digits.
    assert float(fano_accuracy_bound_exact(0.5 * math.log(2), math.log(2), 2)) == pytest.approx(0.89, abs=1e-4)


@pytest.mark.parametrize("n", [2, 5, 100])
def test_the_exact_bound_is_never_above_the_relaxed_one(n):
    for entropy in (0.3 * math.log(n), 0.9 * math.log(n), math.log(n)):
        nats = torch.linspace(0, 1.2 * math.log(n), 200, dtype=torch.float64)
        exact = fano_accuracy_bound_exact(nats, entropy, n)
        assert (exact <= fano_accuracy_bound(nats, entropy, n) + 1e-12).all()
        assert (exact.diff() >= 0).all()


@pytest.mark.parametrize("bound", [fano_accuracy_bound, fano_accuracy_bound_exact])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [((-0.1, 1.0, 10), "negative"), ((0.1, 3.0, 10), "label_entropy"), ((0.1, 0.0, 1), "n_classes")],
)
def test_impossible_arguments(bound, arguments, words):
    with pytest.raises(ValueError, match=words):
        bound(*arguments)


def spectrum(size=6, seed=0):
    return torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3 + 0.2


def test_gaussian_entropy_is_torchs():
    eigenvalues = spectrum(4)
    theirs = torch.distributions.MultivariateNormal(torch.zeros(4).double(), eigenvalues.diag()).entropy()
    assert gaussian_entropy(eigenvalues) == pytest.approx(float(theirs), abs=1e-12)


@pytest.mark.parametrize(("n", "dimension"), [(7, 6), (12, 6), (60, 6), (2, 1)])
def test_the_entropy_of_few_gaussian_samples_is_unbiased(n, dimension):
    eigenvalues = spectrum(dimension)
    generator = torch.Generator().manual_seed(n)
    draws = torch.randn(2000, n, dimension, dtype=torch.float64, generator=generator) * eigenvalues.sqrt() + 3
    estimates = torch.tensor([gaussian_entropy_from_samples(draw) for draw in draws])
    error = float(estimates.mean()) - gaussian_entropy(eigenvalues)
    assert abs(error) < 3.5 * float(estimates.std()) / len(estimates) ** 0.5


def test_the_entropy_of_many_samples_in_any_basis_and_place():
    eigenvalues = spectrum(5)
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(200, 5, dtype=torch.float64, generator=generator) * eigenvalues.sqrt()
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator)).Q
    here, there = gaussian_entropy_from_samples(samples), gaussian_entropy_from_samples(samples @ turn + 100)
    assert there == pytest.approx(here, abs=1e-10)
    # Stretching by a factor adds its logarithm in every dimension.
    assert gaussian_entropy_from_samples(10 * samples) == pytest.approx(here + 5 * math.log(10), abs=1e-10)


def gaussian_code(eigenvalues, water_level):
    """Error and information of Z_i = X_i + noise with the noise of the best test channel, from covariances alone."""
    kept = eigenvalues[eigenvalues > water_level]
    noise = kept * water_level / (kept - water_level)
    error = (kept - kept**2 / (kept + noise)).sum() + eigenvalues[eigenvalues <= water_level].sum()
    information = 0.5 * torch.logdet(torch.eye(len(kept)) + (kept / noise).diag())
    return error / len(eigenvalues), information


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_the_reconstruction_bound_is_met_where_all_components_are_active(share):
    eigenvalues = spectrum()
    error, information = gaussian_code(eigenvalues, share * eigenvalues.min())
    bound = reconstruction_bound(information, gaussian_entropy(eigenvalues), len(eigenvalues))
    assert float(error) == pytest.approx(float(bound), rel=1e-12)
    assert float(bound) == pytest.approx(share * float(eigenvalues.min()), rel=1e-12)


def test_the_reconstruction_bound_is_not_met_where_components_are_under_water():
    eigenvalues = spectrum()
    for level in torch.linspace(float(eigenvalues.min()) * 1.05, float(eigenvalues.max()) * 0.99, 20):
        error, information = gaussian_code(eigenvalues, level)
        assert error > reconstruction_bound(information, gaussian_entropy(eigenvalues), len(eigenvalues)) * (1 + 1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_no_linear_code_of_a_gaussian_passes_the_reconstruction_bound(seed):
    generator = torch.Generator().manual_seed(seed)
    eigenvalues = spectrum(seed=seed)
    covariance = eigenvalues.diag()
    encoder = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    noisy = encoder @ covariance @ encoder.T + torch.eye(6)
    best = covariance - covariance @ encoder.T @ torch.linalg.solve(noisy, encoder @ covariance)
    bound = reconstruction_bound(0.5 * torch.logdet(noisy), gaussian_entropy(eigenvalues), 6)
    assert best.trace() / 6 >= bound


def test_water_filling_is_the_gaussian_code():
    eigenvalues = spectrum()
    levels = torch.linspace(0.05, 4, 30)
    information, distortion = reverse_water_filling(eigenvalues, levels)
    assert information.shape == distortion.shape == (30, 6)
    for level, nats, errors in zip(levels, information, distortion, strict=True):
        error, total = gaussian_code(eigenvalues, level)
        assert float(nats.sum()) == pytest.approx(float(total), abs=1e-12)
        assert float(errors.mean()) == pytest.approx(float(error), abs=1e-12)


def test_water_filling_by_hand():
    information, distortion = reverse_water_filling([4.0, 1.0, 0.25], 0.5)
    assert information.tolist() == pytest.approx([0.5 * math.log(8), 0.5 * math.log(2), 0])
    assert distortion.tolist() == [0.5, 0.5, 0.25]


def test_no_other_split_of_the_information_has_a_smaller_error():
    eigenvalues = spectrum()
    information, distortion = reverse_water_filling(eigenvalues, 0.7)
    generator = torch.Generator().manual_seed(0)
    other = torch.rand(2000, 6, dtype=torch.float64, generator=generator)
    other *= information.sum() / other.sum(1, keepdim=True)
    assert ((eigenvalues * (-2 * other).exp()).sum(1) > distortion.sum()).all()


def test_the_water_level_of_an_information():
    eigenvalues = spectrum()
    nats = torch.linspace(0, 12, 50)
    levels = water_level(eigenvalues, nats)
    assert reverse_water_filling(eigenvalues, levels)[0].sum(-1).tolist() == pytest.approx(nats.tolist(), abs=1e-12)
    assert (levels.diff() < 0).all()
    assert float(levels[0]) == pytest.approx(float(eigenvalues.max()))
    # The slope of the rate-distortion curve is 1 / (2 theta).
    error = reverse_water_filling(eigenvalues, levels)[1].sum(-1)
    assert (-nats.diff() / error.diff() > 1 / (2 * levels[:-1])).all()
    assert (-nats.diff() / error.diff() < 1 / (2 * levels[1:])).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gaussian_entropy([1.0, 0.0]), "eigenvalues is 0"),
        (lambda: gaussian_entropy(torch.eye(2)), r"shape \(2, 2\)"),
        (lambda: gaussian_entropy_from_samples(torch.randn(6, 6)), "6 samples in 6 dimensions"),
        (lambda: gaussian_entropy_from_samples(torch.randn(20)), r"shape \(20,\)"),
        (lambda: gaussian_entropy_from_samples(torch.full((9, 2), torch.nan)), "not finite"),
        (lambda: gaussian_entropy_from_samples(torch.randn(50, 1).repeat(1, 3)), "subspace"),
        (lambda: reconstruction_bound(-1.0, 0.0, 3), "negative"),
        (lambda: reconstruction_bound(torch.nan, 0.0, 3), "negative"),
        (lambda: reconstruction_bound(1.0, math.inf, 3), "entropy is inf"),
        (lambda: reconstruction_bound(1.0, 0.0, 0), "dimension is 0"),
        (lambda: reverse_water_filling([1.0, 2.0], [0.5, 0.0]), "water_level"),
        (lambda: reverse_water_filling([], 0.5), r"shape \(0,\)"),
        (lambda: water_level([1.0, 2.0], -0.1), "negative"),
    ],
)
def test_what_the_bounds_refuse(call, words):
    with pytest.raises(ValueError, match=words):
        call()
