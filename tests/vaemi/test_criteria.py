"""Criteria against closed forms, and batch by batch against all at once."""

import math

import pytest
import torch

import vaemi
from vaemi.criteria import CRITERIA, CriteriaSketch, compare_criteria
from vaemi.information import InformationSketch, standard_error

M = 4000


@pytest.fixture(scope="module")
def posteriors():
    """Four factors: used, ignored, used for a few inputs, and of a constant mean with alternating width."""
    generator = torch.Generator().manual_seed(0)
    mean, variance = torch.zeros(M, 4), torch.ones(M, 4)
    mean[:, 0] = torch.randn(M, generator=generator) * 0.9
    variance[:, 0] = 0.05
    mean[::50, 2] = 4.0
    mean[:, 3] = -2.0
    variance[::2, 3] = 1.9
    return mean, variance.log()


def test_the_sums_are_those_of_the_definitions(posteriors):
    mean, log_variance = (part.double() for part in posteriors)
    variance = log_variance.exp()
    found = compare_criteria(*posteriors).values
    star = (mean.square() + variance).mean(0)
    expected = {
        "gaussian_information": 0.5 * (star.log() - log_variance.mean(0)),
        "kl": 0.5 * (mean.square() + variance - 1 - log_variance).mean(0),
        "active_units": mean.var(0, correction=0),
        "mean_variance": variance.mean(0),
        "mean_precision": -log_variance.mean(0),
        "marginal_std": star.sqrt(),
        "max_mean": mean.abs().amax(0),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_the_information_and_the_divergences_are_those_of_the_estimator(posteriors):
    found = compare_criteria(*posteriors)
    torch.testing.assert_close(found.values["information"], vaemi.factor_information(*posteriors).nats)
    sketch = InformationSketch(4)
    sketch.update(*posteriors)
    divergence = sketch.divergences(*posteriors)
    torch.testing.assert_close(found.largest_divergence, divergence.amax(0))
    assert divergence[found.rarest_input[2], 2] == divergence[:, 2].max()
    # Four of 4,000 inputs lie above the quantile.
    assert ((divergence > found.values["upper_divergence"]).sum(0) <= 4).all()
    assert ((divergence >= found.values["upper_divergence"]).sum(0) >= 5).all()


def test_verdicts_at_the_lines_of_the_sources(posteriors):
    found = compare_criteria(*posteriors)
    expected = {
        "information": [True, False, False, False],
        "kl": [True, False, True, True],
        "active_units": [True, False, True, False],
        "mean_variance": [True, False, False, True],
        "marginal_std": [False, False, False, True],
        "max_mean": [True, False, True, True],
        "upper_divergence": [True, False, True, False],
    }
    for name, used in expected.items():
        assert found.used(name).tolist() == used, name
        assert found.n_used[name] == sum(used)
    assert found.activity == ["active", "passive", "passive", "mixed"]
    assert found.decisive_for_few.tolist() == [2]
    assert found.disagreements()["kl"].tolist() == [2, 3]


def test_a_rare_detector_by_its_closed_form(posteriors):
    # 2 % of the posteriors are N(4, 1), all others N(0, 1): log 50 nats if they did not overlap.
    found = compare_criteria(*posteriors)
    assert 3.0 < found.largest_divergence[2] < math.log(50)
    assert found.rarest_input[2] % 50 == 0
    assert found.information.nats[2] < 0.1


def test_thresholds_can_be_replaced(posteriors):
    assert compare_criteria(*posteriors, thresholds={"kl": 5.0}).n_used["kl"] == 0
    with pytest.raises(ValueError, match="thresholds has active: choose among information"):
        compare_criteria(*posteriors, thresholds={"active": 1.0})


def test_clusters_widen_the_error_of_the_information(posteriors):
    clusters = torch.arange(M) // 100
    mean = posteriors[0] + torch.randn(40, 1, generator=torch.Generator().manual_seed(1)).repeat_interleave(100, 0)
    found = compare_criteria(mean, posteriors[1], clusters=clusters).information
    expected = vaemi.factor_information(mean, posteriors[1], clusters=clusters)
    torch.testing.assert_close(found.stderr, expected.stderr, rtol=1e-5, atol=1e-9)
    assert (found.stderr > 1.5 * vaemi.factor_information(mean, posteriors[1]).stderr).any()


def test_batches_and_parts_add_up_to_the_whole(posteriors):
    posteriors = [part.clone() for part in posteriors]
    posteriors[0][3500, 0] = 8.0  # in the second part
    whole = compare_criteria(*posteriors)
    assert whole.rarest_input[0] == 3500
    sketch, other = CriteriaSketch(4), CriteriaSketch(4)
    for start in range(0, 3000, 500):
        sketch.update(*(part[start : start + 500] for part in posteriors))
    other.update(*(part[3000:] for part in posteriors))
    sketch.merge(other)
    found = sketch.compute()
    for name, value in whole.values.items():
        torch.testing.assert_close(found.values[name], value, rtol=1e-9, atol=1e-9)
    assert torch.equal(found.rarest_input, whole.rarest_input)
    restored = CriteriaSketch(4)
    restored.load_state_dict(sketch.state_dict())
    restored.update(*posteriors)
    assert restored.compute().information.n_samples == 2 * M


def test_a_sketch_keeps_an_even_sample_of_very_many_inputs(posteriors):
    sketch = CriteriaSketch(4, max_kept_bytes=40_000)
    for start in range(0, M, 250):
        sketch.update(*(part[start : start + 250] for part in posteriors))
    found = sketch.compute()
    assert 500 <= found.n_inputs_searched <= 1250
    assert sketch.kept.nbytes <= 40_000
    number = sketch.kept.rows()[2]
    assert len(number.diff().unique()) == 1
    assert torch.equal(sketch.kept.rows()[0], posteriors[0][number])
    torch.testing.assert_close(found.values["kl"], compare_criteria(*posteriors).values["kl"])


def test_a_sketch_without_inputs_says_so():
    with pytest.raises(ValueError, match="0 samples"):
        CriteriaSketch(4).compute()


def test_a_variance_far_from_zero_keeps_its_digits():
    mean = 1e6 + 0.01 * torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = compare_criteria(mean, torch.full((1000, 1), -9.0, dtype=torch.float64))
    torch.testing.assert_close(found.values["active_units"], mean.var(0, correction=0), rtol=1e-4, atol=0)


def test_every_criterion_says_when_to_use_it_and_how_it_fails():
    for criterion in CRITERIA.values():
        assert criterion.use_when.startswith("Use it")
        assert criterion.fails_when.endswith(".")
        assert criterion.source
    assert CRITERIA["information"].used_if() == "above 0.1 nats"
    assert CRITERIA["marginal_std"].used_if(2.0) == "below 0.5 or above 2 z"
    assert CRITERIA["effect"].used_if() == "above 1 % of the effect of all"


def test_the_table_has_a_value_and_a_verdict_for_each_criterion(posteriors):
    pandas = pytest.importorskip("pandas")
    frame = compare_criteria(*posteriors).with_effect(torch.tensor([0.5, 0.0, 0.02, 0.001])).to_frame()
    assert list(frame["factor"]) == [0, 1, 2, 3]
    for name in CRITERIA:
        assert pandas.api.types.is_bool_dtype(frame[f"{name}_used"]), name
    assert frame["effect_used"].tolist() == [True, False, True, False]
    strict = compare_criteria(*posteriors, thresholds={"effect": 0.1}).with_effect(
        torch.tensor([0.5, 0.0, 0.02, 0.001])
    )
    assert strict.n_used["effect"] == 1


def test_the_error_of_a_mean_is_not_changed_by_the_sketch(posteriors):
    found = compare_criteria(*posteriors).information
    sketch = InformationSketch(4)
    sketch.update(*posteriors)
    torch.testing.assert_close(found.stderr, standard_error(sketch.divergences(*posteriors)), rtol=1e-4, atol=1e-9)
