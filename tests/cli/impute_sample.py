"""A sample of many cells that has passed all steps before IMPUTE."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from spatialimpute.ensemble import Recipe
from spatialimpute.evaluation.gene_table import gene_table
from spatialimpute.files.blend import write_blend
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.graph import write_graph
from spatialimpute.files.inputs import SampleInputs, write_inputs
from spatialimpute.files.sealed import digest, write_json
from spatialimpute.files.tsv import write_tsv
from spatialimpute.folds import fold_of, scored_cells
from spatialimpute.gene_facts import gene_facts
from spatialimpute.graph import cell_graph
from spatialimpute.imputation.models import GRAPH
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.gimvi.blending import final_blend
from spatialimpute.methods.gimvi.data import TrainingData
from spatialimpute.methods.gimvi.method import ensemble
from spatialimpute.methods.gimvi.saving import save
from spatialimpute.methods.gimvi.settings import PRESETS
from spatialimpute.methods.gimvi.training import train
from spatialimpute.simulation.tissue import Tissue

N_CELLS, N_REFERENCE, UNKNOWN = 9_500, 300, 5_000
RECIPES = {
    "models": Recipe({"knn": 0.25}, 0.4, 0.1),
    "models_knn": Recipe({"knn": 0.25}),
    "models_alone": Recipe(),
}


def their_cells() -> dict:
    """Columns of the kinds that people's files have; `cell` is what the index is called too."""
    some = np.arange(N_CELLS) % 7 != 0
    return {
        "cluster": pd.Categorical(np.where(some, "=1+1", None)),
        "section": np.arange(N_CELLS) // 5_000,
        "area": np.linspace(1, 2, N_CELLS, dtype=np.float32),
        "is_edge": ~some,
        "reviewed": pd.array(np.where(some, True, None), dtype="boolean"),
        "cell": pd.Categorical([f"c{i}" for i in range(N_CELLS)]),
    }


def their_genes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "biotype": pd.Categorical(np.where(np.arange(40) % 3, "protein_coding", None)),
            "entrez": [100_287_102.0 + i for i in range(39)] + [np.nan],
            "chromosome": pd.Categorical(["01"] * 39 + ["X"]),
            "highly_variable": np.arange(40) % 2 == 0,
            "=length": np.linspace(-1.23456789, 1, 40),
        }
    )


def write_final(folder: Path) -> None:
    """Inputs, final models (`models`: kNN and the graph have a share), evaluation and gene table.

    In `models_knn` the graph has none, in `models_alone` neither has. Nothing is known of one cell.
    """
    tissue, sides = Tissue(n_genes=40, n_panel=16, seed=0), []
    for role, n, share in (("spatial", N_CELLS, tissue.share), ("reference", N_REFERENCE, tissue.reference_share)):
        rng = np.random.default_rng(n)
        cells = tissue.cells(n, rng, share, n)
        X = tissue.spatial_counts(cells, rng)[:, :16] if role == "spatial" else tissue.reference_counts(cells, rng)
        if role == "spatial":
            X[UNKNOWN] = 0
        sides.append(
            Counts(
                X=sp.csr_matrix(X, dtype=np.float32),
                genes=tissue.genes[tissue.panel] if role == "spatial" else tissue.genes,
                cells=np.array([f"{role}{c}" for c in range(n)]),
                obs=pd.DataFrame({"celltype": pd.Categorical(cells.celltype)}),
                coords=cells.coords if role == "spatial" else None,
                info={"role": role, "id": role, "schema_version": "1"},
            )
        )
    sides[0].obs = sides[0].obs.assign(**their_cells())
    sides[1].var = their_genes()
    spatial, reference = sides
    shared = spatial.genes.tolist()
    modeled = shared + [gene for gene in tissue.genes.tolist() if gene not in shared]
    gene_sets = GeneSets(modeled, shared, [], modeled, scored_cells=list(range(2, N_CELLS, 5)))
    write_inputs(folder / "inputs", spatial, [reference], gene_sets, gene_facts(spatial, [reference], gene_sets))
    inputs = SampleInputs(folder / "inputs")
    settings = replace(PRESETS["default"], max_steps=20, batch_size=32, n_hidden=16, n_latent=4)
    members = ensemble(settings, {None: 0.0}, range(3))
    spatial, references = inputs.spatial(), inputs.references()
    stacks = train(TrainingData(references, spatial, gene_sets, settings), members)
    save(stacks, folder / "models", gene_sets, settings)
    view, known = SpatialView.of(spatial, fold_of(gene_sets, None))
    for name, recipe in RECIPES.items():
        if name != "models":
            shutil.copytree(folder / "models", folder / name)
        blend, learned = final_blend(stacks, spatial, view, known, references, gene_sets, recipe)
        write_blend(folder / name, blend, gene_sets.targets, learned)
    graph = cell_graph(view, known, N_CELLS, scored_cells(gene_sets, N_CELLS))
    assert 1_800 < len(graph.anchors) <= len(gene_sets.scored_cells)
    write_graph(folder / "models" / GRAPH, graph)
    scores = pd.DataFrame({"gene": shared, "fold": "1", "detected": 50, "spearman": 0.4})
    scores = scores.assign(spearman_partial=np.linspace(0, 0.5, 16), spearman_fraction=0.3, promised=0.3)
    write_tsv(folder / "genes.tsv", gene_table(inputs.gene_facts, scores, 0.2, 0.1))
    write_json(folder / "evaluation.json", {"genes_digest": digest(folder / "genes.tsv")})
