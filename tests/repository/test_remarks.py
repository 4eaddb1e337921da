"""The benchmark of remarks on the scale: encoders whose right verdict is known, counts, and the committed rates."""

import json

import remarks
import torch
from conftest import ROOT

from vaemi.information import kl_to_prior


def planted(seed=0):
    """Posteriors with marginals of variance 1: four factors that are used to different degrees, four that are not."""
    variance = torch.tensor([1e-3, 0.02, 0.1, 0.4, 1, 1, 1, 1])
    mean = (1 - variance).sqrt() * torch.randn(2000, 8, generator=torch.Generator().manual_seed(seed))
    log_variance = variance.log().expand(2000, 8)
    return remarks.Trained({"epochs": 1}, mean, log_variance, float(kl_to_prior(mean, log_variance).sum(1).mean()))


def test_every_misreading_of_a_planted_encoder_is_remarked_and_the_encoder_is_not():
    row = remarks.judged(planted())
    for name in remarks.RETURNED:
        wrong = name != "log_variance"
        assert (row[name]["remarked"], row[name]["remarked_with_kl"]) == (wrong, wrong), name
        assert row[name]["other_remarks"] == 0
    found = remarks.counts([row, remarks.judged(planted(1))])
    assert (found["trainings"], found["false_alarms"], found["false_alarms_with_kl"]) == (2, 0, 0)
    for name in ("log_std", "variance", "std"):
        assert found[name] == {"matter": 2, "remarked": 2, "undecided": 0, "silent": 0, "silent_with_kl": 0}


def test_misses_are_counted_where_they_matter():
    def row(total, **found):
        none = {"remarked": False, "undecided": False, "other_remarks": 0, "remarked_with_kl": False}
        return {"log_variance": none | {"total": 3.0}} | {
            name: none | {"total": total} | found for name in ("log_std", "variance", "std")
        }

    rows = [row(3.05), row(9.0), row(2.0, undecided=True), row(5.0, remarked=True, undecided=True)]
    found = remarks.counts(rows)["std"]
    assert found == {"matter": 3, "remarked": 1, "undecided": 1, "silent": 1, "silent_with_kl": 3}


def test_the_committed_rates_are_of_the_whole_grid_and_a_quick_run_has_the_same_form(tmp_path):
    committed = json.loads((ROOT / "benchmarks" / "remarks.json").read_text(encoding="utf-8"))
    grid = len(remarks.LATENTS) * len(remarks.BETAS) * len(remarks.DROPOUTS)
    assert not committed["quick"]
    assert {int(n): of["trainings"] for n, of in committed["by_epochs"].items()} == dict.fromkeys(remarks.EPOCHS, grid)
    assert committed["all"]["false_alarms"] == sum(of["false_alarms"] for of in committed["by_epochs"].values())
    path = tmp_path / "remarks.json"
    remarks.main(["--quick", "--json", str(path)])
    made = json.loads(path.read_text(encoding="utf-8"))
    assert made["quick"]
    assert made.keys() == committed.keys()
    assert made["all"].keys() == committed["all"].keys()
    assert made["all"]["trainings"] == 4
