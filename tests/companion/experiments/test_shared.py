"""Steps that several chapters share, on cases with a known answer."""

import pytest
import torch

from companion.experiments import shared
from vaemi import factor_information


def information(sigmas, scales):
    """Factors with Gaussian marginals of standard deviation `scales` and about -log(sigma) nats."""
    sigma, scale = torch.tensor(sigmas), torch.tensor(scales)
    base = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)).expand(-1, len(sigmas))
    base = (base - base.mean(0)) / base.std(0)
    mean = scale * base * (1 - sigma.square()).sqrt()
    return factor_information(mean, (2 * (scale * sigma).log()).expand_as(mean))


def test_how_well_sigma_star_ranks():
    # Three of four influential factors are wider than the ignored ones; the fourth is wider than one of the two.
    found = shared.sigma_star_ranking(
        information([0.1, 0.99, 0.2, 0.3, 0.99, 0.4], [1.1, 1.0, 1.2, 1.05, 0.88, 0.95]), 0.1
    )
    assert found.auc == pytest.approx(7 / 8)
    # Distances 0.1, 0.2, 0.05 and 0.05 against 0 and 0.12.
    assert found.distance_auc == pytest.approx(5 / 8)
    # Ranks by information 4 3 2 1, by sigma* 3 4 2 1.
    assert found.rank_correlation == pytest.approx(0.8)
    assert found.values() == {
        "sigma_star_auc": found.auc,
        "sigma_star_distance_auc": found.distance_auc,
        "sigma_star_rank_correlation": found.rank_correlation,
    }
    assert "0.88" in found.in_words()
    assert "0.80" in found.in_words()


@pytest.mark.parametrize("sigmas", [[0.99, 0.99, 0.99], [0.99, 0.1, 0.2]])
def test_a_ranking_of_too_few_is_chance(sigmas):
    found = shared.sigma_star_ranking(information(sigmas, [1.0, 1.1, 1.2]), 0.1)
    assert found.rank_correlation == 0
    assert found.auc == (1.0 if 0.1 in sigmas else 0.5)
    assert shared.sigma_star_ranking(information([0.1] * 3, [1.0, 1.1, 1.2]), 0.1).auc == 0.5


def test_a_bootstrap_of_the_mean_has_its_standard_error():
    values = torch.arange(400).double()
    weights = shared.bootstrap_weights(400, resamples=4000, seed=2)
    assert weights.shape == (4000, 400)
    torch.testing.assert_close(weights.sum(1), torch.ones(4000, dtype=torch.float64))
    low, high = shared.percentile_interval(weights @ values)
    half = 1.96 * float(values.std(correction=0)) / 20
    assert [low, high] == pytest.approx([199.5 - half, 199.5 + half], abs=0.08 * half)
