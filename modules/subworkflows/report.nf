include { REPORT  } from '../local/report/main.nf'
include { MULTIQC } from '../local/multiqc/main.nf'

// Figures per sample, and one report over all samples.
workflow REPORT_RESULTS {
    take:
    samples        // every sample's name
    results        // [sample, spatial, [references], gene_sets, [qc], [models], imputed, latent, genes,
                   //  evaluation, scores, prediction]
    parameters     // name -> value
    package_digest

    main:
    REPORT(results, package_digest)
    without_results = samples
        .map { sample -> [sample, true] }
        .join(REPORT.out.figures.map { sample, _figures -> [sample, true] }, remainder: true)
        .filter { _sample, _wanted, reported -> !reported }
        .map { sample, _wanted, _reported -> sample }
        .toSortedList()
        .map { names -> failedHeadlines(names) }

    versions = channel.topic('versions')
        .unique()
        .toSortedList { one, other -> one.toString() <=> other.toString() }
        .map { rows -> versionsYaml(rows, workflow.manifest.version, workflow.nextflow.version) }
    MULTIQC(
        REPORT.out.sections.flatten().toSortedList { one, other -> one.name <=> other.name }.filter { files -> files },
        file("${projectDir}/assets/multiqc_config.yml"),
        file("${projectDir}/assets/multiqc"),
        parametersTable(parameters),
        without_results,
        versions,
        package_digest,
    )
    report = MULTIQC.out.report

    emit:
    report
}

// Versions by process, in the form that MultiQC reads.
def versionsYaml(rows, pipeline, nextflow) {
    def versions = [Workflow: [spatialimpute: pipeline, Nextflow: nextflow.toString()]]
    rows.each { process, tool, version ->
        def name = process.tokenize(':').last()
        versions[name] = (versions[name] ?: [:]) + [(tool): version]
    }
    // JSON is YAML too.
    return groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(versions)) + '\n'
}

// The parameters as a table, safe to show in HTML.
def parametersTable(parameters) {
    def rows = parameters.collect { name, value ->
        def text = "${value == null ? 'not set' : value}"
            .replaceAll(/\s/, ' ')
            .replace('&', '&amp;')
            .replace('<', '&lt;')
            .replace('>', '&gt;')
        "${name}\t${text}"
    }
    return (["# id: params", "Parameter\tValue"] + rows).join('\n') + '\n'
}

// Rows of the report's first table for samples without results; MultiQC adds them to those that REPORT wrote.
def failedHeadlines(names) {
    def reason = 'A step failed; its message ends the log of the run.'
    def rows = names.collectEntries { name -> [name, [headline: 'failed', reason: reason]] }
    return rows ? groovy.json.JsonOutput.toJson([id: 'headline', plot_type: 'table', data: rows]) : ''
}
