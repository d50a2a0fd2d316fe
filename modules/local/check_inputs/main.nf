include { flags ; quote } from '../../functions.nf'

process CHECK_INPUTS {
    tag "${sheet.baseName}"
    conda "${moduleDir}/../../../containers/envs/core/conda.yml"
    container "${params.container_registry}spatialimpute-core:${workflow.manifest.version}"

    input:
    path sheet, stageAs: 'sheet/*'
    tuple val(folder), val(launch_dir)
    val params_json
    path schemas, stageAs: 'schemas/*'
    path named_files, stageAs: 'named/?/*'
    val rows
    val package_digest

    output:
    path 'samples.json', emit: samples
    tuple val(task.process), val('python'), eval('python3 -c "import platform; print(platform.python_version())"'), topic: versions

    script:
    // No container, no scheduler: the machine that checks is the one that trains.
    def local = task.executor == 'local' && !workflow.containerEngine
    """
    printf '%s' ${quote(params_json)} > params.json
    check_inputs.py \\
        ${flags([input: sheet, params: 'params.json', base_dir: folder, launch_dir: launch_dir, local: local])} \\
        --schema schemas/nextflow_schema.json --sheet-schema schemas/schema_input.json --methods schemas/methods.json \\
        --out samples.json
    """

    stub:
    """
    printf '%s' ${quote(stubSamples(rows, folder))} > samples.json
    """
}

// What the Python step would write for a valid sheet, without opening a file.
def stubSamples(rows, folder) {
    def samples = rows.collect { row ->
        def (used, alternatives) = [row.reference.tokenize('|')[0], row.reference.tokenize('|').drop(1)]
        [
            sample: row.sample,
            spatial: [file(folder).resolve(row.spatial).toString()],
            reference: stubReferences(used, folder),
            alternatives: stubReferences(alternatives.join(';'), folder),
            technology: row.technology,
            spatial_batch_key: row.spatial_batch_key,
            reference_batch_key: row.reference_batch_key,
            celltype_key: row.celltype_key,
            genes: row.genes,
        ]
    }
    return groovy.json.JsonOutput.toJson(samples)
}

def stubReferences(names, folder) {
    return names.tokenize(';').collect { name ->
        [id: file(name.trim()).baseName, files: [file(folder).resolve(name.trim()).toString()]]
    }
}
