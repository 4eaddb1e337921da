"""The comparison of estimators of information about a number: truths that have closed forms, and data that agree."""

import labels
import numpy as np
import pytest


def test_truths_agree_with_closed_forms():
    assert labels.CASES["independent"].truth() == pytest.approx(0, abs=1e-6)
    for rho in (0.5, 0.9):
        truth = labels.CASES[f"Gaussian, correlation {rho}"].truth()
        assert truth == pytest.approx(-0.5 * np.log(1 - rho**2), abs=2e-3)
    # How often a cosine turns does not change what it says.
    waves = [labels.CASES[f"cosine, {periods}"].truth() for periods in ("one period", "three periods")]
    assert waves[0] == pytest.approx(waves[1], abs=1e-4)


def test_a_case_is_measured():
    found = labels.measure(labels.gaussian(0.5), 200, data_sets=2, peers=1, gmm=0)
    assert found["vaemi"]["mean"] == pytest.approx(found["truth"], abs=0.15)
    assert set(found) >= {"ten classes", "scikit-learn", "stderr", "covered"}
    assert "GMM-MI" not in found
