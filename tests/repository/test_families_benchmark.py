"""The tables of posterior families: estimates near the truth, and every model compared with its own decoder's codes."""

import json

import families
import prose_pages
import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "benchmarks" / "families.json").read_text())


@pytest.mark.slow
def test_a_run_has_the_families_of_the_committed_one(committed):
    rows = families.truths(m=600)
    assert [(row["family"], row["measured"]) for row in rows] == [
        (row["family"], row["measured"]) for row in committed["truths"]
    ]
    for row in rows:
        assert row["nats"] - 4 * row["stderr"] - 0.02 < row["truth"] < row["upper"] + 4 * row["stderr"] + 0.02, row


def test_the_committed_estimates_are_near_the_truth(committed):
    for row in committed["truths"]:
        assert abs(row["nats"] - row["truth"]) < 3 * row["stderr"] + 0.01, row


def test_what_is_read_is_what_the_decoder_gets(committed):
    by_outcome = {}
    for row in committed["models"]:
        by_outcome.setdefault(row["outcome"], []).append(row)
    assert set(by_outcome) == {"read", "refused", "read at a noise", "read by audit_codes"}
    for row in by_outcome["read"]:
        # Standard errors of 2,400 numbers or more are 0.02 and 0.03.
        assert row["mean"] == pytest.approx(0, abs=0.08), row
        assert row["mean_square"] == pytest.approx(1, abs=0.12), row
    assert {"VAE_IAF", "VAE_LinNF", "HVAE", "RHVAE", "SVAE", "PoincareVAE"} <= {
        row["model"] for row in by_outcome["refused"]
    }


def test_the_tables_show_the_committed_rows(committed, tmp_path):
    prose_pages.families(tmp_path)
    truths, models, sentences = (
        (tmp_path / f"families-{name}.md").read_text().splitlines() for name in ("truths", "models", "sentences")
    )
    assert len(truths) == 2 + len(committed["truths"])
    assert len(models) == 2 + len(committed["models"])
    assert len(sentences) == 2 + sum(row["outcome"] != "read" for row in committed["models"])
    assert f"{committed['truths'][0]['nats']:.3f}" in truths[2]
