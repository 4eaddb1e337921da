"""Models of scvi-tools and of packages built on it, and what an audit found written into AnnData or MuData."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaemi.errors import AuditError

if TYPE_CHECKING:
    from vaemi.auditing.result import Audit


def scvi_encoder(model: Any) -> Callable[[Any], Any]:
    """Return the encoder of a model of scvi-tools, a function of a batch of its data loader.

    Raises
    ------
    AuditError
        If the decoder does not get the factors that the encoder has posteriors of.
    """
    module = model.module
    if getattr(module, "latent_distribution", "normal") != "normal":
        raise AuditError(
            f"{type(model).__name__} has latent_distribution={module.latent_distribution!r}: its decoder gets the "
            "softmax of all latents, in which none acts alone. Train it with latent_distribution='normal'."
        )
    return lambda batch: module.inference(**module._get_inference_input(batch))


def scvi_batches(model: Any, data: Any, batch_size: int) -> Iterable[Any]:
    """Return the batches that a model of scvi-tools makes of an AnnData, or of a MuData after `setup_mudata`."""
    return model._make_data_loader(adata=model._validate_anndata(data), batch_size=batch_size)


def scvi_decoder(module: Any, batch: Any) -> Callable[[Tensor], Any]:
    """Return the decoder for a batch of scvi-tools, whose library sizes and covariates stay as they are."""
    inferred = module.inference(**module._get_inference_input(batch))
    given = module._get_generative_input(batch, inferred)
    return lambda z: _expected(module.generative(**{**given, "z": z}))


def _expected(outputs: Any) -> Any:
    """Return the distribution of the counts, or the expected values of all modalities side by side."""
    if "px" in outputs:
        return outputs["px"]
    parts = [outputs["p"], outputs["px_rate"]] if "p" in outputs else [outputs["px_"]["rate"]]
    # Models of RNA and chromatin have a decoder of proteins without an output.
    return torch.cat([*parts, *(part for name, part in outputs["py_"].items() if name == "rate_fore")], dim=-1)


def annotate(audit: Audit, data: Any, latent: str | None = None, key: str = "vaemi") -> None:
    """Write an audit into an AnnData or MuData, where ``write`` stores it with the cells.

    ``data.uns[key]`` holds ``factors``, the table of `Audit.to_frame` (nats, standard error, verdict of each factor) in
    the order of the factors; ``summary``, ``notes`` and ``remarks`` as lines of text; and the numbers ``latent_dim``,
    ``latent_dim_range``, ``threshold`` and ``n_inputs``. With `latent`, ``data.obsm[f"{latent}_influential"]`` holds
    the columns of ``data.obsm[latent]`` that are influential, the most informative first, for neighbours and plots.

    Parameters
    ----------
    audit : Audit
        Of a model without spatial latents.
    data : AnnData or MuData
    latent : str, optional
        Name in ``data.obsm`` of the latent representation, an array of shape (cells, H).
    key : str
        Name in ``data.uns``; an existing entry is replaced.

    Raises
    ------
    AuditError
        If the latents are spatial, or if `latent` is not in ``data.obsm`` or has another number of columns.

    Examples
    --------
    >>> import torch, vaemi
    >>> from anndata import AnnData
    >>> def encode(x):
    ...     return torch.stack([2 * x[:, 0], 0 * x[:, 1]], 1), torch.zeros(len(x), 2)
    >>> x = torch.linspace(-2, 2, 200)[:, None].expand(200, 2)
    >>> cells = AnnData(x.numpy(), obsm={"X_vae": encode(x)[0].numpy()})
    >>> audit = vaemi.audit(encode, x, progress=False)
    >>> vaemi.auditing.annotate(audit, cells, latent="X_vae")
    >>> cells.obsm["X_vae_influential"].shape
    (200, 1)
    """
    if audit.is_spatial:
        raise AuditError("The audit is of spatial latents, which AnnData has no place for: use Audit.to_frame().")
    if latent is not None:
        if latent not in data.obsm:
            raise AuditError(f"obsm has no {latent!r}: store the output of get_latent_representation() there first.")
        columns = data.obsm[latent].shape[1]
        if columns != audit.kept.numel():
            raise AuditError(f"obsm[{latent!r}] has {columns} columns, the audit {audit.kept.numel()} factors.")
        # An array, or a data frame.
        values = getattr(data.obsm[latent], "values", data.obsm[latent])
        data.obsm[f"{latent}_influential"] = values[:, audit.influential.numpy()]
    factors = audit.to_frame().sort_values("factor", ignore_index=True)
    factors.index = [f"z{factor}" for factor in factors.pop("factor")]
    data.uns[key] = {
        "factors": factors,
        "source": audit.source,
        "summary": audit.summary,
        "notes": "\n".join(audit.notes),
        "remarks": "\n".join(audit.remarks),
        "latent_dim": audit.latent_dim,
        "latent_dim_range": list(audit.latent_dim_range),
        "threshold": audit.threshold,
        "n_inputs": audit.information.n_samples,
    }
