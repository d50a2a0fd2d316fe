include { deviceFlag ; flags } from '../../functions.nf'

// All of a sample's rows, or a range of them, START:STOP, as a part.
process IMPUTE {
    tag "${meta.id}${rows ? " ${rows}" : ''}"
    label 'process_gpu'
    cpus 8
    memory { (6.GB + 2.KB * meta.n_spatial + 30.KB * meta.n_reference) * task.attempt }
    time { 16.h * task.attempt }
    ext gpu: { method.gpu }
    conda "${moduleDir}/../../../containers/envs/${task.accelerator ? 'gpu' : 'core'}/conda.yml"
    container "${params.container_registry}spatialimpute-${task.accelerator ? 'gpu' : 'core'}:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(models), path(judged, stageAs: 'judged/*', arity: '0..*'), val(rows)
    val method
    val options
    val package_digest

    output:
    tuple val(meta),
        path("${meta.id}/imputed.*", arity: '0..*'),
        path("${meta.id}/models/latent.h5ad", arity: '0..*'),
        path("${meta.id}/genes.tsv", arity: '0..*'), emit: imputed
    tuple val(meta), path('part.*.h5ad', arity: '0..*'), path('genes.tsv', arity: '0..*'), emit: part
    tuple val(task.process), val('torch'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" torch'), topic: versions

    script:
    def evaluation = judged.find { path -> "${path}".endsWith('/evaluation.json') }
    def genes = judged.find { path -> "${path}".endsWith('/genes.tsv') }
    def heldout = judged.find { path -> "${path}".endsWith('.h5ad') }
    def given = [
        sample: meta.id,
        inputs: inputs,
        models: models,
        evaluation: evaluation,
        genes: genes,
        heldout: heldout,
        rows: rows,
    ]
    def place = """
    mkdir -p ${meta.id}/models
    mv imputed.* ${meta.id}
    mv latent.h5ad ${meta.id}/models
    [ ! -e genes.tsv ] || mv genes.tsv ${meta.id}
    """
    """
    impute.py ${flags(given + [threads: task.cpus])} ${options} ${deviceFlag(task.accelerator)}
    ${rows ? '' : place}
    """

    stub:
    """
    ${rows ? "touch part.${rows.tokenize(':')[0]}.h5ad ${judged ? '' : 'genes.tsv'}" : ''}
    ${rows ? '' : "mkdir -p ${meta.id}/models; touch ${meta.id}/imputed.h5ad ${meta.id}/models/latent.h5ad"}
    ${rows || judged ? '' : "touch ${meta.id}/genes.tsv"}
    """
}
