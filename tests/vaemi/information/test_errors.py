"""Standard errors of means and of the information, for independent and for clustered samples."""

import numpy as np
import pytest
import torch

from vaemi import factor_information
from vaemi.information import standard_error


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
    values, clustered, naive = [], [], []
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
