"""The section on the cell types that spatial cells were given."""

import anndata as ad
import numpy as np
import pandas as pd

from spatialimpute.files.imputed import open_imputed
from spatialimpute.report.content import SectionWriter, escape, number
from spatialimpute.report.inputs import Sample

#: Types with a row of their own; the rarer ones are in `imputed` alone.
MAX_TYPES = 30
SHARE = {"format": "{:,.1f}", "suffix": "%", "min": 0, "max": 100, "scale": "Blues"}


def write_cell_types(writer: SectionWriter, sample: Sample) -> None:
    """A row per type: its share of the spatial cells and of the references' labeled ones, and how sure it is."""
    if sample.imputed is None:
        return
    with open_imputed(sample.imputed) as group:
        if "transferred_celltype" not in group["obs"]:
            return
        types = np.asarray(ad.io.read_elem(group["obs/transferred_celltype"]).astype(str))
        probability = ad.io.read_elem(group["obs/transferred_celltype_probability"])
    labels = [label for reference in sample.references for label in reference.obs.get("celltype", ()) if label == label]
    rows = {}
    found = pd.Series(types).value_counts().index
    for name in found[:MAX_TYPES]:
        here = types == name
        rows[escape(f"{sample.name}: {name}")] = {
            "cells": int(here.sum()),
            "share": number(100 * here.mean()),
            "reference": number(100 * labels.count(name) / len(labels)) if name in labels else None,
            "probability": number(probability[here].mean()),
        }
    writer.write(
        "cell_types", "table", rows, parent="latent", name=f"Cell types: {sample.name}", shared=False,
        description="The reference's labels carried over to spatial cells, in the latent space. Unassigned are cells "
        f"that the reference does not support. {f'The {MAX_TYPES} most frequent.' if len(found) > MAX_TYPES else ''}",
        headers={
            "cells": {"title": "Cells", "description": "Spatial cells", "format": "{:,d}", "scale": False},
            "share": {"title": "Share", "description": "Of all spatial cells", **SHARE},
            "reference": {"title": "In reference", "description": "Of all labeled reference cells", **SHARE},
            "probability": {
                "title": "Probability", "description": "Mean over its cells", "format": "{:,.2f}", "min": 0, "max": 1,
                "scale": "Greens",
            },
        },
        pconfig={"title": f"Cell types: {escape(sample.name)}", "col1_header": "Type", "no_violin": True,
                 "sort_rows": False},
    )  # fmt: skip
