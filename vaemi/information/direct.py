"""The exact estimator where samples are few: components are evaluated as they are, and nothing is spread.

Points, octaves and the sweeps between octaves are those of `mixture`, but a component is evaluated at its own mean and
sigma, at the points of its octave that it reaches. The time of this grows with the number of samples, that of
`mixture` with the number of points, and each factor takes the way that is predicted to be faster. The prediction
depends on its own samples alone, so that neither the order of samples nor other factors change a result. There are two
limits: up to `FEW_SAMPLES`, a sketch keeps samples as they are, and `_MOST_POINTS` bound the memory.

The gain of `leave_one_out` is that of `dense`, integrated on the points of each sample's octave.

Without numba this would be slower than `mixture`, which is then used for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .lattice import Lattice
from .mixture import FIELDS, Evaluation, evaluate_in_parts
from .result import standard_error
from .spreading import Blocks, Samples, compiled_for, on_all_threads, rows_of_factors, spread_in_groups

#: Samples up to which components are evaluated as they are.
FEW_SAMPLES = 2000
_MOST_POINTS = 1 << 17
#: Time of a sample here over that of a point in `mixture`, from M = 100 to 2,000 and sigma from 0.05 to 1 of N(0, 1).
POINTS_PER_SAMPLE = 0.3
# Components that are evaluated at a time.
_COMPONENTS = 1 << 16


@dataclass(frozen=True)
class DirectEvaluation:
    """Information of h factors with few samples; the fields are those of `Evaluation`."""

    nats: Tensor
    stderr: Tensor
    leave_one_out: Tensor
    marginal_std: Tensor
    samples: Samples  # float64; those of a factor are contiguous
    divergence: Tensor  # (h, N), not computed for factors that are left
    is_left: Tensor  # (h,): evaluated on the lattice
    on_lattice: list[tuple[int, Evaluation]]  # those, each with its first factor among them

    def divergence_of(self, first: int, mean: Tensor, log_variance: Tensor, lattice: Lattice) -> Tensor:
        """Return the divergences (N, h) of posteriors (N, H) for the factors of this part, from the first of them."""
        columns = slice(first, first + len(self.nats))
        asked = Samples.nothing_at(mean[:, columns].double(), log_variance[:, columns].double())
        if torch.equal(asked.mean, self.samples.mean) and torch.equal(asked.log_variance, self.samples.log_variance):
            divergence, left, on_lattice = self.divergence.clone(), self.is_left, self.on_lattice
        else:
            samples = self.samples.and_those(asked)
            found = _integrate(samples, lattice, asked_from=len(self.samples.mean))
            divergence, left = found.divergence, found.is_left
            on_lattice = _left_over(samples, left, lattice)
        if on_lattice:
            rows = asked.of_factors(left)
            parts = [part.divergence_of(at, rows.mean, rows.log_variance, lattice) for at, part in on_lattice]
            divergence[left] = torch.cat(parts, 1).T
        return divergence.T


def evaluations(
    samples: Samples, lattice: Lattice, blocks: Blocks | None = None, asked: Samples | None = None
) -> Iterator[tuple[int, Evaluation | DirectEvaluation]]:
    """Evaluate samples, and blocks on which others were spread, some factors at a time, each with its first factor.

    The parts have `divergence_of` the samples and of those in `asked`.
    """
    count, n_factors = samples.mean.shape
    is_spread = blocks is not None and len(blocks.keys) > 0
    if count > FEW_SAMPLES or is_spread or compiled_for(samples.mean) is None:
        yield from _on_the_lattice(samples if asked is None else samples.and_those(asked), lattice, blocks)
        return
    size = max(_COMPONENTS // count, torch.get_num_threads())
    for first in range(0, n_factors, size):
        mean, log_variance, weight = samples.of_factors(slice(first, first + size))
        rows = rows_of_factors(mean), rows_of_factors(log_variance)
        yield first, _evaluate(Samples(rows[0].T, rows[1].T, weight), lattice)


def _evaluate(samples: Samples, lattice: Lattice) -> DirectEvaluation:
    found = _integrate(samples, lattice)
    share = samples.weight / samples.weight.sum()
    nats = (found.divergence @ share).clamp_min(0)
    gain = (found.gain @ share).clamp_min(0)
    left = found.is_left
    here = ~left if left.any() else slice(None)  # without a copy where none is left
    stderr = torch.zeros_like(nats)
    stderr[here] = standard_error(found.divergence[here].T, samples.weight)
    on_lattice = _left_over(samples, left, lattice)
    evaluation = DirectEvaluation(
        nats, stderr, nats + gain, found.marginal_std, samples, found.divergence, left, on_lattice
    )
    if on_lattice:
        for name in FIELDS:
            getattr(evaluation, name)[left] = torch.cat([getattr(part, name) for _, part in on_lattice])
    return evaluation


class _Integrals(NamedTuple):
    """Integrals of h factors for N samples."""

    divergence: Tensor  # (h, N)
    gain: Tensor  # (h, N): what each sample adds to leave_one_out - nats
    marginal_std: Tensor  # (h,)
    is_left: Tensor  # (h,): `mixture` is faster, and divergence and gain are not computed


def _integrate(samples: Samples, lattice: Lattice, asked_from: int = 0) -> _Integrals:
    """Integrate the samples from `asked_from` on; all are in the density."""
    mean, log_variance = samples.mean.T.contiguous(), samples.log_variance.T.contiguous()
    share = samples.weight / samples.weight.sum()
    centre = mean @ share
    variance = (mean - centre[:, None]).square_().add_(log_variance.exp()) @ share
    divergence = mean.new_zeros(len(mean), len(share) - asked_from)
    gain, is_left = torch.zeros_like(divergence), torch.zeros(len(mean), dtype=torch.bool)
    rows = [part.numpy() for part in (mean, log_variance, centre, variance.sqrt(), divergence, gain, is_left)]
    weights = tuple(lattice.midpoint_weights[lattice.order :].tolist())
    least_points = 4 * lattice.points_per_sigma * lattice.reach + POINTS_PER_SAMPLE * (asked_from or len(share))
    limits = least_points, _MOST_POINTS
    settings = share.numpy(), asked_from, lattice.points_per_sigma, lattice.reach, weights, *limits

    from . import _compiled_direct

    on_all_threads(lambda first, last: _compiled_direct.integrate(*rows, first, last, *settings), len(mean))
    return _Integrals(divergence, gain, (variance + centre.square()).sqrt(), is_left)


def _left_over(samples: Samples, left: Tensor, lattice: Lattice) -> list[tuple[int, Evaluation]]:
    return list(_on_the_lattice(samples.of_factors(left), lattice)) if left.any() else []


def _on_the_lattice(
    samples: Samples, lattice: Lattice, blocks: Blocks | None = None
) -> Iterator[tuple[int, Evaluation]]:
    n_factors = samples.mean.shape[1]
    return evaluate_in_parts(spread_in_groups(samples, n_factors, lattice, blocks), n_factors, lattice)
