"""Analyses that one chapter needs: a module per chapter."""

from companion.experiments.ratings import RatingAssociation, rating_association, slopes_within_subjects
from companion.experiments.subjects import (
    MeanArea,
    areas_across_subjects,
    areas_within_subjects,
    mean_area,
    single_feature_auc,
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
