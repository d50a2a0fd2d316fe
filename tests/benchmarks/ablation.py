"""What each part of the estimator is worth, and how settings were looked at: our own steps with one thing changed.

    python tests/benchmarks/ablation.py parts|targets|weights|steps [--pairs osmfish,...] [--threads 2]

`parts` leaves out one part at a time; `targets` asks for more and more genes; `weights` and `steps` go through values
of a setting. Scores are of the same held-out genes; differences to the study's first variant are paired over them, with
Wilcoxon's two-sided p. Writes `ablation.<study>.tsv`, the scores per gene, and `ablation.<study>.md`.
"""

import argparse

import pandas as pd
import runs
from benchmark_tables import difference_table, markdown
from runs import Variant

KAPPA = ("--kappa", "0")
UNWEIGHTED = ("--other-gene-weight", 1, "--max-spatial-weight", 1)
STUDIES = {
    "parts": [
        Variant("all"),
        Variant("without loss weights", predict=(*runs.PRESETS["default"], *UNWEIGHTED)),
        Variant("without second input", predict=(*runs.PRESETS["default"], "--second-input", "false")),
        Variant("without zero-inflated mean", predict=(*runs.PRESETS["default"], "--zero-inflated-mean", "false")),
        Variant("without linear regression", evaluate=("--blend", "knn,celltype")),
        Variant("without cell types", evaluate=("--blend", "knn,linear")),
        Variant("without kNN", evaluate=("--blend", "linear,celltype")),
        Variant("without graph", evaluate=("--graph", "false")),
        Variant(
            "without all of these but kNN",
            predict=(*runs.PRESETS["default"], *UNWEIGHTED, "--second-input", "false", "--zero-inflated-mean", "false"),
            evaluate=("--blend", "knn", "--graph", "false"),
        ),
    ],
    "targets": [
        Variant(f"{n:,} genes{suffix}", ("--n-top-genes", n), (*KAPPA, *options))
        for suffix, options in (("", ()), (", unweighted", (*UNWEIGHTED, "--second-input", "false")))
        for n in (100, 500, 2000, 10_000)
    ],
    "weights": [
        Variant(f"{other}, at most {most}", (), (*KAPPA, "--other-gene-weight", other, "--max-spatial-weight", most))
        for other, most in ((0.1, 10), (0.03, 10), (0.3, 10), (0.1, 3), (0.1, 30))
    ],
    "steps": [
        Variant(f"{steps:,} steps", predict=(*KAPPA, "--max-steps", steps))
        for steps in (600, 300, 1200)
    ],
}  # fmt: skip


def score(pair: runs.Pair, variants: list[Variant], threads: int) -> pd.DataFrame:
    """Scores per gene of each variant, whose name is the method's."""
    chain = runs.Chain(pair, threads)
    return pd.concat([runs.read_scores(chain.scores_of(v, []), {"spatialimpute": v.name}) for v in variants])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--pairs", type=lambda text: text.split(","), help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    variants, tables = STUDIES[options.study], []
    for pair in runs.pairs(options.pairs):
        tables.append(score(pair, variants, options.threads))
        print(markdown(difference_table(tables[-1], variants[0].name)), flush=True)
    scores = pd.concat(tables, ignore_index=True)
    scores.to_csv(runs.CACHE / f"ablation.{options.study}.tsv", sep="\t", index=False, float_format="%.5f")
    (runs.CACHE / f"ablation.{options.study}.md").write_text(markdown(difference_table(scores, variants[0].name)))


if __name__ == "__main__":
    main()
