"""The experiments of the companion: data sets, figures, claims and runs. Lives in a clone of the project only."""
