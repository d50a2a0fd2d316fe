"""From a raw file to canonical counts."""
