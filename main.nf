#!/usr/bin/env nextflow

include { SPATIALIMPUTE } from './modules/workflows/spatialimpute.nf'
include { closing ; helpText ; lockFolder ; missing } from './modules/run.nf'
include { stepOptions   } from './modules/options.nf'

workflow {
    if (params.help) {
        println(helpText(file("${projectDir}/nextflow_schema.json"), workflow.manifest))
    }
    else {
        parameters = params.findAll { name, _value -> name != 'help' }
        problem = missing(parameters, args, workflow.profile)
        if (problem) {
            error(problem)
        }
        lock = lockFolder(parameters.outdir)
        SPATIALIMPUTE(parameters, stepOptions(parameters))
        run = workflow
        workflow.onComplete {
            closing(parameters.outdir, run.errorMessage)
            lock?.release()
        }
    }
}
