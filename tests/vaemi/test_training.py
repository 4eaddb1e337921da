"""Training: it learns, it repeats, it resumes exactly, and it says what is wrong."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import lightning
import nbformat
import pytest
import torch
from conftest import same_weights, tiny
from lightning.pytorch.callbacks import Callback
from nbclient import NotebookClient

from companion.data.manifolds import linear_gaussian
from vaemi import factor_information
from vaemi import training as training_module
from vaemi.information.bounds import reverse_water_filling
from vaemi.models import ConvVAE, LinearVAE, as_float, posterior
from vaemi.objectives import BetaVAE
from vaemi.training import SpectrumLogger, TrainingError, minimize, train


def train_tiny(images, **settings):
    return train(tiny(), images, images, **{"steps": 25, "batch_size": 20, "progress": False, "records": 5, **settings})


def test_the_objective_falls_and_is_the_sum_of_its_terms(tiny_images):
    history = train_tiny(tiny_images, steps=200, beta=3.0).history
    assert history.step.tolist() == [0, 40, 80, 120, 160, 200]
    assert history.objective[-1] < history.objective[0] - 5
    torch.testing.assert_close(history.objective, history.negative_log_likelihood + 3 * history.kl)
    assert history.information.shape == (6, 4)
    assert (history.sigma[1:] < history.sigma[0]).all()


def test_the_same_seed_gives_the_same_model_and_another_another(tiny_images):
    first, again, other = (train_tiny(tiny_images, seed=seed).model for seed in (1, 1, 2))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_the_price_of_information_grows_over_the_warmup():
    # Of variance 4 nothing is worth its price beyond beta sigma^2 = 4. Half way through a warm-up over all steps the
    # price is 4; before that a factor is worth something.
    data = linear_gaussian(1000, [4.0, 4.0], seed=0).samples

    def trained(share):
        torch.manual_seed(0)
        return train(
            LinearVAE(2, 2), data, data, steps=400, beta=8.0, beta_warmup=share, batch_size=250, learning_rate=0.02,
            records=8, progress=False,
        )  # fmt: skip

    none, one_step, all_steps = trained(0.0), trained(1 / 400), trained(1.0)
    assert same_weights(none.model, one_step.model)
    assert none.history.kl[2] < 0.05
    assert all_steps.history.kl[2] > 0.5
    assert all_steps.history.kl[-1] < 0.05
    # What is recorded is the objective at the full price.
    history = all_steps.history
    torch.testing.assert_close(history.objective, history.negative_log_likelihood + 8 * history.kl)


def test_progress_goes_to_standard_error(tiny_images, capsys):
    train_tiny(tiny_images, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "25/25" in captured.err
    assert "objective=" in captured.err


def test_a_linear_model_trains_to_the_known_optimum():
    # Two factors, eigenvalues 4 and 1 of the data, decoder variance s^2 = 0.25: I = 1/2 log(lambda / s^2).
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(20_000, 2, generator=generator) * torch.tensor([2.0, 1.0])
    torch.manual_seed(0)
    run = train(
        LinearVAE(2, 2, sigma=0.5), data, data, steps=2000, batch_size=500, learning_rate=2e-2, schedule="cosine",
        progress=False,
    )  # fmt: skip
    expected = 0.5 * torch.tensor([4.0, 1.0]).div(0.25).log()
    found = run.history.information[-1].sort(descending=True).values
    assert found.sum().item() == pytest.approx(expected.sum().item(), abs=0.1)


def test_every_factor_of_a_linear_model_is_on_the_water_filling_curve():
    data = linear_gaussian(1000, [4.0, 2.0, 1.0, 0.2])
    beta, sigma = 3.0, 0.5
    torch.manual_seed(0)
    run = train(
        LinearVAE(4, 5, sigma=sigma), data.samples, data.samples, steps=600, beta=beta, batch_size=1000,
        learning_rate=0.05, schedule="cosine", precision="32-true", records=1, progress=False,
    )  # fmt: skip
    expected, _ = reverse_water_filling(data.sample_eigenvalues(), beta * sigma**2)
    found = run.history.information[-1].sort(descending=True).values
    assert (expected > 0).tolist() == [True, True, True, False]
    # Five factors for four components: one is left over.
    assert (found - torch.cat([expected, torch.zeros(1)])).abs().max() < 0.02


class _Interrupt(Callback):
    """Stands for Ctrl-C at a certain step."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 17:
            os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_and_resumed_is_the_same_as_undisturbed(tiny_images, tmp_path, monkeypatch, ctrl_c_works):
    undisturbed = train_tiny(tiny_images, schedule="one-cycle")
    progress_bar = training_module._Progress
    monkeypatch.setattr(training_module, "_Progress", lambda steps: _Interrupt())
    settings = {"checkpoints": tmp_path, "checkpoint_seconds": 1e-9, "schedule": "one-cycle"}
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tiny_images, progress=True, **settings)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    (checkpoint,) = tmp_path.iterdir()
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 25
    monkeypatch.setattr(training_module, "_Progress", progress_bar)
    resumed = train_tiny(tiny_images, **settings)
    assert same_weights(resumed.model, undisturbed.model)
    torch.testing.assert_close(vars(resumed.history), vars(undisturbed.history), rtol=0, atol=0)


KILLED = textwrap.dedent("""
    import sys, torch, vaemi
    from vaemi.models import ConvVAE
    from vaemi.training import train
    images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
    train(model, images, images, steps=1200, batch_size=20, progress=False, records=5, checkpoints=sys.argv[1],
          checkpoint_seconds=0.05)
    torch.save(model.state_dict(), sys.argv[2])
""")


def test_killed_and_resumed_is_the_same_as_undisturbed(tmp_path):
    def start(folder):
        return subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / folder, tmp_path / f"{folder}.pt"])

    assert start("undisturbed").wait(120) == 0
    kills = 0
    for _ in range(3):
        process = start("killed")
        deadline = time.monotonic() + 60
        while not list((tmp_path / "killed").glob("*.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1 * kills)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills, "the training was over before it could be killed"
    assert start("killed").wait(120) == 0
    resumed, undisturbed = (torch.load(tmp_path / f"{name}.pt") for name in ("killed", "undisturbed"))
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_a_finished_training_is_taken_as_it_is(tiny_images, tmp_path, monkeypatch):
    first = train_tiny(tiny_images, checkpoints=tmp_path)
    monkeypatch.setattr(training_module._LightningVAE, "training_step", lambda *_: pytest.fail("trained again"))
    again = train_tiny(tiny_images, checkpoints=tmp_path)
    assert same_weights(first.model, again.model)
    assert again.seconds == pytest.approx(first.seconds, abs=1e-6)


def test_other_settings_do_not_meet_the_same_checkpoint(tiny_images, tmp_path):
    train_tiny(tiny_images, checkpoints=tmp_path)
    train_tiny(tiny_images, checkpoints=tmp_path, beta=2.0)
    train_tiny(tiny_images[:200], checkpoints=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_fresh_starts_over(tiny_images, tmp_path):
    first = train_tiny(tiny_images, checkpoints=tmp_path)
    again = train_tiny(tiny_images, checkpoints=tmp_path, fresh=True)
    assert same_weights(first.model, again.model)
    assert again.seconds != first.seconds


def test_a_damaged_checkpoint_is_named_and_kept(tiny_images, tmp_path):
    train_tiny(tiny_images, checkpoints=tmp_path)
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=checkpoint.name):
        train_tiny(tiny_images, checkpoints=tmp_path)
    assert checkpoint.stat().st_size == 1000


def test_a_full_disk_leaves_no_half_checkpoint(tiny_images, tmp_path, monkeypatch):
    def full(checkpoint, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_module.torch, "save", full)
    with pytest.raises(TrainingError, match=r"cannot be written.*No space left"):
        train_tiny(tiny_images, checkpoints=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_model_is_named_and_kept(tiny_images, tmp_path):
    train_tiny(tiny_images, checkpoints=tmp_path)
    (ours,) = tmp_path.iterdir()
    other = tmp_path / "other"
    torch.manual_seed(0)
    wider = ConvVAE((1, 8, 8), latent_dim=5, channels=(4,), hidden_dim=16)
    train(wider, tiny_images, tiny_images, steps=25, batch_size=20, progress=False, checkpoints=other)
    (theirs,) = other.iterdir()
    same_shape = tmp_path / "same"
    train_tiny(tiny_images, checkpoints=same_shape, beta=2.0)
    for foreign in (theirs.read_bytes(), next(same_shape.iterdir()).read_bytes()):
        ours.write_bytes(foreign)
        with pytest.raises(TrainingError, match=rf"{ours.name} is of another model or training than its name says"):
            train_tiny(tiny_images, checkpoints=tmp_path)
        assert ours.read_bytes() == foreign


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "The GPU ran out of memory at a batch_size of 20: try",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "The machine ran out of memory"),
        (MemoryError(), "The machine ran out of memory"),
    ],
)
def test_too_little_memory_is_one_sentence(tiny_images, tmp_path, monkeypatch, error, words):
    def full(*_):
        raise error

    monkeypatch.setattr(training_module._LightningVAE, "training_step", full)
    with pytest.raises(TrainingError, match=words):
        train_tiny(tiny_images, checkpoints=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_keep_their_name(tiny_images, monkeypatch):
    monkeypatch.setattr(training_module._LightningVAE, "training_step", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        train_tiny(tiny_images)


def test_the_same_training_twice_at_once_is_made_once(tiny_images, tmp_path, monkeypatch, capsys):
    trained = []
    step = training_module._LightningVAE.training_step
    monkeypatch.setattr(
        training_module._LightningVAE, "training_step", lambda *given: trained.append(1) or step(*given)
    )
    lock = training_module.only_one
    asked = threading.Event()

    def only_one(path, say):
        return lock(path, lambda: say() or asked.set())

    monkeypatch.setattr(training_module, "only_one", only_one)
    train_tiny(tiny_images, checkpoints=tmp_path)
    (checkpoint,) = tmp_path.iterdir()
    made = tmp_path / "made"
    checkpoint.rename(made)
    trained.clear()
    with ThreadPoolExecutor(1) as pool:
        with lock(tmp_path / f".{checkpoint.name}.lock", lambda: None):
            second = pool.submit(train_tiny, tiny_images, checkpoints=tmp_path)
            assert asked.wait(60)
            assert not second.done()
            made.rename(checkpoint)
        second.result()
    assert trained == []
    assert "another process makes" in capsys.readouterr().err


def test_what_a_killed_save_left_is_removed(tiny_images, tmp_path):
    train_tiny(tiny_images, checkpoints=tmp_path)
    (checkpoint,) = tmp_path.iterdir()
    (tmp_path / f".{checkpoint.name}.4000000").write_bytes(b"half")
    train_tiny(tiny_images, checkpoints=tmp_path)
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_bfloat16_trains_about_as_well(tiny_images):
    exact, mixed = (train_tiny(tiny_images, steps=100, precision=p) for p in ("32-true", "bf16-mixed"))
    assert mixed.precision == "bf16-mixed"
    assert mixed.history.objective[-1] == pytest.approx(float(exact.history.objective[-1]), rel=0.05)
    assert not same_weights(exact.model, mixed.model)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"beta_warmup": 1.5}, "a share of the steps"),
        ({"beta": -1.0}, "beta is -1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"batch_size": 301}, "300 samples, fewer than one batch of 301"),
        ({"schedule": "steps"}, "choose constant or cosine or one-cycle"),
        ({"records": 0}, "records"),
        ({"precision": "7-bit"}, "precision is '7-bit'"),
    ],
)
def test_impossible_settings(tiny_images, settings, words):
    with pytest.raises(TrainingError, match=words):
        train_tiny(tiny_images, **settings)


def test_divergence_stops_with_the_step(tiny_images):
    with pytest.raises(TrainingError, match=r"diverged.*at step \d+.*learning rate under"):
        train_tiny(tiny_images.float() * float("inf"), steps=60)


def test_an_unusable_checkpoint_folder(tiny_images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be made"):
        train_tiny(tiny_images, checkpoints=tmp_path / "file" / "folder")


TWO_PROCESSES = textwrap.dedent("""
    import sys, torch, vaemi, lightning
    from torch.utils.data import DataLoader
    from vaemi.information import ShareSampler
    from vaemi.models import ConvVAE, as_float
    from vaemi.training import SpectrumLogger, train

    class AnyModule(lightning.LightningModule):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def validation_step(self, batch, index):
            return None

    def tiny():
        torch.manual_seed(0)
        return ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)

    if __name__ == "__main__":
        images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        found = {}
        for objective in ("beta-vae", "factor-vae"):
            run = train(
                tiny(), images, images, steps=100, batch_size=21, progress=False, records=5, precision="32-true",
                objective=objective, devices=2, checkpoints=sys.argv[1],
            )
            found[objective] = {
                "weights": run.model.state_dict(), "objective": run.history.objective,
                "information": run.history.information, "steps": run.steps,
            }
        # The last batches are of unlike sizes; and one sample for each process.
        lightnings = lambda data: None
        for name, count, sampler in (
            ("shared", 299, ShareSampler), ("lightning's", 299, lightnings), ("one", 2, ShareSampler)
        ):
            logger, data = SpectrumLogger(), as_float(images[:count])
            trainer = lightning.Trainer(
                callbacks=[logger], logger=False, enable_checkpointing=False, enable_progress_bar=False,
                accelerator="cpu", devices=2, enable_model_summary=False,
            )
            loader = DataLoader(data, batch_size=64, sampler=sampler(data))
            trainer.validate(AnyModule(tiny()), loader, verbose=False)
            found[name] = [logger.information.nats, logger.information.n_samples]
        torch.save(found, f"{sys.argv[2]}-{trainer.global_rank}.pt")
""")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What either of two processes found that trained and evaluated together, and what they said."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, folder / "two.py", folder / "checkpoints", folder / "found"],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"found-{rank}.pt") for rank in range(2)], done.stderr, folder / "checkpoints"


def test_two_processes_train_the_same_model_as_one(two_processes, tiny_images):
    # The batch of 21 is shared as 11 and 10.
    (first, second), _, _ = two_processes
    alone = train_tiny(tiny_images, steps=100, batch_size=21, precision="32-true")
    for found in (first["beta-vae"], second["beta-vae"]):
        assert found["steps"] == 100
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(found["weights"][name], value, rtol=1e-4, atol=1e-5)
            assert torch.equal(found["weights"][name], first["beta-vae"]["weights"][name])
        torch.testing.assert_close(found["objective"], alone.history.objective, rtol=1e-5, atol=0)
        torch.testing.assert_close(found["information"], alone.history.information, rtol=1e-3, atol=1e-6)


def test_an_objective_that_compares_samples_compares_those_of_a_share(two_processes, tiny_images):
    (first, second), _, _ = two_processes
    alone = train_tiny(tiny_images, steps=100, batch_size=21, precision="32-true", objective="factor-vae")
    for name, value in first["factor-vae"]["weights"].items():
        assert torch.equal(second["factor-vae"]["weights"][name], value)
    assert first["factor-vae"]["objective"][-1] == pytest.approx(float(alone.history.objective[-1]), rel=0.02)


def test_what_two_processes_made_one_takes_as_it_is(two_processes, tiny_images, monkeypatch):
    (first, _), _, folder = two_processes
    monkeypatch.setattr(training_module._LightningVAE, "training_step", lambda *_: pytest.fail("trained again"))
    again = train_tiny(
        tiny_images, steps=100, batch_size=21, precision="32-true", checkpoints=folder, records=5, devices=1
    )
    assert all(
        torch.equal(again.model.state_dict()[name], value) for name, value in first["beta-vae"]["weights"].items()
    )


def test_a_validation_in_two_processes_counts_every_sample_once(two_processes, tiny_images):
    found, said, _ = two_processes
    expected = factor_information(*posterior(tiny(), tiny_images[:299]))
    for rank in found:
        nats, count = rank["shared"]
        assert count == 299
        torch.testing.assert_close(nats, expected.nats, atol=1e-8, rtol=0)
        assert rank["one"][1] == 2
        # Lightning's sampler shows the first sample twice.
        nats, count = rank["lightning's"]
        assert count == 300
        assert (nats - expected.nats).abs().max() > 1e-7
    assert said.count("The validation sampler repeats 1 of 299 samples") == 1


def test_a_share_of_a_batch_has_the_draws_of_the_batch(tiny_images):
    model, x = tiny(), as_float(tiny_images[:7])

    def gradients(share, rows):
        model.zero_grad()
        generator = torch.Generator().manual_seed(3)
        BetaVAE()(model, rows, generator, beta=2.0, share=share).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    whole = gradients(None, x)
    parts = [gradients(slice(rank, 7, 3), x[rank::3]) for rank in range(3)]
    sizes = [len(x[rank::3]) for rank in range(3)]
    for expected, *found in zip(whole, *parts, strict=True):
        mean = sum(size * gradient for size, gradient in zip(sizes, found, strict=True)) / 7
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


IN_A_NOTEBOOK = """
import torch, vaemi
from vaemi.models import ConvVAE
from vaemi.training import train
torch.set_num_threads(2)
torch.randn(500, 500) @ torch.randn(500, 500)  # threads that a fork does not have
images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
torch.manual_seed(0)
model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
run = train(model, images, images, steps=25, batch_size=20, progress=False, records=5, precision="32-true", devices=2)
print(run.steps, float(run.history.objective[-1]))
"""


def test_two_processes_are_forks_of_a_notebooks_kernel(tiny_images):
    cells = [nbformat.v4.new_code_cell(IN_A_NOTEBOOK)]
    notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120, kernel_name="python3").execute()
    (printed,) = [output.text for output in notebook.cells[0].outputs if output.get("name") == "stdout"]
    steps, objective = printed.split()
    alone = train_tiny(tiny_images, precision="32-true")
    assert int(steps) == 25
    assert float(objective) == pytest.approx(float(alone.history.objective[-1]), rel=1e-5)


# Warnings of Lightning's, about its own use of torch and about loaders without workers.
LIGHTNINGS_OWN = pytest.mark.filterwarnings("ignore:.*treespec", "ignore:The 'val_dataloader' does not have many")


class AnyModule(lightning.LightningModule):
    """Somebody's module, with a validation of its own and nothing of ours but an encoder."""

    def __init__(self):
        super().__init__()
        self.model = tiny()

    def validation_step(self, batch, index):
        return None


def validate(images, callback, wrap):
    loader = torch.utils.data.DataLoader(images, batch_size=70, collate_fn=lambda rows: wrap(torch.stack(rows)))
    trainer = lightning.Trainer(
        callbacks=[callback], logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False,
    )  # fmt: skip
    module = AnyModule()
    trainer.validate(module, loader, verbose=False)
    return module, trainer.callback_metrics


@LIGHTNINGS_OWN
@pytest.mark.parametrize("wrap", [lambda images: (as_float(images), "label"), as_float])
def test_the_spectrum_is_logged_for_any_module(tiny_images, wrap):
    logger = SpectrumLogger(threshold=1e-6)
    module, logged = validate(tiny_images, logger, wrap)
    expected = factor_information(*posterior(module.model, tiny_images))
    torch.testing.assert_close(logger.information.nats, expected.nats, atol=1e-7, rtol=0)
    assert float(logged["information/total"]) == pytest.approx(expected.total, rel=1e-4)
    assert float(logged["information/z3"]) == pytest.approx(float(expected.nats[3]), rel=1e-4)
    assert float(logged["information/influential"]) == len(expected.influential(1e-6)) > 0


@LIGHTNINGS_OWN
def test_the_spectrum_of_an_encoder_of_ones_own(tiny_images):
    logger = SpectrumLogger(encode=lambda batch: (batch["x"].flatten(1)[:, :2], torch.zeros(len(batch["x"]), 2)))
    validate(tiny_images, logger, lambda images: {"x": as_float(images)})
    x = as_float(tiny_images).flatten(1)[:, :2]
    torch.testing.assert_close(logger.information.nats, factor_information(x, torch.zeros_like(x)).nats)


def line(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 1)


def square_distance(module, batch, done):
    return (module(batch[:, :2]) - batch[:, 2:]).square().mean()


def test_anybodys_module_is_trained_the_same_each_time_and_left_in_eval_mode():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    samples = torch.cat([x, x @ torch.tensor([[1.0], [-2.0]]) + 3], 1)
    first, again, other = line(), line(), line()
    state = torch.get_rng_state()
    for module, seed in ((first, 1), (again, 1), (other, 2)):
        assert minimize(module, square_distance, samples, steps=400, learning_rate=0.1, seed=seed) > 0
        assert not module.training
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(first.weight, torch.tensor([[1.0, -2.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(first.bias, torch.tensor([3.0]), atol=1e-3, rtol=0)
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_the_loss_is_told_how_much_is_done():
    told = []
    minimize(line(), lambda module, batch, done: told.append(done) or square_distance(module, batch, done),
             torch.zeros(10, 3), steps=4)  # fmt: skip
    assert told == [0, 0.25, 0.5, 0.75]


def test_a_loss_that_is_not_finite_stops_the_plain_loop_too():
    with pytest.raises(TrainingError, match="nan at step 1"):
        minimize(line(), square_distance, torch.full((10, 3), float("nan")), steps=4)
