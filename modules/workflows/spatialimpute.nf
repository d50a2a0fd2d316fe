include { CHECK_INPUTS   } from '../local/check_inputs/main.nf'
include { PREPARE        } from '../subworkflows/prepare.nf'
include { PRETRAIN       } from '../local/pretrain/main.nf'
include { CROSSVALIDATE  } from '../subworkflows/crossvalidate.nf'
include { IMPUTE_GENES   } from '../subworkflows/impute.nf'
include { EXPORT_IMPUTED } from '../subworkflows/export.nf'
include { REPORT_RESULTS } from '../subworkflows/report.nf'
include { commaList ; digest ; packageDigest ; parameterFile ; sheetFiles ; sheetRows } from '../functions.nf'
include { chosenMethods  } from '../methods.nf'

workflow SPATIALIMPUTE {
    take:
    parameters // all parameters, name -> value
    options    // step -> its options

    main:
    package_digest = packageDigest()
    methods = chosenMethods("${commaList(parameters.methods)}".tokenize(', '))
    sheet = file(parameters.input, glob: false)
    rows = sheetRows(sheet)
    named = ['genes', 'gene_folds', 'gene_aliases']
        .collectEntries { name -> [name, parameterFile(parameters[name], workflow.launchDir)] }

    CHECK_INPUTS(
        sheet,
        [sheet.parent.toString(), workflow.launchDir.toString()],
        groovy.json.JsonOutput.toJson(parameters),
        ['nextflow_schema.json', 'assets/schema_input.json', 'assets/methods.json'].collect { name -> file("${projectDir}/${name}") },
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
    inputs = PREPARE.out.inputs

    // Models that are trained on the references alone serve every sample of a panel.
    if (parameters.train_on == 'reference') {
        PRETRAIN(
            PREPARE.out.training.map { key, meta, files -> [key, meta.n_reference, files] }.unique { entry -> entry[0] },
            methods[0],
            options.pretrain,
            package_digest,
        )
        pretrained = PREPARE.out.training
            .map { key, meta, _files -> [key, meta] }
            .combine(PRETRAIN.out.models, by: 0)
            .map { _key, meta, models -> [meta, models] }
    }
    else {
        pretrained = inputs.map { meta, _folder -> [meta, []] }
    }

    crossvalidated = "${parameters.cv_folds}" != '0'
    if (crossvalidated) {
        CROSSVALIDATE(inputs, pretrained, methods, options, package_digest)
        judged = CROSSVALIDATE.out.judged
        scored = CROSSVALIDATE.out.results
    }
    else {
        judged = inputs.map { meta, _folder -> [meta, []] }
        scored = channel.empty()
    }
    IMPUTE_GENES(inputs, pretrained, judged, methods[0], parameters.cells_per_task, options, package_digest)

    formats = "${commaList(parameters.export) ?: ''}".tokenize(', ')
    if (formats) {
        lock = digest([file("${projectDir}/containers/envs/export/requirements.lock")])
        EXPORT_IMPUTED(inputs, IMPUTE_GENES.out.imputed, PREPARE.out.xenium_folders, formats, "${package_digest} ${lock}".toString())
    }

    REPORT_RESULTS(
        PREPARE.out.samples,
        inputs,
        PREPARE.out.qc.mix(scored, IMPUTE_GENES.out.results),
        crossvalidated ? 3 : 2,
        parameters,
        package_digest,
    )
    report = REPORT_RESULTS.out.report

    emit:
    report
}
