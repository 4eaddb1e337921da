"""Orders of factors against counts and permutations."""

import pytest
import torch

from vaemi import influence
from vaemi.information.factors import factor_information


def test_orders_are_permutations_and_the_first_is_the_ranking():
    mean = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 2, 0.5, 1, 0, 0.9])
    log_variance = torch.full((500, 6), -1.0)
    information = factor_information(mean, log_variance)
    orders = influence.factor_orders(information, mean, log_variance, draws=3, seed=5)
    assert list(orders) == ["information", "kl", "variance", "random 0", "random 1", "random 2"]
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders.values())
    assert torch.equal(orders["information"], information.ranking)
    assert orders["variance"][0] == 1
    again = influence.factor_orders(information, mean, log_variance, draws=3, seed=5)
    assert all(torch.equal(orders[name], again[name]) for name in orders)


def test_ratios_are_counted_as_the_authors_count_them():
    # int((1 - ratio) * 128) factors are removed.
    published = {1.0: 128, 0.5: 64, 0.1: 13, 0.07: 9, 0.05: 7, 0.04: 6, 0.03: 4, 0.02: 3, 0.01: 2, 0.0: 0}
    assert {ratio: influence.kept_at_ratio(ratio, 128) for ratio in published} == published


def test_exchanges_at_the_cut_trade_each_of_the_last_kept_for_each_of_the_first_dropped():
    order = torch.tensor([3, 1, 0, 2, 4])
    kept = [sorted(one[:2].tolist()) for one in influence.exchanges_at_the_cut(order, 2, reach=2)]
    assert kept == [[0, 1], [1, 2], [0, 3], [2, 3]]
    assert all(sorted(one.tolist()) == [0, 1, 2, 3, 4] for one in influence.exchanges_at_the_cut(order, 2))
    assert len(influence.exchanges_at_the_cut(order, 1, reach=3)) == 3
    assert influence.exchanges_at_the_cut(order, 0) == influence.exchanges_at_the_cut(order, 5) == []
    assert order.tolist() == [3, 1, 0, 2, 4]


def test_rank_correlation_ignores_scale():
    a = torch.tensor([0.0, 1.0, 5.0, 2.0])
    assert influence.rank_correlation(a, a.exp()) == pytest.approx(1)
    assert influence.rank_correlation(a, -a) == pytest.approx(-1)
