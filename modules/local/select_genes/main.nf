include { flags ; quote } from '../../functions.nf'

process SELECT_GENES {
    tag "${meta.id}"
    // Alternatives are read one at a time; compressed counts take up to so much more in memory.
    memory { (2.GB + 4.KB * meta.n_spatial + 100.KB * meta.n_reference + 20.B * largest(alternatives)) * task.attempt }
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    tuple val(meta),
        path(spatial, stageAs: 'spatial.h5ad'),
        path(references, stageAs: 'reference?.h5ad', arity: '1..*'),
        path(alternatives, stageAs: 'alternative?.h5ad', arity: '0..*'),
        val(requested),
        path(requested_files, stageAs: 'requested/?/*', arity: '0..*'),
        val(gene_folds)
    val options
    val package_digest

    output:
    tuple val(meta), path('inputs'), emit: inputs
    tuple val(meta), path('training.txt'), path('training/*'), emit: training, optional: true
    path "${meta.id}/counts/{gene_sets.json,references.tsv}"
    tuple val(task.process), val('scanpy'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" scanpy'), topic: versions

    script:
    def given = flags([
        sample: meta.id,
        spatial: spatial,
        reference: references,
        alternative: alternatives,
        genes: requested + requested_files,
        gene_folds: gene_folds ? 'gene_folds.json' : null,
    ])
    """
    ${gene_folds ? "printf '%s' ${quote(gene_folds)} > gene_folds.json" : ''}
    select_genes.py ${given} ${options}
    mkdir -p ${meta.id}/counts
    cp inputs/gene_sets.json inputs/references.tsv ${meta.id}/counts
    """

    stub:
    """
    mkdir -p inputs ${meta.id}/counts
    for reference in ${references}; do ln -s ../\$reference inputs; done
    touch inputs/spatial.h5ad inputs/gene_sets.json inputs/gene_facts.tsv
    touch inputs/references.tsv ${meta.id}/counts/gene_sets.json ${meta.id}/counts/references.tsv
    ${options.contains('--training') ? 'mkdir training; touch training/gene_sets.json; echo same > training.txt' : ''}
    """
}

def largest(files) {
    return files.collect { path -> path.size() }.max() ?: 0
}
