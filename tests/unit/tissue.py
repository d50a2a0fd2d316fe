"""Small made-up tissues for the tests of the model: a few programs, genes that load on them, counts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.settings import PRESETS

#: The default preset, small: every mechanism of it is on.
SMALL = replace(
    PRESETS["default"], n_latent=4, n_hidden=16, decoder_hidden=(0, 8), seeds=2, max_steps=30, batch_size=32
)
#: The paper's preset, small.
PAPER = replace(PRESETS["paper"], spatial_likelihood="poisson", n_latent=4, n_hidden=16, max_steps=30, batch_size=32)

MEMBERS = [Member("0", 0.0, 0), Member("1", 0.0, 1), Member(None, 0.0, 0)]
ADVERSARIAL = [replace(member, kappa=5.0) for member in MEMBERS]


def make_counts(X, genes, name, **obs) -> Counts:
    X = sp.csr_matrix(np.asarray(X), dtype=np.float32)
    cells = np.array([f"{name}{i}" for i in range(X.shape[0])])
    return Counts(X, np.array(genes), cells, pd.DataFrame(obs, index=cells), info={"id": name})


def draw(n_cells: tuple[int, ...] = (150, 120), n_panel=15, n_genes=24, seed=0, batches=(1, 1), depths=(60, 30)):
    """References and a spatial dataset (the last of `n_cells`) of one tissue, and its panel with three folds.

    The second reference, if there is one, lacks the first gene beyond the panel; the first lacks the last gene.
    """
    rng = np.random.default_rng(seed)
    genes = np.array([f"g{i}" for i in range(n_genes)])
    programs = rng.gamma(0.5, 1.0, (3, n_genes)) + 0.05
    datasets = []
    for i, n in enumerate(n_cells):
        spatial = i == len(n_cells) - 1
        present = np.arange(n_genes)
        if spatial:
            present = present[:n_panel]
        elif len(n_cells) > 2:
            present = np.delete(present, [n_genes - 1, n_panel][i])
        mix = rng.dirichlet(np.full(3, 0.3), n)
        rates = mix @ programs
        size = rng.lognormal(np.log(depths[spatial]), 0.4, n)
        efficiency = rng.lognormal(0, 0.3, n_genes)
        n_batches = batches[spatial]
        batch = rng.integers(0, n_batches, n)
        efficiency = efficiency * rng.lognormal(0, 0.3, (n_batches, n_genes))[batch]
        rates = rates * efficiency
        X = rng.poisson(rates / rates.sum(1, keepdims=True) * size[:, None])[:, present]
        name = "spatial" if spatial else f"reference{i}"
        obs = {"celltype": mix.argmax(1).astype(str)}
        if n_batches > 1:
            obs["batch"] = pd.Categorical([f"b{b}" for b in batch])
        datasets.append(make_counts(X, genes[present], name, **obs))
    datasets[-1].coords = rng.random((n_cells[-1], 2))
    return datasets[:-1], datasets[-1], make_panel(list(genes), n_panel)


def make_panel(genes: list[str], n_panel: int, n_folds: int = 3) -> GeneSets:
    shared = genes[:n_panel]
    folds = {str(f): shared[f::n_folds] for f in range(n_folds)}
    return GeneSets(list(genes), shared, [], list(genes), folds)


def with_noise(spatial: Counts, genes: list[str], seed: int = 1, mean: float = 40.0) -> Counts:
    """The same spatial dataset with the counts of some genes replaced by noise, zeros and counts in other places."""
    rng = np.random.default_rng(seed)
    X = spatial.X.toarray()
    columns = np.flatnonzero(np.isin(spatial.genes, genes))
    noise = rng.poisson(mean, (len(X), len(columns))) * rng.integers(0, 2, (len(X), len(columns)))
    X[:, columns] = noise
    return replace(spatial, X=sp.csr_matrix(X, dtype=np.float32))


def data(settings=SMALL, **tissue) -> TrainingData:
    references, spatial, gene_sets = draw(**tissue)
    return TrainingData(references, spatial, gene_sets, settings)


def weights(stack, m=None) -> dict[str, torch.Tensor]:
    """Those of all members, or of the m-th."""
    state = stack.model.state_dict()
    return state if m is None else {name: value[m] for name, value in state.items()}


def same(a, b) -> bool:
    """Whether two members' or stacks' weights are the same to the bit."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
