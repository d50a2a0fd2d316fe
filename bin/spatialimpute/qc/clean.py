"""Quality control: one raw file in, canonical counts and an account of everything dropped or changed out."""

from collections.abc import Collection
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd

from spatialimpute.errors import InputError
from spatialimpute.files.columns import carry_columns
from spatialimpute.files.counts import OWN_CELL_COLUMNS, OWN_GENE_COLUMNS, SCHEMA_VERSION, Counts
from spatialimpute.qc import gene_names
from spatialimpute.qc.cell_types import as_labels, cell_types
from spatialimpute.qc.cells import find_duplicates, find_outliers
from spatialimpute.qc.not_genes import features_aside, listed, measures_aside
from spatialimpute.qc.places import placed_cells
from spatialimpute.qc.probes import are_probes, genes_of_probes
from spatialimpute.qc.raw_counts import find_raw_counts
from spatialimpute.sources.gene_columns import are_dates, ensembl_id
from spatialimpute.technologies import other_instrument

N_EXAMPLES = 5


@dataclass(frozen=True)
class Thresholds:
    """Cells below `min_counts` counts or `min_genes` detected genes are dropped; cells further than `max_mad`
    median absolute deviations from the median are outliers (0: none), dropped only if `drop_outliers`."""

    min_counts: int = 1
    min_genes: int = 1
    max_mad: float = 5.0
    drop_outliers: bool = False


class _Account:
    """What was dropped or changed, in order."""

    def __init__(self) -> None:
        self.steps: list[dict] = []
        self.warnings: list[str] = []

    def add(self, step: str, axis: str, reason: str, examples) -> None:
        examples = [str(example) for example in examples]
        if examples:
            self.steps.append(
                {
                    "step": step,
                    "axis": axis,
                    "n": len(examples),
                    "reason": reason,
                    "examples": examples[:N_EXAMPLES],
                }
            )


def clean_counts(
    raw: ad.AnnData,
    *,
    id: str,
    role: str,
    technology: str,
    source: str,
    source_digest: str = "",
    batch_key: str | None = None,
    celltype_key: str | None = None,
    gene_column: str | None = None,
    aliases: dict[str, str] | None = None,
    others: Collection[str] | None = None,
    thresholds: Thresholds = Thresholds(),
) -> tuple[Counts, dict]:
    """Turn a file as read into canonical counts.

    Genes: raw counts are found; columns that say something else of the cells, control probes and features that are no
    genes go; names become symbols, aliases are replaced, genes of the same name are summed. Cells: those without a
    place, exact duplicates, empty cells and cells below the thresholds go; outliers are flagged in `obs['outlier']`.
    All other columns of cells and genes are kept.

    Parameters
    ----------
    raw : from :meth:`spatialimpute.sources.Source.read`; `obsm['spatial']` is needed when role is "spatial"
    id, role, technology, source, source_digest : kept in `info`; role is "spatial" or "reference"
    batch_key, celltype_key : columns of `obs`; without a cell type key, a column of a usual name is taken
    gene_column : column of the file's genes that names them, or INDEX; the usual one where None or absent
    aliases : alias -> symbol
    others : columns that no file of the sheet's other side knows as genes; None where that is unknown

    Returns
    -------
    counts : Counts; summary : dict, the content of `qc.json`

    Raises
    ------
    InputError
        No raw counts, no genes or cells left, coordinates missing or not finite, or no such batch column.
    """
    account = _Account()
    if role == "spatial":
        raw = placed_cells(raw, source)
    raw, measures = measures_aside(raw)
    x, var, where = find_raw_counts(raw, source)
    if where == "raw":  # of which the main table may say more
        more = raw.var.loc[~raw.var_names.duplicated(), ~raw.var.columns.isin(var.columns)]
        var = pd.concat([var, more.reindex(var.index)], axis=1)
    n_cells_in, n_genes_in = x.shape
    for step in raw.uns.get("read_steps", ()):
        account.add(**step)
        n_cells_in += len(step["examples"]) if step["axis"] == "cells" else 0
    account.warnings += raw.uns.get("read_warnings", ())
    if role == "spatial" and (warning := other_instrument(technology, raw.uns.get("technologies", ()))):
        account.warnings.append(warning)
    _refuse_transposed(raw.obs_names, var.index, source)
    if measures is not None:
        account.warnings.append(measures)
    if are_probes(var):
        x, var, left_out = genes_of_probes(x, var)
        account.add("filtered probes", "genes", "probes that do not pass the assay's filter", left_out)
    column = gene_names.naming_column(var, gene_column)
    x, var, aside = _features_aside(x, var, column, {*(aliases or {})}, others, account)
    raw.obs = raw.obs.assign(**{name: values for name, values in aside.items() if name not in raw.obs})
    x, genes, gene_ids, var, control_rate = _clean_genes(x, var, column, aliases or {}, account, source)
    if not x.nnz:
        raise InputError(f"{source}: every count belongs to a control probe, the genes are all zero; check the export")
    coords = raw.obsm["spatial"] if role == "spatial" else None
    obs = pd.DataFrame(index=pd.RangeIndex(x.shape[0]))
    obs["dataset"] = pd.Categorical([id] * x.shape[0])
    if batch_key:
        obs["batch"] = _batch(raw.obs, batch_key, source)
    celltype_column, labels, warnings = cell_types(raw.obs, celltype_key, role)
    account.warnings += warnings
    if labels is not None:
        obs["celltype"] = pd.Categorical(labels)
    ours = {"batch": batch_key, "celltype": celltype_column}
    theirs, names = _their_columns("cell", raw.obs, ours, OWN_CELL_COLUMNS, account)
    obs = pd.concat([obs, theirs.set_axis(obs.index)], axis=1)
    var = _gene_columns(var, genes, gene_ids, account)
    counts = Counts(x, genes, _unique_cells(raw.obs_names, account), obs, coords, {}, gene_ids, var)
    counts = _clean_cells(counts, thresholds, account, source)
    n_without = int((np.asarray(counts.X.sum(axis=0)).ravel() == 0).sum())
    if n_without:
        account.warnings.append(f"{n_without} of {len(counts.genes)} genes have no counts in the cells kept")
    counts.info = {
        "schema_version": SCHEMA_VERSION,
        "role": role,
        "technology": technology,
        "id": id,
        "source": source,
        "source_digest": source_digest,
        "counts_from": where,
        "gene_names_from": column,
        "coordinate_unit": raw.uns.get("coordinate_unit", "unknown") if coords is not None else "none",
        "dropped": {step["step"]: step["n"] for step in account.steps},
    }
    if annotates := raw.uns.get("annotates"):
        counts.info["annotates"] = annotates | {f"{key}_column": names.get(at, at) for key, at in annotates.items()}
    summary = {key: value for key, value in counts.info.items() if key not in ("dropped", "annotates")} | {
        "n_cells_in": n_cells_in,
        "n_cells": len(counts.cells),
        "n_genes_in": n_genes_in,
        "n_genes": len(counts.genes),
        "control_probe_rate": control_rate,
        "n_outliers": int(counts.obs["outlier"].sum()),
        "steps": account.steps,
        "warnings": account.warnings,
    }
    return counts, summary


def _their_columns(
    of: str, table: pd.DataFrame, ours: dict[str, str | None], own, account: _Account
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns of `table` that are kept beside ours, and old -> new name of those that got another; `ours`: column of
    ours -> the one of theirs it was made of."""
    made_of = {theirs for name, theirs in ours.items() if theirs is not None and theirs.casefold() == name}
    columns, renamed, left_out = carry_columns(table.loc[:, ~table.columns.isin(made_of)], own)
    renamed += [f"{theirs} -> {name}" for name, theirs in ours.items() if theirs in made_of and theirs != name]
    reason = "the name is one of ours, there twice (also in another case), or none that a file can hold"
    account.add(f"{of} columns renamed", "columns", reason, renamed)
    account.add(f"{of} columns left out", "columns", f"not one number or text per {of}", left_out)
    return columns, dict(text.rsplit(" -> ", 1) for text in renamed)


def _gene_columns(var: pd.DataFrame, genes: np.ndarray, ids: np.ndarray | None, account: _Account) -> pd.DataFrame:
    """The file's columns of its genes, and `name_in_file` where the index is neither our name nor the Ensembl id."""
    names = np.array([genes, genes if ids is None else ids])
    if (names != var.index.astype(str).to_numpy(str)).all(axis=0).any():
        var = pd.concat([pd.DataFrame({"name_in_file": var.index}, index=var.index), var], axis=1)
    same_ids = ids is not None and "gene_id" in var and var["gene_id"].astype(str).tolist() == ids.tolist()
    return _their_columns("gene", var, {"gene_id": "gene_id" if same_ids else None}, OWN_GENE_COLUMNS, account)[0]


def steps_table(summary: dict) -> pd.DataFrame:
    """The account as the table `qc.tsv`: id, role, step, axis, n, reason, examples."""
    columns = ["id", "role", "step", "axis", "n", "reason", "examples"]
    rows = [
        {"id": summary["id"], "role": summary["role"], **step, "examples": ", ".join(step["examples"])}
        for step in summary["steps"]
    ]
    return pd.DataFrame(rows, columns=columns)


# --------------------------------------------------------------------------------------------- genes


def _features_aside(x, var, column, aliases, others, account):
    """Counts and genes without columns that are no genes, and these columns by name."""
    names, _ = gene_names.canonical_names(var, column)
    controls, other = gene_names.no_genes(var, names)
    asked = ~gene_names.are_genes(var) & ~controls & ~other & ~np.isin(names, list(aliases))
    aside, warnings = features_aside(x, names, asked, others)
    account.warnings += warnings
    account.add("no genes", "genes", "columns that say something else of the cells", names[aside])
    if not aside.size:
        return x, var, {}
    keep = np.setdiff1d(np.arange(len(names)), aside)
    return x[:, keep], var.iloc[keep], {names[i]: x[:, [i]].toarray().ravel() for i in aside}


def _clean_genes(x, var, column, aliases, account, source):
    names, ids = gene_names.canonical_names(var, column)
    _account_for_names(account, column, var.index.astype(str), names)
    controls, other = gene_names.no_genes(var, names)
    account.add("control probes", "genes", "control probes, blank codes and spike-ins are no genes", names[controls])
    total = float(x[:, ~other].sum(dtype=np.float64))
    rate = float(x[:, controls].sum(dtype=np.float64)) / total if controls.any() and total else None
    account.add("other features", "genes", "features of another type than Gene Expression", names[other])
    nameless = (names == "") & ~controls & ~other
    account.add("genes without a name", "genes", "no name to match", np.flatnonzero(nameless) + 1)
    keep = ~(controls | other | nameless)
    if not keep.any():
        raise InputError(f"{source}: no gene is left of {len(names)} features; the file seems to hold controls only")
    if not keep.all():
        x, names, ids, var = x[:, keep], names[keep], None if ids is None else ids[keep], var[keep]
    renamed = np.array([aliases.get(name, name) for name in names], dtype=str)
    account.add(
        "gene aliases",
        "genes",
        "renamed by the table of gene aliases",
        [f"{old} -> {new}" for old, new in zip(names, renamed, strict=True) if old != new],
    )
    if dates := are_dates(renamed):
        account.warnings.append(
            f"{listed(dates, 'gene')}: dates, which a spreadsheet made of names such as Marchf1, Septin2 or Dec1; they "
            "match no gene of the other side: take the file from before the spreadsheet, or name them by gene_aliases"
        )
    repeated = pd.Index(renamed).duplicated()
    account.add("duplicate genes", "genes", "counts of genes of the same name were summed", renamed[repeated])
    x, first = gene_names.sum_duplicates(x, renamed)
    return x, renamed[first], None if ids is None else ids[first], var.iloc[first], rate


def _account_for_names(account, column: str, index: pd.Index, names: np.ndarray) -> None:
    """Genes that are named otherwise than by the index."""
    if column == gene_names.INDEX:
        reason = "symbols out of names that hold more, an Ensembl id or a genome"
        pairs = [(old, new) for old, new in zip(index, names, strict=True) if old != new != ensembl_id(old)]
        account.add("gene names", "genes", reason, [f"{old} -> {new}" for old, new in pairs])
    else:
        reason = f"named by the column {column!r} in place of the index"
        renamed = [f"{old} -> {new}" for old, new in zip(index, names, strict=True) if old != new]
        account.add("gene names", "genes", reason, renamed)


def _refuse_transposed(cells: pd.Index, genes: pd.Index, source: str) -> None:
    barcode = r"^[ACGT]{10,}(-\d+)?$"
    if pd.Series(genes.astype(str)[:200]).str.match(barcode).mean() > 0.8:
        raise InputError(
            f"{source}: the columns are named like cells ({genes[0]!r}) and the rows are named {cells[0]!r}; "
            "expected cells in rows and genes in columns: transpose the matrix"
        )


# --------------------------------------------------------------------------------------------- cells


def _unique_cells(names: pd.Index, account: _Account) -> np.ndarray:
    repeated = names.duplicated()
    account.add("cell names", "cells", "repeated cell names got a suffix", names[repeated])
    return ad.utils.make_index_unique(names).to_numpy(str) if repeated.any() else names.to_numpy(str)


def _batch(obs: pd.DataFrame, key: str, source: str) -> pd.Categorical:
    if key not in obs:
        raise InputError(f"{source}: no column {key!r} for the batch; columns are {', '.join(map(str, obs.columns))}")
    if obs[key].isna().any():
        cell = obs.index[obs[key].isna()][0]
        raise InputError(f"{source}: cell {str(cell)!r} has no {key!r}; give every cell its batch")
    return pd.Categorical(as_labels(obs[key]))


def _clean_cells(counts: Counts, thresholds: Thresholds, account: _Account, source: str) -> Counts:
    # Empty cells first: they are all alike, but none is a copy of another.
    empty = np.diff(counts.X.indptr) == 0
    account.add("empty cells", "cells", "no count in any gene", counts.cells[empty])
    counts = counts.take(np.flatnonzero(~empty))

    duplicate, elsewhere = find_duplicates(counts.X, counts.coords, counts.obs.get("batch"))
    reason = "counts of all genes and coordinates repeat an earlier cell's"
    if counts.coords is None:
        reason = "counts of all genes repeat an earlier cell's"
    account.add("duplicate cells", "cells", reason, counts.cells[duplicate])
    if elsewhere.any():
        account.warnings.append(
            f"{int(elsewhere.sum())} cells have the counts of another cell at another place (first: "
            f"{counts.cells[elsewhere][0]}); kept: they may be one cell segmented twice"
        )
    counts = counts.take(np.flatnonzero(~duplicate))

    counts.obs = counts.obs.reset_index(drop=True)
    counts.obs.insert(0, "n_counts", np.asarray(counts.X.sum(axis=1, dtype=np.float64)).ravel().astype(np.int64))
    counts.obs.insert(1, "n_genes", np.diff(counts.X.indptr).astype(np.int32))
    few = (counts.obs["n_counts"] < thresholds.min_counts).to_numpy()
    account.add("few counts", "cells", f"fewer than {thresholds.min_counts} counts", counts.cells[few])
    sparse = (counts.obs["n_genes"] < thresholds.min_genes).to_numpy() & ~few
    account.add("few genes", "cells", f"fewer than {thresholds.min_genes} genes detected", counts.cells[sparse])
    counts = counts.take(np.flatnonzero(~(few | sparse)))
    if len(counts.cells) < 2 or len(counts.genes) < 2:
        raise InputError(
            f"{source}: {len(counts.cells)} cells and {len(counts.genes)} genes are left after quality "
            "control; expected at least 2 of each: check the file or lower min_counts and min_genes"
        )
    outlier = find_outliers(counts.obs, thresholds.max_mad)
    counts.obs = counts.obs.assign(outlier=outlier)
    if thresholds.drop_outliers:
        reason = f"counts or genes further than {thresholds.max_mad:g} MADs from the median"
        account.add("outliers", "cells", reason, counts.cells[outlier])
        counts = counts.take(np.flatnonzero(~outlier))
    counts.obs = counts.obs.reset_index(drop=True)
    for column in counts.obs.columns[counts.obs.dtypes == "category"]:
        counts.obs[column] = counts.obs[column].cat.remove_unused_categories()
    ours = counts.obs.columns.isin(OWN_CELL_COLUMNS)
    counts.obs = counts.obs[[*counts.obs.columns[ours], *counts.obs.columns[~ours]]]
    return counts
