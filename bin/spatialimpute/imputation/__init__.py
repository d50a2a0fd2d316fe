"""Imputation: blocks of posterior draws, and what is kept of them."""
