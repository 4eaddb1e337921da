"""Analyses that one chapter needs: a module per chapter."""

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

__all__ = [
    "MeanArea",
    "RatingAssociation",
    "areas_across_subjects",
    "areas_within_subjects",
    "mean_area",
    "rating_association",
    "single_feature_auc",
    "slopes_within_subjects",
    "trial_means",
]
