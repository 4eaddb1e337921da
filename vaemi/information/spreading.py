"""Spreading: replace every component by weights on the lattice, and interpolate functions on the lattice.

`spread` gives each sample's component to the nearest points and levels of its band: the outer product of Lagrange
weights in mu and Chebyshev polynomials in log sigma. `gather` is the transpose: it reads a function of (mu, sigma) off
the lattice at each sample. The words are those of `lattice`.

On a CPU both are compiled by numba if it is installed. Otherwise, and on other devices, torch operations compute the
same up to rounding, up to seven times slower.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .lattice import Lattice, Places, chebyshev_values, lagrange_weights, pack, places, renumber, unpack

# Components per torch operation: their intermediate results stay in a CPU's cache, or in a GPU's memory.
_AT_A_TIME = {"cpu": 1 << 13, "cuda": 1 << 18}
# Components spread at a time. Each makes a block at most, of 2.5 to 12 kB, so this bounds memory.
_COMPONENTS = {"cpu": 1 << 13, "cuda": 1 << 19}
# Samples transposed at a time, which stay in a CPU's cache, and values of which whole factors are transposed together.
_TRANSPOSED, _TOGETHER = 1 << 12, 1 << 19


class Samples(NamedTuple):
    """Posteriors of M samples."""

    mean: Tensor  # (M, H), floating, as log_variance
    log_variance: Tensor
    weight: Tensor  # (M,), float64

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor, weight: Tensor | None) -> Samples:
        """Return samples of weight one, if none is given."""
        ones = torch.ones(len(mean), dtype=torch.float64, device=mean.device)
        return cls(mean, log_variance, ones if weight is None else weight)

    @classmethod
    def nothing_at(cls, mean: Tensor, log_variance: Tensor) -> Samples:
        """Return samples of weight zero, which make blocks."""
        return cls(mean, log_variance, torch.zeros(len(mean), dtype=torch.float64, device=mean.device))

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(part.nbytes for part in self)

    def rows(self, chosen: Any) -> Samples:
        """Return a copy of the chosen samples."""
        return Samples(*(part[chosen].clone() for part in self))

    def of_factors(self, chosen: slice | Tensor) -> Samples:
        """Return the samples of the chosen factors; those of a factor are contiguous if they are so here."""
        return self._replace(mean=self.mean.T[chosen].T, log_variance=self.log_variance.T[chosen].T)

    def and_those(self, others: Samples) -> Samples:
        """Return these and other samples, on the device of these."""
        return Samples(*map(torch.cat, zip(self, others.to(self.mean.device), strict=True)))

    def to(self, device: Any) -> Samples:
        """Return the samples on a device."""
        return Samples(*(part.to(device) for part in self))


@dataclass(frozen=True)
class Blocks:
    """Components of one or more factors, spread over a lattice.

    Attributes
    ----------
    keys : Tensor of int64, shape (B,)
        Sorted keys of the blocks that hold components.
    values : Tensor of float64, shape (B, C, width * levels)
        Sum over the components of weight * Lagrange weight * T_i(t), for every point and Chebyshev moment i. C is 1, or
        2 if samples were weighted: the second channel sums squared weights.
    """

    keys: Tensor
    values: Tensor

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.keys.nbytes + self.values.nbytes

    def __add__(self, other: Blocks) -> Blocks:
        channels = max(self.values.shape[1], other.values.shape[1])
        keys = torch.cat([self.keys, other.keys])
        # Unweighted samples have weight one, and its square is the same.
        values = [blocks.values.expand(-1, channels, -1) for blocks in (self, other)]
        return sorted_blocks(keys, torch.cat(values))

    def to(self, device: Any) -> Blocks:
        """Return the blocks on a device."""
        return Blocks(self.keys.to(device), self.values.to(device))


def sorted_blocks(keys: Tensor, values: Tensor) -> Blocks:
    """Return blocks sorted by key; values of equal keys are added."""
    ordered, order = keys.sort(stable=True)
    distinct, slot = ordered.unique_consecutive(return_inverse=True)
    if len(distinct) == len(ordered):
        return Blocks(ordered, values[order])
    return Blocks(distinct, values.new_zeros(len(distinct), *values.shape[1:]).index_add_(0, slot, values[order]))


def joined(groups: list[tuple[int, Blocks]]) -> Blocks:
    """Join the blocks of consecutive groups of factors; each comes with its first factor, and is numbered from 0."""
    keys = [renumber(blocks.keys, first - groups[0][0]) for first, blocks in groups]
    channels = max(blocks.values.shape[1] for _, blocks in groups)
    # Unweighted samples have weight one, and its square is the same.
    return Blocks(torch.cat(keys), torch.cat([blocks.values.expand(-1, channels, -1) for _, blocks in groups]))


def spread_in_groups(
    samples: Samples, n_factors: int, lattice: Lattice, blocks: Blocks | None = None
) -> Iterator[tuple[int, Blocks]]:
    """Spread samples and add them to blocks, some factors at a time, so that memory is bounded.

    Yields the first factor of each group, and its blocks, numbered from 0.
    """
    mean, log_variance, weight = samples
    weights = None if (weight == 1).all() else weight
    counts = torch.zeros(n_factors, dtype=torch.int64)
    if blocks is not None and len(blocks.keys):
        counts = torch.bincount(unpack(blocks.keys)[0], minlength=n_factors).cpu()
    ends = [0, *counts.cumsum(0).tolist()]
    start = end = 0  # of the factors in rows
    for first, last in factor_groups((counts + len(mean)).tolist(), mean.device):
        found = []
        if blocks is not None and ends[-1]:
            part = slice(ends[first], ends[last])
            found.append(Blocks(renumber(blocks.keys[part], -first), blocks.values[part]))
        if len(mean):
            if last > end:
                start, end = first, max(last, first + _TOGETHER // len(mean))
                rows = [rows_of_factors(part[:, start:end]) for part in (mean, log_variance)]
            means, log_variances = (part[first - start : last - start] for part in rows)
            found.append(spread(means, log_variances, weights, lattice))
        yield first, found[0] + found[1] if len(found) > 1 else found[0]


def factor_groups(sizes: list[int], device: torch.device) -> Iterator[tuple[int, int]]:
    """Yield first and last factor of groups that are spread at a time; `sizes` counts the components of each factor."""
    most, threads = _COMPONENTS.get(device.type, 1 << 13), torch.get_num_threads()
    first = 0
    while first < len(sizes):
        last, total = first + 1, sizes[first]
        while last < len(sizes) and (total + sizes[last] <= most or last - first < threads):
            total += sizes[last]
            last += 1
        yield first, last
        first = last


def rows_of_factors(samples: Tensor) -> Tensor:
    """Return samples (M, h) as contiguous float64 rows (h, M)."""
    return _transposed(samples, torch.empty(*samples.T.shape, dtype=torch.float64, device=samples.device))


def _transposed(samples: Tensor, rows: Tensor) -> Tensor:
    for source, target in zip(samples.split(_TRANSPOSED), rows.split(_TRANSPOSED, dim=1), strict=True):
        target.copy_(source.T)
    return rows


def spread(mean: Tensor, log_variance: Tensor, weight: Tensor | None, lattice: Lattice) -> Blocks:
    """Spread components, contiguous float64 of shape (H, M), with a weight per sample, (M,) or None for one."""
    compiled = compiled_for(mean)
    if compiled is None:
        return _spread_by_torch(mean, log_variance, weight, lattice)
    arrays = [tensor.numpy() for tensor in (mean, log_variance, mean.new_empty(0) if weight is None else weight)]
    settings = _compiled_settings(lattice)

    def part(first: int, last: int) -> Blocks:
        keys, values = compiled.spread(*arrays, first, last, *settings)
        return sorted_blocks(torch.from_numpy(keys), torch.from_numpy(values).flatten(2))

    parts = on_all_threads(part, len(mean))
    return Blocks(torch.cat([part.keys for part in parts]), torch.cat([part.values for part in parts]))


def gather(field: Tensor, keys: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
    """Interpolate a function of (mu, log sigma) at components, contiguous float64 of shape (H, M).

    `field`, (B, width * levels), holds its values on blocks with the sorted `keys`, (B,), which include every block
    that the components lie in.
    """
    moments = field.unflatten(1, (lattice.width, lattice.levels)) @ lattice.level_weights.to(field).T
    compiled = compiled_for(mean)
    if compiled is None:
        return _gather_by_torch(moments, keys, mean, log_variance, lattice)
    result = torch.empty_like(mean)
    arrays = [tensor.contiguous().numpy() for tensor in (mean, log_variance, keys, moments, result)]
    settings = _compiled_settings(lattice)
    on_all_threads(lambda first, last: compiled.gather(*arrays, first, last, *settings), len(mean))
    return result


def compiled_for(tensor: Tensor) -> ModuleType | None:
    """Return the compiled functions for a tensor, None if it is not on the CPU or numba is missing."""
    return _compiled() if tensor.device.type == "cpu" else None


@cache
def _compiled() -> ModuleType | None:
    try:
        from . import _compiled
    except ImportError as error:
        warnings.warn(f"the estimator runs several times slower ({error}): pip install 'vaemi[fast]'", stacklevel=2)
        return None
    return _compiled


def _compiled_settings(lattice: Lattice) -> tuple[Any, ...]:
    return lattice.points_per_sigma, tuple(lattice.lagrange_scale.tolist()), tuple(lattice.level_nodes.tolist())


def on_all_threads(task: Callable[[int, int], Any], n_factors: int) -> list[Any]:
    """Return the results of task(first, last) over consecutive factors, one part for each of torch's threads."""
    threads = min(torch.get_num_threads(), n_factors)
    edges = [n_factors * part // threads for part in range(threads + 1)]
    if threads == 1:
        return [task(0, n_factors)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(task, edges[:-1], edges[1:]))


def _spread_by_torch(mean: Tensor, log_variance: Tensor, weight: Tensor | None, lattice: Lattice) -> Blocks:
    parts = [_keyed(*part, lattice) for part in _parts(mean, log_variance)]
    keys, slots = torch.cat([key for key, _ in parts]).unique(return_inverse=True)
    channels = 1 if weight is None else 2
    values = mean.new_zeros(len(keys), channels, lattice.cells)
    cells = torch.arange(lattice.order * lattice.levels, device=mean.device)
    sample = torch.arange(mean.numel(), device=mean.device) % mean.shape[1]
    pieces = ([place for _, place in parts], *(part.split(len(parts[0][0])) for part in (slots, sample)))
    for place, slot, rows in zip(*pieces, strict=True):
        added = lagrange_weights(place.u, lattice)[:, :, None] * chebyshev_values(place.t, lattice)[:, None]
        for channel in range(channels):
            if weight is not None:  # once for the weights, twice for their squares
                added = added * weight[rows, None, None]
            first = (slot * channels + channel) * lattice.cells + place.first * lattice.levels
            values.view(-1).index_add_(0, (first[:, None] + cells).flatten(), added.flatten())
    return Blocks(keys, values)


def _gather_by_torch(moments: Tensor, keys: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
    points = torch.arange(lattice.order, device=mean.device)
    found = []
    for part in _parts(mean, log_variance):
        key, place = _keyed(*part, lattice)
        rows = torch.searchsorted(keys, key)[:, None] * lattice.width + place.first[:, None] + points
        at_points = (moments.flatten(0, 1)[rows] @ chebyshev_values(place.t, lattice)[..., None])[..., 0]
        found.append((at_points * lagrange_weights(place.u, lattice)).sum(1))
    return torch.cat(found).view_as(mean)


def _parts(mean: Tensor, log_variance: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the factors, means and log-variances of consecutive components."""
    factor = torch.arange(len(mean), device=mean.device).repeat_interleave(mean.shape[1])
    size = _AT_A_TIME.get(mean.device.type, 1 << 13)
    yield from zip(*(tensor.flatten().split(size) for tensor in (factor, mean, log_variance)), strict=True)


def _keyed(factor: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> tuple[Tensor, Places]:
    place = places(mean, log_variance, lattice)
    return pack(factor, place.band, place.block), place
