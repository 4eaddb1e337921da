"""What an audit keeps of the posteriors that it has seen, and the warnings that follow from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaemi.auditing.answers import SCALES, TO_LOG_VARIANCE, Answer
from vaemi.auditing.result import Audit
from vaemi.criteria import CriteriaSketch
from vaemi.errors import AuditError
from vaemi.influence.effects import DecoderEffects
from vaemi.information import FactorInformation

_SQUARE_OR_ROOT = {"log_variance": "log_std", "log_std": "log_variance", "variance": "std", "std": "variance"}
# Factors whose means vary by less are unused: all logarithms near 0 look alike there.
_UNUSED = 0.05
# Thresholds on |log sigma*^2| of most factors. Below the first nothing is wrong (sigma* from 0.95 to 1.05). A name
# such as log_covariance is better evidence than a sigma* a little off, as it is before training has ended; hence the
# second. Above the third (sigma* of 0.67 or 1.5) it is worth a warning even if no other reading does better.
_NEAR_ONE, _FAR_FOR_A_NAME, _FAR_FROM_ONE = 0.1, 0.4, 0.8
_CORRELATED = (
    "The factors of one posterior are correlated. The nats of each factor are exact, but their sum is no upper bound "
    "on the information of all factors together, and redundancy is not measured: pass the distribution to "
    "vaemi.information.density_information for the information of all factors together."
)


class Sums:
    """Additive summary of posteriors: the criteria, and what the encoder returned.

    Sums of parts of the data merge into the sums of all of it, in any order and on any machine.

    Attributes
    ----------
    criteria : CriteriaSketch
    readings : Tensor of float64, shape (4, H)
        Sum over inputs of the variance under each reading of the second output.
    least, most : Tensor of float64, shape (2, H)
        Range of the mean and of the second output.
    noise : float or None
        Standard deviation that the user gave, if the encoder has none.
    correlated : bool
        True if the factors of some posterior are correlated.
    """

    def __init__(self, shape: tuple[int, ...], scale: str, named: bool, noise: float | None = None) -> None:
        self.shape, self.scale, self.named, self.noise = shape, scale, named, noise
        self.correlated = False
        n_factors = math.prod(shape)
        self.criteria = CriteriaSketch(n_factors)
        self.readings = torch.zeros(len(SCALES), n_factors, dtype=torch.float64)
        self.least = torch.full((2, n_factors), math.inf, dtype=torch.float64)
        self.most = torch.full((2, n_factors), -math.inf, dtype=torch.float64)
        self.device = "cpu"

    def update(self, answer: Answer, where: str) -> None:
        """Add the posteriors of a batch; `where` begins the message of an AuditError if they do not fit."""
        shape = tuple(answer.mean.shape[1:])
        if (shape, answer.scale) != (self.shape, self.scale):
            raise AuditError(
                f"{where} has latents of shape {shape}, read as {answer.scale}, and those before {self.shape}, "
                f"read as {self.scale}: all batches must be alike; inputs of another size make other maps."
            )
        mean, second = (_flat_in_double(part) for part in (answer.mean, answer.second))
        try:
            self.criteria.update(mean, TO_LOG_VARIANCE[self.scale](second))
        except ValueError as error:
            raise AuditError(f"{where}: {error}") from None
        self.readings += torch.stack([TO_LOG_VARIANCE[name](second).exp().sum(0) for name in SCALES]).cpu()
        self._widen(*(torch.stack([end(mean, 0), end(second, 0)]).cpu() for end in (torch.amin, torch.amax)))
        self.device = str(answer.mean.device)
        self.correlated |= answer.scale_tril is not None

    def merge(self, other: Sums) -> None:
        """Add the sums of other inputs. Raises a ValueError if the sketches do not fit together."""
        self.criteria.merge(other.criteria)
        self.readings += other.readings
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
    ) -> Audit:
        """Return the result, with the warnings about the sums after the given remarks."""
        criteria = self.criteria.compute({"information": threshold})
        if effects and len(effects.effect) == len(criteria.information):
            criteria = criteria.with_effect(effects.share)
        remarks = [
            *remarks,
            *filter(
                None,
                [
                    self._remark_on_scale(),
                    self._remark_on_left_out_inputs(),
                    _remark_on_sample_size(criteria.information, threshold),
                ],
            ),
        ]
        posteriors: tuple[Tensor, Tensor] | None = self.criteria.kept.rows()[:2]
        if self.correlated:  # what factors share in pairs rests on posteriors with independent factors
            remarks, posteriors = [*remarks, _CORRELATED], None
        scale = self.scale if self.noise is None else f"noise of {self.noise:g}"
        return Audit(criteria, self.shape, remarks, scale, n_batches, self.device, seconds, source, effects, posteriors)

    def _remark_on_scale(self) -> str:
        """Return a warning if the posterior has collapsed, or if sigma* shows that the second output was misread.

        The first rule that applies decides; see the notes of `audit` on why sigma* is near 1 for the right reading.
        """
        if torch.equal(self.least, self.most):
            return (
                "The answer is the same for every input, so no factor carries information: the posterior has "
                "collapsed, the inputs are all the same, or they do not reach the network."
            )
        if self.noise is not None:
            return ""
        moments = self.criteria.moments
        second_moment = moments.mean.square() + moments.variance_of_mean
        variances = self.readings / self.criteria.n_samples
        unused = moments.variance_of_mean < _UNUSED
        least, most = float(self.least[1].min()), float(self.most[1].max())
        # A variance or standard deviation cannot be negative.
        variance_of = {
            name: variance
            for name, variance in zip(SCALES, variances, strict=True)
            if least > 0 or name.startswith("log_")
        }
        # log sigma*^2 of most factors under each reading.
        off = {name: _worst_median((second_moment + part).log(), unused) for name, part in variance_of.items()}
        given, best = off[self.scale], min(map(abs, off.values()))
        read = f"The second output was read as {self.scale}"
        untrained = "A model that was not trained to the end is off, too."
        if abs(given) > (_FAR_FOR_A_NAME if self.named else _NEAR_ONE) and best < abs(given) / 2:
            likely = [name for name, value in off.items() if abs(value) < best + 0.03 and name != self.scale]
            found = " or ".join(f"as {name} it is {math.exp(off[name] / 2):.2f}" for name in likely)
            return (
                f"{read}, and sigma* then has a median of {math.exp(given / 2):.2f}, where a N(0, 1) prior pulls it to "
                f"1; read {found}. If that is what the network returns, say "
                f"scale={' or scale='.join(map(repr, likely))}. {untrained}"
            )
        other = _SQUARE_OR_ROOT[self.scale]
        if not self.named and abs(off.get(other, math.inf)) < _NEAR_ONE:
            parts = (second_moment, variance_of[self.scale], variance_of[other])
            share, error = _share_explained(*(part[~unused] for part in parts))
            if share > max(0.6, 1.3 * error):
                return (
                    f"{read}. Over the used factors, sigma* departs from 1 as if it were the {other}: that explains "
                    f"{share:.0%} (+-{error:.0%}) of the departure. If that is what the network returns, say "
                    f"scale={other!r}; compare the KL term with that of the training. {untrained}"
                )
        if self.scale.startswith("log_") and least >= 0 and most > 0.5:
            return (
                f"{read} and is never negative (from {least:.3g} to {most:.3g}), so no posterior would be narrower "
                "than the prior: is it a variance or a standard deviation (scale='variance', scale='std')?"
            )
        if abs(given) > _FAR_FROM_ONE:
            return (
                f"sigma* is far from 1 (median {math.exp(given / 2):.3g}) however the second output is read: the prior "
                "pulls little, as in autoencoders for latent diffusion, or is not N(0, 1), or the inputs are scaled "
                "otherwise than in training, or training was too short."
            )
        return ""

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


def _share_explained(second_moment: Tensor, given: Tensor, other: Tensor) -> tuple[float, float]:
    """Return how much of the departures of sigma*^2 from 1 another reading explains, and the standard error of that.

    This is the slope of a least-squares fit of the departures on the difference of the readings over the used factors:
    about 0 if the given reading is right, about 1 if the other is. Taking a root for its square moves sigma* by a
    tenth at most, for factors whose deviation is neither small nor near 1, which a median does not see.
    """
    if len(given) < 3:
        return 0.0, math.inf
    # A few factors that are far off, which no reading explains, must not decide.
    departure = (second_moment + given - 1).clamp(-0.3, 0.3)
    difference = given - other
    weight = difference.square().sum().clamp_min(1e-12)
    share = (departure * difference).sum() / weight
    residual = (departure - share * difference).square().sum() / (len(given) - 1)
    return float(share), float((residual / weight).sqrt())


def _worst_median(deviation: Tensor, unused: Tensor) -> float:
    """Return the median over the unused or over the used factors, whichever is farther from 0.

    A misread logarithm shows in the used factors only, a misread deviation in the unused ones first.
    """
    return max((float(deviation[chosen].median()) for chosen in (unused, ~unused) if chosen.any()), key=abs)


def _remark_on_sample_size(information: FactorInformation, threshold: float) -> str:
    assert information.leave_one_out is not None
    gap = information.leave_one_out - information.nats
    # For unused factors both the gap and the error are tiny.
    unsettled = (gap > information.stderr) & (information.leave_one_out > threshold) & (gap > 0.01)
    if not unsettled.any():
        return ""
    worst = int((gap * unsettled).argmax())
    return (
        f"{information.n_samples:,} inputs are too few to measure {int(unsettled.sum())} of the factors: z{worst} is "
        f"between {information.nats[worst]:.2f} and {information.leave_one_out[worst]:.2f} nats, farther apart than "
        f"its standard error ({information.stderr[worst]:.2g}). Use more inputs; {information.n_samples:,} inputs "
        f"cannot show more than {math.log(information.n_samples):.2f} nats."
    )
