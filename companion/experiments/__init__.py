"""Analyses that one chapter needs: a module per chapter."""

from companion.experiments.eeg import (
    RatingAssociation,
    areas_across_subjects,
    areas_within_subjects,
    mean_areas,
    rating_association,
    single_feature_auc,
    slopes_within_subjects,
)

__all__ = [
    "RatingAssociation",
    "areas_across_subjects",
    "areas_within_subjects",
    "mean_areas",
    "rating_association",
    "single_feature_auc",
    "slopes_within_subjects",
]
