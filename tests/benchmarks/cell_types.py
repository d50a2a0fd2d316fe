"""Cell types carried over, beside the labels that the spatial files have: the table of docs/benchmarks.md.

    python tests/benchmarks/cell_types.py

Two pairs by the whole pipeline without cross-validation. The two sides name types differently, so both are taken to
classes by the names below, and the reference's classes are carried over in the latent space of the run; a spatial cell
of no class is not counted. Beside it: the 15 nearest reference cells by log-normalized, standardized panel genes, their
votes as probabilities.
"""

import re
import sys
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pipeline_runs
from benchmark_tables import markdown
from runs import CACHE, DATA, ROOT
from sklearn.metrics import recall_score
from sklearn.neighbors import KNeighborsClassifier

sys.path.insert(0, str(ROOT / "bin"))
from spatialimpute.files.counts import Counts
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.imputation.cell_types import UNASSIGNED, transfer_celltypes
from spatialimpute.normalize import ZScore

REFERENCE = "mop_10x_reference"
PAIRS = {"osmfish_sscortex_spatial": "osmFISH", "starmap_mpfc_gimvi_spatial": "STARmap"}
#: Class -> its types on either side, as a pattern of their names' beginnings.
CLASSES = {
    "inhibitory": "Lamp5|Vip|Sst|Pvalb|Sncg|Meis2|Inhibitory|NPY|Lhx6|Reln",
    "excitatory": r"L\d|CLA|IT|eL\d|Pyramidal",
    "astrocyte": "Astro",
    "oligodendrocyte": "Oligo|OPC",
    "microglia": "Micro|Macro|PVM",
    "vascular": "Endo|VLMC|Peri|SMC|Smc",
}
NEIGHBORS, BINS = 15, 10


def class_of(name: str) -> str:
    """The class of a type, or nothing."""
    return next((known for known, types in CLASSES.items() if re.match(types, name, re.IGNORECASE)), "")


def run(spatial: str, technology: str) -> tuple[pd.DataFrame, SampleInputs]:
    """Of each spatial cell the class that it is given, and what the model was given."""
    folder = CACHE / "cell_types" / spatial
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "sheet.csv"
    row = ["s", str(DATA / f"{spatial}.h5ad"), str(DATA / f"{REFERENCE}.h5ad"), technology]
    sheet.write_text(f"sample,spatial,reference,technology\n{','.join(row)}\n")
    pipeline_runs.run_pipeline(folder, sheet, "--cv_folds", 0, "--n_top_genes", 200)
    (sets,) = (path for path in (folder / "work").rglob("gene_sets.json") if path.parent.name == "inputs")
    inputs = SampleInputs(sets.parent)
    latent = ad.read_h5ad(folder / "results/s/models/latent.h5ad")
    codes, of_reference = latent.obsm["X_gimvi"], (latent.obs["side"] == "reference").to_numpy()
    supported = ad.read_h5ad(folder / "results/s/imputed.h5ad", backed="r").obs["supported"].to_numpy()
    found = transfer_celltypes([classed(inputs)], [codes[of_reference]], codes[~of_reference], supported)
    return found, inputs


def classed(inputs: SampleInputs) -> Counts:
    """The reference, with classes for types."""
    (reference,) = inputs.references()
    classes = [class_of(name) for name in reference.obs["celltype"].astype(str)]
    return replace(reference, obs=reference.obs.assign(celltype=classes))


def by_neighbors(inputs: SampleInputs) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability of each spatial cell, by reference cells that are alike on the panel."""
    shared, reference = inputs.gene_sets.shared, classed(inputs)
    sides = []
    for counts in (reference, inputs.spatial()):
        X = counts.select(shared)
        sides.append(ZScore.fit(X).transform(X))
    model = KNeighborsClassifier(NEIGHBORS).fit(sides[0], reference.obs["celltype"])
    votes = model.predict_proba(sides[1])
    return model.classes_[votes.argmax(1)], votes.max(1)


def judge(truth: np.ndarray, found: np.ndarray, probability: np.ndarray) -> dict:
    """Of the cells that have and were given a class: accuracy, its mean over classes, and how far certainty is off."""
    counted = (truth != "") & (found != UNASSIGNED)
    right, stated = (found == truth)[counted], probability[counted]
    edges = pd.cut(stated, np.linspace(0, 1, BINS + 1), include_lowest=True)
    gaps = pd.DataFrame({"right": right, "stated": stated}).groupby(edges, observed=True).agg(["mean", "size"])
    error = ((gaps["right", "mean"] - gaps["stated", "mean"]).abs() * gaps["right", "size"]).sum() / counted.sum()
    of_each = recall_score(truth[counted], found[counted], average=None, labels=np.unique(truth[counted]))
    return {
        "cells": f"{counted.sum():,} of {(truth != '').sum():,}",
        "right": f"{right.mean():.3f}",
        "mean over classes": f"{of_each.mean():.3f}",
        "stated": f"{stated.mean():.3f}",
        "calibration error": f"{error:.3f}",
    }


def main():
    rows = []
    for spatial, technology in PAIRS.items():
        given, inputs = run(spatial, technology)
        labels = ad.read_h5ad(DATA / f"{spatial}.h5ad", backed="r").obs["cell_type"].astype(str)
        truth = np.array([class_of(name) for name in labels[inputs.spatial(genes=[]).cells]])
        pair = {"pair": f"{spatial} × {REFERENCE}", "panel genes": len(inputs.gene_sets.shared)}
        carried = given["transferred_celltype"].astype(str).to_numpy()
        certain = given["transferred_celltype_probability"].to_numpy()
        rows.append(pair | {"by": "spatialimpute"} | judge(truth, carried, certain))
        neighbors, votes = by_neighbors(inputs)
        rows.append(pair | {"by": "kNN on the panel"} | judge(truth, neighbors, votes))
        assigned = np.where(carried == UNASSIGNED, UNASSIGNED, neighbors)
        rows.append(pair | {"by": "kNN on the panel, the same cells"} | judge(truth, assigned, votes))
    print(markdown(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
