"""Some cases of the fuzzer; `benchmarks/fuzz.py` runs as many as one likes."""

import fuzz
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_generated_inputs_are_answered_or_refused(target, capsys):
    with fuzz._alone():
        counts = fuzz.run(60, 0, [target])
    assert counts[target]["failed"] == 0, capsys.readouterr().out
    assert counts[target]["refused"] > 0 or target == "sketch"
    assert counts[target]["answered"] > 0


def test_nonsense_is_found():
    class Found:
        nats, stderr, marginal_std = (fuzz.torch.tensor([value]) for value in (9.0, 0.0, 1.0))
        leave_one_out = None
        n_samples = 20

    with pytest.raises(fuzz.NonsenseError, match=r"9\.0 nats from 20 samples"):
        fuzz._check(Found, "mixture", weighted=False)
