include { REPORT   } from '../local/report/main.nf'
include { MULTIQC  } from '../local/multiqc/main.nf'
include { failures } from '../run.nf'

// Figures per sample, and one report over all samples.
workflow REPORT_RESULTS {
    take:
    samples        // every sample's name
    inputs         // [meta, folder]
    results        // [meta, files]; of a sample that failed, not all of them
    n_results      // elements that a sample has in results if all went well
    parameters     // name -> value
    package_digest

    main:
    complete = results
        .groupTuple(size: n_results)
        .map { meta, files -> [meta, files.flatten().sort { path -> path.toUriString() }] }
    REPORT(inputs.join(complete), file("${projectDir}/assets/methods.json"), package_digest)

    versions = channel.topic('versions')
        .unique()
        .toSortedList { one, other -> one.toString() <=> other.toString() }
    // Once no more versions can come, all other tasks have ended, and the trace tells why what failed did.
    run = samples
        .toSortedList()
        .map { names -> [names] }
        .combine(REPORT.out.figures.map { meta, _figures -> meta.id }.toSortedList().map { names -> [names] })
        .combine(versions.map { rows -> [rows] })
        .map { names, reported, rows ->
            [
                parameters: parameters,
                samples: reported,
                failed: names - reported,
                failures: failures(parameters.outdir),
                versions: rows + [
                    ['Workflow', 'spatialimpute', workflow.manifest.version],
                    ['Workflow', 'Nextflow', workflow.nextflow.version.toString()],
                ],
            ]
        }
    MULTIQC(
        REPORT.out.sections.flatten().toSortedList { one, other -> one.name <=> other.name }.filter { files -> files },
        file("${projectDir}/assets/multiqc_config.yml"),
        file("${projectDir}/assets/multiqc"),
        run.map { facts -> groovy.json.JsonOutput.toJson(facts) }.first(),
        package_digest,
    )
    report = MULTIQC.out.report

    emit:
    report
}
