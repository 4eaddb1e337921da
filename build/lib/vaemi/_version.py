"""The package's version, readable without importing torch."""

__version__ = "0.6.0"
