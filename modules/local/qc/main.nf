include { flags } from '../../functions.nf'

process QC {
    tag "${meta.id}"
    memory { (2.GB + 20.B * bytes) * task.attempt } // compressed counts take up to so much more in memory
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    tuple val(meta), path(raw, stageAs: 'raw/*', arity: '1..*'), val(folder_contents), val(bytes)
    path gene_aliases, stageAs: 'aliases/*'
    val options
    val package_digest

    output:
    tuple val(meta), path("${folder}/counts.h5ad"), path("${folder}/qc.json"), emit: counts
    path "${folder}/qc.tsv", emit: table
    tuple val(task.process), val('anndata'), eval('python3 -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" anndata'), topic: versions

    script:
    folder = meta.role == 'spatial' ? "${meta.id}/counts" : "references/${meta.id}"
    def dataset = flags(meta + [input: raw[0], gene_aliases: gene_aliases])
    """
    qc.py ${dataset} ${options}
    mkdir -p ${folder}
    mv counts.h5ad qc.json qc.tsv ${folder}
    """

    stub:
    folder = meta.role == 'spatial' ? "${meta.id}/counts" : "references/${meta.id}"
    """
    mkdir -p ${folder}
    touch ${folder}/counts.h5ad ${folder}/qc.tsv
    echo '{"n_cells": 2500}' > ${folder}/qc.json
    """
}
