include { TRAIN  } from '../local/train/main.nf'
include { IMPUTE } from '../local/impute/main.nf'
include { GATHER } from '../local/gather/main.nf'

// The final models, trained on all shared genes, and what they say of every target in every spatial cell.
workflow IMPUTE_GENES {
    take:
    inputs         // [meta, folder]
    pretrained     // [meta, models, or an empty list where they are to be trained]
    judged         // [meta, [evaluation.json, genes.tsv, prediction of held-out genes]]; empty lists without them
    method         // gimVI's map of assets/methods.json
    cells_per_task
    options        // step -> its options
    package_digest

    main:
    TRAIN(inputs.join(pretrained).join(judged), method, options.train, package_digest)
    ranges = inputs
        .join(TRAIN.out.models)
        .join(judged)
        .flatMap { meta, folder, models, files ->
            rowRanges(meta.n_spatial, cells_per_task as long).collect { rows -> [meta, folder, models, files, rows] }
        }
    IMPUTE(ranges, method, options.impute, package_digest)

    // A task leaves the whole or a part, which comes with the gene table that it made, if there was none.
    whole = IMPUTE.out.imputed.filter { _meta, imputed, _latent, _genes -> imputed }
    parts = IMPUTE.out.part
        .filter { _meta, part, _genes -> part }
        .map { meta, part, genes ->
            [groupKey(meta, rowRanges(meta.n_spatial, cells_per_task as long).size()), [part, genes]]
        }
        .groupTuple()
        .map { key, found ->
            def ordered = found.sort { entry -> entry[0][0].name }
            [key.groupTarget, ordered.collect { entry -> entry[0][0] }, ordered[0][1]]
        }
    GATHER(inputs.join(parts), options.gather, package_digest)

    results = TRAIN.out.models
        .join(whole.mix(GATHER.out.imputed))
        .map { group -> [group[0], group[1..-1].flatten()] }

    imputed = whole.mix(GATHER.out.imputed).map { meta, files, _latent, _genes -> [meta, [files].flatten()[0]] }

    emit:
    results // [meta, files for the report]
    imputed // [meta, file or zarr folder]
}

// Ranges of a sample's rows, each a task's; null for a task that takes them all. They begin where a block of random
// numbers begins.
def rowRanges(n_cells, cells_per_task) {
    def block = 1024
    def step = Math.max(1L, cells_per_task.intdiv(block)) * block
    if (n_cells <= step) {
        return [null]
    }
    return (0..<n_cells).step(step as int).collect { start -> "${start}:${Math.min(start + step, n_cells)}".toString() }
}
