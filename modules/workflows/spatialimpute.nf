include { CHECK_INPUTS   } from '../local/check_inputs/main.nf'
include { PREPARE        } from '../subworkflows/prepare.nf'
include { CROSSVALIDATE  } from '../subworkflows/crossvalidate.nf'
include { IMPUTE_GENES   } from '../subworkflows/impute.nf'
include { REPORT_RESULTS } from '../subworkflows/report.nf'
include { commaList ; existingFiles ; packageDigest ; sheetFiles ; sheetRows } from '../functions.nf'

workflow SPATIALIMPUTE {
    take:
    parameters // all parameters, name -> value
    options    // step -> its options

    main:
    package_digest = packageDigest()
    sheet = file(parameters.input, glob: false)
    rows = sheetRows(sheet)
    named = ['genes', 'gene_folds', 'gene_aliases']
        .collectEntries { name -> [name, existingFiles(parameters[name], workflow.launchDir)] }

    CHECK_INPUTS(
        sheet,
        [sheet.parent.toString(), workflow.launchDir.toString()],
        groovy.json.JsonOutput.toJson(parameters),
        [file("${projectDir}/nextflow_schema.json"), file("${projectDir}/assets/schema_input.json")],
        (sheetFiles(rows, sheet.parent) + named.values().flatten()).unique(),
        rows,
        package_digest,
    )
    PREPARE(
        CHECK_INPUTS.out.samples.splitJson(),
        [gene_aliases: named.gene_aliases, gene_folds: named.gene_folds, genes: commaList(parameters.genes)],
        options,
        package_digest,
    )

    if ("${parameters.cv_folds}" == '0') {
        unscored = PREPARE.out.counts.map { sample -> [sample[0], [], []] }
        evaluation = unscored
        scores = unscored
        crossvalidated = channel.empty()
    }
    else {
        CROSSVALIDATE(PREPARE.out.counts, "${commaList(parameters.baselines)}".tokenize(', ').unique(), options, package_digest)
        evaluation = CROSSVALIDATE.out.evaluation
        scores = CROSSVALIDATE.out.scores
        crossvalidated = CROSSVALIDATE.out.models
    }
    IMPUTE_GENES(PREPARE.out.counts, evaluation, options, package_digest)

    models = IMPUTE_GENES.out.models
        .join(crossvalidated, remainder: true)
        .filter { _sample, final_models, _crossvalidated -> final_models }
        .map { sample, final_models, cv_models -> [sample, [cv_models, final_models].findAll()] }
    results = PREPARE.out.counts
        .join(PREPARE.out.qc)
        .join(models)
        .join(IMPUTE_GENES.out.imputed)
        .join(IMPUTE_GENES.out.genes)
        .join(evaluation.map { sample, scored, _genes -> [sample, scored] })
        .join(scores)
    REPORT_RESULTS(
        PREPARE.out.samples,
        results,
        parameters,
        package_digest,
    )
    report = REPORT_RESULTS.out.report

    emit:
    report
}
