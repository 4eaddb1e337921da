"""Scores of the chapter on faces, on cases with a known answer."""

import math

import numpy as np
import pytest
import torch

from companion.experiments import faces, shared
from vaemi import influence


def test_the_largest_share_is_over_all_tables_and_significant_cells_only():
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(800, 3, generator=generator)
    log_variance = torch.full_like(mean, -6.0)
    side = mean > 0
    mostly = side ^ (torch.rand(800, 3, generator=generator) < 0.33)
    # A label of one sample: any factor seems to carry much of its entropy.
    rare = torch.arange(800)[:, None] == 17
    attributes = torch.cat([mostly[:, :1], rare], dim=1)
    tables = [
        influence.label_information(mean, log_variance, labels, names=names, permutations=199)
        for labels, names in ((attributes, ["mostly", "rare"]), (side[:, 1:2], ["side"]))
    ]
    assert tables[0].normalized[2, 1] > faces.LEAST_SHARE
    found = faces.largest_shares(tables, torch.tensor([2, 0, 1]))
    assert list(found) == ["2", "0", "1"]
    assert found["2"] == (None, 0.0)
    # A label that is wrong in 33 % of the samples: log 2 - h_b(0.33) is 8.5 % of log 2.
    assert found["0"] == ("mostly", pytest.approx(0.085, abs=0.03))
    assert found["1"] == ("side", pytest.approx(float(tables[1].normalized[1, 0])))
    assert found["1"][1] > 0.9


def test_gain_kept_by_hand():
    of_all = torch.tensor([0.9, 0.7, 0.5]).double()
    assert float(faces.gain_kept_percent(torch.tensor([0.8, 0.6, 0.5]).double(), of_all)) == pytest.approx(200 / 3)
    assert float(faces.gain_kept_percent(of_all, torch.tensor([0.3, 0.5, 0.6]).double())) == 0
    both = torch.stack([of_all, 1 - of_all])
    assert faces.gain_kept_percent(both, of_all).tolist() == pytest.approx([100, -100])


def test_the_interval_of_the_gain_is_that_of_its_known_error():
    # Classifiers of all factors are always correct, those of some in 80 % of either class: the gain kept is
    # 100 (2 p - 1) % with p the mean of the shares in the classes, whose variance is 0.8 x 0.2 / 4 (1 / n_0 + 1 / n_1).
    n = 2000
    labels = (torch.arange(n) < n // 4)[:, None]
    some = (torch.arange(n) % 5 > 0).double()[:, None]
    weights = shared.bootstrap_weights(n, 4000, seed=1)
    balanced = (
        influence.classification.balanced_accuracy(hits, labels, weights) for hits in (some, torch.ones_like(some))
    )
    low, high = shared.percentile_interval(faces.gain_kept_percent(*balanced))
    half = 1.96 * 200 * math.sqrt(0.16 / 4 * (4 / n + 4 / (3 * n)))
    assert [low, high] == pytest.approx([60 - half, 60 + half], abs=0.08 * half)


def test_pixel_variance_is_that_of_repeated_pictures():
    pictures = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    weights = shared.bootstrap_weights(30, 5, seed=0)
    repeated = [pictures.repeat_interleave((30 * row).round().long(), dim=0) for row in weights]
    expected = [float(some.double().var(0, correction=0).sum()) for some in repeated]
    assert faces.pixel_variance(pictures, weights).tolist() == pytest.approx(expected, rel=1e-5)
    assert faces.pixel_variance(pictures[:1].expand(30, 3, 4, 4), weights).abs().max() < 1e-9


def test_fano_bounds_balanced_accuracy_of_rare_classes():
    # One factor, two classes, one of them rare; the best threshold on z reaches nearly what is allowed.
    labels = (torch.arange(4000) % 10 == 0)[:, None]
    mean = 1.5 * labels.double()
    z = influence.sample_posterior(mean, torch.zeros_like(mean))
    reached = float(influence.attribute_accuracies(z, labels, z, labels, {"all": [0]})["all"])
    assert 70 < 100 * reached < faces.fano_percent(mean, torch.zeros_like(mean), labels) < 90


def test_without_factors_fano_allows_chance():
    assert faces.fano_percent(torch.empty(6, 0), torch.empty(6, 0), torch.eye(6)[:, :2]) == pytest.approx(50)


def test_diversity_of_predictions_by_hand():
    sure = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert faces.prediction_diversity(sure) == pytest.approx(math.log(2) + 0 + quarter)
    assert faces.prediction_diversity(torch.full((5, 4), 0.3)) == pytest.approx(0, abs=1e-12)
    # The inception score: exp of the mean KL of a picture's classes from all pictures'.
    soft = torch.tensor([[0.1], [0.9]]).double()
    both = torch.cat([soft, 1 - soft], dim=1)
    score = (both * (both / both.mean(0)).log()).sum(1).mean().exp()
    assert math.exp(faces.prediction_diversity(soft)) == pytest.approx(float(score))


def test_groups_are_what_links_connect():
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(4000, 3, generator=generator) < 0.5

    def mostly(label):
        return label ^ (torch.rand(4000, generator=generator) < 0.2)

    first = base[:, 0]
    second = mostly(first)
    constant = torch.zeros(4000, dtype=torch.bool)
    columns = [first, base[:, 1], mostly(second), ~base[:, 2], second, base[:, 2], constant]
    labels = torch.stack(columns, dim=1)
    names = ["a0", "lone", "a2", "not c", "a1", "c", "constant"]
    assert faces.correlated_groups(labels, names) == [["a0", "a2", "a1"], ["not c", "c"]]
    phi = abs(np.corrcoef(first, second)[0, 1])
    assert faces.correlated_groups(labels[:, [0, 4]], ["a0", "a1"], least=phi - 1e-9)
    assert not faces.correlated_groups(labels[:, [0, 4]], ["a0", "a1"], least=phi + 1e-9)
