include { flags } from '../../functions.nf'

// A sample's imputed file in another format, in an environment that has its libraries.
process EXPORT {
    tag "${meta.id} ${format}"
    cpus 2
    memory { (4.GB + 10.KB * meta.n_spatial) * task.attempt }
    conda "${moduleDir}/../../../containers/envs/export/conda.yml"
    container "${params.container_registry}spatialimpute-export:${workflow.manifest.version}"

    input:
    tuple val(meta), path(inputs), path(imputed), val(format), path(raw, stageAs: 'raw/*', arity: '0..*'), val(folder_contents)
    val package_digest

    output:
    tuple val(meta), path("${meta.id}/*"), emit: exported
    tuple val(task.process), val('spatialdata'), eval('export-python -c "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))" spatialdata 2>/dev/null || true'), topic: versions

    script:
    def given = [sample: meta.id, inputs: inputs, imputed: imputed, format: format, raw: raw, threads: task.cpus]
    """
    command -v export-python >/dev/null || {
        echo "ERROR: --export: this environment has no export-python; make setup METHODS=export, or an image that containers/images.sh export builds" >&2
        exit 1
    }
    export-python "\$(command -v export.py)" ${flags(given)}
    mkdir -p ${meta.id}
    mv ${format == 'explorer' ? 'explorer' : 'spatialdata.zarr'} ${meta.id}
    """

    stub:
    """
    mkdir -p ${meta.id}/${format == 'explorer' ? 'explorer' : 'spatialdata.zarr'}
    touch ${meta.id}/${format == 'explorer' ? 'explorer/cell_feature_matrix.zarr.zip' : 'spatialdata.zarr/zarr.json'}
    """
}
