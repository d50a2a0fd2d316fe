include { QC                                       } from '../local/qc/main.nf'
include { SELECT_GENES                             } from '../local/select_genes/main.nf'
include { bytesOf ; existingFiles ; folderContents } from '../functions.nf'

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
        def meta = [id: row.sample, role: 'spatial', technology: row.technology,
            batch_key: row.spatial_batch_key, celltype_key: row.celltype_key,
            source: withoutPart(row.spatial[0], row.spatial_part), part: row.spatial_part,
            coords: row.spatial[1] ? "raw/${file(row.spatial[1], glob: false).name}".toString() : null,
            others: row.others == null ? null : groovy.json.JsonOutput.toJson(row.others),
            gene_column: row.spatial_gene_column]
        [meta, row.spatial + (row.spatial_beside ?: []), row.spatial_bytes]
    }
    // One element per sample and reference, the alternatives last; the place keeps the sheet's order of references.
    references = rows.flatMap { row ->
        def all = row.reference + (row.alternatives ?: [])
        all.withIndex().collect { reference, place ->
            def meta = [id: reference.id, role: 'reference', batch_key: reference.batch_key,
                celltype_key: reference.celltype_key, source: withoutPart(reference.files[0], reference.part),
                part: reference.part, gene_column: reference.gene_column]
            [[meta, reference.files + (reference.beside ?: []), reference.bytes], groupKey(row.sample, all.size()), [place, row.reference.size()]]
        }
    }
    raw = spatial
        .mix(references.map { dataset, _sample, _place -> dataset })
        .unique()
        .map { meta, names, bytes_read -> // of a folder, the files that are read: not its images
            def paths = names.collect { name -> file(withoutPart(name, meta.part), glob: false) }
            def contents = folderContents(paths[0])
            [meta, paths, contents, bytes_read ?: bytesOf(paths, contents)]
        }
    QC(raw, shared_files.gene_aliases, options.qc, package_digest)

    clean = QC.out.counts.branch { meta, _counts, _qc ->
        spatial: meta.role == 'spatial'
        reference: true
    }
    clean_references = references
        .map { dataset, sample, place -> [dataset[0], sample, place] }
        .combine(clean.reference, by: 0)
        .map { _meta, sample, place, counts, qc -> [sample, place + [counts, qc]] }
        .groupTuple(remainder: true) // an alternative whose QC failed is left out
        .map { sample, found ->
            def (used, alternatives) = found.sort { entry -> entry[0] }.split { place, n_used, _counts, _qc -> place < n_used }
            [sample.toString(), found[0][1], used, alternatives]
        }
        .filter { _sample, n_used, used, _alternatives -> used.size() == n_used }
    datasets = clean.spatial
        .map { meta, counts, qc -> [meta.id, counts, qc] }
        .join(clean_references)
        .map { sample, counts, qc, _n_used, used, alternatives ->
            def meta = [id: sample, n_spatial: cellsIn([qc]), n_reference: cellsIn(used*.getAt(3))]
            [sample, meta, counts, used*.getAt(2), alternatives*.getAt(2), [qc] + (used + alternatives)*.getAt(3)]
        }
    qc = datasets.map { _sample, meta, _counts, _references, _alternatives, qc -> [meta, qc] }

    requested = rows.map { row ->
        def (named, listed) = [shared_files.genes, row.genes].findAll().split { text -> existingFiles(text, workflow.launchDir) }
        [row.sample, listed, named.collect { text -> file(text, glob: false) }, foldsOf(row.sample, shared_files.gene_folds)]
    }
    SELECT_GENES(
        datasets
            .map { sample, meta, counts, used, alternatives, _qc -> [sample, meta, counts, used, alternatives] }
            .join(requested)
            .map { group -> group[1..-1] },
        options.select_genes,
        package_digest,
    )
    inputs = SELECT_GENES.out.inputs
    training = SELECT_GENES.out.training.map { meta, key, files -> [key.text.trim(), meta, files] }
    xenium_folders = raw
        .filter { meta, _paths, _contents, _bytes -> meta.role == 'spatial' }
        .map { meta, paths, contents, _bytes -> [meta.id, paths[0], contents] }
        .join(rows.filter { row -> row.explorer != false }.map { row -> [row.sample] })

    emit:
    samples        // names
    inputs         // [meta, folder]
    training       // [key, meta, files], what models of the references alone are made of; the same key, the same files
    qc             // [meta, [qc.json of each dataset]]
    xenium_folders // [sample, folder, its contents], of samples that Xenium Explorer may show
}

// The file or store of a path that names a table, modality or genome within it.
def withoutPart(path, part) {
    return part && path.endsWith("/${part}") ? path[0..<(path.size() - part.size() - 1)] : path
}

// Cells that QC left, summed over datasets.
def cellsIn(summaries) {
    return summaries.collect { path -> new groovy.json.JsonSlurper().parseText(path.text).n_cells }.sum()
}

// A sample's own folds as JSON, so that an edit of another sample's is none of its own; null where it has none.
def foldsOf(sample, gene_folds) {
    def folds = gene_folds ? new groovy.json.JsonSlurper().parseText(gene_folds[0].text)[sample] : null
    return folds ? groovy.json.JsonOutput.toJson([(sample): folds]) : null
}
