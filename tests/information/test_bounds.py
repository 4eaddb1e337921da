"""Fano's bound against cases that can be counted."""

import math

import pytest
import torch

from vaemi.information import entropy_of_labels, fano_accuracy_bound


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((-0.1, 1.0, 10), "negative"), ((0.1, 3.0, 10), "label_entropy"), ((0.1, 0.0, 1), "n_classes")],
)
def test_impossible_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        fano_accuracy_bound(*arguments)
