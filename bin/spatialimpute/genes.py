"""Which genes are modeled, shared, imputed and held out. The spatial side's counts are never looked at here.

Only the spatial gene *names* enter: whatever is chosen from spatial counts would carry a trace of the genes that
cross-validation holds out.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.gene_species import in_case_alone, two_species
from spatialimpute.nearest import nearest_listed

log = logging.getLogger(__name__)


def match_names(
    names: Sequence[str],
    known: Sequence[str],
    ids: Sequence[str] | None = None,
    known_ids: Sequence[str] | None = None,
) -> dict[str, str]:
    """For each name that `known` holds: its spelling there. No two names get the same one.

    Exact matches come first; then the same Ensembl id; then names that differ in case only. The last two need
    the id or name to be the only one of its kind on either side.

    Parameters
    ----------
    names, known : each without repetition
    ids, known_ids : Ensembl ids of `names` and `known`, "" where unknown; None without any
    """
    known_exactly = set(known)
    matched = {name: name for name in names if name in known_exactly}
    keys = [([name.casefold() for name in names], [name.casefold() for name in known])]
    if ids is not None and known_ids is not None:
        keys.insert(0, (list(ids), list(known_ids)))
    for own, others in keys:
        repeated = {key for side in (own, others) for key, n in Counter(side).items() if n > 1}
        taken = set(matched.values())
        by_key = {key: name for key, name in zip(others, known, strict=True) if name not in taken}
        for name, key in zip(names, own, strict=True):
            if name not in matched and key and key not in repeated and key in by_key:
                matched[name] = by_key[key]
    return {name: matched[name] for name in names if name in matched}


def select_genes(
    sample: str,
    spatial_genes: Sequence[str],
    references: Sequence[Counts],
    spatial_ids: Sequence[str] | None = None,
    requested: Sequence[str] = (),
    gene_folds: Sequence[Sequence[str]] | None = None,
    cv_folds: int = 5,
    n_top_genes: int = 2000,
    max_shared_genes: int = 0,
    min_shared_genes: int = 10,
    seed: int = 0,
) -> tuple[GeneSets, dict[str, str]]:
    """The gene sets of one sample.

    Targets are the references' highly variable genes (seurat_v3 on counts, Stuart 2019, doi
    10.1016/j.cell.2019.05.031), the shared genes and the requested ones.

    Parameters
    ----------
    spatial_genes : names of the genes the spatial side measures
    spatial_ids : their Ensembl ids, "" where unknown
    references : raw counts of one or several references; the first one's spelling of gene names counts
    requested : genes to impute whatever their variability; in any reference
    gene_folds : genes to hold out together; drawn where None
    cv_folds : number of folds to draw; 0 for none, also where `gene_folds` is given
    n_top_genes : number of highly variable genes; all expressed genes where the references have no more
    max_shared_genes : keep only so many shared genes, those of the highest reference variability; 0 keeps all

    Returns
    -------
    The gene sets, and the spatial names that differ from the references': {spatial name: reference name}.

    Raises
    ------
    InputError
        Too few shared genes, an unknown requested gene, folds that do not fit the shared genes.
    """
    common = _common_genes(references)
    known_ids = references[0].gene_ids
    if known_ids is not None:
        known_ids = known_ids[np.isin(references[0].genes, common)]
    matched = match_names(spatial_genes, common, spatial_ids, known_ids)
    shared = list(matched.values())
    _require_shared(sample, spatial_genes, references, shared, min_shared_genes)
    renamed = {name: gene for name, gene in matched.items() if name != gene}
    how = {"shared": f"{len(shared)} of {len(spatial_genes)} spatial genes are in every reference"}
    if renamed:
        examples = ", ".join(f"{name} as {gene}" for name, gene in list(renamed.items())[:3])
        how["shared"] += f", {len(renamed)} of them under another spelling or by Ensembl id ({examples})"
    odd = _odd_species(spatial_ids, references, matched)
    if odd:
        how["warning"] = "; ".join(odd)
        log.warning("%s: %s", sample, how["warning"])

    wanted = _resolve_requested(sample, requested, spatial_genes, references)
    variability = _Variability(references, common)
    measured = shared
    if 0 < max_shared_genes < len(shared):
        if max_shared_genes < min_shared_genes:
            raise InputError(
                f"{sample}: max_shared_genes is {max_shared_genes}, below min_shared_genes ({min_shared_genes})"
            )
        best = set(variability.top(shared, max_shared_genes))
        shared = [gene for gene in shared if gene in best]
        how["shared"] += f"; the {len(shared)} of highest variability in the reference are used"

    expressed = variability.expressed()
    if n_top_genes >= len(expressed):
        variable = expressed
        how["targets"] = f"all {len(variable)} genes that the reference expresses"
    else:
        variable = variability.top(expressed, n_top_genes)
        how["targets"] = f"the {len(variable)} most variable genes of the reference (seurat_v3)"
    how["targets"] += f", the {len(measured)} measured ones, {len(wanted)} requested"
    chosen = {*variable, *measured, *wanted} - set(shared)
    in_reference_order = dict.fromkeys(gene for reference in references for gene in reference.genes)
    genes = shared + [gene for gene in in_reference_order if gene in chosen]

    folds, how["folds"] = _folds(sample, shared, references, gene_folds, cv_folds, seed)
    measured_only = [name for name in spatial_genes if name not in matched]
    how["measured_only"] = f"{len(measured_only)} spatial genes are not in every reference"
    log.info("%s: %s; %s; folds: %s", sample, how["shared"], how["targets"], how["folds"])
    return GeneSets(genes, shared, measured_only, list(genes), folds, how=how, warnings=odd), renamed


def _odd_species(spatial_ids: Sequence[str] | None, references: Sequence[Counts], matched: dict[str, str]) -> list[str]:
    """What makes one think that the sides are of several species."""
    names = [reference.info.get("id", f"reference {i}") for i, reference in enumerate(references, 1)]
    ids = [reference.gene_ids for reference in references]
    texts = two_species([("the spatial side", spatial_ids), *zip(names, ids, strict=True)])
    return [*texts, *filter(None, [in_case_alone(matched)])]


class _Variability:
    """Standardized variance of each common gene over the pooled references, computed when first asked for."""

    def __init__(self, references: Sequence[Counts], common: list[str]):
        self._references, self._common = references, common
        self._score: pd.Series | None = None

    def expressed(self) -> list[str]:
        """Common genes with at least one count."""
        total = sum(np.asarray(reference.select(self._common).sum(axis=0)).ravel() for reference in self._references)
        return [gene for gene, count in zip(self._common, total, strict=True) if count > 0]

    def top(self, genes: Sequence[str], n: int) -> list[str]:
        """The n genes of highest score; ties keep their order."""
        if self._score is None:
            self._score = self._compute()
        return list(self._score.reindex(genes).sort_values(ascending=False, kind="stable").index[:n])

    def _compute(self) -> pd.Series:
        # Imported here: most runs on small references take every gene and need no scanpy, which is slow to load.
        import anndata as ad
        import scanpy as sc

        genes = self.expressed()
        X = sp.vstack([reference.select(genes) for reference in self._references], format="csr")
        batch = np.concatenate([_batches(i, reference) for i, reference in enumerate(self._references)])
        data = ad.AnnData(
            X, obs=pd.DataFrame({"batch": pd.Categorical(batch)}, index=np.arange(len(batch)).astype(str))
        )
        data.var_names = genes
        several = data.obs["batch"].nunique() > 1
        # The loess fit fails on batches of few cells and on few genes; then the batches are pooled, then smoothed.
        for batch_key, span in ([("batch", 0.3)] if several else []) + [(None, 0.3), (None, 1.0)]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    table = sc.pp.highly_variable_genes(
                        data,
                        flavor="seurat_v3",
                        n_top_genes=len(genes),
                        batch_key=batch_key,
                        span=span,
                        inplace=False,
                    )
            except ValueError as error:
                log.warning("seurat_v3 failed (batch %s, span %s): %s", batch_key, span, error)
                continue
            return pd.Series(table["variances_norm"].to_numpy(), index=genes).fillna(0)
        raise InputError(
            f"the variance of {len(genes)} genes in {len(batch)} reference cells could not be fitted (seurat_v3); "
            f"set n_top_genes to {len(genes)} or more and max_shared_genes to 0, so that all genes are taken"
        )


def _batches(i: int, reference: Counts) -> np.ndarray:
    if "batch" in reference.obs:
        return (f"{i}:" + reference.obs["batch"].astype(str)).to_numpy()
    return np.full(len(reference.cells), f"{i}:")


def _common_genes(references: Sequence[Counts]) -> list[str]:
    common = references[0].genes
    for reference in references[1:]:
        common = common[np.isin(common, reference.genes)]
    return common.tolist()


def _require_shared(sample, spatial_genes, references, shared, minimum) -> None:
    if len(shared) >= minimum:
        return
    lines = [f"{sample}: {len(shared)} genes are shared by the spatial panel and the reference, {minimum} needed."]
    columns = {"spatial": list(spatial_genes)}
    for i, reference in enumerate(references):
        columns[reference.info.get("id", f"reference {i + 1}")] = reference.genes.tolist()
    width = 4 + max(len(name) for title, names in columns.items() for name in (title, *names[:6]))
    lines.append("".join(f"{f'{title}':<{width}}" for title in columns).rstrip())
    for row in range(6):
        names = (column[row] if row < len(column) else "" for column in columns.values())
        lines.append("".join(f"{name:<{width}}" for name in names).rstrip())
    lines.append(
        "If these are two ways to name the same genes (symbols and Ensembl identifiers, two species), give a table "
        "by gene_aliases; if the panel is truly so small, lower min_shared_genes."
    )
    raise InputError("\n".join(line for line in lines if line))


def _resolve_requested(sample, requested, spatial_genes, references) -> list[str]:
    """Requested genes in the references' spelling; raises InputError listing all unknown ones."""
    known = list(dict.fromkeys(gene for reference in references for gene in reference.genes))
    matched = match_names(list(dict.fromkeys(requested)), known)
    unknown = [gene for gene in requested if gene not in matched]
    if unknown:
        raise InputError(
            f"{sample}: {len(unknown)} of {len(requested)} requested genes cannot be imputed, since no reference "
            "has them: " + "; ".join(_describe(gene, known, spatial_genes) for gene in unknown)
        )
    return list(dict.fromkeys(matched.values()))


def _describe(gene: str, known: Sequence[str], spatial_genes: Sequence[str]) -> str:
    if gene in set(spatial_genes):
        return f"{gene!r} (measured by the spatial panel, but absent from the reference)"
    return f"{gene!r}{nearest_listed(gene, known)}"


def _folds(sample, shared, references, gene_folds, cv_folds, seed) -> tuple[dict[str, list[str]], str]:
    if cv_folds == 0:
        return {}, "none: cross-validation is off"
    if gene_folds is not None:
        return _given_folds(sample, shared, gene_folds), f"{len(gene_folds)} folds as given by gene_folds"
    if len(shared) < 2 or cv_folds < 2 or cv_folds > len(shared):
        raise InputError(
            f"{sample}: {cv_folds} folds of {len(shared)} shared genes cannot be drawn; expected cv_folds to be "
            "0 (no cross-validation) or from 2 to the number of shared genes"
        )
    return draw_folds(shared, references, cv_folds, seed), (
        f"{cv_folds} folds drawn from seed {seed}, balanced by mean expression in the reference"
    )


def draw_folds(genes: Sequence[str], references: Sequence[Counts], n_folds: int, seed: int) -> dict[str, list[str]]:
    """Random folds of equal size (within one) and equal mean reference expression.

    Genes are sorted by their mean share of a reference's counts; each run of `n_folds` neighbors in that order
    is dealt one gene to a fold at random.
    """
    expression = np.zeros(len(genes))
    for reference in references:
        counts = np.asarray(reference.select(genes).sum(axis=0), dtype=np.float64).ravel()
        expression += counts / max(counts.sum(), 1)
    rng = np.random.default_rng(seed)
    fold = np.empty(len(genes), dtype=int)
    order = np.argsort(-expression, kind="stable")
    for start in range(0, len(order), n_folds):
        block = order[start : start + n_folds]
        fold[block] = rng.permutation(n_folds)[: len(block)]
    return {str(f): [genes[i] for i in np.flatnonzero(fold == f)] for f in range(n_folds)}


def _given_folds(sample, shared, gene_folds) -> dict[str, list[str]]:
    listed = [gene for fold in gene_folds for gene in fold]
    matched = match_names(list(dict.fromkeys(listed)), shared)
    if unknown := [gene for gene in dict.fromkeys(listed) if gene not in matched]:
        raise InputError(
            f"{sample}: gene_folds names {len(unknown)} genes that are not among the {len(shared)} shared genes in "
            "use (of the spatial panel, of every reference, and within max_shared_genes): "
            + "; ".join(f"{gene!r}{nearest_listed(gene, shared)}" for gene in unknown[:5])
        )
    if twice := [gene for gene, n in Counter(matched[gene] for gene in listed).items() if n > 1]:
        raise InputError(f"{sample}: gene_folds holds out {twice[0]!r} more than once; expected once at most")
    for i, fold in enumerate(gene_folds):
        if not fold or len(fold) == len(shared):
            raise InputError(
                f"{sample}: fold {i} of gene_folds holds out {len(fold)} of {len(shared)} shared genes; expected at "
                "least one, and at least one left in use"
            )
    return {str(i): [matched[gene] for gene in fold] for i, fold in enumerate(gene_folds)}
