include { TRAIN as TRAIN_FINAL } from '../local/train/main.nf'
include { IMPUTE               } from '../local/impute/main.nf'

// The final models, trained on all shared genes, and what they say of every target in every spatial cell.
workflow IMPUTE_GENES {
    take:
    counts         // [sample, spatial, [references], gene_sets]
    evaluation     // [sample, evaluation.json, genes.tsv]; empty lists without cross-validation
    options        // step -> its options
    package_digest

    main:
    TRAIN_FINAL(
        counts.join(evaluation).map { sample -> sample[0..4] },
        'final',
        options.finish,
        package_digest,
    )
    IMPUTE(
        counts.join(TRAIN_FINAL.out.models).join(evaluation),
        options.impute,
        package_digest,
    )
    imputed = IMPUTE.out.imputed
    // The gene table: EVALUATE's, or without cross-validation IMPUTE's own.
    judged = evaluation.map { sample, _evaluation, genes -> [sample, genes] }.filter { _sample, genes -> genes }
    genes = judged.mix(IMPUTE.out.genes)
    models = TRAIN_FINAL.out.models

    emit:
    imputed // [sample, imputed.h5ad, latent.h5ad]
    genes   // [sample, genes.tsv]
    models  // [sample, folder]
}
