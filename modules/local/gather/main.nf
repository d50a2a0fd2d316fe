include { flags } from '../../functions.nf'

// The parts of a sample that was imputed by several tasks, one behind the other.
process GATHER {
    tag "${meta.id}"
    cpus 2
    memory { (4.GB + 1.KB * meta.n_spatial) * task.attempt }
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(parts, stageAs: 'parts/*', arity: '2..*'), path(genes, stageAs: 'judged/*', arity: '0..*')
    val options
    val package_digest

    output:
    tuple val(meta),
        path("${meta.id}/imputed.*"),
        path("${meta.id}/models/latent.h5ad"),
        path("${meta.id}/genes.tsv", arity: '0..*'), emit: imputed
    tuple val(task.process), val('anndata'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" anndata'), topic: versions

    script:
    """
    gather.py ${flags([sample: meta.id, inputs: inputs, parts: 'parts', threads: task.cpus])} ${options}
    mkdir -p ${meta.id}/models
    mv imputed.* ${meta.id}
    mv latent.h5ad ${meta.id}/models
    ${genes ? "cp ${genes[0]} ${meta.id}" : ''}
    """

    stub:
    """
    mkdir -p ${meta.id}/models
    touch ${meta.id}/imputed.h5ad ${meta.id}/models/latent.h5ad
    ${genes ? "cp ${genes[0]} ${meta.id}" : ''}
    """
}
