"""Which latent factors of a variational autoencoder matter, how much, and for what.

The library behind the companion of *Discovering Influential Factors in Variational Autoencoders* (Pattern Recognition
100, 107166, 2020). Information is in nats throughout.
"""

from typing import TYPE_CHECKING, Any

from vaemi._version import __version__
from vaemi.errors import AuditError, MissingExtraError, TrainingError, VaemiError

if TYPE_CHECKING:
    from vaemi.auditing import Audit, audit, audit_files
    from vaemi.criteria import compare_criteria
    from vaemi.information import FactorInformation, InformationSketch, factor_information
    from vaemi.information.metric import FactorInformationMetric

# Names are imported on first use: `vaemi --help` must not import torch, and only the metric needs torchmetrics.
_MODULES = {
    "Audit": "vaemi.auditing",
    "FactorInformation": "vaemi.information",
    "FactorInformationMetric": "vaemi.information.metric",
    "InformationSketch": "vaemi.information",
    "audit": "vaemi.auditing",
    "audit_files": "vaemi.auditing",
    "compare_criteria": "vaemi.criteria",
    "factor_information": "vaemi.information",
}

__all__ = [
    "Audit",
    "AuditError",
    "FactorInformation",
    "FactorInformationMetric",
    "InformationSketch",
    "MissingExtraError",
    "TrainingError",
    "VaemiError",
    "__version__",
    "audit",
    "audit_files",
    "compare_criteria",
    "factor_information",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "FactorInformationMetric":
        from vaemi._torchvision import declare_missing_operators
        from vaemi.errors import import_extra

        declare_missing_operators()
        import_extra("torchmetrics", "metrics")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
