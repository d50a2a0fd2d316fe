"""Held-out accuracy of our pipeline and of other methods on the real pairs: one table.

    python tests/benchmarks/accuracy.py [--pairs osmfish,...] [--presets default,paper] [--methods knn,...]
        [--before scores.tsv]

Every method runs through PREDICT and is scored by EVALUATE: the same cells, the same panel total. Raw is Spearman's
correlation of counts and prediction x total, partial the rank partial correlation given the total. Writes
`accuracy.tsv`, the scores per gene, and `accuracy.md`, the tables. `--before` puts an earlier `accuracy.tsv` beside.
"""

import argparse
from pathlib import Path

import pandas as pd
import runs
from benchmark_tables import accuracy_table, comparison_table, markdown

OURS = "spatialimpute.{}".format
LABELS = {OURS("default"): "spatialimpute", OURS("paper"): "spatialimpute, paper preset"}


def score_pair(pair: runs.Pair, presets: list[str], methods: list[str], threads: int) -> pd.DataFrame:
    """Scores per gene of our final prediction with each preset, and of the methods that can run here."""
    chain, tables = runs.Chain(pair, threads), []
    for preset in presets:
        wanted = [method for method in methods if preset == "default" and runs.can_run(method, pair)]
        names = {"spatialimpute": OURS(preset)} | {method: method for method in wanted}
        tables.append(runs.read_scores(chain.scores(preset, wanted), names))
    return pd.concat(tables, ignore_index=True)


def main():
    def words(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    others = [method for method in runs.METHODS if method != "gimvi"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=words, help="comma-separated; default: all")
    parser.add_argument("--presets", type=words, default=list(runs.PRESETS), help="of ours, the default first")
    parser.add_argument("--methods", type=words, default=others, help=f"beside ours; default: {','.join(others)}")
    parser.add_argument("--before", type=Path, help="accuracy.tsv of an earlier state, to compare with")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    labels = LABELS | {name: about["label"] for name, about in runs.METHODS.items()}
    before = pd.read_csv(options.before, sep="\t") if options.before else None
    scores = []
    for pair in runs.pairs(options.pairs):
        if absent := [method for method in options.methods if not runs.can_run(method, pair)]:
            print(f"{pair.name}: without {', '.join(absent)}, whose environments are not here")
        scores.append(score_pair(pair, options.presets, options.methods, options.threads))
        print(markdown(accuracy_table(scores[-1], OURS(options.presets[0]), labels)), flush=True)

    scores = pd.concat(scores, ignore_index=True)
    scores.to_csv(runs.CACHE / "accuracy.tsv", sep="\t", index=False, float_format="%.5f")
    text = markdown(accuracy_table(scores, OURS(options.presets[0]), labels))
    if before is not None:
        compared = markdown(comparison_table(before, scores, labels))
        print(compared)
        text += "\n" + compared
    (runs.CACHE / "accuracy.md").write_text(text)
    print(f"scores per gene and tables: {runs.CACHE}/accuracy.tsv, accuracy.md")


if __name__ == "__main__":
    main()
