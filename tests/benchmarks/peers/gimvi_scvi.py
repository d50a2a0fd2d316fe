"""scvi-tools' GIMVI (Lopez et al. 2019) as its users run it: 200 epochs, kappa 5, batches of 128, defaults.

`get_imputed_values(normalized=True)` decodes spatial cells in their own mode: a softmax over all reference genes
divided by its sum over the spatial genes it was trained on. So it already is relative to the panel total of the
genes in use, and `normalized=False` is the same times that total.

Two uses: the predictions of one fold (with those along the training, if asked for, the clock standing still
meanwhile), or `--time-steps N`: milliseconds per optimizer step, printed as JSON.
"""

import json
import time
import warnings

import common

OPTIONS = common.arguments(
    __doc__.splitlines()[0],
    epochs={"type": int, "default": 200},
    kappa={"type": float, "default": 5},
    trace={"action": "store_true", "help": "also store the predictions along the training"},
    **{"time-steps": {"type": int, "default": 0, "help": "only time so many steps (after as many / 4)"}},
)

import numpy as np  # noqa: E402
import scvi  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch.callbacks import Callback  # noqa: E402

TRACED_EPOCHS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200]


class Trace(Callback):
    """Predictions of the held-out genes after some of the epochs; the random state is left as it was."""

    def __init__(self, predict, clock):
        self.predict, self.clock = predict, clock
        self.epochs, self.seconds, self.cpu_seconds, self.means = [], [], [], []

    def on_train_epoch_end(self, trainer, plan):
        epoch = trainer.current_epoch + 1
        if epoch not in TRACED_EPOCHS:
            return
        with self.clock as clock, torch.random.fork_rng():
            wall, cpu = clock.read()
            self.epochs.append(epoch)
            self.seconds.append(wall)
            self.cpu_seconds.append(cpu)
            self.means.append(self.predict())
            plan.module.train()


class StepTimes(Callback):
    """Wall time of each step with its share of data loading: from one step's end to the next one's."""

    def __init__(self, n_steps):
        self.n_steps, self.warm_up, self.ends, self.cpu = n_steps, n_steps // 4, [], []

    def on_train_batch_end(self, trainer, *_):
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time())
        if len(self.ends) > self.n_steps + self.warm_up:
            trainer.should_stop = True

    def summary(self) -> dict:
        wall, cpu = (np.diff(times)[self.warm_up :] * 1e3 for times in (self.ends, self.cpu))
        return {"ms": float(np.median(wall)), "cpu_ms": float(np.mean(cpu)), "n_steps": len(wall)}


def main():
    warnings.filterwarnings("ignore")
    scvi.settings.verbosity = 40
    torch.set_num_threads(OPTIONS.threads)
    scvi.settings.seed = OPTIONS.seed
    fold = common.load_fold(OPTIONS)
    clock = common.Clock()
    for data in (fold.reference, fold.spatial):
        scvi.external.GIMVI.setup_anndata(data)
    model = scvi.external.GIMVI(fold.reference, fold.spatial)
    columns = fold.reference.var_names.get_indexer(fold.held_out)

    def predict() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.get_imputed_values(normalized=True)[1][:, columns].astype(np.float32)

    callbacks = [Trace(predict, clock)] if OPTIONS.trace else []
    if OPTIONS.time_steps:
        callbacks = [StepTimes(OPTIONS.time_steps)]
    model.train(
        OPTIONS.epochs,
        accelerator="cpu",
        kappa=OPTIONS.kappa,
        batch_size=128,
        callbacks=callbacks,
        enable_progress_bar=False,
    )
    if OPTIONS.time_steps:
        print(json.dumps(callbacks[0].summary()))
        return
    trained, n_steps = clock.read(), model.trainer.fit_loop.epoch_loop.total_batch_idx + 1
    mean = predict()
    more = {}
    if OPTIONS.trace:
        trace = callbacks[0]
        more = {
            "trace_epochs": trace.epochs,
            "trace_seconds": trace.seconds,
            "trace_cpu_seconds": trace.cpu_seconds,
            "trace_means": np.stack(trace.means),
        }
    common.write(
        OPTIONS, fold, mean, clock.read(),
        n_steps=n_steps, train_seconds=trained[0], train_cpu_seconds=trained[1], **more,
    )  # fmt: skip


if __name__ == "__main__":
    main()
