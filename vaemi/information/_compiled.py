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
# Components that are placed before they are added.
_BATCH = 256
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
def _add_eight(typing_context, row, start, basis, first, factor):
    """row[start : start + 8] += factor * basis[first : first + 8], as vectors; LLVM does not see that it may."""

    def generate(context, builder, signature, arguments):
        row, start, basis, first, factor = arguments
        vector = ir.VectorType(ir.DoubleType(), 8)

        def place(array_type, array, index):
            data = context.make_array(array_type)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        target = place(signature.args[0], row, start)
        value = builder.load(target, align=8)
        added = builder.load(place(signature.args[2], basis, first), align=8)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
        splat = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8))
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


# Functions of their own, since arrays that a function may replace are counted at every use.
@njit(error_model="numpy", fastmath={"contract"})
def _write_weights(mean, log_variance, factor, points_per_sigma, scale, nodes, own, starts, basis, moments):
    """Place a batch of components: their keys, first points in the block, and weights of points and levels."""
    order, levels = len(scale), len(nodes)
    for i in range(len(mean)):
        band, t, position = _place(mean[i], log_variance[i], points_per_sigma)
        block, starts[i], u = _stencil(position, order)
        own[i] = _PACK(factor, band, block)
        _lagrange(u, basis[i], scale, order)
        _chebyshev(t, moments[i], levels)


@njit(error_model="numpy")
def _find(key, keys, table):
    """Return the index of a key in the hash table from keys to slots, or of the place where it belongs."""
    index = _hash(key, len(table))
    while table[index] >= 0 and keys[table[index]] != key:
        index = (index + 1) & (len(table) - 1)
    return index


@njit(error_model="numpy")
def _look_up(own, first, keys, table, slots):
    """Write the slots of the keys from `first` on; return where one is missing, or their number."""
    for i in range(first, len(own)):
        slots[i] = table[_find(own[i], keys, table)]
        if slots[i] < 0:
            return i
    return len(own)


@njit(error_model="numpy", fastmath={"contract"})
def _add(values, weight, slots, starts, basis, moments, scale, nodes):
    """Add the outer products of a batch to the blocks; `weight` is empty if all are one."""
    order, levels = len(scale), len(nodes)
    for i in range(len(slots)):
        for channel in range(values.shape[1]):
            w = weight[i] ** (channel + 1) if len(weight) > 0 else 1.0
            for a in range(order):
                row = values[slots[i], channel, starts[i] + a]
                for level in range(0, levels, 8):
                    _add_eight(row, level, moments[i], level, w * basis[i, a])


@_kernel
def spread(mean, log_variance, weight, first_factor, last_factor, points_per_sigma, scale, nodes):
    """Return the keys and values, (B, C, width, levels), of the blocks of consecutive factors."""
    order, levels = len(scale), len(nodes)  # lengths of tuples, which the compiler knows
    keys = np.empty(64, np.int64)
    values = np.zeros((64, 2 if len(weight) > 0 else 1, BLOCK + order - 1, levels))
    count = 0
    table = np.full(256, -1, np.int64)  # a hash table from keys to slots, with linear probing
    own, starts, slots = np.empty(_BATCH, np.int64), np.empty(_BATCH, np.int64), np.empty(_BATCH, np.int64)
    basis, moments = np.empty((_BATCH, order)), np.empty((_BATCH, levels))
    for factor in range(first_factor, last_factor):
        table[:] = -1
        before = count
        for first in range(0, mean.shape[1], _BATCH):
            batch = slice(first, min(first + _BATCH, mean.shape[1]))
            means, log_variances = mean[factor, batch], log_variance[factor, batch]
            _write_weights(means, log_variances, factor, points_per_sigma, scale, nodes, own, starts, basis, moments)
            i = _look_up(own[: len(means)], 0, keys, table, slots)
            while i < len(means):
                if count == len(keys):
                    keys = np.concatenate((keys, np.empty(count, np.int64)))
                    values = np.concatenate((values, np.zeros_like(values)))
                keys[count] = own[i]
                table[_find(own[i], keys, table)] = count
                count += 1
                if 2 * (count - before) > len(table):
                    table = np.full(2 * len(table), -1, np.int64)
                    for other in range(before, count):
                        table[_find(keys[other], keys, table)] = other
                i = _look_up(own[: len(means)], i, keys, table, slots)
            _add(values, weight[batch], slots[: len(means)], starts, basis, moments, scale, nodes)
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
