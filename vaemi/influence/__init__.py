"""What the factors do: vary one, keep some, drop one, and classify from those that are left."""

from .association import LabelInformation, aligned_label, correlated_groups, discretized, label_information
from .classification import (
    AttributeClassifier,
    accuracies,
    attribute_accuracies,
    balanced_weights,
    lift_kept,
    train_attributes,
    train_classifier,
)
from .codes import CodeScores, Recoding, recoding, score_code, scores_table
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
from .orders import factor_orders, kept_at_ratio, rank_correlation, swap_at_the_cut
from .ratings import RatingAssociation, rating_association, slopes_within_subjects
from .subjects import (
    MeanArea,
    areas_across_subjects,
    areas_within_subjects,
    mean_area,
    single_feature_auc,
    trial_means,
)

__all__ = [
    "AttributeClassifier",
    "CodeScores",
    "DisentanglementScores",
    "LabelInformation",
    "MeanArea",
    "RatingAssociation",
    "Recoding",
    "accuracies",
    "aligned_label",
    "areas_across_subjects",
    "areas_within_subjects",
    "attribute_accuracies",
    "balanced_weights",
    "correlated_groups",
    "decode",
    "discretized",
    "disentanglement_scores",
    "factor_orders",
    "keep",
    "keep_top_errors",
    "kept_at_ratio",
    "label_information",
    "lift_kept",
    "mean_area",
    "prediction_diversity",
    "rank_correlation",
    "rating_association",
    "recoding",
    "reconstruction_error",
    "removal_damage",
    "sample_posterior",
    "sample_prior",
    "score_code",
    "scores_table",
    "single_feature_auc",
    "slopes_within_subjects",
    "swap_at_the_cut",
    "train_attributes",
    "train_classifier",
    "traverse",
    "trial_means",
    "variance_explained",
]
