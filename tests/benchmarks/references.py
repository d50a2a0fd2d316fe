"""How far right and wrong references fit the real spatial samples: the table of docs/benchmarks.md.

    python tests/benchmarks/references.py

Every spatial file beside every reference, by QC and the comparison of SELECT_GENES; references that are sorted for few
types, that lack some, or whose genes are shuffled are made from the right ones.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import scipy.sparse as sp
from benchmark_tables import markdown
from runs import CACHE, DATA, ROOT

sys.path.insert(0, str(ROOT / "bin"))
from spatialimpute.agreement import SpatialSide, agreement_table, compare
from spatialimpute.files.counts import Counts
from spatialimpute.qc.clean import clean_counts
from spatialimpute.sources import open_source

#: Spatial file -> the reference of its tissue.
RIGHT = {
    "osmfish_sscortex_spatial": "allen_ssp_smartseq_33g_reference",
    "merfish_mop_spatial": "mop_10x_reference",
    "starmap_mpfc_spatial": "mop_10x_reference",
    "hypothalamus_merfish_spatial": "hypothalamus_scrna_reference",
    "xenium_breast_spatial": "wu_breast_reference",
    "xenium_idc_spatial": "wu_breast_reference",
}
REFERENCES = (*dict.fromkeys(RIGHT.values()), "zeisel2015_3005c_200g")
#: Spatial file -> types (as a pattern of their names) of which its reference is then made alone, or without which.
SORTED = {"merfish_mop_spatial": "Pvalb|Sst|Vip|Lamp5", "xenium_breast_spatial": "T-cells|Myeloid"}


@cache
def read(name: str, role: str) -> Counts:
    raw = open_source(DATA / f"{name}.h5ad").read()
    return clean_counts(raw, id=name, role=role, technology="other", source=name)[0]


def pairs() -> Iterator[tuple[str, str, Counts]]:
    """Spatial file, what its reference is to it, and the reference."""
    for spatial, right in RIGHT.items():
        whole = read(right, "reference")
        yield spatial, "right", whole
        for name in REFERENCES:
            if name != right:
                yield spatial, "another", read(name, "reference")
        X = np.random.default_rng(0).permuted(whole.X.toarray(), axis=0)
        yield spatial, "right, genes shuffled", replace(whole, X=sp.csr_matrix(X))
        if spatial in SORTED:
            of_types = whole.obs["celltype"].astype(str).str.fullmatch(f"({SORTED[spatial]}).*").to_numpy()
            names = SORTED[spatial].replace("|", ", ")
            yield spatial, f"right, {names} alone", whole.take(np.flatnonzero(of_types))
            yield spatial, f"right, without {names}", whole.take(np.flatnonzero(~of_types))


def main():
    sides, rows = {}, []
    for spatial, what, reference in pairs():
        side = sides.setdefault(spatial, SpatialSide(read(spatial, "spatial")))
        rows.append(agreement_table([compare(side, reference)], [True]).assign(spatial=spatial, pair=what))
    found = pd.concat(rows, ignore_index=True)
    found.to_csv(CACHE / "references.tsv", sep="\t", index=False)
    shown = pd.DataFrame(
        {
            "spatial": found["spatial"], "reference": found["reference"], "pair": found["pair"],
            "panel genes": [f"{n} of {m}" for n, m in zip(found["n_shared"], found["n_panel"], strict=True)],
            "by case": found["n_by_case"], "compared": found["n_compared"],
            "correlation": [
                "" if np.isnan(one.correlation) else f"{one.correlation:.2f} ({one.lower:.2f} to {one.upper:.2f})"
                for one in found.itertuples()
            ],
            "attainable": ["" if np.isnan(value) else f"{value:.2f}" for value in found["attainable"]],
            "fit": found["verdict"],
            "types not seen": [len(text.split("; ")) if text else 0 for text in found["lacking"]],
            "cells beyond": ["" if np.isnan(share) else f"{share:.0%}" for share in found["beyond_share"]],
        }
    )  # fmt: skip
    print(markdown(shown))


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    main()
