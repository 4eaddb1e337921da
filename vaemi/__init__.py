"""Which latent factors of a variational autoencoder matter, how much, and for what.

The companion package of *Discovering Influential Factors in Variational Autoencoders* (Pattern Recognition 100,
107166, 2020). Information is in nats throughout.
"""

from vaemi._torchvision import declare_missing_operators
from vaemi._version import __version__

declare_missing_operators()

from vaemi.data.sources import data_root, set_data_root  # noqa: E402 - the operators come first
from vaemi.information import FactorInformation, factor_information  # noqa: E402

__all__ = ["FactorInformation", "__version__", "data_root", "factor_information", "set_data_root"]
