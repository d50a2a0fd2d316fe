include { deviceFlag ; flags ; memoryFor } from '../../functions.nf'

// Models of one panel and its references, whichever samples there are of it. Files are told apart by what is in them
// (cache 'deep'), since any sample of the panel may bring them.
process PRETRAIN {
    tag "${key.replace('sha256:', '').take(12)}"
    label 'process_gpu'
    cache 'deep'
    cpus { method.cpus }
    memory { memoryFor(method.memory, [n_spatial: 0, n_reference: n_reference]) * task.attempt }
    time { nextflow.util.Duration.of(method.time) * task.attempt }
    ext gpu: { method.gpu }
    conda "${moduleDir}/../../../containers/envs/${task.accelerator ? 'gpu' : 'core'}/conda.yml"
    container "${params.container_registry}spatialimpute-${task.accelerator ? 'gpu' : 'core'}:${workflow.manifest.version}"

    input:
    tuple val(key), val(n_reference), path(training, stageAs: 'training/*')
    val method
    val options
    val package_digest

    output:
    tuple val(key), path('models'), emit: models
    tuple val(task.process), val('torch'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" torch'), topic: versions

    script:
    """
    pretrain.py ${flags([inputs: 'training', threads: task.cpus])} ${options} ${deviceFlag(task.accelerator)}
    """

    stub:
    """
    mkdir models
    touch models/weights.safetensors models/models.json models/history.tsv
    """
}
