"""Which columns of the cells may hold cell types, by their names: those in use are too many to list."""

import re
from collections.abc import Iterable

from spatialimpute.sources.vocabulary import CELLTYPE_COLUMNS, find_name

#: Columns that a text names.
N_NAMED = 8
#: Names, without what separates their words, that mean nothing else.
PLAIN = ("celltype", "celltypes", "celltypename", "celllabel", "celllabels")
#: Words of names that hold labels, the likeliest first: a column is as likely as the first of them that it has.
KINDS = (
    {"celltype", "celltypes", "celltypist", "voting"},
    {"subclass", "subclasses", "supertype", "subtype"},
    {"annotation", "annotations", "annot", "ann", "annotated"},
    {"class", "classes", "lineage"},
    {"cluster", "clusters", "clustername"},
    {"level", "lvl"},
)  # fmt: skip
#: With "cell" they make such a name: cell_class, cellState.
OF_CELLS = {
    "type", "types", "class", "subclass", "subtype", "label", "labels", "state", "identity", "ontology", "annotation",
    "subset", "population", "kind",
}  # fmt: skip
#: Names of one word, or of this word beside "active", "predicted" or "free", that are the least likely.
ALONE = {"label", "labels", "type", "ident", "identity", "population"}
BESIDE = {"active", "predicted", "final", "str", "single", "r", "major", "minor", "main", "manual", "author"}
#: Names with these words hold codes of types rather than their names.
CODES = {"accession", "alias", "designation", "abbreviation", "short"}
#: Names with these words hold something else of a type, or the types of something else.
OTHERS = set(
    "id ids color colour colors colours order score scores prob probs probability conf confidence uncertainty entropy "
    "n num number count counts size orig donor sample patient library tissue organ assay disease tumor region batch "
    "sex suspension frac fraction distance max min mean fov slide section run umap tsne doublet phase qc quality age "
    "stage treatment condition platform method nearest term".split()
)


def is_plain(name: str) -> bool:
    """Whether the name means cell types and nothing else: `cell_type`, `CellType`, `Cell types`."""
    return re.sub(r"[^a-z]", "", name.casefold()) in PLAIN


def label_rank(name: str) -> int | None:
    """How likely a column of this name holds cell types, 0 the likeliest; None where nothing says so."""
    if is_plain(name):
        return 0
    if name.strip().casefold() in CELLTYPE_COLUMNS:
        return 1
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    if OTHERS.intersection(words):
        return None
    rank = _kind(words)
    return rank if rank is None or not CODES.intersection(words) else rank + len(KINDS) + 2


def _kind(words: list[str]) -> int | None:
    texts = {word for word in words if not word.isdecimal()}
    if ("cell" in texts or "cells" in texts) and OF_CELLS & texts:
        return 2
    for i, kind in enumerate(KINDS):
        if kind & texts:
            # `subtype` alone is a patient's, `level` without a number anything's.
            if texts == {"subtype"} or (kind & texts <= {"level", "lvl"} and not words[-1].isdecimal()):
                return None
            return 2 + i
    return 2 + len(KINDS) if ALONE & texts and texts <= ALONE | BESIDE else None


def hint(names: Iterable[str]) -> str | None:
    """What to say of a file of these columns where it is not plain which of them holds cell types."""
    found = label_columns(names)
    if not found or is_plain(found[0]) or (len(found) == 1 and find_name(found, CELLTYPE_COLUMNS) is not None):
        return None
    several = "s" if len(found) > 1 else ""
    return (
        f"cell types may be in the column{several} {', '.join(found[:N_NAMED])}; without celltype_key the first that "
        "holds labels is taken: name the right one there"
    )


def label_columns(names: Iterable[str]) -> list[str]:
    """The columns that may hold cell types, the likeliest first; equally likely ones in their own order."""
    known = {name: i for i, name in enumerate(CELLTYPE_COLUMNS)}
    ranked = [(label_rank(name), known.get(name.strip().casefold(), len(known)), name) for name in map(str, names)]
    found = [entry for entry in ranked if entry[0] is not None]
    return [name for _, _, name in sorted(found, key=lambda entry: entry[:2])]
