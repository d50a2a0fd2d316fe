"""The samplesheet against its schema and the headers of the files it names: every problem at once."""

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

from jsonschema import Draft202012Validator

from spatialimpute.check.gene_lists import is_file, parse_gene_list
from spatialimpute.check.sheet_text import Row, numbered, read_rows
from spatialimpute.errors import InputError
from spatialimpute.nearest import did_you_mean
from spatialimpute.sources import Header, folders_of, open_source, split_address, split_part
from spatialimpute.sources.coordinates import find_sidecar, sidecar_columns
from spatialimpute.sources.labels import hint
from spatialimpute.sources.tenx_mtx import matrices
from spatialimpute.sources.text import table_header
from spatialimpute.sources.vocabulary import base_name
from spatialimpute.technologies import canonical_technology

__all__ = ["Sheet", "numbered"]


class Sheet:
    """A checked samplesheet.

    Attributes
    ----------
    problems : one text per mistake, in order of rows
    samples : what the pipeline runs on if there are none, one dict per row

    Raises
    ------
    InputError
        The sheet is no CSV with a header of distinct columns, so that its rows cannot be looked at.
    """

    def __init__(self, path: str | Path, schema_path: str | Path, base_dir: str | Path):
        self.base_dir = Path(base_dir)
        item = json.loads(Path(schema_path).read_text())["items"]
        self.properties = item["properties"]
        self._validators = {name: Draft202012Validator(spec) for name, spec in self.properties.items()}
        self._headers: dict[Path, Header | None] = {}
        self._beside: dict[Path, list[str]] = {}
        self._bytes: dict[Path, int] = {}
        self._references: dict[Path, tuple[str, str]] = {}
        header, self.rows, self._found = read_rows(Path(path), self.properties, item["required"])
        self.required = [name for name in item["required"] if name in header]
        self._check_names()
        samples = [self._check_row(row) for row in self.rows]
        self._share_reference_keys(samples)
        self.samples = samples
        self.problems = [text for _, text in sorted(self._found, key=lambda problem: problem[0])]

    def _problem(self, row: Row, column: str, value: str, expected: str) -> None:
        self._found.append((row.line, f"row {row.line}, column '{column}': found {value!r}, {expected}"))

    # ------------------------------------------------------------------------------------ the cells

    def _check_names(self) -> None:
        seen: dict[str, Row] = {}
        for row in self.rows:
            name = row.cells.get("sample", "")
            earlier = seen.setdefault(name.casefold(), row)
            if name and earlier is not row:
                what = "the same name" if earlier.cells["sample"] == name else "a name that differs in case alone"
                self._problem(row, "sample", name, f"row {earlier.line} has {what}; give every sample its own")

    def _check_row(self, row: Row) -> dict:
        """Check one row against the schema and its files; the sample as the pipeline wants it."""
        cells, bad = row.cells, set()
        if "technology" in cells:
            cells["technology"] = canonical_technology(cells["technology"]) or cells["technology"]
        for name in self.required:
            if name not in cells:
                bad.add(name)
                self._problem(row, name, "", f"expected a value: {self.properties[name]['description'].lower()}")
        for name, value in cells.items():
            if name not in self.properties or self._validators[name].is_valid(value):
                continue
            spec = self.properties[name]
            bad.add(name)
            self._problem(row, name, value, spec["errorMessage"] + did_you_mean(value, spec.get("enum", ())))
        spatial = self._check_spatial(row) if "spatial" in cells and "spatial" not in bad else []
        references, alternatives = [], []
        if "reference" in cells and "reference" not in bad:
            references, alternatives = self._check_references(row, spatial)
        self._check_celltype_key(row, [spatial, *references, *alternatives])
        return {
            "sample": cells.get("sample"),
            "spatial": spatial,
            "spatial_beside": self._beside.get(Path(spatial[0]), []) if spatial else [],
            "spatial_bytes": self._bytes.get(Path(spatial[0])) if spatial else None,
            "spatial_part": _part(spatial[0]) if spatial else None,
            "reference": [self._reference(row, files[0]) for files in references if files],
            "alternatives": [self._reference(row, files[0]) for files in alternatives if files],
            "technology": cells.get("technology"),
            "spatial_batch_key": cells.get("spatial_batch_key"),
            "reference_batch_key": cells.get("reference_batch_key"),
            "celltype_key": cells.get("celltype_key"),
            "genes": None if "genes" in bad else self._check_genes(row),
            "warnings": self._label_warnings(row, [spatial, *references, *alternatives]),
        }

    def _check_spatial(self, row: Row) -> list[str]:
        name = row.cells["spatial"]
        if "://" in name:
            return [name]
        path, header = self._open(row, "spatial", name)
        if header is None:
            return []
        sidecar = find_sidecar(split_part(path)[0])
        if not header.coordinates and sidecar is None and (kinds := folders_of(path.parent)):
            folder = str(Path(name).parent)
            self._problem(row, "spatial", name, f"a part of a {kinds[0].kind}; name the folder: {folder}")
            return []
        if not header.coordinates and sidecar is None:
            self._problem(
                row,
                "spatial",
                name,
                "which holds no coordinates; expected obsm['spatial'], columns x and y, or a second file "
                f"{base_name(path)}.coords.csv beside it",
            )
        if sidecar is not None:
            try:
                _, columns, _ = sidecar_columns(sidecar)
                others = [name for name in table_header(sidecar) if name not in (*columns, *header.columns)]
                header = self._headers[path] = replace(header, columns=[*header.columns, *others])
            except InputError as error:
                self._problem(row, "spatial", name, f"whose second file is wrong: {error}")
        self._check_key(row, "spatial_batch_key", name, header)
        return [str(path)] + ([str(sidecar)] if sidecar else [])

    def _check_references(self, row: Row, spatial: list[str]) -> tuple[list[list[str]], list[list[str]]]:
        """The references that are used, and those that are only compared with them, each once."""
        used: list[list[str]] = []
        alternatives: list[list[str]] = []
        for names in row.cells["reference"].split("|"):
            found = self._check_together(row, names, spatial)
            if not used:
                used = found
            else:
                alternatives += [files for files in found if files not in used + alternatives]
        if not row.cells["reference"].strip("|; "):
            self._problem(row, "reference", row.cells["reference"], "expected a reference beside the separators")
        return used, alternatives

    def _check_together(self, row: Row, names: str, spatial: list[str]) -> list[list[str]]:
        """One list of files per reference; an empty one for a reference with a problem."""
        files: list[list[str]] = []
        for name in (part.strip() for part in names.split(";")):
            if not name:
                continue
            if "://" in name:
                files.append([name])
                continue
            path, header = self._open(row, "reference", name)
            if header is None:
                files.append([])
            elif spatial and str(path) == spatial[0]:
                self._problem(row, "reference", name, "which is the spatial file; expected a single-cell reference")
            elif [str(path)] in files:
                self._problem(row, "reference", name, "which is named twice; name each reference once")
            else:
                self._check_key(row, "reference_batch_key", name, header)
                files.append([str(path)])
        return files

    def _open(self, row: Row, column: str, name: str) -> tuple[Path, Header | None]:
        """The absolute path and the file's header; None and a problem where there is none."""
        path = Path(os.path.normpath((self.base_dir / name).absolute()))
        if path.name.lower() in ("matrix.mtx", "matrix.mtx.gz") and len(matrices(path.parent)) == 1:
            path = path.parent
        if path not in self._headers:
            try:
                self._headers[path], self._beside[path], self._bytes[path] = _header(path)
            except InputError as error:
                self._headers[path] = None
                self._problem(row, column, name, str(error).removeprefix(f"{path}: "))
            except PermissionError:
                self._headers[path] = None
                self._problem(row, column, name, "which may not be read; change its permissions")
            except OSError as error:
                self._headers[path] = None
                self._problem(row, column, name, f"which cannot be read ({error.strerror}); correct the path")
        elif self._headers[path] is None:
            self._problem(row, column, name, "the same problem as above")
        return path, self._headers[path]

    def _check_key(self, row: Row, column: str, name: str, header: Header) -> None:
        key = row.cells.get(column)
        if key and key not in header.columns:
            columns, hint = ", ".join(header.columns[:20]) or "none", did_you_mean(key, header.columns)
            self._problem(row, column, key, f"no such column of the cells in {name} (it has: {columns}){hint}")

    def _check_celltype_key(self, row: Row, files: list[list[str]]) -> None:
        """Cell types may be on either side, so one file with that column is enough."""
        key = row.cells.get("celltype_key")
        headers = [self._headers.get(Path(paths[0])) if paths else None for paths in files]
        if key and headers and None not in headers and not any(key in header.columns for header in headers):
            columns = sorted({column for header in headers for column in header.columns})
            listed, hint = ", ".join(columns[:20]) or "none", did_you_mean(key, columns)
            expected = f"no file of this row has such a column (they have: {listed}){hint}"
            self._problem(row, "celltype_key", key, expected)

    def _label_warnings(self, row: Row, files: list[list[str]]) -> list[str]:
        """Files in which several columns, or one of no usual name, may hold cell types, going by their names."""
        warnings = []
        for path in (Path(paths[0]) for paths in files if paths):
            header = self._headers.get(path)
            if header is not None and row.cells.get("celltype_key") not in header.columns:
                if text := hint(header.columns):
                    warnings.append(f"sample {row.cells.get('sample')!r}: {path.name}: {text}")
        return warnings

    def _check_genes(self, row: Row) -> str | None:
        value = row.cells.get("genes")
        if value is None or "://" in value:
            return value
        try:
            genes = parse_gene_list(value, self.base_dir.absolute())
        except InputError as error:
            self._problem(row, "genes", value, str(error))
            return None
        path = (self.base_dir / value).absolute()
        return str(path) if is_file(path) else ",".join(genes)

    # ------------------------------------------------------------------------------------ references

    def _reference(self, row: Row, name: str) -> dict:
        """The reference with an id that is unique within the sheet and stays the same when rows are added."""
        key = Path(name) if "://" in name else Path(name).resolve()
        if key not in self._references:
            part = _part(name)
            stem = f"{base_name(name.removesuffix(f'/{part}'))}_{part.rpartition('/')[2]}" if part else base_name(name)
            stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-") or "reference"
            taken = {identity.casefold() for identity, _ in self._references.values()}
            unique = f"{stem}-{hashlib.sha256(str(key).encode()).hexdigest()[:8]}"
            self._references[key] = (unique if stem.casefold() in taken else stem, name)
        identity, first_name = self._references[key]
        return {
            "id": identity,
            "files": [first_name],
            "beside": self._beside.get(Path(first_name), []),
            "bytes": self._bytes.get(Path(first_name)),
            "part": _part(first_name),
            "batch_key": row.cells.get("reference_batch_key"),
            "celltype_key": row.cells.get("celltype_key"),
        }

    def _share_reference_keys(self, samples: list[dict]) -> None:
        """A reference is read once for all samples, so its batch and cell type columns must be the same for all."""
        for column, key in (("reference_batch_key", "batch_key"), ("celltype_key", "celltype_key")):
            chosen: dict[str, tuple[str, Row]] = {}
            pairs = zip(self.rows, samples, strict=True)
            entries = [(row, entry) for row, sample in pairs for entry in sample["reference"] + sample["alternatives"]]
            for row, entry in entries:
                value = entry[key]
                if value is None:
                    continue
                first, first_row = chosen.setdefault(entry["id"], (value, row))
                if first != value:
                    self._problem(
                        row,
                        column,
                        value,
                        f"but row {first_row.line} has {first!r} for the same reference, which is read once; "
                        "use one column for both",
                    )
            for _, entry in entries:
                entry[key] = chosen.get(entry["id"], (None,))[0]


def _part(name: str) -> str | None:
    """The end of a path that lies within a file or store: its table, modality or genome; None where none is named."""
    return (split_address(name) if "://" in name else split_part(name))[1] or None


def _header(path: Path) -> tuple[Header, list[str], int]:
    """What a path promises, files beside it that a step needs as well, and the bytes of all that is read of it."""
    source = open_source(path)
    header = source.header()
    files = source.files()
    alone = source.path if source.path.is_file() else None
    beside = [str(file) for file in files if file != alone] if alone else []
    return header, beside, sum(file.stat().st_size for file in files if file.is_file())
