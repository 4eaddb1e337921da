"""The compiled part of the module `direct`. The words are those of `lattice`."""

# The types in this file are numba's.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ._compiled import _LOWEST, _POWERS, _kernel
from .dense import _DEFENCE, _TINY
from .lattice import BANDS_PER_NAT, BANDS_PER_OCTAVE, FARTHEST_POINT
from .result import LEAST_REST

_LOG_2, _LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # their sum is log(2)
_SHIFT = 1.5 * 2.0**52  # adding it leaves the nearest integer in the lowest bits
_ROOT_HALF = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)
_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)

_plain = njit(error_model="numpy", fastmath={"contract"})
# Sums in any order, as vectors need it; `_exp` must not be compiled so.
_summing = njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@intrinsic
def _bits(typing_context, value):
    """Return the bits of a float64 as an integer."""
    return types.int64(types.float64), lambda _, builder, __, given: builder.bitcast(given[0], ir.IntType(64))


@intrinsic
def _from_bits(typing_context, bits):
    """Return the float64 of these bits."""
    return types.float64(types.int64), lambda _, builder, __, given: builder.bitcast(given[0], ir.DoubleType())


# LLVM makes vectors of these two, but not of calls of the library's functions.
@njit(inline="always")
def _exp(x):
    """Return exp(x) for -700 < x < 700, to 1e-15 of it."""
    shifted = x * (1 / math.log(2)) + _SHIFT
    n = shifted - _SHIFT
    f = (x - n * _LOG_2) - n * _LOG_2_LOW
    series = 1 / 40320 + f * (1 / 362880 + f * (1 / 3628800 + f * (1 / 39916800 + f * (1 / 479001600))))
    series = 1 / 24 + f * (1 / 120 + f * (1 / 720 + f * (1 / 5040 + f * series)))
    series = 1 + f * (1 + f * (1 / 2 + f * (1 / 6 + f * series)))
    return _from_bits(_bits(series) + (_bits(shifted) << 52))


@njit(inline="always")
def _log(x):
    """Return log(x) of a normal positive number, to 1e-15."""
    bits = _bits(x)
    exponent = (bits - _ROOT_HALF) >> 52
    m = _from_bits(bits - (exponent << 52))  # from sqrt(1/2) to sqrt(2)
    s = (m - 1) / (m + 1)
    t = s * s
    series = 1 / 9 + t * (1 / 11 + t * (1 / 13 + t * (1 / 15 + t * (1 / 17))))
    series = 1 + t * (1 / 3 + t * (1 / 5 + t * (1 / 7 + t * series)))
    return exponent * math.log(2) + 2 * s * series


@_plain
def _write_component(component, offset, sigma):
    """Write the density of a component at consecutive points, `offset` from its mean to the first."""
    scale, height = -0.5 / (sigma * sigma), 1 / (_ROOT_TWO_PI * sigma)
    for j in range(len(component)):
        distance = offset + j
        component[j] = height * _exp(scale * distance * distance)


@_plain
def _write_log(result, density):
    for j in range(len(density)):
        result[j] = _log(max(density[j], _TINY))


@_plain
def _add(total, component, factor):
    for j in range(len(component)):
        total[j] += factor * component[j]


@_summing
def _product(component, field):
    total = 0.0
    for j in range(len(component)):
        total += component[j] * field[j]
    return total


@_plain
def _write_log_without(result, component, inverse, reference, share, share_per_point):
    """Write the log of the density without a sample over that with it, q; `inverse` is 1 / q and `reference` r / q."""
    defence = _DEFENCE * share
    keep = (1 - defence) / max(1 - share, LEAST_REST)
    for j in range(len(component)):
        left = keep * max(1 - share_per_point * component[j] * inverse[j], 0.0) + defence * reference[j]
        result[j] = _log(max(left, _TINY))


@_plain
def _refine(coarse, coarse_first, fine, fine_first, taps):
    """Interpolate `coarse` at points half as far apart. Arrays are given with the number of their first point."""
    for j in range(len(fine)):
        point = fine_first + j
        i = (point >> 1) - coarse_first
        fine[j] = coarse[i]
        if point & 1:
            fine[j] = 0.0
            for a in range(len(taps)):
                fine[j] += taps[a] * (coarse[i - a] + coarse[i + 1 + a])


@_plain
def _coarsen(fine, fine_first, coarse, coarse_first, taps):
    """Add half of the transpose of `_refine`: integrals against `fine` become integrals over the broader points."""
    for j in range(len(fine)):
        point = fine_first + j
        i = (point >> 1) - coarse_first
        if point & 1:
            for a in range(len(taps)):
                coarse[i - a] += 0.5 * taps[a] * fine[j]
                coarse[i + 1 + a] += 0.5 * taps[a] * fine[j]
        else:
            coarse[i] += 0.5 * fine[j]


@_plain
def _place(mean, log_variance, points_per_sigma, octave, position, sigma):
    """Fill the octave of each component, from the narrowest one, and its mean and sigma in points; return that one."""
    lowest = 1 << 20
    for m in range(len(mean)):
        octave[m] = math.floor(BANDS_PER_NAT * log_variance[m]) // BANDS_PER_OCTAVE
        lowest = min(lowest, octave[m])
    for m in range(len(mean)):
        scale = points_per_sigma * _POWERS[-octave[m] - _LOWEST]
        position[m] = mean[m] * scale
        sigma[m] = math.exp(0.5 * log_variance[m]) * scale
        octave[m] -= lowest
    return lowest


@njit(inline="always")
def _window(position, sigma, reach):
    """Return the first and the last point that a component reaches."""
    return math.ceil(position - reach * sigma), math.floor(position + reach * sigma)


@_plain
def _lay_out(octave, position, sigma, reach, order):
    """Return the first point of each octave, and where the octaves start in an array of all points."""
    octaves = octave.max() + 1
    first, last = np.full(octaves, 1 << 60), np.full(octaves, -(1 << 60))
    for m in range(len(octave)):
        low, high = _window(position[m], sigma[m], reach)
        first[octave[m]] = min(first[octave[m]], low)
        last[octave[m]] = max(last[octave[m]], high)
    for o in range(1, octaves):
        first[o] = min(first[o], (first[o - 1] >> 1) - order)
        last[o] = max(last[o], (last[o - 1] >> 1) + order)
    starts = np.zeros(octaves + 1, np.int64)
    for o in range(octaves):
        starts[o + 1] = starts[o] + last[o] + 1 - first[o]
    return first, starts


@_plain
def _sum_up(octave, position, sigma, share, first, starts, reach, taps, buffer):
    """Return the density of the components of each octave and all broader ones, and of the broader ones alone."""
    density, broader = np.zeros(starts[-1]), np.zeros(starts[-1])
    for o in range(len(first) - 1, -1, -1):
        own = slice(starts[o], starts[o + 1])
        if o + 1 < len(first):
            _refine(density[starts[o + 1] : starts[o + 2]], first[o + 1], broader[own], first[o], taps)
            density[own] = broader[own]
        for m in range(len(octave)):
            if octave[m] == o and share[m] > 0:
                low, high = _window(position[m], sigma[m], reach)
                component = buffer[: high + 1 - low]
                _write_component(component, low - position[m], sigma[m])
                at = starts[o] + low - first[o]
                _add(density[at : at + len(component)], component, share[m] * _POWERS[-o - _LOWEST])
    return density, broader


@_plain
def _write_ratios(density, first, starts, o, centre, std, inverse, reference):
    """Write 1 / q and r / q at the points of an octave, with all components in q, and r a Cauchy density."""
    for j in range(starts[o], starts[o + 1]):
        point = first[o] + j - starts[o]
        narrower = starts[o - 1] + 2 * point - first[o - 1] if o > 0 else -1
        if o > 0 and starts[o - 1] <= narrower < starts[o]:
            inverse[j] = inverse[narrower]
        else:
            inverse[j] = 1 / max(density[j], _TINY)
        distance = point * _POWERS[o - _LOWEST] - centre
        reference[j] = std / (math.pi * (std * std + distance * distance)) * inverse[j]


@_kernel
def integrate(
    mean,
    log_variance,
    centre,
    std,
    divergence,
    gain,
    is_left,
    first_factor,
    last_factor,
    share,
    asked_from,
    points_per_sigma,
    reach,
    taps,
    least_points,
    most_points,
):
    """Fill `divergence` and `gain`, or `is_left` where the number of points is beyond a limit, of some factors."""
    count = mean.shape[1]
    octave, position, sigma = np.empty(count, np.int64), np.empty(count), np.empty(count)
    buffer = np.empty(4 * points_per_sigma * reach + 1)
    log_without = np.empty_like(buffer)
    for factor in range(first_factor, last_factor):
        lowest = _place(mean[factor], log_variance[factor], points_per_sigma, octave, position, sigma)
        is_left[factor] = np.abs(position).max() > FARTHEST_POINT
        if is_left[factor]:
            continue
        first, starts = _lay_out(octave, position, sigma, reach, len(taps))
        is_left[factor] = not least_points <= starts[-1] <= most_points
        if is_left[factor]:
            continue
        density, broader = _sum_up(octave, position, sigma, share, first, starts, reach, taps, buffer)
        log_density, log_broader = np.empty_like(density), np.empty_like(density)
        _write_log(log_density, density)
        _write_log(log_broader, broader)
        field, inverse, reference = np.zeros_like(density), np.empty_like(density), np.empty_like(density)
        scale = points_per_sigma * _POWERS[-lowest - _LOWEST]
        for o in range(len(first)):
            own = slice(starts[o], starts[o + 1])
            _write_ratios(density, first, starts, o, centre[factor] * scale, std[factor] * scale, inverse, reference)
            _add(field[own], log_density[own], 1.0)
            for m in range(asked_from, count):
                if octave[m] != o:
                    continue
                low, high = _window(position[m], sigma[m], reach)
                component, without = buffer[: high + 1 - low], log_without[: high + 1 - low]
                _write_component(component, low - position[m], sigma[m])
                reached = slice(starts[o] + low - first[o], starts[o] + high + 1 - first[o])
                entropy = _ENTROPY + math.log(sigma[m]) + o * math.log(2)
                divergence[factor, m - asked_from] = -entropy - _product(component, field[reached])
                if share[m] > 0:
                    shared = share[m], share[m] * _POWERS[-o - _LOWEST]
                    _write_log_without(without, component, inverse[reached], reference[reached], *shared)
                    gain[factor, m - asked_from] = -_product(component, without)
            if o + 1 < len(first):
                _add(field[own], log_broader[own], -1.0)
                _coarsen(field[own], first[o], field[starts[o + 1] : starts[o + 2]], first[o + 1], taps)
