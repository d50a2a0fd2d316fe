"""Time and memory of every step on simulated tissue of growing size, and what ten million cells would take.

    python tests/benchmarks/scale.py [--cells 10000,100000,1000000] [--nodes 20]

The whole pipeline on 2 cores: a panel of 300 genes, 20,000 reference cells of 800 genes, some 400 genes imputed. What
has run is kept in `.cache/benchmarks/scale/<cells>/` and resumed. Writes `scale.md` beside.

Processor seconds and peak memory are those of Nextflow's trace; the slope is from the two largest sizes. A cluster's
elapsed time is the sum over the steps of their longest task, each on a node like this machine: PREDICT's methods run
side by side, and so do the ranges of IMPUTE, as many at once as there are nodes.
"""

import argparse
import json
import math

import pandas as pd
import pipeline_runs
import runs
from benchmark_tables import exponent, extrapolate, markdown, slope, steps_of

N_PANEL, N_REFERENCE, N_GENES = 300, 20_000, 800
#: Most variable genes of the reference, imputed beside the panel.
N_TOP_GENES = 320
SIZES, TARGET = (10_000, 100_000, 1_000_000), 10_000_000
SAMPLE = "cortex_1"
COSTS = ("cpu_seconds", "longest", "peak_gb")


def measure(n_cells: int) -> pd.DataFrame:
    """Steps of a whole run at one size, simulated and run unless it has been."""
    folder = runs.CACHE / "scale" / str(n_cells)
    sheet = folder / "input" / "samplesheet.csv"
    if not sheet.exists():  # written last
        words = ["--n-spatial", n_cells, "--n-panel", N_PANEL, "--n-reference", N_REFERENCE, "--n-genes", N_GENES]
        sheet.parent.mkdir(parents=True, exist_ok=True)
        runs.call([runs.PYTHON, runs.ROOT / "bin" / "simulate.py", "--out-dir", sheet.parent, *words], 1)
    pipeline_runs.run_pipeline(folder, sheet, "--n_top_genes", N_TOP_GENES)
    return steps_of(pipeline_runs.tasks_of(folder), SAMPLE).assign(cells=n_cells)


def n_targets(n_cells: int) -> int:
    """Genes that the run imputed."""
    found = (runs.CACHE / "scale" / str(n_cells) / "results").rglob("gene_sets.json")
    return len(json.loads(next(found).read_text())["targets"])


def measured_table(steps: pd.DataFrame) -> pd.DataFrame:
    """A row per step: elapsed seconds, processor seconds and peak memory of a task at every size, and the growth."""
    rows = []
    for step, table in steps.groupby("step", sort=False):
        row = {"step": step}
        for cells, of_size in table.set_index("cells").iterrows():
            row[f"{cells:,}"] = "{seconds:,.0f} s · {cpu_seconds:,.0f} s · {peak_gb:.1f} GB".format(**of_size)
        if len(table) > 1:
            cells, cpu = table["cells"].tolist(), table["cpu_seconds"].tolist()
            row["s per 10⁶ cells"] = f"{1e6 * slope(cells, cpu):,.0f}"
            row["exponent"] = f"{exponent(cells, cpu):.2f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")


def cluster_table(steps: pd.DataFrame, nodes: int) -> tuple[pd.DataFrame, float]:
    """What every step takes of TARGET cells, and the hours until a cluster of so many nodes is done."""
    rows, elapsed = [], {}
    for step, table in steps.groupby("step", sort=False):
        cells, last, tasks = table["cells"].tolist(), table.iloc[-1], 1
        at_target = {name: extrapolate(cells, table[name].tolist(), TARGET) for name in COSTS}
        if step == "IMPUTE" and last["tasks"] > 1:  # a range's share stays what it is; there are more of them
            tasks = math.ceil(last["tasks"] * TARGET / cells[-1])
            at_target |= {name: last[name] for name in ("longest", "peak_gb")}
        hours = at_target["longest"] * math.ceil(tasks / nodes) / 3600
        process = step.split()[0]
        elapsed[process] = max(elapsed.get(process, 0), hours)
        row = {"step": step, "tasks": tasks, "processor hours": f"{at_target['cpu_seconds'] / 3600:,.2f}"}
        row |= {"elapsed hours": f"{hours:,.2f}", "peak GB of a task": f"{at_target['peak_gb']:,.1f}"}
        rows.append(row)
    return pd.DataFrame(rows), sum(elapsed.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=lambda text: sorted(int(n) for n in text.split(",")), default=SIZES)
    parser.add_argument("--nodes", type=int, default=20)
    options = parser.parse_args()
    steps = pd.concat([measure(n_cells) for n_cells in options.cells], ignore_index=True)
    text = (
        f"{N_PANEL} panel genes, {N_REFERENCE:,} reference cells, {n_targets(options.cells[-1])} genes imputed, "
        f"{pipeline_runs.CORES} cores. Elapsed seconds · processor seconds · peak memory of a task:\n\n"
        f"{markdown(measured_table(steps))}"
    )
    if len(options.cells) > 1:
        table, hours = cluster_table(steps, options.nodes)
        text += (
            f"\n{TARGET:,} cells by these slopes, on {options.nodes} nodes of {pipeline_runs.CORES} cores, "
            f"one task a node: {hours:,.1f} hours.\n\n{markdown(table)}"
        )
    file = runs.CACHE / "scale.md"
    file.write_text(text)
    print(f"{text}\n{file}")


if __name__ == "__main__":
    main()
