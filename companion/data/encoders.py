"""Simulated encoders of one factor with known information, to test estimators.

Each has a closed-form aggregated posterior q(z) with mean 0 and variance about 1, so that its information
I = h(q) - E[h(q(z|x))] is an integral of known functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_ndtr, ndtr
from scipy.stats import norm

from companion.data.sources import Provenance, checksum

_GRID = np.linspace(-40, 40, 800_001)

Sampler = Callable[[np.random.Generator, tuple[int, int]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class SimulatedEncoder:
    """A factor of an encoder over a known distribution of inputs.

    Attributes
    ----------
    name : str
        Shape of the aggregated posterior.
    sample : callable
        Maps a generator and a shape (M, draws) to means and standard deviations of that shape; the columns are
        independent draws of M inputs.
    density : callable
        Maps an array z to q(z).
    mean_entropy : float
        E[h(q(z|x))] in nats.
    """

    name: str
    sample: Sampler
    density: Callable[[np.ndarray], np.ndarray]
    mean_entropy: float

    def draw(self, samples: int, draws: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return posterior means and log-variances, both of shape (samples, draws)."""
        mean, std = self.sample(np.random.default_rng(seed), (samples, draws))
        return mean, 2 * np.log(std)

    @property
    def information(self) -> float:
        """Return I(X; Z) in nats by the trapezoidal rule, exact to 1e-9."""
        q = self.density(_GRID)
        return float(-np.trapezoid(q * np.log(np.maximum(q, 1e-300)), _GRID)) - self.mean_entropy

    @property
    def distance_from_gaussian(self) -> float:
        """Return KL(q || q*) in nats, q* the Gaussian with mean 0 and the variance of q, by the trapezoidal rule."""
        q = self.density(_GRID)
        variance = np.trapezoid(q * _GRID**2, _GRID)
        log_ratio = np.log(np.maximum(q, 1e-300)) - norm.logpdf(_GRID, scale=math.sqrt(variance))
        return float(np.trapezoid(q * log_ratio, _GRID))


def gaussian(sigma: float) -> SimulatedEncoder:
    """Return an encoder with means N(0, 1 - sigma^2): q(z) = N(0, 1) and I = -log sigma.

    Examples
    --------
    >>> from companion.data import encoders
    >>> f"{encoders.gaussian(0.5).information:.3f}"
    '0.693'
    """
    return SimulatedEncoder(
        "Gaussian",
        lambda generator, shape: (math.sqrt(1 - sigma**2) * generator.standard_normal(shape), np.full(shape, sigma)),
        lambda z: _normal(z, 0, 1),
        _entropy(sigma),
    )


def bimodal(sigma: float, share: float = 0.5, distance: float = 2.0) -> SimulatedEncoder:
    """Return an encoder with two groups of inputs, `share` of them in the first, with means `distance` apart.

    As the groups separate, I tends to the entropy of the two shares, at most log 2.

    Examples
    --------
    >>> from companion.data import encoders
    >>> f"{encoders.bimodal(0.01).information:.3f}"
    '0.693'
    """
    places, shares = [distance * (1 - share), -distance * share], [share, 1 - share]
    return SimulatedEncoder(
        "two groups",
        lambda generator, shape: (generator.choice(places, shape, p=shares), np.full(shape, sigma)),
        lambda z: share * _normal(z, places[0], sigma) + (1 - share) * _normal(z, places[1], sigma),
        _entropy(sigma),
    )


def skewed(sigma: float) -> SimulatedEncoder:
    """Return an encoder with shifted exponential means: q(z) is the exponentially modified Gaussian.

    Examples
    --------
    >>> from companion.data import encoders
    >>> mean, log_variance = encoders.skewed(0.5).draw(1000, 2)
    >>> mean.shape
    (1000, 2)
    """
    return SimulatedEncoder(
        "skewed",
        lambda generator, shape: (generator.exponential(1, shape) - 1, np.full(shape, sigma)),
        lambda z: np.exp(sigma**2 / 2 - (z + 1) + log_ndtr((z + 1) / sigma - sigma)),
        _entropy(sigma),
    )


def uniform(sigma: float) -> SimulatedEncoder:
    """Return an encoder with uniform means of mean 0 and standard deviation 1.

    Examples
    --------
    >>> from companion.data import encoders
    >>> encoder = encoders.uniform(0.1)
    >>> encoder.information > 1
    True
    """
    edge = math.sqrt(3)
    return SimulatedEncoder(
        "uniform",
        lambda generator, shape: (generator.uniform(-edge, edge, shape), np.full(shape, sigma)),
        lambda z: (ndtr((z + edge) / sigma) - ndtr((z - edge) / sigma)) / (2 * edge),
        _entropy(sigma),
    )


def two_widths(narrow: float, broad: float = 1.0, share: float = 0.5) -> SimulatedEncoder:
    """Return an encoder with means 0, a narrow posterior for `share` of the inputs and a broad one for the others.

    Examples
    --------
    >>> from companion.data import encoders
    >>> encoders.two_widths(narrow=0.1).information > 0.3
    True
    """
    widths, shares = [narrow, broad], [share, 1 - share]
    return SimulatedEncoder(
        "two widths",
        lambda generator, shape: (np.zeros(shape), generator.choice(widths, shape, p=shares)),
        lambda z: share * _normal(z, 0, narrow) + (1 - share) * _normal(z, 0, broad),
        share * _entropy(narrow) + (1 - share) * _entropy(broad),
    )


def provenance(encoders: Iterable[SimulatedEncoder], seed: int) -> Provenance:
    """Return the provenance of a run that draws from these encoders; the checksum is of 1,000 draws of each."""
    drawn = {encoder.name: encoder.draw(1000, 1, seed) for encoder in encoders}
    return Provenance(
        source=f"simulated encoders of known information ({', '.join(drawn)})",
        stand_in=False,
        n=sum(len(mean) for mean, _ in drawn.values()),
        checksum=checksum(*(torch.from_numpy(np.stack(pair)) for pair in drawn.values())),
    )


def _normal(z: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def _entropy(sigma: float) -> float:
    return math.log(sigma) + 0.5 * math.log(2 * math.pi * math.e)
