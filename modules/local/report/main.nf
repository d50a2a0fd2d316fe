include { flags } from '../../functions.nf'

process REPORT {
    tag "${sample}"
    label 'process_single'
    conda "${moduleDir}/../../../containers/conda/cpu.yml"
    container "${params.container_registry}spatialimpute-cpu:${workflow.manifest.version}"

    input:
    tuple val(sample),
        path(spatial, stageAs: 'spatial.h5ad'),
        path(references, stageAs: 'reference?.h5ad', arity: '1..*'),
        path(gene_sets),
        path(qc, stageAs: 'qc?.json', arity: '1..*'),
        path(models, stageAs: 'models?', arity: '1..*'),
        path(imputed),
        path(latent),
        path(genes),
        path(evaluation, arity: '0..*'),
        path(scores, arity: '0..*'),
        path(predictions, arity: '0..*')
    val package_digest

    output:
    tuple val(sample), path("${sample}/figures/*.png"), emit: figures
    path "${sample}.*_mqc.*", emit: sections
    tuple val(task.process), val('matplotlib'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" matplotlib'), topic: versions

    script:
    def inputs = flags([
        sample: sample,
        spatial: spatial,
        reference: references,
        gene_sets: gene_sets,
        qc: qc,
        models: models,
        scores: scores,
        evaluation: evaluation,
        genes_table: genes,
        predictions: predictions,
        imputed: imputed,
        latent: latent,
    ])
    """
    report.py ${inputs} --threads ${task.cpus}
    mkdir -p ${sample}
    mv figures ${sample}
    """

    stub:
    """
    mkdir -p ${sample}/figures
    touch ${sample}/figures/maps.png
    touch ${sample}.headline_mqc.tsv
    """
}
