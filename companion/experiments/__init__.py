"""Analyses that one experiment needs: EEG ratings, comparison of objectives, what a smaller code costs."""

from companion.experiments.codes import CodeScores, Recoding, recoding, score_code, scores_table
from companion.experiments.ratings import RatingAssociation, rating_association, slopes_within_subjects
from companion.experiments.savings import (
    LossChange,
    loss_change,
    objectives_of_inputs,
    pruning_change,
    shrinking_change,
    squared_error_of,
)
from companion.experiments.subjects import (
    MeanArea,
    areas_across_subjects,
    areas_within_subjects,
    mean_area,
    single_feature_auc,
    trial_means,
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
