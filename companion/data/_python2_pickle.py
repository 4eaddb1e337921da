"""Pickles as Python 2 wrote them, which is how DEAP's recordings are stored."""

from __future__ import annotations

import pickle
import struct

import numpy as np


def dumps(arrays: dict[str, np.ndarray]) -> list[bytes | memoryview]:
    """What Python 2 would make of a dict of float64 arrays with protocol 2, in pieces.

    Python 3 has no opcode for byte strings in this protocol: it would write them as text, half as long again, with a
    function call to turn them back, which no reader of DEAP's own files needs to admit.
    """
    pieces: list[bytes | memoryview] = [pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK]
    for key, array in arrays.items():
        values = np.ascontiguousarray(array, dtype="<f8")
        dtype = (
            _global("numpy", "dtype")
            + (_string(b"f8") + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + pickle.REDUCE)
            + (pickle.MARK + _integer(3) + _string(b"<") + 3 * pickle.NONE + 2 * _integer(-1) + _integer(0))
            + (pickle.TUPLE + pickle.BUILD)
        )
        shape = pickle.MARK + b"".join(_integer(length) for length in values.shape) + pickle.TUPLE
        pieces += [
            _string(key.encode())
            + _global("numpy.core.multiarray", "_reconstruct")
            + _global("numpy", "ndarray")
            + (_integer(0) + pickle.TUPLE1 + _string(b"b") + pickle.TUPLE3 + pickle.REDUCE)
            + (pickle.MARK + _integer(1) + shape + dtype + pickle.NEWFALSE)
            + (pickle.BINSTRING + struct.pack("<i", values.nbytes)),
            values.data.cast("B"),
            pickle.TUPLE + pickle.BUILD,
        ]
    return [*pieces, pickle.SETITEMS + pickle.STOP]


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _string(text: bytes) -> bytes:
    return pickle.SHORT_BINSTRING + struct.pack("<B", len(text)) + text


def _integer(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)
