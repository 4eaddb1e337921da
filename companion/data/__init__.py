"""The data sets and their substitutes, one module each, and the folder that their files are looked for in."""

from companion.data.sources import Provenance, data_root, set_data_root
from companion.errors import DataError

__all__ = ["DataError", "Provenance", "data_root", "set_data_root"]
