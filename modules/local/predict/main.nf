include { deviceFlag ; flags ; memoryFor } from '../../functions.nf'

process PREDICT {
    tag "${meta.id} ${method.name}"
    label 'process_gpu'
    cpus { method.cpus }
    memory { memoryFor(method.memory, meta) * task.attempt }
    time { nextflow.util.Duration.of(method.time) * task.attempt }
    ext gpu: { method.gpu }, environment: { method.environment }
    conda "${moduleDir}/../../../containers/envs/${task.accelerator && method.environment == 'core' ? 'gpu' : method.environment}/conda.yml"
    container "${params.container_registry}spatialimpute-${task.accelerator && method.environment == 'core' ? 'gpu' : method.environment}:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(pretrained, stageAs: 'pretrained'), val(method), val(options)
    val package_digest

    output:
    tuple val(meta), val(method.name), path('*.{h5ad,json}'), emit: predictions
    tuple val(meta), path('models'), emit: models, optional: true
    path "${meta.id}/evaluation/models/*", optional: true // published file by file, since EVALUATE's lie beside it
    tuple val(task.process), val('scikit-learn'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" scikit-learn'), topic: versions

    script:
    def given = flags([
        method: method.name,
        command: method.command,
        sample: meta.id,
        inputs: inputs,
        pretrained: pretrained,
        threads: task.cpus,
    ])
    """
    predict.py ${given} ${options} ${method.gpu ? deviceFlag(task.accelerator) : ''}
    mv predictions/* .
    ${method.name == 'gimvi' ? "mkdir -p ${meta.id}/evaluation && mv models ${meta.id}/evaluation && ln -s ${meta.id}/evaluation/models models" : ''}
    """

    stub:
    """
    touch ${method.name}.h5ad
    ${method.name == 'gimvi' ? "mkdir -p ${meta.id}/evaluation/models && ln -s ${meta.id}/evaluation/models models && touch kappa.json models/weights.safetensors models/models.json models/history.tsv" : ''}
    """
}
