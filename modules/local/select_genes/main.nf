include { flags } from '../../functions.nf'

process SELECT_GENES {
    tag "${sample}"
    label 'process_single'
    conda "${moduleDir}/../../../containers/conda/cpu.yml"
    container "${params.container_registry}spatialimpute-cpu:${workflow.manifest.version}"

    input:
    tuple val(sample), path(spatial, stageAs: 'spatial/*'), path(references, stageAs: 'reference?.h5ad', arity: '1..*')
    tuple val(requested), path(requested_files, stageAs: 'requested/?/*', arity: '0..*')
    path gene_folds, stageAs: 'folds/*'
    val options
    val package_digest

    output:
    tuple val(sample), path("${sample}/counts/gene_sets.json"), path('spatial.h5ad', arity: '0..*'), emit: gene_sets
    tuple val(task.process), val('scanpy'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" scanpy'), topic: versions

    script:
    def inputs = flags([
        sample: sample,
        spatial: spatial,
        reference: references,
        genes: requested + requested_files,
        gene_folds: gene_folds,
    ])
    """
    select_genes.py ${inputs} ${options}
    mkdir -p ${sample}/counts
    mv gene_sets.json ${sample}/counts
    """

    stub:
    """
    mkdir -p ${sample}/counts
    touch ${sample}/counts/gene_sets.json
    """
}
