"""Which species a file's Ensembl ids are of. An id of one species never is a gene of another, whatever the symbols."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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


def two_species(sides: Sequence[tuple[str, Iterable[str] | None]]) -> list[str]:
    """What to say of sides whose Ensembl ids are of another species than those of the first side that has any.

    Parameters
    ----------
    sides : what a message calls each, and names among which its ids are
    """
    found = [(name, species) for name, names in sides if (species := species_of(names)) is not None]
    return [
        f"two species: the Ensembl ids of {found[0][0]} are of {found[0][1]}, those of {name} of {species}; their "
        "genes match by symbols alone"
        for name, species in found[1:]
        if species != found[0][1]
    ]


def in_case_alone(matched: Mapping[str, str]) -> str | None:
    """What to say where nearly all names match in another case only, as those of mouse and human do.

    Parameters
    ----------
    matched : name on one side -> name on the other
    """
    pairs = [(name, other) for name, other in matched.items() if name != other and name.casefold() == other.casefold()]
    if len(pairs) < max(FEWEST_IDS, MOST * len(matched)):
        return None
    name, other = pairs[0]
    return (
        f"{len(pairs)} of {len(matched)} shared genes match in another letter case only ({name} as {other}), as those "
        "of mouse and human do"
    )
