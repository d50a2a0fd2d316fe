"""Names of what tools write of a cell beside its genes: areas, clusters, fields of view, quality.

Seurat, scanpy, squidpy, Giotto, Vizgen, NanoString, 10x and published tables. Left out are names that some species'
genes have (the fly's run, row, mask): those are judged by what they hold.
"""

import re

from spatialimpute.sources.vocabulary import AXES, CELL_ID_COLUMNS, CELLTYPE_COLUMNS

_NAMES = frozenset(
    # where and which
    "fov field_of_view field view region region_id brain_region slice slice_no section section_no bregma hemisphere "
    "layer cortical_layer puck tile tile_num roi zplane z_plane z_level z_slice array_row array_col in_tissue column "
    "imagerow imagecol batch replicate rep lane slide slide_no specimen tissue_section image library experiment "
    # whose
    "animal animal_id donor patient subject mouse sample age sex gender timepoint time_point stage condition genotype "
    "dataset orig_ident "
    # size and shape
    "volume area width height perimeter anisotropy solidity eccentricity circularity roundness elongation aspectratio "
    "aspect_ratio perimeter_area_ratio orientation major_axis minor_axis major_axis_length minor_axis_length "
    "equivalent_diameter min_x max_x min_y max_y min_z max_z bbox_area convex_area diameter radius "
    # counts and quality
    "counts umi umis reads transcripts transcript_count transcripts_count transcript_counts barcodecount barcode_count "
    "nr_feats nr_genes perc_feats total_expr library_size libsize log_counts complexity nuclei_count nucleus_count "
    "control_probe_counts control_codeword_counts unassigned_codeword_counts deprecated_codeword_counts "
    "genomic_control_counts unassignedtranscripts propnegative errorctestimate percofdatafromerror ncountpercell "
    "nfeaturepercell areaperslide nbcells qcflags s_score g2m_score size_factor size_factors sizefactor "
    "doublet_score scrublet_score is_doublet pseudotime dpt_pseudotime silhouette quality confidence "
    # groups
    "cluster clusters clust leiden louvain seurat_clusters graphclust kmeans community domain niche neighborhood label "
    "labels class subclass supertype type annotation cell_number cell_num cell_no cell_index object object_number "
    "spot spot_id bead row_id".split()
)

#: Of a name in lower case, its separators made underscores.
_PATTERN = re.compile(
    r"^(n|nr|num|number|total|pct|perc|percent|frac|fraction|prop|mean|median|max|min|std|log|log1p|log10|sum)_.+"
    r"|^n(count|counts|feature|features|gene|genes|umi|umis|transcript|transcripts)(_.+)?$"
    r"|_snn_res(_|$)|^(leiden|louvain|kmeans|graphclust|clusters?|clust|res)_.+|^(x_)?((umap|t_?sne)_?|pca_|harmony_)\d+$"
    r"|^(centroid|center|centre|position|pos|coord|coordinate|pixel|stage|global|local)_?[xyz](_.+)?$|^[xyz]_?(px|um|mm)$"
    r"|_id_|_(id|ids|idx|index|num|number|area|volume|size|perimeter|centroid|diameter|radius|angle|score|prob|probability"
    r"|px|um|um2|mm|micron|microns|pixel|pixels|count|counts|umis|reads|transcripts|spots|label|labels|code|cluster"
    r"|clusters|clus|clust|raw|high_pass|intensity|ratio|fraction|percent|pct)$"
)
_CAMEL_ID = re.compile(r"[a-z]I[Dd]s?$")


def is_metadata(name: str) -> bool:
    """Whether a column of this name says something else of a cell than a gene's counts.

    >>> [name for name in ("Field of View", "nCount_RNA", "percent.mt", "AnimalID", "Gad1") if is_metadata(name)]
    ['Field of View', 'nCount_RNA', 'percent.mt', 'AnimalID']
    """
    name = name.strip()
    folded = re.sub(r"[\s._]+", "_", name.casefold()).strip("_")
    known = folded in _NAMES or folded in AXES or folded in CELL_ID_COLUMNS or folded in CELLTYPE_COLUMNS
    return known or bool(_CAMEL_ID.search(name) or _PATTERN.search(folded))
