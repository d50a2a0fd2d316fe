"""Spatial technologies by name, and the count likelihood each gets when `spatial_likelihood` is `auto`.

gimVI (Lopez et al. 2019, arXiv:1905.02269) models spatial counts as Poisson or negative binomial by
technology: Poisson for osmFISH, where every molecule is seen on its own in one color and round, negative
binomial for STARmap. Here the assays of osmFISH's kind (one gene per color and round, no barcode to decode,
no amplification) are Poisson; barcoded, amplified or sequenced ones are negative binomial.
The `paper` preset follows this map; the `default` preset takes negative binomial for all.
"""

from collections.abc import Collection

LIKELIHOOD_BY_TECHNOLOGY = {
    "osmFISH": "poisson",
    "smFISH": "poisson",
    "RNAscope": "poisson",
    "CARTANA": "nb",
    "CosMx": "nb",
    "EEL": "nb",
    "ExSeq": "nb",
    "HybISS": "nb",
    "ISS": "nb",
    "MERFISH": "nb",
    "MERSCOPE": "nb",
    "Molecular Cartography": "nb",
    "seqFISH": "nb",
    "Slide-seq": "nb",
    "STARmap": "nb",
    "Stereo-seq": "nb",
    "Visium": "nb",
    "Visium HD": "nb",
    "Xenium": "nb",
    "other": "nb",
}

_CANONICAL = {name.casefold().replace(" ", "").replace("-", ""): name for name in LIKELIHOOD_BY_TECHNOLOGY}


def canonical_technology(name: str) -> str | None:
    """The technology's name as :data:`LIKELIHOOD_BY_TECHNOLOGY` spells it, or None when it is not known.

    Case, spaces, hyphens and a trailing `+` (seqFISH+) make no difference.

    >>> canonical_technology("OSMFISH"), canonical_technology("seqFISH+"), canonical_technology("magic")
    ('osmFISH', 'seqFISH', None)
    """
    key = name.casefold().replace(" ", "").replace("-", "").replace("_", "").removesuffix("+")
    return _CANONICAL.get(key)


def other_instrument(technology: str, fitting: Collection[str]) -> str | None:
    """A warning when the sheet's technology is not among those that fit the folder's vendor; None when it is.

    >>> other_instrument("Xenium", ("Xenium",)), other_instrument("anything", ())
    (None, None)
    """
    name = canonical_technology(technology)
    if not fitting or name in (None, "other", *fitting):
        return None
    return f"technology is {name}, but the files are laid out as {' or '.join(fitting)} writes them; {name} is kept"
