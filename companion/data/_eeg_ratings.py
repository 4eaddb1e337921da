"""Ratings as people give them in DEAP, and the emotional states they tell of."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

RATINGS = ("valence", "arousal", "dominance", "liking")

# Correlation of a rating with the emotional state it tells of: what is missing to 1 is noise of the label.
LABEL_CORRELATION = 0.54
# Correlations of the latent ratings, in the order of RATINGS, roughly as people's ratings are correlated.
_RATING_CORRELATION = np.array(
    [[1.0, 0.1, 0.3, 0.6], [0.1, 1.0, 0.25, 0.2], [0.3, 0.25, 1.0, 0.3], [0.6, 0.2, 0.3, 1.0]]
)
_RATING_MEAN = np.array([5.25, 5.16, 5.38, 5.52])
_RATING_ABOVE_5 = np.array([0.553, 0.576, 0.609, 0.665])
# How far below 5 a rating below 5 is on average, as a part of the 4 that are possible.
_MEAN_DEPTH = 0.46
# Standard deviation of a person's mean latent rating; that of all latent ratings is 1.
_PERSON_STD = 0.25


def ratings_of_latent(latent: np.ndarray) -> np.ndarray:
    """Ratings from 1 to 9 of standard normal variables, increasing in each; shape (..., 4).

    The part of the normal distribution that makes ratings above 5 has the probability that it has in DEAP. On either
    side of 5 a rating is a power of a uniform variable, with the exponents that make the means DEAP's.
    """
    probability = ndtr(latent)
    below = 1 - _RATING_ABOVE_5
    mean_height = (_RATING_MEAN - 5 + 4 * below * _MEAN_DEPTH) / (4 * _RATING_ABOVE_5)
    # The mean of u^k for u uniform on (0, 1) is 1 / (k + 1).
    height = np.clip((probability - below) / _RATING_ABOVE_5, 0, 1) ** (1 / mean_height - 1)
    depth = np.clip((below - probability) / below, 0, 1) ** (1 / _MEAN_DEPTH - 1)
    return 5 + 4 * (height - depth)


def draw_ratings(trials: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One person's ratings, and the emotional states they tell of.

    The noise of the labels, what the states do not share with the ratings, is uncorrelated with all ratings within the
    person, not only on average over people: few trials could otherwise hide or double an effect.

    Returns
    -------
    ratings : array, shape (trials, 4)
        From 1 to 9.
    states : array, shape (trials, 4)
        Of variance 1, correlated `LABEL_CORRELATION` with the latent variables of the ratings.
    """
    root = np.linalg.cholesky(_RATING_CORRELATION)
    person = root @ generator.standard_normal(len(RATINGS))
    latent = generator.standard_normal((trials, len(RATINGS))) @ root.T
    noise = _residual(generator.standard_normal((trials, len(RATINGS))), latent)
    states = LABEL_CORRELATION * latent + np.sqrt(1 - LABEL_CORRELATION**2) * noise
    return ratings_of_latent(_PERSON_STD * person + np.sqrt(1 - _PERSON_STD**2) * latent), states


def _residual(noise: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What a linear regression on `known` leaves of white noise, with the variance that the noise had."""
    explaining = np.column_stack([known, np.ones(len(known))])
    left = noise - explaining @ (np.linalg.pinv(explaining) @ noise)
    return left * np.sqrt(len(noise) / max(1, len(noise) - explaining.shape[1]))
