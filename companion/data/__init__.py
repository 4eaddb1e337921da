"""The data sets, one module each, and where their files are looked for."""

from companion.data.sources import DataError, Provenance, data_root, set_data_root
from vaemi._torchvision import declare_missing_operators

__all__ = ["DataError", "Provenance", "data_root", "set_data_root"]

# Before a notebook or test imports torchvision, torchmetrics or Lightning.
declare_missing_operators()
