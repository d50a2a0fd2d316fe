"""How far a reference fits a spatial sample, before anything is trained: genes, correlations of genes, cell types.

What a model carries over from a reference is how genes vary together. So the correlations of all pairs of panel genes
are compared between the two sides, within what their noise allows. Types are compared on genes other than those by
which they were found: a spatial cell is given the likeliest type by one half of the genes, and the other half tells
whether cells of that type have its profile. A type that is not there attracts cells by chance, whose other genes do not
follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from spatialimpute.files.counts import Counts
from spatialimpute.genes import match_names
from spatialimpute.methods.celltype import label
from spatialimpute.normalize import ZScore

#: Cells of each side that are looked at, drawn at random.
MAX_CELLS = 5_000
#: A gene that fewer cells of a side have tells nothing of correlations there.
FEWEST_DETECTED = 0.005
#: Genes from which on correlations, and types, can be judged.
FEWEST_GENES, FEWEST_GENES_FOR_TYPES = 15, 60
#: Share of the attainable correlation below which the two sides do not agree: right pairs of docs/benchmarks.md have
#: .43 and more, another organ or single sorted types .18 and less.
POOR = 0.3
#: Where less is attainable, or the interval reaches further to either side, nothing can be said.
FEWEST_ATTAINABLE, WIDEST = 0.3, 0.35
#: Correlation of profiles on the other half of the genes below which a type is not seen among the spatial cells; and
#: where it is no more than FAINT, that given the profile of the type that these cells resemble most.
LACKING, FAINT, LACKING_GIVEN_ANOTHER = 0.15, 0.4, 0.25
#: The same of a group of spatial cells and its best type.
BEYOND = 0.2
#: Share of spatial cells of no type from which on it is said aloud.
MUCH_BEYOND = 0.3
#: Share of the panel below which it is said, and of shared names that match by case alone.
FEW_SHARED, BY_CASE = 0.2, 0.5
FEWEST_CELLS, FEWEST_CELLS_OF_A_TYPE, FEWEST_TYPES, N_SPLITS, N_MARKERS = 30, 15, 3, 5, 3


@dataclass(frozen=True)
class Agreement:
    """One reference beside the sample.

    Attributes
    ----------
    reference : its id
    n_panel, n_shared, n_by_case : panel genes, those that the reference has, those of them matched by case alone
    n_compared : shared genes detected on both sides, whose correlations are compared
    correlation : of the correlations of all their pairs; NaN where the genes are too few
    lower, upper : its 95% interval over genes (jackknife)
    attainable : what the noise of both sides' correlations leaves of 1
    verdict : `agrees`, `poor`, or `not judged`
    lacking : types of the reference that are not seen among the spatial cells; empty also where types were not judged
    beyond : groups of spatial cells that resemble no type of the reference; beyond_share : of all spatial cells;
        NaN where types were not judged
    of_names, of_fit : warnings about the genes' names, and about how they vary, which the sample's headline repeats
    """

    reference: str
    n_panel: int
    n_shared: int
    n_by_case: int
    n_compared: int
    correlation: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    attainable: float = np.nan
    verdict: str = "not judged"
    lacking: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    beyond_share: float = np.nan
    of_names: list[str] = field(default_factory=list)
    of_fit: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """All of them."""
        return self.of_names + self.of_fit

    def in_words(self) -> str:
        """One line for the log."""
        text = f"{self.reference}: {self.n_shared} of {self.n_panel} panel genes"
        if np.isnan(self.correlation):
            return f"{text}; too few to compare how they vary together"
        text += f"; correlation of gene-gene correlations {self.correlation:.2f} of {self.attainable:.2f} attainable"
        return f"{text} ({self.verdict})"


class SpatialSide:
    """Some of a sample's cells, to be compared with one reference after the other; `counts` are of all panel genes."""

    def __init__(self, counts: Counts, seed: int = 0):
        self._seed, self.counts = seed, _draw(counts, seed)

    @cached_property
    def groups(self) -> np.ndarray:
        """The sample's own cell types, else clusters, of each cell."""
        return _labels(self.counts, self._seed)


def compare(spatial: SpatialSide, reference: Counts, seed: int = 0) -> Agreement:
    """How far one reference fits; `reference` holds all its genes."""
    own, other = spatial.counts, _draw(reference, seed)
    matched = match_names(own.genes.tolist(), other.genes.tolist(), own.gene_ids, other.gene_ids)
    by_case = sum(name != gene and name.casefold() == gene.casefold() for name, gene in matched.items())
    sides = [own.select(list(matched)), other.select(list(matched.values()))]
    detected = [np.asarray((X > 0).mean(axis=0)).ravel() >= FEWEST_DETECTED for X in sides]
    kept = np.flatnonzero(detected[0] & detected[1])
    counted = [np.flatnonzero(np.asarray(X[:, kept].sum(axis=1)).ravel()) for X in sides]
    found = {
        "reference": other.info.get("id", "reference"), "n_panel": len(own.genes), "n_shared": len(matched),
        "n_by_case": by_case, "n_compared": len(kept),
    }  # fmt: skip
    if len(kept) >= FEWEST_GENES and min(map(len, counted)) >= FEWEST_CELLS:
        rows = [X[cells][:, kept] for X, cells in zip(sides, counted, strict=True)]
        scores = [ZScore.fit(X).transform(X) for X in rows]
        found |= _correlations(*scores, seed)
        if len(kept) >= FEWEST_GENES_FOR_TYPES and found["verdict"] != "not judged":
            labels = spatial.groups[counted[0]], _labels(other, seed)[counted[1]]
            found |= _types(scores, labels, np.array(list(matched.values()))[kept], seed)
    agreement = Agreement(**found)
    return replace(agreement, of_names=_of_names(agreement), of_fit=_of_fit(agreement))


def agreement_table(found: Sequence[Agreement], used: Sequence[bool]) -> pd.DataFrame:
    """A row per reference, with the columns of `references.tsv`."""
    rows = [
        {
            "reference": one.reference,
            "used": is_used,
            **{name: getattr(one, name) for name in ("n_panel", "n_shared", "n_by_case", "n_compared")},
            **{name: getattr(one, name) for name in ("correlation", "lower", "upper", "attainable", "verdict")},
            "lacking": "; ".join(one.lacking),
            "beyond": "; ".join(one.beyond),
            "beyond_share": one.beyond_share,
            "warnings": "; ".join(one.warnings),
        }
        for one, is_used in zip(found, used, strict=True)
    ]
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------- correlations of genes


def _labels(counts: Counts, seed: int) -> np.ndarray:
    """Cell types, else clusters; None where a cell has no type."""
    labels = label(counts, seed).obs["celltype"].astype(object)
    return labels.where(labels.notna(), None).to_numpy()


def _draw(counts: Counts, seed: int) -> Counts:
    n = len(counts.cells)
    if n <= MAX_CELLS:
        return counts
    return counts.take(np.sort(np.random.default_rng(seed).choice(n, MAX_CELLS, replace=False)))


def _correlations(spatial: np.ndarray, reference: np.ndarray, seed: int) -> dict:
    """Correlation of gene-gene correlations with its interval, what is attainable, and the verdict."""
    rng = np.random.default_rng(seed)
    both = [_gene_correlations(side) for side in (spatial, reference)]
    correlation, without_each = _mantel(*both)
    n = len(without_each)
    error = np.sqrt((n - 1) / n * ((without_each - without_each.mean()) ** 2).sum())
    attainable = float(np.sqrt(_reliability(spatial, rng) * _reliability(reference, rng)))
    verdict = "not judged"
    if attainable >= FEWEST_ATTAINABLE and 1.96 * error <= WIDEST:
        verdict = "agrees" if correlation >= POOR * attainable else "poor"
    return {
        "correlation": correlation, "lower": max(correlation - 1.96 * error, -1.0),
        "upper": min(correlation + 1.96 * error, 1.0), "attainable": attainable, "verdict": verdict,
    }  # fmt: skip


def _gene_correlations(scores: np.ndarray) -> np.ndarray:
    """Pearson correlations of genes, zero on the diagonal and where a gene is constant."""
    centered = scores - scores.mean(axis=0)
    length = np.linalg.norm(centered, axis=0)
    unit = np.divide(centered, length, out=np.zeros_like(centered), where=length > 0)
    found = unit.T @ unit
    np.fill_diagonal(found, 0)
    return found


def _mantel(one: np.ndarray, other: np.ndarray) -> tuple[float, np.ndarray]:
    """Correlation over pairs of genes, and the same without each gene's pairs."""
    n = len(one)
    moments = [(one * other), one, other, one**2, other**2]
    sums = np.array([values.sum() / 2 for values in moments])
    by_gene = np.array([values.sum(axis=1) for values in moments])

    def correlation(sums, n_pairs):
        products, a, b, a2, b2 = sums / n_pairs
        spread = np.sqrt(np.maximum((a2 - a**2) * (b2 - b**2), 0))
        return np.divide(products - a * b, spread, out=np.zeros_like(spread), where=spread > 1e-12)

    whole = correlation(sums[:, None], n * (n - 1) / 2)[0]
    return float(whole), correlation(sums[:, None] - by_gene, (n - 1) * (n - 2) / 2)


def _reliability(scores: np.ndarray, rng: np.random.Generator) -> float:
    """Of one side's correlations: those of two halves of the cells, brought to all cells (Spearman-Brown)."""
    halves = np.array_split(rng.permutation(len(scores)), 2)
    between = _mantel(*(_gene_correlations(scores[half]) for half in halves))[0]
    return max(2 * between / (1 + between), 0.0) if between > -1 else 0.0


# ------------------------------------------------------------------------------------------- cell types


def _types(scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], genes: np.ndarray, seed: int) -> dict:
    """Types of the reference that the spatial side lacks, and its groups of cells beyond them."""
    groups, types = (_profiles(side, names) for side, names in zip(scores, labels, strict=True))
    if min(len(groups), len(types)) < FEWEST_TYPES:
        return {}
    spatial, rng = scores[0], np.random.default_rng(seed)
    seen, given_another, resembles = np.zeros(len(types)), np.zeros(len(types)), np.zeros(len(groups))
    halves = [half for _ in range(N_SPLITS) for half in _halves(len(genes), rng)]
    for by, on in halves:
        likeliest = _row_correlations(spatial[:, by], types.to_numpy()[:, by]).argmax(axis=1)
        found = np.array([_mean(spatial[likeliest == i]) for i in range(len(types))])
        own, partial = _own_profile(found[:, on], types.to_numpy()[:, on])
        seen, given_another = seen + own / len(halves), given_another + partial / len(halves)
        best = _row_correlations(groups.to_numpy()[:, by], types.to_numpy()[:, by]).argmax(axis=1)
        on_others = _row_correlations(groups.to_numpy()[:, on], types.to_numpy()[:, on])
        resembles += on_others[np.arange(len(groups)), best] / len(halves)
    lacking = (seen < LACKING) | ((seen < FAINT) & (given_another < LACKING_GIVEN_ANOTHER))
    share = pd.Series(labels[0]).value_counts(normalize=True)
    beyond = groups.index[resembles < BEYOND]
    return {
        "lacking": [_named(types, name, genes) for name in types.index[lacking]],
        "beyond": [f"{_named(groups, name, genes)}, {share[name]:.0%} of the cells" for name in beyond],
        "beyond_share": float(share[beyond].sum()),
    }


def _profiles(scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Mean profile of each label with enough cells, z-scored per gene over these: what sets a type apart."""
    sizes = pd.Series(labels).value_counts()
    names = sizes.index[sizes >= FEWEST_CELLS_OF_A_TYPE]
    means = np.array([scores[labels == name].mean(axis=0) for name in names]).reshape(len(names), scores.shape[1])
    spread = means.std(axis=0) if len(names) else 1.0
    means = means - means.mean(axis=0) if len(names) else means
    return pd.DataFrame(means / np.maximum(spread, 1e-9), index=names)


def _halves(n: int, rng: np.random.Generator):
    one, other = np.array_split(rng.permutation(n), 2)
    return (one, other), (other, one)


def _own_profile(found: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of each type's cells with its profile, and that given the other type's that they resemble most."""
    with_types = _row_correlations(found, types)
    own, others = np.diag(with_types), with_types - 2 * np.eye(len(types))
    another = others.argmax(axis=1)
    theirs, alike = others.max(axis=1), _row_correlations(types, types)[np.arange(len(types)), another]
    return own, (own - theirs * alike) / np.sqrt(np.maximum((1 - theirs**2) * (1 - alike**2), 1e-6))


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])


def _row_correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    def unit(rows):
        rows = rows - rows.mean(axis=1, keepdims=True)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    return unit(one) @ unit(other).T


def _named(profiles: pd.DataFrame, name: str, genes: np.ndarray) -> str:
    """The label with the genes that set it apart, since a cluster's number says nothing."""
    markers = genes[np.argsort(-profiles.loc[name].to_numpy(), kind="stable")[:N_MARKERS]]
    return f"{name} (high: {', '.join(markers)})"


# --------------------------------------------------------------------------------------------- in words


def _of_names(found: Agreement) -> list[str]:
    warnings = []
    if found.n_shared < FEW_SHARED * found.n_panel:
        warnings.append(f"it has only {found.n_shared} of {found.n_panel} panel genes")
    if found.n_by_case > BY_CASE * max(found.n_shared, 1):
        warnings.append(
            f"{found.n_by_case} of {found.n_shared} shared genes match by letter case alone, as those of two species "
            "do (Gad1 of the mouse, GAD1 of man)"
        )
    return warnings


def _of_fit(found: Agreement) -> list[str]:
    warnings = []
    if found.verdict == "poor":
        warnings.append(
            f"genes vary together otherwise than in the sample (correlation {found.correlation:.2f} of "
            f"{found.attainable:.2f} attainable): another tissue or species, cells sorted for few types, or names that "
            "do not mean the same genes; do not rely on what it imputes"
        )
    if found.attainable < FEWEST_ATTAINABLE:
        warnings.append(
            "how genes vary together is mostly noise on one of the two sides (too few cells or counts, or genes that "
            "do not depend on one another), so whether it fits cannot be judged"
        )
    if found.beyond_share >= MUCH_BEYOND:
        warnings.append(
            f"{found.beyond_share:.0%} of the spatial cells resemble none of its types, so what is imputed there is a "
            "guess: a sorted population, or one that lacks a part of the tissue"
        )
    return warnings
