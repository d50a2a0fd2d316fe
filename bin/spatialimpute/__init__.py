"""Impute the genes a spatial transcriptomics panel did not measure, with gimVI (Lopez et al. 2019)."""

__version__ = "0.1.0"
