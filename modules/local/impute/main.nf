include { flags } from '../../functions.nf'

process IMPUTE {
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
        path(models),
        path(evaluation, arity: '0..*'),
        path(genes, stageAs: 'judged/*', arity: '0..*')
    val options
    val package_digest

    output:
    tuple val(sample), path("${sample}/imputed.h5ad"), path("${sample}/models/latent.h5ad"), emit: imputed
    tuple val(sample), path("${sample}/genes.tsv"), emit: genes, optional: true
    tuple val(task.process), val('torch'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" torch'), topic: versions

    script:
    def inputs = flags([
        sample: sample,
        spatial: spatial,
        reference: references,
        gene_sets: gene_sets,
        models: models,
        evaluation: evaluation,
        genes: genes,
    ])
    """
    impute.py ${inputs} ${options} --threads ${task.cpus}
    mkdir -p ${sample}/models
    mv imputed.h5ad ${sample}
    [ ! -e genes.tsv ] || mv genes.tsv ${sample}
    mv latent.h5ad ${sample}/models
    """

    stub:
    """
    mkdir -p ${sample}/models
    ${genes ? '' : "touch ${sample}/genes.tsv"}
    touch ${sample}/imputed.h5ad ${sample}/models/latent.h5ad
    """
}
