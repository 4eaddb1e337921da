"""Training: it learns, repeats, resumes exactly and explains what is wrong."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import same_weights, tiny

from vaemi.errors import TrainingError
from vaemi.information.bounds import reverse_water_filling
from vaemi.information.checks import checksum
from vaemi.models import LinearVAE, as_float
from vaemi.objectives import FactorVAE
from vaemi.training import objective_on, train

pytestmark = pytest.mark.skipif(find_spec("lightning") is None, reason="needs the extra train")


def train_tiny(images, **settings):
    return train(tiny(), images, images, **{"steps": 25, "batch_size": 20, "progress": False, "records": 5, **settings})


def checkpoints_in(folder):
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def gaussian(n, variances, seed=0):
    """Draw Gaussian data with these variances along random orthonormal directions."""
    generator = torch.Generator().manual_seed(seed)
    size = len(variances)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    coordinates = torch.randn(n, size, generator=generator, dtype=torch.float64) * torch.tensor(variances).sqrt()
    return (coordinates @ basis.T).float()


@dataclass(frozen=True)
class Disturbed(FactorVAE):
    """An objective that calls `disturb` with the number of the training step before each step."""

    weight: float = 1.0
    hidden_dims: tuple[int, ...] = (8,)
    disturb: ClassVar = staticmethod(lambda step: None)
    count: ClassVar[int] = 0

    def _loss(self, draw):
        if torch.is_grad_enabled():
            Disturbed.count += 1
            Disturbed.disturb(Disturbed.count)
        return super()._loss(draw)


@pytest.fixture
def disturbed(monkeypatch):
    """Return a function that sets what disturbs the trainings with the objective `Disturbed`."""

    def set_disturb(disturb):
        monkeypatch.setattr(Disturbed, "disturb", staticmethod(disturb))
        monkeypatch.setattr(Disturbed, "count", 0)

    set_disturb(lambda step: None)
    return set_disturb


# --- What is trained


def test_the_objective_falls_and_is_the_sum_of_its_terms(tiny_images):
    history = train_tiny(tiny_images, steps=200, beta=3.0).history
    assert history.step.tolist() == [0, 40, 80, 120, 160, 200]
    assert history.objective[-1] < history.objective[0] - 5
    torch.testing.assert_close(history.objective, history.negative_log_likelihood + 3 * history.kl)
    assert history.information.shape == (6, 4)
    assert (history.sigma[1:] < history.sigma[0]).all()


def test_the_objective_on_samples_is_that_of_the_history_and_a_mean_over_all_of_them(tiny_images):
    training = train_tiny(tiny_images, beta=3.0)
    assert objective_on(training.model, tiny_images, beta=3.0) == pytest.approx(float(training.history.objective[-1]))
    # Black and white in batches of unequal size.
    many = torch.cat([torch.zeros(1000, 1, 8, 8), torch.ones(200, 1, 8, 8)])
    black, white = (objective_on(training.model, part, beta=3.0) for part in many.split(1000))
    expected = (1000 * black + 200 * white) / 1200
    assert objective_on(training.model, many, beta=3.0) == pytest.approx(expected, rel=0.01)
    assert abs((black + white) / 2 - expected) > 0.05 * abs(expected)


@pytest.mark.parametrize(("precision", "epsilon"), [("32-true", 1e-8), ("bf16-mixed", 1e-8), ("32-true", 1e-7)])
def test_a_training_is_the_published_recipe(tiny_images, precision, epsilon):
    # Batches, noise, objective and optimizer written out: an earlier version's models are found and equal.
    def seeded(*parts):
        return torch.Generator().manual_seed(int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]))

    images, model = as_float(tiny_images), tiny().to(memory_format=torch.channels_last)
    fused = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=epsilon, fused=fused)
    order = torch.cat([torch.randperm(300, generator=seeded(5, epoch)) for epoch in range(2)])
    for step in range(20):
        x = images[order[20 * step : 20 * step + 20]].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            mean, log_variance = model.encode(x)
            noise = torch.randn(mean.shape, generator=seeded(5, step, 0))
            reconstruction = model.decode(mean + (0.5 * log_variance).exp() * noise)
            kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)
            loss = model.likelihood.negative_log_likelihood(x, reconstruction).mean() + 3.0 * kl.sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    settings = {"steps": 20, "beta": 3.0, "precision": precision}
    made = train_tiny(tiny_images, seed=5, adam_epsilon=epsilon, **settings)
    assert made.precision == precision
    assert same_weights(made.model, model)
    for other in ({"seed": 6, "adam_epsilon": epsilon}, {"seed": 5, "adam_epsilon": 1e-5}):
        assert not same_weights(train_tiny(tiny_images, **settings, **other).model, model)


def test_beta_grows_over_the_warmup():
    # At variance 4 a factor is worth its price up to beta sigma^2 = 4, which a warm-up over all steps reaches half way.
    data = gaussian(1000, [4.0, 4.0])

    def trained(warmup):
        torch.manual_seed(0)
        return train(
            LinearVAE(2, 2), data, data, steps=400, beta=8.0, beta_warmup=warmup, batch_size=250, learning_rate=0.02,
            records=8, progress=False,
        )  # fmt: skip

    none, all_steps = trained(0.0), trained(1.0)
    assert none.history.kl[2] < 0.05
    assert all_steps.history.kl[2] > 0.5
    assert all_steps.history.kl[-1] < 0.05
    # The history has the objective at the full beta.
    history = all_steps.history
    torch.testing.assert_close(history.objective, history.negative_log_likelihood + 8 * history.kl)


def test_every_factor_of_a_linear_model_is_on_the_water_filling_curve():
    data, beta, sigma = gaussian(1000, [4.0, 2.0, 1.0, 0.2]), 3.0, 0.5
    torch.manual_seed(0)
    run = train(
        LinearVAE(4, 5, sigma=sigma), data, data, steps=600, beta=beta, batch_size=1000, learning_rate=0.05,
        schedule="cosine", precision="32-true", records=1, progress=False,
    )  # fmt: skip
    eigenvalues = torch.linalg.eigvalsh(torch.cov(data.T.double(), correction=0)).flip(0)
    expected, _ = reverse_water_filling(eigenvalues, beta * sigma**2)
    found = run.history.information[-1].sort(descending=True).values
    assert (expected > 0).tolist() == [True, True, True, False]
    # Five factors for four components: one is left over.
    assert (found - torch.cat([expected, torch.zeros(1)])).abs().max() < 0.02


def test_progress_goes_to_standard_error(tiny_images, capsys):
    train_tiny(tiny_images, progress=True, precision="bf16-mixed")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "25/25" in captured.err
    assert "objective=" in captured.err
    assert "Mixed Precision" not in captured.err


# --- Checkpoints


def test_an_interrupted_training_resumes_exactly(tiny_images, tmp_path, disturbed, ctrl_c_works):
    settings = {"objective": Disturbed(learning_rate=1e-2), "schedule": "one-cycle", "checkpoint_seconds": 0.0}
    undisturbed = train_tiny(tiny_images, **settings)
    disturbed(lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 18 else None)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tiny_images, checkpoints=tmp_path, **settings)
    steps = []
    disturbed(steps.append)
    resumed = train_tiny(tiny_images, checkpoints=tmp_path, **settings)
    assert 0 < len(steps) < 25
    assert same_weights(resumed.model, undisturbed.model)
    torch.testing.assert_close(vars(resumed.history), vars(undisturbed.history), rtol=0, atol=0)


KILLED = textwrap.dedent("""
    import sys, torch
    from vaemi.models import ConvVAE
    from vaemi.training import objective_on, train
    images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
    train(model, images, images, steps=400, batch_size=20, progress=False, records=5, checkpoints=sys.argv[1],
          checkpoint_seconds=0.05)
    torch.save(model.state_dict(), sys.argv[2])
""")


@pytest.mark.slow
def test_a_killed_training_resumes_exactly(tmp_path):
    def start(folder):
        return subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / folder, tmp_path / f"{folder}.pt"])

    assert start("undisturbed").wait(120) == 0
    process = start("killed")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert start("killed").wait(120) == 0
    resumed, undisturbed = (torch.load(tmp_path / f"{name}.pt") for name in ("killed", "undisturbed"))
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_a_finished_training_is_found_by_its_settings_unless_it_is_to_be_fresh(tiny_images, tmp_path):
    settings = {"checkpoints": tmp_path, "precision": "32-true"}
    first, again = (train_tiny(tiny_images, **settings) for _ in range(2))
    assert again.seconds == first.seconds
    assert same_weights(first.model, again.model)
    fresh = train_tiny(tiny_images, fresh=True, **settings)
    assert fresh.seconds != first.seconds
    assert same_weights(first.model, fresh.model)
    assert len(checkpoints_in(tmp_path)) == 1
    for changes in ({"beta": 2.0}, {"precision": "bf16-mixed"}, {"objective": "avae"}, {"adam_epsilon": 1e-7}):
        train_tiny(tiny_images, **settings | changes)
    train_tiny(tiny_images[:200], **settings)
    assert len(checkpoints_in(tmp_path)) == 6


def test_a_damaged_checkpoint_is_named_and_kept(tiny_images, tmp_path):
    train_tiny(tiny_images, checkpoints=tmp_path)
    (checkpoint,) = checkpoints_in(tmp_path)
    # The second makes torch look for a record that it does not have.
    for damaged in (checkpoint.read_bytes()[:1000], b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.h\xff.", b""):
        checkpoint.write_bytes(damaged)
        with pytest.raises(TrainingError, match=rf"{checkpoint.name} is damaged"):
            train_tiny(tiny_images, checkpoints=tmp_path)
        assert checkpoint.read_bytes() == damaged


def test_a_full_disk_leaves_no_half_checkpoint(tiny_images, tmp_path, monkeypatch):
    def full(checkpoint, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"cannot be written.*No space left"):
        train_tiny(tiny_images, checkpoints=tmp_path)
    assert checkpoints_in(tmp_path) == []


def test_an_unusable_checkpoint_folder(tiny_images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written to"):
        train_tiny(tiny_images, checkpoints=tmp_path / "file" / "folder")


def test_the_same_training_twice_at_once_is_made_once(tiny_images, tmp_path, disturbed, capfd):
    steps, started, go_on = [], threading.Event(), threading.Event()

    def disturb(step):
        steps.append(step)
        started.set()
        assert go_on.wait(60)

    disturbed(disturb)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(train_tiny, tiny_images, objective=Disturbed(), checkpoints=tmp_path)
        assert started.wait(60)
        second = pool.submit(train_tiny, tiny_images, objective=Disturbed(), checkpoints=tmp_path)
        said, deadline = "", time.monotonic() + 60
        while "another process runs the training" not in said and time.monotonic() < deadline:
            time.sleep(0.02)
            said += capfd.readouterr().err
        go_on.set()
    assert "another process runs the training" in said
    assert len(steps) == 25
    assert same_weights(first.result().model, second.result().model)


# --- What a user may get wrong


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), TrainingError("not enough memory for a batch_size of 20")),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), TrainingError("not enough memory")),
        (RuntimeError("inconsistent tensor size"), RuntimeError("inconsistent tensor size")),
    ],
)
def test_too_little_memory_is_one_sentence_and_other_errors_keep_their_name(tiny_images, disturbed, error, told):
    def fail(step):
        raise error

    disturbed(fail)
    with pytest.raises(type(told), match=str(told)):
        train_tiny(tiny_images, objective=Disturbed())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"adam_epsilon": 0.0}, "adam_epsilon is 0"),
        ({"beta_warmup": 1.5}, "a share of the steps"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"batch_size": 301}, "300 samples, fewer than one batch of 301"),
        ({"schedule": "steps"}, "choose constant, cosine or one-cycle"),
        ({"objective": "vae"}, "objective is 'vae': choose one of beta-vae"),
    ],
)
def test_impossible_settings(tiny_images, settings, words):
    with pytest.raises(TrainingError, match=words):
        train_tiny(tiny_images, **settings)


def test_divergence_stops_with_the_step(tiny_images):
    with pytest.raises(TrainingError, match=r"diverged.*at step \d+.*learning rate under"):
        train_tiny(tiny_images.float() * float("inf"), steps=60)


# --- Several processes


TWO_PROCESSES = textwrap.dedent("""
    import sys, torch
    from vaemi.models import ConvVAE
    from vaemi.training import objective_on, train

    if __name__ == "__main__":
        images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        found = {}
        for objective in ("beta-vae", "factor-vae"):
            torch.manual_seed(0)
            model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
            run = train(
                model, images, images, steps=100, batch_size=21, progress=False, records=5, precision="32-true",
                objective=objective, devices=2, checkpoints=sys.argv[1],
            )
            found[objective] = [run.model.state_dict(), run.history.objective, run.history.information]
        torch.save(found, f"{sys.argv[2]}-{torch.distributed.get_rank()}.pt")
""")


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(tmp_path, tiny_images):
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, tmp_path / "two.py", tmp_path / "checkpoints", tmp_path / "found"],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"found-{rank}.pt") for rank in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    # The batch of 21 is shared as 11 and 10.
    settings = {"steps": 100, "batch_size": 21, "precision": "32-true"}
    alone = train_tiny(tiny_images, **settings)
    weights, objective, information = first["beta-vae"]
    torch.testing.assert_close(weights, dict(alone.model.state_dict()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(objective, alone.history.objective, rtol=1e-5, atol=0)
    torch.testing.assert_close(information, alone.history.information, rtol=1e-3, atol=1e-6)
    # One process loads what two have trained.
    taken = train_tiny(tiny_images, **settings, checkpoints=tmp_path / "checkpoints", devices=1)
    torch.testing.assert_close(dict(taken.model.state_dict()), dict(weights), rtol=0, atol=0)
    # An objective that compares samples compares those of a share.
    alone = train_tiny(tiny_images, **settings, objective="factor-vae")
    assert first["factor-vae"][1][-1] == pytest.approx(float(alone.history.objective[-1]), rel=0.02)


IN_A_NOTEBOOK = """
import torch
from vaemi.models import ConvVAE
from vaemi.training import objective_on, train
torch.set_num_threads(2)
torch.randn(500, 500) @ torch.randn(500, 500)  # threads that a fork does not have
images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
torch.manual_seed(0)
model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
run = train(model, images, images, steps=25, batch_size=20, progress=False, records=5, precision="32-true", devices=2)
print(run.steps, float(run.history.objective[-1]))
"""


@pytest.mark.slow
def test_two_processes_are_forks_of_a_notebooks_kernel(tiny_images):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(IN_A_NOTEBOOK)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (printed,) = [output.text for output in notebook.cells[0].outputs if output.get("name") == "stdout"]
    steps, objective = printed.split()
    alone = train_tiny(tiny_images, precision="32-true")
    assert int(steps) == 25
    assert float(objective) == pytest.approx(float(alone.history.objective[-1]), rel=1e-5)


def test_checksum_sees_values_shapes_and_types():
    a = torch.arange(6)
    different = [a, a + 1, a.reshape(2, 3), a.int(), torch.arange(5)]
    assert len({checksum(tensor) for tensor in different}) == len(different)
    assert checksum(a.reshape(2, 3).T) == checksum(a.reshape(2, 3).T.contiguous())
