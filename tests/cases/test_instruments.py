"""Instruments' folders and HDF5 and zarr files, in the layouts that people report."""

import json

import numpy as np
import pytest


def summary(found, role="spatial"):
    return json.loads((found.folder / f"qc_{role}" / "qc.json").read_text())


def test_merscope_files_with_a_prefix(outcome):
    outcome("03_merscope_prefixed").assert_read()


def test_a_10x_matrix_of_doubles(outcome):
    outcome("04_10x_h5_of_doubles").assert_read()


def test_a_cosmx_prototype(outcome):
    found = outcome("05_cosmx_prototype")
    found.assert_read()
    assert summary(found)["coordinate_unit"] == "um"


def test_segmented_cells_of_visium_hd(outcome):
    found = outcome("07_visium_hd_segmented")
    found.assert_read()
    assert summary(found)["coordinate_unit"] == "um"


def test_proteins_beside_transcripts(outcome):
    found = outcome("08_xenium_protein")
    found.assert_read()
    assert summary(found)["control_probe_rate"] == pytest.approx(0.0099, abs=1e-4)


def test_two_genomes(outcome):
    outcome("09_h5_of_two_genomes").assert_refused("hg19", "mm10", "filtered_gene_bc_matrices_h5.h5/hg19")


def test_counts_in_another_layer(outcome):
    found = outcome("11_counts_in_another_layer")
    found.assert_read()
    assert summary(found)["counts_from"] == "layers['raw_counts']"


def test_one_table_of_three(outcome):
    outcome("15_spatialdata_of_three_bins").assert_read()


def test_symbols_under_another_name(outcome):
    found = outcome("19_stereopy_real_gene_name")
    found.assert_read()
    assert summary(found)["gene_names_from"] == "real_gene_name"
    assert "real_gene_name" in found.said


def test_a_raw_matrix_alone(outcome):
    found = outcome("21_visium_raw_matrix_only")
    found.assert_read()
    dropped = {step["step"]: step["n"] for step in summary(found)["steps"]}
    assert dropped["outside of the tissue"] == 20


def test_probes(outcome):
    found = outcome("28_probe_matrix")
    found.assert_read()
    reference = found.counts["reference"]
    assert len(reference.genes) == 85 and np.isin(found.counts["spatial"].genes, reference.genes).all()
