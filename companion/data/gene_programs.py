"""Simulated counts of genes in cells, in which a known number of programs is at work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Log of the count that a gene has where its program is at rest.
_REST = 1.0


@dataclass(frozen=True)
class GeneCounts:
    """Counts, and what they were drawn from.

    Attributes
    ----------
    counts : array, shape (cells, genes)
        float32, whole numbers.
    activity : array, shape (cells, programs)
        How active each program is in each cell, float64.
    free_dimensions : int
        Dimensions that the genes' *shares* of a cell's total can vary in: the number of programs, one less if every
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
    r"""Poisson counts with rates :math:`\exp(1 + s\, a_p)` for the genes of program p, and e for all others.

    The activities :math:`a_p \sim N(0, 1)` are independent, so that no program can be told from the rest.

    Models of counts such as SCVI divide a cell's counts by their total. Then adding the same to the activity of all
    programs changes nothing if every gene belongs to one, since it multiplies all rates alike: of P programs, P - 1
    dimensions are left. Genes outside all programs are what such a change shows against, and all P count.

    Parameters
    ----------
    cells : int
    genes_of_each : int
        Genes of each program, each gene in one program only.
    programs : int
        P.
    other_genes : bool
        Add as many genes again as one program has that are in no program.
    strength : float
        s, the standard deviation of a gene's log rate.
    seed : int

    Returns
    -------
    GeneCounts

    Raises
    ------
    ValueError
        If a number is below 1, or the strength not above 0.
    """
    if min(cells, genes_of_each, programs) < 1 or not strength > 0:
        raise ValueError(
            f"cells, genes_of_each, programs and strength are {cells}, {genes_of_each}, {programs} and {strength}: "
            "give whole numbers of 1 or more, and a strength above 0."
        )
    generator = np.random.default_rng(seed)
    activity = generator.standard_normal((cells, programs))
    belongs = np.kron(np.eye(programs, programs + other_genes), np.ones(genes_of_each))
    counts = generator.poisson(np.exp(_REST + strength * activity @ belongs)).astype(np.float32)
    return GeneCounts(counts, activity, programs - (not other_genes))
