"""Steps of the chapter on criteria: trials of known verdict, smallest disagreements, and counts on trained models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement, permutations
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import vaemi
from companion.data.trials import Trial, few_recordings
from companion.experiments.shared import SIMPLEST_FIRST
from companion.words import range_in_words
from vaemi.criteria import CRITERIA, Criteria
from vaemi.influence import decoder_effects
from vaemi.models import VAE, posterior

#: Criteria whose value is meant as the information, in nats.
IN_NATS = ("information", "gaussian_information", "kl")
#: A value in nats is wrong if it is off by more than this and by more than this share of the known information.
NATS_OFF, SHARE_OFF = 0.1, 0.1

# Means (with either sign) and standard deviations of the posteriors of `smallest_disagreements`.
_MEANS = (0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0)
_STDS = _MEANS[1:]


# --- trials -----------------------------------------------------------------------------------------------------------


def judge_trials(trials: Sequence[Trial], inputs: int, seed: int = 0, decoded: int = 1000) -> pd.DataFrame:
    """Compare the verdicts of all criteria with the right ones.

    Parameters
    ----------
    trials : sequence of Trial
    inputs : int
        Number of inputs of each trial.
    seed : int
        Of the draws.
    decoded : int
        Number of inputs that the effect on the output is measured on.

    Returns
    -------
    DataFrame
        One row per trial and criterion: ``trial``, ``criterion``, ``value``, ``used`` and ``mark``, which is
        ``"right"``, ``"wrong"`` or, for a right verdict with a wrong number of nats, ``"wrong number"``. There is no
        row for the effect where a trial has no decoder.
    """
    rows = []
    for trial in trials:
        found = _criteria_of_trial(trial, inputs, seed, decoded)
        for name, values in found.values.items():
            value, used = float(values[0]), bool(found.used(name)[0])
            off = abs(value - trial.information) > max(NATS_OFF, SHARE_OFF * trial.information)
            right = "wrong number" if name in IN_NATS and off else "right"
            mark = right if used == trial.used else "wrong"
            rows.append({"trial": trial.name, "criterion": name, "value": value, "used": used, "mark": mark})
    return pd.DataFrame(rows)


def _criteria_of_trial(trial: Trial, inputs: int, seed: int, decoded: int) -> Criteria:
    mean, log_variance = (torch.from_numpy(part) for part in trial.draw(inputs, seed))
    found = vaemi.compare_criteria(mean, log_variance)
    if trial.decode is None:
        return found
    some = mean[:decoded], log_variance[:decoded]
    return found.with_effect(decoder_effects(trial.decode, *some, seed=seed, progress=False).share)


def trial_values(trials: Sequence[Trial], judged: pd.DataFrame) -> dict[str, Any]:
    """Return what the run's `values` hold of each trial and of the marks of `judge_trials`."""
    marks = judged.set_index("criterion")[["trial", "value", "used", "mark"]]
    return {
        trial.name: {
            "question": trial.question,
            "right_verdict_used": trial.used,
            "information_nats": trial.information,
            "right_guesses_percent": 100 * trial.accuracy,
            "criteria": marks[marks.trial == trial.name].drop(columns="trial").to_dict("index"),
        }
        for trial in trials
    }


def coverage_by_recording(recordings: Sequence[int], windows: int, draws: int, seed: int = 0) -> pd.DataFrame:
    """Count how often the 95 % interval of the information contains the truth if inputs are windows of recordings.

    Parameters
    ----------
    recordings : sequence of int
        Numbers of recordings, each for the trial `few_recordings`.
    windows : int
        Number of windows of each recording.
    draws : int
        Number of repetitions.
    seed : int
        Of the first repetition.

    Returns
    -------
    DataFrame
        One row per number of recordings: the mean estimate, the standard deviation over the repetitions, the mean
        standard errors without and with clusters, in nats, and how often the intervals contain the truth, in percent.
    """
    rows = []
    for number in recordings:
        trial = few_recordings(number)
        drawn = [trial.draw(number * windows, seed + repetition) for repetition in range(draws)]
        # One column per repetition; the recordings are the same in all.
        mean, log_variance = (np.concatenate(parts, axis=1) for parts in zip(*drawn, strict=True))
        row: dict[str, float] = {"recordings": number}
        for name, clusters in (("naive", None), ("clustered", trial.clusters(number * windows))):
            found = vaemi.factor_information(mean, log_variance, clusters=clusters)
            low, high = found.interval(0.95)
            covered = (low <= trial.information) & (trial.information <= high)
            row |= {
                "mean_nats": float(found.nats.mean()),
                "deviation_nats": float(found.nats.std()),
                f"{name}_stderr_nats": float(found.stderr.mean()),
                f"{name}_covered_percent": 100 * float(covered.double().mean()),
            }
        rows.append(row)
    return pd.DataFrame(rows)


# --- smallest disagreements -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A small encoder on which two criteria disagree.

    Attributes
    ----------
    posteriors : list of (float, float)
        Mean and standard deviation of the posterior of each input.
    used, unused : list of str
        Criteria that count its factor as used, and as unused.
    """

    posteriors: list[tuple[float, float]]
    used: list[str]
    unused: list[str]


def smallest_disagreements(
    most_inputs: int = 4, draws: int = 2000, seed: int = 0
) -> dict[tuple[str, str], Example | None]:
    """Search for the smallest encoder that one criterion counts as used and another as unused.

    The family has a few inputs of equal probability, and for each a Gaussian whose mean and standard deviation are
    among 0 (mean only), 0.01, 0.05, 0.1, 0.5, 1, 2 and 5; means have either sign. Encoders of one or two inputs are
    tried all, larger ones at random. The smallest one has the fewest inputs; among these, the fewest decimals in all
    its numbers; then the smallest sum of their absolute values; then the largest mean.

    Parameters
    ----------
    most_inputs : int
        Largest number of inputs.
    draws : int
        Number of random encoders of each size above two.
    seed : int
        Of these.

    Returns
    -------
    dict of (str, str) to Example or None
        For each ordered pair of criteria that need no decoder: an encoder that is used by the first and unused by the
        second; None if there was none.
    """
    kinds = np.array([(sign * m, s) for m in _MEANS for sign in (1, -1)[: 1 + (m > 0)] for s in _STDS])
    generator = np.random.default_rng(seed)
    names = [name for name in CRITERIA if name != "effect"]
    smallest: dict[tuple[str, str], Example | None] = dict.fromkeys(permutations(names, 2))
    for inputs in range(1, most_inputs + 1):
        if inputs <= 2:
            chosen = np.array(list(combinations_with_replacement(range(len(kinds)), inputs)))
        else:
            chosen = np.sort(generator.integers(len(kinds), size=(draws, inputs)))
        encoders = kinds[chosen]  # (N, inputs, 2)
        encoders = encoders[encoders[:, :, 0].sum(1) >= 0]  # no criterion changes with the sign of z
        encoders = encoders[_by_size(encoders)]
        used = _verdicts(encoders, names)
        for one, other in [pair for pair, example in smallest.items() if example is None]:
            if len(where := np.flatnonzero(used[one] & ~used[other])):
                smallest[one, other] = _example(encoders[where[0]], {name: used[name][where[0]] for name in names})
    return smallest


def _by_size(encoders: np.ndarray) -> np.ndarray:
    """Return the order of encoders (N, inputs, 2) from the smallest to the largest."""
    decimals, total, smallness = _sizes(encoders)
    return np.lexsort((smallness, total, decimals))


def _sizes(encoders: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the decimals of all numbers, the sum of their absolute values, and the largest mean times -1."""
    numbers = np.abs(encoders).reshape(len(encoders), -1)
    decimals = (numbers % 1 > 0).astype(int) + (np.round(10 * numbers, 6) % 1 > 0)
    return decimals.sum(1), numbers.sum(1).round(6), -encoders[:, :, 0].max(1)


def _verdicts(encoders: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return for each criterion whether it counts the factor of each encoder as used, (N,)."""
    columns = encoders.transpose(1, 0, 2)
    if len(columns) == 1:  # two inputs at least; the same one twice changes nothing
        columns = columns.repeat(2, axis=0)
    found = vaemi.compare_criteria(columns[..., 0], 2 * np.log(columns[..., 1]))
    # A value that is on a line must not be above it by a rounding error.
    found = replace(found, values={name: value.round(decimals=12) for name, value in found.values.items()})
    return {name: found.used(name).numpy() for name in names}


def _example(encoder: np.ndarray, used: Mapping[str, bool]) -> Example:
    return Example(
        posteriors=[(float(mean), float(std)) for mean, std in encoder],
        used=[name for name in used if used[name]],
        unused=[name for name in used if not used[name]],
    )


def of_pairs(smallest: Mapping[tuple[str, str], Example | None]) -> dict[tuple[str, str], Example]:
    """Return the smaller of the examples of the two directions for each pair of criteria, in the order of `CRITERIA`.

    Pairs without an example are left out.
    """
    chosen = {}
    for one, other in combinations(list(dict.fromkeys(name for pair in smallest for name in pair)), 2):
        found = [example for pair in ((one, other), (other, one)) if (example := smallest[pair]) is not None]
        if found:
            chosen[one, other] = min(found, key=_size)
    return chosen


def lettered(examples: Iterable[Example]) -> dict[str, Example]:
    """Return each different example once, by letters from A."""
    distinct = {str(example.posteriors): example for example in examples}
    return dict(zip(ascii_uppercase, distinct.values(), strict=False))


def table_of_pairs(examples: Mapping[tuple[str, str], Example], gallery: Mapping[str, Example]) -> pd.DataFrame:
    """Return the letter of the example of each pair, one row and one column per criterion.

    `examples` are those of `of_pairs`, and `gallery` is what `lettered` returns for them.
    """
    letters = {str(example.posteriors): letter for letter, example in gallery.items()}
    names = [name for name in CRITERIA if name != "effect"]
    table = pd.DataFrame("", index=names[:-1], columns=names[1:])
    for (one, other), example in examples.items():
        table.loc[one, other] = letters[str(example.posteriors)]
    return table


def _size(example: Example) -> tuple[float, float, float, float]:
    """Return what the smallest example is the smallest by."""
    encoder = np.array([example.posteriors])
    decimals, total, largest = _sizes(encoder)
    return (len(example.posteriors), decimals[0], total[0], largest[0])


# --- trained models ---------------------------------------------------------------------------------------------------


def criteria_of_model(model: VAE, samples: Tensor, decoded: int = 300, seed: int = 0) -> Criteria:
    """Return all criteria of a model's factors on some samples; the effect is measured on the first `decoded`."""
    mean, log_variance = posterior(model, samples)
    effects = decoder_effects(model.decode, mean[:decoded], log_variance[:decoded], seed=seed, progress=False)
    return vaemi.compare_criteria(mean, log_variance).with_effect(effects.share)


def total_nats(criteria: Criteria) -> dict[str, float]:
    """Return the sum over all factors for each criterion in nats."""
    return {name: float(criteria.values[name].sum()) for name in IN_NATS}


def with_moved_lines(criteria: Criteria, by: float) -> Criteria:
    """Return the criteria with every line multiplied by a number; that of sigma* is moved in its distance from 1."""
    moved = {
        name: 1 + by * (line - 1) if name == "marginal_std" else by * line for name, line in criteria.thresholds.items()
    }
    return replace(criteria, thresholds=moved)


def count_used(criteria: Criteria, moved_by: Sequence[float] = (1.0,)) -> pd.DataFrame:
    """Count the factors that each criterion calls used.

    Parameters
    ----------
    criteria : Criteria
    moved_by : sequence of float
        Numbers that the lines are multiplied by.

    Returns
    -------
    DataFrame
        One row per criterion and number: ``criterion``, ``moved_by``, ``used``, and ``agrees_percent``, the share of
        the factors with the verdict of the information, whose line is not moved.
    """
    expected = criteria.used("information")
    rows = []
    for by in moved_by:
        moved = with_moved_lines(criteria, by)
        for name in moved.values:
            used = moved.used(name)
            agrees = 100 * float((used == expected).double().mean())
            rows.append({"criterion": name, "moved_by": by, "used": int(used.sum()), "agrees_percent": agrees})
    return pd.DataFrame(rows)


def agreement(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the mean share of verdicts like those of the information, in percent, one row per weight.

    `counts` are rows of `count_used` with a column ``weight``; those with moved lines are left out.
    """
    at_lines = counts[counts.moved_by == 1]
    table = at_lines.pivot_table(index="weight", columns="criterion", values="agrees_percent")
    return table[[name for name in CRITERIA if name in table]]


def simplest_that_agrees(shares: pd.DataFrame, enough: float) -> pd.Series:
    """Return for each weight the first of `SIMPLEST_FIRST` whose share in `agreement` is at least `enough` percent.

    It is the information itself where there is none.
    """
    ordered = shares[[name for name in (*SIMPLEST_FIRST, "information") if name in shares]]
    return (ordered >= enough).idxmax(axis=1)


def simplest_in_words(simplest: pd.Series, names: Mapping[str, str]) -> str:
    """Return at which weights each criterion is the simplest, given the names of the criteria on the page."""
    weights = simplest.groupby(simplest, sort=False).groups.items()
    return "; ".join(f"{names[name]} at weight {', '.join(f'{weight:g}' for weight in at)}" for name, at in weights)


def reach(counts: pd.DataFrame) -> pd.DataFrame:
    """Return how far the number of used factors moves with the line, one row per criterion.

    `counts` are rows of `count_used`. Columns are the numbers that the lines are multiplied by, in ascending order, and
    values are mean numbers of used factors.
    """
    table = counts.pivot_table(index="criterion", columns="moved_by", values="used")
    return table.loc[[name for name in CRITERIA if name in table.index]]


# --- words and tables -------------------------------------------------------------------------------------------------


def scoreboard(judged: pd.DataFrame) -> pd.DataFrame:
    """Count the marks of `judge_trials`, one row per criterion."""
    table = pd.crosstab(judged.criterion, judged.mark)
    names = [name for name in CRITERIA if name in table.index]
    return table.reindex(index=names, columns=["right", "wrong number", "wrong"], fill_value=0)


def wrong_together(judged: pd.DataFrame, truth: Mapping[str, bool], names: Sequence[str]) -> int:
    """Count the trials on which some criteria are wrong if a factor counts as used where any of them calls it used.

    Parameters
    ----------
    judged : DataFrame
        Of `judge_trials`.
    truth : mapping of str to bool
        Right verdict of each trial.
    names : sequence of str
        The criteria.
    """
    used = judged[judged.criterion.isin(names)].groupby("trial").used.any()
    return int(sum(truth[trial] != verdict for trial, verdict in used.items()))


def marked_values(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the values of `judge_trials` as text with a sign for each mark, one row per trial."""
    signs = {"right": "", "wrong number": " ≈", "wrong": " ✗"}
    # Without rounding errors of the size 1e-7, which have a sign.
    shown = [f"{round(v, 6) + 0.0:.3g}{signs[mark]}" for v, mark in zip(judged.value, judged.mark, strict=True)]
    table = judged.assign(shown=shown).pivot(index="trial", columns="criterion", values="shown").fillna("")
    return table.loc[judged.trial.unique(), [name for name in CRITERIA if name in table]]


def agreement_by_weight(counts: pd.DataFrame, enough: float, names: Mapping[str, str]) -> pd.DataFrame:
    """Return at which weights which criteria agree with the information, and which one is the simplest.

    Parameters
    ----------
    counts : DataFrame
        Rows of `count_used` with a column ``weight``.
    enough : float
        Least mean share of equal verdicts, in percent, that is called agreement.
    names : mapping of str to str
        Names of the criteria on the page.

    Returns
    -------
    DataFrame
        Text, one row for each stretch of weights with the same agreeing criteria.
    """
    shares = agreement(counts)
    simplest = simplest_that_agrees(shares, enough)
    used = counts[counts.moved_by == 1].pivot_table(index="weight", columns="criterion", values="used")
    agrees = shares >= enough
    rows = []
    for _, stretch in agrees.groupby((agrees != agrees.shift()).any(axis=1).cumsum()):
        weights, agreed = stretch.index, stretch.iloc[0]
        groups = [list(shares.columns[chosen]) for chosen in (agreed, ~agreed)]
        rows.append(
            {
                "weight": " to ".join(dict.fromkeys(f"{end:g}" for end in (weights[0], weights[-1]))),
                "simplest that agrees": names[simplest[weights[0]]],
                "do not agree": ", ".join(names[name] for name in groups[1]) or "none",
                "factors by those that agree": _counts(used.loc[weights, groups[0]]),
                "factors by the others": _counts(used.loc[weights, groups[1]]),
            }
        )
    return pd.DataFrame(rows)


def _counts(used: pd.DataFrame) -> str:
    return range_in_words(used.to_numpy().ravel().tolist(), 1)
