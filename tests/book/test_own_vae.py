"""The page on one's own VAE: all code runs unchanged and in order, with the results that the page states.

Blocks that need a model of another library are written as ``{code-block} python`` and do not run here.
"""

import math
import re
import warnings

import pytest
import torch
from conftest import ROOT

import vaemi

USED, INPUTS = 3, 600


def blocks():
    text = (ROOT / "book" / "own_vae.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The namespace in which all blocks of the page have run, in order."""
    namespace = {}
    with pytest.MonkeyPatch.context() as patch:
        namespace["folder"] = tmp_path_factory.mktemp("own")
        patch.chdir(namespace["folder"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number, block in enumerate(blocks()):
                exec(compile(block, f"block {number} of book/own_vae.md", "exec"), namespace)
    # Lightning warns of its own use of torch and of loaders without workers.
    known = ("treespec", "does not have many workers")
    assert [str(w.message) for w in caught if not any(words in str(w.message) for words in known)] == []
    return namespace


def test_the_five_lines_find_the_factors(ran):
    assert sorted(ran["kept"].tolist()) == list(range(USED))
    expected = 0.5 * math.log(1 / 0.04)
    # Their means are normal with variance 0.96, up to the draw of the inputs.
    off = (ran["info"].nats[:USED] - expected).abs()
    assert torch.all(off < 4 * ran["info"].stderr[:USED])
    assert ran["info"].stderr.max() < 0.05
    assert ran["info"].nats[USED:].abs().max() < 1e-9
    assert "3 above 0.1 nats" in repr(ran["info"])
    assert torch.all((ran["low"] <= ran["info"].nats) & (ran["info"].nats <= ran["high"]))


def test_a_deviation_is_converted_and_the_mistake_shows(ran):
    for name in ("from_std", "from_variance"):
        torch.testing.assert_close(ran[name].nats, ran["info"].nats, atol=1e-5, rtol=0)
    assert abs(ran["wrong"].total - ran["info"].total) > 1
    assert float(ran["info"].marginal_std.median()) == pytest.approx(1, abs=0.1)
    assert float(ran["wrong"].marginal_std.median()) > 1.4
    # The KL term from the definition, by torch.
    q = torch.distributions.Normal(ran["mean"], ran["std"])
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert float(ran["kl"]) == pytest.approx(float(kl), rel=1e-5)


@pytest.mark.parametrize("part", ["drop", "normalize"])
def test_the_check_for_training_mode_fails_in_training_mode(ran, part):
    """The check notices either part alone."""
    (check,) = (block for block in blocks() if "dropout is on" in block)
    model = type(ran["model"])().eval()
    getattr(model, part).train()
    with torch.no_grad():
        mean = torch.cat([model.encode(x)[0] for x in ran["batches"]])
    with pytest.raises((AssertionError, ValueError)):
        exec(check, {"torch": torch, "model": model, "mean": mean, "batches": ran["batches"]})


def test_too_few_samples_are_seen(ran):
    assert ran["open_question"][:USED].min() > 5 * ran["settled"][:USED].max() > 0


def test_other_posteriors(ran):
    # All factors together carry more than any of them.
    assert float(ran["together"].nats) > float(ran["info"].nats.max())
    torch.testing.assert_close(ran["audit_of_classes"].information.nats, ran["same"].nats)
    assert ran["usage"].perplexity == pytest.approx(2, abs=0.01)
    assert ran["usage"].dead.tolist() == list(range(2, 16))
    assert ran["by_draws"].nats[:USED].tolist() == pytest.approx(ran["info"].nats[:USED].tolist(), abs=0.05)
    conditional = ran["conditional"]
    # Only the first factor copies the coordinate whose sign is the condition.
    assert conditional.about_condition[0] > 0.5
    assert conditional.about_condition[1:USED].abs().max() < 0.01
    expected = vaemi.factor_information(ran["mean"], torch.full_like(ran["mean"], 2 * math.log(0.1)))
    torch.testing.assert_close(ran["audit_of_codes"].information.nats, expected.nats, atol=1e-5, rtol=0)
    assert ran["audit_of_codes"].scale == "noise of 0.1"


def test_clusters_change_the_error_and_nothing_else(ran):
    assert torch.equal(ran["by_film"].nats, ran["info"].nats)
    assert not torch.equal(ran["by_film"].stderr, ran["info"].stderr)


def test_maps(ran):
    assert ran["nats_by_place"].shape == (2, 2, 2)
    assert ran["nats_by_place"][0].min() > 1
    assert ran["nats_by_place"][1].abs().max() < 1e-9
    assert ran["by_channel"].influential(0.1).tolist() == [0]
    assert len(ran["rows"][0]) == len(ran["owner"]) == 4 * len(ran["map_mean"])
    # Row by row: input, then place.
    torch.testing.assert_close(ran["rows"][0][5], ran["map_mean"][1, :, 0, 1])
    assert ran["owner"][:5].tolist() == [0, 0, 0, 0, 1]


def test_an_audit_gives_the_same_and_notices_the_mistake(ran):
    for name in ("audit", "audit_of_deviations"):
        torch.testing.assert_close(ran[name].information.nats, ran["info"].nats, atol=1e-5, rtol=0)
        assert ran[name].remarks == []
    assert (ran["audit"].latent_dim, ran["audit"].latent_dim_range, len(ran["audit"].uncertain)) == (USED, (3, 3), 0)
    (remark,) = ran["forgotten"].remarks
    assert "is never negative" in remark
    assert "say scale='variance' or scale='std'" in remark
    (remark,) = ran["checked"].remarks
    assert remark.endswith("say scale='std'.")
    assert (ran["audit_of_maps"].maps > 1).tolist() == (ran["nats_by_place"] > 1).tolist()
    assert "3 of 6 factors" in (ran["folder"] / "report.html").read_text()


def test_sketch_metric_and_callback_agree_with_the_five_lines(ran):
    for found in (ran["info_of_all"], ran["info_by_metric"], ran["spectrum"].information):
        assert isinstance(found, vaemi.FactorInformation)
        assert found.n_samples == INPUTS
        torch.testing.assert_close(found.nats, ran["info"].nats, atol=1e-6, rtol=0)


def test_pruning_changes_nothing_that_matters(ran):
    assert float(ran["change"]) < 1e-6
    with torch.no_grad():
        small = ran["small_decoder"](ran["mean"][:, ran["kept"]])
    torch.testing.assert_close(small, ran["pruned"])
