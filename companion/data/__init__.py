"""The data sets, one module each, and where their files are looked for."""

from companion.data.sources import DataError, Provenance, data_root, set_data_root

__all__ = ["DataError", "Provenance", "data_root", "set_data_root"]
