"""Scores of the chapter on faces, on cases with a known answer."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from companion.experiments import faces
from vaemi import factor_information, influence
from vaemi.information import fano_accuracy_bound_exact


def test_the_lift_that_is_kept_is_led_by_what_can_be_told():
    full = torch.tensor([0.9, 0.7, 0.501])
    assert faces.lift_kept(full, full) == 1
    assert faces.lift_kept(torch.full((3,), 0.5), full) == 0
    assert faces.lift_kept(torch.tensor([0.7, 0.6, 0.52]), full) == pytest.approx(0.32 / 0.601)
    with pytest.raises(ValueError, match="no better than chance"):
        faces.lift_kept(full, torch.tensor([0.5, 0.5, 0.49]))
    with pytest.raises(ValueError, match="give the same"):
        faces.lift_kept(full, full[:2])


def test_balanced_weights_make_classes_weigh_the_same():
    labels = torch.tensor([3, 3, 3, 3, 3, 0, 0, 7])
    weights = faces.balanced_weights(labels)
    assert weights.mean() == pytest.approx(1)
    assert [float(weights[labels == y].sum()) for y in (0, 3, 7)] == pytest.approx([8 / 3] * 3)
    assert faces.balanced_weights(labels == 7).sum() == pytest.approx(8)


def test_fano_holds_of_balanced_accuracy_under_balanced_weights():
    # One factor, two classes, one of them rare; the best threshold on z tells as much as can be told.
    labels = torch.arange(4000) % 10 == 0
    mean = 1.5 * labels.double()[:, None]
    z = influence.sample_posterior(mean, torch.zeros_like(mean))
    weight = faces.balanced_weights(labels)
    nats = float(factor_information(mean, torch.zeros_like(mean), weight=weight).nats)
    one = labels[:, None]
    reached = float(influence.attribute_accuracies(z, one, z, one, {"all": [0]})["all"])
    bound = float(fano_accuracy_bound_exact(nats, math.log(2), 2))
    assert 0.7 < reached < bound < 0.9


def test_diversity_of_predictions_by_hand():
    sure = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert faces.prediction_diversity(sure) == pytest.approx(math.log(2) + 0 + quarter)
    assert faces.prediction_diversity(torch.full((5, 4), 0.3)) == pytest.approx(0, abs=1e-12)
    soft = torch.tensor([[0.1], [0.9]]).double()
    truth = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert faces.prediction_diversity(soft) == pytest.approx(truth)
    # The inception score: exp of the mean KL of a picture's classes from all pictures'.
    both = torch.cat([soft, 1 - soft], dim=1)
    score = (both * (both / both.mean(0)).log()).sum(1).mean().exp()
    assert math.exp(faces.prediction_diversity(soft)) == pytest.approx(float(score))


def test_groups_are_what_links_connect():
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(4000, 3, generator=generator) < 0.5

    def mostly(label):
        return label ^ (torch.rand(4000, generator=generator) < 0.2)

    chain = [base[:, 0], mostly(base[:, 0])]
    chain.append(mostly(chain[1]))
    labels = torch.stack([chain[0], base[:, 1], chain[2], ~base[:, 2], chain[1], base[:, 2]], dim=1)
    names = ["a0", "lone", "a2", "not c", "a1", "c"]
    assert faces.correlated_groups(labels, names) == [["a0", "a2", "a1"], ["not c", "c"]]
    assert faces.correlated_groups(labels, names, least=0.99) == [["not c", "c"]]
    # |phi| of a0 and a1 is 0.6 as planted; that of three classes is scipy's.
    phi = abs(np.corrcoef(labels[:, 0], labels[:, 4])[0, 1])
    assert faces.correlated_groups(labels[:, [0, 4]], ["a0", "a1"], least=phi - 1e-9)
    assert not faces.correlated_groups(labels[:, [0, 4]], ["a0", "a1"], least=phi + 1e-9)
    three = torch.randint(0, 3, (4000,), generator=generator)
    pair = torch.stack([three, (three + base[:, 0].long()) % 3], dim=1)
    table = np.zeros((3, 3))
    np.add.at(table, tuple(pair.T.numpy()), 1)
    v = math.sqrt(chi2_contingency(table, correction=False).statistic / 4000 / 2)
    assert faces.correlated_groups(pair, ["x", "y"], least=v - 1e-9)
    assert not faces.correlated_groups(pair, ["x", "y"], least=v + 1e-9)
