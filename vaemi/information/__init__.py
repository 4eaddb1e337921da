"""How much each latent factor carries about the input: I(X; Z_h) in nats. Needs torch only.

All estimators take Gaussian posteriors, as means and log-variances; one for another family is a module here.
"""

from .bounds import fano_accuracy_bound, fano_accuracy_bound_exact, reconstruction_bound
from .distributed import ShareSampler
from .factors import factor_information
from .gaussian import gaussian_information, gaussian_joint_information, kl_to_prior
from .joint import JointInformation, TotalCorrelation, joint_information, total_correlation
from .redundancy import PairwiseInformation, pairwise_information
from .result import FactorInformation, standard_error
from .sketch import InformationSketch

__all__ = [
    "FactorInformation",
    "InformationSketch",
    "JointInformation",
    "PairwiseInformation",
    "ShareSampler",
    "TotalCorrelation",
    "factor_information",
    "fano_accuracy_bound",
    "fano_accuracy_bound_exact",
    "gaussian_information",
    "gaussian_joint_information",
    "joint_information",
    "kl_to_prior",
    "pairwise_information",
    "reconstruction_bound",
    "standard_error",
    "total_correlation",
]
