"""One sample's figures and MultiQC sections, from its results."""

import logging
from pathlib import Path

import anndata as ad

from spatialimpute.files.imputed import open_imputed
from spatialimpute.report import (
    accuracy_sections,
    cell_type_sections,
    gene_sections,
    qc_sections,
    reference_sections,
    training_sections,
)
from spatialimpute.report.content import SectionWriter, escape
from spatialimpute.report.inputs import Sample

log = logging.getLogger(__name__)

#: Genes with maps.
MAX_MAPS = 4


def write_report(sample: Sample, out_dir: str | Path) -> None:
    """Write `<out_dir>/<sample>.*_mqc.json` and `<out_dir>/figures/*.png`.

    What needs cross-validation, a latent space or a training history is left out where there is none.
    """
    writer = SectionWriter(sample.name, out_dir)
    figures = Path(out_dir) / "figures"
    figures.mkdir(parents=True, exist_ok=True)

    accuracy_sections.write_general_statistics(writer, sample, supported_share(sample))
    accuracy_sections.write_verdict(writer, sample)
    if sample.evaluation is not None and sample.scores is not None:
        accuracy_sections.write_accuracy(writer, sample)
    if sample.genes is not None:
        gene_sections.write_genes(writer, sample)
        gene_sections.write_suspects(writer, sample)
    if sample.predictions is not None:
        write_maps(writer, sample, figures)
    if sample.latent is not None:
        write_latent(writer, sample, figures)
    cell_type_sections.write_cell_types(writer, sample)
    qc_sections.write_qc(writer, sample)
    qc_sections.write_overlap(writer, sample)
    reference_sections.write_references(writer, sample)
    training_sections.write_training(writer, sample)


def supported_share(sample: Sample) -> float | None:
    """Share of the spatial cells that the reference supports; None where nothing was imputed.

    A cell without counts on the panel, of which nothing is known, counts as not supported.
    """
    if sample.imputed is None:
        return None
    with open_imputed(sample.imputed) as group:
        return float(ad.io.read_elem(group["obs/supported"]).mean())


def write_maps(writer: SectionWriter, sample: Sample, figures: Path) -> None:
    """Maps of the held-out genes with the highest partial score."""
    from spatialimpute.report.maps import draw_maps

    held_out = {gene for members in sample.gene_sets.folds.values() for gene in members}
    top = gene_sections.scored_genes(sample)
    top = top[top["gene"].isin(held_out)].head(MAX_MAPS)
    if top.empty:
        return
    labels = [
        f"partial {partial:.2f}, raw {raw:.2f}"
        for partial, raw in zip(top["spearman_partial"], top["spearman"], strict=True)
    ]
    path = figures / "maps.png"
    note = draw_maps(sample, list(top["gene"]), labels, path)
    writer.figure(
        "maps", path, parent="maps", name=sample.name,
        caption=f"The {len(top)} held-out genes with the highest partial score; the others look worse. {escape(note)}",
        alt=f"Maps of {', '.join(top['gene'])} in {sample.name}: measured, predicted, standard deviation",
    )  # fmt: skip
    log.info("maps of %d genes drawn", len(top))


def write_latent(writer: SectionWriter, sample: Sample, figures: Path) -> None:
    """UMAP of the latent space of both sides."""
    from spatialimpute.report.latent import draw_latent, latent_map

    latent = latent_map(sample.latent)
    path = figures / "latent_umap.png"
    draw_latent(latent, sample.name, path)
    writer.figure(
        "latent", path, parent="latent", name=sample.name,
        caption=f"{len(latent.xy):,} cells with counts on the panel, drawn evenly from the datasets.",
        alt=f"UMAP of the latent space of {sample.name} by dataset and by cell type",
    )  # fmt: skip
    log.info("latent space of %d cells drawn", len(latent.xy))
