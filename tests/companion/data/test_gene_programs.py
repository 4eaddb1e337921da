"""Simulated counts have the documented distribution and number of dimensions."""

import numpy as np
import pytest

from companion.data.gene_programs import gene_counts
from companion.errors import DataError


def test_counts_are_poisson_with_the_rates_of_their_programs():
    drawn = gene_counts(50_000, genes_of_each=3, programs=2, strength=0.5, seed=1)
    assert drawn.counts.shape == (50_000, 9)
    assert drawn.counts.dtype == np.float32
    assert drawn.activity.shape == (50_000, 2)
    rates = np.exp(1 + 0.5 * np.repeat(np.c_[drawn.activity, np.zeros(50_000)], 3, axis=1))
    # Of a Poisson count the squared distance from its rate has that rate as its mean.
    assert np.abs((drawn.counts - rates).mean(0)).max() < 0.06
    ratio = ((drawn.counts - rates) ** 2 / rates).mean(0)
    assert np.abs(ratio - 1).max() < 0.05
    # Genes of one program go together, others do not.
    correlation = np.corrcoef(drawn.counts.T)
    assert correlation[0, 1] > 0.3
    assert abs(correlation[0, 4]) < 0.02
    assert abs(correlation[0, 8]) < 0.02


@pytest.mark.parametrize("other_genes", [True, False])
def test_shares_of_the_total_have_the_free_dimensions(other_genes):
    drawn = gene_counts(500, genes_of_each=2000, programs=3, other_genes=other_genes, strength=0.3)
    shares = drawn.counts.reshape(500, -1, 2000).sum(2)
    logs = np.log(shares / shares.sum(1, keepdims=True))
    # Log shares relative to the last group: with so many genes their noise is small.
    eigenvalues = np.linalg.eigvalsh(np.cov((logs - logs[:, -1:])[:, :-1].T, ddof=1))
    assert drawn.free_dimensions == 3 - (not other_genes)
    assert (eigenvalues > 0.05).sum() == drawn.free_dimensions
    assert len(eigenvalues) == drawn.free_dimensions


def test_what_all_programs_do_together_changes_no_share_where_they_cover_all_genes():
    for other_genes in (True, False):
        drawn = gene_counts(500, genes_of_each=2000, programs=3, other_genes=other_genes, strength=0.3)
        shares = drawn.counts.reshape(500, -1, 2000).sum(2)
        shares /= shares.sum(1, keepdims=True)
        common = drawn.activity.mean(1)
        # To first order, and of the programs alone it is the only one that it does not change.
        design = np.c_[np.log(shares), np.ones(500)]
        left = common - design @ np.linalg.lstsq(design, common, rcond=None)[0]
        explained = 1 - left.var() / common.var()
        assert (explained > 0.95) == other_genes
        assert (explained < 0.05) == (not other_genes)


def test_the_seed_decides_everything():
    first, again, other = (gene_counts(20, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.counts, again.counts)
    assert not np.array_equal(first.counts, other.counts)


def test_donors_differ_by_their_share_of_the_variance_and_batches_by_genes():
    plain = gene_counts(4000, programs=2)
    drawn = gene_counts(4000, programs=2, donors=400, between_donors=0.3, batch_effect=0.5)
    assert drawn.donor.max() == 399
    assert (drawn.batch == drawn.donor % 2).all()
    level = np.stack([drawn.activity[drawn.donor == one].mean(0) for one in range(400)])
    # The mean of ten cells varies with the donors, and by a tenth of the variance within one.
    assert level.var(0) == pytest.approx(0.3 + 0.07, rel=0.15)
    assert drawn.activity.var(0) == pytest.approx(1, rel=0.1)
    # The genes that are in no program change with the batch only.
    change = np.log(drawn.counts[drawn.batch == 1].mean(0) / drawn.counts[drawn.batch == 0].mean(0))[-8:]
    assert change.std() == pytest.approx(0.5, rel=0.5)
    assert abs(np.log(plain.counts[1::2].mean(0) / plain.counts[::2].mean(0))).max() < 0.2
    # A single donor changes nothing.
    np.testing.assert_array_equal(gene_counts(50, donors=5).counts, gene_counts(50).counts)


def test_cells_without_counts_are_refused():
    with pytest.raises(DataError, match="some cells would have no counts"):
        gene_counts(20, programs=1, other_genes=False)
    assert gene_counts(20, programs=1).free_dimensions == 1
