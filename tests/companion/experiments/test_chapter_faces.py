"""Scores of the chapter on faces, on cases with a known answer."""

import math

import numpy as np
import pytest
import torch

from companion.experiments import faces
from vaemi import influence


def test_fano_bounds_balanced_accuracy_of_rare_classes():
    # One factor, two classes, one of them rare; the best threshold on z reaches nearly what is allowed.
    labels = (torch.arange(4000) % 10 == 0)[:, None]
    mean = 1.5 * labels.double()
    z = influence.sample_posterior(mean, torch.zeros_like(mean))
    reached = float(influence.attribute_accuracies(z, labels, z, labels, {"all": [0]})["all"])
    assert 70 < 100 * reached < faces.fano_percent(mean, torch.zeros_like(mean), labels) < 90


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
