"""Check the answer to an exercise (those of `book/exercises/`), with a hint but without the solution.

`python book/exercises.py` writes `answers.json` from the code of the solutions:
`{exercise: {"answer", "tolerance", "unit", "mistakes": [{"name", "value"}]}}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

# A number is nearly right up to so many tolerances.
_NEAR = 10

# Common mistakes: the number that each gives where the answer is a, and the hint.
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
    "percent": (lambda a: 100 * a, "that is in percent; give the share, a number between 0 and 1"),
    "share": (lambda a: a / 100, "that is a share of 1; give it in percent"),
    "complement": (lambda a: 1 - a, "that is 1 minus the answer; does the exercise ask for an error or an accuracy?"),
    "complement-percent": (
        lambda a: 100 - a,
        "that is 100 minus the answer; does the exercise ask for an error or an accuracy?",
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
    """Return the names of the exercises that ask for a number, in the order of the book."""
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
        That the number is right or nearly right, which common mistake leads to it, or how far off it is at least.

    Raises
    ------
    ValueError
        If the exercise does not exist, or the value is NaN or infinite.
    TypeError, ValueError, RuntimeError
        From Python, NumPy or torch, if the value is not one real number.

    Examples
    --------
    >>> check("idea-1", 1.0)
    Not yet: that is the number in bits; a nat is the natural logarithm's unit. Asked for: nats.
    """
    name = exercise.removeprefix("ex-")
    if name not in _answers():
        raise ValueError(f"No exercise {exercise!r} asks for a number; exercises() lists those that do.")
    number = float(value.item() if hasattr(value, "item") else value)
    if not math.isfinite(number):
        raise ValueError(f"check({exercise!r}, {value}) got no finite number: see where in your code it comes from.")
    return judge(_answers()[name], number)


def judge(entry: Mapping[str, Any], value: float) -> Verdict:
    """Compare a number with an entry of `answers.json`."""
    answer, tolerance = entry["answer"], entry["tolerance"]
    off = abs(value - answer)
    if off <= tolerance:
        return Verdict(True, "Right.")
    mistakes = [each["name"] for each in entry["mistakes"] if abs(value - each["value"]) <= tolerance]
    if mistakes:
        hint = f": {MISTAKES[mistakes[0]][1] if mistakes[0] in MISTAKES else mistakes[0]}."
    elif off <= _NEAR * tolerance:
        hint = (
            f", but close: off by more than {tolerance:g} and at most {_NEAR * tolerance:g}. Round later, or look for "
            "a small term that is missing."
        )
    elif value * answer > 0:
        hint = f": the sign is right, and the number is off by more than {_NEAR * tolerance:g}."
    else:
        hint = f": off by more than {_NEAR * tolerance:g}, and the sign is not right either."
    return Verdict(False, f"Not yet{hint} Asked for: {entry['unit']}.")


def entry_of(answer: float, tolerance: float, unit: str, mistakes: Mapping[str, float]) -> dict[str, Any]:
    """Return an entry of `answers.json`; a mistake is a name in `MISTAKES`, or a hint without a full stop.

    Raises
    ------
    ValueError
        If a mistake gives the right number, or the number of another mistake.
    """
    taken = {"the answer": answer}
    for name, number in mistakes.items():
        for other, known in taken.items():
            if abs(number - known) < 3 * tolerance:
                raise ValueError(f"The mistake {name!r} gives {number:g}, which {tolerance=} takes for {other!r}.")
        taken[name] = number
    # Ten digits: more would differ between machines.
    listed = [{"name": name, "value": float(f"{number:.10g}")} for name, number in mistakes.items()]
    return {"answer": float(f"{answer:.10g}"), "tolerance": tolerance, "unit": unit, "mistakes": listed}
