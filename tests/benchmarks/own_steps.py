"""Milliseconds per optimizer step and model of our training, as JSON; `speed.py` calls it beside scvi-tools'.

    python own_steps.py --spatial S.h5ad --reference R.h5ad --preset default --members 25 --steps 40

The loop is the trainer's own without its records (every 48th step of a default run). Members are put into
stacks as the trainer does it.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bin"))


def read(path: str, role: str):
    from spatialimpute.files.counts import Counts

    data = ad.read_h5ad(path)
    return Counts(
        data.X.tocsr(),
        data.var_names.to_numpy(str),
        data.obs_names.to_numpy(str),
        data.obs,
        info={"id": role},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spatial", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--kappa", type=float, default=0)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    import torch
    from spatialimpute.files.gene_sets import GeneSets
    from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.stacks import split
    from spatialimpute.methods.gimvi.state import TrainingState
    from spatialimpute.methods.gimvi.training import update

    torch.set_num_threads(options.threads)
    spatial, reference = read(options.spatial, "spatial"), read(options.reference, "reference")
    shared = list(spatial.genes)
    genes = shared + [gene for gene in reference.genes if gene not in set(shared)]
    folds = {str(k): shared[k::5] for k in range(5)}
    warm_up = max(2, options.steps // 4)
    # Sampling weights are no part of a step: uniform ones spare the search for neighbors.
    settings = resolve_settings(options.preset, max_steps=options.steps + warm_up, reweight=False)
    data = TrainingData([reference], spatial, GeneSets(genes, shared, [], genes, folds), settings)
    members = [Member(str(k % 5), options.kappa, k // 5) for k in range(options.members)]
    device = torch.device(options.device)
    wall, cpu = 0.0, 0.0
    for group in split(data, members, device, workers=1):
        state = TrainingState(data, group, 0, device)
        device_data = DeviceData(data, group, 0, device)
        times = []
        for step in range(settings.max_steps):
            minibatches = device_data.minibatches(state.model, device_data.cells(step))
            update(state, minibatches, learning_rate=settings.learning_rate, kl_weight=0.25)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter(), time.process_time()))
        steps = np.diff(np.array(times), axis=0)[warm_up - 1 :]
        wall += float(np.median(steps[:, 0]))
        cpu += float(np.mean(steps[:, 1]))
    print(json.dumps({"ms": 1e3 * wall / len(members), "cpu_ms": 1e3 * cpu / len(members)}))


if __name__ == "__main__":
    main()
