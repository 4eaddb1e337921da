"""The lattice: fixed values of mu and sigma that stand in for the posteriors of a factor.

A sample contributes one component N(mu, sigma^2) to the aggregated posterior. `spreading` replaces it by a few
components of the lattice with the same moments, and `mixture` integrates what is then on the lattice. The page
`book/estimator.md` derives the method and uses the same words:

octave
    All sigma with 2^o <= sigma < 2^(o+1). An octave has one set of points in mu, 2^o over a power of two apart.
band
    Half an octave. A component is spread over sigma within its band only.
level
    One of the fixed values of sigma in a band, a Chebyshev node of log sigma.
point
    One of the fixed values of mu in an octave, a whole multiple of the spacing. A component is spread over the nearest
    points by Lagrange interpolation.
block
    `BLOCK` consecutive points of one factor at all levels of one band. Only blocks with components are stored. `pack`
    makes one integer key of factor, band and block.

The lattice does not depend on the data, so two sets of samples on it can be added, and a rescaling of z by a power of
two changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_SHIFT = 5
BLOCK = 1 << BLOCK_SHIFT
# Small corrections are computed at every second point and at three levels.
THINNING, _FEW_LEVELS = 2, 3
# Standard deviations beyond which small corrections neglect a component.
_THINNED_REACH = 6
BANDS_PER_OCTAVE = 2
# Bits of a key, from the top: factor, band, block. Components lie in up to 2^32 blocks, and reach a few beyond these.
_BAND_BITS, _BLOCK_BITS = 10, 33
_LOWEST_BAND = -320
MOST_FACTORS = 2 ** (63 - _BAND_BITS - _BLOCK_BITS)
# Beyond this many points from zero, float64 does not resolve the position between two points; sigma is raised there.
FARTHEST_POINT = 2.0**36
# Bands per nat of log sigma^2.
BANDS_PER_NAT = 0.5 * BANDS_PER_OCTAVE / math.log(2)


@dataclass(frozen=True)
class Lattice:
    """Spacing and orders of interpolation, which determine the numerical error."""

    points_per_sigma: int  # at the narrow end of an octave; a power of two
    order: int  # points over which a component is spread; even
    levels: int  # per band
    reach: int  # standard deviations beyond which a component is neglected

    @property
    def width(self) -> int:
        """Number of points over which the components of a block are spread."""
        return BLOCK + self.order - 1

    @property
    def cells(self) -> int:
        """Number of values in a block."""
        return self.levels * self.width

    @property
    def kept_points(self) -> int:
        """Number of points of a block at which small corrections are computed."""
        return math.ceil((self.width + 2 * THINNING) / THINNING)

    @cached_property
    def neighbours(self) -> tuple[int, int]:
        """First and last block that a component reaches, relative to its own."""
        reach = 2 * self.points_per_sigma * self.reach
        return -math.ceil(reach / BLOCK), math.ceil((self.width + reach) / BLOCK) - 1

    def spacing(self, octave: Tensor) -> Tensor:
        """Return the distance between points in units of z."""
        return torch.exp2(octave.double()) / self.points_per_sigma

    def sigma(self, band: Tensor) -> Tensor:
        """Return the standard deviations at the levels of bands, shape (..., levels)."""
        return _sigma(band[..., None], self.level_nodes.to(band.device))

    @cached_property
    def level_nodes(self) -> Tensor:
        """Chebyshev nodes t, where log2 sigma = (band + (t + 1) / 2) / 2; shape (levels,)."""
        return _chebyshev_nodes(self.levels)

    @cached_property
    def level_weights(self) -> Tensor:
        """Matrix from Chebyshev moments, sums of T_i(t), to weights of the levels; shape (moments, levels)."""
        i = torch.arange(self.levels, dtype=torch.float64)
        weights = 2 / self.levels * torch.cos(i * torch.acos(self.level_nodes)[:, None])
        weights[:, 0] /= 2
        return weights.T.contiguous()

    @cached_property
    def lagrange_scale(self) -> Tensor:
        """Factors of the Lagrange weights: one over the product of distances to other points, shape (order,)."""
        points = range(self.order)
        return torch.tensor(
            [1 / math.prod(own - other for other in points if other != own) for own in points], dtype=torch.float64
        )

    @cached_property
    def kernel(self) -> Tensor:
        """Density of the component at each point and level of a block, at the points of all blocks that it reaches.

        Shape (BANDS_PER_OCTAVE, width * levels, reached blocks * BLOCK); densities per point, so a row sums to one.
        """
        first, last = self.neighbours
        at = torch.arange(first * BLOCK, (last + 1) * BLOCK, dtype=torch.float64)
        sigma = self.points_per_sigma * _sigma(torch.arange(BANDS_PER_OCTAVE)[:, None], self.level_nodes)
        return _normal_density(at - torch.arange(self.width)[:, None, None], sigma[:, None, :, None]).flatten(1, 2)

    @cached_property
    def thinned(self) -> tuple[Tensor, list[Tensor]]:
        """For small corrections: a matrix to every `THINNING`-th point and three levels, and the kernel of those.

        The matrix is (width * levels, kept points * 3); the first kept point lies `THINNING` before the block. The
        kernel of each band, (3, window), is the density around any point at every `THINNING`-th point, times
        `THINNING`, in float32.
        """
        nodes = _chebyshev_nodes(_FEW_LEVELS)
        levels = _lagrange_matrix(nodes, self.level_nodes)
        kept = THINNING * torch.arange(-1, self.kept_points - 1)
        distance = (torch.arange(self.width)[:, None] - kept).abs() // (THINNING // 2)
        cubic = torch.tensor([1, 9 / 16, 0, -1 / 16, 0], dtype=torch.float64)  # at a kept point, or between two
        kernels = []
        for band in range(BANDS_PER_OCTAVE):
            sigma = self.points_per_sigma * _sigma(torch.tensor(band), nodes)
            last = int(_THINNED_REACH * float(sigma.max())) // THINNING
            around = THINNING * torch.arange(-last, last + 1, dtype=torch.float64)
            kernels.append((THINNING * _normal_density(around, sigma[:, None])).float())
        return torch.kron(cubic[distance.clamp_max(4)], levels.T.contiguous()), kernels

    @cached_property
    def midpoint_weights(self) -> Tensor:
        """Interpolation from the nearest points to the middle between two; shape (2 * order,), from left to right."""
        offsets = torch.arange(1 - self.order, self.order + 1)
        return _lagrange_matrix(offsets, torch.tensor([0.5], dtype=torch.float64))[:, 0]

    @cached_property
    def refinement(self) -> Tensor:
        """Interpolation from three neighbouring blocks to the next narrower octave, whose points are twice as dense.

        Shape (2, 3 * BLOCK, BLOCK): the values of three blocks give those of the two halves of the middle block.
        """
        offsets = torch.arange(1 - self.order, self.order + 1)
        matrix = torch.zeros(2, 3 * BLOCK, BLOCK, dtype=torch.float64)
        for half in range(2):
            for point in range(BLOCK // 2):
                coarse = BLOCK + half * BLOCK // 2 + point
                matrix[half, coarse, 2 * point] = 1
                matrix[half, coarse + offsets, 2 * point + 1] = self.midpoint_weights
        return matrix


# By name of the precision. The numerical error is below 2e-7 and 1e-12 nats in the hardest case, equal components far
# from each other; elsewhere it is about a hundredth of that.
LATTICES = {
    "default": Lattice(points_per_sigma=4, order=8, levels=8, reach=7),
    "high": Lattice(points_per_sigma=8, order=12, levels=16, reach=9),
}


def _lagrange_matrix(nodes: Tensor, at: Tensor) -> Tensor:
    """Return the Lagrange polynomials of the nodes at other places, shape (nodes, places)."""
    values = nodes.tolist()
    return torch.stack([math.prod((at - other) / (own - other) for other in values if other != own) for own in values])


def _normal_density(distance: Tensor, sigma: Tensor) -> Tensor:
    return torch.exp(-0.5 * (distance / sigma).square()) / (sigma * math.sqrt(2 * math.pi))


def _chebyshev_nodes(count: int) -> Tensor:
    return torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count)


def _sigma(band: Tensor, node: Tensor) -> Tensor:
    return torch.exp2((band + (node + 1) / 2) / BANDS_PER_OCTAVE)


def pack(factor: Tensor | int, band: Tensor | int, block: Tensor) -> Tensor:
    """Return one int64 key of factor, band and block, which sorts in this order."""
    return ((factor << _BAND_BITS) + (band - _LOWEST_BAND) << _BLOCK_BITS) + (block + (1 << _BLOCK_BITS - 1))


def renumber(keys: Tensor, first_factor: int) -> Tensor:
    """Return the keys with `first_factor` added to the factors."""
    return keys + (first_factor << _BAND_BITS + _BLOCK_BITS)


def unpack(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the factor, band and block of keys, each of the shape of `keys`."""
    block = (keys & (1 << _BLOCK_BITS) - 1) - (1 << _BLOCK_BITS - 1)
    band = (keys >> _BLOCK_BITS & (1 << _BAND_BITS) - 1) + _LOWEST_BAND
    return keys >> _BLOCK_BITS + _BAND_BITS, band, block


class Places(NamedTuple):
    """Places of n components on the lattice, each of shape (n,)."""

    band: Tensor
    block: Tensor
    first: Tensor  # first of the points over which it is spread, counted from the start of the block
    u: Tensor  # distance in [0, 1) from the point left of its mean, in units of the spacing
    t: Tensor  # position of log sigma in the band, from -1 to 1


def places(mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Places:
    """Return the places of components, float64 of shape (n,)."""
    bands = BANDS_PER_NAT * log_variance
    band = bands.floor()
    octave = (band / BANDS_PER_OCTAVE).floor()
    t = 2 * (bands - band) - 1
    position = mean * torch.exp2(-octave) * lattice.points_per_sigma
    too_fine = position.abs() > FARTHEST_POINT
    if too_fine.any():
        least = torch.frexp(mean * (lattice.points_per_sigma / FARTHEST_POINT)).exponent.to(octave.dtype)
        band = torch.where(too_fine, BANDS_PER_OCTAVE * least, band)
        t = torch.where(too_fine, -1.0, t)
        position = torch.where(too_fine, mean * torch.exp2(-least) * lattice.points_per_sigma, position)
    left = position.floor()
    first = left.long() - (lattice.order // 2 - 1)
    return Places(band.long(), first >> BLOCK_SHIFT, first & (BLOCK - 1), position - left, t)


def lagrange_weights(u: Tensor, lattice: Lattice) -> Tensor:
    """Return the weights of the points of components, shape (n, order)."""
    distances = [u + (lattice.order // 2 - 1 - a) for a in range(lattice.order)]
    after = [torch.ones_like(u)]
    for distance in reversed(distances[1:]):
        after.append(after[-1] * distance)
    weights, before = [], torch.ones_like(u)
    for distance, rest, scale in zip(distances, reversed(after), lattice.lagrange_scale.tolist(), strict=True):
        weights.append(before * rest * scale)
        before = before * distance
    return torch.stack(weights, -1)


def chebyshev_values(t: Tensor, lattice: Lattice) -> Tensor:
    """Return T_0(t) to T_{levels-1}(t), shape (n, levels)."""
    values = [torch.ones_like(t), t]
    while len(values) < lattice.levels:
        values.append(2 * t * values[-1] - values[-2])
    return torch.stack(values, -1)
