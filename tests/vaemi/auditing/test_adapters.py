"""Models of other libraries, compared with what the libraries themselves return."""

import warnings

import numpy as np
import pytest
import torch

import vaemi
from vaemi._torchvision import declare_missing_operators
from vaemi.influence import decoder_effects

pytestmark = [
    pytest.mark.slow,
    # The libraries' own use of torch and others causes warnings.
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def imported(name):
    declare_missing_operators()  # the libraries import torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.mark.parametrize("name", ["VAE", "BetaTCVAE"])
def test_pythae(name, embedded_digits):
    models = imported("pythae.models")
    datasets = imported("pythae.data.datasets")
    torch.manual_seed(0)
    settings = {"input_dim": (1, 28, 28), "latent_dim": 8} | ({"beta": 2.0} if name.startswith("Beta") else {})
    model = getattr(models, name)(getattr(models, f"{name}Config")(**settings))
    images = embedded_digits.validation.images[:400].float() / 255
    trained = datasets.BaseDataset(images, torch.zeros(len(images)))
    optimizer = torch.optim.Adam([*model.encoder.parameters(), *model.decoder.parameters()], 1e-3)
    for step in range(120):
        answer = model({"data": images[step % 4 :: 4]})
        optimizer.zero_grad()
        answer.loss.backward()
        optimizer.step()
    found = vaemi.audit(model, trained, progress=False)
    assert model.training
    with torch.no_grad():
        own = model.eval().encoder(images)
    expected = vaemi.factor_information(own.embedding, own.log_covariance)
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-5, rtol=0)
    assert (found.source, found.scale, found.remarks) == (name, "log_variance", [])
    assert 1 <= found.latent_dim <= 8
    # The decoder is found, and its effects are those of pythae's own.
    assert found.effects.n_inputs == 100
    own_effects = decoder_effects(
        model.decoder, own.embedding[:100], own.log_covariance[:100], batch_size=50, progress=False
    )
    torch.testing.assert_close(found.effects.effect, own_effects.effect, rtol=0.02, atol=1e-4)
    # The same from tensors, and from pythae's own batches.
    again = vaemi.audit(model, [{"data": images[:200]}, {"data": images[200:]}], progress=False)
    torch.testing.assert_close(again.information.nats, expected.nats, atol=1e-5, rtol=0)


def test_diffusers_autoencoder():
    diffusers = imported("diffusers")
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4, latent_channels=3,
        up_block_types=("UpDecoderBlock2D",) * 2, sample_size=16,
    )  # fmt: skip
    # Each corner has a grey level of its own.
    levels = torch.randn(1000, 1, 2, 2)
    x = levels.repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1) * 0.5
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(60):
        batch = x[(step * 32) % 960 :][:32]
        latents = model.encode(batch).latent_dist
        loss = (model.decode(latents.sample()).sample - batch).square().mean() + 1e-3 * latents.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.train()
    found = vaemi.audit(model, x, progress=False, batch_size=250)
    assert model.training
    with torch.no_grad():
        own = model.eval().encode(x).latent_dist
    expected = vaemi.factor_information(own.mean.flatten(1), own.logvar.flatten(1))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-4, rtol=0)
    assert found.latent_shape == (3, 8, 8)
    own_effects = decoder_effects(model.decode, own.mean[:100], own.logvar[:100], progress=False)
    torch.testing.assert_close(found.effects.effect, own_effects.effect, rtol=1e-3, atol=1e-5)
    assert found.maps.shape == (3, 8, 8)
    assert 1 <= found.latent_dim <= 3
    assert found.remarks == []


def test_scvi():
    scvi = imported("scvi")
    anndata = imported("anndata")
    gene_programs = pytest.importorskip("companion.data.gene_programs")
    programs = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi.settings.seed = 0
        adata = anndata.AnnData(gene_programs.gene_counts(1000, genes_of_each=10, programs=programs).counts)
        scvi.model.SCVI.setup_anndata(adata)
        model = scvi.model.SCVI(adata, n_latent=8, n_hidden=32, dropout_rate=0.1)
        model.train(
            max_epochs=60, batch_size=100, accelerator="cpu", enable_progress_bar=False, logger=False,
            plan_kwargs={"n_epochs_kl_warmup": 10, "lr": 3e-3},
        )  # fmt: skip
        model.module.train()
        found = vaemi.audit(model, adata, progress=False)
        assert model.module.training, "dropout is back as it was"
        model.module.eval()
        mean, variance = model.get_latent_representation(adata, return_dist=True)
    expected = vaemi.factor_information(mean, np.log(variance))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-4, rtol=0)
    assert (found.source, found.scale, found.information.n_samples) == ("SCVI", "std", 1000)
    assert found.latent_dim == programs
    # The decoder is found: it uses the factors that carry the programs, in units of expected counts.
    assert found.effects.n_inputs >= 100
    assert found.effects.share[found.influential].min() > 0.1
    assert found.effects.share.topk(programs).indices.sort().values.equal(found.influential.sort().values)
    assert found.remarks == []


def trained(model, epochs=20):
    model.train(
        max_epochs=epochs, batch_size=50, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 3e-3}
    )
    model.module.eval()
    return model


def multimodal(name, scvi, counts):
    """A model set up by setup_mudata, and its data: half of the columns are genes."""
    mudata, anndata = imported("mudata"), imported("anndata")
    genes, others = counts[:, ::2], counts[:, 1::2]
    kind = {"TOTALVI": "protein", "MULTIVI": "atac"}[name]
    parts = {"rna": genes, kind: (others > 2).astype(np.float32) if kind == "atac" else others}
    data = mudata.MuData({part: anndata.AnnData(np.ascontiguousarray(values)) for part, values in parts.items()})
    model = getattr(scvi.model, name)
    model.setup_mudata(data, modalities={f"{part}_layer": part for part in parts})
    shape = {"n_genes": genes.shape[1], "n_regions": others.shape[1]} if name == "MULTIVI" else {}
    return model(data, n_latent=5, **shape), data


@pytest.mark.parametrize("name", ["TOTALVI", "MULTIVI", "SCANVI", "PEAKVI", "DRVI"])
def test_other_models_of_cells(name, tmp_path, monkeypatch):
    scvi, anndata = imported("scvi"), imported("anndata")
    gene_programs = pytest.importorskip("companion.data.gene_programs")
    monkeypatch.chdir(tmp_path)  # Lightning writes its logs here
    counts = gene_programs.gene_counts(400, programs=2).counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi.settings.seed = 0
        if name in ("TOTALVI", "MULTIVI"):
            model, data = multimodal(name, scvi, counts)
        else:
            data = anndata.AnnData(counts, obs={"kind": ["a", "b"] * 200})
            data.layers["counts"] = data.X
            owner = imported("drvi.model") if name == "DRVI" else scvi.model
            settings = {
                "SCANVI": {"labels_key": "kind", "unlabeled_category": "unknown"},
                "DRVI": {"layer": "counts", "is_count_data": True},
            }
            getattr(owner, name).setup_anndata(data, **settings.get(name, {}))
            model = getattr(owner, name)(data, n_latent=6)
        trained(model)
        found = vaemi.audit(model, data, progress=False)
        mean, variance = model.get_latent_representation(data, return_dist=True)
    expected = vaemi.factor_information(mean, np.log(variance))
    assert expected.total > 0.01  # a thousand times the tolerance below
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-5, rtol=0)
    assert found.source == name
    assert found.effects.of_all > 0
    assert found.effects.n_inputs >= 100


def test_factors_that_the_decoder_does_not_get_are_refused():
    scvi, anndata = imported("scvi"), imported("anndata")
    data = anndata.AnnData(np.ones((20, 4), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi.model.SCVI.setup_anndata(data)
        model = scvi.model.SCVI(data, latent_distribution="ln")
    with pytest.raises(vaemi.AuditError, match=r"latent_distribution='ln': its decoder gets the softmax"):
        vaemi.audit(model, data, progress=False)
