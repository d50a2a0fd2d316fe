process TRAIN {
    tag "${sample}"
    label 'process_high'
    label 'process_gpu'
    conda "${moduleDir}/../../../containers/conda/${params.accelerator == 'gpu' ? 'gpu' : 'cpu'}.yml"
    container "${params.container_registry}spatialimpute-${params.accelerator == 'gpu' ? 'gpu' : 'cpu'}:${workflow.manifest.version}"

    input:
    tuple val(sample),
        path(spatial, stageAs: 'spatial.h5ad'),
        path(references, stageAs: 'reference?.h5ad', arity: '1..*'),
        path(gene_sets),
        path(evaluation, arity: '0..*')
    val stage
    val options
    val package_digest

    output:
    tuple val(sample), path('models'), emit: models
    path "${folder}/models/*" // published file by file, since IMPUTE publishes into the same folder
    tuple val(sample), path('*.h5ad'), emit: predictions, optional: true
    tuple val(task.process), val('torch'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" torch'), topic: versions

    script:
    folder = stage == 'final' ? sample : "${sample}/evaluation"
    // Not by flags() of functions.nf: a module included twice cannot include a function.
    def given = references.collect { path -> "--reference ${path}" } + evaluation.collect { path -> "--evaluation ${path}" }
    """
    train.py --stage ${stage} --sample ${sample} --spatial ${spatial} --gene-sets ${gene_sets} ${given.join(' ')} \\
        ${options} --threads ${task.cpus}
    mkdir -p ${folder}
    mv models ${folder}
    ln -s ${folder}/models models
    ${stage == 'final' ? '' : 'mv predictions/*.h5ad .'}
    """

    stub:
    folder = stage == 'final' ? sample : "${sample}/evaluation"
    """
    mkdir -p ${folder}/models
    touch ${folder}/models/weights.safetensors ${folder}/models/models.json ${folder}/models/history.tsv
    ln -s ${folder}/models models
    ${stage == 'final' ? '' : 'touch gimvi.kappa0.place0.h5ad'}
    """
}
