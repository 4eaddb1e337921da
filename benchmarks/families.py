"""Posterior families: what vaemi measures where the truth is known, and which classes of other libraries it reads.

    .venv/bin/python benchmarks/families.py --json families.json

Two tables, in about two CPU minutes:

- `truths`: one encoder per family whose information is known, from a closed form or from a plain quadrature.
- `models`: every model class of pythae, and classes of diffusers and scvi-tools that can be made without more than
  inputs, untrained. Each is audited; where it is read, `mean` and `mean_square` are those of what its own decoder gets
  in a forward pass, less the mean and over the standard deviation that were audited: 0 and 1 for draws from them.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributions

import vaemi
from vaemi._torchvision import declare_missing_operators
from vaemi.auditing import AuditError, audit_codes
from vaemi.information import (
    FactorInformation,
    codebook_usage,
    conditional_information,
    density_information,
    discrete_information,
    draws_information,
    factor_information,
    hierarchical_information,
)

M = 2000
ERROR_RATE = 0.1
INPUTS = 300


# --- families of known information -----------------------------------------------------------------------------------


def truths(m: int = M) -> list[dict[str, Any]]:
    """Return one row per family: what is measured, the truth in nats and how it is known, and the estimate."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(m, 2, generator=generator).double()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    kind = torch.arange(m) % 2
    return [_row(*case) for case in [*_gaussian(x), *_discrete(kind), *_other(x, kind, generator)]]


def _row(family: str, what: str, truth: float, known: str, found: FactorInformation, h: int = 0) -> dict[str, Any]:
    assert found.leave_one_out is not None
    return {
        "family": family,
        "measured": what,
        "truth": truth,
        "known_by": known,
        "nats": float(found.nats[h]),
        "stderr": float(found.stderr[h]),
        "upper": float(found.leave_one_out[h]),
    }


def _gaussian(x: Tensor) -> Iterator[tuple[Any, ...]]:
    covariance = torch.tensor([[0.25, 0.2], [0.2, 0.25]]).double()

    def full(x: Tensor) -> distributions.Distribution:
        return distributions.MultivariateNormal(x, covariance)

    def low_rank(x: Tensor) -> distributions.Distribution:
        factor, diagonal = math.sqrt(0.2) * torch.ones(len(x), 2, 1), 0.05 * torch.ones(len(x), 2)
        return distributions.LowRankMultivariateNormal(x, factor.double(), diagonal.double())

    one, closed = 0.5 * math.log(1 + 1 / 0.25), "closed form"
    both = 0.5 * float(torch.linalg.slogdet(torch.eye(2) + covariance).logabsdet - covariance.logdet())
    independent = factor_information(x, torch.full_like(x, math.log(0.25)))
    yield "Gaussian, independent factors", "I(X; Z_h)", one, closed, independent
    for name, encode in (("Gaussian, full covariance", full), ("Gaussian, low rank", low_rank)):
        audited = vaemi.audit(encode, [x], progress=False)
        yield name, "I(X; Z_h)", one, closed, audited.information
        yield name, "I(X; Z)", both, closed, density_information(encode(x), points=500)
    code = vaemi.audit(lambda batch: batch.float(), x, noise=0.1, progress=False)
    yield "no noise, measured at a noise of 0.1", "I(X; Z_h)", 0.5 * math.log(1 + 1 / 0.01), closed, code.information


def _discrete(kind: Tensor) -> Iterator[tuple[Any, ...]]:
    closed = "closed form"
    right = torch.where(kind == 1, 1 - ERROR_RATE, ERROR_RATE).double()
    channel = math.log(2) + ERROR_RATE * math.log(ERROR_RATE) + (1 - ERROR_RATE) * math.log(1 - ERROR_RATE)
    audited = audit_codes(lambda batch: distributions.Bernoulli(batch[:, None]), right, progress=False)
    yield "Bernoulli", "I(X; Z_h)", channel, closed, audited.information
    four = torch.arange(len(kind)) % 4
    spread = torch.full((len(kind), 4), ERROR_RATE / 3).double()
    spread[torch.arange(len(kind)), four] = 1 - ERROR_RATE
    of_four = math.log(4) + ERROR_RATE * math.log(ERROR_RATE / 3) + (1 - ERROR_RATE) * math.log(1 - ERROR_RATE)
    yield "categorical, 4 classes", "I(X; Z_h)", of_four, closed, discrete_information(spread)

    def mixed(batch: Tensor) -> dict[str, Any]:
        signs = 2 * batch[:, :1] - 1
        return {"cont": [30 * signs, torch.zeros_like(signs)], "disc": [spread[: len(batch)]]}

    both = audit_codes(mixed, [kind.double()[:, None]], progress=False).information
    yield "mixed, as in JointVAE", "I(X; Z_h), Gaussian", math.log(2), closed, both, 0
    yield "mixed, as in JointVAE", "I(X; Z_h), 4 classes", of_four, closed, both, 1
    logits = torch.where(kind == 1, 1.0, -1.0).double()[:, None]
    relaxed = distributions.RelaxedBernoulli(torch.tensor(0.5).double(), logits=logits)
    yield "relaxed Bernoulli", "I(X; Z_h)", _of_two(_logistic, 1.0), "quadrature", density_information(relaxed)
    codes = torch.randint(64, (len(kind), 1), generator=torch.Generator().manual_seed(1))
    usage = codebook_usage(codes, 64)
    found = FactorInformation(
        nats=torch.tensor([usage.entropy]),
        stderr=torch.tensor([usage.stderr]),
        marginal_std=torch.tensor([math.nan]),
        n_samples=len(kind),
        method="discrete",
        leave_one_out=torch.tensor([usage.leave_one_out]),
    )
    yield "vector-quantized, 64 entries", "entropy of the codebook", math.log(64), closed, found


def _other(x: Tensor, kind: Tensor, generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    closed = "closed form"
    signs = (2.0 * kind - 1).double()[:, None]
    laplace = distributions.Laplace(signs, torch.ones_like(signs))
    yield "Laplace", "I(X; Z_h)", _of_two(_laplace, 1.0), "quadrature", density_information(laplace)
    base = distributions.Independent(distributions.Normal(x, 0.5), 1)
    flow = distributions.TransformedDistribution(base, [distributions.ExpTransform()])
    of_both = 2 * 0.5 * math.log(1 + 1 / 0.25)
    yield "flow of known density", "I(X; Z)", of_both, closed, density_information(flow, points=500)
    few = x[:1000]
    z = few[:, None] + 0.5 * torch.randn(len(few), 100, 2, generator=generator).double()
    yield "draws only, 100 per input", "I(X; Z_h)", 0.5 * math.log(1 + 1 / 0.25), closed, draws_information(z.exp())
    given = conditional_information(20 * signs + x[:, :1], torch.full_like(x[:, :1], math.log(0.25)), kind)
    yield "conditional", "I(X; Z_h | C)", 0.5 * math.log(1 + 1 / 0.25), closed, given.given
    yield "conditional", "I(X, C; Z_h)", math.log(2) + 0.5 * math.log(1 + 1 / 0.25), closed, given.ignored
    zero = torch.zeros_like(x[:, :1])
    above = x[:, :1] + torch.randn(len(x), 1, generator=generator).double()
    top, lower = hierarchical_information([(x[:, :1], zero), (x[:, :1] + above, zero)])
    yield "hierarchical, top layer", "I(X; Z_h)", 0.5 * math.log(2), closed, top.with_above
    yield "hierarchical, lower layer", "I(X, Z_above; Z_h)", 0.5 * math.log(6), closed, lower.with_above


def _logistic(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _laplace(z: Tensor) -> Tensor:
    return 0.5 * (-z.abs()).exp()


def _of_two(density: Any, shift: float) -> float:
    """Return the information of noise with this density about two equally likely inputs, at -shift and shift."""
    grid = torch.linspace(-60, 60, 2_000_001).double()
    one, other = density(grid - shift), density(grid + shift)
    integrand = one * (2 * one / (one + other)).log().nan_to_num(0.0)
    return float(integrand.sum() * (grid[1] - grid[0]))


# --- models of other libraries ---------------------------------------------------------------------------------------


def models() -> list[dict[str, Any]]:
    """Return one row per model class: what became of it, in the library's own words if it is refused."""
    declare_missing_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*_pythae(), *_diffusers(), *_scvi()]


def _audited(library: str, name: str, model: Any, inputs: Any, decoder: Any, forward: Any) -> dict[str, Any]:
    """Audit a model, and compare what its decoder gets in a forward pass with the posteriors that were audited."""
    row = {"library": library, "model": name, "outcome": "read", "says": "", "mean": None, "mean_square": None}
    try:
        found = vaemi.audit(model, inputs, decode=False, progress=False)
    except AuditError as error:
        return row | {"outcome": _outcome(str(error)), "says": str(error)}
    assert found.posteriors is not None
    mean, std, z = _seen(model, decoder, forward)
    n = min(len(z), len(mean))
    standard = ((z[:n] - mean[:n]) / std[:n]).double()
    return row | {"mean": float(standard.mean()), "mean_square": float(standard.square().mean())}


def _outcome(sentence: str) -> str:
    if "audit_codes" in sentence:
        return "read by audit_codes"
    return "read at a noise" if "noise=" in sentence else "refused"


@torch.no_grad()
def _seen(model: Any, decoder: Any, forward: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return means and standard deviations of a forward pass, and the first codes that the decoder gets in it."""
    seen: list[Tensor] = []

    def keep(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor) and part.is_floating_point()]
        seen.append(tensors[0])

    handle = decoder.register_forward_pre_hook(keep, with_kwargs=True)
    mean, std = forward()
    handle.remove()
    z = seen[0]
    copies = len(z) // len(mean)  # of importance-weighted models
    return mean.repeat_interleave(copies, 0), std.repeat_interleave(copies, 0), z


def _pythae() -> Iterator[dict[str, Any]]:
    import pythae.models as library

    x = torch.rand(INPUTS, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    names = {name for name in library.__all__ if not name.lower().endswith("config")} - {"BaseAE", "AutoModel"}

    def forward(model: Any) -> tuple[Tensor, Tensor]:
        answers: list[Any] = []
        handle = model.encoder.register_forward_hook(lambda module, args, answer: answers.append(answer))
        model({"data": x})
        handle.remove()
        return answers[0].embedding, (0.5 * answers[0].log_covariance).exp()

    for name in sorted(names):
        config = getattr(library, f"{name}Config", None) or getattr(library, f"{name}_Config")
        torch.manual_seed(0)
        model = getattr(library, name)(config(input_dim=(1, 16, 16), latent_dim=8)).eval()
        yield _audited("pythae", name, model, x, model.decoder, partial(forward, model))


def _diffusers() -> Iterator[dict[str, Any]]:
    import diffusers

    x = torch.rand(INPUTS, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    blocks: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 3,
        "sample_size": 16,
    }
    tiny: dict[str, Any] = {
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    }
    made = {
        "AutoencoderKL": lambda: diffusers.AutoencoderKL(**blocks),
        "AutoencoderTiny": lambda: diffusers.AutoencoderTiny(**tiny),
        "VQModel": lambda: diffusers.VQModel(**blocks, num_vq_embeddings=32, vq_embed_dim=3),
    }

    def forward(model: Any) -> tuple[Tensor, Tensor]:
        model(x, sample_posterior=True)
        posterior = model.encode(x).latent_dist
        return posterior.mean, posterior.std

    for name, make in made.items():
        torch.manual_seed(0)
        model = make().eval()
        decoder = getattr(model, "post_quant_conv", None) or model.decoder
        yield _audited("diffusers", name, model, x, decoder, partial(forward, model))


def _scvi() -> Iterator[dict[str, Any]]:
    import anndata
    import scvi

    logging.getLogger("scvi").setLevel(logging.ERROR)
    torch.manual_seed(0)
    adata = anndata.AnnData(torch.poisson(torch.full((INPUTS, 40), 3.0)).numpy())
    made = {
        "SCVI": (scvi.model.SCVI, {}),
        "SCVI, latent_distribution='ln'": (scvi.model.SCVI, {"latent_distribution": "ln"}),
        "LinearSCVI": (scvi.model.LinearSCVI, {}),
        "AUTOZI": (scvi.model.AUTOZI, {}),
        "PEAKVI": (scvi.model.PEAKVI, {}),
    }

    def forward(model: Any) -> tuple[Tensor, Tensor]:
        (tensors,) = model._make_data_loader(adata=adata, batch_size=INPUTS)
        inferred, _ = model.module(tensors, compute_loss=False)
        return inferred["qz"].loc, inferred["qz"].scale

    for name, (kind, settings) in made.items():
        kind.setup_anndata(adata)
        torch.manual_seed(0)
        model = kind(adata, n_latent=8, **settings)
        model.module.eval()
        decoder = getattr(model.module, "decoder", None) or model.module.z_decoder
        yield _audited("scvi-tools", name, model, adata, decoder, partial(forward, model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the tables to this file")
    given = parser.parse_args()
    found = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "samples": M, "inputs": INPUTS, "truths": truths()}
    found["models"] = models()
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
