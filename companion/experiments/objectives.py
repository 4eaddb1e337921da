"""Steps of the chapter on objectives: one row of scores per model, so that training objectives can be compared."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from companion import claims, runs
from companion.experiments.shared import total_standard_error
from companion.experiments.theory import total_correlation_bound
from vaemi.influence import (
    attribute_accuracies,
    decode,
    discretized,
    disentanglement_scores,
    label_information,
    reconstruction_error,
    sample_posterior,
)
from vaemi.information import factor_information, kl_to_prior, total_correlation
from vaemi.models import VAE, posterior
from vaemi.objectives import Objective

if TYPE_CHECKING:
    from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

# The fewest that a test at level 0.05 accepts; only the information is used, which does not depend on them.
_PERMUTATIONS = 19


def recoded(model: VAE, z: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Decode z, encode the pictures, and return the means of their posteriors and a draw from each, shapes (N, H)."""
    mean, log_variance = posterior(model, decode(model, z))
    # Another stream than that of z, which may have been drawn with the same seed.
    return mean, sample_posterior(mean, log_variance, seed=seed + 0x5EED)


def recoding_error(z: Tensor, mean: Tensor, factors: Tensor) -> float:
    """Return the root mean square distance of two codes (N, H) over some factors, in standard deviations of z.

    0 if z is recovered exactly, 1 if the encoder always returns the mean of z.
    """
    missed, spread = (part[:, factors].double() for part in (mean - z, z - z.mean(0)))
    return float(missed.norm() / spread.norm())


def recoding_correlation(z: Tensor, again: Tensor, factors: Tensor) -> float:
    """Return the correlation of two codes (N, H) over some factors together."""
    one, two = ((codes - codes.mean(0))[:, factors].double().flatten() for codes in (z, again))
    return float(torch.cosine_similarity(one, two, dim=0))


def score_code(
    model: VAE,
    pictures: Tensor,
    generating: Tensor,
    learners: Tensor,
    learners_generating: Tensor,
    *,
    top: int,
    points: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Score the code of a trained model against known generating factors.

    Parameters
    ----------
    model : VAE
    pictures : Tensor, shape (M, ...)
        Held-out pictures, on which everything is measured.
    generating : Tensor, shape (M, A)
        Their generating factors.
    learners, learners_generating : Tensor, shapes (N, ...) and (N, A)
        Pictures that the classifiers learn from, such as those of the training set.
    top : int
        Number of most informative factors for the accuracy of the top.
    points : int, optional
        Number of pictures for the total correlation, by default all.
    seed : int
        Seed of all draws.

    Returns
    -------
    dict of str to float
        Names include the unit. The total correlation is at least the larger of its two lower bounds. Accuracies are
        those of a classifier that predicts the half of the range that each generating factor lies in; 50 % is chance.
        `kl_of_marginals_nats` is the sum of KL(q(z_h) || p(z_h)) over all factors: the KL term less the total
        information. `information_per_influential_factor_nats` is 0 if no factor is influential. Recoding compares z and
        the code of its decoded picture, for draws from the posteriors and as many from the prior. It and sigma* are
        those of the influential factors, or of all if none is influential.
    """
    code = posterior(model, pictures)
    information = factor_information(*code)
    influential = information.influential(claims.THRESHOLD)
    chosen = influential if len(influential) else information.ranking
    widths = information.marginal_std[chosen]
    z = sample_posterior(*code, seed=seed)
    prior = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed + 2))
    mean_again, z_again = recoded(model, z, seed)
    prior_again, _ = recoded(model, prior, seed)
    correlation = total_correlation(*code, points=points, seed=seed)
    on_labels = label_information(*code, discretized(generating, 10), permutations=_PERMUTATIONS, seed=seed)
    accuracy = attribute_accuracies(
        sample_posterior(*posterior(model, learners), seed=seed + 1),
        discretized(learners_generating, 2),
        z,
        discretized(generating, 2),
        {"top": information.ranking[:top], "all": information.ranking},
    )
    return {
        "influential_factors": len(influential),
        "total_information_nats": information.total,
        "total_information_stderr_nats": total_standard_error(*code),
        "information_per_influential_factor_nats": float(information.nats[influential].sum())
        / max(1, len(influential)),
        "kl_of_marginals_nats": float(kl_to_prior(*code).double().mean(0).sum()) - information.total,
        "sigma_star_least": float(widths.min()),
        "sigma_star_most": float(widths.max()),
        "total_correlation_at_least_nats": max(total_correlation_bound(z), correlation.lower),
        "total_correlation_at_most_nats": correlation.upper,
        "mig": disentanglement_scores(on_labels).mig,
        "accuracy_top_percent": 100 * float(accuracy["top"].mean()),
        "accuracy_all_percent": 100 * float(accuracy["all"].mean()),
        "reconstruction_error": reconstruction_error(model, pictures, code[0]),
        "recoding_error": recoding_error(z, mean_again, chosen),
        "recoding_error_of_all": recoding_error(z, mean_again, information.ranking),
        "recoding_correlation": recoding_correlation(z, z_again, chosen),
        "recoding_error_of_prior": recoding_error(prior, prior_again, chosen),
    }


def scores_table(scores: pd.DataFrame, times: Mapping[str, float], average_face_error: float) -> pd.DataFrame:
    """Return one row per objective, as text: the mean over its models and, if there are several, their range.

    The last row is a model that has learned nothing and draws the average face.

    Parameters
    ----------
    scores : DataFrame
        One row per model: the name of its objective as index, and the scores of `score_code` as columns.
    times : mapping of name to float
        Duration of a step with each objective, in any unit.
    average_face_error : float
        Mean squared error per pixel of the average face.
    """
    models = _by_objective(scores)
    mean = models.mean()
    alone = models.size().max() == 1
    information = _mean_and_range(models.total_information_nats, 1)
    if alone:
        errors = scores.total_information_stderr_nats
        information = [f"{words} ± {error:.2f}" for words, error in zip(information, errors, strict=True)]
    bounds = zip(mean.total_correlation_at_least_nats, mean.total_correlation_at_most_nats, strict=True)
    table = pd.DataFrame(
        {
            "objective": mean.index,
            "factors": _mean_and_range(models.influential_factors, 0 if alone else 1),
            "information (nats)": information,
            "total correlation (nats)": [f"{low:.1f} to {high:.1f}" for low, high in bounds],
            "MIG": _mean_and_range(models.mig, 3),
            "accuracy, top (%)": _mean_and_range(models.accuracy_top_percent, 1),
            "accuracy, all (%)": _mean_and_range(models.accuracy_all_percent, 1),
            "pixel error (%)": _mean_and_range(models.pixel_percent, 2),
            "recoding error": _mean_and_range(models.recoding_error, 2),
            "time of a step": [f"{times[name]:.2f}" for name in mean.index],
        }
    )
    nothing = ["the average face", "0", "0.0", "0.0", "0.000", "50.0", "50.0"]
    table.loc[len(table)] = [*nothing, f"{100 * average_face_error**0.5:.2f}", "1.00", "-"]
    return table


def members_table(scores: pd.DataFrame, prices: Mapping[str, float], agreement: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per member of a family of objectives, as text, with what its price of information changes.

    Parameters
    ----------
    scores : DataFrame
        As for `scores_table`, with rows of all members.
    prices : mapping of name to float
        Weight of the KL term of each member, in the order of the rows.
    agreement : mapping of name to float
        Rank correlation of information and damage of each member.
    """
    models = _by_objective(scores.loc[list(prices)])
    alone = models.size().max() == 1
    widths = zip(models.sigma_star_least.min(), models.sigma_star_most.max(), strict=True)
    return pd.DataFrame(
        {
            "objective": list(prices),
            "price of a nat": [f"{price:g}" for price in prices.values()],
            "factors": _mean_and_range(models.influential_factors, 0 if alone else 1),
            "information (nats)": _mean_and_range(models.total_information_nats, 1),
            "per factor (nats)": _mean_and_range(models.information_per_influential_factor_nats, 2),
            "total correlation, at least (nats)": _mean_and_range(models.total_correlation_at_least_nats, 1),
            "pixel error (%)": _mean_and_range(models.pixel_percent, 2),
            "marginals to prior (nats)": _mean_and_range(models.kl_of_marginals_nats, 2),
            r"$\sigma^*$": [f"{least:.2f} to {most:.2f}" for least, most in widths],
            "ranks agree": [f"{agreement[name]:.2f}" for name in prices],
        }
    )


def settled_counts(scores: pd.DataFrame, steps: int) -> dict[str, Any]:
    """Return how far the numbers of influential factors can be compared, for the text of the chapter.

    Parameters
    ----------
    scores : DataFrame
        As for `scores_table`.
    steps : int
        Optimizer steps of this run's trainings.

    Returns
    -------
    dict of str to object
        If the reference run has longer trainings: its `steps`; the counts of both runs as Markdown, `table`; the
        objective whose count changes `most`, with its counts `here` and `there`; the largest change of a difference
        between two objectives, `unsettled`; and the `pairs` of objectives that differ by more. Otherwise `table` is
        None, and `spread` is the largest difference between trainings with the same objective.
    """
    reference = longer_reference_run(steps)
    if reference is None:
        models = scores.influential_factors.groupby(level=0)
        return {"table": None, "spread": (models.max() - models.min()).max()}
    counts = compared_counts(scores, reference["values"]["influential_factors"])
    most = counts.change.abs().idxmax()
    shown = counts.rename_axis("objective").reset_index()
    shown.columns = pd.Index(["objective", "this run", "reference run", "difference"])
    return {
        "steps": reference["manifest"]["parameters"]["steps"],
        "table": shown.round(1).to_markdown(index=False, floatfmt="g"),
        "most": most,
        "here": counts.here[most],
        "there": counts.there[most],
        "unsettled": unsettled(counts),
        "pairs": ", ".join(f"{few} and {many}" for few, many in told_apart(counts)),
    }


def longer_reference_run(steps: int) -> dict[str, Any] | None:
    """Return the committed result of this chapter's reference run if its trainings took more steps, else None."""
    path = runs.project_root() / "results" / claims.REFERENCE / "objectives.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return result if result["manifest"]["parameters"]["steps"] > steps else None


def compared_counts(scores: pd.DataFrame, other: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Return the mean number of influential factors of this run and of another for each objective that both have.

    Parameters
    ----------
    scores : DataFrame
        As for `scores_table`.
    other : mapping of name to sequence of float
        Number of influential factors of each model of the other run, by objective.

    Returns
    -------
    DataFrame
        Objectives as index; columns `here`, `there`, and `change`, which is here minus there.
    """
    here = scores.groupby(level=0, sort=False).influential_factors.mean()
    there = pd.Series({name: sum(counts) / len(counts) for name, counts in other.items()}, dtype=float)
    counts = pd.DataFrame({"here": here, "there": there}).reindex([name for name in here.index if name in there.index])
    return counts.assign(change=counts.here - counts.there)


def unsettled(counts: pd.DataFrame) -> float:
    """Return by how many factors the difference between two objectives changes at most from one run to the other."""
    return float(counts.change.max() - counts.change.min())


def told_apart(counts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of objectives whose counts differ here by more than `unsettled`, the smaller count first."""
    ranked = counts.here.sort_values(kind="stable")
    pairs = combinations(ranked.index, 2)
    return [(few, many) for few, many in pairs if ranked[many] - ranked[few] > unsettled(counts)]


def relative_seconds(model: VAE, x: Tensor, objectives: Mapping[str, Objective], repeats: int = 30) -> dict[str, float]:
    """Return the processor time of a forward and backward pass with each objective, relative to the first objective.

    The objectives take turns, so that other load on the machine affects them equally; the result is the ratio of
    medians. The model does not change.
    """
    generator = torch.Generator().manual_seed(0)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    discriminators = {name: objective.discriminator(model.latent_dim) for name, objective in objectives.items()}
    seconds: dict[str, list[float]] = {name: [] for name in objectives}
    for _ in range(1 + repeats):
        for name, objective in objectives.items():
            own = discriminators[name]
            trained = weights if own is None else [*weights, *own.parameters()]
            started = time.process_time()
            loss, _terms = objective(model, x, generator, discriminator=own)
            torch.autograd.grad(loss, trained)
            seconds[name].append(time.process_time() - started)
    medians = {name: median(values[1:]) for name, values in seconds.items()}  # the first turn warms up
    first = next(iter(medians.values()))
    return {name: value / first for name, value in medians.items()}


def _by_objective(scores: pd.DataFrame) -> DataFrameGroupBy:
    return scores.assign(pixel_percent=100 * scores.reconstruction_error**0.5).groupby(level=0, sort=False)


def _mean_and_range(models: SeriesGroupBy, digits: int) -> list[str]:
    """Return the mean of each group and, if some group has several values, the range of each."""
    rows = list(zip(models.mean(), models.min(), models.max(), strict=True))
    if models.size().max() == 1:
        return [f"{mean:.{digits}f}" for mean, _, _ in rows]
    return [f"{mean:.{digits}f} ({least:.{digits}f}\N{EN DASH}{most:.{digits}f})" for mean, least, most in rows]
