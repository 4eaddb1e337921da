"""Orders of factors."""

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
