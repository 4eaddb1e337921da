"""One row of numbers for a trained model, so that models which were trained in different ways can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaemi.influence.association import discretized, label_information
from vaemi.influence.classification import attribute_accuracies
from vaemi.influence.decoding import decode, reconstruction_error, sample_posterior
from vaemi.influence.disentanglement import disentanglement_scores
from vaemi.information import (
    FactorInformation,
    InformationSketch,
    TotalCorrelation,
    factor_information,
    standard_error,
    total_correlation,
    total_correlation_bound,
)
from vaemi.models import VAE, posterior

if TYPE_CHECKING:
    import pandas as pd

# Fewest permutations that a test at its usual level takes; the information, which is all that is needed, has none.
_PERMUTATIONS = 19


@dataclass(frozen=True)
class Recoding:
    """How well the encoder finds z again in the picture that the decoder draws of it.

    Attributes
    ----------
    squared_error : Tensor, shape (H,)
        Mean squared distance between z and the mean of the picture's posterior.
    covariance : Tensor, shape (H,)
        Of z and a draw from the picture's posterior.
    variance : Tensor, shape (2, H)
        Of z and of those draws.
    """

    squared_error: Tensor
    covariance: Tensor
    variance: Tensor

    def error(self, factors: Sequence[int] | Tensor) -> float:
        """Root mean square distance in units of z's deviation, over these factors together.

        0 if z is found exactly, 1 if the encoder always answers with the mean of z; not a number if z does not vary.
        """
        chosen = torch.as_tensor(factors, dtype=torch.long)
        return math.sqrt(_ratio(self.squared_error[chosen], self.variance[0, chosen]))

    def correlation(self, factors: Sequence[int] | Tensor) -> float:
        """Correlation of z and the draw, over these factors together; not a number if one of them does not vary."""
        chosen = torch.as_tensor(factors, dtype=torch.long)
        one, two = self.variance[:, chosen].sum(1).tolist()
        return float(self.covariance[chosen].sum()) / math.sqrt(one * two) if one * two > 0 else math.nan


def recoding(model: VAE, z: Tensor, seed: int = 0) -> Recoding:
    """Decode z, encode what comes out, and compare.

    Parameters
    ----------
    z : Tensor, shape (N, H)
        Two or more codes: of held-out pictures, or draws of the prior.
    seed : int
        Of the second draws.

    Returns
    -------
    Recoding

    Raises
    ------
    ValueError
        If there are fewer than two codes, or not one number for every factor of the model.
    """
    if z.ndim != 2 or len(z) < 2 or z.shape[1] != model.latent_dim:
        raise ValueError(f"z has shape {tuple(z.shape)}: give two or more codes, (N, {model.latent_dim}).")
    mean, log_variance = posterior(model, decode(model, z))
    # Another stream than that of a z that was drawn with the same seed.
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
    """What a model's code holds, how it is laid out, and what it costs, all on held-out pictures.

    Attributes
    ----------
    information : FactorInformation
        Of every factor.
    influential : int
        Number of factors above the threshold.
    total_stderr : float
        Standard error of ``information.total`` in nats. Factors that rise and fall together over the samples make it
        larger than that of a sum of independent ones.
    total_correlation : TotalCorrelation
        By sampling; bent by its ceiling where the factors hold many nats together.
    total_correlation_bound : float
        Nats, a lower bound that has no ceiling: see `vaemi.information.total_correlation_bound`.
    mig : float
        Mutual information gap on the generating factors, between 0 and 1.
    accuracy_top : float
        Mean balanced accuracy, from 0 to 1, with which a classifier that sees the most informative factors alone tells
        in which half of its range each generating factor lies. 0.5 is chance.
    accuracy_all : float
        The same from all factors.
    reconstruction_error : float
        Mean squared error a pixel of what the posterior means decode to.
    recoding : Recoding
        Of one draw from every posterior.
    recoding_of_prior : Recoding
        Of as many draws of the prior.
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
        """All of it in single numbers, by names that say their unit.

        The total correlation is at least the larger of its two lower ends, and at most its upper one. Recoding is that
        of the influential factors together, or of all if none is, but for `recoding_error_of_all`.
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
        Pictures that the classifiers learn from; those of training will do.
    top : int
        Number of factors that the first classifier sees.
    threshold : float
        Nats above which a factor counts as influential.
    bins : int
        Equally frequent classes into which a continuous generating factor is cut for the MIG.
    points : int, optional
        Pictures from which z is drawn for the total correlation, all if left out.
    seed : int
        Of all draws.

    Returns
    -------
    CodeScores

    Raises
    ------
    ValueError
        If `top` is not a number of the model's factors, or a generating factor does not vary.
    """
    if not 1 <= top <= model.latent_dim:
        raise ValueError(f"top is {top}: give a number of factors from 1 to {model.latent_dim}.")
    code = posterior(model, pictures)
    information = factor_information(*code)
    sketch = InformationSketch(model.latent_dim)
    sketch.update(*code)
    divergence = sketch.divergences(*code).sum(1, keepdim=True)
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
        total_stderr=float(standard_error(divergence)),
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
    """A row a way of training, in words: the mean over its models and, of several, the least and the largest.

    Parameters
    ----------
    scores : mapping of name to sequence of mapping
        For each way of training what `CodeScores.to_dict` says of each of its models.
    seconds : mapping of name to float
        Duration of a step of each, in any unit.

    Raises
    ------
    ValueError
        If a way of training has no model.
    """
    import pandas as pd

    if empty := [name for name, models in scores.items() if not models]:
        raise ValueError(f"There is no model of {', '.join(empty)}: give one or more of each.")
    return pd.DataFrame([{"objective": name} | _in_words(models, seconds[name]) for name, models in scores.items()])


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
