"""FactorInformation: ranking, thresholds, totals, tables."""

import pytest
import torch

from vaemi import FactorInformation


@pytest.fixture
def info():
    return FactorInformation(
        nats=torch.tensor([0.05, 2.0, 0.0, 0.5]).double(),
        stderr=torch.tensor([0.01, 0.02, 0.0, 0.03]).double(),
        marginal_std=torch.tensor([1.0, 1.1, 0.9, 1.0]).double(),
        n_samples=100,
        method="mixture",
    )


def test_ranking_puts_the_most_informative_first(info):
    assert info.ranking.tolist() == [1, 3, 0, 2]


def test_ties_keep_the_order_of_the_encoder():
    same = torch.zeros(5).double()
    assert FactorInformation(same, same, same, 10, "mixture").ranking.tolist() == [0, 1, 2, 3, 4]


def test_influential_factors_come_ranked(info):
    assert info.influential().tolist() == [1, 3]
    assert info.influential(threshold=0.01).tolist() == [1, 3, 0]
    assert info.influential(threshold=5).tolist() == []


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_impossible_threshold(info, threshold):
    with pytest.raises(ValueError, match="threshold"):
        info.influential(threshold)


def test_total(info):
    assert info.total == pytest.approx(2.55)


def test_frame_is_ranked_and_complete(info):
    frame = info.to_frame()
    assert frame["factor"].tolist() == [1, 3, 0, 2]
    assert frame["nats"].tolist() == pytest.approx([2.0, 0.5, 0.05, 0.0])
    assert frame["share"].sum() == pytest.approx(1)
    assert set(frame.columns) == {"factor", "nats", "stderr", "marginal_std", "share"}


def test_frame_of_a_model_that_ignores_everything():
    zero = torch.zeros(3).double()
    assert FactorInformation(zero, zero, zero, 10, "mixture").to_frame()["share"].tolist() == [0, 0, 0]


def test_mismatched_fields_are_refused():
    with pytest.raises(ValueError, match="shape"):
        FactorInformation(torch.zeros(3), torch.zeros(2), torch.zeros(3), 10, "mixture")


def test_repr_says_what_matters(info):
    assert "2 above 0.1 nats" in repr(info)


def test_intervals_are_normal_and_never_below_zero(info):
    low, high = info.interval()
    assert low.tolist() == pytest.approx([0.05 - 1.959964 * 0.01, 2 - 1.959964 * 0.02, 0, 0.5 - 1.959964 * 0.03])
    assert high.tolist() == pytest.approx([0.05 + 1.959964 * 0.01, 2 + 1.959964 * 0.02, 0, 0.5 + 1.959964 * 0.03])
    assert info.interval(0.6827)[1][1] == pytest.approx(2.02, abs=1e-4)


def test_intervals_reach_up_where_samples_are_too_few(info):
    few = FactorInformation(info.nats, info.stderr, info.marginal_std, 100, "mixture", info.nats + 0.019)
    # 0.019 is more than the first and third standard error, and not more than the others.
    assert few.interval()[1].tolist() == pytest.approx([0.069 + 0.0195996, 2.0391993, 0.019, 0.5587989])
    assert few.to_frame()["leave_one_out"].tolist() == pytest.approx([2.019, 0.519, 0.069, 0.019])


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_impossible_confidence(info, confidence):
    with pytest.raises(ValueError, match=r"between 0 and 1"):
        info.interval(confidence)
