include { TRAIN as TRAIN_CROSSVALIDATE } from '../local/train/main.nf'
include { BASELINE                     } from '../local/baseline/main.nf'
include { EVALUATE                     } from '../local/evaluate/main.nf'

// Every shared gene predicted by models and baselines that never saw its spatial counts, and the scores.
workflow CROSSVALIDATE {
    take:
    counts         // [sample, spatial, [references], gene_sets]
    baselines      // names of methods
    options        // step -> its options
    package_digest

    main:
    TRAIN_CROSSVALIDATE(
        counts.map { sample -> sample + [[]] },
        'crossvalidate',
        options.crossvalidate,
        package_digest,
    )
    BASELINE(counts.combine(channel.fromList(baselines)), package_digest)

    predictions = TRAIN_CROSSVALIDATE.out.predictions
        .mix(BASELINE.out.predictions)
        .map { sample, files -> [groupKey(sample, baselines.size() + 1), files] }
        .groupTuple()
        .map { sample, files -> [sample.toString(), files.flatten().sort { path -> path.name }] }
    EVALUATE(counts.join(predictions), options.evaluate, package_digest)
    evaluation = EVALUATE.out.evaluation
    scores = EVALUATE.out.scores
    models = TRAIN_CROSSVALIDATE.out.models

    emit:
    evaluation // [sample, evaluation.json, genes.tsv]
    scores     // [sample, scores.tsv, chosen prediction]
    models     // [sample, folder]
}
