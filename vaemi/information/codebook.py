"""Vector-quantized codes: how often each entry of the codebook is used, and what the codes carry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import checked_clusters
from .discrete import DEFENCE
from .result import FactorInformation, normal_quantile, standard_error
from .words import counted

_NUMBERS = 1 << 22  # in a table of inputs by codes


@dataclass(frozen=True)
class CodebookUsage:
    """Use of a codebook of K entries by M inputs with codes at P places each.

    The code of an input is certain, so what a place carries about the input is the entropy of its codes.

    Attributes
    ----------
    counts : Tensor of int64, shape (K,)
        How often each entry is used, at all places together.
    entropy : float
        Entropy of the codes of all places together in nats, by Grassberger's estimator, which corrects most of the bias
        of the next one.
    plug_in, leave_one_out : float
        The same from the frequencies as they are, and with each input's codes under the frequencies of the other
        inputs. Their expectations lie below and above the entropy of the population.
    stderr : float
        Standard error over the inputs; the places of one input may depend on each other.
    information : FactorInformation
        I(X; Z_p) of the code at every place, H = P, in the order of ``flatten``. For their sum over places see Notes.
    shape : tuple of int
        Shape of the places of one input; ``()`` if there is one.

    Notes
    -----
    The codes of neighbouring places depend on each other, so the sum over places is an upper bound on I(X; Z) and may
    far exceed it. M inputs cannot show that more than log M nats are carried by all places together.

    References
    ----------
    Grassberger, Entropy Estimates from Insufficient Samplings, arXiv:physics/0307138 (2003).

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import codebook_usage
    >>> usage = codebook_usage(torch.arange(1000) % 4, n_entries=8)
    >>> usage.counts.tolist(), round(usage.entropy, 2)
    ([250, 250, 250, 250, 0, 0, 0, 0], 1.39)
    """

    counts: Tensor
    entropy: float
    plug_in: float
    leave_one_out: float
    stderr: float
    information: FactorInformation
    shape: tuple[int, ...]

    @property
    def perplexity(self) -> float:
        """exp(entropy), the number of entries that, used equally, would have this entropy."""
        return math.exp(self.entropy)

    @property
    def dead(self) -> Tensor:
        """Entries that no input uses."""
        return (self.counts == 0).nonzero()[:, 0]

    @property
    def largest_unseen_share(self) -> float:
        """Largest share of the inputs that could use a dead entry, with 95 % confidence."""
        return 1 - 0.05 ** (1 / self.information.n_samples)

    @property
    def maps(self) -> Tensor:
        """Nats of every place, in the shape of the places."""
        return self.information.nats.view(self.shape)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the ends of a confidence interval for the entropy in nats, within 0 and log K.

        It starts from `plug_in` downwards and from `leave_one_out` upwards where these are more than a standard error
        from `entropy`: there, the inputs are too few to see all entries that are used.

        Raises
        ------
        ValueError
            If the confidence is not between 0 and 1.
        """
        half = normal_quantile(confidence) * self.stderr
        low = self.plug_in if self.entropy - self.plug_in > self.stderr else self.entropy
        high = self.leave_one_out if self.leave_one_out - self.entropy > self.stderr else self.entropy
        return max(low - half, 0.0), min(high + half, math.log(len(self.counts)))

    def __repr__(self) -> str:
        low, high = self.interval()
        return (
            f"CodebookUsage({len(self.counts) - len(self.dead)} of {len(self.counts)} entries used, entropy "
            f"{self.entropy:.2f} nats ({low:.2f} to {high:.2f}), perplexity {self.perplexity:.1f}; "
            f"{self.information.n_samples} inputs, {counted(len(self.information), 'place')})"
        )


def codebook_usage(codes: Any, n_entries: int, *, clusters: Any = None) -> CodebookUsage:
    """Measure how the entries of a codebook are used, and what the code at each place carries about the input.

    Parameters
    ----------
    codes : array or tensor of integers, shape (M, ...)
        Number of the nearest entry, 0 to K - 1, for M inputs at each place.
    n_entries : int
        K, the size of the codebook.
    clusters : array or tensor, shape (M,), optional
        See `factor_information`.

    Returns
    -------
    CodebookUsage

    Raises
    ------
    ValueError
        If the codes are not whole numbers below K, or there are fewer than two inputs; for clusters see
        `factor_information`.

    Examples
    --------
    >>> import torch
    >>> from vaemi.information import codebook_usage
    >>> usage = codebook_usage(torch.arange(1000) % 4, n_entries=8)
    >>> usage.dead.tolist(), round(usage.perplexity, 2)
    ([4, 5, 6, 7], 4.0)
    """
    codes = torch.as_tensor(codes).detach().cpu()
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"codes hold {codes.dtype}: give the numbers of entries of the codebook, as integers.")
    if codes.ndim < 1 or len(codes) < 2 or not codes.numel():
        raise ValueError(f"codes have shape {tuple(codes.shape)}: give (M, ...), M >= 2 inputs by places.")
    if int(codes.min()) < 0 or int(codes.max()) >= n_entries:
        raise ValueError(
            f"codes reach from {int(codes.min())} to {int(codes.max())}: an entry of {n_entries} is 0 to "
            f"{n_entries - 1}."
        )
    shape, codes = tuple(codes.shape[1:]), codes.long().reshape(len(codes), -1)
    labels = checked_clusters(clusters, codes)
    counts = torch.bincount(codes.flatten(), minlength=n_entries)
    surprise = -(counts.double() / codes.numel()).log()[codes].mean(1)  # averaged over the places of an input
    return CodebookUsage(
        counts=counts,
        entropy=grassberger_entropy(counts),
        plug_in=float(surprise.mean()),
        leave_one_out=_without_own(codes, counts),
        stderr=float(standard_error(surprise[:, None], None, labels)),
        information=_by_place(codes, n_entries, labels),
        shape=shape,
    )


def grassberger_entropy(counts: Tensor) -> float:
    r"""Return an entropy in nats from counts, with a small bias, :math:`\log N - \frac1N \sum_k n_k G(n_k)`.

    Parameters
    ----------
    counts : Tensor of integers, shape (K,)
        Of independent draws; N is their sum.

    Returns
    -------
    float
        :math:`G(n) = \psi(n) + \frac{(-1)^n}{2} [\psi(\frac{n+1}{2}) - \psi(\frac{n}{2})]`.

    References
    ----------
    Grassberger, Entropy Estimates from Insufficient Samplings, arXiv:physics/0307138 (2003), equation 28.
    """
    n = counts[counts > 0].double()
    sign = 1 - 2 * (n % 2)
    g = n.digamma() + sign / 2 * (((n + 1) / 2).digamma() - (n / 2).digamma())
    return math.log(float(n.sum())) - float((n * g).sum() / n.sum())


def _without_own(codes: Tensor, counts: Tensor) -> float:
    """Return the mean of -log of the codes' frequencies among the other inputs, at all places together."""
    m, places = codes.shape
    total = 0.0
    for rows in codes.split(max(1, _NUMBERS // len(counts))):
        own = torch.zeros(len(rows), len(counts), dtype=torch.long)
        own.scatter_add_(1, rows, torch.ones_like(rows))
        others = (counts[rows] - own.gather(1, rows)).double() / ((m - 1) * places)
        total -= float(_defended(others, m, len(counts)).log().sum())
    return total / codes.numel()


def _by_place(codes: Tensor, n_entries: int, labels: Tensor | None) -> FactorInformation:
    """Return the entropy of the code at every place, which is I(X; Z_p)."""
    m, places = codes.shape
    shifted = codes + n_entries * torch.arange(places)
    _, which, times = shifted.unique(return_inverse=True, return_counts=True)
    count = times[which].double()  # of the code of each input at each place
    surprise = (m / count).log()
    nats = surprise.mean(0)
    return FactorInformation(
        nats=nats,
        stderr=standard_error(surprise, None, labels),
        marginal_std=torch.full_like(nats, torch.nan),
        n_samples=m,
        method="discrete",
        leave_one_out=-_defended((count - 1) / (m - 1), m, n_entries).log().mean(0),
    )


def _defended(others: Tensor, m: int, n_entries: int) -> Tensor:
    """Mix frequencies among the other inputs with a little of the uniform ones; see `discrete_information`."""
    return (1 - DEFENCE / m) * others + DEFENCE / (m * n_entries)
