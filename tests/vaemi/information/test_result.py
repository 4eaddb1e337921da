"""FactorInformation, and standard errors for independent and for clustered samples."""

import numpy as np
import pytest
import torch

from vaemi import FactorInformation, factor_information
from vaemi.information import standard_error


@pytest.fixture
def info():
    return FactorInformation(
        nats=torch.tensor([0.05, 2.0, 0.0, 0.5]).double(),
        stderr=torch.tensor([0.01, 0.02, 0.0, 0.03]).double(),
        marginal_std=torch.tensor([1.0, 1.1, 0.9, 1.0]).double(),
        n_samples=100,
        method="mixture",
    )


def test_ranking_threshold_and_total(info):
    assert info.ranking.tolist() == [1, 3, 0, 2]
    assert info.influential().tolist() == [1, 3]
    assert info.influential(threshold=0.01).tolist() == [1, 3, 0]
    assert info.total == pytest.approx(2.55)


def test_ties_keep_the_order_of_the_encoder():
    same = torch.zeros(5).double()
    assert FactorInformation(same, same, same, 10, "mixture").ranking.tolist() == [0, 1, 2, 3, 4]


def test_frame_is_ranked_and_complete(info):
    frame = info.to_frame()
    assert frame["factor"].tolist() == [1, 3, 0, 2]
    assert frame["nats"].tolist() == pytest.approx([2.0, 0.5, 0.05, 0.0])
    assert frame["share"].sum() == pytest.approx(1)
    assert set(frame.columns) == {"factor", "nats", "stderr", "marginal_std", "share"}


def test_frame_of_a_model_that_ignores_everything():
    zero = torch.zeros(3).double()
    assert FactorInformation(zero, zero, zero, 10, "mixture").to_frame()["share"].tolist() == [0, 0, 0]


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


def test_independent_samples_have_the_textbook_error():
    values = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(standard_error(values), values.std(0) / 50**0.5)
    torch.testing.assert_close(standard_error(values, weight=torch.full((50,), 3.0)), values.std(0) / 50**0.5)


def test_clusters_of_copies_count_once():
    values = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double()
    copies = standard_error(values.repeat_interleave(5, 0), clusters=np.repeat(np.arange(40), 5))
    torch.testing.assert_close(copies, values.std(0) / 40**0.5)


def test_weights_decide_the_effective_number_of_samples():
    # Two samples of weight 1 and many of weight 0 are two samples.
    values = torch.tensor([[0.0], [2.0], *[[9.0]] * 10]).double()
    assert float(standard_error(values, weight=[1.0, 1.0] + [0.0] * 10)) == pytest.approx(1.0)


def test_clustered_errors_are_the_spread_over_draws_of_clusters():
    # Ten windows of each of 60 recordings: what varies between draws is the recording.
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 10)
    recording = generator.normal(size=(60, 200)).repeat(10, 0)
    mean = recording + 0.1 * generator.normal(size=(600, 200))
    log_variance = np.where(recording > 0.5, -4.0, -1.0)  # some recordings are read more closely than others
    found = factor_information(mean, log_variance, clusters=labels)
    values, clustered = found.nats, found.stderr
    naive = factor_information(mean, log_variance).stderr
    # The spread of 200 draws is itself known to 5 %.
    assert float(clustered.mean()) == pytest.approx(float(values.std()), rel=0.15)
    assert float(naive.mean()) < 0.5 * float(values.std())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weight": [1.0]}, r"weight has shape \(1,\)"),
        ({"weight": [1.0, 1.0, float("inf")]}, "inf at sample 2"),
        ({"weight": [0.0, 0.0, 0.0]}, "zeros only"),
        ({"clusters": [0, 1]}, r"clusters has shape \(2,\)"),
        ({"clusters": [4, 4, 4]}, "a single label"),
    ],
)
@pytest.mark.parametrize("method", ["mixture", "gaussian"])
def test_unusable_weights_and_clusters(arguments, words, method):
    with pytest.raises(ValueError, match=words):
        factor_information([[0.0], [1.0], [2.0]], [[0.0], [0.0], [0.0]], method, **arguments)
    with pytest.raises(ValueError, match=words):
        standard_error(torch.zeros(3, 1), **arguments)
    with pytest.raises(TypeError, match="clusters"):
        standard_error(torch.zeros(3, 1), clusters=["a", "b", "c"])
