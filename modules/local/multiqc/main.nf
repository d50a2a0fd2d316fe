include { quote } from '../../functions.nf'

// Its own version does not go to the topic that it reads (the run would never end): MultiQC prints it by itself.
process MULTIQC {
    label 'process_single'
    conda "${moduleDir}/../../../containers/conda/cpu.yml"
    container "${params.container_registry}spatialimpute-cpu:${workflow.manifest.version}"

    input:
    path sections, stageAs: 'sections/*'
    path config, stageAs: 'assets/*'
    path content, stageAs: 'assets/multiqc'
    val parameters
    val failed
    val versions
    val package_digest

    output:
    path 'multiqc/multiqc_report.html', emit: report
    path 'multiqc/multiqc_report_data', emit: data

    script:
    """
    printf '%s' ${quote(parameters)} > params_mqc.tsv
    ${failed ? "printf '%s' ${quote(failed)} > failed_mqc.json" : ''}
    printf '%s' ${quote(versions)} > software_mqc_versions.yml
    multiqc --strict --config ${config} --outdir multiqc --filename multiqc_report.html .
    """

    stub:
    """
    mkdir -p multiqc/multiqc_report_data
    touch multiqc/multiqc_report.html
    """
}
