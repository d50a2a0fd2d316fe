"""Predictions of one of our models after trainings of several lengths, one fold: `speed.py`'s time to accuracy.

    own_trace.py --inputs inputs --fold 0 --out trace.npz

Each length is a training of its own with the schedule that a user would get who asked for so many steps. Libraries
are loaded before the clock starts; it runs while the data are prepared (sampling weights included) and the model is
trained. Writes trace_seconds, trace_cpu_seconds, trace_means, cells, genes, as scvi_speed.py does.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bin"))

#: Steps of the shortest training; each next one has half as many again.
SHORTEST, GROWTH = 10, 1.5


def lengths(longest: int) -> list[int]:
    """Steps of every training, up to the preset's own number."""
    found = [SHORTEST]
    while (following := round(found[-1] * GROWTH)) < longest:
        found.append(following)
    return [*found, longest]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()

    import sklearn.neighbors  # noqa: F401
    import torch
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.methods.gimvi.data import Member, TrainingData
    from spatialimpute.methods.gimvi.method import CROSSVALIDATION_SAMPLES
    from spatialimpute.methods.gimvi.posterior import held_out_predictions
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.training import n_steps, train

    torch.set_num_threads(options.threads)
    inputs = SampleInputs(options.inputs)
    references, spatial = inputs.references(), inputs.spatial()
    settings, members = resolve_settings("default", inputs.technology), [Member(options.fold, 0, 0)]
    longest = n_steps(settings, TrainingData(references, spatial, inputs.gene_sets, settings).n_cells)
    times, means = [], []
    for steps in lengths(longest):
        wall, cpu = time.perf_counter(), time.process_time()
        data = TrainingData(references, spatial, inputs.gene_sets, replace(settings, max_steps=steps))
        stacks = train(data, members)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
        (prediction,) = held_out_predictions(
            stacks, spatial, np.arange(len(spatial.cells)), inputs.gene_sets, "trace", CROSSVALIDATION_SAMPLES, 0
        )
        means.append(prediction.mean)
    seconds, cpu_seconds = np.array(times).T
    np.savez_compressed(
        options.out, trace_seconds=seconds, trace_cpu_seconds=cpu_seconds, trace_means=np.stack(means),
        cells=spatial.cells, genes=prediction.genes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
