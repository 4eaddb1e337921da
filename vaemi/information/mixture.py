"""The exact estimator for Gaussian posteriors: integrate KL(q(z|x) || q(z)) over their mixture, on the lattice.

The words are those of `lattice`; `book/estimator.md` derives the method. Every octave of sigma has its own points. With
q_b the density of the components in octave b and all broader ones, and B the broadest octave,

    log q = log q_B + sum over b < B of (log q_b - log q_{b+1}).

Each difference vanishes away from the components of its octave and is smooth on the scale of its points. One sweep from
broad to narrow makes the q_b, refining the broader density only where narrower components are. One sweep back
carries the differences, by the transpose of the refinement, to the points of the broader octaves, where integrals are
sums over points. The work does not depend on the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .lattice import BANDS_PER_OCTAVE, BLOCK, THINNING, Lattice, pack, unpack
from .spreading import Blocks, gather, joined, rows_of_factors

# Density where no component reaches; its logarithm only meets weights of zero.
_TINY = 1e-290
_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
# Weight of the heavy-tailed reference in the density without a sample, in units of a sample.
_DEFENCE = 0.1
# Blocks that are worked on at a time: of whole factors and within, for the sake of memory, and for that of speed.
_BLOCKS_OF_A_PART, _BLOCKS, _BLOCKS_IN_CACHE = 1 << 11, 1 << 8, 1 << 6

#: What an evaluation shares with `FactorInformation`.
FIELDS = ("nats", "stderr", "marginal_std", "leave_one_out")


@dataclass(frozen=True)
class Evaluation:
    """Information of H factors, with the fields of `FactorInformation`, and the divergence of every component."""

    nats: Tensor  # (H,), as the next three
    stderr: Tensor
    leave_one_out: Tensor
    marginal_std: Tensor
    keys: Tensor  # (B,), of the blocks, in order of their bands
    divergence: Tensor  # (B, width * levels): KL of the component at every point and level of a block

    def divergence_of(self, first: int, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
        """Return the divergences (N, h) of posteriors (N, H) for the factors of this part, from the first of them."""
        columns = slice(first, first + len(self.nats))
        rows = rows_of_factors(mean[:, columns]), rows_of_factors(log_variance[:, columns])
        keys, order = self.keys.sort()
        return gather(self.divergence[order], keys, *rows, lattice).T


def evaluate_in_parts(
    groups: Iterable[tuple[int, Blocks]], n_factors: int, lattice: Lattice
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluate groups of factors from `spread_in_groups`, several at a time, each part with its first factor."""
    waiting: list[tuple[int, Blocks]] = []
    for first, blocks in groups:
        if waiting and sum(len(part.keys) for _, part in waiting) + len(blocks.keys) > _BLOCKS_OF_A_PART:
            yield waiting[0][0], evaluate(joined(waiting), first - waiting[0][0], lattice)
            waiting = []
        waiting.append((first, blocks))
    yield waiting[0][0], evaluate(joined(waiting), n_factors - waiting[0][0], lattice)


def evaluate(blocks: Blocks, n_factors: int, lattice: Lattice) -> Evaluation:
    """Evaluate the blocks of `n_factors` factors."""
    # In the order of the bands, so that those of a band, and of an octave, are consecutive.
    order = unpack(blocks.keys)[1].argsort(stable=True)
    factor, band, block = unpack(blocks.keys[order])
    parts = [slice(at, at + _BLOCKS) for at in range(0, len(order), _BLOCKS)]

    def total(of_block: Tensor) -> Tensor:
        return of_block.new_zeros(n_factors).index_add_(0, factor, of_block)

    weight_sum = total(blocks.values[:, 0, :: lattice.levels].sum(1)[order])
    nodal = blocks.values.new_empty(*blocks.values.shape[:2], lattice.width, lattice.levels)
    for part in parts:
        moments = blocks.values[order[part]] / weight_sum[factor[part], None, None]
        torch.matmul(moments.view_as(nodal[part]), lattice.level_weights.to(moments), out=nodal[part])
    share, squares = nodal[:, 0].flatten(1), nodal[:, -1].flatten(1)
    # 1 / M for equal weights; below 1, also where a single sample has all the weight.
    one = (total(squares.sum(1)) / weight_sum).clamp_max(1 - 2**-40)
    octaves = _densities(factor, band, block, share, n_factors, lattice)
    divergence = _divergences(octaves, share, lattice)

    octave = band.div(BANDS_PER_OCTAVE, rounding_mode="floor")
    columns = torch.arange(lattice.width, device=factor.device)
    points = lattice.spacing(octave)[:, None] * (block[:, None] * BLOCK + columns)
    at_point = nodal[:, 0].sum(2)
    centre = total((at_point * points).sum(1))
    within = (nodal[:, 0].sum(1) * lattice.sigma(band).square()).sum(1)
    variance = total((at_point * (points - centre[factor, None]).square_()).sum(1) + within).clamp_min(0)

    nats = total(torch.linalg.vecdot(share, divergence))
    removal = _removals(octaves, share, one, centre, variance.sqrt(), lattice)
    deviations = ((divergence[part] - nats[factor[part], None]).square_() for part in parts)
    squared = [torch.linalg.vecdot(squares[part], deviation) for part, deviation in zip(parts, deviations, strict=True)]
    sampling = total(torch.cat(squared)).clamp_min(0) / weight_sum
    return Evaluation(
        nats=nats.clamp_min(0),
        stderr=(sampling / (1 - one)).sqrt(),
        leave_one_out=nats.clamp_min(0) + total(removal).clamp_min(0),
        marginal_std=(variance + centre.square()).sqrt(),
        keys=blocks.keys[order],
        divergence=divergence,
    )


@dataclass
class _Octave:
    """The points of one octave where a density is needed, for all factors, in rows of `BLOCK` points."""

    octave: Tensor  # (), its number
    start: int  # of its blocks among all
    bands: list[int]  # number of blocks of each band
    reached: Tensor  # (B, R): rows that a block's components reach
    places: Tensor  # (P,): sorted keys of the rows
    broader: Tensor  # (P, BLOCK): q_{b+1} at the points
    density: Tensor  # (P, BLOCK): q_b at the points

    def parts(self, size: int) -> Iterator[tuple[int, slice, Tensor]]:
        """Yield each band of the octave, at most `size` of its blocks at a time: which of all, and what they reach."""
        first = 0
        for side, count in enumerate(self.bands):
            for at in range(first, first + count, size):
                end = min(at + size, first + count)
                yield side, slice(self.start + at, self.start + end), self.reached[at:end]
            first += count


def _densities(
    factor: Tensor, band: Tensor, block: Tensor, share: Tensor, n_factors: int, lattice: Lattice
) -> list[_Octave]:
    """Sweep from broad to narrow; return the octaves from narrow to broad."""
    octave = band.div(BANDS_PER_OCTAVE, rounding_mode="floor")
    lowest, highest = int(octave[0]), int(octave[-1])
    counts = torch.bincount(band - BANDS_PER_OCTAVE * lowest, minlength=BANDS_PER_OCTAVE * (highest - lowest + 1))
    first, last = lattice.neighbours
    around = torch.arange(first, last + 1, device=factor.device)
    broadest = octave.new_full((n_factors,), lowest).scatter_reduce_(0, factor, octave, "amax")

    octaves: list[_Octave] = []
    narrower, end = factor.new_empty(0), 0
    for current, bands in zip(range(lowest, highest + 1), counts.view(-1, BANDS_PER_OCTAVE).tolist(), strict=True):
        start, end = end, end + sum(bands)
        own = slice(start, end)
        reached = pack(factor[own, None], 0, block[own, None] + around)
        wanted, _, place = unpack(narrower)
        still = broadest[wanted] >= current
        parents = pack(wanted[still, None], 0, (place[still, None] >> 1) + around.new_tensor([-1, 0, 1]))
        places = torch.cat([reached.flatten(), parents.flatten()]).unique()
        reached = torch.searchsorted(places, reached)
        nothing = share.new_zeros(len(places), BLOCK)
        octaves.append(_Octave(octave.new_tensor(current), start, bands, reached, places, nothing, nothing))
        narrower = places

    kernel = lattice.kernel.to(share)
    above: _Octave | None = None
    for here in reversed(octaves):
        if above is not None and len(above.places):
            here.broader = _refined(above, here, lattice)
        here.density = here.broader.clone()
        per_point = 1 / float(lattice.spacing(here.octave))
        for side, part, reached in here.parts(_BLOCKS):
            made = share[part] @ kernel[side]
            here.density.index_add_(0, reached.flatten(), made.view(-1, BLOCK), alpha=per_point)
        above = here
    return octaves


def _refined(above: _Octave, here: _Octave, lattice: Lattice) -> Tensor:
    """Return the density of the broader octave at the points of this one."""
    sources, known, side = _parents(above, here)
    values = torch.where(known[..., None], above.density[sources], 0.0).flatten(1)
    matrices = lattice.refinement.to(values)
    return torch.where((side == 0)[:, None], values @ matrices[0], values @ matrices[1])


def _coarsened(field: Tensor, here: _Octave, above: _Octave, lattice: Lattice) -> Tensor:
    """Apply the transpose of `_refined`: integrals against `field` become integrals over the broader points."""
    targets, known, side = _parents(above, here)
    matrices = lattice.refinement.to(field)
    made = 0.5 * torch.where((side == 0)[:, None], field @ matrices[0].T, field @ matrices[1].T).view(-1, 3, BLOCK)
    return torch.zeros_like(above.density).index_add_(0, targets[known], made[known])


def _parents(above: _Octave, here: _Octave) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three rows of `above` around each of `here`, which of them exist, and the half it lies in."""
    factor, _, block = unpack(here.places)
    wanted = pack(factor[:, None], 0, (block[:, None] >> 1) + torch.arange(-1, 2, device=block.device))
    rows = torch.searchsorted(above.places, wanted).clamp_max(len(above.places) - 1)
    return rows, above.places[rows] == wanted, block & 1


def _divergences(octaves: list[_Octave], share: Tensor, lattice: Lattice) -> Tensor:
    """Sweep back; return KL of the component at every point and level of all blocks, shape of `share`."""
    kernel = lattice.kernel.to(share).mT
    result = torch.empty_like(share)
    carried, below = share.new_empty(0), None
    for here in octaves:
        log_density = here.density.clamp_min(_TINY).log()
        if below is None or not len(here.places):  # no factor has narrower components
            carried = torch.zeros_like(log_density)
        else:
            carried = _coarsened(carried, below, here, lattice)
        field = log_density + carried
        for side, part, reached in here.parts(_BLOCKS):
            entropy = _ENTROPY + lattice.sigma(BANDS_PER_OCTAVE * here.octave + side).log().repeat(lattice.width)
            torch.addmm(-entropy, field[reached].flatten(1), kernel[side], alpha=-1, out=result[part])
        carried = carried + log_density - here.broader.clamp_min(_TINY).log()
        below = here
    return result


def _removals(
    octaves: list[_Octave], share: Tensor, one: Tensor, centre: Tensor, std: Tensor, lattice: Lattice
) -> Tensor:
    """Return what each block adds to leave_one_out - nats.

    With u = N(z; mu_m, sigma_m^2) / (M q(z)) the density without sample m is q (1 - u) M / (M - 1). A sample that no
    other is near would cost arbitrarily much, so a Cauchy density r, with the marginal's centre and width, is mixed in
    with the small weight e: any density that does not depend on x_m gives an upper bound. The gain is
    E[-log((1 - e)(1 - u) M / (M - 1) + e r / q)].

    Two approximations. Components narrower than the octave are left out of q, which makes the gain too large. The
    gain is taken at the points and levels, not at the samples: around a lone sample q is the sample's own component,
    spread over several points, of which removing the component at one point leaves a trace. The gain is singular there
    (u = 1), so no finer lattice helps, and it comes out too small. Single precision, every second point and three
    levels suffice beside these.
    """
    reduce, kernels = lattice.thinned
    reduce = reduce.T.to(share.device)
    kept = torch.arange(0, BLOCK, THINNING, device=share.device)
    result = share.new_zeros(len(share))
    for here in octaves:
        of, _, row = unpack(here.places)
        spacing = lattice.spacing(here.octave)
        z = spacing * (row[:, None] * BLOCK + kept)
        density = here.density[:, ::THINNING].clamp_min(_TINY)
        width = std[of, None].clamp_min(_TINY)
        reference = width / (math.pi * (width.square() + (z - centre[of, None]).square()))
        share_of_one, defence = one[of, None], _DEFENCE * one[of, None]
        # With k the density of a component at the points, what is left is max(keep - k * gone, 0) + least.
        keep = (1 - defence) / (1 - share_of_one)
        least = _single(defence * reference / density)
        gone = _single(keep * share_of_one / (THINNING * spacing) / density)
        fields = _single(keep) + least, gone, least
        for side, part, reached in here.parts(_BLOCKS_IN_CACHE):
            kernel = kernels[side].to(share.device)[..., None]
            full, lost, least_left = (_windows(values[reached], kernel.shape[1], lattice) for values in fields)
            left = torch.addcmul(full, lost, kernel, value=-1)
            gain = torch.maximum(left, least_left, out=left).log_().mul_(kernel).sum(2, dtype=torch.float64)
            result[part] = -(reduce @ share[part].T).mul_(gain.flatten(0, 1)).sum(0)
    return result


def _windows(values: Tensor, width: int, lattice: Lattice) -> Tensor:
    """Return values in the blocks that B blocks reach, (B, R, .), around each kept point: (points, 1, width, B)."""
    first = -(lattice.neighbours[0] * BLOCK // THINNING) - 1 - width // 2
    seen = values.flatten(1).T[first : first + lattice.kept_points + width - 1].contiguous()
    return seen.unfold(0, width, 1).mT[:, None]


def _single(of_point: Tensor) -> Tensor:
    """Return values in single precision, in its range."""
    return of_point.clamp(1e-37, 1e30).float()
