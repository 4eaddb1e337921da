"""Simulated ratings with DEAP's statistics, and the emotional states behind them."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from companion.data.deap import RATINGS

LABEL_CORRELATION = 0.54  # of a rating with its emotional state; the rest of the rating is noise
_RATING_MEAN = np.array([5.25, 5.16, 5.38, 5.52])
_RATING_ABOVE_5 = np.array([0.553, 0.576, 0.609, 0.665])
# Of the latent variables behind the ratings, roughly as the ratings of people are correlated.
_RATING_CORRELATION = np.array(
    [[1.0, 0.1, 0.3, 0.6], [0.1, 1.0, 0.25, 0.2], [0.3, 0.25, 1.0, 0.3], [0.6, 0.2, 0.3, 1.0]]
)
_MEAN_DEPTH = 0.46  # how far below 5 a rating below 5 is on average, as a fraction of the 4 that are possible
_PERSON_STD = 0.25  # of a person's mean latent variable, where all latent variables have standard deviation 1


def draw_ratings(trials: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one person's ratings and emotional states.

    The label noise is made uncorrelated with the ratings within the person: in few trials it could otherwise hide or
    double an effect.

    Returns
    -------
    ratings : ndarray, shape (trials, 4)
        From 1 to 9.
    states : ndarray, shape (trials, 4)
        Of variance 1, correlated `LABEL_CORRELATION` with the latent variables of the ratings.
    """
    root = np.linalg.cholesky(_RATING_CORRELATION)
    person = root @ generator.standard_normal(len(RATINGS))
    latent = generator.standard_normal((trials, len(RATINGS))) @ root.T
    noise = _residual(generator.standard_normal((trials, len(RATINGS))), latent)
    states = LABEL_CORRELATION * latent + np.sqrt(1 - LABEL_CORRELATION**2) * noise
    return ratings_of_latent(_PERSON_STD * person + np.sqrt(1 - _PERSON_STD**2) * latent), states


def ratings_of_latent(latent: np.ndarray) -> np.ndarray:
    """Map standard normal variables, shape (..., 4), monotonically to ratings from 1 to 9.

    The fraction above 5 and the mean are DEAP's: on either side of 5 a rating is a power of a uniform variable.
    """
    probability = ndtr(latent)
    below = 1 - _RATING_ABOVE_5
    mean_height = (_RATING_MEAN - 5 + 4 * below * _MEAN_DEPTH) / (4 * _RATING_ABOVE_5)
    # The mean of u^k for u uniform on (0, 1) is 1 / (k + 1).
    height = np.clip((probability - below) / _RATING_ABOVE_5, 0, 1) ** (1 / mean_height - 1)
    depth = np.clip((below - probability) / below, 0, 1) ** (1 / _MEAN_DEPTH - 1)
    return 5 + 4 * (height - depth)


def _residual(noise: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the residual of white noise regressed on `known`, scaled to the variance of the noise."""
    design = np.column_stack([known, np.ones(len(known))])
    residual = noise - design @ (np.linalg.pinv(design) @ noise)
    return residual * np.sqrt(len(noise) / max(1, len(noise) - design.shape[1]))
