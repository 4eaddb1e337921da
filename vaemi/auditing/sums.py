"""What an audit keeps of the posteriors that it has seen, and the warnings that follow from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaemi.auditing.result import Audit, place_name
from vaemi.criteria import CriteriaSketch
from vaemi.errors import AuditError
from vaemi.influence.effects import DecoderEffects
from vaemi.information import FactorInformation
from vaemi.information.answers import SCALES, TO_LOG_VARIANCE, Answer
from vaemi.information.sketch import MAX_BYTES

_SQUARE_OR_ROOT = {"log_variance": "log_std", "log_std": "log_variance", "variance": "std", "std": "variance"}
# Factors whose means vary by less are unused.
_UNUSED = 0.05
_CORRELATED = (
    "The factors of one posterior are correlated. The nats of each factor are exact, but their sum does not "
    "bound the information of all factors together, and redundancy is not measured: pass the distribution to "
    "vaemi.information.density_information for the information of all factors together."
)
# A warning if |log sigma*^2| of most factors is above this (sigma* of 0.67 or 1.5).
_FAR_FROM_ONE = 0.8
# The fit that tells a square from a root: departures of sigma*^2 from 1 that no reading explains, the largest departure
# of the intercept, and the scatter of departures that a trained model has at least.
_UNEXPLAINED, _FAR_INTERCEPT, _LEAST_SCATTER = 0.4, 0.1, 0.03
_ASK_FOR_KL = " The KL term that the training logged decides: pass kl=, nats per input."


class Sums:
    """Additive summary of posteriors: the criteria, and what the encoder returned.

    Sums of parts of the data merge into the sums of all of it, in any order and on any machine.

    Parameters
    ----------
    shape : tuple of int
        Shape of the latents of one input.
    scale : str
        What the second output is.
    named : bool
        True if the encoder names it.
    max_bytes : int
        See `vaemi.InformationSketch`.

    Attributes
    ----------
    criteria : CriteriaSketch
    readings : Tensor of float64, shape (4, H)
        Sum over inputs of the variance under each reading of the second output.
    logarithms : Tensor of float64, shape (4, H)
        Sum over inputs of the log-variance under each reading, NaN where it does not exist.
    least, most : Tensor of float64, shape (2, H)
        Range of the mean and of the second output.
    noise : float or None
        Standard deviation that the user gave, if the encoder has none.
    correlated : bool
        True if the factors of some posterior are correlated.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        scale: str,
        named: bool,
        noise: float | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.shape, self.scale, self.named, self.noise = shape, scale, named, noise
        self.correlated = False
        n_factors = math.prod(shape)
        self.criteria = CriteriaSketch(n_factors, max_bytes=max_bytes)
        self.readings, self.logarithms = torch.zeros(2, len(SCALES), n_factors, dtype=torch.float64)
        self.least = torch.full((2, n_factors), math.inf, dtype=torch.float64)
        self.most = torch.full((2, n_factors), -math.inf, dtype=torch.float64)
        self.device = "cpu"

    def update(self, answer: Answer, where: str) -> None:
        """Add the posteriors of a batch; `where` begins the message of an AuditError if they do not fit."""
        shape = tuple(answer.mean.shape[1:])
        if (shape, answer.scale) != (self.shape, self.scale):
            raise AuditError(
                f"{where} has latents of shape {shape}, read as {answer.scale}, but those before {self.shape}, "
                f"read as {self.scale}: all batches must be alike; inputs of another size make other maps."
            )
        mean, second = (_flat_in_double(part) for part in (answer.mean, answer.second))
        logarithms = {name: TO_LOG_VARIANCE[name](second) for name in SCALES}
        try:
            self.criteria.update(mean, logarithms[self.scale])
        except ValueError as error:
            raise AuditError(f"{where}: {error}") from None
        self.readings += torch.stack([part.exp().sum(0) for part in logarithms.values()]).cpu()
        self.logarithms += torch.stack([part.sum(0) for part in logarithms.values()]).cpu()
        self._widen(*(torch.stack([end(mean, 0), end(second, 0)]).cpu() for end in (torch.amin, torch.amax)))
        self.device = str(answer.mean.device)
        self.correlated |= answer.scale_tril is not None

    def merge(self, other: Sums) -> None:
        """Add the sums of other inputs. Raises a ValueError if the sketches do not fit together."""
        self.criteria.merge(other.criteria)
        self.readings += other.readings
        self.logarithms += other.logarithms
        self._widen(other.least, other.most)

    def _widen(self, least: Tensor, most: Tensor) -> None:
        self.least, self.most = torch.minimum(self.least, least), torch.maximum(self.most, most)

    def audit(
        self,
        remarks: list[str],
        threshold: float,
        n_batches: int,
        seconds: float,
        source: str,
        effects: DecoderEffects | None = None,
        *,
        kl: float | None = None,
        bytes_as_inputs: bool = False,
        undecided: list[str] | None = None,
    ) -> Audit:
        """Return the result, with the warnings about the sums after the given remarks.

        `kl` is the KL term of the training, and `bytes_as_inputs` is True if inputs are whole numbers up to 255.
        """
        criteria = self.criteria.compute({"information": threshold})
        if effects and len(effects.effect) == len(criteria.information):
            criteria = criteria.with_effect(effects.share)
        remark, doubt = self._reading(kl, bytes_as_inputs)
        found = [
            remark,
            self._remark_on_left_out_inputs(),
            self._remark_on_sample_size(criteria.information, threshold),
            _CORRELATED if self.correlated else "",
        ]
        return Audit(
            criteria=criteria,
            latent_shape=self.shape,
            remarks=[*remarks, *filter(None, found)],
            undecided=[*(undecided or []), *filter(None, [doubt])],
            scale=self.scale if self.noise is None else f"noise of {self.noise:g}",
            n_batches=n_batches,
            device=self.device,
            seconds=seconds,
            source=source,
            effects=effects,
            # What factors share in pairs rests on posteriors with independent factors.
            posteriors=None if self.correlated else self.criteria.kept.rows()[:2],
        )

    def _reading(self, kl: float | None, bytes_as_inputs: bool) -> tuple[str, str]:
        """Return a warning about what was returned or how it was read, and what cannot be decided; both may be empty.

        The first rule that applies decides; see the notes of `audit` on why sigma* is near 1 for the right reading.
        """
        if torch.equal(self.least, self.most):
            return (
                "The answer is the same for every input, so no factor carries information: the posterior has "
                "collapsed, the inputs are all the same, or they do not reach the network."
            ), ""
        if self.noise is not None:
            return "", ""
        if kl is not None and not self.correlated:  # the KL term of correlated factors is not a sum over them
            return self._remark_by_kl(kl), ""
        moments = self.criteria.moments
        used = moments.variance_of_mean >= _UNUSED
        off = _worst_median(moments.second_moment.log(), used)
        if bytes_as_inputs and abs(off) > _FAR_FROM_ONE:
            return (
                f"The inputs are whole numbers from 0 to 255, and sigma* has a median of {math.exp(off / 2):.3g}, far "
                "from 1: divide them by 255, or scale them otherwise as in training."
            ), ""
        read = f"The second output was read as {self.scale}"
        least, most = float(self.least[1].min()), float(self.most[1].max())
        # Where no factor is used yet, logarithms can be a little above 0, but variances are near 1.
        if self.scale.startswith("log_") and most > 0 and least >= (0 if used.any() else 0.5):
            likely = {True: ["std"], False: ["variance"], None: ["variance", "std"]}[self._is_root("variance", used)]
            return (
                f"{read} and is never negative (from {least:.3g} to {most:.3g}), so no posterior would be narrower "
                f"than the prior: it is probably a {' or a '.join(likely)}; if so, say "
                f"scale={' or scale='.join(map(repr, likely))}." + (_ASK_FOR_KL if len(likely) > 1 else "")
            ), ""
        other = _SQUARE_OR_ROOT[self.scale]
        is_other = False if self.named else self._is_root(self.scale, used)
        if is_other:
            return (
                f"{read}. sigma* departs from 1 over the factors as it does if the output is the {other}; if that is "
                f"what the network returns, say scale={other!r}. Compare the KL term with that of the training (kl=) "
                "first: a model that was not trained to the end can look the same."
            ), ""
        doubt = ""
        if is_other is None and used.any():
            doubt = f"{read}. sigma* does not show whether it is the {other} instead.{_ASK_FOR_KL}"
        if abs(off) > _FAR_FROM_ONE:
            return (
                f"sigma* is far from 1 (median {math.exp(off / 2):.3g}): the prior pulls little, as in autoencoders "
                "for latent diffusion, or is not N(0, 1), or the inputs are scaled otherwise than in training, or "
                "training was too short."
            ), doubt
        return "", doubt

    def _remark_by_kl(self, kl: float) -> str:
        """Return a warning unless the KL term of the training is that of the second output as it was read."""
        n, mean_square = self.criteria.n_samples, self.criteria.moments.mean_square
        terms = 0.5 * (mean_square - 1 + (self.readings - self.logarithms) / n).sum(1)
        kl_of = {
            name: float(term)
            for name, term in zip(SCALES, terms, strict=True)
            if term.isfinite() and (name.startswith("log_") or self.least[1].min() > 0)
        }
        off = {name: abs(value - kl) for name, value in kl_of.items()}
        best = min(off, key=off.__getitem__)
        # The terms of training and held-out inputs differ, and so do the mean over an epoch and that at its end.
        fits = off[best] <= 0.2 * kl + 0.1
        if (fits and best == self.scale) or off[self.scale] <= 0.05:
            return ""
        terms_in_words = ", ".join(f"{value:.3g} as {name}" for name, value in kl_of.items())
        advice = (
            f"say scale={best!r}"
            if fits
            else "give nats per input, summed over factors and not multiplied by beta, of inputs like these"
        )
        return (
            f"The second output was read as {self.scale}, and its KL term is not the {kl:.3g} nats of the training: it "
            f"is {terms_in_words}; {advice}."
        )

    def _is_root(self, scale: str, used: Tensor) -> bool | None:
        """Return True if the second output is probably the square or root of `scale`, None if that is undecided.

        This is the slope of a line through the departures of sigma*^2 from 1, over the difference between the two
        readings of the variance: 0 if `scale` is right, 1 if the other is. What all factors have in common, such as the
        effect of held-out inputs, is in the intercept.
        """
        variances = dict(zip(SCALES, self.readings / self.criteria.n_samples, strict=True))
        given, other = variances[scale], variances[_SQUARE_OR_ROOT[scale]]
        departure = self.criteria.moments.mean_square + given - 1
        explained = departure.abs() < _UNEXPLAINED
        if not used.any() or explained.sum() < max(4, 0.7 * len(given)):
            return None
        departure, difference = departure[explained], (given - other)[explained]
        centred = difference - difference.mean()
        weight = centred.square().sum().clamp_min(1e-12)
        slope = (centred * departure).sum() / weight
        intercept = departure.mean() - slope * difference.mean()
        residual = departure - intercept - slope * difference
        scatter = residual.square().sum() / (len(departure) - 2) + _LEAST_SCATTER**2
        error = (scatter / weight).sqrt()
        if intercept.abs() > _FAR_INTERCEPT or (slope - 0.5).abs() < 2 * error:
            return None
        return bool(slope > 0.5)

    def _remark_on_sample_size(self, information: FactorInformation, threshold: float) -> str:
        """Return a warning if the bracket of some information is wider than its error and than a tenth of it."""
        nats, highest = information.nats, information.leave_one_out
        assert highest is not None
        gap = highest - nats
        unsettled = (gap > information.stderr) & (gap > 0.1 * highest) & (highest > threshold)
        if not unsettled.any():
            return ""
        worst = int((gap * unsettled).argmax())
        return (
            f"{information.n_samples:,} inputs are too few to measure {int(unsettled.sum())} of the factors: "
            f"{place_name(worst, self.shape)} is between {nats[worst]:.2f} and {highest[worst]:.2f} nats. Use more "
            f"inputs; {information.n_samples:,} cannot show more than {math.log(information.n_samples):.2f} nats."
        )

    def _remark_on_left_out_inputs(self) -> str:
        sketch = self.criteria.information
        if sketch.n_kept == sketch.n_samples:
            return ""
        return (
            f"The information rests on {sketch.n_kept:,} of the {sketch.n_samples:,} inputs, an even sample: the "
            f"posteriors of all would take more than {sketch.max_bytes / 2**30:.2g} GiB, as they are far narrower than "
            "the distances between them."
        )


def _flat_in_double(values: Tensor) -> Tensor:
    values = values.detach().flatten(1)
    return (values.cpu() if values.device.type == "mps" else values).double()  # MPS has no float64


def _worst_median(deviation: Tensor, used: Tensor) -> float:
    """Return the median over the unused or over the used factors, whichever is farther from 0."""
    return max((float(deviation[chosen].median()) for chosen in (used, ~used) if chosen.any()), key=abs)
