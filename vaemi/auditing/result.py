"""The result of an audit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaemi.criteria import CRITERIA, Criteria
from vaemi.errors import AuditError, import_extra
from vaemi.influence.effects import DecoderEffects
from vaemi.information import FactorInformation, PairwiseInformation, pairwise_information
from vaemi.information.words import counted

if TYPE_CHECKING:
    import pandas as pd

# Factors that a note names.
_LISTED = 10
# Factors whose pairs are compared, and inputs for that: time grows with both.
_MOST_PAIRED, _INPUTS_OF_PAIRS = 30, 5000


@dataclass(frozen=True)
class Audit:
    """Which latent factors of a VAE matter, and what may be wrong with the numbers.

    Attributes
    ----------
    criteria : Criteria
        All criteria, one entry per factor; with the effect on the output if a decoder was audited. For spatial latents,
        every channel at every place is a factor, in the order of ``flatten``, and the effect is in `effects` only.
    latent_shape : tuple of int
        Shape of the latents of one input: ``(H,)``, or ``(channels, ...)`` for spatial latents.
    remarks : list of str
        One entry for each thing that may make the numbers wrong; empty if nothing was noticed.
    scale : str
        How the second output was read: log_variance, variance, std or log_std; or the noise that was given.
    n_batches : int
        Number of batches encoded, or of files counted.
    device : str
        Where the encoder's answers were.
    seconds : float
        Duration.
    source : str
        Name of the encoder.
    effects : DecoderEffects, optional
        Change of the decoder's output by each factor, or by each channel of spatial latents.
    posteriors : tuple of two Tensors, shape (N, H)
        Means and log-variances of the inputs that were kept, all of them or an even sample; see `CriteriaSketch`. None
        if the factors of one posterior are correlated.
    undecided : list of str
        One entry for each thing about the encoder's answers that the numbers do not show, with what would decide it.

    Examples
    --------
    >>> import torch, vaemi
    >>> x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    >>> def encode(x):
    ...     mean = x * torch.tensor([0.6, 0.0])
    ...     return mean, torch.tensor([0.64, 1.0]).log().expand(len(x), 2)
    >>> found = vaemi.audit(encode, x, progress=False)
    >>> found.influential.tolist(), found.latent_dim_range
    ([0], (1, 1))
    """

    criteria: Criteria
    latent_shape: tuple[int, ...]
    remarks: list[str] = field(default_factory=list)
    scale: str = "log_variance"
    n_batches: int = 0
    device: str = "cpu"
    seconds: float = 0.0
    source: str = ""
    effects: DecoderEffects | None = None
    posteriors: tuple[Tensor, Tensor] | None = None
    undecided: list[str] = field(default_factory=list)

    @property
    def information(self) -> FactorInformation:
        """Exact information of every factor."""
        return self.criteria.information

    @property
    def threshold(self) -> float:
        """Nats above which a factor counts as influential."""
        return self.criteria.thresholds["information"]

    @cached_property
    def informative(self) -> Tensor:
        """True for each factor above the threshold, or channel above it at one place or more."""
        return (self.maps.reshape(self.latent_shape[0], -1) > self.threshold).any(1)

    @property
    def effective(self) -> Tensor:
        """True for each factor or channel with an effect on the output above the line of `CRITERIA`.

        Raises
        ------
        AuditError
            If no decoder was audited.
        """
        if self.effects is None:
            raise AuditError("The audit had no decoder: pass decode=.")
        return self.effects.share > self.criteria.thresholds["effect"]

    @property
    def effect_correlation(self) -> float:
        """Rank correlation of information and effect over the factors or channels that have either; NaN below three.

        Raises
        ------
        AuditError
            If no decoder was audited.
        """
        chosen = self.effective | self.informative
        assert self.effects is not None
        if chosen.sum() < 3:
            return math.nan
        ranks = torch.stack([_ranks(part[chosen]) for part in (self.by_channel, self.effects.effect)])
        return float(torch.corrcoef(ranks)[0, 1])

    @cached_property
    def redundancy(self) -> PairwiseInformation | None:
        """Information that influential factors share in pairs, the 30 most informative ones.

        None if there are not two, or if the factors of one posterior are correlated. Takes seconds. It rests on at most
        5,000 inputs.
        """
        factors = self.influential[:_MOST_PAIRED]
        if len(factors) < 2 or self.posteriors is None:
            return None
        step = -(-len(self.posteriors[0]) // _INPUTS_OF_PAIRS)
        mean, log_variance = self.posteriors
        return pairwise_information(mean[::step], log_variance[::step], factors)

    @property
    def influential(self) -> Tensor:
        """Indices of the factors above the threshold, most informative first."""
        return self.information.influential(self.threshold)

    @property
    def kept(self) -> Tensor:
        """True where a factor is influential, in the shape of the latents; ``code * audit.kept`` is the pruned code."""
        return self.maps > self.threshold

    @cached_property
    def uncertain(self) -> Tensor:
        """Indices of the factors whose 95 % interval contains the threshold, most informative first."""
        low, high = self.information.interval(0.95)
        # An interval of width 0 leaves no doubt.
        uncertain = (low <= self.threshold) & (high > self.threshold) & (high > low)
        ranking = self.information.ranking
        return ranking[uncertain[ranking]]

    @property
    def is_spatial(self) -> bool:
        """True if the latents of one input have more than one axis."""
        return len(self.latent_shape) > 1

    @property
    def latent_dim(self) -> int:
        """Recommended number of factors (those above the threshold) or channels (those above it at any place).

        Train again with a few more (see `latent_dim_range`): if those stay unused, the number was right.
        """
        return self._channels_above(self.information.nats)

    @property
    def latent_dim_range(self) -> tuple[int, int]:
        """Recommended numbers at the lower and at the upper ends of the 95 % intervals."""
        low, high = self.information.interval(0.95)
        return self._channels_above(low), self._channels_above(high)

    @property
    def notes(self) -> list[str]:
        """Sentences on factors on which the criteria differ, and on what is undecided.

        The factors are decisive for few inputs, informative without an effect on the output, or the other way round.
        """
        return [*self._notes_on_rare_factors(), *self._notes_on_decoder(), *self.undecided]

    def _notes_on_rare_factors(self) -> list[str]:
        rare = self.criteria.decisive_for_few.tolist()
        if not rare:
            return []
        upper, at = self.criteria.values["upper_divergence"], self.criteria.rarest_input
        line = CRITERIA["upper_divergence"].used_if(self.criteria.thresholds["upper_divergence"])
        listed = [
            f"{place_name(h, self.latent_shape)} ({upper[h]:.1f} nats, most for input {at[h]})" for h in rare[:_LISTED]
        ]
        return [
            f"Decisive for few inputs, at most {self.threshold:g} nats on average but {line} for some inputs: "
            f"{_joined(listed, len(rare))}. Look at these inputs before you remove a factor."
        ]

    def _notes_on_decoder(self) -> list[str]:
        if self.effects is None:
            return []
        share = self.effects.share
        least = f"{100 * self.criteria.thresholds['effect']:g} %"
        correlation = self.effect_correlation
        notes = [
            f"With all factors replaced the output changes by {self.effects.of_all:.3g} (root mean square)."
            + (
                ""
                if math.isnan(correlation)
                else f" Information and effect have a rank correlation of {correlation:.2f}."
            )
        ]
        for chosen, what, advice in (
            (
                self.informative & ~self.effective,
                f"Above {self.threshold:g} nats, but with at most {least} of the effect of all factors on the output",
                "The decoder hardly uses these.",
            ),
            (
                self.effective & ~self.informative,
                f"At or below {self.threshold:g} nats, but with more than {least} of the effect of all factors on the "
                "output",
                "The decoder turns their noise into output, of which a few percent hardly matter. To remove it, set "
                "these factors to 0 before you decode.",
            ),
        ):
            if chosen.any():
                found = [h for h in share.argsort(descending=True, stable=True).tolist() if chosen[h]]
                names = [f"{self._channel(h)} ({100 * share[h]:.1f} %)" for h in found[:_LISTED]]
                notes.append(f"{what}: {_joined(names, len(found))}. {advice}")
        return notes

    def _channel(self, h: int) -> str:
        return f"channel {h}" if self.is_spatial else f"z{h}"

    def _channels_above(self, nats: Tensor) -> int:
        return int((nats.view(self.latent_shape[0], -1) > self.threshold).any(1).sum())

    @property
    def maps(self) -> Tensor:
        """Information in nats in the shape of the latents."""
        return self.information.nats.view(self.latent_shape)

    @property
    def by_channel(self) -> Tensor:
        """Sum over the places of each channel in nats, shape (channels,).

        Neighbouring places share information, so this is an upper bound on that of the channel.
        """
        return self.maps.reshape(self.latent_shape[0], -1).sum(1)

    @property
    def by_place(self) -> Tensor:
        """Sum over the channels at each place in nats, in the shape of the latents without the first axis."""
        return self.maps.sum(0)

    def to_frame(self, all_criteria: bool = False) -> pd.DataFrame:
        """Return one row per factor, or per channel of spatial latents, the most informative first.

        Columns for factors are those of `FactorInformation.to_frame`, ``influential`` (yes, no or uncertain) and, if a
        decoder was audited, ``effect`` and ``effect_stderr``, as shares of the effect of all factors. With
        `all_criteria` those of `Criteria.to_frame` follow. Columns for channels are ``channel``, ``nats`` (sum over
        places), ``nats_at_best_place``, ``places_above_threshold``, ``marginal_std`` (median over places) and the
        effect; with `all_criteria` the number of places where each criterion counts the channel as used.
        """
        pandas = import_extra("pandas", "audit")
        frame = (
            self._frame_of_channels(pandas, all_criteria) if self.is_spatial else self._frame_of_factors(all_criteria)
        )
        if self.effects is not None:
            rows = frame.iloc[:, 0].to_numpy()
            frame["effect"] = self.effects.share.numpy()[rows]
            frame["effect_stderr"] = self.effects.share_stderr.numpy()[rows]
        return frame

    def _frame_of_factors(self, all_criteria: bool) -> pd.DataFrame:
        frame = self.information.to_frame()
        frame["influential"] = "no"
        frame.loc[frame["factor"].isin(self.influential.tolist()), "influential"] = "yes"
        frame.loc[frame["factor"].isin(self.uncertain.tolist()), "influential"] = "uncertain"
        if not all_criteria:
            return frame
        criteria = self.criteria.to_frame().drop(columns=["information", "marginal_std", "effect"], errors="ignore")
        return frame.merge(criteria, on="factor")

    def _frame_of_channels(self, pandas: Any, all_criteria: bool) -> pd.DataFrame:
        nats = self.maps.flatten(1)
        columns = {
            "channel": torch.arange(len(nats)),
            "nats": self.by_channel,
            "nats_at_best_place": nats.amax(1),
            "places_above_threshold": (nats > self.threshold).sum(1),
            "marginal_std": self.information.marginal_std.view_as(nats).median(1).values,
        }
        if all_criteria:
            columns |= {
                f"places_used_by_{name}": self.criteria.used(name).view_as(nats).sum(1) for name in self.criteria.values
            }
        frame = pandas.DataFrame({name: column.numpy() for name, column in columns.items()})
        return frame.sort_values("nats", ascending=False, kind="stable", ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values of JSON: summary, notes, remarks, and a record for each factor or channel."""
        records = self.to_frame(all_criteria=True).astype(object)
        result = {
            "source": self.source,
            "summary": self.summary,
            "notes": self.notes,
            "remarks": self.remarks,
            "n_inputs": self.information.n_samples,
            "latent_shape": list(self.latent_shape),
            "latent_dim": self.latent_dim,
            "latent_dim_range": list(self.latent_dim_range),
            "total_nats": self.information.total,
            "scale": self.scale,
            "criteria": {
                name: {
                    "n_used": count,
                    "threshold": self.criteria.thresholds[name],
                    "unit": CRITERIA[name].unit,
                    "source": CRITERIA[name].source,
                }
                for name, count in self.criteria.n_used.items()
            },
            "n_inputs_searched": self.criteria.n_inputs_searched,
            "decisive_for_few": self.criteria.decisive_for_few.tolist(),
            "channels" if self.is_spatial else "factors": records.to_dict("records"),
        }
        if self.effects is not None:
            correlation = self.effect_correlation
            result["effects"] = {
                "of_all": self.effects.of_all,
                "n_inputs": self.effects.n_inputs,
                "correlation_with_information": None if math.isnan(correlation) else correlation,
                "informative_but_unused": (self.informative & ~self.effective).nonzero()[:, 0].tolist(),
                "used_but_uninformative": (self.effective & ~self.informative).nonzero()[:, 0].tolist(),
            }
        if self.redundancy is not None:
            low, high = self.redundancy.counted_twice
            result["redundancy"] = {
                "pairs": self.redundancy.to_frame().astype(object).to_dict("records"),
                "nats_counted_twice": [low, high],
                "n_inputs": self.redundancy.n_samples,
            }
        return result

    def __str__(self) -> str:
        notes, remarks = (f"Note: {note}" for note in self.notes), (f"Remark: {remark}" for remark in self.remarks)
        return "\n".join([self.summary, *notes, *remarks])

    @property
    def summary(self) -> str:
        """The result in one or two sentences."""
        fewest, most = self.latent_dim_range
        interval = f" (95 % interval {fewest} to {most})" if fewest != most else ""
        samples = f"from {self.information.n_samples:,} inputs"
        kind = f"of {self.latent_shape[0]} {'channels' if self.is_spatial else 'factors'}"
        count = counted(self.latent_dim, f"{kind} carries", f"{kind} carry")
        if self.is_spatial:
            places = " x ".join(map(str, self.latent_shape[1:]))
            return (
                f"{count} more than {self.threshold:g} nats at one or more of their {places} places"
                f"{interval}, {samples}. The sum over channels and places is {self.information.total:.2f} nats."
            )
        names = [f"z{factor}" for factor in self.uncertain.tolist()]
        listed = ", ".join([*names[:30], "..."] if len(names) > 30 else names)
        return (
            f"{count} more than {self.threshold:g} nats{interval}, {samples}, "
            f"{self.information.total:.2f} nats together."
            + (f" Too close to the threshold to call: {listed}." if names else "")
        )


def place_name(h: int, shape: tuple[int, ...]) -> str:
    """Return the name of factor `h` of latents of some shape: its number, or its channel and place."""
    if len(shape) == 1:
        return f"z{h}"
    channel, *place = torch.unravel_index(torch.tensor(h), shape)
    return f"channel {int(channel)} at {', '.join(str(int(part)) for part in place)}"


def _ranks(values: Tensor) -> Tensor:
    """Return the ranks of some values, the mean rank for equal ones."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[place].double()


def _joined(names: list[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
