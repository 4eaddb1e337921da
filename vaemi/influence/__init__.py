"""What the factors do: vary one, keep some, remove one, and relate them to labels."""

from .classification import attribute_accuracies
from .decoding import (
    decode,
    factor_orders,
    keep,
    keep_top_errors,
    keep_top_sample_errors,
    reconstruction_error,
    removal_damage,
    sample_posterior,
    traverse,
)
from .disentanglement import DisentanglementScores, disentanglement_scores
from .effects import DecoderEffects, decoder_effects
from .labels import LabelInformation, discretized, label_information

__all__ = [
    "DecoderEffects",
    "DisentanglementScores",
    "LabelInformation",
    "attribute_accuracies",
    "decode",
    "decoder_effects",
    "discretized",
    "disentanglement_scores",
    "factor_orders",
    "keep",
    "keep_top_errors",
    "keep_top_sample_errors",
    "label_information",
    "reconstruction_error",
    "removal_damage",
    "sample_posterior",
    "traverse",
]
