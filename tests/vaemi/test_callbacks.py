"""SpectrumLogger: the information of any Lightning module, over all processes."""

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest
import torch
from conftest import tiny
from torch.utils.data import DataLoader

from vaemi import FactorInformationMetric, factor_information
from vaemi.models import as_float, posterior

pytestmark = [
    pytest.mark.skipif(find_spec("lightning") is None, reason="needs the extra train"),
    # Lightning's own use of torch, and loaders without workers.
    pytest.mark.filterwarnings("ignore:.*treespec", "ignore:The 'val_dataloader' does not have many"),
    pytest.mark.filterwarnings("ignore:This property will be removed:DeprecationWarning"),
]


def validate(images, wrap, **settings):
    from vaemi.callbacks import SpectrumLogger, lightning

    class AnyModule(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = tiny()

        def validation_step(self, batch, index):
            return None

    logger = SpectrumLogger(**settings)
    trainer = lightning.Trainer(
        callbacks=[logger], logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(images, batch_size=70, collate_fn=lambda rows: wrap(torch.stack(rows)))
    trainer.validate(AnyModule(), loader, verbose=False)
    return logger.information, trainer.callback_metrics


def test_the_information_of_any_module_is_logged(tiny_images):
    information, logged = validate(tiny_images, lambda images: (as_float(images), "label"), threshold=1e-6)
    expected = factor_information(*posterior(tiny(), tiny_images))
    torch.testing.assert_close(information.nats, expected.nats, atol=1e-7, rtol=0)
    assert float(logged["information/total"]) == pytest.approx(expected.total, rel=1e-4)
    assert float(logged["information/z3"]) == pytest.approx(float(expected.nats[3]), rel=1e-4)
    assert float(logged["information/influential"]) == len(expected.influential(1e-6)) > 0


def test_an_encoder_of_ones_own(tiny_images):
    def encode(batch):
        return batch["x"].flatten(1)[:, :2], torch.zeros(len(batch["x"]), 2)

    information, _ = validate(tiny_images, lambda images: {"x": as_float(images)}, encode=encode)
    x = as_float(tiny_images).flatten(1)[:, :2]
    torch.testing.assert_close(information.nats, factor_information(x, torch.zeros_like(x)).nats)


@pytest.mark.parametrize("scale", [None, "std"])
def test_answers_of_every_form_are_read(tiny_images, scale):
    def encode(batch):
        x = batch.flatten(1)[:, :4].view(-1, 2, 2)
        return {"mu": x, "logvar": torch.zeros_like(x)} if scale is None else (x, torch.ones_like(x))

    information, _ = validate(tiny_images, as_float, encode=encode, scale=scale)
    x = as_float(tiny_images).flatten(1)[:, :4]
    torch.testing.assert_close(information.nats, factor_information(x, torch.zeros_like(x)).nats)


def fitted(module_of, loaders):
    """Train a module for one step with these validation loaders; return it with the callback and what was logged."""
    from vaemi.callbacks import SpectrumLogger, lightning

    class AnyModule(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(3, 4)
            self.metric = FactorInformationMetric(2, as_total=True)

        def encode(self, x):
            return self.encoder(x).chunk(2, 1)

        def training_step(self, batch, index):
            return self.encoder(batch).square().mean()

        def validation_step(self, batch, index, dataloader_idx=0):
            module_of(self, batch, dataloader_idx)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-3)

    torch.manual_seed(0)
    logger, module = SpectrumLogger(), AnyModule()
    trainer = lightning.Trainer(
        callbacks=[logger], logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, max_epochs=1, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.randn(8, 3), batch_size=8), loaders)
    return module, logger, {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many")
def test_several_loaders_are_kept_apart_and_one_sample_ends_no_training():
    data = [torch.randn(30, 3), 5 * torch.randn(20, 3), torch.randn(1, 3)]
    loaders = [DataLoader(part, batch_size=9) for part in data]
    module, logger, logged = fitted(lambda *_: None, loaders)
    assert sorted(logger.by_loader) == [0, 1]
    for number, information in logger.by_loader.items():
        expected = factor_information(*module.encode(data[number]))
        torch.testing.assert_close(information.nats, expected.nats, atol=1e-7, rtol=0)
        assert logged[f"information/total/dataloader_idx_{number}"] == pytest.approx(expected.total, rel=1e-4)
    assert "information/total" not in logged
    _, logger, logged = fitted(lambda *_: None, loaders[2:])
    assert (logger.information, logged) == (None, {})


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many")
def test_a_metric_of_the_total_can_be_logged():
    def step(module, batch, number):
        module.metric.update(module.encode(batch))
        module.log("nats", module.metric)

    x = torch.randn(30, 3)
    module, _, logged = fitted(step, DataLoader(x, batch_size=9))
    assert logged["nats"] == pytest.approx(factor_information(*module.encode(x)).total, rel=1e-4)


TWO_PROCESSES = textwrap.dedent("""
    import sys, torch
    from torch.utils.data import DataLoader
    from vaemi.callbacks import SpectrumLogger, lightning
    from vaemi.information import ShareSampler
    from vaemi.models import ConvVAE, as_float

    class AnyModule(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)

        def validation_step(self, batch, index):
            return None

    if __name__ == "__main__":
        images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        found = {}
        for name, count, sampler in (
            ("shared", 299, ShareSampler), ("lightning's", 299, lambda data: None), ("one each", 2, ShareSampler)
        ):
            logger, data = SpectrumLogger(), as_float(images[:count])
            trainer = lightning.Trainer(
                callbacks=[logger], logger=False, enable_checkpointing=False, enable_progress_bar=False,
                accelerator="cpu", devices=2, enable_model_summary=False,
            )
            trainer.validate(AnyModule(), DataLoader(data, batch_size=64, sampler=sampler(data)), verbose=False)
            found[name] = [logger.information.nats, logger.information.n_samples]
        torch.save(found, f"{sys.argv[1]}-{trainer.global_rank}.pt")
""")


@pytest.mark.slow
def test_two_processes_count_every_sample_once(tmp_path, tiny_images):
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, tmp_path / "two.py", tmp_path / "found"], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = factor_information(*posterior(tiny(), tiny_images[:299]))
    for rank in range(2):
        found = torch.load(tmp_path / f"found-{rank}.pt")
        nats, count = found["shared"]
        assert count == 299
        torch.testing.assert_close(nats, expected.nats, atol=1e-8, rtol=0)
        assert found["one each"][1] == 2
        # Lightning's sampler repeats the first sample.
        nats, count = found["lightning's"]
        assert count == 300
        assert (nats - expected.nats).abs().max() > 1e-7
    assert done.stderr.count("The validation sampler gives 300 samples of a data set of 299") == 1
