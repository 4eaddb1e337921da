"""Numbers of the pages without a notebook."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from companion import claims
from vaemi import factor_information


def used_factor_nats(sigma: float = 0.25) -> float:
    """Return the information of a factor with posteriors of width sigma and a standard normal marginal."""
    means = np.random.default_rng(4).normal(0, np.sqrt(1 - sigma**2), (2000, 1))
    return float(factor_information(means, np.full_like(means, 2 * np.log(sigma))).nats[0])


# Variances of the means and of the noise of two independent factors, by the name of their code.
ROTATED = {"equal noise": ((0.95, 0.15), (0.05, 0.05)), "one used, one ignored": ((0.99, 0.0), (0.01, 1.0))}


def rotated_information(mean_variance: Sequence[float], noise_variance: Sequence[float], angle: float) -> np.ndarray:
    """Return I(X; Z_h) in nats, shape (2,), of two Gaussian factors after a rotation of their plane.

    Both factors stay Gaussian, so I(X; Z_h) = 1/2 log(1 + variance of the mean / variance of the noise).

    Parameters
    ----------
    mean_variance, noise_variance : sequence of float, length 2
        Variances of the independent means and of the noise around them, before the rotation.
    angle : float
        In radians.
    """
    shares = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) ** 2
    return 0.5 * np.log1p(shares @ np.asarray(mean_variance) / (shares @ np.asarray(noise_variance)))


def rotated_codes(samples: int = 20_000) -> pd.DataFrame:
    """Return the information of two factors as their plane is rotated, which leaves their joint information unchanged.

    In the first code the noise is the same in both factors, so that the rotated encoder is still a factorized one; in
    the second it is not: one factor is used and one ignored.

    Returns
    -------
    DataFrame
        Columns code, degrees, factor_1, factor_2, joint (nats), and estimated: their sum by `factor_information`, at
        every fifteenth degree.
    """
    standard = np.random.default_rng(0).standard_normal((samples, 2))
    rows = []
    for code, (of_means, of_noise) in ROTATED.items():
        joint = float(rotated_information(of_means, of_noise, 0.0).sum())
        for degrees in range(91):
            angle = np.radians(degrees)
            one, two = rotated_information(of_means, of_noise, angle)
            estimated = np.nan
            if degrees % 15 == 0:
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                means = standard * np.sqrt(of_means) @ turn.T
                log_variance = np.tile(np.log(turn**2 @ np.asarray(of_noise)), (samples, 1))
                estimated = factor_information(means, log_variance).total
            rows.append((code, degrees, one, two, joint, estimated))
    return pd.DataFrame(rows, columns=["code", "degrees", "factor_1", "factor_2", "joint", "estimated"])


def rotated_numbers(codes: pd.DataFrame) -> dict[str, float]:
    """Return the numbers that the page on limits quotes, with names that begin with "alike" and "unlike"."""
    numbers = {}
    for name, (_, rows) in zip(("alike", "unlike"), codes.groupby("code", sort=False), strict=True):
        start, turned = rows.iloc[0], rows[rows.degrees == 45].iloc[0]
        numbers[f"{name}_joint"] = float(start.joint)
        numbers[f"{name}_turned_sum"] = float(turned.factor_1 + turned.factor_2)
        numbers[f"{name}_factor"] = float(max(start.factor_1, start.factor_2))
        numbers[f"{name}_turned_factor"] = float(turned.factor_1)
    return numbers


def noisy_copies(ratio: float = 19.0) -> dict[str, float]:
    """Return the nats of two factors that report the same Gaussian mean with independent noise.

    Parameters
    ----------
    ratio : float
        Variance of the mean divided by that of the noise.

    Returns
    -------
    dict
        `ratio`; the nats of `each` factor, 1/2 log(1 + ratio); their `sum`; and both together, `joint`,
        1/2 log(1 + 2 ratio), as the average of two readings has half the noise.
    """
    each = 0.5 * float(np.log1p(ratio))
    return {"ratio": ratio, "each": each, "sum": 2 * each, "joint": 0.5 * float(np.log1p(2 * ratio))}


def damage_correlation(information: Sequence[float], damage: Sequence[float]) -> dict[str, float]:
    """Return Spearman's correlation of information and damage over the influential and over the ignored factors."""
    table = pd.DataFrame({"information": information, "damage": damage})
    is_influential = table.information > claims.THRESHOLD
    return {
        name: float(rows.information.corr(rows.damage, method="spearman"))
        for name, rows in (("influential", table[is_influential]), ("ignored", table[~is_influential]))
    }


def rare_flag(share: float) -> float:
    """Return the nats of a factor that separates a group of this share of the data: the entropy of the group."""
    means = np.zeros((20_000, 1))
    means[: round(share * len(means))] = 20.0
    return float(factor_information(means, np.zeros_like(means)).nats[0])
