"""How much each latent factor knows about the input: I(X; Z_h) in nats. Needs nothing but torch."""

from .bounds import entropy_of_labels, fano_accuracy_bound
from .factors import factor_information
from .gaussian import gaussian_information, kl_to_prior
from .mixture import mixture_information
from .result import FactorInformation

__all__ = [
    "FactorInformation",
    "entropy_of_labels",
    "factor_information",
    "fano_accuracy_bound",
    "gaussian_information",
    "kl_to_prior",
    "mixture_information",
]
