include { PREDICT  } from '../local/predict/main.nf'
include { EVALUATE } from '../local/evaluate/main.nf'

// Every shared gene predicted by methods that never saw its spatial counts, and the scores.
workflow CROSSVALIDATE {
    take:
    inputs         // [meta, folder]
    pretrained     // [meta, gimVI's models, or an empty list where they are to be trained]
    methods        // maps of assets/methods.json, gimVI among them
    options        // step -> its options
    package_digest

    main:
    PREDICT(
        inputs
            .join(pretrained)
            .combine(channel.fromList(methods))
            .map { meta, folder, models, method ->
                def gimvi = method.name == 'gimvi'
                [meta, folder, gimvi ? models : [], method, gimvi ? options.crossvalidate : '']
            },
        package_digest,
    )
    // A method that failed leaves its sample's group incomplete, which then comes once no more predictions can. Without
    // gimVI's there is nothing to impute with.
    predictions = PREDICT.out.predictions
        .groupTuple(size: methods.size(), remainder: true)
        .filter { _meta, names, _files -> 'gimvi' in names }
        .map { meta, names, files -> [meta, files.flatten().sort { path -> path.name }, methods*.name - names] }
    EVALUATE(inputs.join(predictions), options.evaluate, package_digest)
    judged = EVALUATE.out.judged.map { group -> [group[0], group[1..-1]] }
    results = PREDICT.out.models.join(judged).join(EVALUATE.out.scores).map { group -> [group[0], group[1..-1].flatten()] }

    emit:
    judged  // [meta, [evaluation.json, genes.tsv, final prediction of held-out genes]]
    results // [meta, files for the report]
}
