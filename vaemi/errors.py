"""Errors that a user can cause. The message says what failed, why, and what to do."""


class VaemiError(Exception):
    """Base class of the errors that vaemi raises on purpose."""


class AuditError(VaemiError, ValueError):
    """A model, data or file that cannot be audited."""


class TrainingError(VaemiError):
    """A training that cannot start or continue."""


class MissingExtraError(VaemiError, ImportError):
    """An optional dependency that is not installed; the message names the extra that brings it."""
