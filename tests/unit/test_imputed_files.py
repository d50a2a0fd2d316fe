"""Imputed files: what is in them, chunks, both formats, layers, parts that give the bytes of the whole, damage."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialimpute.ensemble import Blend, Recipe
from spatialimpute.errors import DamagedError, InputError
from spatialimpute.files.blend import read_blend, write_blend
from spatialimpute.files.chunks import Grid
from spatialimpute.files.imputed import (
    LAYERS,
    ImputedRows,
    ImputedWriter,
    choose_format,
    imputed_facts,
    open_imputed,
    write_latent,
)
from spatialimpute.files.parts import Part, Parts, part_name, part_uns
from spatialimpute.files.sealed import check_seal
from spatialimpute.folds import blocks
from spatialimpute.normalize import ZScore
from tissue import make_counts

N_CELLS, N_GENES = 2_500, 70
FACTS = {"sample": "s1", "kappa": 0.0, "n_samples": 6, "reference_digests": ["sha256:a", "sha256:b"]}


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    X = rng.poisson(1.0, (N_CELLS, 4))
    counts = make_counts(X, ["a", "b", "c", "d"], "spatial", celltype=pd.Categorical(rng.choice(["x", "y"], N_CELLS)))
    return replace(counts, coords=rng.random((N_CELLS, 2)))


@pytest.fixture(scope="module")
def genes():
    genes = pd.DataFrame({"gene": [f"g{i}" for i in range(N_GENES)], "measured": np.arange(N_GENES) < 4})
    genes["fold"] = np.where(genes["measured"], "1", None)
    genes["n_detected"] = pd.array([5, 6, 7, 8] + [None] * (N_GENES - 4), dtype="Int64")
    genes["spearman"] = np.where(genes["measured"], 0.25, np.nan)
    return genes.assign(verdict="not assessed", reason=None)


def imputed_rows(rows, first=0):
    """Made-up values; cell 7 is unknown."""
    values = {}
    for i, name in enumerate(("mean", *LAYERS)):
        every = np.random.default_rng(i).gamma(1, 1, (N_CELLS, N_GENES)).astype(np.float32)
        every[7] = np.nan
        values[name] = every[first + rows.start : first + rows.stop]
    cells = np.arange(first + rows.start, first + rows.stop)
    latent = np.stack([np.sin(cells), np.cos(cells)], axis=1).astype(np.float32)
    return ImputedRows(rows, values, latent, (cells % 9).astype(np.float32), cells % 2 == 0)


def write(path, cells, genes, layers=LAYERS, grid=None, first=0, more=None):
    grid = Grid.of(N_CELLS, N_GENES) if grid is None else grid
    with ImputedWriter.open(path, grid, layers, cells, genes, {"spatialimpute": FACTS, **(more or {})}) as writer:
        for rows in blocks(grid.n_cells, grid.rows):
            writer.write(writer.encode(imputed_rows(rows, first)))
    return writer


def write_part(folder, start, stop, cells, genes, facts=FACTS):
    more = part_uns(start, stop, N_CELLS, [np.ones((3, 2)), np.zeros((2, 2))] if start == 0 else [])
    grid, path = Grid.of(N_CELLS, N_GENES).part(stop - start), folder / part_name(start)
    write(path, cells.take(np.arange(start, stop)), genes, grid=grid, first=start, more=more | {"spatialimpute": facts})
    return path


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_imputed_file_is_complete(cells, genes, tmp_path, format):
    path = tmp_path / f"imputed.{format}"
    write(path, cells, genes)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    check_seal(path)
    data = ad.read_h5ad(path) if format == "h5ad" else ad.read_zarr(path)
    expected = imputed_rows(slice(0, N_CELLS))
    assert data.obs_names.tolist() == cells.cells.tolist() and data.var_names.tolist() == genes["gene"].tolist()
    assert data.X.dtype == np.float32
    np.testing.assert_array_equal(data.X, expected.values["mean"])
    assert set(data.layers) == set(LAYERS)
    for layer in LAYERS:
        np.testing.assert_array_equal(data.layers[layer], expected.values[layer])
    np.testing.assert_array_equal(data.obs["panel_total"], expected.panel_total)
    assert data.obs["supported"].tolist() == expected.supported.tolist()
    assert data.obs["celltype"].tolist() == cells.obs["celltype"].tolist()
    np.testing.assert_array_equal(data.obsm["spatial"], cells.coords)
    np.testing.assert_array_equal(data.obsm["X_gimvi"], expected.latent)
    assert list(data.var) == list(genes.columns[1:])
    assert data.var["measured"].dtype == bool and data.var["measured"].sum() == 4
    assert data.var["fold"].tolist() == ["1"] * 4 + [""] * (N_GENES - 4)
    assert data.var["n_detected"].iloc[:4].tolist() == [5, 6, 7, 8] and data.var["n_detected"].isna().sum() == 66
    about = imputed_facts(path)
    assert about["schema_version"] == "2" and about["sample"] == "s1"
    assert list(about["reference_digests"]) == FACTS["reference_digests"]
    with open_imputed(path) as group:
        assert ad.io.read_elem(group["obs/supported"]).sum() == expected.supported.sum()
        np.testing.assert_array_equal(group["X"][:, 3], expected.values["mean"][:, 3])


def test_h5ad_is_read_backed_and_by_scanpy(cells, genes, tmp_path):
    import scanpy as sc

    write(tmp_path / "imputed.h5ad", cells, genes)
    backed = sc.read_h5ad(tmp_path / "imputed.h5ad", backed="r")
    assert backed[5].X.shape == (1, N_GENES)
    backed.file.close()


def test_layers_are_those_asked_for(cells, genes, tmp_path):
    write(tmp_path / "imputed.h5ad", cells, genes, layers=["upper"])
    assert set(ad.read_h5ad(tmp_path / "imputed.h5ad").layers) == {"upper"}
    write(tmp_path / "imputed.zarr", cells, genes, layers=[])
    assert not ad.read_zarr(tmp_path / "imputed.zarr").layers


def test_chunks_are_of_many_cells_and_few_genes():
    small, large, whole = Grid.of(1_000, 500), Grid.of(1_000_000, 500), Grid.of(1_000_000, 30_000)
    assert (small.rows, small.columns) == (1_000, 64)
    assert (large.rows, large.columns) == (8_192, 8)
    assert whole.rows % 1024 == 0 and whole.rows * 30_000 <= 1 << 25
    assert large.part(250_880) == replace(large, n_cells=250_880)
    # A viewer reads a gene of a million cells in a moment: this many values are decompressed.
    assert large.n_cells * large.columns <= 10_000_000


def test_alike_bytes_lie_together():
    """What is rounded compresses: the same values with eleven bits take half the space."""
    values = np.random.default_rng(0).gamma(1, 1, (1024, 64)).astype(np.float32)
    grid = Grid(1024, 64, 1024, 64)
    rounded = (values.view(np.int32) & ~0xFFF).view(np.float32)
    full, short = (sum(map(len, grid.encode(v))) for v in (values, rounded))
    assert short < 0.6 * full < 0.6 * values.nbytes


def test_auto_is_one_file_until_it_grows_large():
    assert choose_format("auto", Grid.of(17_136, 2_285), LAYERS) == "h5ad"
    assert choose_format("auto", Grid.of(1_000_000, 2_000), LAYERS) == "zarr"
    assert choose_format("auto", Grid.of(1_000_000, 2_000), []) == "h5ad"
    assert choose_format("zarr", Grid.of(10, 10), LAYERS) == "zarr"


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_nothing_is_left_after_an_error(cells, genes, tmp_path, format):
    path, grid = tmp_path / f"imputed.{format}", Grid.of(N_CELLS, N_GENES)
    uns = {"spatialimpute": FACTS}
    with pytest.raises(RuntimeError, match="disk"), ImputedWriter.open(path, grid, LAYERS, cells, genes, uns) as writer:
        writer.write(writer.encode(imputed_rows(slice(0, grid.rows))))
        raise RuntimeError("disk")
    assert not list(tmp_path.iterdir())
    unwritable = genes.assign(score="high")  # found when the annotations are written, at the very end
    with pytest.raises(ValueError):
        write(path, cells, unwritable)
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_the_place_of_an_older_one_and_shows_damage(cells, genes, tmp_path):
    path = tmp_path / "imputed.zarr"
    write(path, cells, genes)
    (path / "old").touch()
    write(path, cells, genes)
    assert not (path / "old").exists()
    check_seal(path)
    chunk = path / "X" / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match="imputed.zarr"):
        check_seal(path)
    (path / "sha256.txt").unlink()
    with pytest.raises(DamagedError, match="sha256.txt"):
        check_seal(path)


# ---- parts ----


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_parts_give_the_bytes_of_the_whole(cells, genes, tmp_path, format):
    path = tmp_path / f"imputed.{format}"
    write(path, cells, genes)
    bounds = [(0, 1024), (1024, 2048), (2048, N_CELLS)]
    parts = Parts([write_part(tmp_path, *rows, cells, genes) for rows in bounds[::-1]])
    assert parts.layers == list(LAYERS)
    gathered, grid = tmp_path / f"gathered.{format}", Grid.of(N_CELLS, N_GENES)
    uns = {"spatialimpute": parts.facts}
    with ImputedWriter.open(gathered, grid, parts.layers, cells, parts.genes, uns) as writer:
        for rows in blocks(N_CELLS, grid.rows):
            writer.write(writer.encode(parts.read(rows)))
    files = [path] if format == "h5ad" else sorted(p for p in path.rglob("*") if p.is_file())
    assert files
    for file in files:
        assert (gathered / file.relative_to(path)).read_bytes() == file.read_bytes(), file
    assert [codes.shape for codes in parts.reference_latents] == [(3, 2), (2, 2)]


def test_rows_are_read_across_parts(cells, genes, tmp_path):
    parts = Parts([write_part(tmp_path, *rows, cells, genes) for rows in ((0, 1024), (1024, N_CELLS))])
    found, expected = parts.read(slice(1000, 1100)), imputed_rows(slice(1000, 1100))
    for name in ("mean", *LAYERS):
        np.testing.assert_array_equal(found.values[name], expected.values[name])
    for name in ("latent", "panel_total", "supported"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_parts_that_do_not_fit_are_named(cells, genes, tmp_path):
    first, last = (write_part(tmp_path, *rows, cells, genes) for rows in ((0, 1024), (2048, N_CELLS)))
    with pytest.raises(InputError, match=r"part.0+2048.*begins at cell 2,048, expected 1,024"):
        Parts([first, last])
    with pytest.raises(InputError, match=r"the last cell is 1,024 of 2,500"):
        Parts([first])
    with pytest.raises(InputError, match=r"begins at cell 0, expected 1,024"):
        Parts([first, first])
    other = write_part(tmp_path, 1024, 2048, cells, genes, facts=FACTS | {"kappa": 5.0})
    with pytest.raises(InputError, match=f"{other.name}: was made in another way"):
        Parts([first, other, last])
    write(tmp_path / "imputed.h5ad", cells, genes)
    with pytest.raises(InputError, match="no part"):
        Part.open(tmp_path / "imputed.h5ad")


# ---- latent codes ----


def test_latent_file_holds_both_sides(cells, tmp_path):
    unlabeled = make_counts(np.ones((4, 2)), ["a", "b"], "other")
    codes = [np.random.default_rng(i).normal(size=(n, 3)).astype(np.float32) for i, n in enumerate((N_CELLS, 150, 4))]
    codes[0][7] = np.nan
    reference = replace(cells.take(np.arange(150)), info={"id": "reference0"})
    write_latent(tmp_path / "latent.h5ad", cells, codes[0], [reference, unlabeled], codes[1:])
    data = ad.read_h5ad(tmp_path / "latent.h5ad")
    assert data.obs_names.is_unique and data.shape == (N_CELLS + 154, 0)
    np.testing.assert_array_equal(data.obsm["X_gimvi"], np.concatenate(codes))
    assert data.obs["side"].tolist() == ["spatial"] * N_CELLS + ["reference"] * 154
    assert data.obs["dataset"].tolist() == ["spatial"] * N_CELLS + ["reference0"] * 150 + ["other"] * 4
    labels = [*cells.obs["celltype"], *reference.obs["celltype"], *[""] * 4]
    assert pd.Series(data.obs["celltype"].astype(str)).tolist() == labels


# ---- blend ----


def test_blend_is_read_as_written(tmp_path):
    rng = np.random.default_rng(0)
    genes = ["a", "b", "c"]
    scales = rng.random((2, 3)).astype(np.float32)
    write_blend(tmp_path, Blend(scales), genes, {})
    blend, learned = read_blend(tmp_path, genes)
    np.testing.assert_array_equal(blend.member_scales, scales)
    assert blend.recipe == Recipe() and blend.scales == {} and learned == {}
    recipe = Recipe({"knn": 0.3, "celltype": 0.1}, 0.4, 0.1)
    mixed = Blend(scales, recipe, {name: rng.random(3).astype(np.float32) for name in recipe.weights})
    given = {
        "knn": ZScore(52.5, rng.random(5), rng.random(5)).as_arrays(),
        "celltype": {"depth": np.array(3.5), "transposed": rng.random((3, 2)).astype(np.float32).T},
    }
    write_blend(tmp_path, mixed, genes, given)
    blend, learned = read_blend(tmp_path, genes)
    assert blend.recipe == recipe and set(blend.scales) == set(learned) == {"knn", "celltype"}
    for name in recipe.weights:
        np.testing.assert_array_equal(blend.scales[name], mixed.scales[name])
        assert set(learned[name]) == set(given[name])
        for key, array in given[name].items():
            found = learned[name][key]
            assert found.dtype == array.dtype and found.shape == array.shape and (found == array).all()
    assert ZScore.from_arrays(learned["knn"]).depth == 52.5
    with pytest.raises(InputError, match="other genes"):
        read_blend(tmp_path, genes[::-1])
    arrays = tmp_path / "blend.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"\0")
    with pytest.raises(DamagedError, match="blend.safetensors"):
        read_blend(tmp_path, genes)
