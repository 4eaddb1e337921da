"""The paper's claims: what it published, what a run found, and the verdict by the rules in `claims.toml`."""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd

from companion.errors import RunError
from companion.words import (
    interval_in_words,
    number_in_words,
    percentage_in_words,
    range_in_words,
    ratio_in_words,
)

if TYPE_CHECKING:
    from companion.data.sources import Provenance

# What counts as influential, in nats.
THRESHOLD = 0.1
# The profile of the reference run, which other runs are compared with.
REFERENCE = "paper"
# Half the width of a 95 % interval in standard errors.
_NORMAL = 1.96


class JudgedRule(TypedDict):
    """A rule of a claim and what it says of a run.

    Attributes
    ----------
    date : str
        Day on which it was set.
    rule, reason : str
        What it asks for, and why.
    verdict : str
        "holds" or "does not hold"; also "holds in part" for the rule that counts. Checks "pass" or "fail".
    shortfall : str
        The parts that are not met, with the run's numbers in brackets; empty where all are.
    """

    date: str
    rule: str
    reason: str
    verdict: str
    shortfall: str


class Claim(TypedDict):
    """A claim of the paper, or a check of the code against a theorem, and the verdict of a run.

    Attributes
    ----------
    id : str
        C1 to C9 for claims, T1 to T7 for checks.
    statement : str
        What is claimed, in one sentence.
    quote, source : str
        The words of the paper and where they are from; empty for a check.
    verdict : str
        "holds", "holds in part", "does not hold" or "not tested" (the data are a stand-in); "passes" or "fails" for a
        check.
    value : float
        The deciding number, in `unit`.
    interval : list of float or None
        Its 95 % interval; None where the number is exact.
    error_bar : str
        What the interval is over.
    unit : str
        Unit of value, interval and published.
    published : float or None
        The published number; None where there is none.
    rules : list of JudgedRule
        All rules in the order of their dates. The last one counts.
    """

    id: str
    statement: str
    quote: str
    source: str
    verdict: str
    value: float
    interval: list[float] | None
    error_bar: str
    unit: str
    published: float | None
    rules: list[JudgedRule]


@cache
def written() -> dict[str, Any]:
    """Return the claims and their rules as they are written in `claims.toml`.

    Examples
    --------
    >>> from companion import claims
    >>> list(claims.written())[:3]
    ['C1', 'C2', 'C3']
    """
    return tomllib.loads((resources.files("companion") / "claims.toml").read_text(encoding="utf-8"))


@cache
def published() -> dict[str, Any]:
    """Return the numbers of the paper and of the authors' notebook.

    Examples
    --------
    >>> from companion import claims
    >>> claims.published()["mnist"]["accuracy_percent_by_ratio_kept"]["1.0"]
    98.06
    """
    return json.loads((resources.files("companion") / "published.json").read_text(encoding="utf-8"))


def published_accuracies() -> dict[str, float]:
    """Return the accuracy in per cent of the authors' classifier, by ratio of factors kept."""
    return published()["mnist"]["accuracy_percent_by_ratio_kept"]


def _judged(
    id: str,
    parts_of_rules: Sequence[Mapping[str, bool]],
    value: float,
    interval: Sequence[float] | None = None,
    error_bar: str = "exact",
    published: float | None = None,
    stand_in: bool = False,
) -> Claim:
    """Return a claim or check judged by each of its rules.

    Parameters
    ----------
    parts_of_rules : sequence of mapping of str to bool
        For each rule in `claims.toml`, whether each of its parts is met. The key says what is the case where it is not,
        with details in brackets at its end; parts that differ in the details only are told in one sentence.
    stand_in : bool
        Whether the data stand in for those of the paper.
    """
    about = written()[id]
    rules = [
        JudgedRule(
            date=str(rule["date"]),
            rule=rule["rule"],
            reason=rule["reason"],
            verdict=_verdict(id, list(parts.values()), last=rule is about["rules"][-1]),
            shortfall=_in_one_sentence([words for words, met in parts.items() if not met]),
        )
        for rule, parts in zip(about["rules"], parts_of_rules, strict=True)
    ]
    return Claim(
        id=id,
        statement=about["statement"],
        quote=about.get("quote", ""),
        source=about.get("source", ""),
        verdict="not tested" if stand_in and is_claim(id) else rules[-1]["verdict"],
        value=float(value),
        interval=None if interval is None else [float(end) for end in interval],
        error_bar=error_bar,
        unit=about["unit"],
        published=published,
        rules=rules,
    )


def _in_one_sentence(parts: Sequence[str]) -> str:
    details: dict[str, list[str]] = {}
    for part in parts:
        finding, _, detail = part.removesuffix(")").partition(" (")
        details.setdefault(finding, []).extend(filter(None, [detail]))
    return "; ".join(f"{finding} ({'; '.join(of)})" if of else finding for finding, of in details.items())


def _verdict(id: str, met: Sequence[bool], last: bool) -> str:
    if not is_claim(id):
        return "passes" if all(met) else "fails"
    if all(met):
        return "holds"
    # Earlier rules were met or not as a whole.
    return "holds in part" if last and any(met) else "does not hold"


def is_claim(id: str) -> bool:
    """Return whether this is the id of a claim rather than of a check."""
    return id.startswith("C")


def judge_mnist(values: Mapping[str, Any], data: Provenance) -> list[Claim]:
    """Return claims C1 to C4 and check T7, judged by the `values` of a MNIST run on these data."""
    judges = (_sparsity, _marginal_deviation, _reconstruction, _classification)
    return [*(judge(values, data.stand_in) for judge in judges), _fano_on_digits(values)]


def _sparsity(values: Mapping[str, Any], stand_in: bool) -> Claim:
    notebook = published()["mnist"]
    nats, stderr = (np.array(values[f"information_{name}"]) for name in ("nats", "stderr_nats"))
    count, share = values["influential_factors"], values["influential_share_of_total"]
    percent = 100 * count / len(nats)
    few = {f"no factor carries more than {THRESHOLD} nats": count > 0}
    if count:
        few = {
            f"{count} of {len(nats)} factors are used, more than 20 %": percent <= 20,
            f"the used factors carry only {100 * share:.2f} % of the information, less than 95 %": share >= 0.95,
        }
    counts = values["influential_factors_by_threshold"]
    listed = ", ".join(f"{number} above {threshold} nats" for threshold, number in counts.items())
    most = max(abs(number - count) for number in counts.values())
    steady = {f"the number of used factors depends on the threshold ({listed})": most <= math.ceil(count / 10)}
    sure, possible = (int((nats + side * _NORMAL * stderr > THRESHOLD).sum()) for side in (-1, 1))
    return _judged(
        "C1",
        [few, {**few, **steady}],
        value=percent,
        interval=[100 * sure / len(nats), 100 * possible / len(nats)],
        error_bar="standard error of each factor",
        published=100 * notebook["factors_above_half_a_nat"] / notebook["setting"]["latent_dim"],
        stand_in=stand_in,
    )


def _marginal_deviation(values: Mapping[str, Any], stand_in: bool) -> Claim:
    low, high = min(values["sigma_star"]), max(values["sigma_star"])
    area, correlation = values["sigma_star_auc"], values["sigma_star_rank_correlation"]
    near = {f"some σ* are not near 1 (they lie between {low:.3f} and {high:.3f})": low >= 0.8 and high <= 1.25}
    blind = {
        "small differences of σ* from 1 do separate used from ignored factors "
        f"(area under the ROC curve {area:.2f}, where 0.5 is chance)": area < 0.7,
        f"among the used factors σ* ranks much as the information does (rank correlation {correlation:.2f})": (
            abs(correlation) < 0.5
        ),
        "no factor is used, so there are no groups to separate": values["influential_factors"] > 0,
    }
    return _judged(
        "C2",
        [near, {**near, **blind}],
        value=area,
        interval=values["sigma_star_auc_interval"],
        error_bar="bootstrap over the pictures",
        stand_in=stand_in,
    )


_ORDERS = {
    "random": "random",
    "variance": "by σ*",
    "active_units": "by Var(μ)",
    "mean_precision": "by −E log σ²",
    "kl": "by KL to the prior",
}


def _reconstruction(values: Mapping[str, Any], stand_in: bool) -> Claim:
    excess, intervals = values["excess_error_percent"], values["excess_error_percent_interval"]
    alone = values["influential_only_excess_error_percent"]
    finding = "some other orders redraw as well or better"
    first = {
        f"{finding} ({_ORDERS[name]}: {percentage_in_words(excess[name])} % more error)": excess[name] > at_least
        for name, at_least in (("random", 0), ("variance", 0), ("kl", -1))
    }
    orders = {}
    for name, words in _ORDERS.items():
        interval = interval_in_words(intervals[name], percent=True)
        within = f", 95 % interval {interval} %" if interval else ""
        part = f"{finding} ({words}: {percentage_in_words(excess[name])} % more error{within})"
        orders[part] = intervals[name][0] > 0
    enough = {
        f"the used factors alone redraw with {alone:.1f} % more error than all factors, more than 5 %": alone <= 5
    }
    best = min(excess, key=lambda name: excess[name])
    return _judged(
        "C3",
        [first, {**enough, **orders}],
        value=excess[best],
        interval=intervals[best],
        error_bar="paired bootstrap over the pictures",
        stand_in=stand_in,
    )


def _classification(values: Mapping[str, Any], stand_in: bool) -> Claim:
    first, mean = values["accuracy_percent_by_ratio_kept"], values["mean_accuracy_percent_of_classifiers"]

    def falls(accuracy: Mapping[str, float]) -> dict[str, bool]:
        falling = [accuracy[ratio] for ratio in sorted(accuracy, key=float, reverse=True)]
        rise = max(later - earlier for earlier, later in pairwise(falling))
        top, full = accuracy["0.1"], accuracy["1.0"]
        return {
            f"accuracy rises by {rise:.1f} points as factors are removed": rise <= _chance_of_accuracy(values),
            f"a tenth of the factors keeps only {top:.1f} of {full:.1f} % accuracy": top >= 0.85 * full,
        }

    above = _accuracy_above_fano(values)
    fano = {f"accuracy exceeds Fano's bound by {above:.1f} points": above <= _chance_of_accuracy(values)}
    # None and all factors are the same for both.
    most, least = (values[f"sampled_accuracy_percent_{name}_informative_kept"][1:-1] for name in ("most", "least"))
    no_better = sum(of_most <= of_least for of_most, of_least in zip(most, least, strict=True))
    better = {
        f"at {no_better} of {len(most)} counts the least informative factors classify as well as the most "
        "informative ones": no_better == 0
    }
    return _judged(
        "C4",
        [{**falls(first), **fano}, {**falls(mean), **better}],
        value=mean["0.1"],
        interval=values["accuracy_percent_interval_at_tenth"],
        error_bar="classifiers and test digits",
        published=published_accuracies()["0.1"],
        stand_in=stand_in,
    )


def _chance_of_accuracy(values: Mapping[str, Any]) -> float:
    """Return three standard errors of a difference of accuracies on the same test digits, in points, at most."""
    return 100 * 3 * math.sqrt(0.5 / values["test_digits"])


def _accuracy_above_fano(values: Mapping[str, Any]) -> float:
    return max(
        measured - bound
        for name in ("most", "least")
        for measured, bound in zip(
            values[f"sampled_accuracy_percent_{name}_informative_kept"],
            values[f"fano_bound_percent_{name}_informative_kept"],
            strict=True,
        )
    )


def _fano_on_digits(values: Mapping[str, Any]) -> Claim:
    above = _accuracy_above_fano(values)
    parts = {f"accuracy exceeds the bound by {above:.1f} points": above <= _chance_of_accuracy(values)}
    return _judged("T7", [parts], value=above)


def judge_estimators(values: Mapping[str, Any]) -> list[Claim]:
    """Return claims C6a and C6b, judged by the `values` of an estimators run."""
    return [_estimator_of_the_paper(values), _exact_estimator(values)]


def _estimator_of_the_paper(values: Mapping[str, Any]) -> Claim:
    error, stderr = values["paper_mean_error_nats"], values["paper_mean_error_stderr_nats"]
    parts = {}
    for gaussian, kind in ((True, "Gaussian"), (False, "not Gaussian")):
        off = {name: abs(of) for name, of in error.items() if values["marginal_is_gaussian"][name] == gaussian}
        words = "; ".join(f"{name}: {of:.2f} nats off" for name, of in off.items() if of > 0.01)
        miss = f"where the values of a factor are {kind}, it does not approach the true information"
        parts[f"{miss} ({words})"] = not words
    worst = max(error, key=lambda name: abs(error[name]))
    half = _NORMAL * stderr[worst]
    return _judged(
        "C6a",
        [parts],
        value=abs(error[worst]),
        interval=[abs(error[worst]) - half, abs(error[worst]) + half],
        error_bar="draws of the samples",
    )


def _exact_estimator(values: Mapping[str, Any]) -> Claim:
    worst = max(values["slope"].values(), key=lambda slope: abs(slope + 0.5))
    covered = [
        share
        for truth, share in zip(values["true_information_nats"], values["covered_percent"]["1000"], strict=True)
        if truth <= 1.5
    ]
    # Three standard errors of a share of 95 % over the draws.
    slack = 100 * 3 * math.sqrt(0.95 * 0.05 / values["coverage_draws"])
    parts = {
        f"the error falls with a slope of {worst:.3f}": abs(worst + 0.5) <= 0.05,
        f"the 95 % intervals hold the truth in {min(covered):.1f} to {max(covered):.1f} % of the draws": (
            min(covered) >= 93 - slack and max(covered) <= 97 + slack
        ),
    }
    # The logarithm of a root mean square over n draws has a standard error of 1 / sqrt(2 n).
    half = _NORMAL / math.sqrt(2 * values["draws"] * len(values["samples"]) * np.log(values["samples"]).var())
    return _judged("C6b", [parts], value=worst, interval=[worst - half, worst + half], error_bar="draws of the samples")


def judge_theory(values: Mapping[str, Any]) -> list[Claim]:
    """Return checks T1 to T6, judged by the `values` of a theory run."""
    checks = []
    for id, name, at_most in (
        ("T1", "identity_1_error_nats", 1e-6),
        ("T2", "identity_2_error_nats", 1e-9),
        ("T3", "water_filling_error_nats", 0.05),
        ("T5", "identity_5_error_nats", 1e-6),
    ):
        words = f"the two sides differ by {number_in_words(values[name])} nats, more than {number_in_words(at_most)}"
        checks.append(_judged(id, [{words: values[name] <= at_most}], value=values[name]))
    margin = values["fano_least_margin_percent"]
    checks.append(
        _judged("T4", [{f"a classifier exceeds the bound by {-margin:.2g} points": margin >= 0}], value=margin)
    )
    checks.append(_reconstruction_bound(values))
    return sorted(checks, key=lambda check: check["id"])


def _reconstruction_bound(values: Mapping[str, Any]) -> Claim:
    gap = 100 * values["linear_vae_excess_over_bound_all_active"]
    lowest = min(values["least_excess_over_bound"], min(values["linear_vae_excess_over_bound"]))
    equality = values["bound_equality_error"]
    parts = {
        f"an error is below the bound by {number_in_words(-lowest)} of it": lowest >= -1e-6,
        f"the best code misses the bound by {number_in_words(equality)} of it": equality <= 1e-9,
        f"the error of the trained linear VAE is {gap:.3g} % above the bound": gap <= 1,
    }
    return _judged("T6", [parts], value=gap)


def judge_sparsity(values: Mapping[str, Any]) -> list[Claim]:
    """Return claim C7, judged by the `values` of a sparsity run.

    Parameters
    ----------
    values : mapping
        `true_dimension` and `influential_factors`, one number per run on sheets with equal directions, in the same
        order; the same with the prefix `unequal_`; and `closed_true_dimension` and `closed_influential_factors` with a
        number and a list of numbers per closed manifold.
    """
    equal = _runs_by(values["true_dimension"], values["influential_factors"])
    unequal = _runs_by(values["unequal_true_dimension"], values["unequal_influential_factors"])
    dimension, counts = values["closed_true_dimension"], values["closed_influential_factors"]
    closed = {name: [count == dimension[name] for count in found] for name, found in counts.items()}
    parts = {
        f"on sheets with equal directions the number of used factors is not always the dimension (it is in "
        f"{_too_few(equal)})": not _too_few(equal),
        f"on sheets with unequal directions the number of used factors is not always the dimension (it is in "
        f"{_too_few(unequal)})": not _too_few(unequal),
        **{
            "on closed curves and surfaces the number of used factors is not the dimension "
            f"({_between(counts[name])} on a {name} of dimension {dimension[name]})": not _too_few({name: met})
            for name, met in closed.items()
        },
    }
    first = dict([next(iter(parts.items()))])
    met = [one for kind in (equal, unequal, closed) for runs in kind.values() for one in runs]
    return [
        _judged(
            "C7",
            [first, parts],
            value=100 * sum(met) / len(met),
            interval=[100 * end for end in _wilson(sum(met), len(met))],
            error_bar="runs (Wilson)",
        )
    ]


def _runs_by(dimensions: Sequence[int], counts: Sequence[int]) -> dict[str, list[bool]]:
    """Return for each dimension whether each of its runs has as many factors."""
    met: dict[str, list[bool]] = {}
    for dimension, count in zip(dimensions, counts, strict=True):
        met.setdefault(f"d = {dimension}", []).append(count == dimension)
    return met


def _too_few(met: Mapping[str, Sequence[bool]]) -> str:
    """Return where less than 90 % of the runs meet their part, in words."""
    # In whole numbers, so that nine of ten are enough.
    return ", ".join(
        f"{sum(runs)} of {len(runs)} at {name}" for name, runs in met.items() if 10 * sum(runs) < 9 * len(runs)
    )


def _between(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _wilson(successes: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson, JASA 1927)."""
    share, squared = successes / n, _NORMAL**2
    middle = (share + squared / (2 * n)) / (1 + squared / n)
    half = _NORMAL / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return middle - half, middle + half


def judge_faces(values: Mapping[str, Any], data: Provenance) -> list[Claim]:
    """Return claim C8, judged by the `values` of a run on faces."""
    errors = {name: curve[1:-1] for name, curve in values["reconstruction_error"].items()}
    random = [curve for name, curve in errors.items() if name.startswith("random")]
    by_chance = [sum(at_count) / len(random) for at_count in zip(*random, strict=True)]
    redraws = all(ours < theirs for ours, theirs in zip(errors["information"], by_chance, strict=True))
    mute, telling = values["influential_factors_without_a_label"], values["ignored_factors_with_a_label"]
    lift = values["lift_kept_percent"]
    all_named = {
        "no factor is used": values["influential_factors"] > 0,
        f"some used factors predict no attribute ({mute})": mute == 0,
        f"some ignored factors predict one ({telling})": telling == 0,
        "random factors redraw the faces as well": redraws,
    }

    def keeps(name: str) -> dict[str, bool]:
        words = {"influential": "the used factors", "top third": "the top third of the used factors"}[name]
        return {f"{words} keep only {lift[name]:.1f} % of the gain in classification, less than 90 %": lift[name] >= 90}

    named, ignored = values["interpretable_factors"], values["interpretable_ignored_factors"]
    variance = 100 * values["variance_explained"]["influential"]
    some_named = {
        f"fewer than two used factors carry a tenth of the entropy of an attribute ({named})": named >= 2,
        f"ignored factors carry a tenth of the entropy of an attribute ({ignored})": ignored == 0,
        f"with the ignored factors at 0 generated faces keep only {variance:.1f} % of their variance": variance >= 95,
    }
    suffice = {**some_named, **keeps("influential")}
    if not values["influential_factors"]:
        suffice = {"no factor is used": False}
    return [
        _judged(
            "C8",
            [{**all_named, **keeps("top third")}, {**all_named, **keeps("influential")}, suffice],
            value=lift["influential"],
            interval=values["lift_kept_percent_interval"]["influential"],
            error_bar="bootstrap over the faces",
            stand_in=data.stand_in,
        )
    ]


def judge_eeg(values: Mapping[str, Any], data: Provenance) -> list[Claim]:
    """Return claim C9, judged by the `values` of an EEG run."""
    low = values["area_across_subjects_low"]
    predicted = any(low[f"influential, {rating}"] > 0.5 for rating in ("valence", "arousal"))
    p = min(values["corrected_p_value"].values())
    related = values["ignored_factors_with_a_rating"]
    goes = {
        f"no factor correlates with valence or arousal beyond chance (corrected p = {p:.2g})": p <= 0.01,
        f"some ignored factors correlate with a rating ({related})": related == 0,
        "valence and arousal of people not seen are predicted no better than by chance": predicted,
    }
    # Only where effects were planted: not in DEAP.
    weakest_map = min(map(abs, values["map_correlation"].values()), default=1)
    maps = {f"a map correlates with the planted one by only {weakest_map:.2f}": weakest_map >= 0.8}
    strongest = max(values["rating_correlation"], key=lambda rating: abs(values["rating_correlation"][rating]))
    sign = math.copysign(1, values["rating_correlation"][strongest])
    return [
        _judged(
            "C9",
            [{**goes, **maps}, goes],
            value=abs(values["rating_correlation"][strongest]),
            interval=sorted(sign * end for end in values["rating_correlation_interval"][strongest]),
            error_bar="people",
            stand_in=data.stand_in,
        )
    ]


def load(profile: str, results: Path) -> list[dict[str, Any]]:
    """Return all claims of a profile's results, in order, each with its `experiment` and `data`.

    Raises
    ------
    RunError
        If the profile has no results that claim anything, or a file is damaged.

    Examples
    --------
    >>> from companion import claims, runs
    >>> rows = claims.load("paper", runs.project_root() / "results")
    >>> rows[0]["id"], rows[0]["experiment"]
    ('C1', 'mnist')
    """
    if not (claims := _all_in(results / profile)):
        raise RunError(
            f"{results / profile} holds no results with claims: run `vaemi run mnist --profile {profile}` first."
        )
    return claims


def load_reference(profile: str, results: Path) -> list[dict[str, Any]]:
    """Return the claims of the reference run; none if there is no such run or `profile` is its profile.

    Raises
    ------
    RunError
        If a file of the reference run is damaged.
    """
    return [] if profile == REFERENCE else _all_in(results / REFERENCE)


def _all_in(folder: Path) -> list[dict[str, Any]]:
    claims = []
    for path in sorted(folder.glob("*.json")):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            about = {"experiment": run["experiment"], "data": run["data"]}
            # Results of earlier versions have no rules.
            claims += [{**claim, "rules": claim["rules"], **about} for claim in run["claims"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is not a result of a run ({type(error).__name__}: {error}): run the notebook again."
            ) from None
    return sorted(claims, key=lambda claim: claim["id"])


def accuracy_table(accuracy_percent: Mapping[str, float], counts: Sequence[int]) -> pd.DataFrame:
    """Return a row per ratio: number of factors kept, published and measured accuracy, and their difference."""
    paper = published_accuracies()
    return pd.DataFrame(
        {
            "factors kept": [ratio_in_words(ratio) for ratio in accuracy_percent],
            "number": [str(count) for count in counts],
            "published (%)": [paper[ratio] for ratio in accuracy_percent],
            "this run (%)": list(accuracy_percent.values()),
            "difference": [value - paper[ratio] for ratio, value in accuracy_percent.items()],
        }
    )


def accuracy_ranges_table(
    accuracy_percent: Mapping[str, float], changed: Mapping[str, Mapping[str, Sequence[float]]]
) -> pd.DataFrame:
    """Return a row per ratio: published and measured accuracy, and the lowest and highest after each kind of change.

    Parameters
    ----------
    accuracy_percent : mapping of ratio to float
    changed : mapping of name to mapping of ratio to sequence of float
        Accuracies after each change, none where there is nothing to change.
    """
    paper = published_accuracies()
    columns = {name: [range_in_words(found[ratio]) for ratio in accuracy_percent] for name, found in changed.items()}
    return pd.DataFrame(
        {
            "factors kept": [ratio_in_words(ratio) for ratio in accuracy_percent],
            "published (%)": [f"{paper[ratio]:.2f}" for ratio in accuracy_percent],
            "this run (%)": [f"{value:.2f}" for value in accuracy_percent.values()],
            **columns,
        }
    )


def table(claims: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Return a row per claim: claim, published, reference run, this run, verdict.

    Parameters
    ----------
    claims : sequence of Claim
    reference : sequence of Claim, optional
        Those of the reference run; without any there is no column for it.

    Examples
    --------
    >>> from companion import claims, runs
    >>> rows = claims.load("paper", runs.project_root() / "results")
    >>> list(claims.table(rows).columns)
    ['claim', 'published', 'this run', 'verdict']
    """
    columns = {
        "claim": [f"{claim['id']} {claim['statement']} ({claim['unit']})" for claim in claims],
        "published": [published_in_numbers(claim) for claim in claims],
    }
    if reference:
        found = {claim["id"]: in_numbers(claim) for claim in reference}
        columns["reference run"] = [found.get(claim["id"], "-") for claim in claims]
    columns["this run"] = [in_numbers(claim) for claim in claims]
    columns["verdict"] = [in_words(claim) for claim in claims]
    return pd.DataFrame(columns)


def in_numbers(claim: Mapping[str, Any]) -> str:
    """Return what a run found, with its 95 % interval where there is one."""
    value, interval = value_and_interval(claim)
    return f"{value} ({interval})" if interval else value


def value_and_interval(claim: Mapping[str, Any]) -> tuple[str, str]:
    """Return the deciding number and its 95 % interval, empty where the number is exact or the ends look the same."""
    percent = claim["unit"].startswith("%")
    value = percentage_in_words(claim["value"]) if percent else number_in_words(claim["value"])
    return value, interval_in_words(claim["interval"] or (), percent)


def published_in_numbers(claim: Mapping[str, Any]) -> str:
    """Return the published number, or a dash where there is none."""
    return number_in_words(claim["published"])


def in_words(claim: Mapping[str, Any]) -> str:
    """Return the verdict, and what it leaves open."""
    return ": ".join(filter(None, [claim["verdict"], explanation(claim)]))


def explanation(claim: Mapping[str, Any]) -> str:
    """Return which part of its rule a claim does not meet, and what a stand-in shows; empty where it holds."""
    last = claim["rules"][-1]
    if claim["verdict"] != "not tested":
        return last["shortfall"]
    on_stand_in = ": ".join(filter(None, [last["verdict"], last["shortfall"]]))
    return f"the paper's data were not at hand; on a stand-in it {on_stand_in}"


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return how many of the paper's claims got each verdict, in a sentence."""
    of_paper = [claim for claim in claims if is_claim(claim["id"]) and claim["quote"] != "(ours)"]
    counts = Counter(claim["verdict"] for claim in of_paper)

    def number(verdict: str, plural: str) -> str:
        return f"{counts[verdict]} {verdict if counts[verdict] == 1 else plural}"

    fails = number("does not hold", "do not hold") if counts["does not hold"] else "none fails entirely"
    words = [number("holds", "hold"), number("holds in part", "hold in part"), fails]
    untested = counts["not tested"]
    if untested:
        verb = "was" if untested == 1 else "were"
        words.append(f"{untested} {verb} not tested, because the paper's data were not at hand")
    return f"Of the paper's {len(of_paper)} claims, {', '.join(words[:-1])}, and {words[-1]}."
