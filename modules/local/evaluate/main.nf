include { flags } from '../../functions.nf'

process EVALUATE {
    tag "${meta.id}"
    memory { (4.GB + 3.KB * meta.n_spatial) * task.attempt }
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(heldout, stageAs: 'heldout/*', arity: '1..*'), val(missing)
    val options
    val package_digest

    output:
    tuple val(meta),
        path("${meta.id}/evaluation/evaluation.json"),
        path("${meta.id}/genes.tsv"),
        path("${meta.id}/evaluation/predictions/spatialimpute.h5ad"), emit: judged
    tuple val(meta), path("${meta.id}/evaluation/scores.tsv"), emit: scores
    tuple val(task.process), val('scipy'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" scipy'), topic: versions

    script:
    """
    evaluate.py ${flags([sample: meta.id, inputs: inputs, predictions: 'heldout', missing: missing])} ${options}
    mkdir -p ${meta.id}/evaluation
    mv genes.tsv ${meta.id}
    mv evaluation.json scores.tsv predictions ${meta.id}/evaluation
    """

    stub:
    """
    mkdir -p ${meta.id}/evaluation/predictions
    touch ${meta.id}/genes.tsv ${meta.id}/evaluation/evaluation.json ${meta.id}/evaluation/scores.tsv
    touch ${meta.id}/evaluation/predictions/spatialimpute.h5ad
    """
}
