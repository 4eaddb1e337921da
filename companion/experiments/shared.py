"""Steps that several chapters share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from IPython.display import Markdown, display
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from companion import claims
from vaemi.information import InformationSketch, standard_error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from companion.claims import Claim
    from companion.runs import Run
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

    def in_words(self) -> str:
        """Return the numbers in a sentence."""
        return (
            f"The marginal standard deviation $\\sigma^*$ separates influential from ignored factors with an area "
            f"under the ROC curve of {self.auc:.2f}, its distance from 1 with one of {self.distance_auc:.2f} (chance: "
            f"0.5); among the influential factors its rank correlation with the information is "
            f"{self.rank_correlation:.2f}."
        )

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
    auc, distance_auc, correlation = 0.5, 0.5, 0.0
    if influential.any() and not influential.all():
        auc = float(roc_auc_score(influential, sigma_star))
        distance_auc = float(roc_auc_score(influential, (sigma_star - 1).abs()))
    if influential.sum() >= 3:
        correlation = float(spearmanr(sigma_star[influential], information.nats[influential]).statistic)
    return SigmaStarRanking(auc, distance_auc, correlation)


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
        rules.append(f"- **{claim['id']}**, rule of {last['date']}: {last['rule']}.")
        rules += [f"    - Under the rule of {one['date']}, it {one['verdict']}: {one['rule']}." for one in earlier]
    display(Markdown(table.to_markdown(index=False)), Markdown("\n".join(rules)))
