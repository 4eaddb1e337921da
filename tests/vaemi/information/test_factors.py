"""The public face: what it accepts, what it refuses and in which words."""

import numpy as np
import pytest
import torch

import vaemi

MEAN = np.random.default_rng(0).normal(size=(40, 3))
LOG_VARIANCE = np.random.default_rng(1).uniform(-3, 0, size=(40, 3))


@pytest.mark.parametrize("method", ["mixture", "gaussian"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_and_tensors_of_any_floating_type_agree(method, dtype):
    expected = vaemi.factor_information(MEAN, LOG_VARIANCE, method=method)
    array = vaemi.factor_information(MEAN.astype(dtype), LOG_VARIANCE.astype(dtype), method=method)
    tensor = vaemi.factor_information(
        torch.from_numpy(MEAN.astype(dtype)).requires_grad_(), torch.from_numpy(LOG_VARIANCE.astype(dtype)), method
    )
    tolerance = {"float16": 5e-3, "float32": 1e-6, "float64": 0}[dtype]
    torch.testing.assert_close(array.nats, expected.nats, atol=tolerance, rtol=0)
    torch.testing.assert_close(tensor.nats, array.nats, atol=0, rtol=0)
    assert tensor.nats.dtype == torch.float64
    assert not tensor.nats.requires_grad


def test_bfloat16_and_lists_are_accepted():
    vaemi.factor_information(torch.randn(10, 2).bfloat16(), torch.zeros(10, 2).bfloat16())
    vaemi.factor_information([[0.0], [1.0]], [[0.0], [0.0]])


def test_inputs_are_left_alone():
    mean, log_variance = torch.from_numpy(MEAN.copy()), torch.from_numpy(LOG_VARIANCE.copy())
    vaemi.factor_information(mean, log_variance)
    np.testing.assert_array_equal(mean.numpy(), MEAN)
    np.testing.assert_array_equal(log_variance.numpy(), LOG_VARIANCE)


def with_value(array, value):
    changed = array.copy()
    changed[7, 2] = value
    return changed


@pytest.mark.parametrize(
    ("mean", "log_variance", "words"),
    [
        (with_value(MEAN, np.nan), LOG_VARIANCE, "mean holds nan at sample 7, factor 2"),
        (with_value(MEAN, np.inf), LOG_VARIANCE, "mean holds inf at sample 7, factor 2"),
        (with_value(MEAN, np.inf).astype(np.float32), LOG_VARIANCE, "mean holds inf at sample 7, factor 2"),
        (MEAN, with_value(LOG_VARIANCE, -np.inf), "log_variance holds -inf at sample 7, factor 2"),
        (MEAN, with_value(LOG_VARIANCE, np.nan), "log_variance holds nan"),
        (MEAN, with_value(LOG_VARIANCE, 1e3), "log_variance holds 1000 .* pass log"),
        (MEAN, with_value(LOG_VARIANCE, -800.0), "log_variance holds -800"),
        (with_value(MEAN, 1e200), LOG_VARIANCE, r"mean holds 1e\+200"),
        (MEAN, LOG_VARIANCE[:, :2], r"\(40, 3\) and log_variance \(40, 2\)"),
        (MEAN[:, 0], LOG_VARIANCE[:, 0], r"shape \(40,\)"),
        (MEAN[:1], LOG_VARIANCE[:1], r"1 sample\b"),
        (MEAN[:0], LOG_VARIANCE[:0], "0 samples"),
        (MEAN[:, :0], LOG_VARIANCE[:, :0], "H >= 1"),
    ],
)
@pytest.mark.parametrize("method", ["mixture", "gaussian"])
def test_unusable_values_are_refused_by_place(mean, log_variance, words, method):
    with pytest.raises(ValueError, match=words):
        vaemi.factor_information(mean, log_variance, method=method)


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        [["a"], ["b"]],
        [[10**400, 1], [2, 3]],
        np.zeros((4, 2), dtype=complex),
        np.zeros((4, 2), bool),
        torch.zeros(4, 2).to_sparse(),
        torch.zeros(4, 2, device="meta"),
    ],
)
def test_other_things_than_real_numbers_are_refused(wrong):
    with pytest.raises(TypeError, match="mean"):
        vaemi.factor_information(wrong, np.zeros((4, 2)))


def test_unknown_method():
    with pytest.raises(ValueError, match="'mixture', 'dense', 'gaussian'"):
        vaemi.factor_information(MEAN, LOG_VARIANCE, method="knn")


@pytest.mark.parametrize("log_variance", [-200.0, -60.0, 60.0, 200.0])
@pytest.mark.parametrize("method", ["mixture", "gaussian"])
def test_extreme_but_usable_variances_give_finite_answers(method, log_variance):
    info = vaemi.factor_information(MEAN, np.full_like(MEAN, log_variance), method=method)
    assert info.nats.isfinite().all()
    assert info.stderr.isfinite().all()


def test_unknown_precision():
    with pytest.raises(ValueError, match="'default', 'high'"):
        vaemi.factor_information(MEAN, LOG_VARIANCE, precision="double")


def test_many_factors_are_evaluated_in_parts(monkeypatch):
    whole = vaemi.factor_information(np.tile(MEAN, 8), np.tile(LOG_VARIANCE, 8))
    monkeypatch.setattr("vaemi.information.mixture._BLOCKS_OF_A_PART", 2)
    monkeypatch.setattr("vaemi.information.spreading._COMPONENTS", {"cpu": 1})
    parts = vaemi.factor_information(np.tile(MEAN, 8), np.tile(LOG_VARIANCE, 8))
    for name in ("nats", "stderr", "leave_one_out", "marginal_std"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), atol=1e-14, rtol=0)
