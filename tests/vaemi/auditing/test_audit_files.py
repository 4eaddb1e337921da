"""Posteriors in files: both kinds of file, every sample counted once, on one machine and with Dask."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vaemi
from vaemi import AuditError

COUNTS = (40, 25, 35, 1, 59)


def posteriors(count=160, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(count, 3, generator=generator) * torch.tensor([0.9, 0.6, 0.0])
    log_variance = torch.tensor([0.19, 0.64, 1.0]).log() - 0.3 * torch.rand(count, 3, generator=generator)
    return mean, log_variance


def write(path, **arrays):
    save_file({name: torch.as_tensor(values).contiguous() for name, values in arrays.items()}, path)


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Five files in the folder `shards` of the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    parts = zip(*(values.split(COUNTS) for values in posteriors()), strict=True)
    for number, (mean, log_variance) in enumerate(parts):
        write(folder / f"{number}.safetensors", mean=mean, log_variance=log_variance)
    return folder


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def audited(given, **settings):
    return vaemi.audit_files(given, progress=False, **settings)


def assert_is(found, expected=None):
    expected = vaemi.factor_information(*posteriors()) if expected is None else expected
    for name in ("nats", "stderr", "leave_one_out", "marginal_std"):
        torch.testing.assert_close(getattr(found.information, name), getattr(expected, name), atol=1e-12, rtol=0)
    assert found.information.n_samples == expected.n_samples


def test_files_equal_one_pass(shards):
    found = audited(files(shards))
    assert_is(found)
    assert (found.n_batches, found.scale, found.latent_shape, found.remarks) == (5, "log_variance", (3,), [])


def test_npy_pairs_in_any_layout(tmp_path):
    mean, log_variance = (part.numpy() for part in posteriors())
    np.save(tmp_path / "mean-a.npy", np.asfortranarray(mean))
    np.save(tmp_path / "log_variance-a.npy", log_variance.astype(">f8"))
    np.save(tmp_path / "mean-b.npy", mean.astype("f8"))
    np.save(tmp_path / "std-b.npy", np.exp(0.5 * log_variance.astype("f8")))
    assert_is(audited([tmp_path / "mean-a.npy"]))
    assert_is(audited([tmp_path / "mean-a.npy", tmp_path / "log_variance-a.npy"]))
    found = audited([tmp_path / "std-b.npy"])
    assert found.scale == "std"
    assert_is(found)


def test_maps_keep_their_shape_and_long_files_are_read_in_parts(tmp_path):
    mean = torch.randn(100_000, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    write(tmp_path / "maps.safetensors", mean=mean, log_variance=torch.zeros_like(mean))
    found = audited([tmp_path / "maps.safetensors"])
    assert found.maps.shape == (2, 4, 3)
    expected = vaemi.factor_information(mean.flatten(1), torch.zeros(100_000, 24))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-12, rtol=0)


def test_remarks_are_those_of_one_audit(tmp_path):
    mean, log_variance = posteriors(4000)
    # A deviation under the name of a log-variance.
    std = (0.5 * log_variance).exp()
    for number, (one, other) in enumerate(zip(mean.split(2000), std.split(2000), strict=True)):
        write(tmp_path / f"{number}.safetensors", mean=one, log_variance=other)
    (remark,) = audited(files(tmp_path)).remarks
    expected = vaemi.audit(lambda pair: {"mean": pair[0], "log_variance": pair[1]}, [(mean, std)], whole_batch=True)
    assert [remark] == expected.remarks


def test_files_that_come_later_are_added_and_none_is_counted_twice(shards):
    first, *rest = files(shards)
    assert audited([first], state="state.safetensors").information.n_samples == COUNTS[0]
    for _ in range(2):
        assert_is(audited([first, *rest], state="state.safetensors"))
    first.rename(shards / "renamed.safetensors")
    assert_is(audited(files(shards), state="state.safetensors"))
    write(rest[0], **dict(zip(("mean", "log_variance"), posteriors(10, seed=1), strict=True)))
    with pytest.raises(AuditError, match=r"1\.safetensors has changed since it was counted"):
        audited(files(shards), state="state.safetensors")


def test_states_of_several_machines_add_up(shards):
    audited(files(shards)[:2], state="a.safetensors")
    audited(files(shards)[2:4], state="b.safetensors")
    assert_is(audited(["a.safetensors", files(shards)[4], "b.safetensors"]))
    # A pattern may match the state itself.
    assert audited(["b.safetensors"], state="b.safetensors").information.n_samples == sum(COUNTS[2:4])
    audited(files(shards)[1:3], state="c.safetensors")
    with pytest.raises(AuditError, match=r"c\.safetensors has counted .*1\.safetensors.*counts once"):
        audited(["a.safetensors", "c.safetensors"])


def test_a_state_is_a_sketch_with_more_and_a_sketch_is_named_as_it_is(shards):
    found = audited(files(shards), state="state.safetensors")
    sketch = vaemi.InformationSketch.load("state.safetensors")
    assert sketch.n_samples == found.information.n_samples
    torch.testing.assert_close(sketch.compute().nats, found.information.nats, atol=1e-12, rtol=0)
    sketch.save("sketch.safetensors")
    with pytest.raises(
        AuditError, match=r"sketch\.safetensors is a saved InformationSketch, .*InformationSketch\.load"
    ):
        audited(["sketch.safetensors"])
    with pytest.raises(AuditError, match=r"sketch\.safetensors is not the state of an audit"):
        audited(files(shards), state="sketch.safetensors")


def test_the_kl_term_of_the_training_decides_the_scale_of_files(tmp_path):
    mean, log_variance = posteriors(4000)
    write(tmp_path / "p.safetensors", mean=mean, log_variance=0.5 * log_variance)
    kl = float(0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean())
    (remark,) = audited([tmp_path / "p.safetensors"], kl=kl).remarks
    assert "say scale='log_std'" in remark


def test_a_file_that_is_named_twice_counts_once_and_a_copy_is_refused(shards):
    assert_is(audited([*files(shards), *files(shards)]))
    shutil.copy(shards / "0.safetensors", shards / "copy.safetensors")
    with pytest.raises(AuditError, match=r"copy\.safetensors has the same content as .*0\.safetensors"):
        audited(files(shards), state="state.safetensors")


def test_a_bad_value_is_named_and_the_files_before_stay_in_the_state(shards):
    mean, log_variance = posteriors(20)
    mean[7, 1] = float("nan")
    write(shards / "5.safetensors", mean=mean, log_variance=log_variance)
    with pytest.raises(
        AuditError, match=r"5\.safetensors .* holds values of the mean .* not finite \(1 in all\), .* input 7"
    ):
        audited(files(shards), state="state.safetensors")
    assert_is(audited(["state.safetensors"]))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, r"5\.safetensors cannot be read as arrays of numbers \(it is dam"),
        ({"mean": (4, 3)}, r"5\.safetensors holds mean: posteriors are arrays named"),
        ({"mean": (4, 2), "log_variance": (4, 2)}, r"of shape \(2,\).*0\.safetensors latents of shape \(3,\)"),
        ({"mean": (4, 3), "std": (4, 3)}, r"5\.safetensors holds latents of shape \(3,\) with their std"),
        ({"mean": (4, 2), "std": (4, 3)}, r"mean and std of shapes \(4, 2\) and \(4, 3\)"),
        ({"mean": (4,), "log_variance": (4,)}, r"of shapes \(4,\) and \(4,\)"),
    ],
)
def test_a_malformed_file_is_named_before_anything_is_counted(shards, arrays, words):
    (shards / "5.safetensors").write_bytes(b"nonsense")
    if arrays:
        write(shards / "5.safetensors", **{name: torch.ones(shape) for name, shape in arrays.items()})
    with pytest.raises(AuditError, match=words):
        audited(files(shards), state="state.safetensors")
    assert not (shards.parent / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("given", "settings", "words"),
    [
        (["no.safetensors"], {}, r"There is no no\.safetensors"),
        (["x.txt"], {}, r"x\.txt cannot be read as posteriors: use .npy, .npz, .safetensors files"),
        (["shards/3.safetensors"], {}, "fewer than two inputs"),
        (["shards/0.safetensors"], {"scale": "std"}, "second array of .* is named log_variance, but scale is std"),
        (["shards/0.safetensors"], {"state": "shards/1.safetensors"}, r"1\.safetensors is not the state of an audit"),
        (["lone-mean.npy"], {}, r"lone-mean\.npy is one array: posteriors in \.npy files come in pairs"),
    ],
)
def test_impossible_audits(shards, given, settings, words):
    np.save("lone-mean.npy", np.zeros((4, 3)))
    with pytest.raises(AuditError, match=words):
        audited(given, **settings)


@pytest.mark.slow
def test_memory_is_that_of_a_part_of_a_file(tmp_path):
    """Files of 240 MB are read; what is held besides torch is a small share of it."""
    mean = np.lib.format.open_memmap(tmp_path / "mean.npy", "w+", "f4", (10_000_000, 3))
    mean[:] = np.random.default_rng(0).standard_normal((1000, 3)).astype("f4").repeat(10_000, 0)
    mean.flush()
    np.lib.format.open_memmap(tmp_path / "log_variance.npy", "w+", "f4", (10_000_000, 3)).flush()
    code = (
        "import resource, sys, torch, vaemi; torch.set_num_threads(1)\n"
        "vaemi.factor_information(torch.randn(50000, 3), torch.zeros(50000, 3)); vaemi.audit_files\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = vaemi.audit_files([sys.argv[1]], progress=False); assert found.information.n_samples == 10_000_000\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "mean.npy"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if sys.platform.startswith("linux"):
        assert float(done.stdout) < 120


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_counts_every_file_once_although_a_worker_is_killed(tmp_path):
    """One of two worker processes is killed while it counts; Dask starts its files again."""
    distributed = pytest.importorskip("distributed")
    counts = [60_000] * 6
    mean, log_variance = torch.randn(sum(counts), 32), -torch.rand(sum(counts), 32)
    for number, parts in enumerate(zip(mean.split(counts), log_variance.split(counts), strict=True)):
        write(tmp_path / f"{number}.safetensors", mean=parts[0], log_variance=parts[1])
    state = tmp_path / "state"
    killed = []

    def kill_a_busy_worker(client):
        while not killed:
            for address, keys in client.processing().items():
                if any(key.startswith("sums") for key in keys):
                    killed.append(address)
                    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
                    return
            time.sleep(0.02)

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        audited(files(tmp_path)[:2], client=client, state=state)
        thread = threading.Thread(target=kill_a_busy_worker, args=(client,), daemon=True)
        thread.start()
        found = audited(files(tmp_path), client=client, state=state)
        thread.join(30)
        write(tmp_path / "bad.safetensors", mean=torch.full((4, 32), torch.nan), log_variance=torch.zeros(4, 32))
        with pytest.raises(AuditError, match=r"bad\.safetensors .* not finite"):
            audited(files(tmp_path), client=client)
    assert len(killed) == 1
    expected = vaemi.factor_information(mean, log_variance)
    assert (found.information.n_samples, found.n_batches) == (sum(counts), 6)
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-10, rtol=0)
