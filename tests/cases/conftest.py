"""Builds the cases of real people's files, which lie beside the checkout, and takes them through check and QC."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spatialimpute.files.counts import Counts, read_counts

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"


@dataclass
class Outcome:
    """What check and QC made of a sheet: exit code and words of the first step that failed, else of all."""

    folder: Path
    code: int = 0
    said: str = ""
    sample: dict = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)

    def assert_refused(self, *words: str) -> None:
        """Bad input (exit 65) that holds all of these words, whatever their case."""
        assert self.code == 65, f"taken, with these words: {self.said}"
        for word in words:
            assert word.lower() in self.said.lower(), self.said

    def assert_read(self, role: str = "spatial") -> None:
        """Read as `truth.csv` says: the same genes, and for every cell its counts and its place."""
        assert self.code == 0, self.said
        counts = self.counts[role]
        truth = pd.read_csv(self.folder / "truth.csv", index_col=0, dtype={0: str})
        truth.index = truth.index.astype(str)
        genes = [name for name in truth.columns if name not in ("x", "y")]
        assert sorted(counts.genes) == sorted(genes)
        found = pd.DataFrame(counts.X.toarray(), index=counts.cells, columns=counts.genes)[genes]
        assert set(found.index) <= set(truth.index)
        truth = truth.loc[found.index]
        np.testing.assert_array_equal(found, truth[genes])
        np.testing.assert_allclose(counts.coords, truth[["x", "y"]], atol=1e-3)


def step(name: str, *arguments, folder: Path) -> tuple[int, str]:
    command = [sys.executable, ROOT / "bin" / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def outcome(tmp_path):
    """`outcome("01_r_write_table")` builds a case and takes it through check and QC; another sheet may be named."""
    if not CASES.is_dir():
        warnings.warn(f"CASES ABSENT: no {CASES}; real people's files were not tried", stacklevel=1)
        pytest.skip(f"CASES ABSENT: no {CASES}")

    def take(case: str, sheet: str = "sheet.csv", **params) -> Outcome:
        found = Outcome(tmp_path / case)
        build = [sys.executable, CASES / f"{case}.py", found.folder]
        subprocess.run(build, check=True, capture_output=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
        (found.folder / "params.json").write_text(json.dumps({"input": sheet, "outdir": "results", **params}))
        found.code, found.said = step(
            "check_inputs", "--input", sheet, "--params", "params.json", "--schema", ROOT / "nextflow_schema.json",
            "--sheet-schema", ROOT / "assets/schema_input.json", "--methods", ROOT / "assets/methods.json",
            "--base-dir", found.folder, "--launch-dir", found.folder, folder=found.folder,
        )  # fmt: skip
        if found.code == 0:
            found.sample = json.loads((found.folder / "samples.json").read_text())[0]
            clean(found)
        return found

    return take


def clean(found: Outcome) -> None:
    """QC of the spatial side and of the first reference, as the pipeline calls it."""
    row = found.sample
    reference = row["reference"][0]
    for role, files, keys in (
        ("spatial", row["spatial"], {"technology": row["technology"], "batch-key": row["spatial_batch_key"]}),
        ("reference", reference["files"], {"batch-key": reference["batch_key"]}),
    ):
        keys |= {"celltype-key": row["celltype_key"] if role == "spatial" else reference["celltype_key"]}
        keys |= {"coords": files[1] if len(files) > 1 else None}
        keys |= {"gene-column": row["spatial_gene_column"] if role == "spatial" else reference["gene_column"]}
        if role == "spatial" and row["others"] is not None:
            keys |= {"others": json.dumps(row["others"])}
        options = [word for name, value in keys.items() if value for word in (f"--{name}", value)]
        (found.folder / f"qc_{role}").mkdir()
        code, said = step(
            "qc", "--id", role, "--role", role, "--input", files[0], *options, folder=found.folder / f"qc_{role}"
        )
        found.said += said
        if code:
            found.code = code
            return
        found.counts[role] = read_counts(found.folder / f"qc_{role}" / "counts.h5ad")
