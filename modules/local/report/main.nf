include { flags } from '../../functions.nf'

process REPORT {
    tag "${meta.id}"
    memory { (3.GB + 2.KB * meta.n_spatial) * task.attempt }
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(results, stageAs: 'results/?/*', arity: '1..*')
    path methods, stageAs: 'methods.json'
    val package_digest

    output:
    tuple val(meta), path("${meta.id}/figures/*.png"), emit: figures
    path "${meta.id}.*_mqc.*", emit: sections
    tuple val(task.process), val('matplotlib'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" matplotlib'), topic: versions

    script:
    """
    report.py ${flags([sample: meta.id, inputs: inputs, results: 'results', methods: 'methods.json', threads: task.cpus])}
    mkdir -p ${meta.id}
    mv figures ${meta.id}
    """

    stub:
    """
    mkdir -p ${meta.id}/figures
    touch ${meta.id}/figures/maps.png
    touch ${meta.id}.headline_mqc.tsv
    """
}
