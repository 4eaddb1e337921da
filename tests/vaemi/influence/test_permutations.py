"""p-values by hand, and the value that is just significant."""

import math

import pytest
import torch

from vaemi.influence._permutations import permutation_test, shuffles
from vaemi.influence.association import _value_at


def test_p_values_by_hand():
    # Two cells, the data and nine permutations; the largest of the two in each permutation: 3 5 2 4 6 2 9 1 7.
    null = torch.tensor([[3, 1], [2, 5], [2, 2], [4, 0], [6, 6], [0, 2], [1, 9], [1, 1], [7, 3]], dtype=torch.float64)
    test = permutation_test(torch.cat([torch.tensor([[6.0, 8.0]], dtype=torch.float64), null]), alpha=0.3)
    assert test.p_value.tolist() == pytest.approx([0.3, 0.2])
    assert test.corrected_p_value.tolist() == pytest.approx([0.4, 0.2])
    # p <= 0.3 allows two permutations at or above the cell; the third largest is 6.
    assert test.critical == 6


def test_critical_is_where_significance_begins():
    statistic = torch.randn(100, 6, 5, generator=torch.Generator().manual_seed(0))
    for alpha in (0.01, 0.05, 0.5):
        test = permutation_test(statistic, alpha)
        for value, significant in ((test.critical + 1e-6, True), (test.critical - 1e-6, False)):
            statistic[0, 2, 3] = value
            assert bool(permutation_test(statistic, alpha).corrected_p_value[2, 3] <= alpha) == significant


def test_the_first_order_is_that_of_the_data():
    orders = shuffles(5, 20, torch.Generator().manual_seed(0))
    assert orders[0].tolist() == list(range(20))
    assert (orders.sort(dim=1).values == torch.arange(20)).all()
    assert len(orders.unique(dim=0)) == 6


def test_a_value_with_the_critical_deviation():
    null = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value = _value_at(2.7, null)
    everything = torch.cat([value[None], null])
    deviation = (value - everything.mean(0)) / everything.std(0, correction=0)
    assert deviation.tolist() == pytest.approx([2.7] * 3)
    # One of 51 numbers cannot deviate more.
    assert (_value_at(math.sqrt(50), null) == math.inf).all()
