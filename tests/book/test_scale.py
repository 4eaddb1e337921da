"""The page on large data and its benchmark: every script and block runs as it stands; the benchmark knows the truth."""

import contextlib
import json
import os
import re
import subprocess
import sys

import pytest
import scale as bench
import torch
from conftest import ROOT

import vaemi
from vaemi.models import ConvVAE, as_float


def blocks():
    """The page's blocks of code by their first line: `# NAME.py` for scripts, `# with NAME` for other frameworks."""
    text = (ROOT / "book" / "scale.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    named = {match[1]: block for block in found if (match := re.match(r"# (\w+\.py|with \w+)\n", block))}
    return named, [block for block in found if block not in named.values()]


def run(*command, folder):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which the scripts ran one after the other, what they printed, and the names of the other blocks."""
    folder = tmp_path_factory.mktemp("scale")
    generator = torch.Generator().manual_seed(0)
    # Pictures with two bright bars here or there; a number of them that two do not divide.
    places = torch.randint(0, 25, (901, 2), generator=generator)
    pictures = torch.zeros(901, 1, 28, 28, dtype=torch.uint8)
    for picture, (row, column) in zip(pictures, places.tolist(), strict=True):
        picture[0, row : row + 3] = 255
        picture[0, :, column : column + 3] = 255
    torch.save(pictures[:600], folder / "images.pt")
    torch.save(pictures[600:], folder / "held_out.pt")
    scripts, others = blocks()
    for name, script in scripts.items():
        if name.endswith(".py"):
            (folder / name).write_text(script)
    run("train.py", folder=folder)
    printed = run("-m", "torch.distributed.run", "--nproc-per-node", "2", "evaluate.py", folder=folder)
    model = ConvVAE((1, 28, 28), latent_dim=16).eval()
    model.load_state_dict(torch.load(folder / "model.pt"))
    batches = as_float(pictures[600:]).split(100)
    namespace = {"__name__": "__main__", "torch": torch, "vaemi": vaemi, "model": model, "batches": batches}
    with contextlib.chdir(folder):
        for number, block in enumerate(others):
            exec(compile(block, f"block {number} of book/scale.md", "exec"), namespace)
    return folder, printed, namespace


@pytest.mark.slow
def test_the_scripts_evaluate_every_sample_once(ran):
    folder, printed, _ = ran
    count, total = printed.split()
    assert int(count) == 301
    model = ConvVAE((1, 28, 28), latent_dim=16).eval()
    model.load_state_dict(torch.load(folder / "model.pt"))
    with torch.no_grad():
        expected = vaemi.factor_information(*model.encode(as_float(torch.load(folder / "held_out.pt"))))
    # Encoded in other batches, in single precision.
    assert float(total) == pytest.approx(expected.total, rel=1e-5)
    assert expected.total > 0.01


@pytest.mark.slow
def test_the_blocks_agree(ran):
    folder, _, names = ran
    assert names["audit"].information.n_samples == names["info_of_all"].n_samples == 301
    torch.testing.assert_close(names["audit"].information.nats, names["info_of_all"].nats, atol=1e-12, rtol=0)
    assert (folder / "counted.safetensors").exists()


@pytest.mark.slow
def test_dask_counts_every_sample(ran):
    pytest.importorskip("distributed")
    assert "from 301 inputs" in run("workers.py", folder=ran[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "package"), [("with Spark", "pyspark"), ("with Ray", "ray")])
def test_other_frameworks_merge_to_the_same(ran, name, package):
    pytest.importorskip(package)
    folder, _, names = ran
    expected = names["info_of_all"]
    with contextlib.chdir(folder):
        names = {**names, "paths": [str(folder / path) for path in names["paths"]]}
        exec(compile(blocks()[0][name], name, "exec"), names)
    assert names["info_of_all"].n_samples == 301
    torch.testing.assert_close(names["info_of_all"].nats, expected.nats, atol=1e-12, rtol=0)


def test_the_truth_of_the_benchmark_is_that_of_its_draws():
    mean, log_variance = bench.draw(20_000, seed=0)
    # q(z) is N(0, 1), so that the Gaussian estimate is the truth, too, and by another formula.
    found = vaemi.factor_information(mean, log_variance, method="gaussian")
    assert (found.nats - bench.truth()).abs().max() < 0.03
    exact = vaemi.factor_information(mean, log_variance)
    assert ((exact.nats - bench.truth()).abs() < 5 * exact.stderr + 1e-3).all()
    assert (bench.truth() > 0.1).sum() == bench.USED
    torch.testing.assert_close(found.marginal_std, torch.ones(bench.H, dtype=torch.float64), atol=0.03, rtol=0)


@pytest.mark.slow
def test_a_quick_run_of_the_benchmark(tmp_path, capsys):
    bench.main(["--quick", "--json", str(tmp_path / "scale.json")])
    made = json.loads((tmp_path / "scale.json").read_text())
    committed = json.loads(bench.Path(bench.__file__).with_suffix(".json").read_text())
    assert made.keys() == committed.keys()
    assert not committed["quick"]
    for result in (made, committed):
        for row in result["rows"]:
            assert row["counted"] == row["samples"]
        for row in result["padded_sampler"]:
            assert row["counted"] == -(-row["samples"] // row["processes"]) * row["processes"]
            assert row["largest_change_nats"] > 0
    assert max(row["samples"] for row in committed["rows"]) == 10_000_000


def test_the_committed_benchmark_shows_what_the_page_says():
    rows = json.loads((ROOT / "benchmarks" / "scale.json").read_text())["rows"]
    alone = sorted((row for row in rows if not row["in_memory"]), key=lambda row: row["samples"])
    fewest, most = alone[0], alone[-1]
    assert most["peak_megabytes"] < 1.5 * fewest["peak_megabytes"]
    assert most["wall_seconds"] < 1.5 * fewest["wall_seconds"] * most["samples"] / fewest["samples"]
    assert most["largest_error_nats"] < 4 * most["stderr_of_largest_error"]
