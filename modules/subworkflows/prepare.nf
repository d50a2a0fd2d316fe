include { QC                         } from '../local/qc/main.nf'
include { SELECT_GENES               } from '../local/select_genes/main.nf'
include { existingFiles ; folderContents } from '../functions.nf'

// Clean counts of each dataset, each file read once, and the genes of each sample.
workflow PREPARE {
    take:
    rows           // map per row of the sheet, as CHECK_INPUTS wrote it
    shared_files   // [gene_aliases: path or [], gene_folds: path or [], genes: the parameter]
    options        // step -> its options
    package_digest

    main:
    samples = rows.map { row -> row.sample }
    spatial = rows.map { row ->
        [[id: row.sample, role: 'spatial', technology: row.technology,
            batch_key: row.spatial_batch_key, celltype_key: row.celltype_key, source: row.spatial[0]], row.spatial]
    }
    // One element per sample and reference; the place keeps the sheet's order of references.
    references = rows.flatMap { row ->
        row.reference.withIndex().collect { reference, place ->
            def meta = [id: reference.id, role: 'reference', batch_key: reference.batch_key,
                celltype_key: reference.celltype_key, source: reference.files[0]]
            [[meta, reference.files], groupKey(row.sample, row.reference.size()), place]
        }
    }
    raw = spatial
        .mix(references.map { dataset, _sample, _place -> dataset })
        .unique()
        .map { meta, names ->
            def paths = names.collect { name -> file(name, glob: false) }
            [meta, paths, folderContents(paths[0])]
        }
    QC(raw, shared_files.gene_aliases, options.qc, package_digest)

    clean = QC.out.counts.branch { meta, _counts, _qc ->
        spatial: meta.role == 'spatial'
        reference: true
    }
    clean_references = references
        .map { dataset, sample, place -> [dataset[0], sample, place] }
        .combine(clean.reference, by: 0)
        .map { _meta, sample, place, counts, qc -> [sample, [place, counts, qc]] }
        .groupTuple()
        .map { sample, found ->
            def ordered = found.sort { entry -> entry[0] }
            [sample.toString(), ordered.collect { entry -> entry[1] }, ordered.collect { entry -> entry[2] }]
        }
    datasets = clean.spatial
        .map { meta, counts, qc -> [meta.id, counts, qc] }
        .join(clean_references)

    requested = rows.map { row -> [row.sample, [shared_files.genes, row.genes].findAll { text -> text }] }
    selection = datasets
        .join(requested)
        .multiMap { sample, spatial_counts, _qc, reference_counts, _reference_qc, genes ->
            def (named, listed) = genes.split { text -> existingFiles(text, workflow.launchDir) }
            counts: [sample, spatial_counts, reference_counts]
            genes: [listed, named.collect { text -> file(text, glob: false) }]
        }
    SELECT_GENES(selection.counts, selection.genes, shared_files.gene_folds, options.select_genes, package_digest)

    results = datasets
        .join(SELECT_GENES.out.gene_sets)
        .multiMap { sample, spatial_counts, spatial_qc, reference_counts, reference_qc, gene_sets, renamed ->
            counts: [sample, renamed ? renamed[0] : spatial_counts, reference_counts, gene_sets]
            qc: [sample, [spatial_qc] + reference_qc]
        }
    counts = results.counts
    qc = results.qc

    emit:
    samples // names
    counts  // [sample, spatial, [references], gene_sets]
    qc      // [sample, [qc.json of each]]
}
