"""Simulated counts of genes in cells with a known number of gene programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    """

    counts: np.ndarray
    activity: np.ndarray
    free_dimensions: int


def gene_counts(
    cells: int,
    genes_of_each: int = 8,
    programs: int = 4,
    other_genes: bool = True,
    strength: float = 1.2,
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
    seed : int

    Returns
    -------
    GeneCounts
    """
    generator = np.random.default_rng(seed)
    activity = generator.standard_normal((cells, programs))
    belongs = np.kron(np.eye(programs, programs + other_genes), np.ones(genes_of_each))
    counts = generator.poisson(np.exp(_REST + strength * activity @ belongs)).astype(np.float32)
    return GeneCounts(counts, activity, programs - (not other_genes))
