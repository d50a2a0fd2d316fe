"""What the steps before REPORT leave for a sample, made up."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from spatialimpute.agreement import Agreement, agreement_table
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.inputs import write_inputs
from spatialimpute.files.predictions import Predictions, write_predictions
from spatialimpute.files.sealed import digest, seal, write_json

METHODS = Path(__file__).resolve().parents[2] / "assets/methods.json"
#: An alternative with everything that a person might have put into its names.
POOR = Agreement(
    "<b>other", 21, 20, 20, 18, 0.05, -0.1, 0.2, 0.8, "poor", ["=T <i>cell (high: <blink>)"], ["group <s>"], 0.4,
    ["20 of 20 shared genes match by letter case alone"], ["genes vary together otherwise"],
)  # fmt: skip


def write_results(
    folder: Path,
    sample: str = "cortex",
    *,
    n_spatial: int = 400,
    n_reference: int = 300,
    n_panel: int = 20,
    n_genes: int = 60,
    kappas: tuple[float, ...] = (0.0, 1.0, 5.0),
    folds: int = 3,
    celltypes: bool = True,
    latent: bool = True,
    headline: str = "good",
    genes: list[str] | None = None,
    scored: int | None = None,
    imputed_format: str = "h5ad",
    seed: int = 0,
) -> list[str]:
    """Write what the steps before REPORT leave for a sample, layered tissue; returns report.py's arguments."""
    rng = np.random.default_rng(seed)
    results = folder / "results"
    genes = genes or [f"Gene{i}" for i in range(n_genes)]
    shared, panel_genes = genes[:n_panel], [*genes[:n_panel], "OnlySpatial"]
    types = np.array(["L2/3 neuron", "L4 neuron", "L5 neuron", "Astrocyte", "Microglia"])
    program = rng.gamma(0.5, 2.0, (len(types), n_genes + 1))

    xy = rng.uniform(0, [3000, 1800], (n_spatial, 2))
    spatial_type = np.clip((xy[:, 1] / 600 + rng.normal(0, 0.25, n_spatial)).astype(int), 0, 2)
    spatial_type[rng.random(n_spatial) < 0.25] = 3
    reference_type = rng.integers(0, 5, n_reference)
    depth = rng.lognormal(0, 0.5, (n_spatial, 1))
    rate = program[spatial_type][:, [*range(n_panel), n_genes]] * depth
    counts = [
        (sample, "spatial", rng.poisson(rate), panel_genes, spatial_type, xy),
        (
            "atlas",
            "reference",
            rng.poisson(program[reference_type][:, :n_genes] * 3),
            genes,
            reference_type,
            None,
        ),
    ]
    sides = []
    for name, role, x, names, kinds, coords in counts:
        obs = pd.DataFrame({"n_counts": x.sum(1), "n_genes": (x > 0).sum(1), "dataset": name})
        if celltypes and role == "reference":
            obs["celltype"] = pd.Categorical(types[kinds])
        info = {
            "role": role,
            "technology": "merfish",
            "id": name,
            "source": f"{name}.h5ad",
            "source_digest": "",
            "counts_from": "X",
            "coordinate_unit": "um",
        }
        cells = np.array([f"{name}_{i}" for i in range(len(x))])
        matrix = sp.csr_matrix(x, dtype=np.float32)
        sides.append(Counts(matrix, np.array(names), cells, obs, coords, info))
        qc = {
            "schema_version": "1", "id": name, "role": role, "technology": "merfish", "source": f"{name}.h5ad",
            "source_digest": "", "counts_from": "X", "n_cells_in": len(x) + 12, "n_cells": len(x),
            "n_genes_in": len(names) + 5, "n_genes": len(names),
            "control_probe_rate": 0.0123 if role == "spatial" else None, "n_outliers": 3,
            "coordinate_unit": "um" if role == "spatial" else None,
            "steps": [
                {"step": "duplicate cells", "axis": "cells", "n": 12, "reason": "identical", "examples": ["c1", "c2"]},
                {"step": "control probes", "axis": "genes", "n": 5, "reason": "not genes", "examples": ["Blank-1"]},
            ],
            "warnings": ["3 cells lie more than 5 MADs from the median; kept"] if role == "spatial" else [],
        }  # fmt: skip
        (results / role).mkdir(parents=True)
        write_json(results / role / "qc.json", qc)
    members = {str(f): shared[f::folds] for f in range(folds)} if folds else {}
    gene_sets = GeneSets(
        genes,
        shared,
        ["OnlySpatial"],
        genes,
        members,
        scored_cells=list(range(scored)) if scored else None,
        how={"shared": "in panel and reference", "folds": "stratified"},
        warnings=["two species: mouse and <human>"],
    )
    agreement = agreement_table([Agreement("atlas", 21, 20, 0, 20), POOR], [True, False])
    write_inputs(folder / "inputs", sides[0], sides[1:], gene_sets, pd.DataFrame({"gene": genes}), agreement)

    write_history(results / "models", [(None, 0.0, seed) for seed in range(3)], rng)
    if latent:
        write_latent(results / "models", sample, spatial_type, reference_type, types if celltypes else None, rng)
    imputed = ad.AnnData(
        np.ones((n_spatial, 2), np.float32), obs=pd.DataFrame({"supported": rng.random(n_spatial) < 0.93})
    )
    if celltypes:
        carried = np.where(imputed.obs["supported"], types[spatial_type], "unassigned")
        imputed.obs["transferred_celltype"] = pd.Categorical(carried)
        imputed.obs["transferred_celltype_probability"] = np.where(imputed.obs["supported"], 0.75, np.nan)
    imputed.obs_names = imputed.obs_names.astype(str)

    table = pd.DataFrame({"gene": genes, "measured": [g in shared for g in genes]})
    table["verdict"], table["reason"] = "not assessed", "not measured by the panel: nothing to compare with"
    for column in ("fold", "spearman", "spearman_partial", "spearman_fraction", "score"):
        table[column] = np.nan
    table["detected_fraction"] = np.where(table["measured"], 0.3, np.nan)
    table["reference_detected_fraction"] = 0.4
    table["moran_i"] = rng.uniform(0, 1, len(genes))
    table["score_expected"], table["suspect"] = np.where(table["measured"], 0.4, np.nan), ""
    table.loc[0, "suspect"] = "=not <i>what</i> is predicted"
    if folds:
        write_history(results / "cv/models", [(f, k, 0) for f in range(folds) for k in kappas], rng)
        write_crossvalidation(
            results / "cv", sample, shared, members, rate[: scored or None, :n_panel], kappas, headline, table, rng
        )
    write_genes(results, table, imputed, imputed_format)
    files = ["--inputs", f"{folder}/inputs", "--results", f"{folder}/results", "--methods", str(METHODS)]
    return ["--sample", sample, *files]


def write_genes(folder, table, imputed, imputed_format="h5ad"):
    table.to_csv(folder / "genes.tsv", sep="\t", index=False)
    imputed.uns["spatialimpute"] = {"genes_digest": digest(folder / "genes.tsv"), "schema_version": "2"}
    path = folder / f"imputed.{imputed_format}"
    imputed.write_h5ad(path) if imputed_format == "h5ad" else imputed.write_zarr(path)
    seal(path)


def write_history(folder, members, rng):
    folder.mkdir(parents=True)
    path = folder / "history.tsv"
    rows = []
    for member, (fold, kappa, seed) in enumerate(members):
        level = rng.normal(0, 2)
        for step in range(50, 1250, 50):
            rows.append({
                "member": member, "fold": fold, "kappa": kappa, "place": seed, "step": step, "epoch": step / 30,
                "loss": 100 + level + 80 * np.exp(-step / 200), "held_out_loss": 105 + level + 80 * np.exp(-step / 200),
                "disc_accuracy": 0.6 + 0.3 * np.exp(-step / 300) if kappa else None, "learning_rate": 1e-3,
            })  # fmt: skip
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False)
    write_json(path.with_name("models.json"), {"digests": {path.name: digest(path)}})


def write_latent(folder, sample, spatial_type, reference_type, types, rng):
    kinds = np.concatenate([spatial_type, reference_type])
    centers = rng.normal(0, 3, (5, 10))
    obs = pd.DataFrame({"dataset": [sample] * len(spatial_type) + ["atlas"] * len(reference_type)})
    if types is not None:
        obs["celltype"] = [None] * len(spatial_type) + list(types[reference_type])
    obs.index = obs.index.astype(str)
    latent = ad.AnnData(obs=obs)
    latent.obsm["X_gimvi"] = (centers[kinds] + rng.normal(0, 1, (len(kinds), 10))).astype(np.float32)
    latent.obsm["X_gimvi"][3] = np.nan  # a cell of which nothing is known
    latent.write_h5ad(folder / "latent.h5ad")
    seal(folder / "latent.h5ad")


def write_crossvalidation(folder, sample, shared, members, rate, kappas, headline, table, rng):
    fold_of = {gene: fold for fold, held in members.items() for gene in held}
    mean = rate / rate.sum(1, keepdims=True)
    prediction = Predictions(
        mean.astype(np.float32), (0.3 * mean).astype(np.float32), np.array([f"{sample}_{i}" for i in range(len(rate))]),
        np.array(shared), np.array([fold_of[g] for g in shared]), "spatialimpute", sample,
    )  # fmt: skip
    write_predictions(folder / "spatialimpute.h5ad", prediction)
    quality = rng.beta(2, 4, len(shared))
    methods = [
        ("spatialimpute", None, 0.0),
        ("knn", None, 0.06),
        ("celltype", None, 0.1),
        ("total", None, None),
    ]
    methods += [("gimvi", kappa, 0.02) for kappa in kappas]
    rows = []
    for method, kappa, loss in methods:
        for gene, q in zip(shared, quality, strict=True):
            partial = 0.0 if loss is None else q - loss + rng.normal(0, 0.02)
            rows.append({
                "sample": sample, "method": method, "kappa": kappa, "place": 0 if kappa is not None else None,
                "fold": fold_of[gene], "gene": gene, "n_cells": len(rate), "detected": 10,
                "spearman": 0.2 + 0.6 * partial, "spearman_fraction": partial * 0.8, "spearman_partial": partial,
                "pearson": 0.1, "rmse_z": 1.0, "ssim": 0.1, "jsd": 0.3,
            })  # fmt: skip
    scores = pd.DataFrame(rows)
    scores.to_csv(folder / "scores.tsv", sep="\t", index=False)
    summary = {}
    for method, group in scores.groupby("method"):
        summary[method] = {"n_genes": len(shared)}
        for key in ("spearman", "spearman_partial", "spearman_fraction"):
            summary[method] |= {f"{key}_median": group[key].median(), f"{key}_mean": group[key].mean()}
    evaluation = {
        "schema_version": "3", "sample": sample, "kappa": kappas[0], "headline": headline,
        "recipe": {"weights": {"knn": 0.2, "linear": 0.2, "celltype": 0.1}, "alpha": 0.4, "beta": 0.1},
        "kappa_curve": [{"kappa": k, "mean": 0.3 - 0.01 * k, "se": 0.015 * (k > 0)} for k in kappas],
        "headline_reason": "median partial score 0.31 (interval 0.25 to 0.36), above the cell-type mean's 0.22",
        "methods": summary, "partial_ci": [0.25, 0.36], "partial_given_detected": 0.2, "integration": {},
    }  # fmt: skip
    write_json(folder / "evaluation.json", evaluation | {"scores_digest": digest(folder / "scores.tsv")})
    chosen = scores[scores["method"] == "spatialimpute"].set_index("gene")
    for key in ("spearman", "spearman_partial", "spearman_fraction"):
        table.loc[: len(shared) - 1, key] = chosen.loc[shared, key].to_numpy()
    table["score"] = table["spearman_partial"]
    verdict = np.select(
        [table["score"] >= 0.2, table["score"] >= 0.1, table["score"].notna()], ["pass", "warn", "fail"], ""
    )
    table["verdict"] = np.where(verdict == "", table["verdict"], verdict)
    scored = table["score"].notna()
    table.loc[scored, "reason"] = [f"partial score {s:.2f} in cross-validation" for s in table.loc[scored, "score"]]
