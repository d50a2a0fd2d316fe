"""Which species a file's Ensembl ids are of. An id of one species never is a gene of another, whatever the symbols."""

import re
from collections import Counter
from collections.abc import Iterable

_ID = re.compile(r"^ENS([A-Z]{3,4})?G\d{11}(\.\d+)?$", re.IGNORECASE)
_SPECIES = {
    "": "human", "MUS": "mouse", "RNO": "rat", "DAR": "zebrafish", "MMU": "macaque", "GAL": "chicken", "SSC": "pig",
    "BTA": "cow", "CJA": "marmoset", "PTR": "chimpanzee", "CAF": "dog", "OCU": "rabbit", "XET": "frog",
}  # fmt: skip
#: Ids from which on they tell something, and of which most have to agree.
FEWEST_IDS, MOST = 5, 0.9


def species_of(names: Iterable[str] | None) -> str | None:
    """The species of the Ensembl ids among names, in words; None where there are few, or of several species.

    >>> species_of(f"ENSMUSG{i:011d}" for i in range(9))
    'mouse'
    """
    found = Counter(match[1] or "" for match in map(_ID.match, map(str, () if names is None else names)) if match)
    if found.total() < FEWEST_IDS:
        return None
    prefix, n = found.most_common(1)[0]
    if n < MOST * found.total():
        return None
    prefix = prefix.upper()
    return _SPECIES.get(prefix, f"ENS{prefix}G")


def two_species(spatial: str | None, reference: str | None, name: str) -> str | None:
    """What to say where the Ensembl ids of the two sides are of two species; None where they are not known to be."""
    if spatial is None or reference is None or spatial == reference:
        return None
    return (
        f"two species: the Ensembl ids of the spatial side are of {spatial}, those of {name} of {reference}; genes "
        "match by their symbols alone"
    )
