"""Steps that several chapters share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from companion import claims
from vaemi.auditing import Audit
from vaemi.criteria import CRITERIA, Criteria
from vaemi.information import InformationSketch, standard_error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from companion.claims import Claim
    from companion.runs import Run
    from vaemi.influence import DecoderEffects
    from vaemi.information import FactorInformation
    from vaemi.models import ConvVAE


def spectrum_values(information: FactorInformation) -> dict[str, Any]:
    """Return what a run's `values` hold of a spectrum."""
    influential = information.influential(claims.THRESHOLD)
    share = float(information.nats[influential].sum()) / information.total if information.total else 0.0
    left_out = information.leave_one_out
    return {
        "information_nats": information.nats.tolist(),
        "information_stderr_nats": information.stderr.tolist(),
        "information_leave_one_out_nats": None if left_out is None else left_out.tolist(),
        "information_samples": information.n_samples,
        "sigma_star": information.marginal_std.tolist(),
        "total_information_nats": information.total,
        "influential_factors": len(influential),
        "influential_share_of_total": share,
    }


def factors_at(order: Tensor, *ranks: int) -> list[int]:
    """Return the factors at some ranks of an order, from 0, and the last; a shorter order has fewer of them."""
    return list(dict.fromkeys(int(order[rank]) for rank in (*ranks, -1) if rank < len(order)))


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Return Spearman's rank correlation, or 0 if it has no meaning: below three values, or if all of one are equal."""
    if len(one) < 3 or one.unique().numel() == 1 or other.unique().numel() == 1:
        return 0.0
    return float(spearmanr(one, other).statistic)


@dataclass(frozen=True)
class SigmaStarRanking:
    """How well the marginal standard deviation sigma* ranks the factors.

    Attributes
    ----------
    auc, distance_auc : float
        Areas under the ROC curve of sigma* and of its distance from 1, influential factors against ignored ones: the
        share of all pairs in which the influential one has the larger value. 0.5 if there are no factors of one kind.
    rank_correlation : float
        Spearman's correlation of sigma* with the information among the influential factors; 0 if they are fewer than
        three.
    """

    auc: float
    distance_auc: float
    rank_correlation: float

    def values(self) -> dict[str, float]:
        """Return what a run's `values` hold of the ranking."""
        return {
            "sigma_star_auc": self.auc,
            "sigma_star_distance_auc": self.distance_auc,
            "sigma_star_rank_correlation": self.rank_correlation,
        }


def sigma_star_ranking(information: FactorInformation, threshold: float) -> SigmaStarRanking:
    """Measure how well sigma* ranks the factors, of which those above `threshold` nats are influential."""
    influential = information.nats > threshold
    sigma_star = information.marginal_std
    auc, distance_auc = 0.5, 0.5
    if influential.any() and not influential.all():
        auc = float(roc_auc_score(influential, sigma_star))
        distance_auc = float(roc_auc_score(influential, (sigma_star - 1).abs()))
    correlation = rank_correlation(sigma_star[influential], information.nats[influential])
    return SigmaStarRanking(auc, distance_auc, correlation)


#: All criteria but the information, those with the shortest code first; the last one needs a decoder.
SIMPLEST_FIRST = (
    "kl", "active_units", "mean_precision", "max_mean", "mean_variance", "gaussian_information", "marginal_std",
    "upper_divergence", "effect",
)  # fmt: skip
# Factors named in a cell of a table.
_LISTED = 6


def line_in_words(name: str, line: float) -> str:
    """Return when a criterion counts a factor as used, in Markdown, given its name and its threshold."""
    if name == "marginal_std":
        return f"outside {1 / line:.3g} to {line:.3g}"
    if name == "mean_variance":
        spread = r"$\mathrm{Var}(\sigma^2)$"
        return rf"unless $\mathbb{{E}}\,\sigma^2$ is {1 - line:g} to {1 + line:g} and {spread} below {line:g}"
    if name == "max_mean":
        return f"at {line:g} or more"
    return CRITERIA[name].used_if(line)


@dataclass(frozen=True)
class CriteriaComparison:
    """Verdicts of all criteria beside those of the information.

    Attributes
    ----------
    criteria : Criteria
        For spatial latents a factor is a channel at a place, in the order of ``flatten``.
    effects : DecoderEffects
        Of each factor, or of each channel of spatial latents, on the decoder's output.
    latent_shape : tuple of int, optional
        Shape of the latents of one input; ``(channels, ...)`` for spatial latents, whose effects stay apart from the
        other criteria.
    """

    criteria: Criteria
    effects: DecoderEffects
    latent_shape: tuple[int, ...] = ()

    @property
    def is_spatial(self) -> bool:
        """True if the latents of one input have more than one axis."""
        return len(self.latent_shape) > 1

    @cached_property
    def all_criteria(self) -> Criteria:
        """The criteria, with the effect on the output if there is one per factor."""
        return self.criteria if self.is_spatial else self.criteria.with_effect(self.effects.share)

    @cached_property
    def otherwise(self) -> dict[str, list[int]]:
        """Factors that each other criterion judges otherwise than the information."""
        return {name: factors.tolist() for name, factors in self.all_criteria.disagreements().items()}

    @cached_property
    def _audit(self) -> Audit:
        return Audit(self.criteria, self.latent_shape or (len(self.criteria.information),), effects=self.effects)

    @property
    def informative(self) -> Tensor:
        """True for each factor with information, or channel with information at one place or more."""
        return self._audit.informative

    @property
    def effective(self) -> Tensor:
        """True for each factor or channel with an effect above the line."""
        return self._audit.effective

    @property
    def effect_correlation(self) -> float | None:
        """Rank correlation of information and effect over the factors or channels with either; None below three."""
        correlation = self._audit.effect_correlation
        return None if math.isnan(correlation) else correlation

    def values(self) -> dict[str, Any]:
        """Return what a run's `values` hold of the comparison."""
        found: dict[str, Any] = {
            "n_factors": len(self.criteria.information),
            "used": self.all_criteria.n_used,
            "otherwise": self.otherwise,
            "decisive_for_few": self.criteria.decisive_for_few.tolist(),
            "effect_correlation": self.effect_correlation,
        }
        if self.is_spatial:
            found["channels"] = {
                "n": len(self.informative),
                "information": int(self.informative.sum()),
                "effect": int(self.effective.sum()),
                "otherwise": (self.informative != self.effective).nonzero()[:, 0].tolist(),
            }
        return found

    def table(self) -> str:
        """Return a Markdown table of the criteria: number of used factors, differences, and the line of each."""
        criteria = self.all_criteria
        rows = [
            {
                "criterion": CRITERIA[name].title,
                "used": str(used),
                "judged otherwise than by the information": self._differences(name),
                "a factor is used": line_in_words(name, criteria.thresholds[name]),
            }
            for name, used in criteria.n_used.items()
        ]
        return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)

    def summary(self) -> str:
        """Return a Markdown table of the agreement with the information, and with the effect on the output."""
        simplest = simplest_agreeing(self.otherwise)
        agreeing = sum(not factors for factors in self.otherwise.values())
        mean, highest = (
            line_in_words(name, self.criteria.thresholds[name]).removeprefix("above ")
            for name in ("information", "upper_divergence")
        )
        rows = {
            "other criteria with the same verdict on every factor": f"{agreeing} of {len(self.otherwise)}",
            "the simplest of them": CRITERIA[simplest].title if simplest else "none",
            f"factors with at most {mean} that carry more than {highest} about some inputs": self._names(
                self.criteria.decisive_for_few.tolist()
            )
            or "none",
        }
        if self.is_spatial:
            share = f"{100 * CRITERIA['effect'].threshold:g} %"
            for name, found in (
                (f"that change the output by more than {share} when replaced at all places", self.effective),
                ("with information at one place or more", self.informative),
            ):
                rows[f"channels {name}"] = f"{int(found.sum())} of {len(found)}"
        correlation = self.effect_correlation
        rows["rank correlation of information and effect"] = "-" if correlation is None else f"{correlation:.2f}"
        return pd.DataFrame(rows.items(), columns=["comparison", "result"]).to_markdown(
            index=False, disable_numparse=True
        )

    def _differences(self, name: str) -> str:
        if name == "information":
            return ""
        verdict = self.all_criteria.used(name)
        parts = {
            word: [factor for factor in self.otherwise[name] if verdict[factor] == used]
            for word, used in (("used", True), ("unused", False))
        }
        found = [f"{len(factors)} {word}: {self._names(factors)}" for word, factors in parts.items() if factors]
        return "; ".join(found) or "none"

    def _names(self, factors: Sequence[int]) -> str:
        names = [self._name(factor) for factor in factors[:_LISTED]]
        return ", ".join(names) + (" ..." if len(factors) > _LISTED else "")

    def _name(self, factor: int) -> str:
        if not self.is_spatial:
            return f"z{factor}"
        place = torch.unravel_index(torch.tensor(factor), self.latent_shape)
        return f"z({', '.join(str(int(part)) for part in place)})"


def simplest_agreeing(otherwise: Mapping[str, Sequence[int]]) -> str | None:
    """Return the simplest criterion that judges no factor otherwise than the information; None if there is none.

    `otherwise` holds for each criterion the factors that it judges otherwise.
    """
    return next((name for name in SIMPLEST_FIRST if not otherwise.get(name, [0])), None)


def bootstrap_weights(n: int, resamples: int = 1000, seed: int = 0) -> Tensor:
    """Return how often each of n samples is drawn in resamples with replacement, divided by n, (resamples, n)."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return torch.from_numpy(drawn / n)


def percentile_interval(found: ArrayLike) -> list[float]:
    """Return the ends of the 95 % percentile interval of the results of some resamples."""
    return np.quantile(np.asarray(found), [0.025, 0.975]).tolist()


def total_standard_error(mean: Tensor, log_variance: Tensor) -> float:
    """Return the standard error of the information of all factors together, in nats.

    Inputs with a large divergence in one factor have one in others, so the errors of the factors do not add up in
    quadrature.
    """
    sketch = InformationSketch(mean.shape[1])
    sketch.update(mean, log_variance)
    return float(standard_error(sketch.divergences(mean, log_variance).sum(1, keepdim=True)))


def nth_of_each(labels: Tensor, n: int = 0) -> list[int]:
    """Return the index of the n-th sample of each class, in the order of the classes."""
    return [int(torch.where(labels == label)[0][n]) for label in labels.unique()]


def keep_for_explorer(run: Run, model: ConvVAE, mean: Tensor, described: Sequence[str] = ()) -> None:
    """Keep the decoder and some posterior means beside the result, for the sliders of the page.

    Parameters
    ----------
    run : Run
    model : ConvVAE
    mean : Tensor, shape (N, H)
        Posterior means to start from.
    described : sequence of str, length N, optional
        Descriptions of the pictures.
    """
    about = model.hyperparameters | ({"described": list(described)} if described else {})
    decoder = {f"decoder.{name}": weights for name, weights in model.decoder.state_dict().items()}
    run.keep_tensors({"mean": mean, **decoder}, about=about)


def show_verdicts(verdicts: Sequence[Claim]) -> None:
    """Display the verdicts as a table, and the rules of each claim with the verdict under each."""
    table = claims.table(verdicts)
    rules = []
    for claim in verdicts:
        *earlier, last = claim["rules"]
        rules.append(f"- **{claim['id']}**, rule {len(claim['rules'])}, of {last['date']}: {last['rule']}.")
        rules += [
            f"    - Rule {number}, of {one['date']}, under which it {one['verdict']}: {one['rule']}. "
            f"*Why:* {one['reason']}."
            for number, one in enumerate(earlier, 1)
        ]
    display(Markdown(table.to_markdown(index=False)), Markdown("\n".join(rules)))
