"""Predictions along the training of one of our models, one fold: what `speed.py` needs for time to accuracy.

    own_trace.py --spatial counts.h5ad --reference counts.h5ad --gene-sets gene_sets.json --fold 0 --out trace.npz

As with the peers, libraries are loaded before the clock starts; it runs while the data are prepared (sampling
weights included) and stands still while predictions are made for the trace. Writes trace_steps, trace_seconds,
trace_cpu_seconds, trace_means (as the peers' scripts do), cells, genes.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bin"))


def frequencies(state, spatial, gene_sets, held_out: list[int]) -> np.ndarray:
    """Held-out genes' frequencies at the posterior mean of z, (N, H)."""
    from spatialimpute.methods.gimvi.posterior import StackSampler

    sampler = StackSampler(state, spatial, gene_sets)
    z = sampler.encode(np.arange(len(spatial.cells)))[0].unsqueeze(1)
    return sampler.frequencies(z, slice(0, len(gene_sets.shared)))[0, 0][:, held_out].numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spatial", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--gene-sets", required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--kappa", type=float, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()

    import torch
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.gene_sets import read_gene_sets
    from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.state import TrainingState
    from spatialimpute.methods.gimvi.training import learning_rate_at, n_steps, update

    torch.set_num_threads(options.threads)
    spatial, reference, gene_sets = (
        read_counts(options.spatial),
        read_counts(options.reference),
        read_gene_sets(options.gene_sets),
    )
    settings = resolve_settings(options.preset, spatial.info.get("technology"), max_steps=options.max_steps)
    held_out = [gene_sets.shared.index(gene) for gene in gene_sets.folds[options.fold]]

    import sklearn.neighbors  # noqa: F401

    wall, cpu = time.perf_counter(), time.process_time()
    data = TrainingData([reference], spatial, gene_sets, settings)
    members, device = [Member(options.fold, options.kappa, 0)], torch.device("cpu")
    steps = n_steps(settings, data.n_cells)
    state = TrainingState(data, members, options.seed, device)
    device_data = DeviceData(data, members, options.seed, device)
    traced = {round(steps * i / 40) for i in range(1, 41)}
    trace = []
    while state.step < steps:
        minibatches = device_data.minibatches(state.model, device_data.cells(state.step))
        update(
            state,
            minibatches,
            learning_rate=learning_rate_at(settings, state.step, steps),
            kl_weight=settings.kl_weight * (state.step + 1) / steps,
        )
        state.step += 1
        if state.step in traced:
            now = time.perf_counter(), time.process_time()
            trace.append((state.step, now[0] - wall, now[1] - cpu, frequencies(state, spatial, gene_sets, held_out)))
            wall += time.perf_counter() - now[0]
            cpu += time.process_time() - now[1]
    at, seconds, cpu_seconds, means = zip(*trace, strict=True)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        options.out, trace_steps=at, trace_seconds=seconds, trace_cpu_seconds=cpu_seconds,
        trace_means=np.stack(means), cells=spatial.cells, genes=gene_sets.folds[options.fold],
    )  # fmt: skip


if __name__ == "__main__":
    main()
