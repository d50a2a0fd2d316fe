"""Tangram (Biancalani et al. 2021, doi:10.1038/s41592-021-01264-7), package tangram-sc, mode "cells".

Counts as they are on both sides and the package's defaults, with the 500 epochs of its tutorial. Of the inputs
(counts, depth-normalized, log) and density priors (by counts, uniform, none) tried on one pair, these did best; the
uniform prior that the tutorial names for single cells did worst on counts.
What `project_genes` returns holds the density of the cells mapped to a place, and so a library size of its own.
Three scalings are written, for the scoring to give Tangram its best: `mean` divides by the projected panel total,
`mean_density` by the mapped density, `mean_raw` is the projection as it is.
"""

import contextlib
import logging
import os
import warnings

import common

OPTIONS = common.arguments(__doc__.splitlines()[0], epochs={"type": int, "default": 500})

import numpy as np  # noqa: E402
import tangram as tg  # noqa: E402
import torch  # noqa: E402


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    torch.set_num_threads(OPTIONS.threads)
    fold = common.load_fold(OPTIONS)
    clock = common.Clock()
    # Tangram drops and reorders genes in place, so it gets copies.
    reference, spatial = fold.reference.copy(), fold.spatial.copy()
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        tg.pp_adatas(reference, spatial, genes=fold.panel, gene_to_lowercase=False)
        mapping = tg.map_cells_to_space(
            reference,
            spatial,
            mode="cells",
            num_epochs=OPTIONS.epochs,
            random_state=OPTIONS.seed + 1,  # tangram takes 0 as "no seed"
            device="cpu",
            verbose=False,
        )
    # project_genes is this product; it would lower the case of the genes' names.
    weights = np.asarray(mapping.X, np.float32)
    expression = reference.to_df()
    projected = weights.T @ expression.reindex(columns=fold.held_out, fill_value=0).to_numpy(np.float32)
    panel_total = weights.T @ expression.reindex(columns=fold.panel, fill_value=0).to_numpy(np.float32).sum(1)
    density = weights.sum(axis=0)
    tiny = np.finfo(np.float32).tiny
    common.write(
        OPTIONS,
        fold,
        projected / np.maximum(panel_total, tiny)[:, None],
        clock.read(),
        mean_density=projected / np.maximum(density, tiny)[:, None],
        mean_raw=projected,
        n_steps=OPTIONS.epochs,
        last_loss=float(mapping.uns["training_history"]["main_loss"][-1]),
    )


if __name__ == "__main__":
    main()
