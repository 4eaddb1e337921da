"""The data sets and their substitutes, one module each, and the folder that their files are looked for in."""

from importlib import import_module
from typing import Any

from companion.data.sources import Provenance, data_root, set_data_root
from companion.errors import DataError
from vaemi._torchvision import declare_missing_operators

__all__ = ["DATA_SETS", "DataError", "Provenance", "data_root", "reader", "set_data_root"]

DATA_SETS = {"mnist": "companion.data.mnist", "celeba": "companion.data.celeba", "deap": "companion.data.eeg_frames"}


def reader(data_set: str) -> Any:
    """Return the module of a data set: it has load(source), signature(source), status(), check() and unused_files().

    Examples
    --------
    >>> from companion.data import reader
    >>> reader("mnist").load("embedded", say=lambda sentence: None).train.images.shape
    torch.Size([4000, 1, 28, 28])
    """
    return import_module(DATA_SETS[data_set])


# Before a notebook or test imports torchvision, torchmetrics or Lightning.
declare_missing_operators()
