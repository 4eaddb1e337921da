r"""The criteria by which people decide that a latent factor is used, side by side.

`compare_criteria` computes all of them from posterior means and log-variances, `CriteriaSketch` batch by batch, and
`CRITERIA` describes them. With :math:`\mu_h(x)` and :math:`\sigma_h(x)` the parameters of q(z_h|x), and
:math:`\sigma_h^{*2} = E[\mu_h^2 + \sigma_h^2]`:

=====================  ============================================================  =======================
criterion              definition                                                    a factor is used if
=====================  ============================================================  =======================
information            :math:`I(X; Z_h)`, exact; nats                                above 0.1 nats
gaussian_information   :math:`\frac12(\log\sigma_h^{*2} - E\log\sigma_h^2)`; nats      above 0.5 nats
kl                     :math:`E\,KL(q(z_h|x) \| N(0, 1))`; nats                      above 0.1 nats
active_units           :math:`Var(\mu_h)`; units of z squared                        above 0.01
mean_variance          :math:`E\sigma_h^2`; units of z squared                        not passive, see below
mean_precision         :math:`-E\log\sigma_h^2`                                      above 0.2
marginal_std           :math:`\sigma_h^*`; units of z                                below 0.8 or above 1.25
max_mean               :math:`\max|\mu_h|`; units of z                               0.1 or more
upper_divergence       99.9 % quantile of :math:`KL(q(z_h|x) \| q(z_h))`; nats        above 1 nat
effect                 change of the output, see `vaemi.influence.decoder_effects`   above 1 % of all
=====================  ============================================================  =======================

By its mean variance a factor is passive if :math:`Var(\sigma_h^2) < 0.1` and :math:`0.9 \le E\sigma_h^2 \le 1.1`,
active if :math:`Var(\sigma_h^2) < 0.1` and :math:`E\sigma_h^2 \le 0.1`, and otherwise mixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaemi.errors import import_extra
from vaemi.information import FactorInformation, InformationSketch, standard_error
from vaemi.information.checks import checked_clusters, checked_posterior
from vaemi.information.sketch import MAX_BYTES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CRITERIA", "Criteria", "CriteriaSketch", "Criterion", "compare_criteria"]

#: Share of the inputs that lie above `upper_divergence`.
RARE_SHARE = 0.001
#: By mean variance: largest distance of E sigma^2 from 1 or 0, and largest variance of sigma^2, of a settled factor.
SETTLED = 0.1
_KEPT_BYTES = 1 << 27


@dataclass(frozen=True)
class Criterion:
    """A statistic of a factor, and the line that decides whether the factor is used.

    Attributes
    ----------
    title : str
        For headings.
    unit : str
        Of the statistic; empty if it has none.
    threshold : float
        A factor is used above it. For ``marginal_std`` outside of ``1 / threshold`` to ``threshold``; for
        ``mean_variance`` unless it is passive with this tolerance.
    source : str
        Where the line is from.
    use_when, fails_when : str
        When to use the criterion, and how it fails.
    rule : str
        Template of `used_if`.

    Examples
    --------
    >>> from vaemi.criteria import CRITERIA
    >>> CRITERIA["active_units"].threshold
    0.01
    """

    title: str
    unit: str
    threshold: float
    source: str
    use_when: str
    fails_when: str
    rule: str = "above {line:g} {unit}"

    def used_if(self, line: float | None = None) -> str:
        """Return in words when a factor is used, at the line of the source or another one."""
        line = self.threshold if line is None else line
        unit = "nat" if line == 1 and self.unit == "nats" else self.unit
        return self.rule.format(line=line, inverse=1 / line if line else 0.0, percent=100 * line, unit=unit).strip()


#: All criteria by name, in the order of tables.
CRITERIA: dict[str, Criterion] = {
    "information": Criterion(
        "Information", "nats", 0.1, "this project",
        "Use it wherever the others may disagree: it holds for any scale of the latents, any prior and any weight of "
        "the KL term.",
        "It averages over inputs, so it misses a factor that matters for few of them; and it does not look at the "
        "decoder.",
    ),
    "gaussian_information": Criterion(
        "Gaussian information", "nats", 0.5, "the paper; the threshold is that of the authors' notebook",
        "Use it for factors whose aggregated posterior is nearly Gaussian.",
        "It is too large, by nats, where the aggregated posterior has several modes or heavy tails, and counts a "
        "constant mean off zero.",
    ),
    "kl": Criterion(
        "KL to the prior", "nats", 0.1, "common practice; no published threshold, so that of the information",
        "Use it for a VAE that was trained to the end with a N(0, 1) prior and a KL weight not far below 1: it takes "
        "one line of code.",
        "It also counts the distance of the aggregated posterior from the prior: a constant mean off zero or another "
        "scale of z looks like information.",
    ),
    "active_units": Criterion(
        "Active units", "z²", 0.01, "Burda, Grosse and Salakhutdinov (2016)",
        "Use it to compare with published counts of well trained VAEs with a N(0, 1) prior.",
        "It ignores the width of the posteriors: small means with smaller noise count as unused, and means far below "
        "the noise as used.",
    ),
    "mean_variance": Criterion(
        "Mean variance", "z²", SETTLED, "Bonheme and Grzes (2021)",
        "Use it to tell factors that are always used from those that are used for some inputs.",
        "It does not look at the means, and takes the prior's scale for granted: a constant narrow posterior counts as "
        "active.",
        "unless within {line:g} of 1 for all inputs",
    ),
    "mean_precision": Criterion(
        "Mean log precision", "", 0.2, "common practice; no published threshold, so twice that of the information",
        "Use it to rank the factors of a well trained VAE: σ* is then about 1, and half of it is the Gaussian "
        "information.",
        "It does not look at the means, and changes with the scale of z.",
    ),
    "marginal_std": Criterion(
        "Marginal standard deviation", "z", 1.25, "the range that this project's rule for claim C2 allows",
        "Use it to check the training and the reading of the encoder's outputs, not to find used factors.",
        "It is near 1 for used and unused factors alike.",
        "below {inverse:g} or above {line:g} {unit}",
    ),
    "max_mean": Criterion(
        "Largest mean", "z", 0.1, "`vanished` in DRVI",
        "Use it to compare with counts of vanished factors in a model with a N(0, 1) prior.",
        "It grows with the number of inputs and with the scale of z, one outlier decides, and a constant mean off zero "
        "counts as used.",
        "{line:g} {unit} or more",
    ),
    "upper_divergence": Criterion(
        "Divergence of the rarest inputs", "nats", 1.0, "this project",
        "Use it beside the information where rare inputs are important.",
        "Alone it misses a factor that splits the inputs into equal halves, which is at most log 2 nats for each. It "
        "needs thousands of inputs, and does not show for how many of them the factor matters.",
    ),
    "effect": Criterion(
        "Effect on the output", "output", 0.01, "this project",
        "Use it where the decoder decides: for pruning, compression or generation.",
        "It measures size, not importance: a change of few pixels is small, and a decoder may react to noise. Its "
        "threshold is low, so that a factor below it can be removed.",
        "above {percent:g} % of the effect of all",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Criteria:
    """Values and verdicts of all criteria for H factors.

    Attributes
    ----------
    information : FactorInformation
        The exact information, with standard errors.
    values : dict of str to Tensor, shape (H,)
        Value of each criterion, by its name in `CRITERIA`, float64.
    thresholds : dict of str to float
        Line of each criterion in `CRITERIA`.
    variance_of_variance : Tensor, shape (H,)
        Var(sigma_h^2) over inputs, which tells mixed from active and passive factors.
    largest_divergence : Tensor, shape (H,)
        Largest KL(q(z_h|x) || q(z_h)) over the inputs, in nats.
    rarest_input : Tensor of int64, shape (H,)
        Number of the input, from 0, where it is reached.
    n_inputs_searched : int
        Number of inputs that `upper_divergence`, `largest_divergence` and `rarest_input` rest on. A `CriteriaSketch`
        keeps an even sample of the inputs if there are very many.

    Examples
    --------
    >>> import torch
    >>> from vaemi import compare_criteria
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = compare_criteria(mean, log_variance)
    >>> found.n_used["information"], found.n_used["marginal_std"]
    (1, 0)
    """

    information: FactorInformation
    values: dict[str, Tensor]
    thresholds: dict[str, float]
    variance_of_variance: Tensor
    largest_divergence: Tensor
    rarest_input: Tensor
    n_inputs_searched: int

    def used(self, name: str) -> Tensor:
        """Return True for each factor that a criterion counts as used, shape (H,)."""
        value, line = self.values[name], self.thresholds[name]
        if name == "marginal_std":
            return (value < 1 / line) | (value > line)
        if name == "mean_variance":
            return (self.variance_of_variance >= SETTLED) | ((value - 1).abs() > line)
        return value >= line if name == "max_mean" else value > line

    @property
    def n_used(self) -> dict[str, int]:
        """Number of used factors by each criterion."""
        return {name: int(self.used(name).sum()) for name in self.values}

    @property
    def activity(self) -> list[str]:
        """``"active"``, ``"mixed"`` or ``"passive"`` for each factor, by its mean variance and Var(sigma_h^2)."""
        passive = ~self.used("mean_variance")
        active = (self.variance_of_variance < SETTLED) & (self.values["mean_variance"] <= SETTLED)
        return ["passive" if p else "active" if a else "mixed" for p, a in zip(passive, active, strict=True)]

    @property
    def decisive_for_few(self) -> Tensor:
        """Factors below the line of the information whose `upper_divergence` is above its own, the largest first."""
        found = (~self.used("information") & self.used("upper_divergence")).nonzero()[:, 0]
        return found[self.values["upper_divergence"][found].argsort(descending=True, stable=True)]

    def disagreements(self, reference: str = "information") -> dict[str, Tensor]:
        """Return for every other criterion the factors, in order, that it judges otherwise than `reference`."""
        expected = self.used(reference)
        return {name: (self.used(name) != expected).nonzero()[:, 0] for name in self.values if name != reference}

    def with_effect(self, share: Tensor) -> Criteria:
        """Return these criteria with the effect on the decoder's output, shape (H,), as a share of that of all."""
        values = {**self.values, "effect": share.double()}
        return Criteria(**{**vars(self), "values": values})

    def to_frame(self) -> pd.DataFrame:
        """Return one row per factor, in the order of the encoder, with the value and the verdict of each criterion.

        Columns are ``factor``, each criterion's name, the name with ``_used`` (bool), ``activity``,
        ``largest_divergence`` and ``rarest_input``.
        """
        pandas = import_extra("pandas", "audit")
        columns: dict[str, Any] = {"factor": range(len(self.information))}
        for name, value in self.values.items():
            columns |= {name: value.numpy(), f"{name}_used": self.used(name).numpy()}
        columns["activity"] = self.activity
        columns["largest_divergence"] = self.largest_divergence.numpy()
        columns["rarest_input"] = self.rarest_input.numpy()
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.n_used.items())
        return f"Criteria({len(self.information)} factors; used by each criterion: {counts})"


def compare_criteria(
    mean: Any, log_variance: Any, *, thresholds: Mapping[str, float] | None = None, clusters: Any = None
) -> Criteria:
    """Compute all criteria of whether a factor is used that need no decoder.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (M, H)
        Posterior means and log-variances of M inputs and H factors.
    thresholds : mapping of str to float, optional
        Lines that replace those of `CRITERIA`.
    clusters : array or tensor, shape (M,), optional
        See `vaemi.factor_information`; changes the standard error of the information.

    Returns
    -------
    Criteria

    Raises
    ------
    ValueError, TypeError
        As in `vaemi.factor_information`, or if a name in `thresholds` is unknown.

    Examples
    --------
    A mean that is constant, but not 0, carries no information. The KL term is 2 nats all the same.

    >>> import torch
    >>> from vaemi import compare_criteria
    >>> found = compare_criteria(torch.full((100, 1), 2.0), torch.zeros(100, 1))
    >>> found.n_used["information"], found.n_used["kl"]
    (0, 1)
    """
    mean, log_variance = checked_posterior(mean, log_variance)
    sketch = CriteriaSketch(mean.shape[1], max_kept_bytes=2 * mean.nbytes)
    sketch.update(mean, log_variance)
    return sketch.compute(thresholds, clusters=clusters)


class CriteriaSketch:
    """All criteria of H factors, from batches of posterior means and log-variances.

    Every criterion but three is exact in memory that does not depend on the number of inputs. `upper_divergence` with
    `largest_divergence` and `rarest_input` needs the posteriors again after the last batch; they are kept, or an even
    sample of them where they exceed `max_kept_bytes`.

    Parameters
    ----------
    n_factors : int
        Number of latent factors, H.
    max_kept_bytes : int
        Largest size of the posteriors that are kept.
    max_bytes : int
        Largest size of the sums; see `InformationSketch`.

    Attributes
    ----------
    information : InformationSketch
    moments : Moments
    kept : KeptPosteriors

    Examples
    --------
    >>> import torch
    >>> from vaemi.criteria import CriteriaSketch
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> sketch = CriteriaSketch(n_factors=2)
    >>> for part in range(0, 500, 100):
    ...     sketch.update(mean[part : part + 100], log_variance[part : part + 100])
    >>> sketch.compute().n_used["information"]
    1
    """

    def __init__(self, n_factors: int, max_kept_bytes: int = _KEPT_BYTES, max_bytes: int = MAX_BYTES) -> None:
        self.information = InformationSketch(n_factors, max_bytes=max_bytes)
        self.moments = Moments.none(n_factors)
        self.kept = KeptPosteriors(n_factors, max_kept_bytes)

    @property
    def n_samples(self) -> int:
        """Number of inputs so far."""
        return self.information.n_samples

    def update(self, mean: Any, log_variance: Any) -> None:
        """Add a batch, both of shape (M, H); raises as `InformationSketch.update`."""
        mean, log_variance = checked_posterior(mean, log_variance, least=1)
        first = self.n_samples
        self.information.update(mean, log_variance)
        self.moments = self.moments + Moments.of(mean, log_variance)
        self.kept.add(mean, log_variance, first)

    def merge(self, other: CriteriaSketch) -> None:
        """Add the inputs of another sketch, which are numbered after those of this one.

        Raises
        ------
        ValueError
            As `InformationSketch.merge`.
        """
        first = self.n_samples
        self.information.merge(other.information)
        self.moments = self.moments + other.moments
        self.kept.merge(other.kept, first)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as named tensors; the inverse of `load_state_dict`."""
        mean, log_variance, number = self.kept.rows()
        moments = {name: value for name, value in vars(self.moments).items() if name != "n"}
        kept = {"kept_mean": mean, "kept_log_variance": log_variance, "kept_number": number}
        return {**self.information.state_dict(), **moments, **kept, "kept_stride": torch.tensor(self.kept.stride)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the state by one from `state_dict`."""
        self.information.load_state_dict(state)
        names = [name for name in Moments.__annotations__ if name != "n"]
        self.moments = Moments(self.n_samples, *(state[name] for name in names))
        self.kept.stride = int(state["kept_stride"])
        self.kept.parts = [(state["kept_mean"], state["kept_log_variance"], state["kept_number"])]
        self.kept.nbytes = state["kept_mean"].nbytes + state["kept_log_variance"].nbytes

    def compute(self, thresholds: Mapping[str, float] | None = None, *, clusters: Any = None) -> Criteria:
        """Return the criteria of all inputs so far.

        Parameters
        ----------
        thresholds : mapping of str to float, optional
            Lines that replace those of `CRITERIA`.
        clusters : array or tensor, shape (M,), optional
            A cluster for each input; only if the posteriors of all inputs were kept.

        Raises
        ------
        ValueError
            If there were fewer than two inputs, a name in `thresholds` is unknown, or `clusters` do not fit.
        """
        lines = {name: criterion.threshold for name, criterion in CRITERIA.items()} | dict(thresholds or {})
        if unknown := lines.keys() - CRITERIA.keys():
            raise ValueError(f"thresholds has {', '.join(sorted(unknown))}: choose among {', '.join(CRITERIA)}.")
        mean, log_variance, number = self.kept.rows()
        information, divergence = self.information.compute_with_divergences(mean, log_variance)
        # Each input is part of the aggregated posterior, also one that the sketch left out.
        divergence = divergence.clamp_max(math.log(self.n_samples))
        if clusters is not None:
            labels = checked_clusters(clusters, divergence)
            information.stderr = standard_error(divergence, clusters=labels)
        rank = math.ceil((1 - RARE_SHARE) * len(divergence))
        largest, where = divergence.max(0)
        upper = divergence.kthvalue(rank, 0).values
        moments = self.moments
        values = {
            "information": information.nats,
            "gaussian_information": 0.5 * (moments.second_moment.log() - moments.log_variance),
            "kl": 0.5 * (moments.second_moment - 1 - moments.log_variance),
            "active_units": moments.variance_of_mean,
            "mean_variance": moments.variance,
            "mean_precision": -moments.log_variance,
            "marginal_std": moments.second_moment.sqrt(),
            "max_mean": moments.largest,
            "upper_divergence": upper,
        }
        return Criteria(
            information=information,
            values={name: value.cpu() for name, value in values.items()},
            thresholds=lines,
            variance_of_variance=moments.variance_of_variance.cpu(),
            largest_divergence=largest.cpu(),
            rarest_input=number[where].cpu(),
            n_inputs_searched=len(divergence),
        )


@dataclass(frozen=True)
class Moments:
    """Means and variances over n inputs of the parameters of the posteriors, float64; those of parts add up.

    Variances are those of Chan, Golub and LeVeque (1979), which do not lose digits where a mean is far from 0.
    """

    n: int
    mean: Tensor  # (H,), as all others
    variance_of_mean: Tensor
    variance: Tensor
    variance_of_variance: Tensor
    log_variance: Tensor
    largest: Tensor

    @classmethod
    def none(cls, n_factors: int) -> Moments:
        """Return the moments of no inputs."""
        return cls(0, *torch.zeros(6, n_factors, dtype=torch.float64))

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor) -> Moments:
        """Return the moments of a batch (M, H)."""
        mean, log_variance = mean.double(), log_variance.double()
        variance = log_variance.exp()
        spread = [part.var(0, correction=0) for part in (mean, variance)]
        columns = (mean.mean(0), spread[0], variance.mean(0), spread[1], log_variance.mean(0), mean.abs().amax(0))
        return cls(len(mean), *(column.cpu() for column in columns))

    @property
    def mean_square(self) -> Tensor:
        """Mean of mu_h^2, shape (H,)."""
        return self.mean.square() + self.variance_of_mean

    @property
    def second_moment(self) -> Tensor:
        """The paper's sigma*^2, shape (H,)."""
        return self.mean_square + self.variance

    def __add__(self, other: Moments) -> Moments:
        n = self.n + other.n
        share = other.n / n if n else 0.0

        def average(one: Tensor, two: Tensor) -> Tensor:
            return one + share * (two - one)

        def spread(one: Tensor, two: Tensor, distance: Tensor) -> Tensor:
            return average(one, two) + share * (1 - share) * distance.square()

        return Moments(
            n,
            average(self.mean, other.mean),
            spread(self.variance_of_mean, other.variance_of_mean, other.mean - self.mean),
            average(self.variance, other.variance),
            spread(self.variance_of_variance, other.variance_of_variance, other.variance - self.variance),
            average(self.log_variance, other.log_variance),
            torch.maximum(self.largest, other.largest),
        )


class KeptPosteriors:
    """Posteriors of the inputs, or of every 2nd, 4th, ... where they would exceed `most_bytes`."""

    def __init__(self, n_factors: int, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.stride = 1
        self.nbytes = 0
        nothing = torch.empty(0, n_factors)
        self.parts = [(nothing, nothing, torch.empty(0, dtype=torch.int64))]

    def add(self, mean: Tensor, log_variance: Tensor, first: int) -> None:
        """Add a batch (M, H) whose first input has this number."""
        number = torch.arange(first, first + len(mean))
        chosen = number % self.stride == 0
        rows = chosen.to(mean.device)
        self._append(mean[rows].cpu(), log_variance[rows].cpu(), number[chosen])

    def merge(self, other: KeptPosteriors, first: int) -> None:
        """Add the posteriors that another one keeps, whose inputs are numbered from `first`."""
        self._thin(max(self.stride, other.stride))
        for mean, log_variance, number in other.parts:
            chosen = number % self.stride == 0
            self._append(mean[chosen], log_variance[chosen], number[chosen] + first)

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the means and log-variances, (N, H), and the numbers of the inputs, (N,)."""
        if len(self.parts) > 1:
            mean, log_variance, number = (torch.cat(part) for part in zip(*self.parts, strict=True))
            self.parts = [(mean, log_variance, number)]
        return self.parts[0]

    def _append(self, mean: Tensor, log_variance: Tensor, number: Tensor) -> None:
        self.parts.append((mean, log_variance, number))
        self.nbytes += mean.nbytes + log_variance.nbytes
        while self.nbytes > self.most_bytes and len(self.rows()[2]) > 2:
            self._thin(2 * self.stride)

    def _thin(self, stride: int) -> None:
        step, self.stride = stride // self.stride, stride
        if step > 1:
            mean, log_variance, number = (part[::step].clone() for part in self.rows())
            self.parts, self.nbytes = [(mean, log_variance, number)], mean.nbytes + log_variance.nbytes
