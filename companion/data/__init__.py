"""The data sets and their substitutes, one module each, and the folder that their files are looked for in."""

from companion.data.sources import Provenance, data_root, set_data_root
from companion.errors import DataError
from vaemi._torchvision import declare_missing_operators

__all__ = ["DataError", "Provenance", "data_root", "set_data_root"]

# Before a notebook or test imports torchvision, torchmetrics or Lightning.
declare_missing_operators()
