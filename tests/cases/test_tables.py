"""Tables as R, laboratories and published folders write them."""

import numpy as np


def test_rows_one_field_longer_than_the_header(outcome):
    outcome("01_r_write_table").assert_read()


def test_genes_in_rows_of_the_reference(outcome):
    outcome("02_genes_in_rows_unnamed").assert_refused("scRNA_count.txt", "genes in rows", "transpose")


def test_genes_in_rows_of_the_spatial_side(outcome):
    outcome("13_slideseq_for_r").assert_refused("puck.csv", "genes in rows", "transpose")


def test_metadata_columns_before_the_genes(outcome):
    found = outcome("17_hypothalamus_csv")
    found.assert_read()
    found = outcome("18_seqfish_csv")
    found.assert_read()


def test_two_species(outcome):
    found = outcome("23_mouse_panel_human_reference")
    assert found.code == 0 and "two species" in found.said and "mouse" in found.said and "human" in found.said


def test_positions_without_a_header(outcome):
    outcome("24_positions_without_header").assert_read()


def test_a_folder_of_several_samples_matrices(outcome):
    outcome("26_geo_folder_of_samples").assert_refused("name", "GSM5354532_A_matrix.mtx.gz")
    found = outcome("26_geo_folder_of_samples", sheet="sheet_file.csv")
    assert found.code == 0, found.said
    assert found.counts["reference"].X.shape == (300, 85) and np.all(found.counts["reference"].X.data > 0)
