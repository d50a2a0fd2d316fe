include { deviceFlag ; flags ; memoryFor } from '../../functions.nf'

process TRAIN {
    tag "${meta.id}"
    label 'process_gpu'
    cpus { method.cpus }
    memory { memoryFor(method.memory, meta) * task.attempt }
    time { nextflow.util.Duration.of(method.time) * task.attempt }
    ext gpu: { method.gpu }
    conda "${moduleDir}/../../../containers/envs/${task.accelerator ? 'gpu' : 'core'}/conda.yml"
    container "${params.container_registry}spatialimpute-${task.accelerator ? 'gpu' : 'core'}:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(pretrained, stageAs: 'pretrained'), path(judged, stageAs: 'judged/*', arity: '0..*')
    val method
    val options
    val package_digest

    output:
    tuple val(meta), path('models'), emit: models
    path "${meta.id}/models/*" // published file by file, since IMPUTE publishes into the same folder
    tuple val(task.process), val('torch'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" torch'), topic: versions

    script:
    def evaluation = judged.find { path -> "${path}".endsWith('/evaluation.json') }
    def given = [sample: meta.id, inputs: inputs, pretrained: pretrained, evaluation: evaluation, threads: task.cpus]
    """
    train.py ${flags(given)} ${options} ${deviceFlag(task.accelerator)}
    mkdir -p ${meta.id}
    mv models ${meta.id}
    ln -s ${meta.id}/models models
    """

    stub:
    """
    mkdir -p ${meta.id}/models
    touch ${meta.id}/models/weights.safetensors ${meta.id}/models/models.json ${meta.id}/models/history.tsv
    ln -s ${meta.id}/models models
    """
}
