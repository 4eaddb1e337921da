"""What the factors do: vary one, keep some, drop one, classify from those that are left, and what fewer cost."""

from .association import LabelInformation, aligned_label, correlated_groups, discretized, label_information
from .classification import (
    AccuracyChanges,
    AttributeClassifier,
    accuracies,
    accuracy_changes,
    attribute_accuracies,
    balanced_weights,
    lift_kept,
    train_attributes,
    train_classifier,
)
from .decoding import (
    decode,
    keep,
    keep_top_errors,
    reconstruction_error,
    removal_damage,
    sample_posterior,
    traverse,
)
from .disentanglement import DisentanglementScores, disentanglement_scores
from .generation import prediction_diversity, sample_prior, variance_explained
from .orders import exchanges_at_the_cut, factor_orders, kept_at_ratio, rank_correlation

__all__ = [
    "AccuracyChanges",
    "AttributeClassifier",
    "DisentanglementScores",
    "LabelInformation",
    "accuracies",
    "accuracy_changes",
    "aligned_label",
    "attribute_accuracies",
    "balanced_weights",
    "correlated_groups",
    "decode",
    "discretized",
    "disentanglement_scores",
    "exchanges_at_the_cut",
    "factor_orders",
    "keep",
    "keep_top_errors",
    "kept_at_ratio",
    "label_information",
    "lift_kept",
    "prediction_diversity",
    "rank_correlation",
    "reconstruction_error",
    "removal_damage",
    "sample_posterior",
    "sample_prior",
    "train_attributes",
    "train_classifier",
    "traverse",
    "variance_explained",
]
