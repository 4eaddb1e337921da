"""Steps of the chapter on objectives: one row of scores per model, so that training objectives can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import pandas as pd
import torch
from torch import Tensor

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
from vaemi.information import (
    FactorInformation,
    TotalCorrelation,
    factor_information,
    kl_to_prior,
    total_correlation,
)
from vaemi.models import VAE, posterior
from vaemi.objectives import self_consistency

# The fewest that a test at level 0.05 accepts; only the information is used, which does not depend on them.
_PERMUTATIONS = 19


@dataclass(frozen=True)
class Recoding:
    """How well the encoder recovers z from the decoded picture.

    Attributes
    ----------
    squared_error : Tensor, shape (H,)
        Mean squared distance between z and the mean of the picture's posterior.
    covariance : Tensor, shape (H,)
        Covariance of z and a draw from the picture's posterior.
    variance : Tensor, shape (2, H)
        Variances of z and of those draws.
    """

    squared_error: Tensor
    covariance: Tensor
    variance: Tensor

    def error(self, factors: Sequence[int] | Tensor) -> float:
        """Return the root mean square distance over some factors together, in standard deviations of z.

        0 if z is recovered exactly, 1 if the encoder always returns the mean of z, NaN if z is constant.
        """
        chosen = torch.as_tensor(factors, dtype=torch.long)
        return math.sqrt(_ratio(self.squared_error[chosen], self.variance[0, chosen]))

    def correlation(self, factors: Sequence[int] | Tensor) -> float:
        """Return the correlation of z and the draw over some factors together, NaN if one of them is constant."""
        chosen = torch.as_tensor(factors, dtype=torch.long)
        one, two = self.variance[:, chosen].sum(1).tolist()
        return float(self.covariance[chosen].sum()) / math.sqrt(one * two) if one * two > 0 else math.nan


def recoding(model: VAE, z: Tensor, seed: int = 0) -> Recoding:
    """Decode z, encode the result, and compare.

    Parameters
    ----------
    model : VAE
    z : Tensor, shape (N, H)
        Two or more codes, from held-out pictures or from the prior.
    seed : int
        Seed of the second draws.

    Returns
    -------
    Recoding

    Raises
    ------
    ValueError
        If z has another shape.
    """
    if z.ndim != 2 or len(z) < 2 or z.shape[1] != model.latent_dim:
        raise ValueError(f"z has shape {tuple(z.shape)}: give two or more codes, (N, {model.latent_dim}).")
    mean, log_variance = posterior(model, decode(model, z))
    # Another stream than that of z, which may have been drawn with the same seed.
    again = sample_posterior(mean, log_variance, seed=seed + 0x5EED)
    one, two = ((codes - codes.mean(0)).double() for codes in (z, again))
    return Recoding(
        squared_error=(mean - z).double().square().mean(0),
        covariance=(one * two).mean(0),
        variance=torch.stack([one.square().mean(0), two.square().mean(0)]),
    )


def _ratio(parts: Tensor, wholes: Tensor) -> float:
    whole = float(wholes.sum())
    return float(parts.sum()) / whole if whole > 0 else math.nan


@dataclass(frozen=True)
class CodeScores:
    """Scores of a model's code on held-out pictures.

    Attributes
    ----------
    information : FactorInformation
        Information of every factor.
    influential : int
        Number of factors above the threshold.
    total_stderr : float
        Standard error of ``information.total`` in nats, see `total_standard_error`.
    total_correlation : TotalCorrelation
        By sampling; biased where the factors carry more than log M nats together.
    total_correlation_bound : float
        Lower bound in nats without that limit, see `companion.experiments.theory`.
    mig : float
        Mutual information gap on the generating factors, between 0 and 1.
    accuracy_top, accuracy_all : float
        Mean balanced accuracy (0 to 1) with which a classifier predicts the half of the range that each generating
        factor lies in, from the most informative factors and from all. 0.5 is chance.
    reconstruction_error : float
        Mean squared error per pixel of the decoded posterior means.
    recoding, recoding_of_prior : Recoding
        Of one draw from every posterior, and of as many draws from the prior.
    threshold : float
        Nats above which a factor counts as influential.
    """

    information: FactorInformation
    influential: int
    total_stderr: float
    total_correlation: TotalCorrelation
    total_correlation_bound: float
    mig: float
    accuracy_top: float
    accuracy_all: float
    reconstruction_error: float
    recoding: Recoding
    recoding_of_prior: Recoding
    threshold: float

    def to_dict(self) -> dict[str, float]:
        """Return all scores as numbers, by names that include the unit.

        The total correlation is at least the larger of its two lower bounds. Recoding is that of the influential
        factors together, or of all if none is influential; `recoding_error_of_all` is always that of all.
        """
        chosen = self.information.influential(self.threshold)
        chosen = chosen if len(chosen) else self.information.ranking
        return {
            "influential_factors": self.influential,
            "total_information_nats": self.information.total,
            "total_information_stderr_nats": self.total_stderr,
            "total_correlation_at_least_nats": max(self.total_correlation_bound, self.total_correlation.lower),
            "total_correlation_at_most_nats": self.total_correlation.upper,
            "mig": self.mig,
            "accuracy_top_percent": 100 * self.accuracy_top,
            "accuracy_all_percent": 100 * self.accuracy_all,
            "reconstruction_error": self.reconstruction_error,
            "recoding_error": self.recoding.error(chosen),
            "recoding_error_of_all": self.recoding.error(self.information.ranking),
            "recoding_correlation": self.recoding.correlation(chosen),
            "recoding_error_of_prior": self.recoding_of_prior.error(chosen),
        }


def score_code(
    model: VAE,
    pictures: Tensor,
    generating: Tensor,
    learners: Tensor,
    learners_generating: Tensor,
    *,
    top: int,
    threshold: float = 0.1,
    bins: int = 10,
    points: int | None = None,
    seed: int = 0,
) -> CodeScores:
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
        Number of most informative factors for `accuracy_top`.
    threshold : float
        Nats above which a factor counts as influential.
    bins : int
        Number of classes into which a continuous generating factor is cut for the MIG.
    points : int, optional
        Number of pictures for the total correlation, by default all.
    seed : int
        Seed of all draws.

    Returns
    -------
    CodeScores

    Raises
    ------
    ValueError
        If `top` is out of range or a generating factor is constant.
    """
    if not 1 <= top <= model.latent_dim:
        raise ValueError(f"top is {top}: give a number of factors from 1 to {model.latent_dim}.")
    code = posterior(model, pictures)
    information = factor_information(*code)
    z = sample_posterior(*code, seed=seed)
    on_labels = label_information(*code, discretized(generating, bins), permutations=_PERMUTATIONS, seed=seed)
    read = sample_posterior(*posterior(model, learners), seed=seed + 1)
    halves = discretized(learners_generating, 2), discretized(generating, 2)
    subsets = {"top": information.ranking[:top], "all": information.ranking}
    accuracy = attribute_accuracies(read, halves[0], z, halves[1], subsets)
    prior = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed + 2))
    return CodeScores(
        information=information,
        influential=len(information.influential(threshold)),
        total_stderr=total_standard_error(*code),
        total_correlation=total_correlation(*code, points=points, seed=seed),
        total_correlation_bound=total_correlation_bound(z),
        mig=disentanglement_scores(on_labels).mig,
        accuracy_top=float(accuracy["top"].mean()),
        accuracy_all=float(accuracy["all"].mean()),
        reconstruction_error=reconstruction_error(model, pictures, code[0]),
        recoding=recoding(model, z, seed),
        recoding_of_prior=recoding(model, prior, seed),
        threshold=threshold,
    )


def scores_table(scores: Mapping[str, Sequence[Mapping[str, float]]], seconds: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per objective, as text: the mean over its models and, if there are several, their range.

    Parameters
    ----------
    scores : mapping of name to sequence of mapping
        For each objective the `CodeScores.to_dict` of one or more models.
    seconds : mapping of name to float
        Duration of a step with each objective, in any unit.
    """
    return pd.DataFrame([{"objective": name} | _in_words(models, seconds[name]) for name, models in scores.items()])


def mean_scores(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the mean of every score over the models of each objective, and the pixel error in per cent."""
    means = {
        name: {key: sum(model[key] for model in models) / len(models) for key in models[0]}
        for name, models in scores.items()
    }
    return {name: of | {"pixel_percent": 100 * math.sqrt(of["reconstruction_error"])} for name, of in means.items()}


def prices_of_a_factor(rho: float) -> pd.DataFrame:
    """Return what three states of a factor carry and cost under AVAE, in nats.

    Parameters
    ----------
    rho : float
        Correlation that AVAE asks of a code and the code of its decoded picture.
    """
    mean = torch.tensor([0.0, 0.0, rho])[:, None]
    variance = torch.tensor([1.0, 1 - rho**2, 1 - rho**2])[:, None]
    log_variance = variance.log()
    kl = kl_to_prior(mean, log_variance)[:, 0]
    charged = self_consistency(mean, log_variance, rho * mean, log_variance, rho)[:, 0]
    return pd.DataFrame(
        {
            "a factor": ["like the prior", "at rest", "in use"],
            "holds (nats)": (0.5 * (1 + mean.square() / variance).log())[:, 0],
            "KL term": kl,
            "charged by AVAE, at least": charged,
            "together": kl + charged,
        }
    )


def _in_words(models: Sequence[Mapping[str, float]], seconds: float) -> dict[str, str]:
    of = {key: [model[key] for model in models] for key in models[0]}
    alone = len(models) == 1
    least, most = (fmean(of[f"total_correlation_at_{end}_nats"]) for end in ("least", "most"))
    stderr = f" ± {of['total_information_stderr_nats'][0]:.2f}" if alone else ""
    return {
        "factors": _with_range(of["influential_factors"], 0 if alone else 1),
        "information (nats)": _with_range(of["total_information_nats"], 1) + stderr,
        "total correlation (nats)": f"{least:.1f} to {most:.1f}",
        "MIG": _with_range(of["mig"], 3),
        "told by the top (%)": _with_range(of["accuracy_top_percent"], 1),
        "told by all (%)": _with_range(of["accuracy_all_percent"], 1),
        "pixel error (%)": _with_range([100 * math.sqrt(error) for error in of["reconstruction_error"]], 2),
        "code not found again": _with_range(of["recoding_error"], 2),
        "time of a step": f"{seconds:.2f}",
    }


def _with_range(values: Sequence[float], digits: int) -> str:
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}\N{EN DASH}{max(values):.{digits}f})"
