"""What classifiers tell from factors of which it is known what they hold."""

import pytest
import torch

from vaemi import influence


def test_a_classifier_falls_to_chance_without_its_factor():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(300)
    z = torch.randn(600, 3, generator=generator) * 0.3
    z[:, 1] += 2.0 * labels - 1
    classifier = influence.train_classifier(z, labels, epochs=15, hidden_dim=16)
    order = torch.tensor([1, 0, 2])
    with_it, without = influence.accuracies(classifier, z, labels, order, [1, 0])
    assert with_it > 0.95
    assert without == pytest.approx(0.5, abs=0.01)
    (least,) = influence.accuracies(classifier, z, labels, order.flip(0), [2])
    assert least < 0.7
