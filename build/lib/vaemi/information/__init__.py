"""How much each latent factor knows about the input: I(X; Z_h) in nats. Needs nothing but torch."""

from .bounds import (
    entropy_of_labels,
    fano_accuracy_bound,
    fano_accuracy_bound_exact,
    gaussian_entropy,
    gaussian_entropy_from_samples,
    reconstruction_bound,
    reverse_water_filling,
    water_level,
)
from .distributed import ShareSampler, share
from .errors import standard_error
from .factors import factor_information
from .gaussian import gaussian_information, kl_to_prior
from .joint import (
    JointInformation,
    Separation,
    TotalCorrelation,
    joint_information,
    minibatch_log_density,
    separation,
    total_correlation,
    total_correlation_bound,
)
from .result import FactorInformation
from .sketch import InformationSketch

__all__ = [
    "FactorInformation",
    "InformationSketch",
    "JointInformation",
    "Separation",
    "ShareSampler",
    "TotalCorrelation",
    "entropy_of_labels",
    "factor_information",
    "fano_accuracy_bound",
    "fano_accuracy_bound_exact",
    "gaussian_entropy",
    "gaussian_entropy_from_samples",
    "gaussian_information",
    "joint_information",
    "kl_to_prior",
    "minibatch_log_density",
    "reconstruction_bound",
    "reverse_water_filling",
    "separation",
    "share",
    "standard_error",
    "total_correlation",
    "total_correlation_bound",
    "water_level",
]
