"""What the factors do: vary one, keep some, remove one, and relate them to labels."""

from .association import LabelInformation, aligned_label, discretized, label_information
from .classification import (
    AttributeClassifier,
    accuracies,
    attribute_accuracies,
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
from .generation import sample_prior, variance_explained
from .orders import factor_orders

__all__ = [
    "AttributeClassifier",
    "DisentanglementScores",
    "LabelInformation",
    "accuracies",
    "aligned_label",
    "attribute_accuracies",
    "decode",
    "discretized",
    "disentanglement_scores",
    "factor_orders",
    "keep",
    "keep_top_errors",
    "label_information",
    "reconstruction_error",
    "removal_damage",
    "sample_posterior",
    "sample_prior",
    "train_attributes",
    "train_classifier",
    "traverse",
    "variance_explained",
]
