r"""Encoders with one factor to judge, whose information and right verdict are known, to test criteria of "used".

In each trial at least one criterion should fail. The right verdict does not rest on any of the criteria but on a test
of its own, given by the trial's question; see `QUESTIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from companion.data import encoders
from companion.data.sources import Provenance, checksum

Sampler = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]

#: What decides, by the name of the question.
QUESTIONS = {
    "input": "Used if one draw of z is enough to guess whether its input is in a stated group or not, and the guess is "
    "right with a probability of 75 % or more. Inputs come from the group and from outside with equal chances, so that "
    "a blind guess is right in 50 %.",
    "output": "Used if the output of the decoder changes when z is replaced by a draw for another input.",
    "others": "Used if this guess is right at least 1 % more often with z and the other factor than with the other "
    "factor alone.",
}


@dataclass(frozen=True)
class Trial:
    """A factor whose information and right verdict are known.

    Attributes
    ----------
    name, story : str
        A few words, and one sentence.
    question : str
        A key of `QUESTIONS`.
    used : bool
        The right verdict.
    reason : str
        Why it is right.
    sample : callable
        Maps a generator and a number of inputs M to means and standard deviations, both (M, H). The first factor is the
        one to judge.
    information : float
        I(X; Z) of the first factor over the population of inputs, in nats, to 1e-8.
    accuracy : float
        Probability that the best guess from a draw of the first factor is right, see `QUESTIONS`.
    group : callable
        Maps means and standard deviations of the first factor, (M,), to True for the inputs of the stated group. Where
        all inputs have the same posterior, any group.
    guess : callable
        Maps draws of the first factor, (M,), to True where the best guess is that the input belongs to the group.
    decode : callable, optional
        Decoder from codes (B, H) to outputs (B, n).
    recordings : int
        Number of recordings that the inputs are from, in equal parts and in order; 0 if the inputs are independent.
    joint_information : float, optional
        I(X; Z) of all factors together in nats, where the question is about the other factors.
    """

    name: str
    story: str
    question: str
    used: bool
    reason: str
    sample: Sampler
    information: float
    accuracy: float
    group: Callable[[np.ndarray, np.ndarray], np.ndarray]
    guess: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[Tensor], Tensor] | None = None
    recordings: int = 0
    joint_information: float | None = None

    def draw(self, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return posterior means and log-variances of some inputs, both (M, H)."""
        mean, std = self.sample(np.random.default_rng(seed), inputs)
        return mean, 2 * np.log(std)

    def clusters(self, inputs: int) -> np.ndarray | None:
        """Return the number of the recording of each of M inputs, (M,), or None if the inputs are independent."""
        return np.arange(inputs) * self.recordings // inputs if self.recordings else None


def all_trials() -> list[Trial]:
    """Return the trials, those on the same question together.

    Examples
    --------
    >>> from companion.data.trials import all_trials
    >>> [(trial.name, trial.used) for trial in all_trials()[:2]]
    [('plain used', True), ('plain unused', False)]
    """
    return [
        plain_used(),
        plain_unused(),
        constant_mean(),
        constant_width(),
        tiny_means(),
        drowned_means(),
        rescaled(30.0),
        rescaled(1 / 30),
        two_groups(),
        heavy_tails(),
        width_only(),
        rare_detector(),
        few_recordings(),
        ignored_by_the_decoder(),
        amplified_noise(),
        copied(),
    ]


def plain_used() -> Trial:
    """Return a factor as a VAE learns it: Gaussian means, and the aggregated posterior N(0, 1)."""
    return Trial(
        name="plain used",
        story="A factor as a VAE learns it: its means are spread over the inputs, and the posteriors are narrow.",
        question="input",
        used=True,
        reason="The sign of a draw gives the sign of the mean away.",
        sample=_beside_a_used_one(_gaussian(math.sqrt(0.96), 0.2)),
        decode=lambda z: z,
        **_of_gaussian(math.sqrt(0.96), 0.2),
    )


def plain_unused() -> Trial:
    """Return a factor that a VAE ignores: every posterior is the prior."""
    return Trial(
        name="plain unused",
        story="A factor that a VAE ignores: every posterior is the prior, and the decoder does not read it.",
        question="input",
        used=False,
        reason="All inputs have the same posterior.",
        sample=_beside_a_used_one(_gaussian(0.0, 1.0)),
        decode=lambda z: z[:, 1:],
        **_of_gaussian(0.0, 1.0),
    )


def constant_mean(mean: float = 2.0) -> Trial:
    """Return posteriors that are all the same, away from 0."""
    return Trial(
        name="constant mean",
        story="Every input has the posterior N(2, 1): the mean is off zero, and the same for all.",
        question="input",
        used=False,
        reason="All inputs have the same posterior.",
        sample=lambda generator, inputs: (np.full((inputs, 1), mean), np.ones((inputs, 1))),
        **_of_gaussian(0.0, 1.0),
    )


def constant_width(std: float = 0.1) -> Trial:
    """Return posteriors that are all the same, and narrow."""
    return Trial(
        name="constant narrow width",
        story="Every input has the posterior N(0, 0.01): narrow, and the same for all.",
        question="input",
        used=False,
        reason="All inputs have the same posterior.",
        sample=_gaussian(0.0, std),
        **_of_gaussian(0.0, std),
    )


def tiny_means() -> Trial:
    """Return means with a tenth of their deviation as noise, both tiny."""
    return Trial(
        name="tiny means, less noise",
        story="An autoencoder with almost no weight on the KL term: means of deviation 0.015, a tenth of it as noise.",
        question="input",
        used=True,
        reason="The noise is a tenth of the signal; a decoder can multiply z by any number.",
        sample=_gaussian(0.015, 0.0015),
        **_of_gaussian(0.015, 0.0015),
    )


def drowned_means() -> Trial:
    """Return means whose variance is just above the line of active units, in unit noise."""
    return Trial(
        name="means below the noise",
        story="The means have the variance 0.011, just above the line of active units, in noise of variance 1.",
        question="input",
        used=False,
        reason="A draw is nearly all noise: the best guess is hardly better than a blind one.",
        sample=_gaussian(math.sqrt(0.011), 1.0),
        **_of_gaussian(math.sqrt(0.011), 1.0),
    )


def rescaled(scale: float) -> Trial:
    """Return the factor of `plain_used`, with z multiplied by a number."""
    how = f"times {scale:g}" if scale > 1 else f"divided by {1 / scale:g}"
    return Trial(
        name=f"used, {how}",
        story=f"The plain used factor with z {how}, as an encoder without a KL term may choose it.",
        question="input",
        used=True,
        reason="Another unit of z changes no guess.",
        sample=_gaussian(scale * math.sqrt(0.96), scale * 0.2),
        **_of_gaussian(scale * math.sqrt(0.96), scale * 0.2),
    )


def two_groups(std: float = 0.01) -> Trial:
    """Return means of -1 and 1 for half of the inputs each."""
    return Trial(
        name="two far groups",
        story="Half of the inputs have the mean 1 and half the mean -1, with posteriors of deviation 0.01.",
        question="input",
        used=True,
        reason="Every draw shows the group of its input, and only that: log 2 nats.",
        sample=lambda generator, inputs: (generator.choice([-1.0, 1.0], (inputs, 1)), np.full((inputs, 1), std)),
        information=encoders.bimodal(std).information,
        accuracy=float(norm.cdf(1 / std)),
        group=_positive_mean,
        guess=_positive,
    )


def heavy_tails(common: float = 0.1, rare: float = 7.0, share: float = 0.02, std: float = 0.03) -> Trial:
    """Return means that are mostly near 0 and for a share of the inputs far out."""

    def sample(generator: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        spread = generator.choice([rare, common], (inputs, 1), p=[share, 1 - share])
        return spread * generator.standard_normal((inputs, 1)), np.full((inputs, 1), std)

    spreads, shares = [rare, common], [share, 1 - share]
    widths = [math.hypot(spread, std) for spread in spreads]
    whole = encoders.SimulatedEncoder(
        "heavy tails",
        sample=lambda generator, shape: sample(generator, shape[0]),
        density=lambda z: sum(part * norm.pdf(z, scale=width) for part, width in zip(shares, widths, strict=True)),
        mean_entropy=float(norm.entropy(scale=std)),
    )
    accuracies = [_sign_accuracy(spread, std) for spread in spreads]
    return Trial(
        name="heavy tails",
        story="Most means are spread by 0.1, 2 % of them by 7; the posteriors have the deviation 0.03.",
        question="input",
        used=True,
        reason="The sign of a draw gives the sign of the mean away.",
        sample=sample,
        information=whole.information,
        accuracy=float(np.dot(shares, accuracies)),
        group=_positive_mean,
        guess=_positive,
    )


def width_only(narrow: float = 0.1) -> Trial:
    """Return means of 0, and posteriors that are narrow for half of the inputs."""
    crossing = math.sqrt(2 * math.log(1 / narrow) / (1 / narrow**2 - 1))
    inside = [float(norm.cdf(crossing / std) - norm.cdf(-crossing / std)) for std in (narrow, 1.0)]
    return Trial(
        name="width only",
        story="All means are 0. The posterior has the deviation 0.1 for half of the inputs and 1 for the others.",
        question="input",
        used=True,
        reason="A draw far from 0 can only be from a wide posterior; one near 0 is most likely from a narrow one.",
        sample=lambda generator, inputs: (np.zeros((inputs, 1)), generator.choice([narrow, 1.0], (inputs, 1))),
        information=encoders.two_widths(narrow).information,
        accuracy=0.5 * (1 + inside[0] - inside[1]),
        group=lambda mean, std: std < 0.5,
        guess=lambda z: np.abs(z) < crossing,
    )


def rare_detector(share: float = 0.02, distance: float = 4.0) -> Trial:
    """Return a factor that reacts to a small share of the inputs only."""
    return Trial(
        name="rare detector",
        story="2 % of the inputs have the posterior N(4, 1), and all others the prior.",
        question="input",
        used=True,
        reason="For these inputs a draw is decisive: a detector of defects or of a rare cell type looks like this.",
        sample=lambda generator, inputs: (
            generator.choice([distance, 0.0], (inputs, 1), p=[share, 1 - share]),
            np.ones((inputs, 1)),
        ),
        information=encoders.bimodal(1.0, share, distance).information,
        accuracy=float(norm.cdf(distance / 2)),
        group=_positive_mean,
        guess=lambda z: z > distance / 2,
    )


def few_recordings(recordings: int = 20, std: float = 0.3, within: float = 0.1) -> Trial:
    """Return a factor that hardly changes within a recording, over a few recordings with many windows each."""
    between = math.sqrt(1 - std**2 - within**2)

    def sample(generator: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        recording = np.arange(inputs) * recordings // inputs
        of_recording = between * generator.standard_normal(recordings)
        mean = of_recording[recording] + within * generator.standard_normal(inputs)
        return mean[:, None], np.full((inputs, 1), std)

    return Trial(
        name="few recordings",
        story="The inputs are windows of 20 recordings, and the windows of one recording have nearly the same mean.",
        question="input",
        used=True,
        reason="The sign of a draw gives the sign of the mean away.",
        sample=sample,
        recordings=recordings,
        **_of_gaussian(math.hypot(between, within), std),
    )


def ignored_by_the_decoder() -> Trial:
    """Return the factor of `plain_used` with a decoder that does not read it."""
    return Trial(
        name="ignored by the decoder",
        story="The plain used factor again, but the decoder reads only another one.",
        question="output",
        used=False,
        reason="The output is the same for every value of z.",
        sample=_beside_a_used_one(_gaussian(math.sqrt(0.96), 0.2)),
        decode=lambda z: z[:, 1:],
        **_of_gaussian(math.sqrt(0.96), 0.2),
    )


def amplified_noise() -> Trial:
    """Return the factor of `plain_unused` with a decoder that multiplies it."""
    return Trial(
        name="noise, amplified",
        story="The plain unused factor again, but the decoder multiplies it by 5 and adds it to the output.",
        question="output",
        used=True,
        reason="The output changes with z, although z carries nothing about the input: used, and uninformative.",
        sample=_beside_a_used_one(_gaussian(0.0, 1.0)),
        decode=lambda z: 5 * z[:, :1] + z[:, 1:],
        **_of_gaussian(0.0, 1.0),
    )


def copied(std: float = 0.2) -> Trial:
    """Return two factors with the same means: -3, -1, 1 or 3.

    Of two copies with Gaussian means the second is not quite redundant: both together average out some of the noise,
    and carry 1/2 log(1 + 2 r) nats with a signal-to-noise ratio r, up to 1/2 log 2 more than one of them. With groups
    far apart one copy shows all there is to see. As the noise is independent, two copies carry what one with 1/sqrt(2)
    of the noise does.
    """
    places = (-3.0, -1.0, 1.0, 3.0)

    def sample(generator: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        mean = generator.choice(places, (inputs, 1))
        return np.repeat(mean, 2, axis=1), np.full((inputs, 2), std)

    return Trial(
        name="copy of another factor",
        story="Two factors show the same four groups, with means of -3, -1, 1 and 3 and noise of their own.",
        question="others",
        used=False,
        reason="The other factor alone shows the group of every input: one of the two can be dropped.",
        sample=sample,
        information=_information_of_groups(places, std),
        accuracy=float(norm.cdf([1 / std, 3 / std]).mean()),
        group=_positive_mean,
        guess=_positive,
        joint_information=_information_of_groups(places, std / math.sqrt(2)),
    )


def provenance(trials: Iterable[Trial], inputs: int, seed: int) -> Provenance:
    """Return the provenance of a run that judges these trials on `inputs` inputs each."""
    drawn = [torch.from_numpy(np.concatenate(trial.draw(inputs, seed))) for trial in trials]
    return Provenance(
        source=f"{len(drawn)} encoders with a known verdict and known information",
        stand_in=False,
        n=inputs * len(drawn),
        checksum=checksum(*drawn),
    )


def _gaussian(mean_std: float, std: float) -> Sampler:
    """Return a sampler of one factor with means N(0, mean_std^2) and posteriors of one width."""
    return lambda generator, inputs: (
        mean_std * generator.standard_normal((inputs, 1)),
        np.full((inputs, 1), std),
    )


def _of_gaussian(mean_std: float, std: float) -> dict[str, Any]:
    """Return the known quantities of `_gaussian`; the stated group are the inputs with a positive mean."""
    return {
        "information": 0.5 * math.log1p((mean_std / std) ** 2),
        "accuracy": _sign_accuracy(mean_std, std),
        "group": _positive_mean if mean_std else _every_second,
        "guess": _positive,
    }


def _information_of_groups(places: Sequence[float], std: float) -> float:
    """Return I(X; Z) of groups of equal size, in nats, with these means and one width."""
    return encoders.SimulatedEncoder(
        "groups",
        sample=lambda generator, shape: (generator.choice(places, shape), np.full(shape, std)),
        density=lambda z: sum(norm.pdf(z, place, std) for place in places) / len(places),
        mean_entropy=float(norm.entropy(scale=std)),
    ).information


def _sign_accuracy(mean_std: float, std: float) -> float:
    """Return the probability that a Gaussian mean and a draw have the same sign (Sheppard 1899)."""
    return 0.5 + math.atan2(mean_std, std) / math.pi


def _positive_mean(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return mean > 0


def _every_second(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return np.arange(len(mean)) % 2 == 0


def _positive(z: np.ndarray) -> np.ndarray:
    return z > 0


def _beside_a_used_one(sample: Sampler) -> Sampler:
    """Add a plain used factor, which gives the effect on the output something to compare with."""

    def both(generator: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        judged = sample(generator, inputs)
        other = _gaussian(math.sqrt(0.96), 0.2)(generator, inputs)
        mean, std = (np.concatenate(parts, axis=1) for parts in zip(judged, other, strict=True))
        return mean, std

    return both
