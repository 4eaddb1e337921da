"""Errors that a user of the companion can cause. The message says what failed, why, and what to do."""

from vaemi.errors import VaemiError


class CompanionError(VaemiError):
    """Base class of the errors that the companion raises on purpose."""


class DataError(CompanionError):
    """A data set that is missing, damaged or cannot be written."""


class RunError(CompanionError):
    """A run, its settings or its results that cannot be used."""
