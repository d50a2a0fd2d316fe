"""What the benchmarks' tables say of scores and times whose answers are known."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import benchmark_tables as tables

LABELS = {"ours": "spatialimpute"}


def scores(**methods) -> pd.DataFrame:
    """Raw scores per method, of genes g0, g1, …; partial scores are half of them."""
    parts = [
        pd.DataFrame({"pair": "p", "method": name, "gene": [f"g{i}" for i in range(len(raw))], "spearman": raw})
        for name, raw in methods.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(spearman_partial=table["spearman"] / 2)


def test_accuracy_is_median_and_mean_and_the_test_is_one_sided():
    ours = np.linspace(0.2, 0.6, 8)
    table = tables.accuracy_table(scores(ours=ours, worse=ours - 0.1, better=ours + 0.1), "ours", LABELS)
    table = table.set_index("method")
    assert table.loc["spatialimpute", "raw"] == ".400 (.400)" and table.loc["spatialimpute", "partial"] == ".200 (.200)"
    assert table.loc["spatialimpute", "p"] == ""
    assert table.loc["worse", "p"] == "4e-03 / 4e-03"  # 1 of 2^8 signs
    assert table.loc["better", "p"] == "1e+00 / 1e+00"


def test_the_test_takes_the_genes_that_both_have():
    ours = np.linspace(0.2, 0.6, 8)
    both = tables.matched(scores(ours=ours), scores(other=ours[:3] - 0.1))
    assert both["gene"].tolist() == ["g0", "g1", "g2"]
    assert tables.better(both, "spearman") == "1e-01"  # 1 of 2^3 signs
    assert tables.better(tables.matched(scores(ours=ours), scores(other=ours)), "spearman") == "–"


def test_a_comparison_says_by_how_much_median_and_mean_changed():
    before, after = scores(ours=[0.1, 0.2, 0.6], gone=[0.1, 0.2, 0.3]), scores(ours=[0.1, 0.25, 0.58], new=[0.1] * 3)
    table = tables.comparison_table(before, after, LABELS)
    assert table["method"].tolist() == ["spatialimpute"]
    assert table.loc[0, "raw before"] == ".200 (.300)" and table.loc[0, "raw after"] == ".250 (.310)"
    assert table.loc[0, "raw difference"] == "+.050 (+.010)"
    assert table.loc[0, "partial difference"] == "+.025 (+.005)"


def test_a_ratio_of_times_in_turns_is_paired_by_round():
    # The machine slows down between rounds; the ratio is 2 in each of them.
    ratio, low, high = tables.ratio_interval([2, 4, 8], [1, 2, 4])
    assert ratio == pytest.approx(2) and low == pytest.approx(2) and high == pytest.approx(2)
    ratio, low, high = tables.ratio_interval([1, 2, 4], [1, 1, 1])
    half = 4.302653 * np.log(2) / np.sqrt(3)  # Student's t of 2 degrees of freedom
    assert ratio == pytest.approx(2) and high == pytest.approx(2 * np.exp(half)) and low == pytest.approx(4 / high)
    assert np.isnan(tables.ratio_interval([2], [1])[1:]).all()


def test_steps_add_up_their_tasks_and_predict_is_one_by_method():
    tasks = pd.DataFrame(
        {
            "process": ["A:QC", "A:QC", "A:PREDICT", "A:B:PREDICT", "A:IMPUTE"],
            "tag": ["s_1", "reference", "s_1 knn", "s_1 gimvi", "s_1 0:1024"],
            "realtime": [1000, 3000, 500, 10_000, 2000],
            "%cpu": [100, 50, 100, 190, 200],
            "peak_rss": [1e9, 2e9, 3e9, 4e9, 5e9],
        }
    )
    table = tables.steps_of(tasks, "s_1").set_index("step")
    assert table.index.tolist() == ["QC", "PREDICT knn", "PREDICT gimvi", "IMPUTE"]
    assert table.loc["QC", ["seconds", "cpu_seconds", "longest", "peak_gb", "tasks"]].tolist() == [4, 2.5, 3, 2, 2]
    assert table.loc["PREDICT gimvi", "cpu_seconds"] == pytest.approx(19)


@pytest.mark.parametrize(
    ("costs", "slope", "exponent"),
    [([5, 3 + 2 * 100, 3 + 2 * 1000], 2, np.log(2003 / 203) / np.log(10)), ([1, 7, 7], 0, 0), ([1, 8, 7], 0, None)],
)
def test_growth_is_read_from_the_two_largest_sizes(costs, slope, exponent):
    cells = [10, 100, 1000]
    assert tables.slope(cells, costs) == pytest.approx(slope)
    assert tables.extrapolate(cells, costs, 10_000) == pytest.approx(costs[-1] + slope * 9000)
    if exponent is not None:
        assert tables.exponent(cells, costs) == pytest.approx(exponent)


def test_markdown_names_what_repeats_once():
    table = pd.DataFrame({"pair": ["a", "a", "b"], "n": [1, 2, 3]})
    assert tables.markdown(table) == "| pair | n |\n| --- | --- |\n| a | 1 |\n|  | 2 |\n| b | 3 |\n"
    assert table["pair"].tolist() == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("value", "sign", "text"), [(0.3884, False, ".388"), (-0.0004, True, "+.000"), (1, False, "1.000")]
)
def test_scores_have_three_decimals_and_no_zero_before_the_point(value, sign, text):
    assert tables.short(value, sign) == text


def test_a_step_of_one_size_alone_grows_with_the_cells():
    """As that of samples which are imputed by several tasks."""
    assert tables.extrapolate([1000], [5.0], 10_000) == pytest.approx(50)


def test_differences_are_paired_over_genes():
    ours = np.linspace(0.2, 0.6, 8)
    table = tables.difference_table(scores(all=ours, less=ours - np.arange(8) / 100, same=ours), "all")
    table = table.set_index("variant")
    assert table.loc["all", "raw"] == ".400" and table.loc["all", "p"] == ""
    error = np.std(np.arange(8) / 100, ddof=1) / np.sqrt(8)
    assert table.loc["less", "raw"] == f".365 (-.035 ± {tables.short(error)})"
    assert table.loc["less", "p"] == "2e-02"  # the seven that differ all do so in one direction: 2 of 2^7 signs
    assert table.loc["same", "partial"] == ".200 (+.000 ± .000)" and table.loc["same", "p"] == ""
