"""Cell types of the references carried over to spatial cells, from the model's latent space."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spatialimpute.files.counts import Counts
from spatialimpute.folds import blocks

#: A type of fewer labeled reference cells is not carried over.
FEWEST_CELLS = 10
#: Labeled reference cells that are learned from, at most.
MAX_REFERENCE_CELLS = 20_000
#: How much the mean loss over cells weighs beside the penalty on coefficients. Little, since the two assays differ by
#: more than cells of one do, and more cells of one tell nothing of that.
LOSS_WEIGHT = 100
#: What a cell is called that the references do not support.
UNASSIGNED = "unassigned"
BLOCK_CELLS = 65_536


def transfer_celltypes(
    references: Sequence[Counts], reference_codes: Sequence[np.ndarray], codes: np.ndarray, supported: np.ndarray
) -> pd.DataFrame | None:
    """The most probable type of each spatial cell, by multinomial logistic regression on standardized latent codes.

    Types weigh the same in learning, however many cells they have, since a reference's composition is not the tissue's
    (King & Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868, for such weights).

    Parameters
    ----------
    references : of which `celltype` in `obs` is looked at, missing or empty where unknown
    reference_codes : of the cells of each, (n, d)
    codes : of the spatial cells, (n, d); those that are not supported may be NaN
    supported : (n,) bool, which spatial cells lie where the references have cells

    Returns
    -------
    `transferred_celltype` (categories) and `transferred_celltype_probability` (NaN where unassigned), a row per
    spatial cell; None where the references have not two types of FEWEST_CELLS cells
    """
    known, types = _labeled(references, reference_codes)
    counts = pd.Series(types).value_counts()
    frequent = sorted(counts.index[counts >= FEWEST_CELLS])
    if len(frequent) < 2:
        return None
    chosen = np.flatnonzero(np.isin(types, frequent))
    if len(chosen) > MAX_REFERENCE_CELLS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MAX_REFERENCE_CELLS, replace=False))
    regression = LogisticRegression(C=LOSS_WEIGHT / len(chosen), class_weight="balanced", max_iter=500)
    model = make_pipeline(StandardScaler(), regression)
    model.fit(known[chosen], types[chosen])
    best = np.full(len(codes), -1)
    probability = np.full(len(codes), np.nan, dtype=np.float32)
    rows = np.flatnonzero(supported)
    for block in blocks(len(rows), BLOCK_CELLS):
        values = model.predict_proba(codes[rows[block]])
        best[rows[block]], probability[rows[block]] = values.argmax(1), values.max(1)
    names = np.append(model.classes_.astype(object), UNASSIGNED)  # -1 is the last
    return pd.DataFrame(
        {"transferred_celltype": pd.Categorical(names[best]), "transferred_celltype_probability": probability}
    )


def _labeled(references: Sequence[Counts], reference_codes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, d) and types (n,) of the cells that have both."""
    codes, types = [], []
    for reference, code in zip(references, reference_codes, strict=True):
        names = reference.obs.get("celltype", pd.Series("", reference.obs.index))
        names = names.astype(object).fillna("").astype(str).to_numpy()
        keep = (names != "") & np.isfinite(code).all(axis=1)
        codes.append(code[keep])
        types.append(names[keep])
    return np.concatenate(codes), np.concatenate(types)
