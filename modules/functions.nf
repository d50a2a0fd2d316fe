/*
 * What the processes and workflows share.
 */

// Command-line options from a map: null and empty are left out, true is a bare flag, a list repeats its option.
def flags(options) {
    return options
        .findAll { _name, value -> !(value in [null, false, []]) }
        .collectMany { name, value ->
            def option = "--${name.replace('_', '-')}"
            value == true ? [option] : [value].flatten().collect { item -> "${option} ${quote(item)}" }
        }
        .join(' ')
}

// A value as one word of the shell, whatever it holds; whole numbers without a fraction (1e3 arrives as 1000.0).
def quote(value) {
    def whole = value instanceof Number && value == Math.floor(value as double)
    return "'" + (whole ? value as long : value).toString().replace("'", "'\\''") + "'"
}

// What a task computes with: the GPU that was asked for, or what the parameter leaves to it.
def deviceFlag(accelerator) {
    return "--accelerator ${accelerator ? 'gpu' : params.accelerator == 'auto' ? 'auto' : 'cpu'}"
}

// Memory for a sample of so many cells.
def memoryFor(memory, meta) {
    def (base, spatial, reference) = [memory.base, memory.spatial_cell, memory.reference_cell]
        .collect { text -> nextflow.util.MemoryUnit.of(text) }
    return base + spatial * meta.n_spatial + reference * meta.n_reference
}

// A list, as a params file may give it, as text.
def commaList(value) {
    return value instanceof List ? value.join(',') : value
}

// Digest of the Python package and of the lock that its environment is made of. Nextflow hashes the scripts of bin/
// that a task names, but neither what they import nor the libraries; every process takes this as an input, so that
// -resume never reuses results of older code.
def packageDigest() {
    return digest(files("${projectDir}/bin/spatialimpute/**") + [file("${projectDir}/containers/local/requirements.lock")])
}

// Digest of the files' names within the project and their contents; of what Python and numba make of them nothing.
def digest(paths) {
    def sha = java.security.MessageDigest.getInstance('SHA-256')
    paths
        .findAll { path -> !path.toString().contains('/__pycache__/') && path.exists() }
        .sort { path -> path.toString() }
        .each { path ->
            sha.update("${path.toString() - projectDir.toString()}\n".getBytes('UTF-8'))
            sha.update(path.bytes)
        }
    return sha.digest().encodeHex().toString()
}

// Existing local files that a sheet's column or a parameter names, so that containers mount them and -resume sees
// them change; of a table, modality or genome within a file or store that itself. Lenient: what is wrong with them is
// CHECK_INPUTS' to say.
def existingFiles(text, folder) {
    return "${text ?: ''}"
        .tokenize(';')
        .collect { name -> name.trim() }
        .findAll { name -> name && !name.contains('://') }
        .collect { name -> folder.resolve(name.replaceFirst(/(\.zarr|\.h5mu|\.h5)\/.+$/, '$1')) }
        .findAll { path -> path.exists() }
}

// The file that a parameter names, in a list, which is empty where it names none; an address's is left to Nextflow.
def parameterFile(value, folder) {
    return "${value}".contains('://') ? [file(value, glob: false)] : existingFiles(value, folder)
}

// Names, sizes and dates of a folder's files. Nextflow itself looks at the folder's own date, which stays as it was when
// a file in it is written anew; so that -resume sees that too. Links to folders are not followed, since they may lead in
// circles, and what cannot be looked at is left out: both are the reader's to judge. Empty for a file.
def folderContents(path) {
    if (!path.isDirectory()) {
        return []
    }
    def entries = path.listFiles() ?: []
    return entries
        .sort { entry -> entry.name }
        .collectMany { entry ->
            if (entry.isDirectory()) {
                return entry.isLink() ? [] : folderContents(entry).collect { line -> "${entry.name}/${line}".toString() }
            }
            return entry.exists() ? ["${entry.name} ${entry.size()} ${entry.lastModified()}".toString()] : []
        }
}

// Bytes of a dataset's files that CHECK_INPUTS could not look at; 0 where the file system does not tell.
def bytesOf(paths, folder_contents) {
    def in_folder = folder_contents.collect { line -> line.tokenize(' ')[-2] as long }
    def alone = paths.findAll { path -> !path.isDirectory() }.collect { path -> path.size() }
    return (in_folder + alone + [0]).sum()
}

// Rows of the sheet as maps; none where it cannot be read as a CSV.
def sheetRows(sheet) {
    try {
        return sheet.splitCsv(header: true, strip: true)
    }
    catch (Exception _error) {
        return []
    }
}

// Files that the sheet's rows name.
def sheetFiles(rows, folder) {
    return rows
        .collectMany { row -> existingFiles([row.spatial, row.reference, row.genes].findAll().join(';').replace('|', ';'), folder) }
        .unique()
}
