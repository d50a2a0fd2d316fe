"""What the spatial file and the references of a sample have in common, by their names alone."""

import re
from collections.abc import Iterable
from pathlib import Path

from spatialimpute.check.gene_spellings import GeneColumns, counts_of, row_labels, spellings_in
from spatialimpute.gene_species import two_species
from spatialimpute.sources import open_source
from spatialimpute.sources.gene_columns import INDEX, are_identifiers
from spatialimpute.sources.metadata_names import is_metadata
from spatialimpute.sources.orientation import count_molecules, transpose
from spatialimpute.sources.text import table_header

#: Names that a message shows.
N_NAMED = 5
#: Pairs of names that a warning shows.
N_PAIRS = 20
#: Gene names among a file's labels that cannot be chance.
FEWEST_GENES = 3
#: Where the rows are genes, each is there once or nearly so; where they are molecules, many are of one gene.
MOSTLY_DISTINCT = 0.5
#: Columns that no file of the other side knows; with more of them the two sides spell genes differently.
MOST_OTHERS = 1000
_CELL = re.compile(r"^([acgtn]{8,}([-_.].*)?|[\d._-]*|.*[acgtn]{12,}.*|(cell|spot|bead|barcode|bin)[a-z]*[-_. ]?\d.*)$")


class BothSides:
    """Spellings of the genes of files, and what else may name genes in them, each file read once.

    A file that says more of its genes than one name each (ids, kinds of features) is a catalog: all its names are of
    genes.
    """

    def __init__(self, aliases: dict[str, str], read: GeneColumns | None = None):
        self._aliases = aliases
        self._read = GeneColumns() if read is None else read
        self._spellings: dict[str, dict[str, str] | None] = {}
        self._catalogs: set[str] = set()
        self._labels: dict[str, dict[str, list[str]]] = {}

    def spellings(self, path: str) -> dict[str, str] | None:
        """As :func:`gene_spellings`, aliases among them; None where the file cannot be looked at."""
        if path not in self._spellings:
            columns = self._read[path]
            found = None if columns is None else spellings_in(columns)
            if found is not None:
                if len(columns) > 1 or are_identifiers(columns[INDEX]):
                    self._catalogs.add(path)
                renamed = {new.casefold(): new for old, new in self._aliases.items() if old.casefold() in found}
                found = renamed | found
            self._spellings[path] = found
        return self._spellings[path]

    def shared_problems(self, sample: dict, fewest: int | None) -> list[str]:
        """What to say where spatial file and references share too few genes under any of their names."""
        paths = counts_of(sample)
        known = [self.spellings(path) for path in paths]
        if len(known) < 2 or None in known or fewest is None:
            return []
        shared = set(known[0]).intersection(*known[1:])
        if len(shared) >= fewest:
            return []
        if turned := self._turned(sample["sample"], paths):
            return turned
        examples = "; ".join(
            f"{Path(path).name} has {', '.join(list(dict.fromkeys(one.values()))[:N_NAMED])}"
            for path, one in zip(paths, known, strict=True)
        )
        return [
            f"sample '{sample['sample']}': {len(shared)} genes are shared by the spatial file and the reference, "
            f"{fewest} needed ({examples[:1000]}); if these name the same genes (symbols and Ensembl identifiers, two "
            "species), give a table by gene_aliases; if the panel is truly so small, lower min_shared_genes"
        ]

    def others(self, sample: dict) -> list[str] | None:
        """Names among the spatial file's genes that no reference has under any spelling: columns of a table that may be
        none. Names of metadata are among them, too, where a reference has them in a mere list of names: its table may
        hold the same column. None where files cannot be looked at, or where too many are unknown to tell anything."""
        paths = counts_of(sample)
        known = [self.spellings(path) for path in paths]
        if len(known) < 2 or None in known:
            return None
        own = {name for name, spelled in known[0].items() if name == spelled.casefold()}
        unknown = [known[0][name] for name in own if not any(name in one for one in known[1:])]
        if len(unknown) > min(MOST_OTHERS, len(own) / 2):
            return None
        vouched = set().union(*(self._spellings[path] for path in paths[1:] if path in self._catalogs))
        metadata = (known[0][name] for name in own if name not in vouched and is_metadata(known[0][name]))
        return sorted({*unknown, *metadata})

    def warnings(self, sample: dict) -> list[str]:
        """What is odd about a sample's files, but no reason to end the run."""
        paths = counts_of(sample)
        known = [self.spellings(path) for path in paths]
        if len(known) < 2 or None in known:
            return []
        names = ["the spatial side", *(Path(path).name for path in paths[1:])]
        texts = two_species([(name, one.values()) for name, one in zip(names, known, strict=True)])
        texts += [
            text
            for path, one in zip(paths[1:], known[1:], strict=True)
            if (text := _almost_alike(known[0], one, Path(path).name)) is not None
        ]
        return [f"sample '{sample['sample']}': {text}" for text in texts]

    def notes(self, sample: dict) -> list[str]:
        """How many gene names each reference, alternatives too, has in common with the spatial file."""
        path = sample["spatial"][0]
        notes, own = [], self.spellings(path)
        for which, word in (("reference", "reference"), ("alternatives", "alternative")):
            for other in (reference["files"][0] for reference in sample.get(which, ())):
                known = self.spellings(other)
                if own is not None and known is not None:
                    n, names = len(set(own) & set(known)), f"{Path(other).name} and {Path(path).name}"
                    notes.append(f"sample '{sample['sample']}': {names} share {n} gene names ({word})")
        return notes

    def _turned(self, sample: str, paths: list[str]) -> list[str]:
        """Files whose rows are genes or molecules: their labels are the other side's genes, their columns are not."""
        sides = [paths[:1], paths[1:]]
        problems: dict[str, bool] = {}
        for own, other in (sides, sides[::-1]):
            genes = {name for path in other for name in self.spellings(path)}
            labels = {value for path in other for values in self._labels_of(path).values() for value in values}
            for path in own:
                columns = self.spellings(path)
                in_columns = max(len(_genes_among(columns, genes)), len(_unlike(_genes_among(columns, labels))))
                for column, values in self._labels_of(path).items():
                    # Both sides' rows may be genes; or their cells, which are numbered alike.
                    found = _genes_among(values, genes) or _unlike(_genes_among(values, labels))
                    if len(found) > max(FEWEST_GENES - 1, in_columns):
                        text = f"sample '{sample}': {_turned_text(path, column, values, found)}"
                        problems[text] = bool(_unlike(found))
                        break
        # Where the cells of both sides have the same names, each side's rows are the other's columns: genes are those
        # that differ in more than a number.
        sure = [text for text, unlike in problems.items() if unlike]
        return sure or list(problems)

    def _labels_of(self, path: str) -> dict[str, list[str]]:
        if path not in self._labels:
            self._labels[path] = row_labels(path)
        return self._labels[path]


def _almost_alike(spatial: dict[str, str], reference: dict[str, str], file: str) -> str | None:
    """What to say of genes that differ from the reference's by signs alone, as R changes names of columns."""
    left = {
        _letters(name): spelled
        for name, spelled in reference.items()
        if name not in spatial and name == spelled.casefold() and _letters(name)
    }
    pairs = {
        spelled: left[_letters(name)]
        for name, spelled in spatial.items()
        if name not in reference and name == spelled.casefold() and _letters(name) in left and not is_metadata(spelled)
    }
    if not pairs:
        return None
    listed = ", ".join(f"{own} ({other})" for own, other in list(pairs.items())[:N_PAIRS])
    more = f" and {len(pairs) - N_PAIRS} more" if len(pairs) > N_PAIRS else ""
    return (
        f"{len(pairs)} genes differ from those of {file} by signs alone, as R changes names of columns, and so are not "
        f"shared: {listed}{more}; write them alike, or give a table by gene_aliases"
    )


def _letters(name: str) -> str:
    return re.sub(r"^x(?=\d)|[^a-z0-9]", "", name.casefold())


def _genes_among(values: Iterable[str], genes: set[str]) -> set[str]:
    """Values that are among the genes; numbers and barcodes, of which both sides may have the same, are none."""
    return {value for value in values if value in genes and not _CELL.match(value)}


def _unlike(names: set[str]) -> set[str]:
    """Names that differ in more than a number; none where all are alike."""
    return names if len({re.sub(r"\d+", "", name) for name in names}) >= FEWEST_GENES else set()


def _turned_text(path: str, column: str, values: list[str], genes: set[str]) -> str:
    file, instead = Path(path), ""
    if file.is_dir() and ".csv" in (counts := open_source(path).files()[0]).name:  # an instrument's table
        file, instead = counts, f" and put it in place of {counts.name}"
    where = f"column {column!r}" if column else "the rows' names"
    examples = ", ".join(
        dict.fromkeys(value for value in values if value in genes) if len(genes) <= N_NAMED else sorted(genes)[:N_NAMED]
    )
    if len(set(values)) >= MOSTLY_DISTINCT * len(values):
        return (
            f"{file.name} has genes in rows ({where}: {examples}, genes of the other side); expected cells in "
            f"rows and genes in columns: {transpose(file)}{instead}"
        )
    return (
        f"{file.name}: its rows are molecules, not cells ({where}: {examples}, which are genes of the other side); "
        f"{count_molecules(file, column, table_header(file))}"
    )
