"""How much each latent factor carries about the input: I(X; Z_h) in nats. Needs torch only.

Most estimators take Gaussian posteriors, as means and log-variances. `discrete_information`, `codebook_usage`,
`density_information` and `draws_information` take other families.
"""

from .bounds import fano_accuracy_bound, fano_accuracy_bound_exact, reconstruction_bound
from .codebook import CodebookUsage, codebook_usage
from .conditional import ConditionalInformation, conditional_information
from .density import density_information
from .discrete import discrete_information
from .distributed import ShareSampler
from .draws import draws_information
from .factors import factor_information
from .gaussian import gaussian_information, gaussian_joint_information, kl_to_prior
from .hierarchical import LayerInformation, hierarchical_information
from .joint import JointInformation, TotalCorrelation, joint_information, total_correlation
from .redundancy import PairwiseInformation, pairwise_information
from .result import FactorInformation, standard_error
from .sketch import InformationSketch

__all__ = [
    "CodebookUsage",
    "ConditionalInformation",
    "FactorInformation",
    "InformationSketch",
    "JointInformation",
    "LayerInformation",
    "PairwiseInformation",
    "ShareSampler",
    "TotalCorrelation",
    "codebook_usage",
    "conditional_information",
    "density_information",
    "discrete_information",
    "draws_information",
    "factor_information",
    "fano_accuracy_bound",
    "fano_accuracy_bound_exact",
    "gaussian_information",
    "gaussian_joint_information",
    "hierarchical_information",
    "joint_information",
    "kl_to_prior",
    "pairwise_information",
    "reconstruction_bound",
    "standard_error",
    "total_correlation",
]
