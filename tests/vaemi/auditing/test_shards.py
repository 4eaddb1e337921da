"""Posteriors in files: every kind of file, every sample once, whatever happens on the way."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vaemi
from vaemi import cli
from vaemi.auditing import files as shards
from vaemi.auditing.encoder import AuditError
from vaemi.auditing.files import audit_shards

COUNTS = (40, 25, 35, 1, 59)


def posteriors(count=160, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(count, 3, generator=generator) * torch.tensor([0.9, 0.6, 0.0])
    log_variance = torch.tensor([0.19, 0.64, 1.0]).log() - 0.3 * torch.rand(count, 3, generator=generator)
    return mean, log_variance


def parts():
    return zip(*(values.split(COUNTS) for values in posteriors()), strict=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of five shards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    for number, (mean, log_variance) in enumerate(parts()):
        pair = {"mean": mean.contiguous(), "log_variance": log_variance.contiguous()}
        save_file(pair, tmp_path / "shards" / f"{number}.safetensors")
    return tmp_path / "shards"


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def audited(given, **settings):
    return audit_shards(given, progress=False, **settings)


def assert_is(found, expected=None):
    expected = vaemi.factor_information(*posteriors()) if expected is None else expected
    for name in ("nats", "stderr", "leave_one_out", "marginal_std"):
        torch.testing.assert_close(getattr(found.information, name), getattr(expected, name), atol=1e-12, rtol=0)
    assert found.information.n_samples == expected.n_samples
    assert found.latent_shape == (3,)


@pytest.mark.parametrize("at_a_time", [1 << 20, 30, 1])
def test_files_equal_one_pass_however_they_are_cut(folder, monkeypatch, at_a_time):
    monkeypatch.setattr(shards, "_AT_A_TIME", at_a_time)
    found = audited(files(folder))
    assert_is(found)
    assert (found.n_batches, found.scale, found.remarks) == (5, "log_variance", [])


def test_processes_equal_one(folder):
    assert_is(audited(files(folder), processes=2))


def test_every_kind_of_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_AT_A_TIME", 30)
    mean, log_variance = (part.numpy() for part in posteriors())
    np.savez(tmp_path / "a.npz", log_variance=log_variance, mean=mean, labels=np.array(["a"]))
    np.savez_compressed(tmp_path / "b.npz", mean=mean, log_variance=log_variance)
    np.savez(tmp_path / "c.npz", mean=np.asfortranarray(mean), log_variance=log_variance.astype(">f8"))
    torch.save({"mean": torch.from_numpy(mean), "log_variance": torch.from_numpy(log_variance)}, tmp_path / "d.pt")
    np.save(tmp_path / "mean-e.npy", mean)
    np.save(tmp_path / "log_variance-e.npy", log_variance)
    np.savez(tmp_path / "f.npz", mean=mean.astype("f8"), std=np.exp(0.5 * log_variance.astype("f8")))
    for name in ("a.npz", "b.npz", "c.npz", "d.pt", "mean-e.npy", "log_variance-e.npy"):
        assert_is(audited([tmp_path / name]))
    assert_is(audited([tmp_path / "mean-e.npy", tmp_path / "log_variance-e.npy"]))
    assert audited([tmp_path / "f.npz"]).scale == "std"
    assert_is(audited([tmp_path / "f.npz"]))


def test_maps_keep_their_shape(tmp_path):
    mean = torch.randn(30, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    save_file({"mean": mean, "log_variance": torch.zeros_like(mean)}, tmp_path / "maps.safetensors")
    found = audited([tmp_path / "maps.safetensors"])
    assert found.maps.shape == (2, 4, 3)


def test_remarks_are_those_of_one_audit(tmp_path):
    mean, log_variance = posteriors(4000)
    std = (0.5 * log_variance).exp()
    for number in range(2):
        own = slice(2000 * number, 2000 * number + 2000)
        # A deviation under the name of a log-variance.
        save_file({"mean": mean[own], "log_variance": std[own] + 0.0}, tmp_path / f"{number}.safetensors")
    (remark,) = audited(sorted(tmp_path.iterdir())).remarks
    expected = vaemi.audit(lambda pair: {"mean": pair[0], "log_variance": pair[1]}, [(mean, std)], whole_batch=True)
    assert [remark] == expected.remarks


@pytest.fixture
def stops_in_the_third(monkeypatch):
    """Ctrl-C while the third file is read."""
    read = shards._Shard.gathered

    def gathered(self, *rest):
        if self.name.endswith("2.safetensors"):
            raise KeyboardInterrupt
        return read(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shards._Shard, "gathered", gathered)
        yield patch


def test_an_interrupted_audit_goes_on_and_counts_nothing_twice(folder, stops_in_the_third, capsys):
    with pytest.raises(KeyboardInterrupt):
        audited(files(folder), state="state.safetensors")
    assert "2 file(s) are counted in state.safetensors" in capsys.readouterr().err
    stops_in_the_third.undo()
    read = []
    gathered = shards._Shard.gathered
    stops_in_the_third.setattr(
        shards._Shard, "gathered", lambda self, *rest: (read.append(self.name), gathered(self, *rest))[1]
    )
    assert_is(audited(files(folder), state="state.safetensors"))
    assert [name[-13] for name in read] == ["2", "3", "4"]
    assert_is(audited(files(folder), state="state.safetensors"))
    assert len(read) == 3
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


KILLED = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from vaemi.auditing import files as shards
    read = shards._Shard.gathered
    def slowly(self, *rest):
        time.sleep(0.2)
        return read(self, *rest)
    shards._Shard.gathered = slowly
    shards.audit_shards(sorted(Path("shards").iterdir()), state="state.safetensors", save_seconds=0, progress=False)
""")


def test_a_killed_audit_goes_on_and_counts_nothing_twice(folder):
    process = subprocess.Popen([sys.executable, "-c", KILLED])
    deadline = time.monotonic() + 60
    while not (folder.parent / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    _, done = shards._unpacked(
        (folder.parent / "state.safetensors").read_bytes(), folder, shards._Gathered("default", 2**31)
    )
    assert 1 <= len(done) < 5
    assert_is(audited(files(folder), state="state.safetensors"))


def test_files_that_come_later_are_added(folder):
    first, *rest = files(folder)
    assert audited([first], state="state.safetensors").information.n_samples == COUNTS[0]
    assert_is(audited(rest, state="state.safetensors"))


def test_states_of_several_machines_add_up(folder):
    audited(files(folder)[:2], state="a.safetensors")
    audited(files(folder)[2:4], state="b.safetensors")
    assert_is(audited(["a.safetensors", files(folder)[4], "b.safetensors"]))
    # A pattern may find the state itself.
    assert audited(["b.safetensors"], state="b.safetensors").information.n_samples == sum(COUNTS[2:4])
    audited(files(folder)[1:3], state="c.safetensors")
    with pytest.raises(AuditError, match=r"c\.safetensors has counted .*1\.safetensors.*counts once"):
        audited(["a.safetensors", "c.safetensors"])


def test_a_file_that_is_named_twice_counts_once_and_a_copy_is_refused(folder):
    (folder / "link.safetensors").symlink_to(folder / "0.safetensors")
    assert_is(audited([*files(folder), *files(folder)]))
    (folder / "link.safetensors").unlink()
    shutil.copy(folder / "0.safetensors", folder / "copy.safetensors")
    with pytest.raises(
        AuditError, match=r"copy\.safetensors has the same content as .*0\.safetensors: a sample counts"
    ):
        audited(files(folder), state="state.safetensors")


def test_a_file_that_has_moved_counts_once_and_one_that_has_changed_is_refused(folder):
    assert_is(audited(files(folder), state="state.safetensors"))
    (folder / "0.safetensors").rename(folder / "renamed.safetensors")
    assert_is(audited(files(folder), state="state.safetensors"))
    mean, log_variance = posteriors(10, seed=1)
    save_file({"mean": mean, "log_variance": log_variance}, folder / "1.safetensors")
    with pytest.raises(AuditError, match=r"1\.safetensors has changed since it was counted"):
        audited(files(folder), state="state.safetensors")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_value_is_named_and_the_files_before_are_kept(folder, processes):
    mean, log_variance = (part.clone() for part in posteriors(20))
    mean[7, 1] = float("nan")
    save_file({"mean": mean, "log_variance": log_variance}, folder / "5.safetensors")
    with pytest.raises(AuditError, match=r"5\.safetensors holds 1 value\(s\) of mean that are not finite.*row 7"):
        audited(files(folder), state="state.safetensors", processes=processes)
    (folder / "5.safetensors").unlink()
    assert_is(audited(files(folder), state="state.safetensors"))


def write(path, **arrays):
    save_file({name: torch.as_tensor(values) for name, values in arrays.items()}, path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"nonsense"), r"5\.safetensors cannot be read as arrays of numbers \(damaged"),
        (lambda path: write(path, mean=torch.zeros(4, 3)), r"5\.safetensors holds mean: posteriors are arrays named"),
        (
            lambda path: write(path, mean=torch.zeros(4, 2), log_variance=torch.zeros(4, 2)),
            r"5\.safetensors holds latents of shape \(2,\).*0\.safetensors latents of shape \(3,\)",
        ),
        (
            lambda path: write(path, mean=torch.zeros(4, 3), std=torch.ones(4, 3)),
            r"5\.safetensors holds latents of shape \(3,\) with their std",
        ),
        (lambda path: write(path, mean=torch.zeros(4), log_variance=torch.zeros(4)), r"a mean of shape \(4,\)"),
    ],
)
def test_a_malformed_file_is_named_before_anything_is_counted(folder, make, words, monkeypatch):
    make(folder / "5.safetensors")
    monkeypatch.setattr(shards._Shard, "gathered", lambda *_: pytest.fail("counted"))
    with pytest.raises(AuditError, match=words):
        audited(files(folder))


def test_a_truncated_archive_is_named(tmp_path):
    mean, log_variance = (part.numpy() for part in posteriors())
    np.savez(tmp_path / "a.npz", mean=mean, log_variance=log_variance)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[400] ^= 1  # within the numbers
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(AuditError, match=r"a\.npz cannot be read.*CRC"):
        audited([tmp_path / "a.npz"])


def test_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", mean=np.array([[{}]]), log_variance=np.array([[{}]]))
    with pytest.raises(AuditError, match=r"a\.npz cannot be read as arrays of numbers"):
        audited([tmp_path / "a.npz"])


@pytest.mark.parametrize(
    ("given", "settings", "words"),
    [
        (["no.npz"], {}, r"There is no no\.npz"),
        (["x.txt"], {}, r"x\.txt is of no kind"),
        ([], {}, "fewer than two inputs"),
        (["shards/3.safetensors"], {}, "fewer than two inputs"),
        (["shards/0.safetensors"], {"threshold": -1.0}, "threshold is -1"),
        (["shards/0.safetensors"], {"processes": 0}, "processes is 0"),
        (["shards/0.safetensors"], {"scale": "std"}, "names its second array log_variance, and --scale says std"),
        (["shards/0.safetensors"], {"state": "shards/1.safetensors"}, r"1\.safetensors is no state of an audit"),
        (["shards/0.safetensors"], {"max_bytes": 1000}, r"0\.safetensors \(rows 0 to 39\): .*max_bytes is 1,000"),
        (["lone-mean.npy"], {}, r"lone-mean\.npy is one array: posteriors in \.npy files come in pairs"),
    ],
)
def test_impossible_audits(folder, given, settings, words):
    np.save("lone-mean.npy", np.zeros((4, 3)))
    with pytest.raises(AuditError, match=words):
        audited(given, **settings)


@pytest.mark.parametrize(
    "arguments", [["shards/*.safetensors"], ["shards"], [f"shards/{n}.safetensors" for n in range(5)]]
)
def test_the_command(folder, arguments, capsys):
    for _ in range(2):
        assert cli.main(["audit", *arguments, "--state", "state.safetensors", "--html", "report.html"]) == 0
        printed = capsys.readouterr()
        assert "2 of 3 factors know more than 0.1 nats, from 160 inputs" in printed.out
        assert "Traceback" not in printed.err
    assert "5 file(s) counted" in (folder.parent / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shards/*.npz"], "No .npy, .npz, .pt, .safetensors file matches 'shards/*.npz'"),
        (["my_vae.py:encode", "x.npy", "--processes", "2"], "--state and --processes are for posteriors in files"),
    ],
)
def test_a_users_mistake_is_one_sentence(folder, arguments, words, capsys):
    assert cli.main(["audit", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_memory_is_that_of_a_part_of_a_file(tmp_path):
    """A file of 240 MB with one factor read in a process: what is held beside torch is a small share of it."""
    mean = np.lib.format.open_memmap(tmp_path / "mean.npy", "w+", "f4", (10_000_000, 3))
    mean[:] = np.random.default_rng(0).standard_normal((1000, 3)).astype("f4").repeat(10_000, 0)
    np.lib.format.open_memmap(tmp_path / "log_variance.npy", "w+", "f4", (10_000_000, 3)).flush()
    mean.flush()
    code = (
        "import resource, sys, torch; from vaemi.auditing.files import audit_shards; torch.set_num_threads(1)\n"
        "import vaemi; vaemi.factor_information(torch.randn(50000, 3), torch.zeros(50000, 3))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = audit_shards([sys.argv[1]], progress=False); assert found.information.n_samples == 10_000_000\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "mean.npy"], capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    if sys.platform.startswith("linux"):
        assert float(done.stdout) < 120
