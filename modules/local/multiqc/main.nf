include { quote } from '../../functions.nf'

// Its own version does not go to the topic that it reads (the run would never end): MultiQC prints it by itself.
process MULTIQC {
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    path sections, stageAs: 'sections/*'
    path config, stageAs: 'assets/*'
    path content, stageAs: 'assets/multiqc'
    val run_json
    val package_digest

    output:
    path 'multiqc/multiqc_report.html', emit: report
    path 'multiqc/multiqc_report_data', emit: data

    script:
    """
    printf '%s' ${quote(run_json)} > run.json
    run_tables.py --run run.json
    multiqc --strict --config ${config} --outdir multiqc --filename multiqc_report.html .
    """

    stub:
    """
    mkdir -p multiqc/multiqc_report_data
    touch multiqc/multiqc_report.html
    """
}
