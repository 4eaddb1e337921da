"""Errors that a user can cause. The message says what failed, why, and what to do."""

from importlib import import_module
from typing import Any


class VaemiError(Exception):
    """Base class of the errors that vaemi raises on purpose."""


class AuditError(VaemiError, ValueError):
    """A model, data or file that cannot be audited."""


class TrainingError(VaemiError):
    """A training that cannot start or continue."""


class MissingExtraError(VaemiError, ImportError):
    """An optional dependency that is not installed; the message names the extra that brings it."""


def import_extra(module: str, extra: str) -> Any:
    """Import an optional dependency.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"safetensors.torch"``.
    extra : str
        Extra of this package that installs it.

    Returns
    -------
    module

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(f"{error.name} is not installed: pip install 'vaemi[{extra}]'.") from None
