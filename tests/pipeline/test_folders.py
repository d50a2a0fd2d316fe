"""An instrument's folder as a sample: staged as a link, read by QC, and seen by -resume when a file in it changes."""

import json

import anndata as ad
import pandas as pd


def write_merscope(folder, spatial) -> None:
    folder.mkdir()
    data = ad.read_h5ad(spatial)
    cells = pd.Index([str(10**18 + i) for i in range(data.n_obs)])
    counts = data.to_df().astype(int).set_axis(cells, axis=0)
    counts.to_csv(folder / "cell_by_gene.csv", index_label="cell")
    places = pd.DataFrame(data.obsm["spatial"][:, :2], index=cells, columns=["center_x", "center_y"])
    places.to_csv(folder / "cell_metadata.csv", index_label="EntityID")


def test_an_edit_within_a_folder_is_seen(launcher, tissue, row):
    workplace = launcher("folders")
    folder = workplace.cwd / "run 7"
    write_merscope(folder, tissue / "spatial.h5ad")
    sheet = workplace.sheet("sheet.csv", [{**row("a"), "spatial": "run 7", "technology": "MERSCOPE"}])
    # What is behind QC ends at once: QC is all that this is about.
    (workplace.project / "bin/select_genes.py").write_text("#!/usr/bin/env python3\nraise SystemExit(65)\n")
    options = ["--input", sheet, "--cv_folds", "0", "-resume"]
    run = workplace.run(*options)
    assert run.tasks("COMPLETED") == ["CHECK_INPUTS sheet", "QC a", "QC reference"], run.text
    qc = json.loads((run.outdir / "a" / "counts" / "qc.json").read_text())
    assert (qc["source"], qc["coordinate_unit"], qc["n_cells_in"]) == ("run 7", "um", 500)

    text = (folder / "cell_metadata.csv").read_text().splitlines(keepends=True)
    with open(folder / "cell_metadata.csv", "w") as file:
        file.writelines(text[:-1])
    again = workplace.run(*options)
    assert [task for task in again.ran if task.startswith("QC")] == ["QC a"]
    steps = json.loads((run.outdir / "a" / "counts" / "qc.json").read_text())["steps"]
    assert [step["n"] for step in steps if step["step"] == "cells without a place"] == [1]
