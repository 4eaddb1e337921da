"""Steps that several chapters share, on cases with a known answer."""

import pytest
import torch

import vaemi
from companion.experiments import shared
from vaemi import factor_information, influence


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


@pytest.mark.parametrize("sigmas", [[0.99, 0.99, 0.99], [0.99, 0.1, 0.2]])
def test_a_ranking_of_too_few_is_chance(sigmas):
    found = shared.sigma_star_ranking(information(sigmas, [1.0, 1.1, 1.2]), 0.1)
    assert found.rank_correlation == 0
    assert found.auc == (1.0 if 0.1 in sigmas else 0.5)
    assert shared.sigma_star_ranking(information([0.1] * 3, [1.0, 1.1, 1.2]), 0.1).auc == 0.5


def test_factors_at_some_ranks_and_the_last():
    assert shared.factors_at(torch.tensor([5, 3, 0, 4, 1, 2]), 0, 1, 4) == [5, 3, 1, 2]
    assert shared.factors_at(torch.tensor([1, 0]), 0, 1, 4) == [1, 0]
    assert shared.factors_at(torch.tensor([0]), 0, 1, 2) == [0]


def test_a_rank_correlation_is_a_number_for_few_and_for_equal_values():
    values = torch.tensor([1.0, 3.0, 2.0])
    assert shared.rank_correlation(values, values.square()) == pytest.approx(1)
    assert shared.rank_correlation(values, torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(0.5)
    assert shared.rank_correlation(values, torch.ones(3)) == 0
    assert shared.rank_correlation(values[:2], values[:2]) == 0


def test_a_bootstrap_of_the_mean_has_its_standard_error():
    values = torch.arange(400).double()
    weights = shared.bootstrap_weights(400, resamples=4000, seed=2)
    assert weights.shape == (4000, 400)
    torch.testing.assert_close(weights.sum(1), torch.ones(4000, dtype=torch.float64))
    low, high = shared.percentile_interval(weights @ values)
    half = 1.96 * float(values.std(correction=0)) / 20
    assert [low, high] == pytest.approx([199.5 - half, 199.5 + half], abs=0.08 * half)


def comparison(latent_shape=()):
    """Four factors: used, decoded but constant, used but not decoded, and one that a single input of 500 moves."""
    base = torch.linspace(-1.7, 1.7, 500)
    mean, log_variance = torch.zeros(500, 4), torch.zeros(500, 4)
    mean[:, 0], log_variance[:, 0] = base, -5.0
    mean[:, 1] = 2.0
    mean[:, 2], log_variance[:, 2] = base.roll(250), -4.0
    mean[250, 3], log_variance[250, 3] = 0.5, -12.0
    weight = torch.diag(torch.tensor([1.0, 3.0, 0.0, 0.5]))
    if latent_shape:
        kept = (part[:100].unflatten(1, latent_shape) for part in (mean, log_variance))
        effects = influence.decoder_effects(lambda z: z * torch.tensor([1.0, 0.0])[:, None, None], *kept)
    else:
        effects = influence.decoder_effects(lambda z: z @ weight, mean[::5], log_variance[::5])
    return shared.CriteriaComparison(vaemi.compare_criteria(mean, log_variance), effects, latent_shape)


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_criteria_beside_the_information():
    found = comparison()
    values = found.values()
    assert values["n_factors"] == 4
    assert values["used"]["information"] == 2
    # A constant mean off zero looks like KL; the decoder passes the noise of two factors on and ignores one.
    assert values["otherwise"]["kl"] == [1]
    assert values["otherwise"]["effect"] == [1, 2, 3]
    assert values["otherwise"]["active_units"] == []
    assert values["decisive_for_few"] == [3]
    # By information z0 > z2 > z3 > z1, by effect z1 > z0 > z3 > z2.
    assert values["effect_correlation"] == pytest.approx(-0.4)
    assert "channels" not in values
    row = {name: others for name, *others in cells(found.table())}
    assert row["Information"] == ["2", "", "above 0.1 nats"]
    assert row["KL to the prior"] == ["3", "1 used: z1", "above 0.1 nats"]
    assert row["Active units"] == ["2", "none", "above 0.01 z²"]
    assert row["Effect on the output"] == ["3", "2 used: z1, z3; 1 unused: z2", "above 1 % of the effect of all"]
    assert row["Marginal standard deviation"][2] == "outside 0.8 to 1.25"
    assert row["Largest mean"][2] == "at 0.1 or more"
    assert cells(found.summary())[2:] == [
        ["other criteria with the same verdict on every factor", "3 of 9"],
        ["the simplest of them", "Active units"],
        ["factors with at most 0.1 nats that carry more than 1 nat about some inputs", "z3"],
        ["rank correlation of information and effect", "-0.40"],
    ]


def test_effects_of_channels_stay_apart():
    found = comparison((2, 2, 1))
    values = found.values()
    assert "effect" not in values["used"]
    assert values["channels"] == {"n": 2, "information": 2, "effect": 1, "otherwise": [1]}
    assert values["effect_correlation"] is None
    assert "1 used: z(0, 1, 0)" in found.table()
    assert cells(found.summary())[-3:] == [
        ["channels that change the output by more than 1 % when replaced at all places", "1 of 2"],
        ["channels with information at one place or more", "2 of 2"],
        ["rank correlation of information and effect", "-"],
    ]


def test_the_simplest_criterion_is_the_first_that_agrees_on_every_factor():
    assert set(shared.SIMPLEST_FIRST) == vaemi.criteria.CRITERIA.keys() - {"information"}
    everything = {name: [] for name in shared.SIMPLEST_FIRST}
    assert shared.simplest_agreeing(everything) == "kl"
    assert shared.simplest_agreeing(everything | {"kl": [3]}) == "active_units"
    assert shared.simplest_agreeing({"kl": [0], "effect": []}) == "effect"
    assert shared.simplest_agreeing({"kl": [0]}) is None


def test_criteria_that_all_agree():
    base = torch.linspace(-1.7, 1.7, 500)[:, None]
    found = vaemi.compare_criteria(base, torch.full_like(base, -4.0), thresholds={"marginal_std": 1.001})
    effects = influence.decoder_effects(lambda z: z, base, torch.full_like(base, -4.0))
    rows = dict(cells(shared.CriteriaComparison(found, effects).summary()))
    assert rows["other criteria with the same verdict on every factor"] == "9 of 9"
    assert rows["factors with at most 0.1 nats that carry more than 1 nat about some inputs"] == "none"


def test_verdicts_come_with_every_rule_in_order_and_its_reason(monkeypatch):
    shown = []
    monkeypatch.setattr(shared, "display", lambda *parts: shown.extend(part.data for part in parts))
    rules = [
        {"date": "2026-11-25", "rule": "all", "reason": "first rule", "verdict": "does not hold", "shortfall": "few"},
        {"date": "2026-11-25", "rule": "most", "reason": "loosened", "verdict": "holds", "shortfall": ""},
        {"date": "2026-11-29", "rule": "some", "reason": "as the paper says", "verdict": "holds", "shortfall": ""},
    ]
    claim = {"id": "C8", "statement": "Some.", "verdict": "holds", "value": 1.0, "interval": None, "unit": "nats"}
    shared.show_verdicts([claim | {"published": None, "rules": rules}])
    assert shown[1].splitlines() == [
        "- **C8**, rule 3, of 2026-11-29: some.",
        "    - Rule 1, of 2026-11-25, under which it does not hold: all. *Why:* first rule.",
        "    - Rule 2, of 2026-11-25, under which it holds: most. *Why:* loosened.",
    ]
