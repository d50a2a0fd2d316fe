"""A made-up tissue as the files of a sample, and the methods to try on it."""

import pkgutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from spatialimpute import methods
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.inputs import DEPTH, SampleInputs, write_inputs
from spatialimpute.gene_facts import gene_facts
from spatialimpute.methods.base import MethodByFold
from spatialimpute.methods.registry import find_method


def write_sample(folder: Path, references: list[Counts], spatial: Counts, gene_sets: GeneSets) -> SampleInputs:
    """The sample's inputs, as SELECT_GENES leaves them."""
    write_inputs(folder, spatial, references, gene_sets, gene_facts(spatial, references, gene_sets))
    return SampleInputs(folder)


def with_depth(references: list[Counts]) -> list[Counts]:
    """The references with `obs['depth']`, the counts over the genes that all of them have, as a sample's inputs do."""
    common = set(references[0].genes).intersection(*(reference.genes for reference in references))
    genes = [gene for gene in references[0].genes if gene in common]
    depths = [np.asarray(reference.select(genes).sum(axis=1)).ravel() for reference in references]
    return [
        replace(reference, obs=reference.obs.assign(**{DEPTH: depth}))
        for reference, depth in zip(references, depths, strict=True)
    ]


def package_methods() -> dict[str, type[MethodByFold]]:
    """Every method of the package but gimVI, by name."""
    found = {}
    for module in pkgutil.iter_modules(methods.__path__):
        try:
            found[module.name] = find_method(module.name)
        except KeyError:
            continue  # what methods share
    return found
