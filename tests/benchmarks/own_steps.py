"""Milliseconds per optimizer step and model of our training, as JSON; `speed.py` calls it beside scvi-tools'.

    own_steps.py --inputs inputs --preset default --members 25 --steps 100

The time of a longer training less that of a shorter one: a multiple of its steps, so that both make as many records of
their history, and what a training takes besides its steps falls out. Members are put into stacks as the trainer puts
them.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bin"))

#: Steps of the shorter training: as many as a training makes records.
SHORT = 25


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--kappa", type=float, default=0)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="at least so many are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    import torch
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.methods.gimvi.data import Member, TrainingData
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.training import train

    torch.set_num_threads(options.threads)
    inputs = SampleInputs(options.inputs)
    folds = list(inputs.gene_sets.folds)
    members = [Member(folds[k % len(folds)], options.kappa, k // len(folds)) for k in range(options.members)]

    def times(steps: int) -> tuple[float, float]:
        # Sampling weights are no part of a step: uniform ones spare the search for neighbors.
        settings = resolve_settings(options.preset, max_steps=steps, reweight=False, early_stopping=False)
        data = TrainingData(inputs.references(), inputs.spatial(), inputs.gene_sets, settings)
        started = time.perf_counter(), time.process_time()
        train(data, members, device=options.device)
        return time.perf_counter() - started[0], time.process_time() - started[1]

    times(SHORT)  # what is loaded or compiled at first use
    steps = SHORT * math.ceil(options.steps / SHORT)
    short, long = times(SHORT), times(SHORT + steps)
    wall, cpu = (1e3 * (more - less) / steps / len(members) for less, more in zip(short, long, strict=True))
    print(json.dumps({"ms": wall, "cpu_ms": cpu}))


if __name__ == "__main__":
    main()
