"""What a misspelled name may have meant, as messages put it."""

import difflib
from collections.abc import Iterable


def nearest_names(name: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """The n names of `known` most like `name`, case ignored, best first; fewer where others are unlike it.

    Parameters
    ----------
    cutoff : share of letters that a name must have in common, from 0 to 1 (:func:`difflib.get_close_matches`)

    >>> nearest_names("pvlb", ["Gad1", "Pvalb"])
    ['Pvalb']
    """
    by_fold = {str(other).casefold(): str(other) for other in known}
    return [by_fold[near] for near in difflib.get_close_matches(name.casefold(), by_fold, n=n, cutoff=cutoff)]


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message that asks for the one name that was meant; "" where none is near.

    >>> did_you_mean("kapa", ["kappa", "seed"])
    "; did you mean 'kappa'?"
    """
    near = nearest_names(name, known, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""


def nearest_listed(name: str, known: Iterable[str]) -> str:
    """A remark behind one of several names, with up to three that it may have meant; "" where none is near.

    >>> nearest_listed("Pvlb", ["Pvalb", "Sst"])
    ' (nearest names: Pvalb)'
    """
    near = nearest_names(name, known, n=3)
    return f" (nearest names: {', '.join(near)})" if near else ""
