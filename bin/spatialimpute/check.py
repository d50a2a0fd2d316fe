"""Files that parameters name, checked before anything heavy starts."""

import json
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.gene_aliases import read_aliases


def check_param_files(params: dict, launch_dir: Path | None, samples: list[str]) -> list[str]:
    """Problems of the files in `genes`, `gene_folds` and `gene_aliases`.

    Parameters
    ----------
    params : checked parameters; launch_dir : where relative paths start; None leaves relative ones unopened
    samples : names in the sheet
    """
    problems = []
    for name, check in (
        ("genes", _check_genes),
        ("gene_folds", _check_folds),
        ("gene_aliases", _check_aliases),
    ):
        value = params.get(name)
        if not value or "://" in value or (launch_dir is None and not value.startswith("/")):
            continue
        path = (launch_dir or Path("/")) / value
        try:
            check(value, path, samples)
        except InputError as error:
            problems.append(f"parameter '{name}': {error}")
    return problems


def _check_genes(value: str, path: Path, samples: list[str]) -> None:
    looks_like_file = "/" in value or path.suffix.lower() in (".txt", ".csv", ".tsv", ".json")
    if looks_like_file and not path.is_file():
        raise InputError(f"found '{value}', no such file; correct the path, or name genes separated by commas")
    if path.is_file():
        try:
            empty = not path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError:
            raise InputError(f"found '{value}', not a UTF-8 text file; write one gene per line") from None
        if empty:
            raise InputError(f"found '{value}', an empty file; write one gene per line")


def _check_folds(value: str, path: Path, samples: list[str]) -> None:
    expected = "expected {sample: [[gene, ...], ...]}"
    if not path.is_file():
        raise InputError(f"found '{value}', no such file; correct the path")
    try:
        folds = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"found '{value}', not JSON ({error}); {expected}") from None
    if not isinstance(folds, dict) or not folds:
        raise InputError(f"found '{value}', which holds no samples; {expected}")
    for sample, lists in folds.items():
        if not _is_list_of_gene_lists(lists):
            raise InputError(f"'{value}', sample '{sample}': {expected}, at least 2 folds of gene names")
        genes = [gene for fold in lists for gene in fold]
        repeated = next((gene for gene in genes if genes.count(gene) > 1), None)
        if repeated is not None:
            raise InputError(f"'{value}', sample '{sample}': gene '{repeated}' is in two folds; hold each out once")
    if not set(folds) & set(samples):
        raise InputError(
            f"'{value}' names the samples {', '.join(sorted(folds))}, none of which is in the sheet "
            f"({', '.join(sorted(samples))}); use the sheet's names"
        )


def _is_list_of_gene_lists(lists) -> bool:
    return (
        isinstance(lists, list)
        and len(lists) > 1
        and all(isinstance(fold, list) and fold and all(isinstance(gene, str) for gene in fold) for fold in lists)
    )


def _check_aliases(value: str, path: Path, samples: list[str]) -> None:
    if not path.is_file():
        raise InputError(f"found '{value}', no such file; correct the path")
    read_aliases(path)
