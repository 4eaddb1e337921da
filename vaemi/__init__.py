"""Which latent factors of a variational autoencoder matter, how much, and for what.

The companion package of *Discovering Influential Factors in Variational Autoencoders* (Pattern Recognition 100,
107166, 2020). Information is in nats throughout.
"""

from typing import TYPE_CHECKING, Any

from vaemi._torchvision import declare_missing_operators
from vaemi._version import __version__

declare_missing_operators()

from vaemi.data.sources import data_root, set_data_root  # noqa: E402 - the operators come first
from vaemi.information import FactorInformation, InformationSketch, factor_information  # noqa: E402

if TYPE_CHECKING:
    from vaemi.auditing import audit
    from vaemi.information.metric import FactorInformationMetric
    from vaemi.reference import load_reference

__all__ = [
    "FactorInformation",
    "FactorInformationMetric",
    "InformationSketch",
    "__version__",
    "audit",
    "data_root",
    "factor_information",
    "load_reference",
    "set_data_root",
]


def __getattr__(name: str) -> Any:
    # torchmetrics takes seconds to import, which `vaemi --version` need not wait for.
    if name == "FactorInformationMetric":
        from vaemi.information.metric import FactorInformationMetric

        return FactorInformationMetric
    if name == "audit":
        from vaemi.auditing import audit

        return audit
    if name == "load_reference":
        from vaemi.reference import load_reference

        return load_reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
