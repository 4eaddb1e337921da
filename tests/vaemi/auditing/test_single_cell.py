"""An audit written into the object that holds the cells."""

import types

import numpy as np
import pytest
import torch

import vaemi
from vaemi.auditing import annotate


@pytest.fixture(scope="module")
def found():
    z = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.6, 0.0, 0.9])
    return vaemi.audit(
        lambda x: (scale * x, (1 - scale.square()).log().expand(len(x), 3)), z, decode=lambda z: z, progress=False
    )


def cells(n, columns):
    """Whatever has obsm and uns: AnnData and MuData do."""
    return types.SimpleNamespace(obsm={"X": np.arange(n * columns).reshape(n, columns)}, uns={})


def test_numbers_errors_and_verdicts_are_written(found):
    data = cells(4, 3)
    annotate(found, data, "X")
    written = data.uns["vaemi"]
    factors = written["factors"]
    assert factors.index.tolist() == ["z0", "z1", "z2"]
    np.testing.assert_array_equal(factors.nats, found.information.nats)
    np.testing.assert_array_equal(factors.stderr, found.information.stderr)
    assert factors.influential.tolist() == ["yes", "no", "yes"]
    np.testing.assert_array_equal(factors.effect, found.effects.share)
    assert (written["summary"], written["latent_dim"], written["n_inputs"]) == (found.summary, 2, 1000)
    assert written["remarks"] == ""
    # The most informative first.
    assert data.obsm["X_influential"].tolist() == [[2, 0], [5, 3], [8, 6], [11, 9]]


def test_what_does_not_fit_is_refused(found):
    with pytest.raises(vaemi.AuditError, match="obsm has no 'X_scVI': store the output"):
        annotate(found, cells(4, 3), "X_scVI")
    with pytest.raises(vaemi.AuditError, match=r"obsm\['X'\] has 4 columns, the audit 3 factors"):
        annotate(found, cells(4, 4), "X")
    maps = vaemi.audit(
        lambda x: (x[:, :, None, None], 0 * x[:, :, None, None]), torch.randn(50, 2), decode=False, progress=False
    )
    with pytest.raises(vaemi.AuditError, match="spatial latents"):
        annotate(maps, cells(4, 2))


def test_anndata_keeps_it_in_its_file(found, tmp_path):
    anndata = pytest.importorskip("anndata")
    if hasattr(anndata.settings, "allow_write_nullable_strings"):  # else nothing is written beside pandas 3
        anndata.settings.allow_write_nullable_strings = True
    data = anndata.AnnData(np.ones((4, 2), np.float32), obsm={"X": np.ones((4, 3))})
    annotate(found, data, "X", key="audit")
    data.write(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert back.uns["audit"]["factors"].influential.tolist() == ["yes", "no", "yes"]
    assert back.uns["audit"]["latent_dim_range"].tolist() == [2, 2]
    assert back.obsm["X_influential"].shape == (4, 2)
