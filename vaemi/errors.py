"""Errors that a user can cause. The message says what failed, why, and what to do."""

from importlib import import_module
from typing import Any


class VaemiError(Exception):
    """Base class of the errors that vaemi raises on purpose.

    Examples
    --------
    >>> import torch, vaemi
    >>> try:
    ...     vaemi.audit(lambda x: x, torch.zeros(10, 2), progress=False)
    ... except vaemi.VaemiError as error:
    ...     print(type(error).__name__)
    AuditError
    """


class AuditError(VaemiError, ValueError):
    """A model, data or file that cannot be audited.

    Examples
    --------
    >>> import torch, vaemi
    >>> try:
    ...     vaemi.audit(lambda x: (x, x), torch.full((10, 2), torch.nan), progress=False)
    ... except vaemi.AuditError as error:
    ...     print("refused")
    refused
    """


class TrainingError(VaemiError):
    """A training that cannot start or continue.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.errors import TrainingError
    >>> from vaemi.training import train
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> try:
    ...     train(model, torch.zeros(10, 3), torch.zeros(10, 3), steps=0)
    ... except TrainingError as error:
    ...     print(error)
    steps is 0: give a number > 0.
    """


class MissingExtraError(VaemiError, ImportError):
    """An optional dependency that is not installed; the message names the extra that brings it.

    Examples
    --------
    >>> from vaemi.errors import MissingExtraError, import_extra
    >>> try:
    ...     import_extra("a_package_that_is_missing", "audit")
    ... except MissingExtraError as error:
    ...     print(error)
    a_package_that_is_missing is not installed: pip install 'vaemi[audit]'.
    """


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

    Examples
    --------
    >>> from vaemi.errors import import_extra
    >>> import_extra("torch.linalg", "all").__name__
    'torch.linalg'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(f"{error.name} is not installed: pip install 'vaemi[{extra}]'.") from None
