"""scvi-tools' GIMVI (Lopez et al. 2019) as its users run it: 200 epochs, kappa 5, batches of 128, defaults.

`get_imputed_values(normalized=True)` decodes spatial cells in their own mode: a softmax over all reference genes
divided by its sum over the spatial genes it was trained on. So it already is relative to the total of the genes in use.
"""

import warnings

from fold_folder import SEED, THREADS, read_fold, write_mean  # first: it sets the threads

import numpy as np  # isort: skip
import scvi  # isort: skip
import torch  # isort: skip

EPOCHS, KAPPA, BATCH_SIZE = 200, 5, 128


def main():
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = 40
    scvi.settings.seed = SEED
    torch.set_num_threads(THREADS)
    fold = read_fold()
    for data in (fold.reference, fold.spatial):
        scvi.external.GIMVI.setup_anndata(data)
    model = scvi.external.GIMVI(fold.reference, fold.spatial)
    model.train(EPOCHS, accelerator="auto", kappa=KAPPA, batch_size=BATCH_SIZE, enable_progress_bar=False)
    columns = fold.reference.var_names.get_indexer(fold.targets)
    mean = model.get_imputed_values(normalized=True)[1][np.ix_(fold.cells, columns)]
    write_mean(fold, mean)


if __name__ == "__main__":
    main()
