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

// A list, as a params file may give it, as text.
def commaList(value) {
    return value instanceof List ? value.join(',') : value
}

// Digest of the Python package. Nextflow hashes the scripts of bin/ that a task names, but not what they import;
// every process takes this as an input, so that -resume never reuses results of older code.
def packageDigest() {
    def root = "${projectDir}/bin/spatialimpute"
    def sha = java.security.MessageDigest.getInstance('SHA-256')
    files("${root}/**")
        .findAll { path -> !path.toString().endsWith('.pyc') }
        .sort { path -> path.toString() }
        .each { path ->
            sha.update("${path.toString() - root}\n".getBytes('UTF-8'))
            sha.update(path.bytes)
        }
    return sha.digest().encodeHex().toString()
}

// Existing local files that a sheet's column or a parameter names, so that containers mount them and -resume sees
// them change. Lenient: what is wrong with them is CHECK_INPUTS' to say.
def existingFiles(text, folder) {
    return "${text ?: ''}"
        .tokenize(';')
        .collect { name -> name.trim() }
        .findAll { name -> name && !name.contains('://') }
        .collect { name -> folder.resolve(name) }
        .findAll { path -> path.exists() }
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
        .collectMany { row -> existingFiles([row.spatial, row.reference, row.genes].findAll().join(';'), folder) }
        .unique()
}

// What --help prints: the parameters by group, from the schema.
def helpText(schemaFile, manifest) {
    def schema = new groovy.json.JsonSlurper().parse(schemaFile)
    def lines = [
        "spatialimpute ${manifest.version}: ${manifest.description}",
        '',
        'nextflow run <spatialimpute> --input samplesheet.csv --outdir results -profile local',
    ]
    schema['$defs'].each { _name, group ->
        lines += ['', group.title]
        group.properties.each { name, property ->
            def type = property['enum'] ? property['enum'].join('|') : [property.type].flatten().join('|')
            def fallback = property.default == null ? '' : " [default: ${property.default}]"
            lines << "  --${name.padRight(22)} ${type.padRight(16)} ${property.description ?: ''}${fallback}"
        }
    }
    return lines.join('\n')
}

// What cannot be checked by a task, since no task could start: `args` are words of the command line that are no options.
def missing(params, args, profiles) {
    def stray = args.find { word -> word != 'true' } // which Nextflow itself adds to -stub-run
    if (stray) {
        return "'${stray}': options begin with hyphens, and profiles are separated by commas without spaces."
    }
    if (!params.input) {
        return '--input is missing: a samplesheet (CSV). --help lists the parameters.'
    }
    if (!params.outdir) {
        return '--outdir is missing: the folder of the results. --help lists the parameters.'
    }
    if (!file(params.input, glob: false).exists()) {
        return "--input ${params.input}: no such file."
    }
    if (params.container_registry && !"${params.container_registry}".endsWith('/')) {
        return "--container_registry ${params.container_registry}: image names are added to it as it is; end it with a slash."
    }
    return missingTool(profiles)
}

// The program behind a profile, where this machine has none of that name.
def missingTool(profiles) {
    def tools = [
        docker: 'docker', podman: 'podman', singularity: 'singularity', apptainer: 'apptainer', charliecloud: 'ch-run',
        conda: 'conda', mamba: 'mamba', slurm: 'sbatch', sge: 'qsub', lsf: 'bsub',
    ]
    def folders = System.getenv('PATH').tokenize(':')
    def lacking = profiles.tokenize(',').find { profile ->
        tools[profile] && !folders.any { folder -> new File(folder, tools[profile]).canExecute() }
    }
    return lacking
        ? "-profile ${lacking}: there is no '${tools[lacking]}' on this machine's PATH. Run where it is, or with another profile."
        : null
}

// Keeps a second run from writing into the same folder. The system gives the lock back when this process ends, in
// whatever way. Null where there are no locks: object stores, and file systems without them, of which a line tells.
def lockFolder(outdir) {
    def folder = file("${outdir}/pipeline_info")
    if (folder.fileSystem != java.nio.file.FileSystems.default) {
        return null
    }
    try {
        java.nio.file.Files.createDirectories(folder)
    }
    catch (IOException problem) {
        error("--outdir ${outdir}: this folder cannot be made (${problem.message}). Name another.")
    }
    def lock = null
    try {
        lock = new RandomAccessFile(folder.resolve('.lock').toFile(), 'rw').channel.tryLock()
    }
    catch (IOException _error) {
        log.warn("--outdir ${outdir}: its file system has no locks, so nothing keeps a second run out of it.")
        return null
    }
    if (!lock) {
        error("--outdir ${outdir}: another run is writing into this folder. Wait for its end, or give another --outdir.")
    }
    return lock
}

// When this process started, as nextflow.config writes it into the trace's name.
def launchTime() {
    return new Date(java.lang.management.ManagementFactory.runtimeMXBean.startTime).format('yyyyMMdd-HHmmss')
}

// The last lines of a run: where the results are, of each task that failed its own words, and whether the disk is full.
def closing(outdir, problem) {
    def tasks = tracedTasks(file("${outdir}/pipeline_info/trace-${launchTime()}.tsv"))
    def failed = tasks.values().findAll { task -> task.status == 'FAILED' }
    def report = file("${outdir}/multiqc/multiqc_report.html")
    def lines = []
    if (tasks.any { name, task -> name.endsWith(':MULTIQC') && task.status != 'FAILED' }) {
        lines << "Report: ${report}"
    }
    tasks
        .findAll { name, task -> name.contains(':REPORT ') && task.status != 'FAILED' }
        .each { _name, task ->
            def results = file("${outdir}/${task.tag}")
            lines << "${task.tag}: ${results}/imputed.h5ad ${results}/genes.tsv"
        }
    failed.each { task ->
        lines << "FAILED ${task.process.tokenize(':').last()} (${task.tag}): ${complaint(file(task.workdir))}"
    }
    if ("${problem}" =~ /No space left|quota exceeded/) {
        def free = java.nio.file.Files.getFileStore(file(outdir)).usableSpace / 1e6
        def where = "in ${outdir}: ${free.round(1)} MB are free without the file that did not fit"
        lines << "ERROR: no space left, or a quota used up, ${where}. Free some space and run again with -resume."
    }
    println(lines.join('\n'))
}

// Task name -> its last attempt.
def tracedTasks(trace) {
    def rows = trace.exists() ? trace.splitCsv(header: true, sep: '\t') : []
    return rows.sort { task -> task.attempt as int }.collectEntries { task -> [task.name, task] }
}

// From "ERROR:" on, or the last lines, of what the task wrote to stderr.
def complaint(workdir) {
    def log = workdir.resolve('.command.err')
    def text = log.exists() ? log.text.trim() : ''
    def start = text.lastIndexOf('ERROR:')
    return start >= 0 ? text.substring(start) : text.readLines().takeRight(5).join('\n') ?: "no message; see ${workdir}"
}
