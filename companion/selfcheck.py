"""Tells a student whether the answer to an exercise is right, without giving it away.

`answers.json` does not hold the answers. Each is rounded to a grid as wide as its tolerance, and the number of the cell
is kept as a salted, slow hash; so are the numbers that common mistakes lead to. A student's number is compared by the
hashes of its cell and of the two beside it. Whoever wants to can try all numbers in turn, and will have solved the
exercise sooner. `python book/exercises.py` writes the file from the code of the solutions.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

# Makes a hash take milliseconds, which nobody notices who checks one number.
ROUNDS = 5000
# Grid of a number that is nearly right, in tolerances.
_NEAR = 10

# Common mistakes: the number they lead to where a is right, and what to say of it.
MISTAKES = {
    "bits": (lambda a: a / math.log(2), "that is the number in bits; a nat is the natural logarithm's unit"),
    "double": (lambda a: 2 * a, "that is twice the answer; look for a factor of one half"),
    "half": (lambda a: a / 2, "that is half of the answer; look for a factor of two"),
    "variance": (lambda a: a * a, "that is the square of the answer, a variance for a standard deviation"),
    "deviation": (
        lambda a: math.sqrt(a),
        "that is the square root of the answer, a standard deviation for a variance",
    ),
    "sign": (lambda a: -a, "the size is right and the sign is not"),
    "percent": (lambda a: 100 * a, "that is in per cent; give the share, a number between 0 and 1"),
    "share": (lambda a: a / 100, "that is a share of 1; give it in per cent"),
    "complement": (lambda a: 1 - a, "that is one less the answer; is it an error or an accuracy that is asked for?"),
    "complement-percent": (
        lambda a: 100 - a,
        "that is a hundred less the answer; is it an error or an accuracy that is asked for?",
    ),
}


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is said of a number; true if it is right.

    Attributes
    ----------
    right : bool
    message : str
        One or two sentences, also what the verdict shows itself as.
    """

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


def exercises() -> list[str]:
    """Names of the exercises that ask for a number, in the order of the book."""
    return list(_sealed_answers())


def check(exercise: str, value: Any) -> Verdict:
    """Say whether a number is the answer to an exercise.

    Parameters
    ----------
    exercise : str
        Such as ``"idea-1"``, as it stands under the exercise; `exercises` lists all.
    value : number
        A Python or NumPy number, or a tensor or array of one element.

    Returns
    -------
    Verdict
        Right; or that the number is nearly right, or what a common mistake that leads to it is, or how far off it is at
        least.

    Raises
    ------
    ValueError
        If there is no such exercise, or the value is NaN or infinite.
    TypeError
        If the value is not one real number.

    Examples
    --------
    >>> check("idea-1", 1.0)
    Not yet: that is the number in bits; a nat is the natural logarithm's unit. Asked for: nats.
    """
    return judge(_find(exercise), _as_number(exercise, value))


def judge(sealed: Mapping[str, Any], value: float) -> Verdict:
    """Compare a number with what `seal` made of an answer."""
    tolerance = sealed["tolerance"]
    hashes = _hashes_around(sealed["salt"], value, tolerance)
    if sealed["answer"] in hashes:
        return Verdict(True, "Right.")
    asked = f"Asked for: {sealed['unit']}."
    for name, sealed_number in sealed["mistakes"].items():
        if sealed_number in hashes:
            sentence = MISTAKES[name][1] if name in MISTAKES else name
            return Verdict(False, f"Not yet: {sentence}. {asked}")
    if sealed["near"] in _hashes_around(sealed["salt"], value, _NEAR * tolerance):
        return Verdict(
            False,
            f"Not yet, but close: off by more than {tolerance:g} and by less than {2 * _NEAR * tolerance:g}. Round "
            f"later, or look for a small term that is missing. {asked}",
        )
    far = f"off by more than {_NEAR * tolerance:g}"
    if sealed["sign"] != _hash(sealed["salt"], "sign", _sign(value)):
        return Verdict(False, f"Not yet: {far}, and the sign is not right either. {asked}")
    return Verdict(False, f"Not yet: the sign is right, and the number is {far}. {asked}")


def seal(answer: float, tolerance: float, unit: str, mistakes: Mapping[str, float], salt: str) -> dict[str, Any]:
    """What is kept of an answer: hashes, from which it cannot be read.

    Parameters
    ----------
    answer, tolerance : float
        A number at most so far from the answer is right, one more than twice as far is not; in between it depends on
        the grid.
    unit : str
        What the answer counts, as in "Asked for: nats."
    mistakes : mapping of str to float
        Names in `MISTAKES`, or sentences without a full stop, and the numbers that these mistakes lead to.
    salt : str

    Raises
    ------
    ValueError
        If a mistake leads to a number that would pass for right, or two of them to the same.
    """
    taken = {"the answer": answer}
    for name, number in mistakes.items():
        for other, known in taken.items():
            if abs(number - known) < 3 * tolerance:
                raise ValueError(f"The mistake {name!r} leads to {number:g}, which {tolerance=} takes for {other!r}.")
        taken[name] = number
    return {
        "unit": unit,
        "tolerance": tolerance,
        "salt": salt,
        "answer": _hash(salt, tolerance, _cell(answer, tolerance)),
        "near": _hash(salt, _NEAR * tolerance, _cell(answer, _NEAR * tolerance)),
        "sign": _hash(salt, "sign", _sign(answer)),
        "mistakes": {name: _hash(salt, tolerance, _cell(number, tolerance)) for name, number in mistakes.items()},
    }


@cache
def _sealed_answers() -> dict[str, dict[str, Any]]:
    return json.loads((resources.files("companion") / "answers.json").read_text())


def _find(exercise: str) -> dict[str, Any]:
    name = str(exercise).removeprefix("ex-")
    known = _sealed_answers()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "exercises() lists those that do."
        raise ValueError(f"No exercise {exercise!r} asks for a number: {hint}")
    return known[name]


def _as_number(exercise: str, value: Any) -> float:
    if hasattr(value, "shape") and hasattr(value, "item"):  # of NumPy or torch
        if (count := math.prod(value.shape)) != 1:
            raise TypeError(f"check({exercise!r}, ...) got {count} numbers: give the one that the exercise asks for.")
        value = value.item()
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"check({exercise!r}, {value!r}) got no real number: give it as 0.5, not in another form.")
    if not math.isfinite(value):
        raise ValueError(f"check({exercise!r}, {value}) got no finite number: see where in your code it comes from.")
    return float(value)


def _hashes_around(salt: str, value: float, grid: float) -> set[str]:
    """Hashes of the cell of a number and of the two beside it."""
    cell = _cell(value, grid)
    return {_hash(salt, grid, neighbour) for neighbour in (cell - 1, cell, cell + 1)}


def _cell(value: float, grid: float) -> int:
    return math.floor(value / grid + 0.5)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _hash(salt: str, *parts: object) -> str:
    text = "/".join(map(str, parts)).encode()
    return hashlib.pbkdf2_hmac("sha256", text, bytes.fromhex(salt), ROUNDS, dklen=10).hex()
