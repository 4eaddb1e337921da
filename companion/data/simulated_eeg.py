"""Simulated EEG in DEAP's file format, in which emotion is planted: a stand-in for data that cannot be passed on.

Beside the recordings lies what was planted, so that what is found in them can be scored against it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from companion.data import _python2_pickle
from companion.data._eeg_channels import EEG_CHANNELS
from companion.data._eeg_dipoles import BANDS, Dipoles, Head, average_dipoles
from companion.data._eeg_ratings import LABEL_CORRELATION, RATINGS
from companion.data._eeg_signals import EFFECT_STD, simulate_person
from companion.data.sources import DataError, writable_folder

# Raised when the same settings make other recordings than before.
_RECIPE = 2
_MANIFEST = "manifest.json"
_PLANTED = "planted.json"
_PLANTED_ARRAYS = "planted.safetensors"


@dataclass(frozen=True)
class PlantedEffect:
    """How one rating shows in the EEG.

    Attributes
    ----------
    topography : array, shape (4, 32)
        Expected change of log band power (natural logarithm) between trials whose standardized rating differs by one,
        for the bands of `Planted.bands` and the electrodes of `Planted.electrodes`.
    sources : tuple of str, length n
        The dipoles that change, such as "left frontal alpha at F3".
    source_bands : tuple of str, length n
    source_positions : array, shape (n, 3)
        In m, in MNE's head coordinates.
    source_changes : array, shape (n,)
        Change of a dipole's log power by one standard deviation of the emotional state.
    subject_std : float
        Standard deviation over subjects of the changes, relative to their mean.
    label_correlation : float
        Correlation of the standardized rating with the state; the rest of the rating is noise.
    """

    topography: np.ndarray
    sources: tuple[str, ...]
    source_bands: tuple[str, ...]
    source_positions: np.ndarray
    source_changes: np.ndarray
    subject_std: float
    label_correlation: float


@dataclass(frozen=True)
class Planted:
    """What was planted in a folder of simulated recordings.

    Attributes
    ----------
    valence : PlantedEffect
        Higher valence: less alpha power over the left of the forehead and more over the right.
    arousal : PlantedEffect
        Higher arousal: more beta power over frontal and central electrodes and less alpha over parietal ones.
    effect : float
        What the changes were multiplied by; 0 is no effect.
    seed : int
    bands : tuple of str
        The first axis of the topographies.
    electrodes : tuple of str
        The second.
    """

    valence: PlantedEffect
    arousal: PlantedEffect
    effect: float
    seed: int
    bands: tuple[str, ...]
    electrodes: tuple[str, ...]


_EFFECTS = ("valence", "arousal")


def simulate(
    folder: str | os.PathLike[str],
    subjects: int = 8,
    effect: float = 1.0,
    seed: int = 0,
    trials: int = 40,
    say: Callable[[str], None] = print,
) -> None:
    """Write simulated recordings as DEAP's files s01.dat, s02.dat, ...

    Every file is a pickle of protocol 2, a dict with data (trials, 40, 8064) and labels (trials, 4), both float64, made
    up as Python 2 would and to be read with the encoding latin1. Subjects whose file is whole are not made again, so an
    interrupted run goes on, and a folder can be given more subjects later.

    Parameters
    ----------
    folder : path
    subjects : int
        From 1 to 99.
    effect : float
        What the effects of valence and arousal are multiplied by; at 1 the best single band power separates high from
        low ratings of a subject at an area under the ROC curve of about 0.67.
    seed : int
        With a subject's number decides that subject's data.
    trials : int
        Trials of each subject; DEAP has 40.
    say : callable
        Receives one sentence in the end.

    Raises
    ------
    ValueError
        If a number of subjects or trials, the seed or the effect makes no sense.
    DataError
        If the folder cannot be written to, or holds recordings that are of other settings, damaged, or none of ours.
    """
    if not 1 <= subjects <= 99:
        raise ValueError(f"subjects is {subjects}: give a number from 1 to 99.")
    if trials < 1 or seed < 0 or not 0 <= effect < np.inf:
        raise ValueError(f"trials is {trials}, seed {seed}, effect {effect}: give trials >= 1 and the others >= 0.")
    folder = writable_folder(Path(folder))
    manifest = _Manifest(folder, {"recipe": _RECIPE, "effect": float(effect), "seed": seed, "trials": trials})
    numbers = [number for number in range(1, subjects + 1) if not manifest.is_whole(_name(number))]
    head = Head()
    average = average_dipoles(head)
    progress = tqdm(numbers, "simulating EEG", subjects, initial=subjects - len(numbers), unit="subject", mininterval=2)
    for number in progress:
        recordings, ratings = simulate_person(head, average, trials, effect, np.random.SeedSequence([seed, number]))
        manifest.write(_name(number), _python2_pickle.dumps({"data": recordings, "labels": ratings}))
    _save_planted(folder, _planted(average, effect, seed))
    say(f"EEG: {subjects} simulated subjects of {trials} trials in {folder}, {len(numbers)} of them made now.")


def _name(number: int) -> str:
    return f"s{number:02}.dat"


class _Manifest:
    """Which recordings in a folder are ours, of which settings, and what whole ones look like."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._path = folder / _MANIFEST
        self._settings = settings
        self._checksums: dict[str, str] = {}
        if self._path.exists():
            content = _read_json(self._path)
            if content.get("settings") != settings:
                raise DataError(
                    f"{self._path} says that the recordings beside it were simulated with {content.get('settings')}, "
                    f"not with {settings}: choose another folder, or remove this one."
                )
            self._checksums = content.get("blake2b", {})

    def is_whole(self, name: str) -> bool:
        """Whether the file is there, as it was written.

        Raises
        ------
        DataError
            If something else has its name.
        """
        path = self._folder / name
        if not path.exists():
            return False
        if name not in self._checksums:
            raise DataError(f"{path} was not written by the simulation and is left as it is: choose another folder.")
        if _blake2b(path) != self._checksums[name]:
            raise DataError(f"{path} is damaged (its checksum is not that in {self._path}): remove it and try again.")
        return True

    def write(self, name: str, content: list[bytes | memoryview]) -> None:
        """Write a file and note it."""
        # Noted before it takes its name: whatever has the name is known to be ours even after an interruption.
        with _new_file(self._folder / name) as scratch:
            with scratch.open("wb") as file:
                file.writelines(content)
            self._checksums[name] = _blake2b(scratch)
            _write_json(self._path, {"settings": self._settings, "blake2b": self._checksums})


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A temporary name, which becomes `path` when what was to be done with it is done."""
    scratch = path.with_name(f".{path.name}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with _new_file(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): simulate the recordings into another folder.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is not what the simulation writes: simulate the recordings into another folder.")
    return content


def _blake2b(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _planted(dipoles: Dipoles, effect: float, seed: int) -> Planted:
    topographies = dipoles.topographies()

    def of(rating: str) -> PlantedEffect:
        place = RATINGS.index(rating)
        involved = np.flatnonzero(dipoles.change[place])
        return PlantedEffect(
            topography=effect * LABEL_CORRELATION * topographies[place],
            sources=tuple(dipoles.names[source] for source in involved),
            source_bands=tuple(BANDS[dipoles.band[source]].name for source in involved),
            source_positions=dipoles.positions[involved],
            source_changes=effect * dipoles.change[place, involved],
            subject_std=EFFECT_STD,
            label_correlation=LABEL_CORRELATION,
        )

    bands = tuple(band.name for band in BANDS)
    return Planted(of("valence"), of("arousal"), float(effect), seed, bands, EEG_CHANNELS)


def _save_planted(folder: Path, planted: Planted) -> None:
    from safetensors.numpy import save

    content = asdict(planted)
    arrays = {
        f"{rating}.{name}": content[rating].pop(name)
        for rating in _EFFECTS
        for name in [field.name for field in fields(PlantedEffect)]
        if isinstance(content[rating][name], np.ndarray)
    }
    with _new_file(folder / _PLANTED_ARRAYS) as scratch:
        # Not its save_file, which leaves a file of any name when it is killed.
        scratch.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    _write_json(folder / _PLANTED, content)


def load_planted(folder: str | os.PathLike[str]) -> Planted:
    """What was planted in the recordings of a folder.

    Raises
    ------
    DataError
        If it is not there, as when the simulation was interrupted, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    path = folder / _PLANTED_ARRAYS
    for needed in (folder / _PLANTED, path):
        if not needed.exists():
            raise DataError(f"{needed} is missing: simulate the recordings, which ends with writing it.")
    content = _read_json(folder / _PLANTED)
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path} is damaged ({error}): remove it and simulate the recordings again.") from None
    try:
        effects = {rating: _effect_from(rating, content[rating], arrays) for rating in _EFFECTS}
        return Planted(
            **effects,
            effect=content["effect"],
            seed=content["seed"],
            bands=tuple(content["bands"]),
            electrodes=tuple(content["electrodes"]),
        )
    except (KeyError, TypeError):
        raise DataError(
            f"{folder / _PLANTED} and {path.name} do not fit together: simulate the recordings again."
        ) from None


def _effect_from(rating: str, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> PlantedEffect:
    listed: dict[str, Any] = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
    prefix = f"{rating}."
    stored = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return PlantedEffect(**{**content, **listed, **stored})
