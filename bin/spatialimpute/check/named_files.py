"""Files and genes that parameters and the sheet name, checked before anything heavy starts."""

from pathlib import Path

from spatialimpute.check.both_sides import BothSides
from spatialimpute.check.gene_aliases import read_aliases
from spatialimpute.check.gene_lists import parse_gene_list, read_gene_folds
from spatialimpute.check.gene_spellings import GeneColumns
from spatialimpute.errors import InputError
from spatialimpute.nearest import nearest_listed

#: Unknown genes that a message names.
N_NAMED = 5
DEVICES = Path("/dev")
#: One of these is there on a machine with a GPU (NVIDIA, AMD, Windows' Linux).
GPU_DEVICES = ("nvidiactl", "nvidia0", "kfd", "dxg")


def check_param_files(
    params: dict, launch_dir: Path | None, samples: list[dict], read: GeneColumns | None = None
) -> list[str]:
    """Problems of the files in `genes`, `gene_folds` and `gene_aliases`, and of the genes that they name.

    Parameters
    ----------
    params : checked parameters; launch_dir : where relative paths start; None leaves relative ones unopened
    samples : as :attr:`spatialimpute.check.sheet.Sheet.samples`; where there is no problem each gets `others`, names
        of its spatial file that no reference has, and `warnings`
    read : takes what is read of the samples' files
    """
    problems, contents = [], {}
    for name in ("genes", "gene_folds", "gene_aliases"):
        value = params.get(name)
        if not value or "://" in value or (launch_dir is None and not value.startswith("/")):
            continue
        folder = launch_dir or Path("/")
        try:
            if name == "genes":
                contents[name] = parse_gene_list(value, folder)
            else:
                contents[name] = (read_gene_folds if name == "gene_folds" else read_aliases)(folder / value)
        except InputError as error:
            problems.append(f"parameter '{name}': {error}")
    if "gene_folds" in contents:
        problems += _check_folds(params["gene_folds"], contents["gene_folds"], [s["sample"] for s in samples])
    return problems or _check_genes(params, contents, samples, read)


def param_aliases(params: dict, launch_dir: Path | None) -> dict[str, str]:
    """The gene aliases that a checked parameter names; none where there are none, or they lie at an address."""
    value = params.get("gene_aliases")
    if not value or "://" in value or (launch_dir is None and not value.startswith("/")):
        return {}
    return read_aliases((launch_dir or Path("/")) / value)


def _check_folds(path: str, folds: dict[str, list[list[str]]], samples: list[str]) -> list[str]:
    problems = [
        f"parameter 'gene_folds': {path}: sample {sample!r} has one fold; expected at least 2 folds of genes"
        for sample, lists in folds.items()
        if len(lists) < 2
    ]
    names = [name for name in samples if name]
    if names and not set(folds) & set(names):
        problems.append(
            f"parameter 'gene_folds': {path} names the samples {', '.join(sorted(folds)) or 'none'}, none of which "
            f"is in the sheet ({', '.join(sorted(names))}); use the sheet's names"
        )
    return problems


def _check_genes(params: dict, contents: dict, samples: list[dict], read: GeneColumns | None) -> list[str]:
    """Genes that the files they are wanted from cannot have under any name; each sample gets `others` and `warnings`
    of :class:`BothSides`."""
    sides, problems = BothSides(contents.get("gene_aliases", {}), read), []
    for sample in samples:
        references = [reference["files"][0] for reference in sample["reference"]]
        own = sample["genes"]
        folds = contents.get("gene_folds", {}).get(sample["sample"], [])
        wanted = [
            (
                f"sample '{sample['sample']}', column 'genes'",
                parse_gene_list(own) if own and "://" not in own else [],
                references,
            ),
            (f"parameter 'genes' ({params.get('genes')})", contents.get("genes", []), references),
            (
                f"parameter 'gene_folds' ({params.get('gene_folds')}), sample '{sample['sample']}'",
                [gene for fold in folds for gene in fold],
                sample["spatial"][:1],
            ),
        ]
        for source, genes, paths in wanted:
            problems += _unknown_problems(sides, source, genes, paths)
        problems += sides.shared_problems(sample, params.get("min_shared_genes"))
        sample["others"] = sides.others(sample)
        sample["warnings"] = [*sample["warnings"], *sides.warnings(sample)]
        sample["notes"] = sides.notes(sample) if sample["spatial"] else []
    return list(dict.fromkeys(problems))


def _unknown_problems(sides: BothSides, source: str, genes: list[str], paths: list[str]) -> list[str]:
    """What to say where some genes are in none of the files; nothing where a file cannot be looked at."""
    known = [sides.spellings(path) for path in paths] if genes else []
    if not known or None in known:
        return []
    unknown = [gene for gene in genes if not any(gene.strip().casefold() in one for one in known)]
    if not unknown:
        return []
    spellings = [name for one in known for name in one.values()]
    shown = "; ".join(f"{gene[:100]!r}{nearest_listed(gene, spellings)}" for gene in unknown[:N_NAMED])
    files = " or ".join(Path(path).name for path in paths)
    return [
        f"{source}: {len(unknown)} of {len(genes)} genes are not in {files}: {shown}; correct their names or "
        "leave them out"
    ]


def check_accelerator(params: dict) -> list[str]:
    """A GPU asked for that this machine, which is to run every step itself, has not."""
    if params.get("accelerator") != "gpu" or params.get("gpu_cluster_options"):
        return []
    if any((DEVICES / name).exists() for name in GPU_DEVICES):
        return []
    return [
        "parameter 'accelerator': found 'gpu', but this machine has none that its system shows (/dev/nvidia*); "
        "use 'auto' or 'cpu', or an executor whose nodes have GPUs"
    ]
