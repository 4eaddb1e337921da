"""Check the answer to an exercise (those of `book/exercises/`), with a hint but without the solution.

`python book/exercises.py` writes `answers.json` from the code of the solutions, and the pages of the exercises check
numbers against the same file (`book/_check/check.js`):
`{exercise: {"asked", "tolerance", "replies": [sentence], "cells": {digest: index of a reply}}}`.
A number falls into a cell as wide as the tolerance, and the digest of its cell finds the reply: no number is in the
file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

RIGHT = "Right."
CLOSE = "Not yet, but close. Check the rounding, or look for a small term that is missing."
WRONG = "Not yet."
# Width of the cells for numbers that are close, in tolerances.
_CLOSE_WIDTH = 5

# Common mistakes: the number that each gives where the answer is a, and the hint.
MISTAKES = {
    "bits": (lambda a: a / math.log(2), "That is the number in bits; a nat is the unit of the natural logarithm."),
    "double": (lambda a: 2 * a, "That is twice the answer; look for a factor of one half."),
    "half": (lambda a: a / 2, "That is half of the answer; look for a factor of two."),
    "variance": (lambda a: a * a, "That is the square of the answer, a variance for a standard deviation."),
    "deviation": (
        lambda a: math.sqrt(a),
        "That is the square root of the answer, a standard deviation for a variance.",
    ),
    "sign": (lambda a: -a, "The absolute value is right, but the sign is wrong."),
    "percent": (lambda a: 100 * a, "That is in per cent; give the share, a number between 0 and 1."),
    "share": (lambda a: a / 100, "That is a share of 1; give it in per cent."),
    "complement": (lambda a: 1 - a, "That is 1 minus the answer. Does the exercise ask for an error or an accuracy?"),
    "complement-percent": (
        lambda a: 100 - a,
        "That is 100 minus the answer. Does the exercise ask for an error or an accuracy?",
    ),
}


@dataclass(frozen=True, repr=False)
class Verdict:
    """Whether a number is right, which is its truth value, and what to say about it.

    Attributes
    ----------
    right : bool
    message : str
        One or two sentences, also the representation.
    """

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


@cache
def _answers() -> dict[str, dict[str, Any]]:
    return json.loads((resources.files("companion") / "answers.json").read_text(encoding="utf-8"))


def exercises() -> list[str]:
    """Return the names of the exercises that ask for a number, in the order of the book.

    Examples
    --------
    >>> from companion.selfcheck import exercises
    >>> exercises()[0]
    'idea-1'
    """
    return list(_answers())


def check(exercise: str, value: Any) -> Verdict:
    """Check whether a number is the answer to an exercise.

    Parameters
    ----------
    exercise : str
        Name shown under the exercise, such as ``"idea-1"``; `exercises` lists all.
    value : number
        A Python or NumPy number, or a tensor or array of one element.

    Returns
    -------
    Verdict
        That the number is right or close, which common mistake leads to it, or only that it is wrong; and which number
        is asked for.

    Raises
    ------
    ValueError
        If the exercise does not exist, or the value is NaN or infinite.
    TypeError, ValueError, RuntimeError
        From Python, NumPy or torch, if the value is not one real number.

    Examples
    --------
    >>> from companion.selfcheck import check
    >>> check("idea-1", 1.0)
    Not yet. That is the number in bits; a nat is the unit of the natural logarithm.
    Asked for: the information of the factor for s = 1/2, in nats (within 0.002).
    """
    name = exercise.removeprefix("ex-")
    if name not in _answers():
        raise ValueError(f"No exercise {exercise!r} asks for a number; exercises() lists those that do.")
    asked = f"Asked for: {_answers()[name]['asked']}."
    if value is ...:  # the blank of an exercise's notebook
        return Verdict(False, f"No answer yet.\n{asked}")
    number = float(value.item() if hasattr(value, "item") else value)
    if not math.isfinite(number):
        raise ValueError(f"check({exercise!r}, {value}) got no finite number: find where your code produces it.")
    reply = reply_to(name, _answers()[name], number)
    return Verdict(True, reply) if reply == RIGHT else Verdict(False, f"{reply}\n{asked}")


def reply_to(name: str, entry: Mapping[str, Any], number: float) -> str:
    """Return the reply of an entry of `answers.json` to a number."""
    for kind, width in _kinds(entry["tolerance"]).items():
        if (found := entry["cells"].get(_digest(name, kind, _cell(number, width)))) is not None:
            return entry["replies"][found]
    return WRONG


def entry_of(name: str, answer: float, tolerance: float, asked: str, mistakes: Mapping[str, float]) -> dict[str, Any]:
    """Return an entry of `answers.json`.

    Parameters
    ----------
    name : str
        Exercise.
    answer, tolerance : float
        A number at most `tolerance` from the answer is right, one more than twice as far is not.
    asked : str
        Which number to enter, without a full stop.
    mistakes : mapping of str to float
        A name in `MISTAKES` or a hint, and the number that the mistake gives.

    Raises
    ------
    ValueError
        If a mistake gives the right number, or the number of another mistake.
    """
    exact, close = _kinds(tolerance).items()
    hints = {MISTAKES[mistake][1] if mistake in MISTAKES else mistake: number for mistake, number in mistakes.items()}
    replies = [RIGHT, CLOSE, *(f"{WRONG} {hint}" for hint in hints)]
    cells: dict[str, int] = {}
    for number, reply, (kind, width) in [
        (answer, 0, exact),
        *((number, index, exact) for index, number in enumerate(hints.values(), 2)),
        (answer, 1, close),
    ]:
        for cell in range(_cell(number, width) - 1, _cell(number, width) + 2):
            taken = cells.setdefault(_digest(name, kind, cell), reply)
            if taken != reply:
                raise ValueError(f"{name}: {number:g} gets two replies: {replies[reply]!r} and {replies[taken]!r}.")
    return {"asked": asked, "tolerance": tolerance, "replies": replies, "cells": cells}


def _kinds(tolerance: float) -> dict[str, float]:
    """Return the widths of both kinds of cells."""
    return {"exact": tolerance, "close": _CLOSE_WIDTH * tolerance}


def _cell(number: float, width: float) -> int:
    # Not round(), which rounds halves to even numbers, unlike JavaScript.
    return math.floor(number / width + 0.5)


def _digest(name: str, kind: str, cell: int) -> str:
    """Return the FNV-1a digest of a cell, which takes a line in JavaScript, also where a page has no crypto.subtle."""
    digest = 0x811C9DC5
    for byte in f"{name} {kind} {cell}".encode():
        digest = (digest ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{digest:08x}"
