"""Simulate EEG with a planted effect of emotion, as a stand-in for DEAP.

Recordings are made in memory, one person after the other. `write` puts them into files of DEAP's format on request.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from companion.data._eeg_dipoles import Head, average_dipoles
from companion.data._eeg_ratings import LABEL_CORRELATION
from companion.data._eeg_signals import EFFECT_STD, simulate_person
from companion.data.deap import BANDS, EEG_CHANNELS, RATINGS, Recording
from companion.data.sources import DataError, writable_folder
from vaemi._files import atomic_write


@dataclass(frozen=True)
class Planted:
    """The effect of emotion that a simulation contains.

    Higher valence lowers alpha power over the left of the forehead and raises it over the right. Higher arousal raises
    beta power over frontal and central electrodes and lowers alpha over parietal ones.

    Attributes
    ----------
    topography : dict of str to ndarray, shape (4, 32)
        For valence and arousal: expected change of log band power (natural logarithm) between trials whose standardized
        ratings differ by one, by band and electrode.
    source_changes : dict of str to dict of str to float
        For valence and arousal: change of log power of each dipole concerned, such as "left frontal alpha at F3", by
        one standard deviation of the emotional state.
    effect : float
        Factor of the changes; 0 is no effect.
    seed : int
    subject_std : float
        Standard deviation of the changes over subjects, relative to their mean.
    label_correlation : float
        Correlation of the standardized rating with the state; the rest of the rating is noise.
    bands, electrodes : tuple of str
        The axes of the topographies.
    """

    topography: dict[str, np.ndarray]
    source_changes: dict[str, dict[str, float]]
    effect: float
    seed: int
    subject_std: float = EFFECT_STD
    label_correlation: float = LABEL_CORRELATION
    bands: tuple[str, ...] = tuple(BANDS)
    electrodes: tuple[str, ...] = EEG_CHANNELS


def simulate(
    subjects: int = 8, effect: float = 1.0, seed: int = 0, trials: int = 40, peripheral: bool = False
) -> Iterator[Recording]:
    """Simulate recordings, one subject after the other; each takes about 3 CPU-s and 160 MB.

    Parameters
    ----------
    subjects : int
        From 1 to 99.
    effect : float
        Factor of the effects of valence and arousal. At 1 the best single band power separates high from low ratings
        of a subject with an area under the ROC curve of about 0.67.
    seed : int
        A subject's data depend on it and on the subject's number only.
    trials : int
        Trials of each subject; DEAP has 40.
    peripheral : bool
        Whether to simulate DEAP's eight other channels, too.

    Yields
    ------
    Recording
        Of s01, s02, ...

    Raises
    ------
    ValueError
        If a setting is out of range.
    """
    if not 1 <= subjects <= 99:
        raise ValueError(f"subjects is {subjects}: give a number from 1 to 99.")
    if trials < 1 or seed < 0 or not 0 <= effect < np.inf:
        raise ValueError(f"trials is {trials}, seed {seed}, effect {effect}: give trials >= 1 and the others >= 0.")
    head = Head()
    average = average_dipoles(head)
    for number in range(1, subjects + 1):
        source = np.random.SeedSequence([seed, number])
        yield Recording(f"s{number:02}", *simulate_person(head, average, trials, effect, source, peripheral))


def planted(effect: float = 1.0, seed: int = 0) -> Planted:
    """Return what `simulate` plants with these settings."""
    dipoles = average_dipoles(Head())
    topographies, changes = dipoles.topographies(), dipoles.change
    rated = {rating: RATINGS.index(rating) for rating in ("valence", "arousal")}
    return Planted(
        topography={rating: effect * LABEL_CORRELATION * topographies[column] for rating, column in rated.items()},
        source_changes={
            rating: {dipoles.names[s]: float(effect * changes[column, s]) for s in np.flatnonzero(changes[column])}
            for rating, column in rated.items()
        },
        effect=float(effect),
        seed=seed,
    )


def write(
    folder: str | os.PathLike[str], subjects: int = 8, effect: float = 1.0, seed: int = 0, trials: int = 40
) -> None:
    """Write simulated recordings as files s01.dat, s02.dat, ... in DEAP's format, and planted.json beside them.

    A file takes 103 MB. Parameters are those of `simulate`.

    Raises
    ------
    ValueError
        If a setting is out of range.
    DataError
        If the folder cannot be written to or holds recordings.
    """
    folder = writable_folder(Path(folder))
    if any(folder.glob("*.dat")):
        raise DataError(f"{folder} holds recordings, which are not overwritten: choose another folder.")
    for recording in simulate(subjects, effect, seed, trials, peripheral=True):
        content = {"data": recording.data.astype(np.float64), "labels": recording.ratings.astype(np.float64)}
        with atomic_write(folder / f"{recording.subject}.dat") as scratch, scratch.open("wb") as file:
            pickle.dump(content, file, protocol=4)
    truth = asdict(planted(effect, seed))
    with atomic_write(folder / "planted.json") as scratch:
        scratch.write_text(json.dumps(truth, indent=1, default=np.ndarray.tolist) + "\n", encoding="utf-8")
