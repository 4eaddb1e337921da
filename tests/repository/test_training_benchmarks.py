"""The benchmarks of training: parts of a step add up, the program for cards runs whole, and the page shows both."""

import json

import gpu
import prose_pages
import pytest
import torch
import training as bench
from conftest import ROOT


def test_the_layers_of_the_peers_are_those_of_torch():
    layers = [type(layer) for layer in bench.torchs_network().decoder]
    assert layers.count(torch.nn.ConvTranspose2d) == 2


def test_clocks_count_each_second_once():
    images = torch.randint(0, 256, (1000, 1, 28, 28), dtype=torch.uint8)
    parts = bench.milliseconds_by_part(bench.PEERS[bench.FLOAT32], images, 3)
    assert tuple(parts) == bench.PARTS
    assert all(value > 0 for value in parts.values())
    # Most of a step is in the network.
    assert parts["data"] + parts["optimizer"] < parts["forward"] + parts["backward"]


def test_the_committed_benchmark_of_training_is_on_the_page(tmp_path):
    measured = json.loads((ROOT / "benchmarks" / "training.json").read_text())
    numbers = prose_pages.training(tmp_path)
    assert numbers["steps"] == measured["steps"]
    table = (tmp_path / "training-peers.md").read_text()
    for name, milliseconds in measured["cpu_milliseconds_per_step"].items():
        assert any(line.startswith(f"| {name} ") and f"{milliseconds:.1f}" in line for line in table.splitlines())
    assert all(part in (tmp_path / "training-parts.md").read_text() for part in bench.PARTS)


def test_the_page_says_that_nothing_was_measured_on_a_card(tmp_path):
    text = prose_pages.gpu(tmp_path / "gpu.json")
    assert "have not been run" in text
    assert "benchmarks/gpu.py --json benchmarks/gpu.json" in text


@pytest.mark.slow
def test_a_small_run_on_the_cpu_has_all_parts_and_a_table(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--json", str(path)])
    made = json.loads(path.read_text())
    assert made["estimator"]["equal"]
    assert made["two_processes"]["backend"] == "gloo"
    one, two = made["two_processes"]["objective"].values()
    assert one == pytest.approx(two, rel=1e-4)
    assert made["chapter"]["verdicts"].keys() == {"C1", "C2", "C3", "C4", "T7"}
    made["peak_megabytes"] = {"estimator": 123.4}  # a card has it
    path.write_text(json.dumps(made))
    text = prose_pages.gpu(path)
    assert "have not been run" not in text
    assert made["card"] in text
    for row in ("| estimator", "sketch", "bf16-mixed", "over gloo", "123 MB", "C1 not tested"):
        assert row in text
