"""Exports: written in their own environment, and opened there by the libraries that they are for."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import vendor_bundles as bundles
from samples import write_sample
from spatialimpute.files.chunks import Grid
from spatialimpute.files.counts import read_info
from spatialimpute.files.imputed import LAYERS, ImputedRows, ImputedWriter
from spatialimpute.qc.clean import clean_counts
from spatialimpute.sources import open_source
from tissue import draw

pytestmark = pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/bin/export-python"
GENES = ["g0", "g1", "g2", "g3"]

needs_environment = pytest.mark.skipif(
    not PYTHON.exists(), reason="EXPORTS NOT OPENED: no .venv/bin/export-python (make setup METHODS=export)"
)


def export(folder: Path, *arguments) -> subprocess.CompletedProcess:
    command = [PYTHON, ROOT / "bin/export.py", "--sample", "s", "--inputs", "inputs", *arguments]
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)


def opened(folder: Path, script: str) -> dict:
    """What a script leaves in `found`, run in a folder by the environment's Python."""
    code = f"import json\nimport numpy as np\nfound = {{}}\n{script}\nprint(json.dumps(found))"
    done = subprocess.run([PYTHON, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def values(n_cells: int) -> np.ndarray:
    """Made-up expected counts. Nothing is known of the last cell; the second gene rounds to 0 in every cell."""
    mean = np.arange(n_cells * len(GENES), dtype=np.float32).reshape(n_cells, -1) * 0.3
    mean[:, 1] = 0.4
    mean[-1] = np.nan
    return mean


def write_imputed(path: Path, counts, verdicts=("pass", "pass", "fail", "pass")) -> np.ndarray:
    n = len(counts.cells)
    mean = values(n)
    genes = pd.DataFrame({"gene": GENES, "measured": True, "fold": "1", "verdict": verdicts, "reason": None})
    with ImputedWriter.open(
        path, Grid.of(n, len(GENES)), LAYERS, counts, genes, {"spatialimpute": {"sample": "s", "kappa": 0.0}}
    ) as writer:
        stored = {"mean": mean, **{layer: mean + i for i, layer in enumerate(LAYERS)}}
        rows = ImputedRows(slice(0, n), stored, np.ones((n, 2)), np.arange(n)[::-1], np.arange(n) > 2)
        writer.write(writer.encode(rows))
    return mean


def sample_of(folder: Path, counts, suffix: str = "h5ad", **options):
    """The folder with the sample's inputs and imputed file, as steps leave them."""
    references, _, gene_sets = draw(n_cells=(30, 20), n_panel=3, n_genes=6)
    spatial = replace(counts, X=counts.X[:, [0, 1, 2]], genes=np.array(["g0", "g1", "g2"]), gene_ids=None, var=None)
    gene_sets = replace(gene_sets, shared=["g0", "g1", "g2"], targets=GENES, scored_cells=None)
    write_sample(folder / "inputs", references, spatial, gene_sets)
    return write_imputed(folder / f"imputed.{suffix}", spatial, **options)


def cleaned(path: Path, technology: str = "other", **options):
    """What QC makes of a raw file, as its file says it."""
    counts, summary = clean_counts(
        open_source(path).read(), id="s", role="spatial", technology=technology, source=path.name, **options
    )
    return counts, summary


def store_with(folder: Path, obs: dict, region_key: str = "region", instance_key: str = "instance_id") -> Path:
    """A SpatialData store whose table has these columns and keys."""
    import zarr

    path = bundles.spatialdata(folder)
    root = zarr.open_group(str(path), mode="a")
    table = ad.io.read_elem(root["tables/table"])
    table.obs = pd.DataFrame(obs, index=table.obs_names)
    about = dict(root["tables/table"].attrs)
    ad.io.write_elem(root["tables"], "table", table)
    root["tables/table"].attrs.update(about | {"region_key": region_key, "instance_key": instance_key})
    return path


# ---- what QC keeps of a store's table ----


@pytest.mark.parametrize(
    ("keys", "options", "columns"),
    [
        (("region", "instance_id"), {}, ("region", "instance_id")),
        (("region", "instance_id"), {"batch_key": "region"}, ("region", "instance_id")),
        (("batch", "dataset"), {}, ("batch_original", "dataset_original")),
        (("batch", "n_counts"), {"batch_key": "batch"}, ("batch", "n_counts_original")),
        (("Batch", "cell"), {"batch_key": "Batch"}, ("batch", "cell")),
    ],
)
def test_counts_say_which_columns_name_elements(tmp_path, keys, options, columns):
    path = store_with(tmp_path / "x.zarr", {keys[0]: pd.Categorical(["cells"] * 5), keys[1]: range(5)}, *keys)
    counts, _ = cleaned(path, **options)
    assert counts.info["annotates"] == {
        "region": keys[0], "instance": keys[1], "region_column": columns[0], "instance_column": columns[1],
    }  # fmt: skip
    assert counts.obs[columns[0]].astype(str).unique().tolist() == ["cells"]
    assert counts.obs[columns[1]].tolist() == list(range(5))


@pytest.mark.parametrize("about", [{"region": None}, {"region_key": "gone"}, {"instance_key": ["a"]}])
def test_a_table_that_annotates_nothing(tmp_path, about):
    import zarr

    path = bundles.spatialdata(tmp_path / "x.zarr")
    zarr.open_group(str(path), mode="a")["tables/table"].attrs.update(about)
    assert "annotates" not in cleaned(path)[0].info


def test_other_samples_annotate_nothing(tmp_path):
    assert "annotates" not in cleaned(bundles.xenium(tmp_path / "x"))[0].info


# ---- a SpatialData store ----

OPEN = """
import spatialdata
from spatialdata.models import TableModel
store = spatialdata.read_zarr('spatialdata.zarr')
table = store.tables['imputed']
TableModel.validate(table)
about = table.uns['spatialdata_attrs']
found.update(
    keys=[about['region_key'], about['instance_key']], region=about['region'], shapes=sorted(store.shapes),
    columns=list(table.obs), cells=list(table.obs_names), genes=list(table.var_names), X=table.X.tolist(),
    layers={name: np.asarray(table.layers[name]).tolist() for name in table.layers},
    spatial=table.obsm['spatial'].tolist(), verdict=list(table.var['verdict']), facts=table.uns['spatialimpute'],
    instances=table.obs[about['instance_key']].tolist(), kind=table.obs[about['instance_key']].dtype.kind,
    regions=table.obs[about['region_key']].tolist(),
)
"""


@needs_environment
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_store_of_its_own(tmp_path, suffix):
    counts, _ = cleaned(bundles.merscope(tmp_path / "raw"))
    counts.obs["Cell Type"] = "a"  # a name that spatialdata does not take
    mean = sample_of(tmp_path, counts, suffix)
    done = export(tmp_path, "--imputed", f"imputed.{suffix}", "--format", "spatialdata", "--threads", 2)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*.partial"))
    matched = "matched = spatialdata.match_element_to_table(store, 'cells', 'imputed')[0]['cells']\n"
    circles = "found.update(circles=list(matched.index), radius=sorted(set(matched['radius'])))\n"
    centers = "found['centers'] = np.column_stack([matched.geometry.x, matched.geometry.y]).tolist()"
    found = opened(tmp_path, OPEN + matched + circles + centers)
    assert found["shapes"] == ["cells"] and found["region"] in ("cells", ["cells"])
    assert found["cells"] == found["instances"] == found["circles"] == counts.cells.tolist()
    assert found["genes"] == GENES and found["verdict"] == ["pass", "pass", "fail", "pass"]
    np.testing.assert_allclose(found["X"], mean, rtol=1e-6)
    assert set(found["layers"]) == set(LAYERS)
    for i, layer in enumerate(LAYERS):
        np.testing.assert_allclose(found["layers"][layer], mean + i, rtol=1e-6)
    np.testing.assert_array_equal(found["spatial"], counts.coords)
    np.testing.assert_array_equal(found["centers"], counts.coords[:, :2])
    assert found["radius"][0] > 0 and "Cell_Type" in found["columns"] and found["facts"]["sample"] == "s"


@needs_environment
def test_places_in_three_dimensions(tmp_path):
    """The circles are flat, as spatialdata wants them; the table keeps all of a place."""
    counts, _ = cleaned(bundles.merscope(tmp_path / "raw"))
    counts.coords = np.column_stack([counts.coords[:, :2], np.arange(len(counts.cells))])
    counts.coords[1, :2] = counts.coords[0, :2]
    sample_of(tmp_path, counts)
    done = export(tmp_path, "--imputed", "imputed.h5ad", "--format", "spatialdata")
    assert done.returncode == 0, done.stderr
    found = opened(tmp_path, OPEN + "found['flat'] = bool((~store['cells'].geometry.has_z).all())")
    assert found["flat"]
    np.testing.assert_array_equal(found["spatial"], counts.coords)


ORIGINAL = """
import anndata as ad, pandas as pd
from spatialdata import SpatialData
from spatialdata.models import ShapesModel, TableModel
rng = np.random.default_rng(0)
names, ids = ['left'] * 4 + ['right'] * 4, INSTANCES
obs = pd.DataFrame({'KEY': pd.Categorical(names), 'INSTANCE': ids}, index=[f'c{i}' for i in range(8)])
X = rng.poisson(3, (8, 4)).astype('f4') + np.eye(8, 4, dtype='f4')
table = ad.AnnData(X, obs, pd.DataFrame(index=['g0', 'g1', 'g2', 'g3']))
table.X[5] = 0  # which QC leaves out
table.obsm['spatial'] = rng.random((8, 2)) * 100
shapes = {
    name: ShapesModel.parse(table.obsm['spatial'][i : i + 4], geometry=0, radius=1, index=pd.Index(ids[i : i + 4]))
    for name, i in (('left', 0), ('right', 4))
}
table = TableModel.parse(table, ['left', 'right'], 'KEY', 'INSTANCE')
SpatialData(shapes=shapes, tables={'table': table}).write('original.zarr')
"""


@needs_environment
@pytest.mark.parametrize(  # the last: instances that are those of one region each
    ("key", "instance", "ids"),
    [
        ("region", "cell_id", list("abcdefgh")),
        ("region", "instance", [3, 1, 2, 0, 7, 4, 5, 6]),
        ("batch", "N_counts", list("abcd") * 2),
    ],
)
def test_a_table_for_the_store_it_came_from(tmp_path, key, instance, ids):
    """With its keys, whatever QC had to call these columns: one line puts it beside the original."""
    script = ORIGINAL.replace("KEY", key).replace("INSTANCES", repr(ids)).replace("INSTANCE", instance)
    opened(tmp_path, script)
    counts, _ = cleaned(tmp_path / "original.zarr")
    sample_of(tmp_path, counts)
    assert read_info(tmp_path / "inputs/spatial.h5ad")["annotates"]["region"] == key
    done = export(tmp_path, "--imputed", "imputed.h5ad", "--format", "spatialdata")
    assert done.returncode == 0, done.stderr
    beside = """
original = spatialdata.read_zarr('original.zarr')
original.tables['imputed'] = table
original.write_element('imputed')
again = spatialdata.read_zarr('original.zarr')
found['tables'] = sorted(again.tables)
element, rows = spatialdata.join_spatialelement_table(
    sdata=again, spatial_element_names='right', table_name='imputed', how='inner'
)
found.update(right=list(rows.obs_names), shapes_right=list(element['right'].index))
"""
    found = opened(tmp_path, OPEN + beside)
    kept = [i for i in range(8) if i != 5]
    assert found["keys"] == [key, instance] and sorted(found["region"]) == ["left", "right"] and found["shapes"] == []
    assert found["regions"] == ["left"] * 4 + ["right"] * 3
    assert found["instances"] == [ids[i] for i in kept]
    assert found["tables"] == ["imputed", "table"]
    assert found["right"] == ["c4", "c6", "c7"] and found["shapes_right"] == [ids[i] for i in (4, 6, 7)]


@needs_environment
def test_instances_that_repeat_are_refused(tmp_path):
    columns = {"region": pd.Categorical(["cells"] * 5), "instance_id": [1, 1, 2, 3, 4]}
    counts, _ = cleaned(store_with(tmp_path / "x.zarr", columns))
    sample_of(tmp_path, counts)
    done = export(tmp_path, "--imputed", "imputed.h5ad", "--format", "spatialdata")
    assert done.returncode == 65 and "'instance_id'" in done.stderr and "unique" in done.stderr
    assert not list(tmp_path.glob("spatialdata*"))


# ---- Xenium Explorer ----

READ = """
import zarr, scipy.sparse as sp
group = zarr.open_group(zarr.storage.ZipStore('explorer/cell_feature_matrix.zarr.zip', mode='r'), mode='r')
cells = group['cell_features']
about = dict(cells.attrs)
matrix = sp.csr_matrix(
    (cells['data'][:], cells['indices'][:], cells['indptr'][:]), (about['number_features'], about['number_cells'])
)
found.update(
    names=about['feature_keys'], ids=cells['cell_id'][:].tolist(), counts=matrix.toarray().tolist(),
    kind=str(cells['data'].dtype), n_genes=about['feature_types'].count('gene'),
)
"""
EXPLORER = ("--imputed", "imputed.h5ad", "--format", "explorer", "--raw", "raw")


@needs_environment
def test_genes_that_passed_for_xenium_explorer(tmp_path):
    """All cells of the folder in its order, also the one that QC left out."""
    counts, _ = cleaned(bundles.xenium(tmp_path / "raw"), "Xenium")
    folder = [
        int("".join("0123456789abcdef"["abcdefghijklmnop".index(c)] for c in cell[:8]), 16)
        for cell in bundles.XENIUM_CELLS
    ]
    left = [0, 1, 3, 4]
    counts = counts.take(np.array(left)[::-1])
    mean = sample_of(tmp_path, counts)
    done = export(tmp_path, *EXPLORER)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 genes that passed round to 0 in every cell" in done.stderr
    found = opened(tmp_path, READ)
    assert found["names"] == ["imputed_g0", "imputed_g1", "imputed_g3", "Total transcripts"]
    assert found["ids"] == [[cell, 1] for cell in folder] and found["kind"] == "uint32"
    assert found["n_genes"] == 3
    expected = np.zeros((5, 3))
    expected[left[::-1]] = np.rint(np.nan_to_num(mean[:, [0, 1, 3]]))
    np.testing.assert_array_equal(np.array(found["counts"])[:3].T, expected)
    np.testing.assert_array_equal(found["counts"][3], expected.sum(axis=1))


@needs_environment
@pytest.mark.parametrize(
    ("raw", "options", "words"),
    [
        (bundles.merscope, {}, ["a MERSCOPE folder", "Xenium folder"]),
        (lambda folder: bundles.xenium(folder, ids=[1, 2, 3, 4, 5]), {}, ["cell '1'", "'aaaachba-1'", "1.3"]),
        (bundles.xenium, {"verdicts": ["not assessed"] * 4}, ["no gene has the verdict 'pass'"]),
        (bundles.xenium, {"verdicts": ["fail", "pass", "fail", "fail"]}, ["below 0.5 in every cell"]),
    ],
)
def test_what_xenium_explorer_cannot_show(tmp_path, raw, options, words):
    counts, _ = cleaned(raw(tmp_path / "raw"))
    sample_of(tmp_path, counts, **options)
    done = export(tmp_path, *EXPLORER)
    assert done.returncode == 65 and done.stderr.count("ERROR:") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(tmp_path.glob("explorer/*"))


@needs_environment
def test_a_folder_of_other_cells(tmp_path):
    counts, _ = cleaned(bundles.xenium(tmp_path / "raw"))
    counts.cells = np.array(["zz", *counts.cells[1:]])
    sample_of(tmp_path, counts)
    done = export(tmp_path, *EXPLORER)
    assert done.returncode == 65 and "cell 'zz' is not in it" in done.stderr


@needs_environment
def test_a_damaged_imputed_file(tmp_path):
    counts, _ = cleaned(bundles.merscope(tmp_path / "raw"))
    sample_of(tmp_path, counts)
    with open(tmp_path / "imputed.h5ad", "r+b") as file:
        file.seek(3000)
        file.write(b"damage")
    done = export(tmp_path, "--imputed", "imputed.h5ad", "--format", "spatialdata")
    assert done.returncode == 74 and "imputed.h5ad" in done.stderr


def test_without_the_environment_the_message_says_how_to_get_it(tmp_path):
    counts, _ = cleaned(bundles.merscope(tmp_path / "raw"))
    sample_of(tmp_path, counts)
    command = [ROOT / ".venv/bin/python", ROOT / "bin/export.py", "--sample", "s", "--inputs", "inputs"]
    done = subprocess.run(
        [*command, "--imputed", "imputed.h5ad", "--format", "spatialdata"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "METHODS=export" in done.stderr and "containers/envs/export/requirements.lock" in done.stderr
