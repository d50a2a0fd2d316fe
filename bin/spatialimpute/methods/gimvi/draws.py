"""Standard normal numbers that belong to a member and a cell, whatever else is drawn, in whatever order and shape."""

import hashlib

import numpy as np

from spatialimpute.methods.gimvi.data import Member, member_seed

#: The increment and the multipliers of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).
GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
#: Pairs of numbers of one cell lie this many apart from those of the next; no cell needs as many.
CELL_STRIDE = np.uint64(1 << 24)


def posterior_draws(member: Member, seed: int, cells: np.ndarray, n: int, n_latent: int) -> np.ndarray:
    """The noise of a member's posterior draws, apart from that of its training.

    SplitMix64 is a function of a counter, here the cell and the number within it, so that a subset or a shard of
    cells gets the numbers of the whole and nothing is drawn for other cells. Each 64 bits give two numbers by Box and
    Muller's transform (1958, doi:10.1214/aoms/1177706645).

    Parameters
    ----------
    cells : (B,), indices among all the sample's spatial cells
    n, n_latent : draws per cell, and dimensions of each

    Returns
    -------
    float32 array, shape (n, B, n_latent)
    """
    text = f"posterior draws of {member_seed(member, seed)}".encode()
    key = np.frombuffer(hashlib.sha256(text).digest()[:8], dtype="<u8")[0]
    pairs = np.arange(-(-n * n_latent // 2), dtype=np.uint64)
    bits = _split_mix(key, cells.astype(np.uint64)[:, None] * CELL_STRIDE + pairs)
    radius = np.sqrt(np.float32(-2) * np.log(_uniform(bits >> np.uint64(32))))
    angle = np.float32(2 * np.pi) * _uniform(bits & np.uint64(0xFFFFFFFF))
    numbers = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, : n * n_latent]
    return np.ascontiguousarray(numbers.reshape(len(cells), n, n_latent).swapaxes(0, 1))


def _split_mix(key: np.uint64, counter: np.ndarray) -> np.ndarray:
    """Output number `counter` of the generator that starts at `key`; 64-bit arithmetic wraps."""
    bits = counter * GOLDEN_GAMMA
    bits += key
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        bits ^= bits >> shift
        bits *= multiplier
    bits ^= bits >> SHIFTS[-1]
    return bits


def _uniform(bits: np.ndarray) -> np.ndarray:
    """32 bits as a float32 in (0, 1]."""
    return (bits.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
