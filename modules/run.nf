/*
 * How a run begins and ends: what must be there before a task can start, the lock of its results, its last lines.
 */

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

// Where killed trainings continue from, in whatever task directory they are tried again. Null, of which a line tells,
// where the work folder is no file system: a task writes there when it ends, and a killed one never.
def checkpointFolder(work_dir) {
    if (work_dir.fileSystem == java.nio.file.FileSystems.default) {
        return work_dir.resolve('checkpoints').toString()
    }
    log.warn("The work folder ${work_dir.toUriString()} is no file system, so trainings leave no checkpoints there: one that is killed starts from its beginning.")
    return null
}

// When this process started, as nextflow.config writes it into the trace's name.
def launchTime() {
    return new Date(java.lang.management.ManagementFactory.runtimeMXBean.startTime).format('yyyyMMdd-HHmmss')
}

// The last lines of a run: where the results are, of each task that failed its own words, and whether the disk is full.
def closing(outdir, problem) {
    def tasks = tracedTasks(outdir)
    def lacking = failures(outdir).findAll { failure -> failure.process == 'PREDICT' }.groupBy { failure -> failure.sample }
    def lines = []
    if (tasks.any { name, task -> name.endsWith(':MULTIQC') && task.status != 'FAILED' }) {
        lines << "Report: ${file(outdir)}/multiqc/multiqc_report.html"
    }
    tasks
        .findAll { name, task -> name.contains(':REPORT ') && task.status != 'FAILED' }
        .each { _name, task ->
            def results = file("${outdir}/${task.tag}")
            def imputed = ['imputed.zarr', 'imputed.h5ad'].collect { name -> results.resolve(name) }.find { path -> path.exists() }
            def without = lacking[task.tag].collect { failure -> failure.method }
            lines << "${task.tag}: ${imputed} ${results}/genes.tsv${without ? "; without ${without.sort().join(', ')}" : ''}"
        }
    failures(outdir).each { failure -> lines << "FAILED ${failure.process} (${failure.tag}): ${failure.message}" }
    if ("${problem}" =~ /No space left|quota exceeded/) {
        def free = java.nio.file.Files.getFileStore(file(outdir)).usableSpace / 1e6
        def where = "in ${outdir}: ${free.round(1)} MB are free without the file that did not fit"
        lines << "ERROR: no space left, or a quota used up, ${where}. Free some space and run again with -resume."
    }
    println(lines.join('\n'))
}

// Of each task that has failed for good so far: process, tag, the sample and method that the tag names, its own words.
def failures(outdir) {
    return tracedTasks(outdir)
        .values()
        .findAll { task -> task.status == 'FAILED' }
        .collect { task ->
            def (sample, method) = task.tag.tokenize(' ')
            def process = task.process.tokenize(':').last()
            [process: process, tag: task.tag, sample: sample, method: method, message: complaint(file(task.workdir))]
        }
}

// Task name -> its last attempt, from the trace of this launch. Empty where a site's `trace.fields` leave out what is
// read here, of which a line tells.
def tracedTasks(outdir) {
    def trace = file("${outdir}/pipeline_info/trace-${launchTime()}.tsv")
    def rows = trace.exists() ? trace.splitCsv(header: true, sep: '\t') : []
    def lacking = rows ? ['name', 'process', 'tag', 'attempt', 'status', 'workdir'] - rows[0].keySet() : []
    if (lacking) {
        log.warn("trace.fields lacks ${lacking.join(', ')}: failed tasks are not named here; see the .nextflow.log.")
        return [:]
    }
    return rows.sort { task -> task.attempt as int }.collectEntries { task -> [task.name, task] }
}

// From "ERROR:" on, or the last lines, of what the task wrote to stderr.
def complaint(workdir) {
    def log = workdir.resolve('.command.err')
    def text = log.exists() ? log.text.trim() : ''
    def start = text.lastIndexOf('ERROR:')
    return start >= 0 ? text.substring(start) : text.readLines().takeRight(5).join('\n') ?: "no message; see ${workdir}"
}
