"""p-values by hand, and the value that is just significant."""

import pytest
import torch

from vaemi.influence._permutations import permutation_test


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
