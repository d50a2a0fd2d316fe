"""bin/report.py and MultiQC on made-up results: what a user sees of every kind of run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
import yaml
from report_results import write_genes, write_results
from spatialimpute.files.sealed import read_json, write_json
from spatialimpute.report.inputs import find_results

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>"


def run_report(args: list[str], cwd: Path) -> subprocess.CompletedProcess:
    cwd.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "bin/report.py"), *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def run_multiqc(folder: Path) -> str:
    """MultiQC as the pipeline runs it; returns the report's HTML."""
    (folder / "params_mqc.tsv").write_text(
        "# id: params\nParameter\tValue\ncv_folds\t5\nlearning_rate\t0.003\nkappa_grid\t0,1,5\ngenes\t\n"
    )
    (folder / "software_mqc_versions.yml").write_text(yaml.safe_dump({"TRAIN": {"python": "3.11", "torch": "2.0"}}))
    command = [
        sys.executable, "-m", "multiqc", "--strict", "--force", "--config", str(ROOT / "assets/multiqc_config.yml"),
        "--filename", "multiqc_report.html", "--outdir", str(folder / "out"), str(folder), str(ROOT / "assets/multiqc"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stderr and "WARN" not in done.stderr, done.stderr
    return (folder / "out/multiqc_report.html").read_text()


def sections(folder: Path, sample: str) -> dict[str, dict]:
    """Contents of the sample's `_mqc` files by section."""
    return {
        path.name.removeprefix(f"{sample}.").removesuffix("_mqc.json"): json.loads(path.read_text())
        for path in folder.glob("*_mqc.json")
    }


@pytest.fixture(scope="module")
def several_samples(tmp_path_factory) -> tuple[Path, str]:
    """Four kinds of run in one report: a κ grid, one κ without cell types, no cross-validation, hostile names."""
    base = tmp_path_factory.mktemp("report")
    hostile = [HOSTILE, "<img src=x onerror=alert(2)>", "a\"b'c", "x & y", *[f"Gene{i}" for i in range(56)]]
    kinds = {
        "cortex_A": {},
        "liver.B": {
            "kappas": (0.0,),
            "celltypes": False,
            "headline": "do not use",
            "scored": 150,
            "imputed_format": "zarr",
        },
        "blind": {"folds": 0, "latent": False},
        "hostile": {"genes": hostile, "latent": False},
    }
    for seed, (sample, options) in enumerate(kinds.items()):
        args = write_results(base / f"in_{sample}", sample, seed=seed, **options)
        if sample == "hostile":
            plant(base / "in_hostile/results/spatial/qc.json", "warnings", [HOSTILE])
            plant(base / "in_hostile/results/cv/evaluation.json", "headline_reason", HOSTILE)
            plant(base / "in_hostile/results/cv/evaluation.json", "missing", [{"method": "knn", "reason": HOSTILE}])
        if sample == "liver.B":
            plant(base / "in_liver.B/results/cv/evaluation.json", "missing", ["tangram"])
        done = run_report(args, base / "mqc" / sample)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "arning" not in done.stderr, done.stderr
        (base / f"in_{sample}/args.json").write_text(json.dumps(args))
    return base / "mqc", run_multiqc(base / "mqc")


def plant(path: Path, key: str, value) -> None:
    """Replace an entry of a JSON file."""
    write_json(path, read_json(path) | {key: value})


def test_a_sample_writes_every_section_and_figure(several_samples):
    folder = several_samples[0] / "cortex_A"
    assert set(sections(folder, "cortex_A")) == {
        "summary", "headline", "gene_verdicts", "methods_table", "scores", "best_and_worst", "gene_table",
        "suspects", "maps", "latent", "cell_types", "qc_kept", "qc_dropped", "qc_n_counts", "qc_n_genes",
        "overlap", "overlap_table", "references", "training", "recipe", "kappa",
    }  # fmt: skip
    assert {path.name for path in (folder / "figures").iterdir()} == {"maps.png", "latent_umap.png"}


def test_what_an_estimate_is_made_of(several_samples):
    folder, html = several_samples
    (name, shares), *_ = sections(folder / "cortex_A", "cortex_A")["recipe"]["data"].items()
    assert name == "cortex_A"
    expected = {"gimvi": 0.25, "knn": 0.1, "linear": 0.1, "celltype": 0.05, "alpha": 0.4, "beta": 0.1}
    assert shares == pytest.approx(expected) and "What an estimate is made of" in html


def test_cell_types_stand_beside_their_share_of_the_reference(several_samples):
    """Under their whole names: MultiQC takes what is before a slash for a folder."""
    folder, html = several_samples
    rows = sections(folder / "cortex_A", "cortex_A")["cell_types"]["data"]
    row = rows["cortex_A: L2&#47;3 neuron"]
    assert 0 < row["share"] < 100 and 0 < row["reference"] < 100 and row["probability"] == 0.75
    assert "probability" not in rows["cortex_A: unassigned"] or rows["cortex_A: unassigned"]["probability"] is None
    assert sum(row["cells"] for row in rows.values()) == 400
    assert "L2&#47;3 neuron" in html and "cell_types" not in sections(folder / "liver.B", "liver.B")


def test_references_stand_side_by_side(several_samples):
    folder, html = several_samples
    rows = sections(folder / "cortex_A", "cortex_A")["references"]["data"]
    used, other = rows["cortex_A: atlas (reference)"], rows["cortex_A: &lt;b&gt;other (reference)"]
    assert used == {"verdict": "not judged", "used": "used", "n_shared": 20, "n_compared": 20, "warnings": "",
                    "lacking": "", "beyond": ""}  # fmt: skip
    assert other["verdict"] == "poor" and other["used"] == "alternative" and other["interval"] == "-0.10 to 0.20"
    assert other["lacking"].endswith("=T &lt;i&gt;cell (high: &lt;blink&gt;)") and not other["lacking"].startswith("=")
    assert other["beyond"] == "40%<br>group &lt;s&gt;" and other["warnings"].count("<br>") == 1
    assert "<blink>" not in html and "genes vary together otherwise" in html


def test_panel_genes_to_look_at(several_samples):
    folder, html = several_samples
    (name, row), *others = sections(folder / "cortex_A", "cortex_A")["suspects"]["data"].items()
    assert name == "cortex_A: Gene0" and not others and row["expected"] == 0.4 and row["detected_fraction"] == 30
    assert row["suspect"].endswith("=not &lt;i&gt;what&lt;/i&gt; is predicted") and not row["suspect"].startswith("=")
    assert "Panel genes to look at" in html


def test_general_statistics_put_the_scores_beside_each_other(several_samples):
    folder, _ = several_samples
    verdict = sections(folder / "cortex_A", "cortex_A")["headline"]["data"]["cortex_A"]
    assert verdict["interval"] == "0.250 to 0.360" and verdict["given_detected"] == 0.2
    found = sections(folder / "cortex_A", "cortex_A")["summary"]
    row = found["data"]["cortex_A"]
    assert row["headline"] == "good" and row["cells"] == 400 and row["shared"] == 20 and row["kappa"] == 0
    assert row["pass"] + row["warn"] + row["fail"] == 20
    order = sorted(found["headers"], key=lambda key: found["headers"][key]["placement"])
    assert order[order.index("partial") :][:3] == ["partial", "raw", "total"]
    evaluation = json.loads((folder.parent / "in_cortex_A/results/cv/evaluation.json").read_text())["methods"]
    assert row["partial"] == pytest.approx(evaluation["spatialimpute"]["spearman_partial_median"], abs=1e-4)
    assert row["total"] == pytest.approx(evaluation["total"]["spearman_median"], abs=1e-4)


def test_score_boxes_hold_every_method_and_gene(several_samples):
    partial, raw, _ = sections(several_samples[0] / "cortex_A", "cortex_A")["scores"]["data"]
    assert list(raw)[0] == "spatialimpute (chosen prediction)" and list(raw)[-1] == "panel total alone"
    assert {"gimVI members, κ = 0", "gimVI members, κ = 5", "kNN", "cell-type mean"} < set(raw)
    assert all(len(values) == 20 for values in raw.values())
    assert "panel total alone" not in partial


def test_without_cross_validation_scores_are_absent_and_a_line_says_why(several_samples):
    found = sections(several_samples[0] / "blind", "blind")
    absent = {"scores", "methods_table", "best_and_worst", "gene_verdicts", "maps", "kappa"}
    assert not absent & set(found)
    assert "cv_folds 0" in found["headline"]["data"]["blind"]["reason"]
    assert "two species: mouse and &lt;human&gt;" in found["headline"]["data"]["blind"]["reason"]
    assert found["summary"]["data"]["blind"]["headline"] == "not assessed"
    assert "pass" not in found["summary"]["data"]["blind"]
    assert found["training"]["data"], "the final models' training is still shown"


def test_a_method_that_failed_is_named_with_its_reason(several_samples):
    folder, html = several_samples
    assert sections(folder / "liver.B", "liver.B")["methods_table"]["data"]["liver.B: Tangram"] == {
        "missing": "failed, so it could not be scored"
    }
    missing = sections(folder / "hostile", "hostile")["methods_table"]["data"]["hostile: kNN"]["missing"]
    assert missing.startswith("failed: &lt;script&gt;")
    assert "failed, so it could not be scored" in html


def test_maps_show_the_cells_that_were_scored(several_samples):
    folder, _ = several_samples
    caption = sections(folder / "liver.B", "liver.B")["maps"]["description"]
    assert "Of 400 cells, the 150 that cross-validation scored." in caption
    assert "cross-validation scored" not in sections(folder / "cortex_A", "cortex_A")["maps"]["description"]


def test_a_cell_of_which_nothing_is_known_has_no_place_in_the_latent_map(several_samples):
    folder, _ = several_samples
    assert sections(folder / "cortex_A", "cortex_A")["latent"]["description"].startswith("699 cells with counts")


def test_supported_share_is_read_from_either_format(several_samples):
    folder, _ = several_samples
    for sample in ("cortex_A", "liver.B"):
        assert 85 < sections(folder / sample, sample)["summary"]["data"][sample]["supported"] < 99


def test_panel_genes_are_those_of_qc(several_samples):
    folder, _ = several_samples
    found = sections(folder / "cortex_A", "cortex_A")
    assert found["overlap"]["data"]["cortex_A"] == {"shared": 20, "measured_only": 1, "unused": 0}
    assert found["overlap_table"]["data"]["cortex_A"]["panel"] == 21


def test_kappa_curve_shows_the_bound_of_the_rule(several_samples):
    extra = sections(several_samples[0] / "cortex_A", "cortex_A")["kappa"]["pconfig"]["extra_series"]
    assert extra[0]["pairs"] == [["0", 0.3], ["1", 0.285], ["5", 0.285]]


def test_one_kappa_has_no_curve(several_samples):
    found = sections(several_samples[0] / "liver.B", "liver.B")
    assert "kappa" not in found
    assert found["training"]["pconfig"]["data_labels"] == [{"name": "held-out ELBO", "ylab": "ELBO per held-out cell"}]


def test_report_has_all_samples_in_the_order_of_the_config(several_samples):
    _, html = several_samples
    for sample in ("cortex_A", "liver.B", "blind"):
        assert sample in html
    headings = ["Verdict", "How to read this report", "Accuracy on held-out genes", "Genes", "Spatial maps",
                "Latent space", "Quality control", "Gene overlap", "Training", "Methods", "Parameters"]  # fmt: skip
    places = [html.index(f">{heading}</h2>") for heading in headings]
    assert places == sorted(places)
    for text in ("do not use", "1905.02269", "learning_rate", "0.003", "torch"):
        assert text in html


def test_report_loads_nothing_from_the_network(several_samples):
    _, html = several_samples
    assert not re.findall(r'<script[^>]+src="|<link[^>]+href="https?:', html)


def test_names_from_the_data_cannot_run_in_the_report(several_samples):
    _, html = several_samples
    assert HOSTILE not in html and "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_same_seed_same_bytes(several_samples, tmp_path):
    folder, _ = several_samples
    args = json.loads((folder.parent / "in_cortex_A/args.json").read_text())
    assert run_report(args, tmp_path).returncode == 0
    for path in (path for path in (folder / "cortex_A").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder / "cortex_A")).read_bytes(), path.name


def test_wrong_file_is_an_input_error(tmp_path):
    args = write_results(tmp_path / "in", n_spatial=100, n_reference=100)
    table = pd.DataFrame({"gene": ["Gene0"], "verdict": ["pass"]})
    write_genes(tmp_path / "in/results", table, ad.read_h5ad(tmp_path / "in/results/imputed.h5ad"))
    done = run_report(args, tmp_path / "out")
    assert done.returncode == 65
    assert "genes.tsv" in done.stderr and "missing measured" in done.stderr and "Traceback" not in done.stderr


def test_results_are_found_below_links_and_no_file_twice(tmp_path):
    args = write_results(tmp_path / "in", n_spatial=100, n_reference=100, latent=False, imputed_format="zarr")
    results, staged = tmp_path / "in/results", tmp_path / "staged"
    staged.mkdir()
    (staged / "1").symlink_to(results)
    found = find_results(staged)
    assert found["imputed.zarr"] == [staged / "1/imputed.zarr"] and found["imputed.h5ad"] == []
    assert len(found["qc.json"]) == 2 and len(found["history.tsv"]) == 2
    assert found["evaluation.json"] == [staged / "1/cv/evaluation.json"]
    done = run_report([*args, "--results", str(staged)], tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (staged / "genes.tsv").write_text("gene\n")
    done = run_report([*args, "--results", str(staged)], tmp_path / "out")
    assert done.returncode == 65 and "expected one genes.tsv of the sample, found 2" in done.stderr


def test_damage_is_seen(tmp_path):
    args = write_results(tmp_path / "in", n_spatial=100, n_reference=100, imputed_format="zarr")
    chunk = next((tmp_path / "in/results/imputed.zarr/X").glob("0.*"))
    chunk.write_bytes(b"x")
    done = run_report(args, tmp_path / "out")
    assert done.returncode == 74 and "imputed.zarr: damaged" in done.stderr
