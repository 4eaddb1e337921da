"""Accuracy by ratio kept, and orders of factors, on cases with a known answer."""

import pytest
import torch

from companion.experiments import mnist


def test_ratios_are_counted_as_the_authors_count_them():
    # int((1 - ratio) * 128) factors are removed.
    published = {1.0: 128, 0.5: 64, 0.1: 13, 0.07: 9, 0.05: 7, 0.04: 6, 0.03: 4, 0.02: 3, 0.01: 2, 0.0: 0}
    assert {ratio: mnist.kept_at_ratio(ratio, 128) for ratio in published} == published


def test_exchanges_at_the_cut_trade_each_of_the_last_kept_for_each_of_the_first_dropped():
    order = torch.tensor([3, 1, 0, 2, 4])
    kept = [sorted(one[:2].tolist()) for one in mnist.exchanges_at_the_cut(order, 2, reach=2)]
    assert kept == [[0, 1], [1, 2], [0, 3], [2, 3]]
    assert all(sorted(one.tolist()) == [0, 1, 2, 3, 4] for one in mnist.exchanges_at_the_cut(order, 2))
    assert len(mnist.exchanges_at_the_cut(order, 1, reach=3)) == 3
    assert mnist.exchanges_at_the_cut(order, 0) == mnist.exchanges_at_the_cut(order, 5) == []
    assert order.tolist() == [3, 1, 0, 2, 4]


def test_rank_correlation_ignores_scale():
    a = torch.tensor([0.0, 1.0, 5.0, 2.0])
    assert mnist.rank_correlation(a, a.exp()) == pytest.approx(1)
    assert mnist.rank_correlation(a, -a) == pytest.approx(-1)


def test_accuracy_changes_are_those_of_the_parts():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    z = torch.randn(400, 5, generator=generator)
    z[:, 3] += 3 * (labels % 2)
    z[:, 1] += 3 * (labels // 2)
    order, other = torch.tensor([3, 1, 0, 2, 4]), torch.tensor([1, 3, 0, 2, 4])
    ratios = ["1.0", "0.2", "0.0"]
    found = mnist.accuracy_changes((z, labels), (z, labels), order, other, ratios, epochs=5, classifiers=3, seed=1)
    classifier = mnist.train_classifier(z, labels, 5, seed=1)
    counts = [5, 1, 0]
    expected = mnist.accuracies(classifier, z, labels, order, counts)
    assert found.percent == pytest.approx(dict(zip(ratios, (100 * value for value in expected), strict=True)))
    swapped = mnist.accuracies(classifier, z, labels, other, counts)
    assert [value for (value,) in found.changed["other order"].values()] == pytest.approx([100 * v for v in swapped])
    assert {ratio: len(values) for ratio, values in found.changed["one factor exchanged"].items()} == {
        "1.0": 0, "0.2": 3, "0.0": 0,
    }  # fmt: skip
    assert {len(values) for values in found.changed["other classifiers"].values()} == {2}
    longer = mnist.train_classifier(z, labels, 15, seed=1)
    assert found.changed["trained three times as long"]["1.0"] == pytest.approx(
        [100 * mnist.accuracies(longer, z, labels, order, [5])[0]]
    )
    low, high = found.lowest("one factor exchanged"), found.highest("one factor exchanged")
    assert low["0.2"] < found.percent["0.2"] <= high["0.2"]
    assert low["1.0"] == high["1.0"] == found.percent["1.0"]
    assert found.width("one factor exchanged") == pytest.approx(high["0.2"] - low["0.2"])
    with pytest.raises(ValueError, match="train at least one"):
        mnist.accuracy_changes((z, labels), (z, labels), order, other, ratios, classifiers=0)
