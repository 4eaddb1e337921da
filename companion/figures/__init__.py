"""Figures of the book, one module per chapter: each function takes results and returns the figure."""
# ruff: noqa: F401  (every import is a public name)

from companion.figures.celeba import accuracy_by_attribute, attribute_accuracy, contact_sheet, label_information
from companion.figures.criteria import SHORT, counts_by_weight, reach_of_lines, small_encoders, trial_grid
from companion.figures.deap import areas, factors_and_ratings, rating_counts, recording, scalp_maps, trajectories
from companion.figures.estimators import bracket, coverage, error_against_samples, marginals_and_fits
from companion.figures.mnist import (
    accuracy_by_ratio,
    emergence,
    fano,
    removal_scatter,
    spectrum_by_index,
    training_terms,
)
from companion.figures.objectives import deviation_against_information, spectra_side_by_side
from companion.figures.pages import (
    Choice,
    beta_path,
    cost_and_error,
    decision_list,
    landing,
    rotated_code,
    time_and_memory,
    used_and_ignored_factor,
)
from companion.figures.shared import (
    information_maps,
    masking_curves,
    redundancy,
    spectra,
    spectrum,
    spectrum_and_deviations,
    strips,
)
from companion.figures.sparsity import (
    codes_by_angle,
    factors_against_dimension,
    information_path,
    spectra_by_dimension,
    too_few_factors,
)
from companion.figures.style import as_svg, use_style
from companion.figures.theory import (
    fano_at_its_best,
    gaussian_gap,
    kl_split,
    reconstruction_against_bound,
    separation,
    water_filling_path,
)
from companion.figures.your_vae import information_by_place
from vaemi.auditing.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, WIDTH
