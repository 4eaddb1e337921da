"""Analyses that one experiment needs: EEG ratings, comparison of objectives, what a smaller code costs."""

from companion.experiments.codes import CodeScores, Recoding, recoding, score_code, scores_table
from companion.experiments.eeg import (
    MeanArea,
    RatingAssociation,
    areas_across_subjects,
    areas_within_subjects,
    mean_area,
    rating_association,
    single_feature_auc,
    slopes_within_subjects,
    trial_means,
)
from companion.experiments.savings import (
    LossChange,
    loss_change,
    objectives_of_inputs,
    pruning_change,
    shrinking_change,
    squared_error_of,
)

__all__ = [
    "CodeScores",
    "LossChange",
    "MeanArea",
    "RatingAssociation",
    "Recoding",
    "areas_across_subjects",
    "areas_within_subjects",
    "loss_change",
    "mean_area",
    "objectives_of_inputs",
    "pruning_change",
    "rating_association",
    "recoding",
    "score_code",
    "scores_table",
    "shrinking_change",
    "single_feature_auc",
    "slopes_within_subjects",
    "squared_error_of",
    "trial_means",
]
