"""The lattice on which samples of a factor are gathered, and what it needs to know of Gaussian kernels.

A component N(mu, sigma^2) of the aggregated posterior lies in an *octave*, 2^b <= sigma < 2^(b+1), and in one half of
it, its *band*. There it is replaced by a few components with the same moments: in mu by Lagrange interpolation between
points of a lattice whose spacing is a fixed share of 2^b, in log sigma by Chebyshev interpolation over the band. Points
of the lattice are whole multiples of a power of two, and no choice looks at the data; so what was gathered from two
sets of samples can be added up, and a rescaling of z by a power of two moves nothing.

The points are kept in *blocks* of `BLOCK`, and only blocks that hold something. A block belongs to one factor and one
band; `pack` makes the three numbers one key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BLOCK_SHIFT = 5
BLOCK = 1 << BLOCK_SHIFT
# Every so many points, and this many levels, are enough for small corrections.
THINNING, _FEW_LEVELS = 2, 3
BANDS = 2  # in an octave
# Bits of a key, from the top: factor, band, block.
_BAND_BITS, _BLOCK_BITS = 10, 32
_LOWEST_BAND = -320
MOST_FACTORS = 2 ** (63 - _BAND_BITS - _BLOCK_BITS)
# A position beyond this many lattice points from zero has lost the digits that say where between two points it lies; a
# standard deviation that fine is raised.
FARTHEST_POINT = 2.0**36
# Bands in a nat of log sigma^2.
BANDS_PER_NAT = 0.5 * BANDS / math.log(2)


@dataclass(frozen=True)
class Lattice:
    """Spacing and orders of interpolation, which decide the numerical error.

    Attributes
    ----------
    points_per_sigma : int
        Lattice points per standard deviation at the narrow end of an octave; a power of two.
    order : int
        Points that a component is spread over in mu; even.
    levels : int
        Chebyshev nodes in log sigma, in a band; a multiple of four.
    reach : int
        Standard deviations beyond which a component counts for nothing.
    """

    points_per_sigma: int
    order: int
    levels: int
    reach: int

    @property
    def width(self) -> int:
        """Points that the components of a block may be spread over."""
        return BLOCK + self.order - 1

    @property
    def cells(self) -> int:
        """Numbers that a block holds."""
        return self.levels * self.width

    @cached_property
    def neighbours(self) -> tuple[int, int]:
        """The first and last block, counted from a component's own, that it may reach."""
        reach = 2 * self.points_per_sigma * self.reach
        return -math.ceil(reach / BLOCK), math.ceil((self.width + reach) / BLOCK) - 1

    def spacing(self, octave: Tensor) -> Tensor:
        """Distance between lattice points in units of z."""
        return torch.exp2(octave.double()) / self.points_per_sigma

    def sigma(self, band: Tensor) -> Tensor:
        """Standard deviations at the levels of bands, shape (..., levels)."""
        return _sigma(band[..., None], self.level_nodes.to(band.device))

    @cached_property
    def level_nodes(self) -> Tensor:
        """Chebyshev nodes t of log2 sigma = (band + (t + 1) / 2) / 2, shape (levels,)."""
        return _chebyshev_nodes(self.levels)

    @cached_property
    def level_weights(self) -> Tensor:
        """Takes Chebyshev moments, sum of T_i(t), to weights of the nodes; shape (levels, levels), moments first."""
        i = torch.arange(self.levels, dtype=torch.float64)
        weights = 2 / self.levels * torch.cos(i * torch.acos(self.level_nodes)[:, None])
        weights[:, 0] /= 2
        return weights.T.contiguous()

    @cached_property
    def lagrange_scale(self) -> Tensor:
        """What the Lagrange weight of a point is, over the product of the distances to all other points; (order,)."""
        points = range(self.order)
        return torch.tensor(
            [1 / math.prod(own - other for other in points if other != own) for own in points], dtype=torch.float64
        )

    @cached_property
    def kernel(self) -> Tensor:
        """Density of the component at every point and level of a block, at the points of all blocks that it reaches.

        Shape (BANDS, width * levels, reached blocks * BLOCK); densities per lattice point, so that a row sums to one.
        """
        return self._densities(self.level_nodes, torch.arange(self.width))

    @cached_property
    def thinned(self) -> tuple[Tensor, Tensor, Tensor]:
        """Fewer levels and points, for corrections that are small.

        Matrices that take the weights of a block's points (from the left) and levels (from the right) to fewer, by
        interpolation, and the kernel of those in single precision at every `THINNING`-th point, times `THINNING`.
        """
        nodes = _chebyshev_nodes(_FEW_LEVELS)
        levels = torch.stack(
            [
                math.prod((self.level_nodes - other) / (own - other) for other in nodes.tolist() if other != own)
                for own in nodes.tolist()
            ]
        )
        kept = torch.arange(-THINNING, self.width + THINNING, THINNING)
        distance = (torch.arange(self.width)[:, None] - kept).abs() // (THINNING // 2)
        cubic = torch.tensor([1, 9 / 16, 0, -1 / 16, 0], dtype=torch.float64)  # between two kept points, or at one
        points = cubic[distance.clamp_max(4)]
        return points.T, levels.T, (THINNING * self._densities(nodes, kept)[..., ::THINNING]).float()

    def _densities(self, level: Tensor, point: Tensor) -> Tensor:
        first, last = self.neighbours
        at = torch.arange(first * BLOCK, (last + 1) * BLOCK, dtype=torch.float64)
        sigma = self.points_per_sigma * _sigma(torch.arange(BANDS)[:, None], level)[:, None, :, None]
        density = torch.exp(-0.5 * ((at - point[:, None, None]) / sigma).square()) / (sigma * math.sqrt(2 * math.pi))
        return density.flatten(1, 2)

    @cached_property
    def refinement(self) -> Tensor:
        """Takes the values of three neighbouring blocks to the twice as fine points of the middle one's two halves.

        Shape (2, 3 * BLOCK, BLOCK): every second point is a coarse one, those between are interpolated.
        """
        half = self.order
        offsets = torch.arange(1 - half, half + 1)
        between = torch.tensor(
            [
                math.prod((0.5 - other) / (own - other) for other in offsets.tolist() if other != own)
                for own in offsets.tolist()
            ],
            dtype=torch.float64,
        )
        matrix = torch.zeros(2, 3 * BLOCK, BLOCK, dtype=torch.float64)
        for side in range(2):
            for point in range(BLOCK // 2):
                coarse = BLOCK + side * BLOCK // 2 + point
                matrix[side, coarse, 2 * point] = 1
                matrix[side, coarse + offsets, 2 * point + 1] = between
        return matrix


# By name of the precision. Where all components of a factor are alike and far from each other, the hardest case, the
# numerical error of the information is below 2e-7 and 1e-12 nats; elsewhere it is about a hundredth of that.
LATTICES = {
    "default": Lattice(points_per_sigma=4, order=8, levels=8, reach=7),
    "high": Lattice(points_per_sigma=8, order=12, levels=16, reach=9),
}


def _chebyshev_nodes(count: int) -> Tensor:
    return torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count)


def _sigma(band: Tensor, level: Tensor) -> Tensor:
    return torch.exp2((band + (level + 1) / 2) / BANDS)


def pack(factor: Tensor | int, band: Tensor | int, block: Tensor) -> Tensor:
    """One int64 key of factor, band and block, which sorts in this order."""
    return ((factor << _BAND_BITS) + (band - _LOWEST_BAND) << _BLOCK_BITS) + (block + (1 << _BLOCK_BITS - 1))


def renumber(keys: Tensor, first_factor: int) -> Tensor:
    """The keys with factors counted from `first_factor` on."""
    return keys + (first_factor << _BAND_BITS + _BLOCK_BITS)


def unpack(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factor, band and block of keys, each of the keys' shape."""
    block = (keys & (1 << _BLOCK_BITS) - 1) - (1 << _BLOCK_BITS - 1)
    band = (keys >> _BLOCK_BITS & (1 << _BAND_BITS) - 1) + _LOWEST_BAND
    return keys >> _BLOCK_BITS + _BAND_BITS, band, block


def stencils(mean: Tensor, log_variance: Tensor, lattice: Lattice) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where components go: band, block, first point in it, Lagrange weights (..., order), Chebyshev T (..., levels)."""
    level = BANDS_PER_NAT * log_variance
    band = level.floor()
    octave = (band / BANDS).floor()
    too_fine = mean.abs() > FARTHEST_POINT * torch.exp2(octave) / lattice.points_per_sigma
    least = torch.frexp(mean * (lattice.points_per_sigma / FARTHEST_POINT)).exponent.to(octave.dtype)
    octave = torch.where(too_fine, least, octave)
    band = torch.where(too_fine, BANDS * least, band)
    t = torch.where(too_fine, -1.0, 2 * (level - band) - 1)
    position = mean * torch.exp2(-octave) * lattice.points_per_sigma
    left = position.floor()
    first = left.long() - (lattice.order // 2 - 1)
    distance = (position - left)[..., None] + (lattice.order // 2 - 1 - torch.arange(lattice.order, device=mean.device))
    before = torch.ones_like(distance)
    before[..., 1:] = distance[..., :-1].cumprod(-1)
    after = torch.ones_like(distance)
    after[..., :-1] = distance[..., 1:].flip(-1).cumprod(-1).flip(-1)
    weights = before * after * lattice.lagrange_scale.to(mean.device)
    chebyshev = [torch.ones_like(t), t]
    while len(chebyshev) < lattice.levels:
        chebyshev.append(2 * t * chebyshev[-1] - chebyshev[-2])
    return band.long(), first >> BLOCK_SHIFT, first & BLOCK - 1, weights, torch.stack(chebyshev, -1)
