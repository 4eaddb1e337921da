"""Every model class of pythae, and diffusers' models without Gaussians: read, or refused with the reason.

Those that are read are compared with what their own decoder gets.
"""

import math
import warnings

import pytest
import torch
from torch import nn

import vaemi
from vaemi import AuditError
from vaemi._torchvision import declare_missing_operators
from vaemi.auditing import audit_codes
from vaemi.auditing.families import check_decoded
from vaemi.auditing.single_cell import scvi_batches
from vaemi.information import draws_information

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

NOT_DECODED = {
    "VAE_IAF": "normalizing flow",
    "VAE_LinNF": "normalizing flow",
    "HVAE": "Hamiltonian steps",
    "RHVAE": "Hamiltonian steps",
    "SVAE": "on a sphere",
    "PoincareVAE": "Poincaré ball",
    "VQVAE": "audit_codes",
}
WITHOUT_NOISE = ["AE", "RAE_GP", "RAE_L2", "WAE_MMD"]


@pytest.fixture(scope="module")
def models():
    declare_missing_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pythae.models")


@pytest.fixture(scope="module")
def x():
    return torch.rand(300, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def model_of(models, name, **settings):
    config = getattr(models, f"{name}Config", None) or getattr(models, f"{name}_Config")
    torch.manual_seed(0)
    return getattr(models, name)(config(input_dim=(1, 16, 16), latent_dim=4, **settings)).eval()


def names_of(models):
    kinds = [name for name in models.__all__ if not name.lower().endswith("config")]
    return sorted(set(kinds) - {"BaseAE", "AutoModel"})


def test_every_class_of_pythae_is_read_as_its_decoder_sees_it_or_refused(models, x):
    read = []
    for name in names_of(models):
        model = model_of(models, name)
        if (reason := NOT_DECODED.get(name)) or name in WITHOUT_NOISE:
            with pytest.raises(AuditError, match=reason or "noise="):
                vaemi.audit(model, x, progress=False)
            continue
        found = vaemi.audit(model, x, progress=False)
        # What the decoder gets first, and the encoder's answers to the same inputs.
        answers, codes = [], []
        handles = [
            model.encoder.register_forward_hook(lambda _, __, answer, answers=answers: answers.append(answer)),
            model.decoder.register_forward_pre_hook(lambda _, inputs, codes=codes: codes.append(inputs[0])),
        ]
        model({"data": x})
        for handle in handles:
            handle.remove()
        own = answers[0]
        copies = len(codes[0]) // len(own.embedding)  # of importance-weighted models
        mean, std = (part.repeat_interleave(copies, 0) for part in (own.embedding, (0.5 * own.log_covariance).exp()))
        standard = ((codes[0] - mean) / std).detach().flatten()
        assert float(standard.mean()) == pytest.approx(0, abs=5 / len(standard) ** 0.5), name
        assert float(standard.square().mean()) == pytest.approx(1, abs=8 / len(standard) ** 0.5), name
        with torch.no_grad():
            own = model.encoder(x)
        expected = vaemi.factor_information(own.embedding, own.log_covariance)
        torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-5, rtol=0)
        read.append(name)
    assert len(read) >= 14


class FirstInput(nn.Module):
    """An encoder that puts the first pixel into the first factor."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.nothing = answer, nn.Parameter(torch.zeros(1))

    def forward(self, x):
        mean, log_covariance = torch.zeros(2, len(x), 4)
        mean[:, 0], log_covariance[:, 0] = x.flatten(1)[:, 0], math.log(0.01)
        return self.answer(embedding=mean, log_covariance=log_covariance)


def test_draws_of_a_flow_find_the_factor_that_is_decoded(models):
    from pythae.models.base.base_utils import ModelOutput

    torch.manual_seed(0)
    config = models.VAE_IAF_Config(input_dim=(1, 16, 16), latent_dim=4, n_made_blocks=1)
    model = models.VAE_IAF(config)
    model.encoder = FirstInput(ModelOutput)
    model.eval()
    x = torch.randn(500, 1, 16, 16)
    with torch.no_grad():
        z = torch.stack([model({"data": x}).z for _ in range(50)], 1)
    found = draws_information(z)
    # The block turns the order around, and scales each factor by a function of those before it.
    assert int(found.nats.argmax()) == 3
    assert float(found.nats[3]) == pytest.approx(0.5 * math.log(1 + 1 / 0.01), abs=0.15)


def test_a_class_of_ones_own_that_moves_the_code_is_noticed(models, x):
    class Moved(models.VAE):
        def forward(self, inputs, **settings):
            answer = super().forward(inputs, **settings)
            answer.z = answer.z.flip(1) + torch.tensor([0.0, 0.0, 0.0, 1.0])
            return answer

    torch.manual_seed(0)
    model = Moved(models.VAEConfig(input_dim=(1, 16, 16), latent_dim=4))
    with pytest.raises(AuditError, match=r"Moved does not decode draws .* those of z3 have a mean of"):
        vaemi.audit(model, x, progress=False)


def test_a_deterministic_posterior_needs_a_noise(models, x):
    model = model_of(models, "Adversarial_AE", deterministic_posterior=True)
    with pytest.raises(AuditError, match="decodes the mean"):
        vaemi.audit(model, x, progress=False)
    found = vaemi.audit(model, x, noise=0.1, progress=False)
    with torch.no_grad():
        mean = model.encoder(x).embedding
    expected = vaemi.factor_information(mean, torch.full_like(mean, 2 * math.log(0.1)))
    torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-5, rtol=0)
    assert found.effects is not None


def test_autoencoders_at_a_noise(models, x):
    for name in WITHOUT_NOISE:
        model = model_of(models, name)
        found = vaemi.audit(model, x, noise=0.05, progress=False)
        with torch.no_grad():
            mean = model.encoder(x).embedding
        expected = vaemi.factor_information(mean, torch.full_like(mean, 2 * math.log(0.05)))
        torch.testing.assert_close(found.information.nats, expected.nats, atol=1e-5, rtol=0)


def test_pythae_vqvae(models, x):
    model = model_of(models, "VQVAE", num_embeddings=16)
    found = audit_codes(model, x, progress=False)
    with torch.no_grad():
        decoded = model({"data": x}).z
        entries = model.quantizer.embeddings.weight
    # pythae quantizes each coordinate of a vector; what is decoded is the entry that was counted.
    nearest = torch.cdist(decoded.reshape(-1, 1), entries).argmin(1)
    assert torch.equal(found.codebook.counts, torch.bincount(nearest, minlength=16))
    assert found.codebook.shape == (1, 4)


def test_diffusers_vq_model_and_tiny_autoencoder():
    declare_missing_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = diffusers.VQModel(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4, latent_channels=3,
        up_block_types=("UpDecoderBlock2D",) * 2, sample_size=16, num_vq_embeddings=32, vq_embed_dim=3,
    ).eval()  # fmt: skip
    x = torch.rand(60, 3, 16, 16)
    with pytest.raises(AuditError, match="audit_codes"):
        vaemi.audit(model, x, progress=False)
    found = audit_codes(model, x, progress=False, batch_size=25)
    with torch.no_grad():
        seen = []
        handle = model.post_quant_conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model(x)
        handle.remove()
    nearest = torch.cdist(seen[0].permute(0, 2, 3, 1).reshape(-1, 3), model.quantize.embedding.weight).argmin(1)
    assert torch.equal(found.codebook.counts, torch.bincount(nearest, minlength=32))
    assert found.codebook.shape == (8, 8)

    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=2,
    ).eval()  # fmt: skip
    with pytest.raises(AuditError, match="AutoencoderTiny returns a code without a variance"):
        vaemi.audit(tiny, x, progress=False)
    at_noise = vaemi.audit(tiny, x, noise=0.1, progress=False)
    with torch.no_grad():
        latents = tiny.encode(x).latents.flatten(1)
    expected = vaemi.factor_information(latents, torch.full_like(latents, 2 * math.log(0.1)))
    torch.testing.assert_close(at_noise.information.nats, expected.nats, atol=1e-5, rtol=0)
    assert at_noise.effects is not None


def test_scvi_with_a_logistic_normal_code():
    declare_missing_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi, anndata = pytest.importorskip("scvi"), pytest.importorskip("anndata")
        torch.manual_seed(0)
        adata = anndata.AnnData(torch.poisson(torch.full((200, 30), 3.0)).numpy())
        scvi.model.SCVI.setup_anndata(adata)
        settings = {"n_latent": 4, "n_hidden": 16}
        assert vaemi.audit(scvi.model.SCVI(adata, **settings), adata, progress=False).latent_shape == (4,)
        model = scvi.model.SCVI(adata, latent_distribution="ln", **settings)
        with pytest.raises(AuditError, match="SCVI has latent_distribution='ln'"):
            vaemi.audit(model, adata, decode=False, progress=False)
        # The codes show it, too, as in a class that does not name it.
        module, (batch, *_) = model.module, scvi_batches(model, adata, 200)
        with pytest.raises(AuditError, match="SCVI does not decode draws"):
            check_decoded(model, lambda batch: module.inference(**module._get_inference_input(batch)), batch)


def test_the_check_leaves_the_random_numbers_alone(models, x):
    model = model_of(models, "VAE")
    before = torch.random.get_rng_state()
    check_decoded(model, model.encoder, x)
    assert torch.equal(torch.random.get_rng_state(), before)
