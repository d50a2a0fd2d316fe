include { flags } from '../../functions.nf'

process EVALUATE {
    tag "${sample}"
    label 'process_single'
    conda "${moduleDir}/../../../containers/conda/cpu.yml"
    container "${params.container_registry}spatialimpute-cpu:${workflow.manifest.version}"

    input:
    tuple val(sample),
        path(spatial, stageAs: 'spatial.h5ad'),
        path(references, stageAs: 'reference?.h5ad', arity: '1..*'),
        path(gene_sets),
        path(heldout, stageAs: 'heldout/*', arity: '1..*')
    val options
    val package_digest

    output:
    tuple val(sample), path("${sample}/evaluation/evaluation.json"), path("${sample}/genes.tsv"), emit: evaluation
    tuple val(sample),
        path("${sample}/evaluation/scores.tsv"),
        path("${sample}/evaluation/predictions/spatialimpute.h5ad"), emit: scores
    tuple val(task.process), val('scipy'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" scipy'), topic: versions

    script:
    def inputs = flags([
        sample: sample,
        spatial: spatial,
        reference: references,
        gene_sets: gene_sets,
        predictions: 'heldout',
    ])
    """
    evaluate.py ${inputs} ${options}
    mkdir -p ${sample}/evaluation
    mv genes.tsv ${sample}
    mv evaluation.json scores.tsv predictions ${sample}/evaluation
    """

    stub:
    """
    mkdir -p ${sample}/evaluation/predictions
    touch ${sample}/genes.tsv ${sample}/evaluation/evaluation.json ${sample}/evaluation/scores.tsv
    touch ${sample}/evaluation/predictions/spatialimpute.h5ad
    """
}
