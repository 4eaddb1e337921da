"""Simulated counts of genes in cells with a known number of gene programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from companion.errors import DataError

# Log rate of a gene if the activity of its program is 0.
_REST = 1.0


@dataclass(frozen=True)
class GeneCounts:
    """Counts, and the activities they were drawn from.

    Attributes
    ----------
    counts : array, shape (cells, genes)
        Whole numbers, float32.
    activity : array, shape (cells, programs)
        Activity of each program in each cell, float64.
    free_dimensions : int
        Dimensions in which the genes' *shares* of a cell's total vary: the number of programs, or one less if each
        gene belongs to a program.
    donor, batch : array of int, shape (cells,)
        Donor of each cell, and the batch that the donor was measured in.
    """

    counts: np.ndarray
    activity: np.ndarray
    free_dimensions: int
    donor: np.ndarray
    batch: np.ndarray


def gene_counts(
    cells: int,
    genes_of_each: int = 8,
    programs: int = 4,
    other_genes: bool = True,
    strength: float = 1.2,
    donors: int = 1,
    between_donors: float = 0.0,
    batch_effect: float = 0.0,
    seed: int = 0,
) -> GeneCounts:
    r"""Draw Poisson counts with rates :math:`\exp(1 + s\, a_p)` for the genes of program p, and e for all others.

    The activities :math:`a_p \sim N(0, 1)` are independent: no program can be predicted from the others.

    Models of counts such as SCVI divide a cell's counts by their total. If each gene belongs to a program, adding the
    same number to all activities multiplies all rates equally and leaves the shares unchanged: P programs have P - 1
    dimensions. With genes outside all programs they have P.

    Parameters
    ----------
    cells : int
    genes_of_each : int
        Genes per program; a gene is in one program at most.
    programs : int
        Number of programs P.
    other_genes : bool
        Add genes that are in no program, as many as one program has.
    strength : float
        Standard deviation s of a gene's log rate.
    donors : int
        Number of donors, who give equally many cells. Even ones are measured in batch 0, odd ones in batch 1.
    between_donors : float
        Share of the variance of an activity that is the same in all cells of a donor, between 0 and 1.
    batch_effect : float
        Standard deviation of the change of a gene's log rate in batch 1.
    seed : int

    Returns
    -------
    GeneCounts

    Raises
    ------
    DataError
        If there is one program and no other genes.

    Examples
    --------
    >>> from companion.data.gene_programs import gene_counts
    >>> gene_counts(100, programs=4, other_genes=False).free_dimensions
    3
    """
    if programs + other_genes < 2:
        raise DataError("With one program and no other genes some cells would have no counts: give 2 programs or more.")
    generator = np.random.default_rng(seed)
    activity = generator.standard_normal((cells, programs))
    donor = np.arange(cells) % donors
    batch = donor % 2
    belongs = np.kron(np.eye(programs, programs + other_genes), np.ones(genes_of_each))
    # Draws of their own, so that the cells are the same for any number of donors.
    of_donors, of_batch = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    level = of_donors.standard_normal((donors, programs))
    activity = np.sqrt(1 - between_donors) * activity + np.sqrt(between_donors) * level[donor]
    change = batch_effect * np.outer(batch, of_batch.standard_normal(belongs.shape[1]))
    counts = generator.poisson(np.exp(_REST + strength * activity @ belongs + change)).astype(np.float32)
    return GeneCounts(counts, activity, programs - (not other_genes), donor, batch)
