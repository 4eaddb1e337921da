"""What the factors do: vary one, keep some, drop one, and classify from those that are left."""

from .association import LabelInformation, aligned_label, correlated_groups, discretized, label_information
from .classification import accuracies, train_classifier
from .decoding import (
    decode,
    keep,
    keep_top_errors,
    reconstruction_error,
    removal_damage,
    sample_posterior,
    traverse,
)
from .orders import factor_orders, kept_at_ratio, rank_correlation, swap_at_the_cut

__all__ = [
    "LabelInformation",
    "accuracies",
    "aligned_label",
    "correlated_groups",
    "decode",
    "discretized",
    "factor_orders",
    "keep",
    "keep_top_errors",
    "kept_at_ratio",
    "label_information",
    "rank_correlation",
    "reconstruction_error",
    "removal_damage",
    "sample_posterior",
    "swap_at_the_cut",
    "train_classifier",
    "traverse",
]
