"""Tangram (Biancalani et al. 2021, doi:10.1038/s41592-021-01264-7), package tangram-sc, mode "cells".

Counts as they are on both sides and the package's defaults, with the 500 epochs of its tutorial. Of the inputs
(counts, depth-normalized, log) and density priors (by counts, uniform, none) tried on one pair, these did best; the
uniform prior that the tutorial names for single cells did worst on counts.
What `project_genes` returns holds the density of the cells mapped to a place, and so a library size of its own: it is
divided by the projected total over the genes in use.
"""

import contextlib
import logging
import os
import warnings

from fold_folder import SEED, THREADS, read_fold, write_mean  # first: it sets the threads

import numpy as np  # isort: skip
import tangram as tg  # isort: skip
import torch  # isort: skip

EPOCHS = 500


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    torch.set_num_threads(THREADS)
    fold = read_fold()
    # Tangram drops and reorders genes in place, so it gets copies.
    reference, spatial = fold.reference.copy(), fold.spatial.copy()
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        tg.pp_adatas(reference, spatial, genes=fold.in_use, gene_to_lowercase=False)
        mapping = tg.map_cells_to_space(
            reference,
            spatial,
            mode="cells",
            num_epochs=EPOCHS,
            random_state=SEED + 1,  # tangram takes 0 as "no seed"
            device="cuda" if torch.cuda.is_available() else "cpu",
            verbose=False,
        )
    # project_genes is this product; it would lower the case of the genes' names.
    weights = np.asarray(mapping.X, np.float32)[:, fold.cells]
    expression = fold.reference.to_df()
    projected = weights.T @ expression[fold.targets].to_numpy(np.float32)
    total = weights.T @ expression[fold.in_use].to_numpy(np.float32).sum(axis=1)
    write_mean(fold, projected / np.maximum(total, np.finfo(np.float32).tiny)[:, None])


if __name__ == "__main__":
    main()
