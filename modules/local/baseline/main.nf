include { flags } from '../../functions.nf'

process BASELINE {
    tag "${sample} ${method}"
    label 'process_low'
    conda "${moduleDir}/../../../containers/conda/cpu.yml"
    container "${params.container_registry}spatialimpute-cpu:${workflow.manifest.version}"

    input:
    tuple val(sample),
        path(spatial, stageAs: 'spatial.h5ad'),
        path(references, stageAs: 'reference?.h5ad', arity: '1..*'),
        path(gene_sets),
        val(method)
    val package_digest

    output:
    tuple val(sample), path("${method}.h5ad"), emit: predictions
    tuple val(task.process), val('scikit-learn'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" scikit-learn'), topic: versions

    script:
    def inputs = flags([sample: sample, spatial: spatial, reference: references, gene_sets: gene_sets, method: method])
    """
    baseline.py ${inputs} --threads ${task.cpus}
    mv predictions/${method}.h5ad .
    """

    stub:
    """
    touch ${method}.h5ad
    """
}
