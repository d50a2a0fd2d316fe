"""scvi-tools' GIMVI on one fold of an `inputs/` folder, timed: 200 epochs, kappa 5, batches of 128, defaults.

    scvi_speed.py --inputs inputs --fold 0 [--trace trace.npz | --time-steps 40]

Prints, as JSON, the seconds and processor seconds of the training and of its prediction. `--trace` also keeps the
predictions along the training (trace_seconds, trace_cpu_seconds, trace_means, cells, genes), the clock standing still
meanwhile. `--time-steps N` prints the milliseconds of so many optimizer steps instead. Libraries are loaded before the
clock starts. Runs in the environment of containers/envs/peers and needs nothing of ours.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import scvi
import torch
from lightning.pytorch.callbacks import Callback

EPOCHS, KAPPA, BATCH_SIZE = 200, 5, 128
TRACED_EPOCHS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200]


class Clock:
    """Wall and processor seconds since the start; it stands still in a `with` block."""

    def __init__(self):
        self._start = np.array([time.perf_counter(), time.process_time()])

    def read(self) -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()]) - self._start

    def __enter__(self) -> np.ndarray:
        self._paused = self.read()
        return self._paused

    def __exit__(self, *_):
        self._start += self.read() - self._paused


class Trace(Callback):
    """Predictions of the held-out genes after some of the epochs; the random state is left as it was."""

    def __init__(self, predict, clock: Clock):
        self.predict, self.clock, self.times, self.means = predict, clock, [], []

    def on_train_epoch_end(self, trainer, plan):
        if trainer.current_epoch + 1 in TRACED_EPOCHS:
            with self.clock as now, torch.random.fork_rng():
                self.times.append(now)
                self.means.append(self.predict())
                plan.module.train()


class StepTimes(Callback):
    """Times of each step with its share of data loading: from one step's end to the next one's."""

    def __init__(self, n_steps: int):
        self.n_steps, self.warm_up, self.ends = n_steps, n_steps // 4, []

    def on_train_batch_end(self, trainer, *_):
        self.ends.append((time.perf_counter(), time.process_time()))
        if len(self.ends) > self.n_steps + self.warm_up:
            trainer.should_stop = True

    def summary(self) -> dict:
        wall, cpu = np.diff(np.array(self.ends), axis=0)[self.warm_up :].T * 1e3
        return {"ms": float(np.median(wall)), "cpu_ms": float(np.mean(cpu))}


def read_fold(folder: Path, name: str) -> tuple[ad.AnnData, ad.AnnData, list[str]]:
    """Spatial counts of the genes in use, the reference, both without cells that have none of these, held-out genes."""
    held_out = json.loads((folder / "gene_sets.json").read_text())["folds"][name]
    spatial, reference = ad.read_h5ad(folder / "spatial.h5ad"), ad.read_h5ad(folder / "reference1.h5ad")
    in_use = [gene for gene in spatial.var_names if gene not in set(held_out)]
    sides = [data[np.asarray(data[:, in_use].X.sum(axis=1)).ravel() > 0] for data in (spatial[:, in_use], reference)]
    return *(data.copy() for data in sides), held_out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("--trace", help="npz to write")
    parser.add_argument("--time-steps", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = 40
    scvi.settings.seed = 0
    torch.set_num_threads(options.threads)
    spatial, reference, held_out = read_fold(options.inputs, options.fold)
    clock = Clock()
    for data in (reference, spatial):
        scvi.external.GIMVI.setup_anndata(data)
    model = scvi.external.GIMVI(reference, spatial)
    columns = reference.var_names.get_indexer(held_out)

    def predict() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.get_imputed_values(normalized=True)[1][:, columns].astype(np.float32)

    trace, step_times = Trace(predict, clock), StepTimes(options.time_steps)
    callbacks = [trace] if options.trace else [step_times] if options.time_steps else []
    how = {"accelerator": "cpu", "callbacks": callbacks, "enable_progress_bar": False}
    model.train(EPOCHS, kappa=KAPPA, batch_size=BATCH_SIZE, **how)
    if options.time_steps:
        print(json.dumps(step_times.summary()))
        return
    predict()
    seconds, cpu_seconds = clock.read()
    if options.trace:
        times = np.array(trace.times).T
        np.savez_compressed(
            options.trace, trace_seconds=times[0], trace_cpu_seconds=times[1], trace_means=np.stack(trace.means),
            cells=spatial.obs_names.to_numpy(str), genes=held_out,
        )  # fmt: skip
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main()
