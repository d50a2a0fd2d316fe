"""Rounding to the precision that posterior draws give, so that what is stored compresses."""

import math

import numpy as np

from spatialimpute.imputation.reducers import Summary

#: A value is kept to this share of the Monte-Carlo error of the mean, sd / sqrt(draws), or finer.
SHARE_OF_ERROR = 1 / 4
#: Bits kept behind a value's leading one, at most: three decimal digits.
MANTISSA_BITS = 11
_MANTISSA, _EXPONENT = 23, np.int32(0x7F800000)
#: Keeps the grid of a value without a standard deviation from underflow.
FINEST = np.float32(2.0**-60)


def round_summary(summary: Summary, n_draws: int) -> Summary:
    """The summary with each value rounded to what its draws can tell; NaN stays.

    The four values of a cell and gene share one grid, a power of two below a quarter of the mean's Monte-Carlo error,
    and rounding never changes which of two values is the larger.
    """
    coarser = 2.0 ** math.floor(math.log2(SHARE_OF_ERROR / math.sqrt(n_draws)))
    grid = (summary.sd.view(np.int32) & _EXPONENT).view(np.float32)  # the power of two below each sd
    grid = np.maximum(np.where(np.isfinite(grid), grid, 0) * np.float32(coarser), FINEST)
    return Summary(*(to_mantissa(np.rint(values / grid) * grid) for values in summary))


def to_mantissa(values: np.ndarray) -> np.ndarray:
    """Floats with MANTISSA_BITS bits, to the nearest."""
    dropped = _MANTISSA - MANTISSA_BITS
    bits = values.view(np.int32)
    rounded = (bits + np.int32(1 << (dropped - 1))) & np.int32(-1 << dropped)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)
