"""`spread` and `gather` of the module `spreading`, compiled for a CPU by numba. The words are those of `lattice`."""

# The types in this file are numba's.
# mypy: ignore-errors

from __future__ import annotations

import math
from functools import partial

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .lattice import BANDS_PER_NAT, BANDS_PER_OCTAVE, BLOCK, BLOCK_SHIFT, FARTHEST_POINT, pack

_LOWEST = -400
# 2 ** octave for every octave that a key can hold.
_POWERS = np.exp2(np.arange(_LOWEST, -_LOWEST + 1, dtype=np.float64))
# Numba's cache does not see a change of `lattice`: change this file as well.
_PACK = njit(inline="always")(pack)


def _kernel(function):
    compiled = partial(njit, nogil=True, error_model="numpy", fastmath={"contract"})
    try:
        return compiled(cache=True)(function)
    except RuntimeError:  # no folder can be written: every process compiles anew
        return compiled()(function)


@njit(inline="always", error_model="numpy")
def _place(mu: float, log_variance: float, points_per_sigma: int) -> tuple[int, float, float]:
    """Return the band, t and position of a component."""
    level = BANDS_PER_NAT * log_variance
    band = math.floor(level)
    position = mu * _POWERS[-(band // BANDS_PER_OCTAVE) - _LOWEST] * points_per_sigma
    if abs(position) > FARTHEST_POINT:
        octave = math.frexp(mu * (points_per_sigma / FARTHEST_POINT))[1]
        return BANDS_PER_OCTAVE * octave, -1.0, mu * _POWERS[-octave - _LOWEST] * points_per_sigma
    return band, 2 * (level - band) - 1, position


@njit(inline="always", error_model="numpy")
def _stencil(position: float, order: int) -> tuple[int, int, float]:
    """Return the block, the first point in it, and u of a position."""
    left = math.floor(position)
    first = np.int64(left) - (order // 2 - 1)
    return first >> BLOCK_SHIFT, first & (BLOCK - 1), position - left


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _lagrange(u: float, basis: np.ndarray, scale: np.ndarray, order: int) -> None:
    """Write the Lagrange weights, products of the distances to all other points, into `basis`."""
    product = 1.0
    for a in range(order):
        basis[a] = product * scale[a]
        product *= u + (order // 2 - 1 - a)
    product = 1.0
    for a in range(order - 1, -1, -1):
        basis[a] *= product
        product *= u + (order // 2 - 1 - a)


@intrinsic
def _add_four(typing_context, row, start, basis, first, factor):
    """row[start : start + 4] += factor * basis[first : first + 4], as vectors; LLVM does not see that it may."""

    def generate(context, builder, signature, arguments):
        row, start, basis, first, factor = arguments
        vector = ir.VectorType(ir.DoubleType(), 4)

        def place(array_type, array, index):
            data = context.make_array(array_type)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        target = place(signature.args[0], row, start)
        value = builder.load(target, align=8)
        added = builder.load(place(signature.args[2], basis, first), align=8)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
        splat = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4))
        total = builder.fadd(value, builder.fmul(added, splat, flags=("contract",)), flags=("contract",))
        builder.store(total, target, align=8)
        return context.get_dummy_value()

    return types.void(row, types.intp, basis, types.intp, types.float64), generate


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _chebyshev(t: float, moments: np.ndarray, levels: int) -> None:
    """Write T_0(t) to T_{levels-1}(t) into `moments`."""
    moments[0], moments[1] = 1.0, t
    for level in range(2, levels):
        moments[level] = 2 * t * moments[level - 1] - moments[level - 2]


@njit(inline="always")
def _hash(key: int, size: int) -> int:
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


@_kernel
def spread(mean, log_variance, weight, first_factor, last_factor, points_per_sigma, scale, nodes):
    """Return the keys and values, (B, C, width, levels), of the blocks of consecutive factors."""
    order, levels = len(scale), len(nodes)  # lengths of tuples, which the compiler knows
    weighted = len(weight) > 0
    keys = np.empty(64, np.int64)
    values = np.zeros((64, 2 if weighted else 1, BLOCK + order - 1, levels))
    count = 0
    table = np.full(256, -1, np.int64)  # a hash table from keys to slots, with linear probing
    basis, moments = np.empty(order), np.empty(levels)
    for factor in range(first_factor, last_factor):
        table[:] = -1
        before = count
        means, log_variances = mean[factor], log_variance[factor]
        for sample in range(len(means)):
            band, t, position = _place(means[sample], log_variances[sample], points_per_sigma)
            block, start, u = _stencil(position, order)
            key = _PACK(factor, band, block)

            index = _hash(key, len(table))
            while table[index] >= 0 and keys[table[index]] != key:
                index = (index + 1) & (len(table) - 1)
            slot = table[index]
            if slot < 0:
                if count == len(keys):
                    keys = np.concatenate((keys, np.empty(count, np.int64)))
                    values = np.concatenate((values, np.zeros_like(values)))
                slot = count
                count += 1
                keys[slot] = key
                table[index] = slot
                if 2 * (count - before) > len(table):
                    table = np.full(2 * len(table), -1, np.int64)
                    for other in range(before, count):
                        index = _hash(keys[other], len(table))
                        while table[index] >= 0:
                            index = (index + 1) & (len(table) - 1)
                        table[index] = other

            _lagrange(u, basis, scale, order)
            _chebyshev(t, moments, levels)
            for channel in range(values.shape[1]):
                w = weight[sample] ** (channel + 1) if weighted else 1.0
                for a in range(order):
                    row = values[slot, channel, start + a]
                    for level in range(0, levels, 4):
                        _add_four(row, level, moments, level, w * basis[a])
    return keys[:count], values[:count]


@_kernel
def gather(mean, log_variance, keys, moments, result, first_factor, last_factor, points_per_sigma, scale, nodes):
    """Fill `result`, (H, M), for consecutive factors."""
    order, levels = len(scale), len(nodes)
    basis, chebyshev = np.empty(order), np.empty(levels)
    for factor in range(first_factor, last_factor):
        known, slot = np.int64(-1), 0
        means, log_variances = mean[factor], log_variance[factor]
        for sample in range(len(means)):
            band, t, position = _place(means[sample], log_variances[sample], points_per_sigma)
            block, start, u = _stencil(position, order)
            key = _PACK(factor, band, block)
            if key != known:
                known, slot = key, np.searchsorted(keys, key)
            _lagrange(u, basis, scale, order)
            _chebyshev(t, chebyshev, levels)
            total = 0.0
            for a in range(order):
                row = moments[slot, start + a]
                part = 0.0
                for level in range(levels):
                    part += row[level] * chebyshev[level]
                total += basis[a] * part
            result[factor, sample] = total
