"""Files that steps pass on: whole or not there, and any damage to one is found and the file named."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.errors import DamagedError
from spatialimpute.files.counts import Counts, read_counts, write_counts
from spatialimpute.files.gene_sets import GeneSets, read_gene_sets, write_gene_sets
from spatialimpute.files.models import read_models, write_models
from spatialimpute.files.predictions import Predictions, PredictionsFile, write_predictions
from spatialimpute.files.sealed import check_digest, digest, read_json, seal, whole, write_json
from spatialimpute.report.inputs import read_history

GENES, CELLS = np.array(["A", "B"]), np.array(["c0", "c1", "c2"])


def counts(path):
    obs = pd.DataFrame({"n_counts": [1, 1, 2]})
    write_counts(path, Counts(sp.csr_matrix(np.eye(3, 2, dtype=np.float32)), GENES, CELLS, obs))
    return lambda: read_counts(path)


def predictions(path):
    mean = np.full((3, 2), 0.5, np.float32)
    write_predictions(path, Predictions(mean, None, CELLS, GENES, np.array(["0", "1"]), "knn", "s"))
    return lambda: PredictionsFile(path).read()


def gene_sets(path):
    write_gene_sets(path, GeneSets(["A", "B"], ["A"], [], ["B"], how={"shared": "measured by both"}))
    return lambda: read_gene_sets(path)


def models(path):
    stacks = [{"architecture": {"n_latent": 2}, "members": [{"place": 0}], "weights": {"w": np.arange(50.0)}}]
    history = pd.DataFrame({"member": [0], "fold": [None], "kappa": [0.5], "epoch": [1.25]})
    write_models(path.parent, stacks, ["A", "B"], {"n_latent": 2}, history)
    return lambda: (read_models(path.parent, ["A", "B"]), read_history([path.parent / "history.tsv"]))


KINDS = {
    "counts.h5ad": counts, "knn.h5ad": predictions, "gene_sets.json": gene_sets, "models.json": models,
    "weights.safetensors": models, "history.tsv": models,
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_found_wherever_it_is_and_named(name, tmp_path):
    path = tmp_path / name
    read = KINDS[name](path)
    assert [file.suffix for file in tmp_path.iterdir() if file.suffix == ".partial"] == []
    read()
    good = path.read_bytes()
    damaged = [good[: len(good) // 2], b""]
    for place in (0, len(good) // 3, len(good) // 2, len(good) - 3):
        place = next(i for i in range(place, len(good)) if not chr(good[i]).isspace())  # JSON may be indented at will
        damaged.append(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=f"{path}: damaged.*run again with -resume"):
            read()
    path.write_bytes(good)
    read()


def test_a_sealed_file_opens_as_any_other(tmp_path):
    counts(tmp_path / "counts.h5ad")
    assert ad.read_h5ad(tmp_path / "counts.h5ad").shape == (3, 2)


def test_a_link_is_resolved_so_that_the_file_itself_can_be_removed(tmp_path):
    (tmp_path / "real.h5ad").write_bytes(b"cut short")
    (tmp_path / "staged.h5ad").symlink_to("real.h5ad")
    with pytest.raises(DamagedError, match=f"{tmp_path}/real.h5ad: damaged"):
        read_counts(tmp_path / "staged.h5ad")


def test_json_of_every_kind_of_value_comes_back(tmp_path):
    content = {"1": [1.5, float("inf"), None, "é"], "b": {"2": True}, "a": 0.1 + 0.2}
    write_json(tmp_path / "x.json", {1: (1.5, float("inf"), None, "é"), "b": {2: True}, "a": 0.1 + 0.2})
    assert read_json(tmp_path / "x.json") == content


def test_a_table_is_checked_against_the_digest_kept_beside_it(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text("gene\nA\n")
    expected = digest(path)
    check_digest(path, expected)
    path.write_text("gene\nB\n")
    with pytest.raises(DamagedError, match="genes.tsv: damaged"):
        check_digest(path, expected)


def test_what_is_not_finished_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), whole(path) as partial:
        partial.write_text("half of the n")
        raise OSError("full")
    assert [file.name for file in tmp_path.iterdir()] == ["x"] and path.read_text() == "old"
    with whole(path) as partial:
        partial.write_text("new")
        seal(partial)
    assert [file.name for file in tmp_path.iterdir()] == ["x"] and path.read_text().startswith("new\nsha256:")


def test_what_to_remove_is_the_folder_of_the_task(tmp_path):
    """Nextflow looks whether a task's outputs are there, and a folder is one even if a file in it is gone."""
    task = tmp_path / "work/1a/2b"
    (task / "models").mkdir(parents=True)
    (task / ".command.sh").touch()
    with pytest.raises(DamagedError, match=f"models.json: damaged: it is missing. Remove {task} and run"):
        read_json(task / "models/models.json")
    with pytest.raises(DamagedError, match=f"history.tsv: damaged: it is missing. Remove {task} and run"):
        check_digest(task / "models/history.tsv", "sha256:")
