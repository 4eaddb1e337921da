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
from .orders import exchanges_at_the_cut, factor_orders, kept_at_ratio, rank_correlation
from .ratings import RatingAssociation, rating_association, slopes_within_subjects
from .savings import (
    LossChange,
    loss_change,
    objectives_of_inputs,
    pruning_change,
    shrinking_change,
    squared_error_of,
)
from .subjects import (
    MeanArea,
    areas_across_subjects,
    areas_within_subjects,
    mean_area,
    single_feature_auc,
    trial_means,
)

__all__ = [
    "AccuracyChanges",
    "AttributeClassifier",
    "CodeScores",
    "DisentanglementScores",
    "LabelInformation",
    "LossChange",
    "MeanArea",
    "RatingAssociation",
    "Recoding",
    "accuracies",
    "accuracy_changes",
    "aligned_label",
    "areas_across_subjects",
    "areas_within_subjects",
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
    "loss_change",
    "mean_area",
    "objectives_of_inputs",
    "prediction_diversity",
    "pruning_change",
    "rank_correlation",
    "rating_association",
    "recoding",
    "reconstruction_error",
    "removal_damage",
    "sample_posterior",
    "sample_prior",
    "score_code",
    "scores_table",
    "shrinking_change",
    "single_feature_auc",
    "slopes_within_subjects",
    "squared_error_of",
    "train_attributes",
    "train_classifier",
    "traverse",
    "trial_means",
    "variance_explained",
]
