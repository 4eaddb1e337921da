"""From samples to the blocks of a lattice, and from a function on the blocks back to samples.

On a CPU both are compiled by numba if it is installed, which takes about a tenth of the time; else, and on other
devices, they are torch operations with the same outcome up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .lattice import Lattice, pack, renumber, stencils, unpack

try:
    from . import _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]

# Components that the torch operations take at a time: their stencils stay in a CPU's cache, or in a GPU's memory.
_AT_A_TIME = {"cpu": 1 << 14, "cuda": 1 << 20}
# Components that are spread at a time, for the sake of memory, and samples that are turned into rows at a time.
_COMPONENTS, _TURNED = 1 << 19, 1 << 12


@dataclass(frozen=True)
class Blocks:
    """Components of one or more factors, gathered on a lattice.

    Attributes
    ----------
    keys : Tensor of int64, shape (B,)
        Of the blocks that hold something, in order.
    values : Tensor of float64, shape (B, C, width * levels)
        Sum over the components of weight * Lagrange weight * T_i(t) for every lattice point and moment i. If samples
        were weighted, C is 2 and the same sum with the squares of the weights follows; else C is 1.
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
        # Where all weights are one, their squares are too.
        values = [blocks.values.expand(-1, channels, -1) for blocks in (self, other)]
        return sorted_blocks(keys, torch.cat(values))

    def to(self, device: Any) -> Blocks:
        """The same on a device."""
        return Blocks(self.keys.to(device), self.values.to(device))

    def add_in_place(self, other: Blocks) -> bool:
        """Add blocks that are all here already; says whether that was so."""
        if not len(self.keys):
            return False
        slot = torch.searchsorted(self.keys, other.keys).clamp_max(len(self.keys) - 1)
        if self.values.shape[1] != other.values.shape[1] or not torch.equal(self.keys[slot], other.keys):
            return False
        self.values.index_add_(0, slot, other.values)
        return True

    def by_factors(self, most: int) -> Iterator[tuple[int, int, Blocks]]:
        """Consecutive factors, together not more than `most` blocks unless one has more: first, count, their blocks.

        The factors of each part are numbered from 0.
        """
        factor = unpack(self.keys)[0]
        counts = torch.bincount(factor).tolist()
        first = start = 0
        while first < len(counts):
            last, stop = first + 1, start + counts[first]
            while last < len(counts) and stop + counts[last] - start <= most:
                stop += counts[last]
                last += 1
            yield first, last - first, Blocks(renumber(self.keys[start:stop], -first), self.values[start:stop])
            first, start = last, stop


def sorted_blocks(keys: Tensor, values: Tensor) -> Blocks:
    """Blocks in the order of their keys, those of the same key added up."""
    ordered, order = keys.sort(stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    if new.all():
        return Blocks(ordered, values[order])
    total = values.new_zeros(int(new.sum()), *values.shape[1:])
    return Blocks(ordered[new], total.index_add_(0, new.cumsum(0) - 1, values[order]))


def joined(parts: list[Blocks], counts: list[int]) -> Blocks:
    """Blocks of consecutive groups of so many factors, each numbered from 0, as those of all factors."""
    first = [sum(counts[:index]) for index in range(len(counts))]
    keys = [renumber(part.keys, start) for part, start in zip(parts, first, strict=True)]
    return Blocks(torch.cat(keys), torch.cat([part.values for part in parts]))


def factor_groups(mean: Tensor, log_variance: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples (M, H) as float64 rows (h, M) of h consecutive factors at a time, in the same memory each time."""
    size = min(max(torch.get_num_threads(), _COMPONENTS // len(mean)), mean.shape[1])
    space = torch.empty(2, size, len(mean), dtype=torch.float64, device=mean.device)
    for means, log_variances in zip(mean.split(size, dim=1), log_variance.split(size, dim=1), strict=True):
        count = means.shape[1]
        yield _turned(means, space[0, :count]), _turned(log_variances, space[1, :count])


def rows_of_factors(samples: Tensor) -> Tensor:
    """Samples (M, h) as contiguous float64 rows (h, M)."""
    return _turned(samples, torch.empty(*samples.T.shape, dtype=torch.float64, device=samples.device))


def _turned(samples: Tensor, rows: Tensor) -> Tensor:
    """Fill rows (h, M) from samples (M, h), in parts that stay in a CPU's cache."""
    for source, target in zip(samples.split(_TURNED), rows.split(_TURNED, dim=1), strict=True):
        target.copy_(source.T)
    return rows


def spread(mean: Tensor, log_variance: Tensor, weight: Tensor | None, lattice: Lattice) -> Blocks:
    """Gather components in blocks.

    Parameters
    ----------
    mean, log_variance : Tensor of float64, shape (H, M), contiguous
    weight : Tensor of float64, shape (M,), optional
        Of each sample; one if left out.
    lattice : Lattice
    """
    if _compiled is None or mean.device.type != "cpu":
        return _spread_by_torch(mean, log_variance, weight, lattice)
    arrays = [tensor.numpy() for tensor in (mean, log_variance, mean.new_empty(0) if weight is None else weight)]
    settings = _compiled_settings(lattice)

    def part(first: int, last: int) -> Blocks:
        keys, values = _compiled.spread(*arrays, first, last, *settings)
        return sorted_blocks(torch.from_numpy(keys), torch.from_numpy(values).flatten(2))

    parts = _on_all_threads(part, len(mean))
    return Blocks(torch.cat([part.keys for part in parts]), torch.cat([part.values for part in parts]))


def gather(field: Tensor, keys: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
    """Interpolate a function of (mu, log sigma), given on blocks, at components.

    Parameters
    ----------
    field : Tensor, shape (B, width * levels)
        Values at the points and Chebyshev nodes of every block.
    keys : Tensor, shape (B,)
        In order; they include every block that the components lie in.
    mean, log_variance : Tensor of float64, shape (H, M), contiguous

    Returns
    -------
    Tensor, shape (H, M)
    """
    moments = field.unflatten(1, (lattice.width, lattice.levels)) @ lattice.level_weights.to(field).T
    if _compiled is None or mean.device.type != "cpu":
        return _gather_by_torch(moments, keys, mean, log_variance, lattice)
    result = torch.empty_like(mean)
    arrays = [tensor.contiguous().numpy() for tensor in (mean, log_variance, keys, moments, result)]
    settings = _compiled_settings(lattice)
    _on_all_threads(lambda first, last: _compiled.gather(*arrays, first, last, *settings), len(mean))
    return result


def _compiled_settings(lattice: Lattice) -> tuple[Any, ...]:
    return lattice.points_per_sigma, tuple(lattice.lagrange_scale.tolist()), tuple(lattice.level_nodes.tolist())


def _on_all_threads(task: Callable[[int, int], Any], n_factors: int) -> list[Any]:
    """The outcomes of task(first, last) over consecutive factors, one part for each of torch's threads."""
    threads = min(torch.get_num_threads(), n_factors)
    edges = [n_factors * part // threads for part in range(threads + 1)]
    if threads == 1:
        return [task(0, n_factors)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(task, edges[:-1], edges[1:]))


def _spread_by_torch(mean: Tensor, log_variance: Tensor, weight: Tensor | None, lattice: Lattice) -> Blocks:
    factor, sample = _flat_indices(mean)
    keys = torch.cat([_keys(*part, lattice) for part in _parts(factor, mean, log_variance)])
    blocks, slot = keys.unique(return_inverse=True)
    channels = 1 if weight is None else 2
    values = mean.new_zeros(len(blocks) * channels * lattice.cells)
    start = 0
    for part_factor, mu, log_var in _parts(factor, mean, log_variance):
        stop = start + len(part_factor)
        target, product = _stencil_products(slot[start:stop], mu, log_var, lattice, channels)
        if weight is None:
            values.index_add_(0, target.flatten(), product.flatten())
        else:
            of_sample = weight[sample[start:stop], None, None]
            values.index_add_(0, target.flatten(), (of_sample * product).flatten())
            values.index_add_(0, (target + lattice.cells).flatten(), (of_sample.square() * product).flatten())
        start = stop
    return Blocks(blocks, values.view(len(blocks), channels, lattice.cells))


def _gather_by_torch(moments: Tensor, keys: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
    factor, _ = _flat_indices(mean)
    found = []
    for part_factor, mu, log_var in _parts(factor, mean, log_variance):
        slot = torch.searchsorted(keys, _keys(part_factor, mu, log_var, lattice))
        source, product = _stencil_products(slot, mu, log_var, lattice, channels=1)
        found.append((moments.flatten()[source] * product).sum((1, 2)))
    return torch.cat(found).view_as(mean)


def _flat_indices(mean: Tensor) -> tuple[Tensor, Tensor]:
    flat = torch.arange(mean.numel(), device=mean.device)
    return flat // mean.shape[1], flat % mean.shape[1]


def _parts(factor: Tensor, mean: Tensor, log_variance: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    size = _AT_A_TIME.get(mean.device.type, 1 << 14)
    return list(zip(*(tensor.flatten().split(size) for tensor in (factor, mean, log_variance)), strict=True))


def _keys(factor: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
    band, block, *_ = stencils(mean, log_variance, lattice)
    return pack(factor, band, block)


def _stencil_products(
    slot: Tensor, mean: Tensor, log_variance: Tensor, lattice: Lattice, channels: int
) -> tuple[Tensor, Tensor]:
    """Places in flat block values and what goes there, both (components, order, levels)."""
    _, _, first, weights, chebyshev = stencils(mean, log_variance, lattice)
    points = torch.arange(lattice.order, device=slot.device)
    levels = torch.arange(lattice.levels, device=slot.device)
    places = slot[:, None] * (channels * lattice.cells) + (first[:, None] + points) * lattice.levels
    return places[:, :, None] + levels, weights[:, :, None] * chebyshev[:, None, :]
