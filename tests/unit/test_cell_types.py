"""The column of cell types is recognized by kind, and what was chosen is said."""

import numpy as np
import pandas as pd
import pytest
from spatialimpute.qc.cell_types import cell_types
from spatialimpute.sources.labels import label_columns, label_rank
from spatialimpute.sources.vocabulary import CELLTYPE_COLUMNS

LABELS = """cell_type CellType Cell.Type celltype_major celltype_minor Level1 level_2 ann_level_3 subclass_label
    class_label cluster_label cell_type_accession_label cell_type_alias_label predicted.celltype.l2 predicted_labels
    majority_voting seurat_annotations free_annotation cell_ontology_class author_cell_type MajorType Major_Cell_Type
    cellState taxonomy_lvl1 SingleR.labels active.ident ident ClusterName supertype_name cell_subtype Class lineage
    label annotation_level_1 final_annotation leiden_annot celltype.l1 Cell_class""".split()
OTHERS = """subtype orig.ident sample_type tissue_type cell_type_ontology_term_id suspension_type class_id assay_type
    cluster_color donor_label region_label celltype_score n_cells nCount_RNA region level batch x y fov louvain leiden
    percent.mito classification DF.classifications_0.25 cluster_order tumor_type cell_id cell_area is_primary_data
    development_stage cell_cycle_phase disease tissue""".split()


@pytest.mark.parametrize("name", [*LABELS, *CELLTYPE_COLUMNS])
def test_names_of_labels(name):
    assert label_rank(name) is not None


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_something_else(name):
    assert label_rank(name) is None


def test_the_likeliest_name_comes_first():
    assert label_columns(["cluster_label", "cell_type_accession_label", "class_label", "subclass_label"]) == [
        "subclass_label", "class_label", "cluster_label", "cell_type_accession_label",
    ]  # fmt: skip
    assert label_columns(["clusters", "celltype_minor", "CellType"])[0] == "CellType"


def obs(n=60, **columns) -> pd.DataFrame:
    """Columns that repeat the given values."""
    return pd.DataFrame({name: np.resize(np.array(values, dtype=object), n) for name, values in columns.items()})


@pytest.mark.parametrize("name", ["celltype_major", "Level1", "subclass_label", "cell_type_accession_label"])
@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_one_column_of_another_name_is_taken_and_said(name, dtype):
    table = obs(**{"donor": ["d1", "d2"], name: ["T cell", "B cell", "NA"], "leiden": ["0", "1"]}).astype(dtype)
    column, labels, warnings = cell_types(table, None, "reference")
    assert column == name and labels.notna().sum() == 40 and set(labels.dropna()) == {"T cell", "B cell"}
    assert (
        f"taken from column '{name}' (2 labels, such as T cell, B cell)" in warnings[0]
        and "celltype_key" in warnings[0]
    )
    assert "20 cells have no cell type" in warnings[1]


def test_several_are_named_with_what_each_holds():
    table = obs(celltype_minor=["CD4", "CD8", "DC"], celltype_major=["T", "T", "myeloid"], Subtype=["TNBC"])
    column, _, (warning,) = cell_types(table, None, "reference")
    assert column == "celltype_minor" and "'celltype_major' (2 labels, such as T, myeloid)" in warning
    assert "celltype_key takes by its name" in warning and "Subtype" not in warning
    assert cell_types(table, "celltype_major", "reference")[::2] == ("celltype_major", [])


def test_a_plain_name_needs_no_word():
    table = obs(cell_type=["T", "B"], celltype_minor=["T1", "B1"], cluster=["a", "b"])
    assert cell_types(table, None, "reference")[::2] == ("cell_type", [])
    assert cell_types(obs(subclass=["Sst", "Vip"]), None, "spatial")[::2] == ("subclass", [])


def test_an_empty_or_numbered_column_gives_way_to_labels():
    table = obs(cell_type=[None], clusters=[1, 2], annotation_1=["T", "B"])
    assert cell_types(table, None, "reference")[0] == "annotation_1"
    assert cell_types(obs(clusters=[1, 2]), None, "reference")[0] == "clusters"
    for columns in ({"celltype_x": [1, 2]}, {"celltype_x": ["1", "2"]}, {"celltype_x": [f"t{i}" for i in range(60)]},
                    {"celltype_x": ["T"]}, {"celltype_x": [[1], [2]]}):  # fmt: skip
        assert cell_types(obs(**columns), None, "spatial") == (None, None, []), columns


def test_a_reference_without_a_recognized_column_names_its_texts():
    column, _, (warning,) = cell_types(obs(Zuordnung=["T", "B"], score=[0.1, 0.2]), None, "reference")
    assert column is None and "'Zuordnung' (2 labels" in warning and "celltype_key" in warning
    assert cell_types(obs(Zuordnung=["T", "B"]), None, "spatial")[2] == []


def test_the_named_column():
    column, labels, warnings = cell_types(
        obs(kind=[1.0, 2.0, None], cell_type=["a", "b"]).astype({"kind": float}), "kind", "spatial"
    )
    assert (
        column == "kind"
        and set(labels.dropna()) == {"1", "2"}
        and warnings == ["20 cells have no cell type in column 'kind'"]
    )
    assert cell_types(obs(kind=["NA"]), "kind", "spatial")[2] == [
        "column 'kind' holds no cell type; cells count as unlabeled"
    ]
    column, _, warnings = cell_types(obs(cell_type=["a", "b"]), "kind", "spatial")
    assert column == "cell_type" and "no column 'kind'" in warnings[0]
