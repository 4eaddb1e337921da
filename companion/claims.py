"""The paper's claims: what it published, what a run found, and whether the claim holds by a rule fixed beforehand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from companion.errors import RunError
from companion.words import number_in_words, range_in_words, ratio_in_words

# What counts as influential, in nats.
THRESHOLD = 0.1
# The profile of the reference run, which other runs are compared with.
REFERENCE = "paper"


class Claim(TypedDict):
    """One claim of the paper and the verdict of a run.

    Attributes
    ----------
    id : str
        C1 to C9.
    statement : str
        The claim in one sentence.
    rule : str
        When it counts as holding.
    holds : bool
        The verdict.
    value : float
        What the run found, in `unit`.
    stderr : float or None
        Standard error of `value` over the samples it was measured on.
    unit : str
        Unit of value and published.
    published : float or None
        What the paper found; None where it gives no number.
    shortfall : str
        The part of the rule that is not met, with the run's numbers; empty where the claim holds.
    """

    id: str
    statement: str
    rule: str
    holds: bool
    value: float
    stderr: float | None
    unit: str
    published: float | None
    shortfall: str


@cache
def published() -> dict[str, Any]:
    """Return the numbers of the paper and of the authors' notebook."""
    return json.loads((resources.files("companion") / "published.json").read_text(encoding="utf-8"))


def published_accuracies() -> dict[str, float]:
    """Return the accuracy in per cent of the authors' classifier, by ratio of factors kept."""
    return published()["mnist"]["accuracy_percent_by_ratio_kept"]


def _judged(
    id: str,
    statement: str,
    rule: str,
    parts: Mapping[str, bool],
    value: float,
    unit: str,
    stderr: float | None = None,
    published: float | None = None,
) -> Claim:
    """Return a claim that holds if all parts of its rule are met; a part's key says what is wrong where it is not."""
    shortfall = "; ".join(words for words, met in parts.items() if not met)
    return Claim(
        id=id,
        statement=statement,
        rule=rule,
        holds=not shortfall,
        value=value,
        stderr=stderr,
        unit=unit,
        published=published,
        shortfall=shortfall,
    )


def judge_mnist(values: Mapping[str, Any]) -> list[Claim]:
    """Return claims C1 to C4, judged by the `values` of a MNIST run."""
    return [_sparsity(values), _variance_is_blind(values), _reconstruction(values), _classification(values)]


def _sparsity(values: Mapping[str, Any]) -> Claim:
    paper = published()["mnist"]
    latent_dim, share = len(values["information_nats"]), values["influential_share_of_total"]
    count = values["influential_factors"]
    percent = 100 * count / latent_dim
    parts = {f"no factor holds more than {THRESHOLD} nats": count > 0}
    if count:
        parts = {
            f"{count} of {latent_dim} factors are influential, more than 20 %": percent <= 20,
            f"the influential factors hold {100 * share:.2f} % of the information, less than 95 %": share >= 0.95,
        }
    return _judged(
        "C1",
        "A small part of the factors carries almost all the information.",
        f"factors above {THRESHOLD} nats are at most 20 % of all and hold at least 95 % of the information",
        parts,
        value=percent,
        unit="% of the factors",
        published=100 * paper["factors_above_half_a_nat"] / paper["setting"]["latent_dim"],
    )


def _variance_is_blind(values: Mapping[str, Any]) -> Claim:
    low, high = min(values["sigma_star"]), max(values["sigma_star"])
    return _judged(
        "C2",
        "The marginal standard deviation sigma* is about 1 for used and for ignored factors.",
        "every sigma* lies between 0.8 and 1.25",
        {f"sigma* reaches from {low:.3f} to {high:.3f}": low >= 0.8 and high <= 1.25},
        value=max(abs(low - 1), abs(high - 1)),
        unit="largest distance of sigma* from 1",
        published=max(abs(edge - 1) for edge in published()["mnist"]["sigma_star_range"]),
    )


def _inner_errors(values: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the errors of each order, without those of none and of all factors, which no order changes."""
    return {name: curve[1:-1] for name, curve in values["reconstruction_error"].items()}


def _reconstruction(values: Mapping[str, Any]) -> Claim:
    errors = {name: sum(curve) for name, curve in _inner_errors(values).items()}
    ours = errors.pop("information")
    excess = {name: error / ours - 1 for name, error in errors.items()}
    # KL(q(z_h|x) || p) is I_h plus the marginal's distance from the prior: nearly the same order by identity 1.
    kl = excess.pop("kl")
    best = min(excess, key=lambda name: excess[name])
    order = "a random order" if best.startswith("random") else f"the order by {best}"
    return _judged(
        "C3",
        "Keeping the most informative factors keeps the picture; other orders do worse.",
        "the order by information has less mean error over the counts kept than random order and that by sigma*, "
        "and at most 1 % more than that by KL divergence",
        {
            f"{order} has no more error ({100 * excess[best]:+.2g} %)": excess[best] > 0,
            f"the order by KL divergence has less error ({100 * kl:+.2g} %)": kl > -0.01,
        },
        value=100 * excess[best],
        unit="% more error in the next best order (variance or random)",
    )


def _classification(values: Mapping[str, Any]) -> Claim:
    accuracy = values["accuracy_percent_by_ratio_kept"]
    falling = [accuracy[ratio] for ratio in sorted(accuracy, key=float, reverse=True)]
    # Two accuracies on the same n test digits differ by chance by no more than this, four times in five hundred.
    slack = 100 * 3 * math.sqrt(0.5 / values["test_digits"])
    rise = max(later - earlier for earlier, later in pairwise(falling))
    above = max(
        measured - bound
        for name in ("most", "least")
        for measured, bound in zip(
            values[f"sampled_accuracy_percent_{name}_informative_kept"],
            values[f"fano_bound_percent_{name}_informative_kept"],
            strict=True,
        )
    )
    top, full = accuracy["0.1"], accuracy["1.0"]
    return _judged(
        "C4",
        "Accuracy falls with the information removed, and never exceeds Fano's bound.",
        "accuracy by ratio kept never rises as factors are removed, and accuracy from sampled factors stays under "
        "the bound (both within three standard errors); the top 10 % keep at least 85 % of the full accuracy",
        {
            f"accuracy rises by {rise:.1f} points as factors are removed": rise <= slack,
            f"accuracy exceeds the bound by {above:.1f} points": above <= slack,
            f"the top 10 % of the factors keep {top:.1f} of {full:.1f} % accuracy": top >= 0.85 * full,
        },
        value=top,
        unit="% accuracy with 10 % of the factors",
        stderr=100 * math.sqrt(top / 100 * (1 - top / 100) / values["test_digits"]),
        published=published_accuracies()["0.1"],
    )


def judge_estimators(values: Mapping[str, Any]) -> list[Claim]:
    """Return claim C6, judged by the `values` of an estimators run."""
    worst = max(values["slope"].values(), key=lambda slope: abs(slope + 0.5))
    covered = [
        share
        for truth, share in zip(values["true_information_nats"], values["covered_percent"]["1000"], strict=True)
        if truth <= 1.5
    ]
    # Three standard errors of a share of 95 % over the draws.
    slack = 100 * 3 * math.sqrt(0.95 * 0.05 / values["coverage_draws"])
    claim = _judged(
        "C6",
        "The estimate converges to the truth, and its error bars hold.",
        "on every simulated encoder the error falls with the number of samples with a slope of -0.5 ± 0.05 "
        "on logarithmic axes, and with 1,000 samples and up to 1.5 nats the 95 % intervals hold the truth in 93 to "
        "97 % of the draws (within three standard errors of the count)",
        {
            f"the error falls with a slope of {worst:.3f}": abs(worst + 0.5) <= 0.05,
            f"the 95 % intervals hold the truth in {min(covered):.1f} to {max(covered):.1f} % of the draws": (
                min(covered) >= 93 - slack and max(covered) <= 97 + slack
            ),
        },
        value=worst,
        unit="slope of the error against M, the furthest from -0.5",
    )
    return [claim]


def judge_theory(values: Mapping[str, Any]) -> list[Claim]:
    """Return claim C5, judged by the `values` of a theory run."""
    gap = 100 * values["linear_vae_excess_over_bound_all_active"]
    lowest = min(values["least_excess_over_bound"], min(values["linear_vae_excess_over_bound"]))
    equality = values["bound_equality_error"]
    claim = _judged(
        "C5",
        "Information bounds the reconstruction error from below; on Gaussian data the bound is met.",
        # The models are float32: their errors carry some 1e-7 of rounding.
        "no code of Gaussian data has an error under the bound by more than 1e-6 of it; where the best code "
        "uses all components, it meets the bound to 1e-9 and the trained linear VAE to 1 %",
        {
            f"an error lies {-lowest:.1e} of the bound under it": lowest >= -1e-6,
            f"the best code misses the bound by {equality:.1e} of it": equality <= 1e-9,
            f"the trained linear VAE lies {gap:.3g} % above the bound": gap <= 1,
        },
        value=gap,
        unit="% error above the bound, trained linear VAE with all components active",
    )
    return [claim]


def judge_sparsity(values: Mapping[str, Any]) -> list[Claim]:
    """Return claim C7, judged by the `values` of a sparsity run.

    Parameters
    ----------
    values : mapping
        `true_dimension` and `influential_factors`, one number per run, in the same order.
    """
    equal: dict[int, list[bool]] = {}
    for dimension, count in zip(values["true_dimension"], values["influential_factors"], strict=True):
        equal.setdefault(dimension, []).append(count == dimension)
    # In whole numbers, so that nine of ten are enough.
    too_few = {dimension: runs for dimension, runs in equal.items() if 10 * sum(runs) < 9 * len(runs)}
    counts = ", ".join(f"{sum(runs)} of {len(runs)} at d = {dimension}" for dimension, runs in too_few.items())
    n = len(values["true_dimension"])
    share = sum(map(sum, equal.values())) / n
    claim = _judged(
        "C7",
        "Beyond the intrinsic dimension d of the data further factors stay empty.",
        f"at every d the number of factors above {THRESHOLD} nats equals d in at least 90 % of the runs",
        {f"as many factors as dimensions only in {counts}": not too_few},
        value=100 * share,
        unit="% of the runs with as many influential factors as dimensions",
        stderr=100 * math.sqrt(share * (1 - share) / n),
    )
    return [claim]


def judge_faces(values: Mapping[str, Any]) -> list[Claim]:
    """Return claim C8, judged by the `values` of a run on faces."""
    errors = _inner_errors(values)
    random = [curve for name, curve in errors.items() if name.startswith("random")]
    by_chance = [sum(at_count) / len(random) for at_count in zip(*random, strict=True)]
    redraws = all(ours < theirs for ours, theirs in zip(errors["information"], by_chance, strict=True))
    mute, telling = values["influential_factors_without_a_label"], values["ignored_factors_with_a_label"]
    kept = values["lift_kept_percent"]["influential"]
    claim = _judged(
        "C8",
        "Influential factors of faces are interpretable, and suffice to redraw and to classify them.",
        "every influential factor tells more than chance about an attribute or generating factor and no "
        "ignored one does (permutation test, corrected for all cells); keeping the most informative factors has "
        "less error than random ones at every count; and the influential factors keep at least 90 % of what "
        "classification by all factors gains over chance",
        {
            "no factor is influential": values["influential_factors"] > 0,
            f"influential factors that tell nothing of any attribute: {mute}": mute == 0,
            f"ignored factors that tell something of one: {telling}": telling == 0,
            "random factors redraw the faces as well": redraws,
            f"the influential factors keep {kept:.1f} % of the gain in classification, less than 90 %": kept >= 90,
        },
        value=kept,
        unit="% of the gain in balanced accuracy kept by the influential factors",
    )
    return [claim]


def judge_eeg(values: Mapping[str, Any]) -> list[Claim]:
    """Return claim C9, judged by the `values` of an EEG run."""
    low = values["area_across_subjects_low"]
    told = any(low[f"influential, {rating}"] > 0.5 for rating in ("valence", "arousal"))
    # Only where effects were planted: not in DEAP.
    weakest_map = min(map(abs, values["map_correlation"].values()), default=1)
    p = min(values["corrected_p_value"].values())
    telling = values["ignored_factors_with_a_rating"]
    claim = _judged(
        "C9",
        "Some factor of EEG goes with emotion.",
        "an influential factor goes with valence or arousal within people and no ignored one goes with any "
        "rating (permutation test over the trials of each person, corrected for all factors and ratings, "
        "p <= 0.01); in people not seen, the influential factors tell high from low valence or arousal (95 % "
        "interval of the area under the ROC curve above 0.5); and where effects were planted, the map of the "
        "factor that goes with each correlates with the planted one by 0.8 or more",
        {
            f"no factor goes with valence or arousal (corrected p = {p:.2g})": p <= 0.01,
            f"ignored factors that go with a rating: {telling}": telling == 0,
            "valence and arousal of people not seen are not told better than by chance": told,
            f"a map correlates with the planted one by only {weakest_map:.2f}": weakest_map >= 0.8,
        },
        value=max(map(abs, values["rating_correlation"].values())),
        unit="largest rank correlation of a factor with valence or arousal, over trials within people",
    )
    return [claim]


def load(profile: str, results: Path) -> list[dict[str, Any]]:
    """Return all claims of a profile's results, in order, each with its `experiment` and `data`.

    Raises
    ------
    RunError
        If the profile has no results that claim anything, or a file is damaged.
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
            claims += [{**claim, "experiment": run["experiment"], "data": run["data"]} for claim in run["claims"]]
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
    """Return what a run found, with its standard error where there is one."""
    return number_in_words(claim["value"]) + (f"\u00a0±\u00a0{claim['stderr']:.2g}" if claim["stderr"] else "")


def published_in_numbers(claim: Mapping[str, Any]) -> str:
    """Return what the paper found, or a dash where it gives no number."""
    return number_in_words(claim["published"])


def in_words(claim: Mapping[str, Any]) -> str:
    """Return the verdict, and if the claim does not hold the part of its rule that is not met."""
    return "holds" if claim["holds"] else f"does not hold here: {claim['shortfall']}"
