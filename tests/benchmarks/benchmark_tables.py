"""What the benchmarks say, computed from what they measured: nothing here runs anything."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t, wilcoxon

#: Name in the tables -> column of scores.tsv.
SCORES = {"raw": "spearman", "partial": "spearman_partial"}


def markdown(table: pd.DataFrame) -> str:
    """A table as the documentation has it; what repeats the row above in the first column is left out."""
    rows = table.astype(str).to_numpy()
    first = ["" if i and row[0] == rows[i - 1][0] else row[0] for i, row in enumerate(rows)]
    lines = [
        table.columns,
        ["---"] * table.shape[1],
        *([start, *row[1:]] for start, row in zip(first, rows, strict=True)),
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def short(value: float, sign: bool = False) -> str:
    """A score to three decimals, without the zero before the point.

    >>> short(0.3884), short(-0.02), short(0.0021, sign=True), short(-0.0001, sign=True)
    ('.388', '-.020', '+.002', '+.000')
    """
    rounded = round(value, 3) + 0.0  # no -0
    return f"{rounded:{'+' if sign else ''}.3f}".replace("0.", ".", 1)


def median_mean(scores: pd.Series, sign: bool = False) -> str:
    """`median (mean)` over genes."""
    return f"{short(scores.median(), sign)} ({short(scores.mean(), sign)})"


def accuracy_table(scores: pd.DataFrame, against: str, labels: Mapping[str, str]) -> pd.DataFrame:
    """A row per pair and method: median (mean) over genes, and how sure it is that `against` is better.

    Parameters
    ----------
    scores : a row per pair, method and gene, with the columns of SCORES
    against : a method; p is of Wilcoxon's one-sided signed-rank test over the genes that both have, raw / partial
    labels : method -> what it is called; itself where it is not there
    """
    rows = []
    for (pair, method), table in scores.groupby(["pair", "method"], sort=False):
        both = matched(scores[(scores["pair"] == pair) & (scores["method"] == against)], table)
        row = {"pair": pair, "method": labels.get(method, method), "genes": len(table)}
        row |= {name: median_mean(table[column]) for name, column in SCORES.items()}
        row["p"] = "" if method == against else " / ".join(better(both, column) for column in SCORES.values())
        rows.append(row)
    return pd.DataFrame(rows)


def matched(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Scores of the genes that both have, `<score>` and `<score>_other`; a gene is held out once."""
    return first.merge(second, on=["pair", "gene"], suffixes=("", "_other"))


def better(both: pd.DataFrame, column: str) -> str:
    """p of the one-sided signed-rank test that the first scores higher; a dash where nothing differs."""
    difference = both[column] - both[f"{column}_other"]
    if not difference.abs().gt(0).any():
        return "–"
    return f"{wilcoxon(difference, alternative='greater').pvalue:.0e}"


def comparison_table(before: pd.DataFrame, after: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Scores before and after a change, median (mean) over the genes that both have, and the differences of these."""
    rows = []
    for (pair, method), table in after.groupby(["pair", "method"], sort=False):
        both = matched(before[(before["pair"] == pair) & (before["method"] == method)], table)
        if both.empty:
            continue
        row = {"pair": pair, "method": labels.get(method, method), "genes": len(both)}
        for name, column in SCORES.items():
            old, new = both[column], both[f"{column}_other"]
            differences = (short(f(new) - f(old), sign=True) for f in (pd.Series.median, pd.Series.mean))
            row |= {f"{name} before": median_mean(old), f"{name} after": median_mean(new)}
            row[f"{name} difference"] = "{} ({})".format(*differences)
        rows.append(row)
    return pd.DataFrame(rows)


def difference_table(scores: pd.DataFrame, against: str) -> pd.DataFrame:
    """A row per pair and method: mean over genes, and the paired difference to `against` with its standard error.

    Parameters
    ----------
    scores : a row per pair, method and gene, with the columns of SCORES
    against : a method; p is of Wilcoxon's two-sided signed-rank test of the partial scores
    """
    rows = []
    for (pair, method), table in scores.groupby(["pair", "method"], sort=False):
        both = matched(table, scores[(scores["pair"] == pair) & (scores["method"] == against)])
        row = {"pair": pair, "variant": method, "genes": len(table)}
        for name, column in SCORES.items():
            difference = both[column] - both[f"{column}_other"]
            row[name] = short(table[column].mean())
            if method != against:
                row[name] += f" ({short(difference.mean(), sign=True)} ± {short(difference.sem())})"
        changed = difference.abs().gt(0).any()
        row["p"] = f"{wilcoxon(difference).pvalue:.0e}" if method != against and changed else ""
        rows.append(row)
    return pd.DataFrame(rows)


def ratio_interval(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """How many times `second` the times of `first` are, and the ends of the interval of that ratio.

    The two were measured in turns: the geometric mean of the rounds' ratios, with Student's interval of its log.
    One round has no interval (NaN).
    """
    logs = np.log(np.asarray(first, dtype=float)) - np.log(np.asarray(second, dtype=float))
    mean, n = logs.mean(), len(logs)
    half = t.ppf((1 + level) / 2, n - 1) * logs.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return tuple(float(value) for value in np.exp([mean, mean - half, mean + half]))


def steps_of(tasks: pd.DataFrame, sample: str) -> pd.DataFrame:
    """A row per step of one run, in the order of their start; PREDICT by method.

    Parameters
    ----------
    tasks : a row per task: process, tag, realtime (ms), %cpu, peak_rss (bytes), as Nextflow's raw trace has them

    Returns
    -------
    step, tasks, seconds and cpu_seconds of all its tasks, longest (seconds of one task), peak_gb of one task
    """
    process = tasks["process"].str.split(":").str[-1]
    method = tasks["tag"].str.removeprefix(sample).str.strip()
    step = process.where(process != "PREDICT", process + " " + method)
    seconds = tasks["realtime"].astype(float) / 1e3
    table = pd.DataFrame({"step": step, "seconds": seconds, "longest": seconds})
    table["cpu_seconds"] = seconds * tasks["%cpu"].astype(float) / 100
    table["peak_gb"] = tasks["peak_rss"].astype(float) / 1e9
    totals = {"seconds": "sum", "cpu_seconds": "sum", "longest": "max", "peak_gb": "max"}
    by_step = table.groupby("step", sort=False)
    return by_step.agg(totals).assign(tasks=by_step.size()).reset_index()


def slope(cells: Sequence[float], costs: Sequence[float]) -> float:
    """Cost of a further cell, from the two largest sizes; 0 where the cost does not grow. Of one size its mean."""
    if len(cells) == 1:
        return costs[0] / cells[0]
    (small, large), (less, more) = cells[-2:], costs[-2:]
    return max(0.0, (more - less) / (large - small))


def exponent(cells: Sequence[float], costs: Sequence[float]) -> float:
    """e of cost ~ cells^e between the two largest sizes: 0 is flat, 1 linear."""
    (small, large), (less, more) = cells[-2:], costs[-2:]
    return float(np.log(more / less) / np.log(large / small))


def extrapolate(cells: Sequence[float], costs: Sequence[float], n: float) -> float:
    """Cost at `n` cells: that of the largest size, and the slope from there on."""
    return costs[-1] + slope(cells, costs) * (n - cells[-1])
